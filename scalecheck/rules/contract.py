"""What a rule is, and what it reads: a file that judges the facts of a checkpoint by limits, and
carries its own manual and examples."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

from scalecheck import registry
from scalecheck.checkpoint.files.folders import Unread
from scalecheck.checkpoint.naming import WEIGHTS, family
from scalecheck.checkpoint.recorded import Recorded
from scalecheck.checkpoint.shared_names import SharedNames
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.docstring import docstring
from scalecheck.measure.initial_scale import Reference
from scalecheck.measure.rows import Rows
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.recipes.placement import Placement
from scalecheck.report.finding import Finding, Severity
from scalecheck.updates.placed import adapter_placement
from scalecheck.updates.situation import Situation
from scalecheck.updates.tensor_forecast import TensorForecast

if TYPE_CHECKING:
    from scalecheck.checkpoint.adapters.pairs import Pair
    from scalecheck.updates.adapter_steps import AdapterStep


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """A tensor that was measured.

    rows: None where it has none. init: None where the scheme says nothing of it. forecast: what the
    lr does to it, None where that is not known. siblings: a text that it shares with the same
    tensor of other blocks; None where it is no parameter of the model. is_in_state: whether an
    optimizer state trains it, None where that is not certain or there is no state.
    """

    scale: TensorStats
    rows: Rows | None = None
    init: Reference | None = None
    forecast: TensorForecast | None = None
    siblings: str | None = None
    is_in_state: bool | None = None

    @property
    def name(self) -> str:
        return self.scale.name

    @property
    def is_parameter(self) -> bool:
        """A weight of the model, or one rank's piece of one: no buffer, no average, no network
        beside the model, and not tied to another, which is judged."""
        return self.scale.kind.is_weight and self.scale.tied_to is None

    @property
    def is_matrix(self) -> bool:
        return self.is_parameter and self.scale.role in WEIGHTS

    @property
    def is_zero(self) -> bool:
        return 0 < self.scale.numel == self.scale.zeros

    @property
    def is_finite(self) -> bool:
        return self.scale.is_finite

    def judged(
        self,
        message: str = "",
        value: float | None = None,
        limit: float | None = None,
        severity: Severity | Literal[""] = "",
        **together: Any,
    ) -> Finding:
        """What a rule says of it; nothing is wrong where there is no message. together: what it
        says with others, the fields `several`, `own` and `lr` of a finding."""
        return Finding(self.name, self.scale.family, message, value, limit, severity, **together)


@dataclass(frozen=True)
class StateFacts:
    """What an optimizer state holds of one parameter.

    role: empty where it is not certain which tensor it is of. scales: those of its tensors of
    floats, by their names in the state. others: its tensors of other types, which have no scale.
    broken_numbers: the names of its numbers that are NaN or inf. eps_share: share of the elements
    with √v̂ below eps, None where it is not known. beta2: the factor that its second moment is
    averaged with.
    """

    name: str
    role: str
    scales: Mapping[str, TensorStats]
    others: Sequence[Tensor] = ()
    broken_numbers: Sequence[str] = ()
    eps_share: float | None = None
    beta2: float | None = None


@dataclass(frozen=True)
class CheckpointFacts:
    """A checkpoint as the rules see it.

    unmeasured: the tensors that could not be measured. states: of an optimizer, those of no certain
    tensor too. baseline: the figures recorded of an earlier checkpoint, compared: the names that it
    speaks of.
    serve_dtype: the type it is to be served in. is_dtype_given: the type that the weights are
    trained in was said. unread: the folders beside it that were not read. steps: of the optimizer
    state, None where it has none or does not count. signs_of_training: what shows without one that
    the model was trained, empty where nothing does. others: the tensors of an optimizer's file that
    are in no parameter's state; unmeasured_others: those in the file that could not be measured.
    adapters: the pairs whose products are added to matrices. adapted: these matrices, in a base
    that was given. unadapted: why modules with an adapter have none there. run: what the checkpoint
    is at the start of. adapter_steps: of adapters without a base.
    """

    tensors: Sequence[TensorFacts]
    unmeasured: Sequence[Tensor] = ()
    states: Sequence[StateFacts] = ()
    baseline: Recorded | None = None
    compared: frozenset[str] = frozenset()
    serve_dtype: str | None = None
    is_dtype_given: bool = False
    unread: Sequence[Unread] = ()
    steps: float | None = None
    signs_of_training: str = ""
    others: Sequence[TensorFacts] = ()
    unmeasured_others: Sequence[Tensor] = ()
    adapters: "Sequence[Pair]" = ()
    adapted: Sequence[TensorFacts] = ()
    unadapted: Mapping[str, str] = field(default_factory=dict)
    run: Situation = field(default_factory=Situation)
    adapter_steps: "Sequence[AdapterStep]" = ()

    @property
    def matrices(self) -> list[TensorFacts]:
        """The finite matrices, convolutions and embeddings that are parameters."""
        return [t for t in self.tensors if t.is_matrix and t.is_finite]

    @property
    def has_certain_states(self) -> bool:
        """Whether an optimizer state says of some tensor that it trains it."""
        return any(tensor.is_in_state for tensor in self.tensors)

    @cached_property
    def now(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Type and shape of every tensor, measured or not, by its name."""
        return {
            **{t.name: (t.scale.dtype, t.scale.shape) for t in self.tensors},
            **{t.name: (t.dtype.name, t.shape) for t in self.unmeasured},
        }

    @cached_property
    def unrelated(self) -> str:
        """That the baseline has none of the tensors; empty where it has some, or there is none."""
        if self.baseline is None or not self.baseline.every or not self.now:
            return ""
        before = {name: was.shape for name, was in self.baseline.every.items()}
        shared = SharedNames.of(before, {name: shape for name, (_, shape) in self.now.items()})
        return "" if shared.both else shared.none_shared("in the baseline", "in the checkpoint")

    @property
    def adapter_places(self) -> Iterator[tuple[str, float | None, Placement]]:
        """The names of the modules with an adapter whose first step has a place among published
        ones, its lr and that; of adapters without a base."""
        for step in self.adapter_steps:
            if (place := adapter_placement(step, self.run)) is not None:
                yield step.matrix.name, step.lr, place

    @property
    def updates(self) -> Iterator[tuple[TensorFacts, TensorForecast, float]]:
        """The tensors with a relative update, their forecasts and that; those of a base too, to
        which an adapter adds."""
        for tensor in (*self.tensors, *self.adapted):
            forecast = tensor.forecast
            if forecast is not None and forecast.relative_update is not None:
                yield tensor, forecast, forecast.relative_update


def judged(name: str, message: str = "", **figures: Any) -> Finding:
    """The same of what is not a measured tensor, by its name; empty for the checkpoint."""
    return Finding(name, family(name) if name else "", message, **figures)


@dataclass(frozen=True)
class Limit:
    """A number that a rule judges by, and what it is a limit of. is_published: it stands in for
    published ranges, by which the rule judges where no limit of it is set."""

    default: float
    help: str
    is_published: bool = False


@dataclass(frozen=True)
class Example:
    """A checkpoint as the lines of Python that make it, and the options it is checked with.

    The lines fill `model`, names to torch tensors, and where they are used `baseline`, the same of
    an earlier checkpoint, and `state`, names to AdamW's exp_avg and exp_avg_sq. noise(rows,
    columns) is normal and of rms 0.02, zeros and ones are torch's, bf16 and fp16 cast, nan and inf
    are numbers. finds: the message of its finding, empty where there is none.
    """

    lines: str
    options: str = ""
    finds: str = ""


class Limits:
    """The limits of one rule, which can differ from tensor to tensor. is_set: some are not the
    rule's own."""

    def __init__(
        self,
        shared: Mapping[str, float],
        own: Callable[[str, str], Mapping[str, float]] = lambda name, role: {},
        is_set: bool = False,
    ) -> None:
        self._shared = shared
        self._own = own
        self._is_set = is_set

    def of(self, tensor: TensorFacts) -> Mapping[str, float]:
        """A tensor's."""
        return self.at(tensor.name, tensor.scale.role)

    def are_own(self, tensor: TensorFacts) -> bool:
        """Whether the tensor has been given limits of its own."""
        return bool(self._own(tensor.name, tensor.scale.role))

    def are_set(self, tensor: TensorFacts) -> bool:
        """Whether any was set, for all tensors or for this one."""
        return self._is_set or self.are_own(tensor)

    def at(self, name: str, role: str) -> Mapping[str, float]:
        """Those of a tensor of this name and role; both empty for the checkpoint."""
        own = self._own(name, role)
        return {**self._shared, **own} if own else self._shared


UNREAD_ROWS = "their rows were not looked into"
"""What rules on rows say together of those that were not read."""

Find = Callable[[CheckpointFacts, Limits], Iterator[Finding]]


@dataclass(frozen=True)
class Rule:
    """A rule as its file states it.

    severity: of its findings, where they do not say another. find: a finding for each thing that it
    judges, without a message where nothing is wrong. judges: what it judges, in the plural, for
    where there is none. needs: words of NEEDS without which it is not run.
    """

    severity: Severity
    find: Find
    judges: str
    ok: Example
    bad: Example
    needs: Sequence[str] = ()
    limits: Mapping[str, Limit] = field(default_factory=dict)


NEEDS: Mapping[str, str] = {
    "lr": "needs --lr or an optimizer state",
    "phase": "needs the start of a pretraining: --phase pretrain, or weights as an initialization "
    "leaves them",
    "warmup": "needs --steps, or --warmup 0",
    "peak_lr": "needs --lr, as that of a saved state may be the end of a schedule",
    "state": "needs an optimizer state",
    "optimizer": "needs an optimizer state of an optimizer that is known",
    "init": "needs --init",
    "baseline": "needs --baseline",
}
"""What a rule can need, and why it is not run without."""


class RuleModule(Protocol):
    """What a module of this folder has: a rule. Its docstring says what the rule finds, what that
    means and what to try, its name the rule's code and name."""

    RULE: Rule


@dataclass(frozen=True)
class Registered:
    """A rule with what its file's name and docstring say: code and name; what it finds in one line,
    what that means, and what to try."""

    code: str
    name: str
    summary: str
    meaning: str
    remedy: str
    rule: Rule


@cache
def registered() -> Mapping[str, Registered]:
    """Every rule by its code."""
    return {entry.code: entry for entry in map(_registered, registry.names("rule"))}


def _registered(file: str) -> Registered:
    module = registry.load("rule", file)
    summary, _, rest = docstring(module).partition("\n\n")
    meaning, _, remedy = rest.partition("Try: ")
    code, _, name = file.partition("_")
    return Registered(
        code.upper(),
        name.replace("_", "-"),
        " ".join(summary.split()),
        " ".join(meaning.split()),
        " ".join(remedy.split()),
        module.RULE,
    )
