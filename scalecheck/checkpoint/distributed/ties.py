"""Tied weights of a distributed checkpoint, which holds them under each of their names: one of them
has the optimizer's state, the other the same elements."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.keys import text_key
from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.tensor import BLOCK_NBYTES, Tensor


def with_ties(tensors: Iterable[Tensor], trained: Collection[str]) -> tuple[Tensor, ...]:
    """The tensors, those marked that hold the elements of one which is trained, and are not trained
    themselves. Vectors are left alone: those of two norms can be the same without being tied.

    trained: the names of parameters in the optimizer's state. Raises CheckpointError where a file
    cannot be read.
    """
    tensors = [*tensors]
    own: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.name in trained and _can_be_tied(tensor):
            own.setdefault(text_key((tensor.dtype.name, tensor.shape)), []).append(tensor)
    if not own:
        return (*tensors,)
    with Readers() as readers:
        return (*(_tied(tensor, trained, own, readers) for tensor in tensors),)


def _tied(
    tensor: Tensor,
    trained: Collection[str],
    own: dict[str, list[Tensor]],
    readers: Readers,
) -> Tensor:
    if tensor.name in trained or not _can_be_tied(tensor):
        return tensor
    alike: Sequence[Tensor] = own.get(text_key((tensor.dtype.name, tensor.shape)), ())
    same = (one.name for one in alike if _are_same(tensor, one, readers))
    return replace(tensor, tied_to=next(same, None))


def _can_be_tied(tensor: Tensor) -> bool:
    return len(tensor.shape) > 1 and tensor.unmeasured is None and tensor.strides is None


def _are_same(one: Tensor, other: Tensor, readers: Readers) -> bool:
    """Whether all elements are the same, and not one number throughout."""
    first: NDArray[np.generic] | None = None
    is_constant = True
    buffers = [np.empty(BLOCK_NBYTES, np.uint8) for _ in range(2)]
    pairs = zip(
        one.blocks(readers=readers, buffer=buffers[0]),
        other.blocks(readers=readers, buffer=buffers[1]),
        strict=True,
    )
    for block, beside in pairs:
        if not np.array_equal(block.view(np.uint8), beside.view(np.uint8)):
            return False
        first = block[:1].copy() if first is None else first
        is_constant = is_constant and bool((block == first).all())
    return not is_constant
