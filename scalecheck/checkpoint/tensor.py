"""Tensors that are read when asked and not before, and the checkpoint that lists them. Memory is
bounded by the block, never by the tensor."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.files.folders import Unread
from scalecheck.checkpoint.kinds import LONE, TensorKind, family_keys
from scalecheck.checkpoint.share import Share
from scalecheck.checkpoint.source import Readers, Source
from scalecheck.dtypes import DType
from scalecheck.errors import CheckpointError

MAX_NAME = 1024  # characters; the longest names of real models have some 150
MAX_DIMENSIONS = 64  # numpy's and torch's own limit
BLOCK_NBYTES = 1 << 20  # half of a common level-2 cache: a block is counted where it was read


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named array of a checkpoint, whose elements lie in a source: in a file, in pieces of
    several, or in numbers that are made of codes and factors when they are read.

    `offset` is the byte at which element (0, …, 0) lies; `strides` are in elements, None where the
    elements are contiguous in row-major order. `unmeasured` says why the elements cannot be read
    as numbers; `tied_to` names the first tensor that is the same view of the same storage; `piece`
    says of which larger tensor it is a piece, `share` where in it, and `is_trained` that it is a
    parameter which is trained, where its file does. `declared` says what its module calls it where
    that is in memory: a "parameter" or a "buffer". `stored_nbytes` is what its words take where
    these are not its elements, and `parts` names the stored tensors that it is made of. `kind` says
    what it is, which takes the tensors beside it: `open_checkpoint` decides it.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...] = field(hash=False)
    source: Source
    offset: int
    strides: tuple[int, ...] | None = field(default=None, hash=False)
    tied_to: str | None = None
    unmeasured: str | None = None
    piece: str | None = None
    is_trained: bool = False
    share: Share | None = field(default=None, hash=False)
    declared: str = ""
    stored_nbytes: int | None = None
    parts: tuple[str, ...] = field(default=(), hash=False)
    kind: TensorKind = LONE
    numel: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "numel", math.prod(self.shape))

    @property
    def role(self) -> str:
        """One of naming.ROLES."""
        return self.kind.role

    @property
    def is_frozen(self) -> bool:
        """It is a parameter of a module in memory that requires no gradient."""
        return self.declared == "parameter" and not self.is_trained

    @property
    def nbytes(self) -> int:
        """Bytes of its elements in storage, packed types rounded up."""
        if self.stored_nbytes is not None:
            return self.stored_nbytes
        return -(-self.numel * self.dtype.bits // 8)

    @property
    def span(self) -> int:
        """Elements of storage from the first to the last that it addresses."""
        if self.strides is None or not self.numel:
            return self.numel
        return 1 + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))

    @property
    def is_dense(self) -> bool:
        """Its elements fill one stretch of the file, in whatever order."""
        return self.span == self.numel

    @property
    def words_type(self) -> str:
        """The numpy type of its words. Raises CheckpointError where they are no numbers here."""
        if self.unmeasured or self.dtype.words is None:
            raise CheckpointError(self.source.path, f"{self.name}: {self.unmeasured}")
        return self.dtype.words

    def blocks(
        self,
        start: int = 0,
        stop: int | None = None,
        *,
        readers: Readers | None = None,
        buffer: NDArray[np.uint8] | None = None,
    ) -> Iterator[NDArray[np.generic]]:
        """Its raw words `start` to `stop`, in the order of storage, a block of at most the buffer's
        bytes at a time, shape (n,).

        A block is overwritten by the next one. Only a dense tensor can be read in part. Raises
        CheckpointError where the file ends early, changed, or holds no readable numbers for it.
        """
        words_type = self.words_type
        if buffer is None:
            buffer = np.empty(BLOCK_NBYTES, np.uint8)
        if readers is None:
            with Readers() as readers:
                yield from self.blocks(start, stop, readers=readers, buffer=buffer)
            return
        words = buffer[: buffer.nbytes - buffer.nbytes % 8].view(words_type)
        if self.is_dense:
            stop = self.numel if stop is None else stop
            for first in range(start, stop, len(words)):
                block = words[: stop - first]
                at = self.offset + first * self.dtype.itemsize
                readers[self.source].fill(at, block.view(np.uint8).data)
                yield block
        else:
            dimensions = sorted(zip(self.strides or (), self.shape, strict=True), reverse=True)
            yield from self._gather(readers, words, 0, [d for d in dimensions if d[1] > 1])

    def _gather(
        self,
        readers: Readers,
        words: NDArray[np.generic],
        first: int,
        dimensions: list[tuple[int, int]],
    ) -> Iterator[NDArray[np.generic]]:
        """The elements at `first` + Σ index·stride, over (stride, size) sorted by falling stride,
        cut along the widest dimension until a stretch of storage fits into `words`."""
        span = 1 + sum((n - 1) * stride for stride, n in dimensions)
        if span <= len(words):
            at = self.offset + first * self.dtype.itemsize
            readers[self.source].fill(at, words[:span].view(np.uint8).data)
            yield np.lib.stride_tricks.as_strided(
                words,
                [n for _, n in dimensions],
                [stride * self.dtype.itemsize for stride, _ in dimensions],
                writeable=False,
            ).ravel()
            return
        (stride, size), *rest = dimensions
        rest_span = 1 + sum((n - 1) * step for step, n in rest)
        at_once = max(1, (len(words) - rest_span) // stride + 1)
        for index in range(0, size, at_once):
            part = [(stride, count)] if (count := min(at_once, size - index)) > 1 else []
            yield from self._gather(readers, words, first + index * stride, part + rest)

    def words(self) -> NDArray[np.generic]:
        """All its raw words as one array of its shape; where it has no elements and its sizes are
        past what numpy has, these are 1. Raises CheckpointError as `blocks` does."""
        if not self.numel:
            is_held = math.prod(size or 1 for size in self.shape) < 1 << 58
            shape = self.shape if is_held else [min(size, 1) for size in self.shape]
            return np.empty(shape, self.dtype.words)
        stretch = replace(self, shape=(self.span,), strides=None)
        flat = np.empty(self.span, self.dtype.words)
        filled = 0
        for block in stretch.blocks():
            flat[filled : filled + len(block)] = block
            filled += len(block)
        if self.strides is None:
            return flat.reshape(self.shape)
        steps = [stride * self.dtype.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)

    def array(self) -> NDArray[np.float64]:
        """All its elements decoded, as one float64 array of its shape."""
        return self.dtype.decode(self.words())


@dataclass(frozen=True)
class Checkpoint:
    """What a path holds: its tensors in the order of the file, shards joined.

    `non_model` names the tensors that are not the model's: an average of it, a trainer's numbers.
    `optimizer` lists the tensors of a saved optimizer state, `notes` what was set aside, `layout`
    which files were read and which not, `unread` the folders below that were not. `in_order` says
    that the model's tensors are one state dict as its module gives it, in the order in which the
    module lists its parameters. `tree` is what a checkpoint that is no torch file holds beside its
    tensors, of which an optimizer state may be read (state_file.recorded); `ranks` are those whose
    files it was put together from, and `state_files` the torch files that hold an optimizer state,
    or the parts of ranks of one, by rank. `in_memory`: no file holds it, and the path is what it is
    called. `masters` are the weights of higher precision that the optimizer moves, by the names of
    those that are rounded from them; `rounded` are such roundings beside tensors that are master
    weights. `not_understood` says why the state that `optimizer` lists is not read, where that is
    known. It holds no open file; as a context manager it only marks the lines that use it.
    """

    path: Path
    format: str
    tensors: tuple[Tensor, ...] = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)
    non_model: frozenset[str] = frozenset()
    optimizer: tuple[Tensor, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    in_order: bool = False
    layout: tuple[str, ...] = ()
    unread: tuple[Unread, ...] = ()
    tree: object = field(default=None, repr=False)
    ranks: tuple[int, ...] = ()
    state_files: Mapping[int, Path] = field(default_factory=dict)
    in_memory: bool = False
    masters: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    rounded: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    not_understood: str = ""

    @cached_property
    def parameters(self) -> int:
        """Elements of the model's parameters, tied ones counted once."""
        return sum(t.numel for t in self.tensors if t.tied_to is None and t.kind.is_parameter)

    @cached_property
    def siblings(self) -> Mapping[str, str]:
        """The parameters by names, each with a text that its siblings share."""
        return family_keys(self.tensors, {t.name: t.kind for t in self.tensors})

    def trained(self, tensor: Tensor) -> Tensor:
        """What an optimizer moves of one of its tensors: the master weights, where it has some."""
        master = self.masters.get(tensor.name)
        return tensor if master is None or master.unmeasured else master

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors, tied ones counted once."""
        return sum(t.nbytes for t in self.tensors if t.tied_to is None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None
