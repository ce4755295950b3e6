"""The checks of several checkpoints as one: the worst of them is the verdict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scalecheck.report import formatting
from scalecheck.report.finding import counted, tone
from scalecheck.report.report import UNBOUNDED, Layout, Report, plain, rendering

SCHEMA = "scalecheck.checks/1"

_COUNTS = ("errors", "warnings", "notes", "ignored", "tensors")


@dataclass(frozen=True)
class Unread:
    """A checkpoint that could not be read, by its path, and why."""

    path: str
    problem: str

    @property
    def line(self) -> str:
        """The two: run/model.pt: not read: no such file or directory."""
        return formatting.printable(f"{self.path}: not read: {self.problem}")


@dataclass(frozen=True)
class Checks:
    """The checks of several checkpoints in their order, those that could not be read, and what is
    said of all."""

    reports: Sequence[Report]
    unread: Sequence[Unread] = ()
    notes: Sequence[str] = ()

    @property
    def failed(self) -> bool:
        """Whether a check has findings that fail it."""
        return any(report.failed for report in self.reports)

    @property
    def summary(self) -> dict[str, Any]:
        """The counts over all, and `failed`: whether one failed or could not be read."""
        sums = {name: sum(each.summary[name] for each in self.reports) for name in _COUNTS}
        return {
            "checkpoints": len(self.reports) + len(self.unread),
            "checkpoints_failed": sum(report.failed for report in self.reports),
            "checkpoints_not_read": len(self.unread),
            **sums,
            "failed": self.failed or bool(self.unread),
        }

    @property
    def conclusion(self) -> str:
        """1 of 3 checkpoints failed, 1 could not be read: 4 errors, 1 warning in 66 tensors."""
        summary = self.summary
        every = formatting.plural(summary["checkpoints"], "checkpoint")
        parts = [f"{summary['checkpoints_failed']:,} of {every} failed"]
        if not summary["failed"]:
            parts = [f"{every} passed"]
        if unread := summary["checkpoints_not_read"]:
            parts.append(f"{unread:,} could not be read")
        return f"{', '.join(parts)}: {counted(summary | {'rules_run': len(self.reports)})}"

    @property
    def tone(self) -> str:
        """The colour of the conclusion: see `Layout.paint`."""
        return tone(self.summary)


def rendered(renderer: Any, checks: Checks, layout: Layout = UNBOUNDED) -> str:
    """All checks as text of a renderer: by its function `several`, else one below the other."""
    several: Callable[[Checks, Layout], str] | None = getattr(renderer, "several", None)
    if several is None:
        return "\n\n".join(rendering(renderer, report, layout) for report in checks.reports)
    own = formatting.inert if layout.paint is plain else formatting.inert_but_colours
    without: Callable[[str], str] = getattr(renderer, "inert", own)
    return without(several(checks, layout))
