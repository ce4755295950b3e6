"""A second draw of the gradients where a law breaks at the first and theory has no reason: of many
steps and elements some replay lies four standard errors off by chance, and two of them do not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from scalecheck.laws.replay.claim import NO_REASON
from scalecheck.laws.replay.experiment import Experiment
from scalecheck.report.formatting import number
from scalecheck.report.report import Row

T = TypeVar("T")


@dataclass(frozen=True)
class Decided(Generic[T]):
    """What was found of an experiment, at the seed that is shown. first: what broke without a
    reason at the seed asked for, None where nothing did; holds: whether all held at the next."""

    experiment: Experiment
    found: T
    first: Row | None = None
    holds: bool = True

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of the note."""
        assert self.first is not None
        names = ("optimizer", "claim", "measured", "expected", "tolerance")
        own = {name: self.first[name] for name in names}
        return {**own, "second_seed": self._second, "holds_at_second_seed": self.holds}

    @property
    def note(self) -> str:
        """Which seed decided, and what the first gave."""
        assert self.first is not None
        name, claim, second = self.first["optimizer"], self.first["claim"], self._second
        if not self.holds:
            return f"{name} breaks at seed {second} as well, so that chance is not the reason"
        measured = self.first["measured"]
        what = "not finite" if measured is None else number(measured)
        return (
            f"{name} holds at seed {second}, which is shown: its break at seed {second - 1} is "
            f"chance ({claim}: {what} where {number(self.first['expected'])} is expected)"
        )

    @property
    def _second(self) -> int:
        return self.experiment.seed + (0 if self.holds else 1)


def decided(
    experiment: Experiment, made: Callable[[Experiment], tuple[T, Sequence[Row]]]
) -> Decided[T]:
    """What `made` finds of an experiment, beside the rows of its claims: at the seed asked for, or
    where a law breaks there without a reason and at the next seed none does, at that."""
    found, claims = made(experiment)
    broken = [row for row in claims if _is_unexplained(row)]
    if not broken:
        return Decided(experiment, found)
    second = replace(experiment, seed=experiment.seed + 1, tick=lambda: None)
    again, others = made(second)
    if any(map(_is_unexplained, others)):
        return Decided(experiment, found, broken[0], False)
    return Decided(second, again, broken[0])


def _is_unexplained(row: Row) -> bool:
    return not row["holds"] and not row["contrast"] and row["reason"] == NO_REASON
