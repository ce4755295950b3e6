"""What the rules see of a checkpoint: its tensors measured, forecast and compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalecheck.checkpoint.naming import family
from scalecheck.checkpoint.recorded import Recorded
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.measure.rows import Rows
from scalecheck.measure.scale import Scale
from scalecheck.report.finding import Severity
from scalecheck.report.report import Row

MATRICES = ("matrix", "conv", "embedding", "lora_a", "lora_b")


@dataclass(frozen=True)
class Judgement:
    """What a rule says of a tensor, or where `where` is empty of the checkpoint.

    message: empty where nothing is wrong. severity: where it is not the rule's own.
    """

    where: str
    group: str
    message: str = ""
    value: float | None = None
    limit: float | None = None
    severity: Severity | None = None


@dataclass(frozen=True)
class InitScale:
    """The rms that an initialization gives, and how far chance puts rms/that off 1 at three
    standard errors; rms 0 for zeros."""

    rms: float
    tolerance: float


@dataclass(frozen=True)
class Weights:
    """A tensor that was measured.

    rows: None where it has none. init: None where the scheme says nothing of it. step: its row in
    a translation, None where there was none. is_scaled: another tensor of the checkpoint holds its
    scale factors.
    """

    scale: Scale
    rows: Rows | None = None
    init: InitScale | None = None
    step: Row | None = None
    is_scaled: bool = False

    @property
    def name(self) -> str:
        return self.scale.name

    @property
    def is_parameter(self) -> bool:
        """An optimizer may train it: no buffer, and not tied to another, which is judged."""
        return self.scale.role != "buffer" and self.scale.tied_to is None

    @property
    def is_matrix(self) -> bool:
        return self.is_parameter and self.scale.role in MATRICES

    @property
    def is_zero(self) -> bool:
        return 0 < self.scale.numel == self.scale.zeros

    @property
    def is_finite(self) -> bool:
        return self.scale.rms is not None and self.scale.nan == self.scale.inf == 0

    def judged(
        self,
        message: str = "",
        value: float | None = None,
        limit: float | None = None,
        severity: Severity | None = None,
    ) -> Judgement:
        """A judgement of it."""
        return Judgement(self.name, self.scale.family, message, value, limit, severity)


@dataclass(frozen=True)
class State:
    """What an optimizer state holds of one parameter.

    role: empty where it is not certain which tensor it is of. scales: those of its tensors of
    floats, by their names in the state. others: its tensors of other types, which have no scale.
    broken_numbers: the names of its numbers that are NaN or inf. eps_share: share of the elements
    with √v̂ below eps, None where it is not known. beta2: the factor that its second moment is
    averaged with.
    """

    name: str
    role: str
    scales: Mapping[str, Scale]
    others: Sequence[Tensor] = ()
    broken_numbers: Sequence[str] = ()
    eps_share: float | None = None
    beta2: float | None = None


@dataclass(frozen=True)
class Subject:
    """A checkpoint as the rules see it.

    unmeasured: the tensors that could not be measured. states: of an optimizer, those of no certain
    tensor too. baseline: the figures recorded of an earlier checkpoint, compared: the names that it
    speaks of.
    serve_dtype: the type it is to be served in. is_dtype_given: the type that the weights are
    trained in was said.
    """

    tensors: Sequence[Weights]
    unmeasured: Sequence[Tensor] = ()
    states: Sequence[State] = ()
    baseline: Recorded | None = None
    compared: frozenset[str] = frozenset()
    serve_dtype: str | None = None
    is_dtype_given: bool = False

    @property
    def matrices(self) -> list[Weights]:
        """The finite matrices, convolutions and embeddings that are parameters."""
        return [t for t in self.tensors if t.is_matrix and t.is_finite]

    @property
    def stepping(self) -> list[tuple[Weights, Row]]:
        """The tensors with a relative update, and their rows of the translation."""
        return [
            (t, t.step)
            for t in self.tensors
            if t.step is not None and t.step["relative_update"] is not None
        ]


def judged(name: str, message: str = "", **figures: Any) -> Judgement:
    """A judgement of what is not a measured tensor, by its name; none for the checkpoint."""
    return Judgement(name, family(name) if name else "", message, **figures)
