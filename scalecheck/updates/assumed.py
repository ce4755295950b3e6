"""What a user believes who assumes an initialization instead of looking, and tensors of which the
shapes alone are known."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.naming import family, layer, role
from scalecheck.checkpoint.tensor import Checkpoint, Source, Tensor
from scalecheck.dtypes import DTYPES
from scalecheck.errors import UsageError
from scalecheck.measure.initial_scale import Model, scheme
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.report.formatting import number, printable
from scalecheck.report.report import Column, Row

OFF = 2.0  # times the assumed rms, up or down, from which on an assumption is said to be off

COLUMNS = (
    Column("assumed_rms", "assumed", "number", "rms by the scheme; null where it says nothing", 1),
    Column("assumed_ratio", "× assumed", "number", "rms over that"),
    Column("assumed_relative_update", "believed", "number", "relative update of the assumed rms"),
)

Shape = tuple[int, ...]

_SIZE = re.compile("[1-9][0-9]{0,17}")


class Assumption:
    """The rms that a scheme gives each tensor of a model. Raises UsageError for another word."""

    def __init__(self, word: str, shapes: Mapping[str, Shape]) -> None:
        self.word = word
        self._scheme = scheme(word, "assume")
        self._model = Model(shapes)

    def rms(self, name: str, role: str, shape: Shape) -> float | None:
        """None where the scheme says nothing."""
        reference = self._scheme.of(name, role, shape, self._model)
        return None if reference is None else reference.rms

    def fields(self, scale: TensorStats, relative_update: float | None) -> dict[str, Any]:
        """The fields of COLUMNS of a tensor with this relative update."""
        assumed = self.rms(scale.name, scale.role, scale.shape)
        ratio = scale.rms / assumed if scale.rms is not None and assumed else None
        believed = ratio * relative_update if ratio and relative_update is not None else None
        return {
            "assumed_rms": assumed,
            "assumed_ratio": ratio,
            "assumed_relative_update": believed,
        }

    def sentence(self, rows: Sequence[Row]) -> str:
        """Where the assumption is off, and by how much."""
        known = [row for row in rows if row["assumed_ratio"]]
        off = [row for row in known if abs(math.log(row["assumed_ratio"])) > math.log(OFF)]
        if not off:
            return f"the assumption {self.word} is within a factor of 2 for all {len(known)} known"
        worst = max(off, key=lambda row: abs(math.log(row["assumed_ratio"])))
        return (
            f"the assumption {self.word} is off by more than a factor of 2 for {len(off)} of "
            f"{len(known)}; most for {printable(worst['name'])}, whose rms is "
            f"{number(worst['assumed_ratio'])} of it"
        )


def shapes_of(words: Sequence[str]) -> dict[str, Shape]:
    """NAME=4096x1024 as names and shapes. Raises UsageError."""
    shapes: dict[str, Shape] = {}
    for word in words:
        name, equals, sizes = word.partition("=")
        parts = sizes.lower().split("x")
        if not (name and equals and all(map(_SIZE.fullmatch, parts))):
            raise UsageError(f"--shape {word}: is not NAME=4096x1024")
        if name in shapes:
            raise UsageError(f"--shape {word}: {name} has a shape already")
        shapes[name] = tuple(map(int, parts))
        if math.prod(shapes[name]) >= 1 << 63:
            raise UsageError(f"--shape {word}: has 2^63 elements or more")
    return shapes


def assumed_scale(name: str, shape: Shape, assumption: Assumption) -> TensorStats:
    """The scale of a tensor that does not exist yet; rms None where the scheme says nothing."""
    kind = role(name, DTYPES["F32"], shape)
    rms = assumption.rms(name, kind, shape)
    return TensorStats(
        name=name,
        dtype="",
        shape=shape,
        role=kind,
        layer=layer(name),
        family=family(name),
        numel=math.prod(shape),
        rms=rms,
        std=None,
        mean=None,
        absmax=None,
        min=None,
        max=None,
        zeros=0,
        nan=0,
        inf=0,
    )


def assumed_checkpoint(words: Sequence[str]) -> Checkpoint:
    """A checkpoint of tensors that do not exist yet, NAME=4096x1024; no element can be read."""
    source = Source(Path("-"), 0, 0, 0)
    sizes = shapes_of(words)
    tensors = (Tensor(name, DTYPES["F32"], sizes[name], source, 0) for name in sizes)
    return Checkpoint(source.path, "shapes", tuple(tensors))
