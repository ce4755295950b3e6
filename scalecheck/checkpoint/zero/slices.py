"""The parts of a model that tensor-parallel and pipeline ranks hold, as one: slices are put
together where the checkpoint says along which dimension they were cut, else they stay slices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.pieces import Piece, joined
from scalecheck.checkpoint.state_file import recorded
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.checkpoint.zero.parameters import Parameters
from scalecheck.checkpoint.zero.patterns import matches, parsed
from scalecheck.checkpoint.zero.states import Table
from scalecheck.report.formatting import excerpt

Cut = Literal["replicated", "rows", "columns", "two halves"]

MAX_PATTERNS = 4096
_REPLICATED = ("tp_replicated_parameter_patterns", "parameter_to_average_patterns")
_COLUMNS = "parameter_with_row_parallelism_patterns"
_HALVES = "parameter_with_2_sub_params_cat_dim_0"
_VOCABULARY = "vocabulary_parameter_patterns"
_UNCERTAIN = ("parameter_with_sub_params", "autotp_unsupported_parameter_patterns", "affine_map")


@dataclass(frozen=True)
class Part:
    """What one tensor-parallel or pipeline rank holds: the model's tensors, its buffers among them,
    and what the optimizer keeps for them."""

    number: int
    rows: Mapping[str, Tensor]
    buffers: frozenset[str]
    found: Parameters


@dataclass
class Slicing:
    """How the parameters were cut among `ranks` tensor-parallel ranks, by the patterns that the
    checkpoint has for their names."""

    table: Table
    ranks: int
    patterns: dict[str, list[list[tuple[str, str]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind, patterns in self.table.items():
            if type(kind) is str and isinstance(patterns, (list, tuple)):
                few = patterns[:MAX_PATTERNS]
                self.patterns[kind] = [atoms for one in few if (atoms := parsed(one)) is not None]

    @property
    def is_known(self) -> bool:
        """The checkpoint says how all are cut, in words that are understood."""
        given = [one for one in self.table.values() if isinstance(one, (list, tuple))]
        is_read = sum(map(len, given)) == sum(map(len, self.patterns.values()))
        return bool(self.table) and is_read and not any(map(self.table.get, _UNCERTAIN))

    def cut(self, name: str) -> Cut:
        """How a parameter was cut."""
        if any(self._has(kind, name) for kind in _REPLICATED):
            return "replicated"
        if self._has(_HALVES, name):
            return "two halves"
        return "columns" if self._has(_COLUMNS, name) else "rows"

    def vocabulary(self, name: str) -> int | None:
        """The rows of an embedding without those that fill it up for an even cut."""
        size = self.table.get("original_vocab_size")
        return size if type(size) is int and self._has(_VOCABULARY, name) else None

    def _has(self, kind: str, name: str) -> bool:
        return any(matches(atoms, name) for atoms in self.patterns.get(kind, ()))

    def whole(self, shown: str, name: str, slices: Sequence[Tensor], path: Path) -> Tensor:
        """The tensor of the slices of a parameter, in the order of ranks. Raises Malformed where
        they do not fit."""
        cut, first = self.cut(name), slices[0]
        if cut == "replicated" or not first.shape:
            return replace(first, name=shown)
        axis = 1 if cut == "columns" and len(first.shape) > 1 else 0
        for one in slices:
            if _beside(one, axis) != _beside(first, axis):
                shapes = f"{[*first.shape]} and {[*one.shape]}"
                raise Malformed(f"{excerpt(name)}: has slices of {shapes}, cut along {axis}")
        parts = [slices]
        if cut == "two halves":
            parts = [*zip(*(_halves(one, name) for one in slices), strict=True)]
        pieces = []
        start = [0] * len(first.shape)
        for one in (one for part in parts for one in part):
            pieces.append(Piece((*start,), one))
            start[axis] += one.shape[axis]
        shape = (*first.shape[:axis], start[axis], *first.shape[axis + 1 :])
        whole = joined(shown, shape, pieces, path)
        rows = self.vocabulary(name)
        if rows is None or rows == shape[0]:
            return whole
        if not 0 < rows < shape[0]:
            raise Malformed(f"{excerpt(name)}: has {shape[0]} rows, original_vocab_size is {rows}")
        return replace(whole, shape=(rows, *shape[1:]))


def _beside(tensor: Tensor, axis: int) -> tuple[int, ...]:
    """The sizes along the dimensions that a tensor was not cut along."""
    return tensor.shape[:axis] + tensor.shape[axis + 1 :]


def _halves(tensor: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """The upper and lower rows of a tensor that is two side by side."""
    rows, *rest = tensor.shape
    if rows % 2 or tensor.strides is not None:
        raise Malformed(f"{excerpt(name)}: a slice of two halves has {rows} rows")
    upper = replace(tensor, shape=(rows // 2, *rest))
    return upper, replace(upper, offset=tensor.offset + upper.numel * tensor.dtype.itemsize)


def merged(
    parts: Sequence[Part], slicing: Slicing, path: Path
) -> tuple[dict[str, Tensor], Parameters]:
    """The parts as one. Ranks of a pipeline hold different tensors, and the same ones of those that
    its first and last stage share; tensor-parallel ranks hold slices of the same. Raises
    Malformed."""
    owners: dict[str, list[Part]] = {}
    for part in parts:
        for name in dict.fromkeys((*part.rows, *part.found.masters)):
            owners.setdefault(name, []).append(part)
    rows: dict[str, Tensor] = {}
    found = Parameters(notes=[*dict.fromkeys(n for part in parts for n in part.found.notes)])
    names: dict[str, list[str]] = {}
    for name, own in owners.items():
        owner = next((part for part in own if name in part.found.masters), own[0])
        stage = owner.number // slicing.ranks
        own = [part for part in own if part.number // slicing.ranks == stage]
        if name in owner.buffers:  # every rank has them whole
            own = own[:1]
        if len(own) == 1 or slicing.is_known:
            names[name] = [name]
            _put_together(name, own, slicing, path, rows, found)
            continue
        names[name] = [f"mp_rank_{part.number:02}/{name}" for part in own]
        for part, shown in zip(own, names[name], strict=True):
            _put_together(name, [part], slicing, path, rows, found, shown)
            word = f"slice {part.number % slicing.ranks} of {len(own)}"
            rows[shown] = replace(
                rows[shown], piece=f"{word}: each tensor is a part of a larger one"
            )
    for number in range(max(len(part.found.groups) for part in parts)):
        groups = [part.found.groups[number] for part in parts if number < len(part.found.groups)]
        members = dict.fromkeys(one for _, group in groups for n in group for one in names[n])
        found.groups.append((groups[0][0], [n for n in members if n in found.masters]))
    return rows, found


def _put_together(
    name: str,
    own: Sequence[Part],
    slicing: Slicing,
    path: Path,
    rows: dict[str, Tensor],
    found: Parameters,
    shown: str = "",
) -> None:
    """Takes in one tensor of parts, its master weights and its state."""
    shown = shown or name

    def whole(at: str, slices: Sequence[Tensor]) -> Tensor:
        if len(slices) == 1:
            return replace(slices[0], name=at, tied_to=None)
        return slicing.whole(at, name, slices, path)

    if all(name in part.rows for part in own):
        rows[shown] = whole(shown, [part.rows[name] for part in own])
    if not all(name in part.found.masters for part in own):
        return
    found.masters[shown] = whole(shown, [part.found.masters[name] for part in own])
    is_row = all(part.rows.get(name) is part.found.masters[name] for part in own)
    if is_row:
        rows[shown] = found.masters[shown]
    states = [part.found.states.get(name, {}) for part in own]
    found.states[shown] = {
        key: _entry(f"{shown}.{key}", [state[key] for state in states], whole)
        for key in states[0]
        if all(key in state for state in states)
    }


def _entry(
    at: str, entries: Sequence[object], whole: Callable[[str, Sequence[Tensor]], Tensor]
) -> object:
    """An entry of a parameter's state; a number is that of the first rank."""
    tensors = [one.made for one in entries if isinstance(one, TensorRecord) and one.made]
    if len(tensors) < len(entries) or not tensors[0].shape:
        return entries[0]
    return recorded(whole(at, tensors))
