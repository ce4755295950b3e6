"""A tensor through the checkpoints of a run: its scale at each, and how far it lies from where it
was at the one before, at the first and at a chosen one. A block of each file is read once, and
those of four checkpoints are held at a time."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from threading import Event
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.aligned import ALIGNED, PART
from scalecheck.checkpoint.boxes import Box, boxes, read_box, steps_of
from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.dtypes import DType
from scalecheck.errors import CheckpointError
from scalecheck.measure.change import Change, between
from scalecheck.measure.pipeline import Portion, Progress, worked
from scalecheck.measure.scaled_float import ScaledFloat

Words = NDArray[np.generic]
_Stretch = range | Box
_NOTHING = ScaledFloat()


class Unreadable(Exception):
    """A checkpoint of a run could not be read. number: which one."""

    def __init__(self, number: int, error: CheckpointError) -> None:
        super().__init__(str(error))
        self.number, self.error = number, error


@dataclass(frozen=True)
class Track:
    """A tensor by its name, in the checkpoints in which it has one shape, by their numbers."""

    name: str
    tensors: Mapping[int, Tensor]

    @cached_property
    def last(self) -> Tensor:
        return self.tensors[max(self.tensors)]

    @property
    def numel(self) -> int:
        return self.last.numel


@dataclass(frozen=True)
class TrackPoint:
    """A tensor at one checkpoint. numel, finite: its elements, and those that are finite. square:
    Σw² of these, absmax: the largest |w|. previous, first, chosen: the change since the checkpoint
    before, the first and the chosen one; None where it is not there, and of the first to itself.
    Adds up over the parts of a tensor."""

    numel: int = 0
    finite: int = 0
    square: ScaledFloat = _NOTHING
    absmax: float = 0.0
    previous: Change | None = None
    first: Change | None = None
    chosen: Change | None = None

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.numel + other.numel,
            self.finite + other.finite,
            self.square + other.square,
            max(self.absmax, other.absmax),
            _sum(self.previous, other.previous),
            _sum(self.first, other.first),
            _sum(self.chosen, other.chosen),
        )

    @property
    def rms(self) -> float | None:
        """√mean(w²) of what is finite."""
        return self.square.root_over(ScaledFloat(self.finite))


def _sum(one: Change | None, other: Change | None) -> Change | None:
    return other if one is None else one if other is None else one + other


def follow(
    tracks: Sequence[Track], chosen: int | None, jobs: int | None, progress: Progress
) -> Iterator[dict[int, TrackPoint]]:
    """The points of each track by the numbers of checkpoints, in the order given. chosen: the
    number of the checkpoint to compare with beside the first.

    `jobs` threads, as many as cores where None; the result does not depend on it. Raises Unreadable
    where a tensor cannot be read, UsageError for a number of jobs that is none.
    """
    numbers = {_key(track.last): [*track.tensors] for track in tracks}
    units = [tuple(track.tensors.values()) for track in tracks]
    found = worked(units, lambda stop: partial(_followed, numbers, chosen, stop), jobs, progress)
    for track, parts in zip(tracks, found, strict=True):
        sums = [sum(points, TrackPoint()) for points in zip(*parts, strict=True)]
        yield dict(zip(track.tensors, sums, strict=True))


def _key(tensor: Tensor) -> tuple[str, tuple[int, ...]]:
    return tensor.name, tensor.shape


def _followed(
    numbers: Mapping[Any, Sequence[int]],
    chosen: int | None,
    stop: Event,
    portion: Portion,
    readers: Readers,
) -> list[TrackPoint]:
    """The points of a part of a track, one a checkpoint."""
    own = numbers[_key(portion.tensors[0])]
    points = [TrackPoint() for _ in own]
    buffers = [np.empty(8 * ALIGNED, np.uint8) for _ in range(4)]
    at_chosen = own.index(chosen) if chosen in own else None
    for stretch in _stretches(portion):
        if stop.is_set():
            break
        held: Words | None = None
        if at_chosen is not None:
            held = _read(portion, own, at_chosen, stretch, readers, buffers[3])
        first: Words | None = None
        last: Words | None = None
        for place, tensor in enumerate(portion.tensors):
            buffer = buffers[0] if place == 0 else buffers[1 + place % 2]
            is_held = place == at_chosen and held is not None
            words = held if is_held else _read(portion, own, place, stretch, readers, buffer)
            assert words is not None
            previous = since_first = since_chosen = None
            if last is not None and own[place - 1] == own[place] - 1:
                before = portion.tensors[place - 1].dtype
                previous = between(last, before, words, tensor.dtype)
            if first is not None and own[0] == 0:
                start = portion.tensors[0].dtype
                is_same = place == 1 and previous is not None
                since_first = previous if is_same else between(first, start, words, tensor.dtype)
            if held is not None and at_chosen is not None and not is_held:
                there = portion.tensors[at_chosen].dtype
                since_chosen = between(held, there, words, tensor.dtype)
            point = replace(
                _scale(words, tensor.dtype, previous or since_first),
                previous=previous,
                first=since_first,
                chosen=since_chosen,
            )
            points[place] += point
            first, last = words if place == 0 else first, words
    return points


def _stretches(portion: Portion) -> Iterator[_Stretch]:
    """The parts of a portion that are read at once: elements as they are stored, where all tensors
    lie in one order, else boxes."""
    tensors = portion.tensors
    strides = [*map(steps_of, tensors)]
    if strides.count(strides[0]) == len(strides) and all(tensor.is_dense for tensor in tensors):
        for start in range(portion.start, portion.stop, ALIGNED):
            yield range(start, min(start + ALIGNED, portion.stop))
    else:
        yield from boxes(tensors[0].shape, strides, PART)


def _read(
    portion: Portion,
    numbers: Sequence[int],
    place: int,
    stretch: _Stretch,
    readers: Readers,
    buffer: NDArray[np.uint8],
) -> Words:
    """The words of a stretch of one of the tensors. Raises Unreadable."""
    tensor = portion.tensors[place]
    try:
        if isinstance(stretch, Box):
            return read_box(tensor, stretch, readers).ravel()
        blocks = tensor.blocks(stretch.start, stretch.stop, readers=readers, buffer=buffer)
        return next(blocks)
    except CheckpointError as error:
        raise Unreadable(numbers[place], error) from error


def _scale(words: Words, dtype: DType, change: Change | None) -> TrackPoint:
    """The scale of some words of floats; change: one whose later side they are."""
    if change is None or change.non_finite:
        change = between(words, dtype, words, dtype)
    return TrackPoint(len(words), change.summed, change.after, _absmax(words, dtype))


def _absmax(words: Words, dtype: DType) -> float:
    """The largest |w| of the finite ones; 0 where there is none."""
    if dtype.layout is not None:  # a sign and a magnitude, whose bits are in the numbers' order
        bits = words.view(f"u{dtype.itemsize}")
        magnitude = bits.dtype.type((1 << (dtype.bits - 1)) - 1)
        top = np.array([(bits & magnitude).max(initial=0)], bits.dtype).view(words.dtype)
        if math.isfinite(largest := float(dtype.decode(top)[0])):
            return largest
    numbers = np.abs(dtype.decode(words))
    return float(numbers[np.isfinite(numbers)].max(initial=0.0))
