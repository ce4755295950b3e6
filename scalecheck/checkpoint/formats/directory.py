"""A directory as training libraries leave it: the model's files are found, the others named."""

import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from os.path import isdir, lexists
from pathlib import Path
from shlex import quote

from scalecheck.checkpoint.distributed.hugging_face import (
    SHARDED,
    are_pieces,
    put_together,
)
from scalecheck.checkpoint.files.folders import Folder, Folders, Unread, folders_in, steps
from scalecheck.checkpoint.files.foreign import unread_folder
from scalecheck.checkpoint.files.strict_json import text_of
from scalecheck.checkpoint.files.weight_files import (
    SUFFIXES,
    Choice,
    are_shards,
    chosen,
    is_weights,
    missing_shards,
    optimizer_ranks,
    rank_of,
    without_shards,
)
from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.formats.shard_index import join, open_shard, renamed
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.open import folder_format, open_part
from scalecheck.checkpoint.ranks.files import put_together as put_ranks_together
from scalecheck.checkpoint.ranks.llama_slices import with_shares
from scalecheck.checkpoint.ranks.slices import sliced
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import CheckpointError, Fix, ScalecheckError
from scalecheck.report.formatting import listed

_MAX_CONFIG_NBYTES = 1 << 22  # of config.json; those of models have some thousands
_MAX_VALUES = 200_000
_FEW = 8  # folders in one folder that are named each

_LATEST = re.compile(r"latest(?:-rank\d{1,6})?(?:\.\w+){1,2}")  # as Composer names its links
_BESIDE = "beside the model, not inspected: "

# As Hugging Face's Trainer, Accelerate and MLX's programs name an optimizer state, and the model
# beside it.
_OPTIMIZERS = ("optimizer.pt", "optimizer.bin", "optimizer.safetensors")
_STATE = re.compile(r"optimizer(?:[_.-].*)?|.*optim_states\..*")
_MODELS = re.compile(
    r"(?:adapter_|pytorch_)?model(_\d{1,6})?\.(?:safetensors|bin)(?:\.index\.json)?"
)


def recognises(path: Path, head: bytes) -> Evidence:
    # a folder that is one checkpoint, as a distributed one is, has the content of its own format
    return Evidence.NAME if path.is_dir() else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Lists the tensors of the model in a directory, and the folders below that hold others.

    Raises CheckpointError where there is none, or where several files could be it, UsageError where
    there are several variants of it.
    """
    found = folders_in(path)
    checkpoint = _own(path)
    below = [f for f in found.holding if f.name and not _is_copy(f, checkpoint)]
    if checkpoint is None:
        raise _without_model(path, below, found)
    below_it = (Unread(path, name) for name in _names(below))
    unread = [*checkpoint.unread, *below_it, *found.unread]
    layout = (*checkpoint.layout, *_other_formats(checkpoint, found.others))
    return replace(checkpoint, layout=layout, unread=(*unread,))


def load_recursively(path: Path) -> Checkpoint:
    """Lists the tensors of every model in a directory and the folders below, the names of the
    latter under that of their folder. A folder that cannot be read is among its `unread`.

    Raises CheckpointError where no folder can be read.
    """
    found = folders_in(path)
    parts: list[tuple[Folder, Checkpoint]] = []
    errors: list[Exception] = []
    for folder in found.holding:
        try:
            format = folder_format(folder.path)
            if checkpoint := format.load(folder.path) if format else _own(folder.path):
                parts.append((folder, checkpoint))
                for one in (one for one in checkpoint.unread if one.problem):
                    name = f"{folder.name}/{one.name}" if folder.name else one.name
                    found.unread.append(Unread(path, name, one.problem))
        except (ScalecheckError, OSError) as error:
            errors.append(error)
            problem = str(error).removeprefix(str(folder.path)).lstrip("/: ")
            found.unread.append(Unread(path, folder.name or ".", problem))
    if errors and not parts:
        raise errors[0]
    if not parts:
        raise _without_model(path, [], found)
    joined = join(path, [renamed(part, f"{f.name}/" if f.name else "") for f, part in parts])
    if len(parts) > 1:
        formats = " and ".join(sorted({part.format.partition(",")[0] for _, part in parts}))
        joined = replace(joined, format=f"{formats}, {len(parts)} folders")
    layout = (*joined.layout, *_other_formats(joined, found.others))
    return replace(joined, layout=layout, unread=(*found.unread,))


def _own(path: Path) -> Checkpoint | None:
    """The model in the files of a directory itself; None where there is none."""
    # What cannot be read, such as a link to nothing, is not passed over: it may be the model.
    files = [entry for entry in sorted(path.iterdir()) if not entry.is_dir()]
    names = [file.name for file in files]
    links = _links(path, files)
    latest = [links[name] for name in names if name in links and _LATEST.fullmatch(name)]
    choice = chosen(path, latest or [name for name in names if name not in links])
    if choice is None:
        return None
    found = [path / name for name in choice.files]
    if shards := missing_shards(choice.files):
        missing, total, first = shards
        raise CheckpointError(
            path, f"{missing} of {total} shards missing: number {first} is the first"
        )
    checkpoint = _read(path, found, choice)
    notes, layout = [*checkpoint.notes], [*checkpoint.layout]
    if latest:
        layout.append(f"read of {listed([*choice.files])}, which is the latest by its link")
    if choice.variant:
        layout.append(f"holds no plain file of the model: its variant {choice.variant} is read")
    read = {tensor.source.path.name for tensor in checkpoint.tensors} | {*choice.files}
    beside = [name for name in names if name not in read and links.get(name) not in read]
    if weights := without_shards([name for name in beside if is_weights(name)]):
        how = f"scalecheck inspect {quote(str(path / weights[0]))}"
        layout.append(f"{_BESIDE}{listed(weights)} (to read one: {how})")
    if others := [n for n in beside if Path(n).suffix in SUFFIXES and not is_weights(n)]:
        notes.append(f"{_BESIDE}{listed(others)}")
    unread = [*choice.unread, *_named_by_config(path, choice.files[0])]
    apart = [
        Unread(path, name, f"{how}; to read it, name {quote(str(path / name))}")
        for name, how in unread
    ]
    states = optimizer_ranks(choice.files, names)
    if not states and checkpoint.optimizer and checkpoint.ranks:
        states = dict(zip(checkpoint.ranks, choice.files, strict=True))
    return replace(
        checkpoint,
        path=path,
        notes=(*notes,),
        layout=(*layout,),
        unread=(*apart,),
        state_files={rank: path / name for rank, name in states.items()},
    )


def _named_by_config(path: Path, chosen: str) -> list[tuple[str, str]]:
    """The file that the configuration has transformers load in place of the one chosen, and how; a
    configuration that is too long to be looked into."""
    try:
        config = _config(path / "config.json")
    except Malformed as error:
        return [("config.json", str(error))]
    name = config.get("transformers_weights") if isinstance(config, dict) else None
    if not isinstance(name, str) or name == chosen:
        return []
    parts = Path(name).parts
    if ".." in parts or "/" in parts or not lexists(path / name):  # transformers refuses it
        return []
    return [(name, f"config.json has transformers load it in place of {chosen}")]


def _config(path: Path) -> object:
    """What transformers reads in a configuration, of equal keys the last; None where it cannot be
    read. Raises Malformed where it is too long."""
    if not path.is_file():
        return None
    try:
        text = text_of(path, _MAX_CONFIG_NBYTES)
        if text is None or text.count(b",") + text.count(b"[") + text.count(b"{") > _MAX_VALUES:
            raise Malformed("it is too long to see which file of the model it names")
        return json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None


def _links(path: Path, files: list[Path]) -> dict[str, str]:
    """The entries that are links to others of the folder, and the names of these."""
    names = {file.name for file in files}
    found = {}
    for file in files:
        if file.is_symlink():
            target = Path(os.path.realpath(file))
            is_beside = target.parent == Path(os.path.realpath(path)) and target.name != file.name
            if is_beside and target.name in names:
                found[file.name] = target.name
    return found


def _read(path: Path, found: list[Path], choice: Choice) -> Checkpoint:
    """The model in the files that were chosen. Raises CheckpointError."""
    if are_pieces(choice.files):
        return put_together(path, [*map(open_part, found)])
    if len(found) == 1:
        part = open_part(found[0])
        rank = rank_of(found[0].name)
        if rank and any(t.share and t.share.ranks > 1 for t in part.tensors):
            return put_ranks_together(path, {rank[1]: part})
        return sliced(part, found[0])
    if not choice.are_ranks:
        joined = join(path, map(open_shard, found))
        if not are_shards(choice.files):
            note = f"joined as one model: {_listed(found)}"
            joined = replace(joined, layout=(*joined.layout, note))
        return joined
    parts = [open_part(file) for file in found]
    ranks = [rank[1] if (rank := rank_of(file.name)) else 0 for file in found]
    if any(tensor.share for part in parts for tensor in part.tensors):
        return put_ranks_together(path, dict(zip(ranks, parts, strict=True)))
    if slices := with_shares(path, dict(zip(ranks, parts, strict=True))):
        return put_ranks_together(path, slices)
    parts = [sliced(part, file) for part, file in zip(parts, found, strict=True)]
    if not any(tensor.piece for part in parts for tensor in part.tensors):
        problem = f"holds {len(found)} checkpoints: {_listed(found)}"
        raise _instead(path, problem, "one of them", found[0])
    joined = join(path, [renamed(part, f"rank{n}/") for n, part in zip(ranks, parts, strict=True)])
    names = listed([f"rank{n}/NAME" for n in ranks])
    note = f"read rank by rank, as {names}: {_listed(found)}"
    return replace(joined, layout=(*joined.layout, note))


def _is_copy(folder: Folder, model: Checkpoint | None) -> bool:
    """Whether a folder holds the pieces that the model was put together from."""
    if folder.name != SHARDED or model is None:
        return False
    pieces = _own(folder.path)
    shapes = {tensor.name: tensor.shape for tensor in model.tensors}
    return pieces is not None and shapes == {t.name: t.shape for t in pieces.tensors}


def _names(below: list[Folder]) -> list[str]:
    """The folders by name; of many in one folder that one, as of a step that has a folder for each
    of its tensors."""
    parts = Counter(folder.name.partition("/")[0] for folder in below)
    first = ((folder.name, folder.name.partition("/")[0]) for folder in below)
    return list(dict.fromkeys(name if parts[part] <= _FEW else part for name, part in first))


def _without_model(path: Path, below: list[Folder], found: Folders) -> CheckpointError:
    """The error for a directory without a model of its own, which says where there are some."""
    if foreign := unread_folder(path):
        return foreign
    if not below and found.others:
        problem = f"holds no checkpoint itself, and below it {listed(found.others)}"
        return _instead(path, problem, "give one", path / found.others[0])
    if not below and (unread := [f"{one.name} is {one.problem}" for one in found.unread]):
        return CheckpointError(path, f"holds no checkpoint that can be read: {listed(unread)}")
    if not below:
        return _without_any(path)
    names = listed([folder.name for folder in below])
    if len(below) == 1:
        problem = f"holds no checkpoint itself, its folder {names} does"
        return _instead(path, problem, "", below[0].path)
    run = steps(path, below)
    last = run[-1] if run else None
    problem = f"holds no checkpoint itself, {len(below)} of its folders do: {names}"
    which = "the newest" if last else "one of them"
    help = f"{which} (--recursive reads all)"
    return _instead(path, problem, help, last or below[0].path)


def _instead(path: Path, problem: str, help: str, other: Path) -> CheckpointError:
    """The error of a path in whose place another works."""
    return CheckpointError(path, problem, help, Fix(str(other), str(path)))


def _without_any(path: Path) -> CheckpointError:
    """The error of a folder without any checkpoint in it and below it."""
    entries = sorted(path.iterdir())
    if not entries:
        return CheckpointError(path, "is an empty folder (0 files)")
    count = "1 entry" if len(entries) == 1 else f"{len(entries)} entries"
    held = f"({count}: {_listed(entries)})"
    names = [entry.name for entry in entries]
    if states := [name for name in names if _STATE.fullmatch(name)]:
        help = f"give the model's folder, and this one with --state {quote(str(path))}"
        return CheckpointError(path, f"holds an optimizer state and no model: {states[0]}", help)
    help = "its weights are not there: download them too" if "config.json" in names else ""
    return CheckpointError(path, f"holds no checkpoint {held}", help)


def _other_formats(checkpoint: Checkpoint, files: list[str]) -> list[str]:
    """A note on files of weights in other formats than the model's, if there are some."""
    read = {tensor.source.path.name for tensor in checkpoint.tensors}
    others = [file for file in files if file.rpartition("/")[2] not in read]
    return [f"{_BESIDE}{listed(others)}"] if others else []


def optimizer_beside(model: Path) -> Path | None:
    """The optimizer state that a trainer wrote into the directory of a model, told by the names of
    both; None where there is none. Raises CheckpointError where there are two, or no file."""
    folder = model if isdir(model) else model.parent
    named = None if folder == model else _MODELS.fullmatch(model.name)
    if folder != model and not named:
        return None
    number = named[1] if named and named[1] else ""
    names = [name.replace(".", f"{number}.") for name in _OPTIMIZERS]
    found = [folder / name for name in names if lexists(folder / name)]
    if len(found) > 1:
        problem = f"holds 2 optimizer states, name one: {_listed(found)}"
        raise CheckpointError(folder, problem, "", Fix(str(found[0]), flag="--state"))
    if found and isdir(found[0]):
        raise CheckpointError(found[0], "is a directory, where an optimizer state should be")
    return found[0] if found else None


def without_files(notes: Iterable[str], files: Collection[str]) -> list[str]:
    """The notes on a directory; that on files which were not inspected leaves these out."""
    kept = []
    for note in notes:
        names = note.removeprefix(_BESIDE).split(", ") if note.startswith(_BESIDE) else [note]
        if others := ", ".join(name for name in names if name not in files):
            kept.append(f"{_BESIDE}{others}" if note.startswith(_BESIDE) else note)
    return kept


def _listed(entries: list[Path]) -> str:
    return listed([entry.name + "/" * entry.is_dir() for entry in entries])
