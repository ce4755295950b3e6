"""What a user believes who assumes an initialization instead of looking, and tensors of which the
shapes alone are known."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from scalecheck.checkpoint.open import open_checkpoint, with_kinds
from scalecheck.checkpoint.source import MemorySource
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.dtypes import DTYPES
from scalecheck.errors import Fix, UsageError
from scalecheck.measure.initial_scale import Model, scheme
from scalecheck.measure.sketch import Sketch
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.report.report import Column
from scalecheck.settings import Settings

ASSUMED = (
    Column("assumed_rms", "assumed", "number", "rms by the scheme; null where it says nothing", 1),
    Column("assumed_ratio", "× assumed", "number", "rms over that"),
    Column("assumed_relative_update", "believed", "number", "relative update of the assumed rms"),
)

Shape = tuple[int, ...]

_EXAMPLE = "scalecheck translate --shape wte.weight=50257x768 --assume gpt2 --lr 1e-3"
_SIZE = re.compile("[1-9][0-9]{0,17}")


class Assumption:
    """The rms that a scheme gives each tensor of a model. Raises UsageError for another word."""

    def __init__(self, word: str, checkpoint: Checkpoint) -> None:
        self.word = word
        self._scheme = scheme(word, "assume")
        self._model = Model({tensor.name: tensor.shape for tensor in checkpoint.tensors})

    def rms(self, tensor: Tensor | TensorStats) -> float | None:
        """None where the scheme says nothing."""
        reference = self._scheme.of(tensor.name, tensor.role, tensor.shape, self._model)
        return None if reference is None else reference.rms

    def of(self, stats: TensorStats, relative_update: float | None) -> dict[str, float | None]:
        """The fields of ASSUMED of a tensor with this relative update."""
        assumed = self.rms(stats)
        ratio = stats.rms / assumed if stats.rms is not None and assumed else None
        believed = ratio * relative_update if ratio and relative_update is not None else None
        return {"assumed_rms": assumed, "assumed_ratio": ratio, "assumed_relative_update": believed}


def stats_of_shapes(
    tensors: Iterable[Tensor], assumption: Assumption | None
) -> Iterator[tuple[TensorStats, Sketch]]:
    """The statistics of tensors that do not exist yet; rms None without an assumption, and where
    its scheme says nothing."""
    for tensor in tensors:
        rms = None if assumption is None else assumption.rms(tensor)
        empty = TensorStats.of(tensor, Sketch())
        yield replace(empty, dtype="", numel=tensor.numel, rms=rms), Sketch()


def shapes_of(words: Sequence[str]) -> dict[str, Shape]:
    """NAME=4096x1024 as names and shapes. Raises UsageError."""
    shapes: dict[str, Shape] = {}
    for word in words:
        name, equals, sizes = word.partition("=")
        parts = sizes.lower().split("x")
        if not (name and equals and all(map(_SIZE.fullmatch, parts))):
            raise UsageError(f"--shape {word}: must be NAME=AxB, such as wte.weight=50257x768")
        if name in shapes:
            raise UsageError(f"--shape {word}: {name} has a shape already")
        shapes[name] = tuple(map(int, parts))
        if math.prod(shapes[name]) >= 1 << 63:
            raise UsageError(f"--shape {word}: has 2^63 elements or more")
    return shapes


def opened(checkpoint: Checkpoint | str | Path | None, settings: Settings) -> Checkpoint:
    """The checkpoint, or where shapes are given, NAME=4096x1024, one of tensors that do not exist
    yet, of which no element can be read. Raises UsageError, CheckpointError."""
    shapes = settings.shape
    if isinstance(checkpoint, Checkpoint):
        return checkpoint
    if checkpoint is not None and not shapes:
        return open_checkpoint(checkpoint, recursive=settings.recursive, raw=settings.raw)
    if checkpoint is not None or not shapes:
        help = (
            "for example scalecheck translate --shape wte.weight=50257x768 --assume gpt2 --lr 1e-3"
        )
        both = "one of the two" if shapes else "a checkpoint, or --shape with --assume"
        raise UsageError(f"PATH and --shape: give {both}", help)
    if settings.assume is None and not settings.suggest:
        problem = "--shape: needs --assume, the initialization that gives the scale"
        raise UsageError(problem, "for example", Fix("torch", flag="--assume"))
    source = MemorySource(Path("-"), memoryview(b""))
    sizes = shapes_of(shapes)
    tensors = (Tensor(name, DTYPES["F32"], sizes[name], source, 0) for name in sizes)
    return with_kinds(Checkpoint(source.path, "shapes", tuple(tensors)))
