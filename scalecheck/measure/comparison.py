"""What stands side by side in two checkpoints, or in reports of them, and how it is compared."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from scalecheck.checkpoint.evidence.wrappers import matched
from scalecheck.checkpoint.files.folders import Unread
from scalecheck.checkpoint.kinds import TensorKind
from scalecheck.checkpoint.live.arrays import view_of
from scalecheck.checkpoint.naming import family, layer
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.recorded import (
    COUNTS,
    FIGURES,
    Recorded,
    RecordedStats,
    is_recorded,
    recorded,
)
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.dtypes import DTYPES
from scalecheck.measure.change import Change, compare
from scalecheck.measure.measuring import measure
from scalecheck.measure.pipeline import Progress
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.report.formatting import plural

Side = Checkpoint | Recorded

S = TypeVar("S", bound=Tensor | RecordedStats)

STATUSES = ("identical", "alike", "changed", "retyped", "reshaped", "added", "removed")


@dataclass(frozen=True)
class Pair:
    """A name with what stands behind it on either side; None where nothing does."""

    name: str
    before: Tensor | RecordedStats | None
    after: Tensor | RecordedStats | None

    @property
    def some(self) -> Tensor | RecordedStats:
        """The later side, or the one there is."""
        side = self.after or self.before
        assert side is not None
        return side

    @property
    def tensors(self) -> tuple[Tensor, Tensor] | None:
        """Both, where their elements can be compared."""
        before, after = self.before, self.after
        if isinstance(before, Tensor) and isinstance(after, Tensor):
            return None if before.shape != after.shape or self.unmeasured else (before, after)
        return None

    @property
    def raw(self) -> tuple[Tensor, Tensor] | None:
        """Both as bytes, where their type has no numbers and they lie in their files alike."""
        before, after = self.before, self.after
        if not isinstance(before, Tensor) or not isinstance(after, Tensor):
            return None
        form, other = ((side.dtype, side.shape, side.strides) for side in (before, after))
        if form != other or not before.is_dense:
            return None
        is_code = before.kind.kind == after.kind.kind == "code"
        reasons = {before.unmeasured, after.unmeasured}
        if not is_code and reasons != {before.dtype.unmeasured} - {None}:
            return None
        return _bytes(before), _bytes(after)

    @property
    def unmeasured(self) -> str | None:
        """Why one of the tensors cannot be measured."""
        for side in (self.before, self.after):
            if side is not None and side.unmeasured:
                return side.unmeasured
        return None

    def original(self, names: set[str]) -> str:
        """The pair that it is tied to on both sides, whose change is its own; else itself."""
        ties = {getattr(side, "tied_to", None) for side in (self.before, self.after)}
        (tie,) = ties if len(ties) == 1 else (None,)
        return tie if tie in names else self.name


@dataclass(frozen=True)
class Comparison:
    """A pair compared: its change, or where elements were not compared the scales of its sides.

    is_copy: the pair that it is tied to has the same change. bytes: of a type that has no numbers.
    """

    pair: Pair
    change: Change | None
    before: TensorStats | RecordedStats | None
    after: TensorStats | RecordedStats | None
    is_copy: bool = False
    bytes: Change | None = None

    @property
    def name(self) -> str:
        return self.pair.name

    @property
    def kind(self) -> TensorKind:
        return self.pair.some.kind

    @property
    def is_of_model(self) -> bool:
        """It is no average, moment or other network beside the model."""
        return self.kind.kind not in ("average", "moment", "other")

    @cached_property
    def role(self) -> str:
        return self.kind.role

    @property
    def layer(self) -> str:
        return layer(self.name)

    @property
    def family(self) -> str:
        return family(self.name)

    @property
    def numel(self) -> int:
        return self.pair.some.numel

    @property
    def status(self) -> str | None:
        """One of STATUSES; None where nothing can be said."""
        before, after = self.pair.before, self.pair.after
        if before is None or after is None:
            return "added" if before is None else "removed"
        if before.shape != after.shape:
            return "reshaped"
        if dtype_of(before) != dtype_of(after):
            return "retyped"
        if (change := self.change or self.bytes) is not None:
            return "changed" if change.changed else "identical"
        if self.before is None or self.after is None or self.pair.unmeasured:
            return None
        for name in (*FIGURES, *COUNTS):
            was, now = getattr(self.before, name), getattr(self.after, name)
            if was is not None and now is not None and was != now:
                return "changed"
        return "alike"


def opened(side: Checkpoint | str | Path, recursive: bool = False, raw: bool = False) -> Side:
    """The checkpoint, or the report, at a path. Raises CheckpointError."""
    if isinstance(side, Checkpoint):
        return side
    path = Path(side)
    if is_recorded(path):
        return recorded(path)
    return open_checkpoint(path, recursive=recursive, raw=raw)


def unread_of(side: Side) -> Sequence[Unread]:
    """The folders of a side that were not read."""
    return side.unread if isinstance(side, Checkpoint) else ()


def renamed(before: Side, after: Side) -> dict[str, str]:
    """The names of the later side that differ by wrappers alone, with those of the first."""
    return matched(_named(before), _named(after))


def pairs_of(before: Side, after: Side, names: Mapping[str, str]) -> list[Pair]:
    """Every name of both, in the order of the first and then of the second; names: what the later
    side's are called in the first, where they differ."""
    first = _named(before)
    second = {names.get(n, n): called(side, names) for n, side in _named(after).items()}
    return [Pair(name, first.get(name), second.get(name)) for name in {**first, **second}]


def called(side: S, names: Mapping[str, str]) -> S:
    """The tensor under the other side's name."""
    name = names.get(side.name, side.name)
    if isinstance(side, RecordedStats):
        return side if name == side.name else replace(side, name=name)
    tie = None if side.tied_to is None else names.get(side.tied_to, side.tied_to)
    is_same = (name, tie) == (side.name, side.tied_to)
    return side if is_same else replace(side, name=name, tied_to=tie)


def same_memory(pairs: Sequence[Pair]) -> list[str]:
    """A note on tensors that are the same memory on both sides, where some are: they are compared
    with themselves."""
    views = [[*map(view_of, pair.tensors)] for pair in pairs if pair.tensors]
    count = sum(before == after is not None for before, after in views)
    if not count:
        return []
    hint = "copy.deepcopy(model.state_dict()) keeps the values of before"
    return [f"{count} of {plural(len(pairs), 'tensor')} are the same memory on both sides: {hint}"]


def compared(pairs: Sequence[Pair], jobs: int | None, progress: Progress) -> Iterator[Comparison]:
    """The line of each pair, in order. Raises CheckpointError where one cannot be read."""
    names = {pair.name for pair in pairs}
    originals = {pair.name: pair.original(names) for pair in pairs}
    both = [
        tensors
        for pair in pairs
        if originals[pair.name] == pair.name and (tensors := pair.tensors or pair.raw)
    ]
    # Side by side: a tie is to a name of its own side.
    alone = [
        tuple(
            side
            for pair in pairs
            if not (pair.tensors or pair.raw)
            and isinstance(side := getattr(pair, place), Tensor)
            and not side.unmeasured
        )
        for place in ("before", "after")
    ]
    sizes = [sum(tensor.nbytes for tensor in tensors) for tensors in alone]
    total = sum(sizes) + sum(side.nbytes for tensors in both for side in tensors)
    scales = [
        {
            tensor.name: TensorStats.of(tensor, sketch)
            for tensor, sketch in measure(tensors, jobs, _after(progress, begun, total))
        }
        for tensors, begun in zip(alone, (0, sizes[0]), strict=True)
    ]
    changes = compare(both, jobs, _after(progress, sum(sizes), total))
    known: dict[str, Change] = {}
    for pair in pairs:
        original = originals[pair.name]
        if pair.tensors or pair.raw:
            known[pair.name] = known[original] if original in known else next(changes)
        before, after = (
            side if isinstance(side, RecordedStats) else scales[place].get(pair.name)
            for place, side in enumerate((pair.before, pair.after))
        )
        change, is_copy = known.get(pair.name), original != pair.name
        if pair.raw:
            yield Comparison(pair, None, None, None, is_copy, bytes=change)
        else:
            yield Comparison(pair, change, before, after, is_copy)


def _after(progress: Progress, begun: int, total: int) -> Progress:
    """The progress of a part of the work, of all of it."""
    return lambda done, _: progress(begun + done, total)


def _bytes(tensor: Tensor) -> Tensor:
    shape = (tensor.nbytes,)
    return replace(tensor, dtype=DTYPES["U8"], shape=shape, strides=None, unmeasured=None)


def dtype_of(side: Tensor | RecordedStats) -> str:
    """The storage type's name."""
    return side.dtype.name if isinstance(side, Tensor) else side.dtype


def _named(side: Side) -> Mapping[str, Tensor | RecordedStats]:
    if isinstance(side, Recorded):
        return side.every
    return {tensor.name: tensor for tensor in side.tensors}
