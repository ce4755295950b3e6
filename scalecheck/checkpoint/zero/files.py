"""The files of a DeepSpeed checkpoint by their names: which rank each is of. No file is opened but
`latest`, which names the folder of the last step."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.errors import CheckpointError, reason
from scalecheck.report.formatting import excerpt, listed, plural

Rank = tuple[int, int]
"""The number of a data-parallel rank, and of a tensor-parallel or pipeline one: pp and mp."""

LATEST = ("latest", "latest_universal")
MAX_TAG = 255  # bytes of a folder's name
MAX_RANK = 1 << 20  # ranks are not told apart by more digits than any cluster needs

_N = r"(\d{1,7})"
_OPTIMIZER = re.compile(rf"(?:bf16_|fp16_)?zero_pp_rank_{_N}_mp_rank_{_N}_optim_states\.pt")
_PARTITIONED = re.compile(rf"zero_pp_rank_{_N}_mp_rank_{_N}_model_states\.pt")
_MODEL = re.compile(rf"mp_rank_{_N}_model_states\.pt")
_LAYER = re.compile(rf"layer_{_N}-(?:model_{_N}-)?model_states\.pt")
_EXPERT = re.compile(rf"(?:layer_{_N}_)?expert_{_N}_mp_rank_{_N}_model_states\.pt")
_ANY = re.compile(r"(?:bf16_|fp16_)?zero_pp_rank_\d+_mp_rank_\d+_(?:optim|model)_states\.pt")


@dataclass
class ZeroFiles:
    """The files of one step. optimizers: by rank; models: by rank, where `is_partitioned` of every
    data-parallel rank, else of number 0 alone; layers, experts: the other parts of the model, in
    order; others: what is none of these."""

    folder: Path
    optimizers: dict[Rank, Path] = field(default_factory=dict)
    models: dict[Rank, Path] = field(default_factory=dict)
    is_partitioned: bool = False
    layers: dict[Rank, Path] = field(default_factory=dict)
    experts: dict[tuple[int, int, int], Path] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)

    def beside(self, model: Path) -> Iterable[Path]:
        """Every file of the checkpoint but one."""
        every = (self.optimizers, self.models, self.layers, self.experts)
        return (path for files in every for path in files.values() if path != model)


def is_step(path: Path) -> bool:
    """Whether a folder holds the files of ZeRO ranks."""
    try:
        with os.scandir(path) as entries:
            return any(_ANY.fullmatch(entry.name) for entry in entries)
    except OSError:
        return False


def has_model(path: Path) -> bool:
    """Whether a folder holds the model of a run without ZeRO, of one rank or more."""
    return any(_MODEL.fullmatch(one.name) for one in path.glob("mp_rank_*_model_states.pt"))


def is_universal(path: Path) -> bool:
    """Whether a folder holds a universal checkpoint: a folder for each parameter."""
    return (path / "zero").is_dir() and any(path.glob("*mp_rank_*_model_states.pt"))


def latest(path: Path) -> tuple[str, str] | None:
    """What a run's file says of its last step, and the name of that file; None where there is no
    such file, or none that names a folder. Raises nothing."""
    for name in LATEST:
        try:
            with (path / name).open("rb") as file:
                said = file.read(MAX_TAG + 2)
        except (OSError, ValueError):
            continue
        return said.decode("utf-8", "backslashreplace").strip(), name
    return None


def step_folder(path: Path) -> Path:
    """The folder that a run's `latest` names. Raises CheckpointError where it is none inside."""
    found = latest(path)
    if found is None:
        return path
    tag, name = found
    shown = excerpt(tag, 80) or "nothing"
    if tag in ("", ".", "..") or len(tag) > MAX_TAG or "/" in tag or "\\" in tag or "\0" in tag:
        raise CheckpointError(path / name, f"names {shown}, which is no folder beside it")
    folder = path / tag
    try:
        is_inside = folder.resolve(strict=True).parent == path.resolve(strict=True)
    except (OSError, RuntimeError):
        steps = listed(sorted(entry.name for entry in path.iterdir() if entry.is_dir()))
        help = f"name one of the folders there: {steps}" if steps else ""
        raise CheckpointError(path / name, f"names {shown}, which is not there", help) from None
    if not is_inside or not folder.is_dir():
        raise CheckpointError(path / name, f"names {shown}, which is no folder beside it")
    return folder


def files_of(folder: Path) -> ZeroFiles:
    """The files of a step by their ranks. Raises Malformed where two are of one rank."""
    found = ZeroFiles(folder)
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise CheckpointError(folder, reason(error)) from error
    found.is_partitioned = any(map(_PARTITIONED.fullmatch, names))
    for name in names:
        if match := _OPTIMIZER.fullmatch(name):
            _add(found.optimizers, _rank(match), folder / name)
        elif match := _PARTITIONED.fullmatch(name):
            _add(found.models, _rank(match), folder / name)
        elif (match := _MODEL.fullmatch(name)) and not found.is_partitioned:
            _add(found.models, (0, int(match[1])), folder / name)
        elif match := _LAYER.fullmatch(name):
            _add(found.layers, (int(match[1]), int(match[2] or 0)), folder / name)
        elif match := _EXPERT.fullmatch(name):
            at = (int(match[1] or 0), int(match[2]), int(match[3]))
            if at in found.experts:
                raise Malformed(f"holds two files of one expert: {excerpt(name)}")
            found.experts[at] = folder / name
        else:
            found.others.append(name)
    for files in (found.optimizers, found.models, found.layers):
        files_in_order = sorted(files.items())
        files.clear()
        files.update(files_in_order)
    found.experts = dict(sorted(found.experts.items()))
    return found


def missing(found: Mapping[int, object], world: int) -> str:
    """Which ranks have no file: `rank 3 of 8 missing`; empty where all have."""
    lacks = world - len(found)
    if not lacks:
        return ""
    first = next(rank for rank in range(world) if rank not in found)
    if lacks == 1:
        return f"rank {first} of {world} missing"
    few = [str(rank) for rank in range(min(world, 64)) if rank not in found]
    return f"{plural(lacks, 'rank')} of {world} missing: {listed(few) if few else first}"


def _rank(match: re.Match[str]) -> Rank:
    return int(match[1]), int(match[2])


def _add(files: dict[Rank, Path], rank: Rank, path: Path) -> None:
    if rank in files:
        both = f"{files[rank].name} and {path.name}"
        raise Malformed(f"holds two files of rank {rank[0]}: {both}")
    files[rank] = path
