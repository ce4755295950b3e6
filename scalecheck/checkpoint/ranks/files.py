"""The files of several ranks as one checkpoint: distributed tensors are put together where each
file says which part it holds, and what all ranks hold alike is taken once. The rest stays as it
lies in each file, under the number of its rank."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from scalecheck.checkpoint.malformed import content_of
from scalecheck.checkpoint.pieces import Piece, joined
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.report.formatting import listed, plural

MAX_COMPARED_NBYTES = 1 << 24  # of what ranks hold alike: buffers, gains and counts of steps
MAX_MISSING = 100_000  # ranks that are looked for

Held = Mapping[int, Tensor]
"""A tensor in the files of ranks, by their numbers."""


def put_together(path: Path, parts: Mapping[int, Checkpoint]) -> Checkpoint:
    """One checkpoint of the files of ranks. Raises CheckpointError where parts overlap."""
    merging = Merging(path, "rank")
    with content_of(path):
        tensors = merging.merged({rank: part.tensors for rank, part in parts.items()})
        sliced = frozenset(tensor.name for tensor in tensors) - merging.whole
        optimizer = merging.merged({rank: part.optimizer for rank, part in parts.items()})
    outside = {name for part in parts.values() for name in part.non_model}
    outside |= {name for name in sliced if name.partition("/")[2] in outside}
    forms = " and ".join(sorted({part.format for part in parts.values()}))
    return Checkpoint(
        path,
        f"{forms}, {plural(len(parts), 'rank')}",
        tensors,
        {key: text for part in parts.values() for key, text in part.metadata.items()},
        frozenset(name for name in outside if name in merging.whole | sliced),
        optimizer,
        tuple(dict.fromkeys(note for part in parts.values() for note in part.notes)),
        in_order=not sliced and all(part.in_order for part in parts.values()),
        layout=(*merging.layout([*parts]),),
        ranks=(*parts,),
    )


class Merging:
    """Puts the tensors of ranks together. `whole` are the names of those that were, `reasons` why
    others were not."""

    def __init__(self, path: Path, prefix: str) -> None:
        self.path = path
        self.prefix = prefix
        self.whole: set[str] = set()
        self.reasons: dict[str, str] = {}
        self.lacking: list[str] = []
        self.world = 0
        self._compared = 0

    def merged(self, tensors: Mapping[int, Sequence[Tensor]]) -> tuple[Tensor, ...]:
        """The tensors of all ranks, whole ones under their own names. Raises Malformed."""
        held: dict[str, dict[int, Tensor]] = {}
        for rank, own in tensors.items():
            for tensor in own:
                held.setdefault(tensor.name, {})[rank] = tensor
        found: list[Tensor] = []
        for name, by_rank in held.items():
            whole = self.one(name, by_rank)
            if isinstance(whole, Tensor):
                self.whole.add(name)
                found.append(whole)
                continue
            self.reasons[name] = whole
            found += (self._slice(rank, tensor, whole) for rank, tensor in by_rank.items())
        return (*found,)

    def one(self, name: str, held: Held) -> Tensor | str:
        """The whole tensor, or why it is not certain how it was cut. Raises Malformed where its
        parts overlap."""
        tensors = [*held.values()]
        self.world = max([self.world, *(t.share.ranks for t in tensors if t.share)])
        if not any(tensor.share for tensor in tensors):
            return self._alike(tensors)
        if not all(tensor.share for tensor in tensors):
            return "some ranks say which part they hold and others do not"
        if len({tensor.share.shape for tensor in tensors if tensor.share}) > 1:
            return "the ranks do not agree on the shape of the whole"
        pieces = _pieces(held)
        if isinstance(pieces, str):
            return pieces
        first = tensors[0]
        assert first.share is not None
        whole = joined(name, first.share.shape, pieces, self.path)
        if whole.unmeasured and whole.unmeasured not in (one.unmeasured for one in tensors):
            self.lacking.append(name)
        ties = {tensor.tied_to for tensor in tensors}
        tied_to = ties.pop() if len(ties) == 1 else None
        is_trained = any(tensor.is_trained for tensor in tensors)
        return replace(whole, piece=None, share=None, tied_to=tied_to, is_trained=is_trained)

    def _alike(self, tensors: Sequence[Tensor]) -> Tensor | str:
        """The one tensor that all ranks hold, or why it is not one."""
        first, *others = tensors
        if first.piece:
            return first.piece
        if not others:
            return first
        if any((one.dtype, one.shape) != (first.dtype, first.shape) for one in others):
            return "each rank has one of another shape or type"
        self._compared += first.nbytes
        if self._compared > MAX_COMPARED_NBYTES:
            return "whether each rank has the same is not compared, so much is large"
        if first.unmeasured or all(are_equal(first, other) for other in others):
            return first
        return "each rank has another one, and no file says how they belong together"

    def _slice(self, rank: int, tensor: Tensor, reason: str) -> Tensor:
        name = f"{self.prefix}{rank}/{tensor.name}"
        tied_to = tensor.tied_to and f"{self.prefix}{rank}/{tensor.tied_to}"
        piece = tensor.piece or f"of one rank: {reason}"
        return replace(tensor, name=name, tied_to=tied_to, piece=piece, share=None)

    def layout(self, ranks: Sequence[int]) -> list[str]:
        """Notes on what was put together, and on what was not."""
        notes = []
        if self.whole:
            what = plural(len(self.whole), "tensor")
            notes.append(f"{what} put together from the files of {plural(len(ranks), 'rank')}")
        missing = sorted(set(range(min(self.world, MAX_MISSING))) - {*ranks})
        if missing:
            are = "is" if len(missing) == 1 else "are"
            lost = f": not complete without: {listed(self.lacking)}" if self.lacking else ""
            notes.append(
                f"{plural(len(missing), 'rank')} of {self.world} {are} missing"
                f" ({listed([str(rank) for rank in missing])}){lost}"
            )
        elif self.lacking:
            notes.append(f"no rank holds all of {listed(self.lacking)}")
        if self.reasons:
            first, why = next(iter(self.reasons.items()))
            more = len(self.reasons) - 1
            words = f"{first} is read rank by rank, as {self.prefix}{ranks[0]}/NAME: {why}"
            notes.append(f"{words}; {plural(more, 'more tensor')} likewise" if more else words)
        return notes


def _pieces(held: Held) -> list[Piece] | str:
    """The boxes of all shares; replicas of one are taken once. Why not, where two ranks say that
    they hold the same and are no replicas."""
    pieces: list[Piece] = []
    seen: dict[str, dict[str, int]] = {}
    for rank, tensor in held.items():
        share = tensor.share
        assert share is not None
        if share.local_shape != tensor.shape:
            return "a rank's part has another shape than its place"
        replicas = seen.setdefault(repr(share.ranges), {})
        if tensor.numel and repr(share.replica) in replicas:
            other = replicas[repr(share.replica)]
            return f"ranks {other} and {rank} say that they hold the same part"
        if not replicas and (boxes := share.boxes()):
            if len(boxes) > 1 and tensor.dtype.bits < 8:
                return "its elements are packed"
            pieces += (Piece(start, _box(tensor, at, sizes)) for start, at, sizes in boxes)
        replicas[repr(share.replica)] = rank
    return pieces


def _box(tensor: Tensor, at: Sequence[int], sizes: tuple[int, ...]) -> Tensor:
    """The elements of a tensor from an index on, of these sizes."""
    if sizes == tensor.shape:
        return tensor
    steps = tensor.strides
    if steps is None:
        steps, step = (), 1
        for size in reversed(tensor.shape):
            steps, step = (step, *steps), step * size
    first = sum(place * stride for place, stride in zip(at, steps, strict=True))
    offset = tensor.offset + first * tensor.dtype.itemsize
    strides = tuple(step if n > 1 else 0 for step, n in zip(steps, sizes, strict=True))
    return replace(tensor, shape=sizes, offset=offset, strides=strides)


def are_equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one type and shape have the same bits."""
    if one.unmeasured or other.unmeasured:
        return False
    a, b = (np.ascontiguousarray(tensor.words()) for tensor in (one, other))
    return bool(np.array_equal(a.reshape(-1).view(np.uint8), b.reshape(-1).view(np.uint8)))
