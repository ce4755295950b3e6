"""What a rule is: a file that judges tensors by limits, and carries its own manual and examples."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from scalecheck import registry
from scalecheck.report.finding import Severity
from scalecheck.rules._subject import Judgement, Subject, Weights


@dataclass(frozen=True)
class Limit:
    """A number that a rule judges by, and what it is a limit of."""

    default: float
    help: str


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
    """The limits of one rule, which can differ from tensor to tensor."""

    def __init__(
        self,
        shared: Mapping[str, float],
        own: Callable[[str, str], Mapping[str, float]] = lambda name, role: {},
    ) -> None:
        self._shared = shared
        self._own = own

    def of(self, tensor: Weights) -> Mapping[str, float]:
        """A tensor's."""
        return self.at(tensor.name, tensor.scale.role)

    def are_own(self, tensor: Weights) -> bool:
        """Whether the tensor has been given limits of its own."""
        return bool(self._own(tensor.name, tensor.scale.role))

    def at(self, name: str, role: str) -> Mapping[str, float]:
        """Those of a tensor of this name and role; both empty for the checkpoint."""
        own = self._own(name, role)
        return {**self._shared, **own} if own else self._shared


Find = Callable[[Subject, Limits], Iterator[Judgement]]


@dataclass(frozen=True)
class Rule:
    """A rule as its file states it.

    severity: of its findings, where they do not say another. find: every judgement of a checkpoint,
    good ones too. judges: what it judges, in the plural, for where there is none. needs: words of
    NEEDS without which it is not run.
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
    "peak_lr": "needs --lr, as that of a saved state may be the end of a schedule",
    "state": "needs an optimizer state",
    "optimizer": "needs an optimizer state of an optimizer that is known",
    "init": "needs --init",
    "baseline": "needs --baseline",
}
"""What a rule can need, and why it is not run without."""


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
    summary, _, rest = (module.__doc__ or "").partition("\n\n")
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
