"""Findings of one kind as people read them: how many, from which number to which, and what to do,
the most serious first."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalecheck.report import formatting
from scalecheck.report.finding import SEVERITIES, Finding, RuleOutcome
from scalecheck.report.report import Report

_FEW = 5  # tensors or families of a group that are named

_SENTENCE_END = re.compile(r"(?<=\.) (?=[A-Z`])")
_PLACE = re.compile(r"\{(percent|step|times|number|count)\}")
_WRITERS: Mapping[str, tuple[Callable[[float], str], str]] = {
    "percent": (lambda x: _percent(x), " %"),
    "step": (lambda x: _percent(x), " % per step"),
    "number": (formatting.figure, ""),
    "times": (formatting.figure, " times"),
    "count": (lambda x: f"{x:,.0f}", ""),
}


@dataclass(frozen=True)
class FindingGroup:
    """The findings of a rule that say the same of several tensors, the worst first. remedy: what to
    try, the first thing in a sentence of its own. page: where the manual says more."""

    findings: Sequence[Finding]
    remedy: str
    page: str

    @property
    def mark(self) -> str:
        """The severity and the rule: error[SC104] family-outlier."""
        return self.findings[0].mark

    @property
    def severity(self) -> str:
        return self.findings[0].severity

    @property
    def sentence(self) -> str:
        """What was found: of one its message, of several: 40 tensors, 94 to 99 % of the elements do
        not change."""
        if len(self.findings) == 1:
            return self.findings[0].message
        words = _together(self.findings)
        if words.startswith("{n} "):  # of what is no tensor
            return words.replace("{n}", f"{len(self.findings):,}", 1)
        count = formatting.plural(len(self.findings), "tensor")
        return f"{count}, {words}" if words else count

    @property
    def figures(self) -> dict[str, Any]:
        """The numbers of the sentence, for programs."""
        values = [one.value for one in self.findings if one.value is not None]
        return {
            "rule": self.findings[0].rule,
            "severity": self.severity,
            "findings": len(self.findings),
            "least": min(values, default=None),
            "most": max(values, default=None),
        }

    @property
    def first_remedy(self) -> str:
        """The first thing to try."""
        return _SENTENCE_END.split(self.remedy, maxsplit=1)[0]

    def named(self, are_all: bool = False) -> tuple[list[tuple[str, str]], int]:
        """The tensors by name, each with its own numbers, and how many are left out. Of many only
        the first, or where they are of several families these."""
        if len(self.findings) == 1:
            return [(where, "")] if (where := self.findings[0].where) else [], 0
        families: dict[str, list[Finding]] = {}
        for one in self.findings:
            families.setdefault(one.group, []).append(one)
        if are_all or len(self.findings) <= _FEW or len(families) == 1:
            parts = [[one] for one in self.findings]
        else:
            parts = [*families.values()]
        shown = parts if are_all else parts[:_FEW]
        return [*map(_named, shown)], len(self.findings) - sum(map(len, shown))

    def lines(self, are_all: bool = False, hint: str = "") -> list[str]:
        """The same as text; hint: how to see those that are left out."""
        named, rest = self.named(are_all)
        lines = [": ".join(filter(None, each)) for each in named]
        return [*lines, f"and {rest:,} more{hint}"] if rest else lines


def groups(report: Report) -> list[FindingGroup]:
    """The findings of a check in groups, the most severe first."""
    return grouped(report.findings, report.rows_of("rules"))


def grouped(findings: Sequence[Finding], rules: Sequence[RuleOutcome]) -> list[FindingGroup]:
    """The same of findings and the rules that they are of."""
    known = {rule.rule: rule for rule in rules}
    found: dict[tuple[int, str, str], list[Finding]] = {}
    for one in findings:
        key = (SEVERITIES.index(one.severity), one.rule, one.several)
        found.setdefault(key, []).append(one)
    return [
        FindingGroup(
            sorted(found[key], key=_excess, reverse=True),
            known[key[1]].remedy,
            f"docs/rules.md#{key[1].lower()}-{known[key[1]].name}",
        )
        for key in sorted(found)
    ]


def _named(findings: Sequence[Finding]) -> tuple[str, str]:
    """A tensor, or the family of several, and their numbers."""
    first = findings[0]
    if len(findings) == 1:
        return first.where, first.own or first.message
    count = formatting.plural(len(findings), "tensor")
    return first.group, ", ".join(filter(None, [count, _numbers(findings)]))


def _together(findings: Sequence[Finding]) -> str:
    """What several findings say in the same words, with their numbers in place."""
    words = _PLACE.sub(lambda _: _numbers(findings), findings[0].several)
    lrs = sorted({one.lr for one in findings if one.lr is not None})
    ends = dict.fromkeys(map(formatting.rate, [*lrs[:1], *lrs[-1:]]))
    return words.replace("{lr}", f" at lr {' to '.join(ends)}" if ends else "")


def _numbers(findings: Sequence[Finding]) -> str:
    """The values of several findings, from the smallest to the largest: 94 to 99 %."""
    place = _PLACE.search(findings[0].several)
    values = sorted(one.value for one in findings if one.value is not None)
    if place is None or not values:
        return ""
    written, unit = _WRITERS[place[1]]
    return " to ".join(dict.fromkeys(map(written, [values[0], values[-1]]))) + unit


def _percent(share: float) -> str:
    """Three digits of a percentage, 100 only of all."""
    x = 100 * share
    if 99.95 <= x < 100:
        return "over 99.9"
    return f"{x:.7f}".rstrip("0") if 1e-5 <= x < 1e-4 else formatting.figure(x)


def _excess(finding: Finding) -> float:
    """How far the value is from the limit: how many times the one is the other."""
    if finding.value is None:  # none there is, or one that is not finite
        return 0.0 if finding.limit is None else math.inf
    value, limit = abs(finding.value), abs(finding.limit or 0)
    return max(value / limit, limit / value) if value and limit else value
