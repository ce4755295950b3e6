"""What a report says of one tensor."""

import sys
from dataclasses import dataclass
from typing import Any

from scalecheck.checkpoint.kinds import TensorKind
from scalecheck.checkpoint.naming import MATRICES, family, layer
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.measure.sketch import Sketch


@dataclass(frozen=True, slots=True)
class TensorStats:
    """The scale of a tensor; a statistic is None where there is no finite element."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: TensorKind
    role: str
    layer: str
    family: str
    numel: int
    rms: float | None
    std: float | None
    mean: float | None
    absmax: float | None
    min: float | None
    max: float | None
    zeros: int
    nan: int
    inf: int
    tied_to: str | None = None

    @property
    def is_finite(self) -> bool:
        """It has elements, and none is NaN or inf."""
        return self.rms is not None and self.nan == self.inf == 0

    @property
    def is_matrix(self) -> bool:
        return self.role in MATRICES

    @classmethod
    def of(cls, tensor: Tensor, sketch: Sketch) -> "TensorStats":
        """The scale of a tensor from the sketch of its elements."""
        return cls(
            tensor.name,
            tensor.dtype.name,
            tensor.shape,
            tensor.kind,
            tensor.role,
            sys.intern(layer(tensor.name)),
            sys.intern(family(tensor.name)),
            tensor.numel,
            sketch.rms,
            sketch.std,
            sketch.mean,
            sketch.absmax,
            sketch.min,
            sketch.max,
            sketch.zeros,
            sketch.nan,
            sketch.inf,
            tensor.tied_to,
        )

    def fields(self) -> dict[str, Any]:
        """What it says by name, for an object that says more."""
        return {name: getattr(self, name) for name in TensorStats.__slots__}
