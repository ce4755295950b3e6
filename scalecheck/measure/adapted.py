"""What the adapters of a checkpoint add to the matrices of their base model."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from scalecheck.checkpoint.adapters.base import Base, Unmatched
from scalecheck.checkpoint.adapters.pairs import Adapters, Pair, adapters, without_pairs
from scalecheck.checkpoint.adapters.scale import config_beside
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.selection import Selection
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.errors import UsageError
from scalecheck.measure.groups import row
from scalecheck.measure.low_rank import gram, product_norm
from scalecheck.measure.measuring import measure
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.report.formatting import finite, number, percent, printable
from scalecheck.report.part import Part
from scalecheck.report.report import Column, Rows, Table
from scalecheck.settings import Settings

TITLE = "Adapted matrices: ΔW = scale·B·A"
NOT_FINITE = "its halves hold NaN or inf, or numbers whose product leaves float64"


@dataclass(frozen=True)
class AdaptedMatrix:
    """A pair with the matrix that its product is added to: without a base, or without such a matrix
    in it, None, which `unmatched` tells the reason of."""

    pair: Pair
    base: TensorStats | None = None
    unmatched: str = ""

    @property
    def name(self) -> str:
        """The matrix's in the base, else the module's."""
        return self.pair.name if self.base is None else self.base.name

    @property
    def rms(self) -> float | None:
        """Of the matrix in the base."""
        return None if self.base is None else self.base.rms

    def relative(self, added_rms: float | None) -> float | None:
        """An RMS over that of the matrix; None without one that is finite and not zero."""
        if added_rms is None or self.base is None or not self.base.rms or not self.base.is_finite:
            return None
        return finite(added_rms / self.base.rms)


@dataclass(frozen=True)
class AskedAdapters:
    """The adapters among the tensors that are wanted, and their base where one was given."""

    found: Adapters
    base: Checkpoint | None
    matrices: Sequence[AdaptedMatrix]

    @property
    def missing(self) -> dict[str, str]:
        """The modules of which it is not known what an adapter adds to the base, and why."""
        if self.base is None:
            return {}
        left = {each.pair.name: each.unmatched for each in self.matrices if each.unmatched}
        return {**dict(self.found.others), **left}

    @property
    def skipped(self) -> list[dict[str, Any]]:
        """The same as a report lists what was not analysed."""
        return [
            {"name": name, "dtype": None, "shape": None, "reason": why}
            for name, why in self.missing.items()
        ]

    @property
    def source(self) -> dict[str, Any]:
        """What a report says of the base that was given."""
        return {} if self.base is None else {"base": str(self.base.path)}


def asked_adapters(
    checkpoint: Checkpoint, wanted: Iterable[Tensor], settings: Settings
) -> AskedAdapters:
    """The adapters of a checkpoint and the matrices of --base, measured. Raises UsageError where a
    base is given to a checkpoint without an adapter, CheckpointError."""
    found = adapters(checkpoint)
    base = opened_base(settings)
    if base is not None and not found.pairs:
        raise UsageError(f"--base {base.path}: {checkpoint.path} {without_pairs(found)}")
    return matched(found.of(wanted), base, settings.jobs)


def opened_base(settings: Settings) -> Checkpoint | None:
    """The checkpoint of --base; None where none is given. Raises CheckpointError."""
    where: Checkpoint | str | Path | None = settings.base
    if where is None or isinstance(where, Checkpoint):
        return where
    return open_checkpoint(where, recursive=settings.recursive, raw=settings.raw)


def matched(found: Adapters, base: Checkpoint | None, jobs: int | None) -> AskedAdapters:
    """The pairs beside the matrices of a base. Raises CheckpointError."""
    if base is None:
        return AskedAdapters(found, None, [AdaptedMatrix(pair) for pair in found.pairs])
    names = Base(base)
    matrices = [(pair, names.matrix(pair)) for pair in found.pairs]
    tensors = {one.name: one for _, one in matrices if isinstance(one, Tensor)}
    alone = tuple(replace(tensor, tied_to=None) for tensor in tensors.values())
    stats = {tensor.name: TensorStats.of(tensor, own) for tensor, own in measure(alone, jobs)}
    taken: set[str] = set()
    several: set[str] = set()
    for _, one in matrices:
        if isinstance(one, Tensor):
            (several if one.name in taken else taken).add(one.name)
    result = []
    for pair, one in matrices:
        if isinstance(one, Unmatched):
            result.append(AdaptedMatrix(pair, unmatched=one.reason))
            continue
        own = stats[one.name]
        if one.name in several:
            own = replace(own, name=f"{own.name} [{pair.name}]")
        result.append(AdaptedMatrix(pair, own))
    return AskedAdapters(found, base, result)


def base_hint(found: Adapters) -> str:
    """What to give for --base, where a folder on this machine is named by a configuration."""
    for pair in found.pairs[:1]:
        config = config_beside(pair.halves[0].source.path)
        if config is not None and config.base and _is_folder(config.base):
            return config.base
    return "MODEL"


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class Added:
    """What a pair adds to a matrix: RMS of ΔW, None where `reason` says why, and that over the rms
    of the matrix, None without one that has a size."""

    matrix: AdaptedMatrix
    added_rms: float | None
    reason: str = ""

    @property
    def name(self) -> str:
        return self.matrix.name

    @property
    def rms(self) -> float | None:
        return self.matrix.rms

    @property
    def added_relative(self) -> float | None:
        return self.matrix.relative(self.added_rms)


def inspected(
    checkpoint: Checkpoint, wanted: Iterable[Tensor], settings: Settings, selection: Selection
) -> Part:
    """What an inspection says of adapters. Raises UsageError, CheckpointError."""
    asked = asked_adapters(checkpoint, wanted, settings)
    items = [added(matrix) for matrix in asked.matrices]
    return Part(
        tables(items, selection),
        asked.source,
        asked.skipped,
        summary(items) if items else {},
        [*sentences(items, asked)],
        [*notes(items, asked)],
    )


def rms_of(pair: Pair, norm: float) -> float | None:
    """RMS over the elements of ΔW of ‖B·A‖, scale included; None where scale or norm are not
    known."""
    factor = pair.scale.factor
    if factor is None or not math.isfinite(norm):
        return None
    return finite(abs(factor) * norm / math.sqrt(math.prod(pair.shape)))


def added_rms(pair: Pair) -> float | None:
    """RMS of ΔW; None where it is not known. Raises CheckpointError."""
    return rms_of(pair, product_norm(gram([pair.up]), gram([pair.down])))


def added(matrix: AdaptedMatrix) -> Added:
    """What the pair adds. Raises CheckpointError."""
    pair = matrix.pair
    if pair.scale.factor is None:
        return Added(matrix, None, matrix.unmatched or pair.scale.reason)
    rms = added_rms(pair)
    return Added(matrix, rms, matrix.unmatched or ("" if rms is not None else NOT_FINITE))


def summary(items: Sequence[Added]) -> dict[str, Any]:
    """The figures of the sentences."""
    known = [each.added_rms for each in items if each.added_rms is not None]
    shares = [each.added_relative for each in items if each.added_relative is not None]
    return {
        "adapted_matrices": len(items),
        "before_first_step": sum(rms == 0 for rms in known),
        "added_rms_median": median(known) if known else None,
        "added_relative_median": median(shares) if shares else None,
        "added_relative_max": max(shares, default=None),
    }


def sentences(items: Sequence[Added], asked: AskedAdapters) -> Iterator[str]:
    """What adapters add, in one sentence, and how to have it beside the base."""
    if not items:
        return
    found = summary(items)
    count, share = counted(len(items)), found["added_relative_median"]
    if found["before_first_step"] == len(items):
        yield f"B·A is zero in {count}, as before the first step."
    elif share is not None:
        most = percent(found["added_relative_max"])
        yield f"The adapter adds {percent(share)} % to W (median of {count}; at most {most} %)."
    elif found["added_rms_median"] is not None:
        middle = number(found["added_rms_median"])
        yield f"The adapter adds ΔW of RMS {middle} (median of {count})."
    if asked.base is None:
        hint = printable(base_hint(asked.found))
        yield f"Pass --base {hint} to compare ΔW with the weights that it is added to."


def notes(items: Sequence[Added], asked: AskedAdapters) -> Iterator[str]:
    """Why ΔW is not known of some, and what the configuration says beside."""
    reasons = Counter(each.reason for each in items if each.added_rms is None)
    for reason, n in reasons.items():
        yield printable(f"ΔW is not known for {n} of {counted(len(items))}: {reason}")
    if asked.base is None:
        others = Counter(why for why in asked.found.others.values())
        for why, n in others.items():
            yield printable(f"ΔW is not known for {counted(n)}: {why}")
    yield from map(printable, asked.found.notes if items else ())


def tables(items: Sequence[Added], selection: Selection) -> list[Table]:
    """The adapted matrices, if there are some; people see them beside all rows as they come."""
    if not items:
        return []
    names = ["name", "rank", "scale", "added_rms"]
    if any(each.matrix.base for each in items):
        names += ["rms", "added_relative"]
    shown = [column for column in COLUMNS if column.name in names] if selection.is_whole else []
    return [Table("adapted", COLUMNS, shown, made_of(items, COLUMNS), TITLE)]


def made_of(items: Sequence[Any], columns: Sequence[Column]) -> Rows:
    """A row of each item, which has a name."""
    return Rows(items, lambda each: row(columns, each.name, [each]))


def counted(n: int) -> str:
    """1 adapted matrix, 28 adapted matrices."""
    return f"{n:,} adapted {'matrix' if n == 1 else 'matrices'}"


def _of_pair(name: str) -> Any:
    return lambda each: getattr(each.matrix.pair, name)


def _scale(name: str) -> Any:
    return lambda each: getattr(each.matrix.pair.scale, name)


SHARE = partial(
    Column,
    "added_relative",
    "added %",
    "percent",
    "RMS of ΔW over rms of the matrix; in tables in %",
)
MODULE = Column("module", "module", "text", "the adapted module's name, without wrappers", 8)
RANK = Column("rank", "rank", "count", "size that the halves A and B have in common", 4)
SCALE = Column(
    "scale",
    "scale",
    "setting",
    "what B·A is multiplied by: alpha/rank, of rsLoRA alpha/√rank; null where alpha is not known",
    3,
)
ADDED_RMS = Column("added_rms", "ΔW rms", "number", "RMS of what the adapter adds: scale·B·A", 1)
LR = Column("lr", "lr", "setting", "the lr of its halves; null where it is not one", 3)
COLUMNS = (
    Column("name", "name", "text", "the matrix's in the base; else the adapted module's"),
    replace(MODULE, get=_of_pair("module")),
    Column(
        "shape",
        "shape",
        "shape",
        "outputs and inputs of the product",
        6,
        lambda each: [*each.matrix.pair.shape],
    ),
    replace(RANK, get=_of_pair("rank")),
    Column(
        "alpha", "alpha", "setting", "LoRA's alpha; null where it is not known", 5, _scale("alpha")
    ),
    replace(SCALE, get=_scale("factor")),
    Column("dora", "DoRA", "sentence", "a magnitude rescales W + ΔW", 9, _of_pair("is_dora")),
    Column("rms", "rms", "number", "rms of the matrix in the base; null without one", 2),
    ADDED_RMS,
    SHARE(),
    Column(
        "reason",
        "reason",
        "sentence",
        "why a figure is not known",
        get=lambda each: each.reason or None,
    ),
)
"""The fields of `adapted`, the adapted matrices of an inspection."""
