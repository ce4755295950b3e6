"""Tied weights of a distributed checkpoint, which holds them under each of their names: one of them
has the optimizer's state, the other the same elements."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.keys import text_key
from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.tensor import BLOCK_NBYTES, Tensor

_FIRST_NBYTES = 4096  # of a tensor, which are compared before all of it is read


def with_ties(tensors: Iterable[Tensor], trained: Collection[str]) -> tuple[Tensor, ...]:
    """The tensors, those marked that hold the elements of one which is trained, and are not trained
    themselves. Vectors are left alone: those of two norms can be the same without being tied. Each
    tensor is read once at most.

    trained: the names of parameters in the optimizer's state. Raises CheckpointError where a file
    cannot be read.
    """
    tensors = [*tensors]
    groups = [[tensor for tensor in tensors if _can_be_tied(tensor)]]
    with Readers() as readers:
        for key in (_form, partial(_first_elements, readers), partial(_elements, readers)):
            groups = [part for group in groups for part in _parted(group, key, trained)]
    tied: dict[str, str] = {}
    for group in groups:
        names = {tensor.name for tensor in group}
        own = next(tensor.name for tensor in group if tensor.name in trained)
        tied |= {name: own for name in names - {*trained} if not _is_copy(name, names)}
    return tuple(replace(one, tied_to=tied.get(one.name, one.tied_to)) for one in tensors)


def _is_copy(name: str, names: Collection[str]) -> bool:
    """Whether it is called as one of the others is inside a table of copies, such as `ema`."""
    parts = name.split(".")
    return any(".".join(parts[first:]) in names for first in range(1, len(parts)))


def _can_be_tied(tensor: Tensor) -> bool:
    return len(tensor.shape) > 1 and tensor.unmeasured is None and tensor.strides is None


def _parted(
    group: Iterable[Tensor], key: Callable[[Tensor], str | None], trained: Collection[str]
) -> list[list[Tensor]]:
    """The tensors of a group by a key, where some of the same key are trained and some are not."""
    parts: dict[str, list[Tensor]] = {}
    for tensor in group:
        if (own := key(tensor)) is not None:
            parts.setdefault(own, []).append(tensor)
    return [part for part in parts.values() if len({one.name in trained for one in part}) > 1]


def _form(tensor: Tensor) -> str:
    return text_key((tensor.dtype.name, tensor.shape))


def _first_elements(readers: Readers, tensor: Tensor) -> str:
    blocks = tensor.blocks(readers=readers, buffer=np.empty(_FIRST_NBYTES, np.uint8))
    return next((block.tobytes().hex() for block in blocks), "")


def _elements(readers: Readers, tensor: Tensor) -> str | None:
    """A digest of all elements; None where they are one number throughout."""
    from hashlib import blake2b  # which takes as long to import as all the rest here

    first: NDArray[np.generic] | None = None
    is_constant, digest = True, blake2b()
    for block in tensor.blocks(readers=readers, buffer=np.empty(BLOCK_NBYTES, np.uint8)):
        digest.update(block.view(np.uint8).data)
        first = block[:1].copy() if first is None else first
        is_constant = is_constant and bool((block == first).all())
    return None if is_constant else digest.hexdigest()
