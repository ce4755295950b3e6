"""What an encoding is: a file in this folder, which tells the weights that are stored in its codes
by all the tensors that belong to them, and says how the codes become numbers. Codes of floats are
told by those in their module: alone in it they are asked of none."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.tensor import Tensor


class NotDecoded(Exception):
    """Codes of this encoding whose numbers cannot be told; the message says why."""


@dataclass(frozen=True)
class Candidate:
    """A tensor that may hold the codes of a weight, and what lies beside it.

    module: the name up to the last dot, with it. word: what the tensor is called in its module.
    tensors: every tensor by name. config: what config.json says of the quantisation, read when
    called. metadata: the texts that a file keeps beside its tensors.
    """

    codes: Tensor
    module: str
    word: str
    tensors: Mapping[str, Tensor] = field(repr=False)
    config: Callable[[], Mapping[str, Any]] = field(repr=False)
    metadata: Mapping[str, str] = field(repr=False)

    def beside(self, *words: str) -> Tensor | None:
        """The first tensor of its module that has one of these words."""
        return next((t for w in words if (t := self.tensors.get(self.module + w))), None)

    def inside(self, word: str) -> Tensor | None:
        """The tensor whose name goes on where that of the codes ends, as absmax after q.weight."""
        return self.tensors.get(f"{self.codes.name}.{word}")


class Encoding(Protocol):
    """What a module of this folder has.

    HOLDS: the tensors of a weight and what they stand for, in words, for the manual.
    """

    HOLDS: str

    def weight(self, candidate: Candidate) -> Tensor | None:
        """The weight whose codes the candidate is; None where they are not of this encoding. Reads
        no more than a description. Raises NotDecoded where they are, and do not fit together."""
        ...


def read_small(tensor: Tensor, most: int) -> NDArray[np.generic]:
    """The integers of a tensor of one to so many elements, in its shape. Raises NotDecoded."""
    if not 1 <= tensor.numel <= most or tensor.unmeasured or tensor.dtype.kind != "integer":
        raise NotDecoded(
            f"{tensor.name} has {tensor.numel} elements of {tensor.dtype.name}, not 1 to {most} "
            "integers"
        )
    if tensor.source.nbytes < tensor.nbytes:
        raise NotDecoded(f"{tensor.name} is longer than its file")
    return tensor.words()
