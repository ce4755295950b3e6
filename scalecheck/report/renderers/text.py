"""The verdict, the findings by rule, what to try, and the verdict again: for a terminal."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from scalecheck.report import formatting
from scalecheck.report.checks import Checks
from scalecheck.report.finding import Finding, RuleOutcome, conclusion, path_of, tone, verdict
from scalecheck.report.finding_groups import FindingGroup, groups
from scalecheck.report.lines import in_ascii, skipped, wrapped
from scalecheck.report.report import UNBOUNDED, Layout, Report, plain

_NOTES = 5
_USUAL = ("needs ", "no ")  # how reasons begin that tell nothing about the checkpoint
_OPTION = re.compile(r"--[a-z][a-z-]*")


def renders(kind: str) -> bool:
    return kind == "check"


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The groups of findings between a line with the verdict and what was not judged, and at the
    end the verdict with the rules that ran."""
    found = ["\n".join(_group(group, layout)) for group in groups(report)]
    if layout.quiet:
        text = "\n\n".join(found)
    else:
        last = _painted(conclusion(report.summary), tone(report.summary), layout)
        below = "\n".join([*_below(report, layout), last])
        text = "\n\n".join([_verdict(report, layout), *found, below])
    return text if layout.blocks else in_ascii(text)


def several(checks: Checks, layout: Layout = UNBOUNDED) -> str:
    """The verdict on each checkpoint with its groups of findings, between two lines on all."""
    found = [_part(report, layout) for report in checks.reports]
    if layout.quiet:
        text = "\n\n".join(filter(None, found))
    else:
        line = _painted(checks.conclusion, checks.tone, layout)
        unread = [_painted(one.line, "error", layout) for one in checks.unread]
        below = (_painted(note, "dim", layout) for note in _below_all(checks, layout))
        text = "\n\n".join([line, _stacked([*found, *unread]), "\n".join([*below, line])])
    return text if layout.blocks else in_ascii(text)


def _below_all(checks: Checks, layout: Layout) -> Iterator[str]:
    """What is said of all checkpoints, and what was left out of each."""
    yield from checks.notes
    if layout.verbose:
        return
    codes: dict[str, list[str]] = {}
    for rule in {
        rule.rule: rule
        for report in checks.reports
        for rule in report.rows_of("rules")
        if rule.status == "not run" and rule.reason.startswith(_USUAL)
    }.values():
        codes.setdefault(rule.reason, []).append(rule.rule)
    yield from _counted(codes, "not run on at least one checkpoint")
    if notes := sum(len(report.notes) for report in checks.reports):
        yield f"{formatting.plural(notes, 'note')} on checkpoints: --verbose shows them"


def _part(report: Report, layout: Layout) -> str:
    """The verdict on one of several checkpoints, its groups, and below them what was not judged for
    reasons of its own."""
    found = ["\n".join(_group(group, layout)) for group in groups(report)]
    if layout.quiet:
        path = layout.paint(path_of(report), "strong")
        return "\n\n".join([path, *found]) if found else ""
    below = "\n".join(_below(report, layout, is_part=True))
    return "\n\n".join(filter(None, [_verdict(report, layout), *found, below]))


def _verdict(report: Report, layout: Layout) -> str:
    return _painted(verdict(path_of(report), report.summary), tone(report.summary), layout)


def _stacked(parts: Sequence[str]) -> str:
    """The parts, those of one line each without a blank line between."""
    text = ""
    for before, part in pairwise(["", *parts]):
        gap = "\n\n" if "\n" in before + part else "\n"
        text += f"{gap}{part}" if text else part
    return text


def _group(group: FindingGroup, layout: Layout) -> Iterator[str]:
    """The rule and what it found, the tensors, and what to try."""
    head = wrapped(f"{group.mark}: {group.sentence}", layout.width)
    mark = formatting.printable(group.mark)
    severity, _, name = mark.partition(" ")
    if head.startswith(mark):
        painted = f"{layout.paint(severity, group.severity)} {layout.paint(name, 'strong')}"
        head = painted + head.removeprefix(mark)
    yield head
    for line in group.lines(layout.verbose, ": --verbose shows them"):
        yield _painted(line, "", layout, indent="  ")
    remedy = group.remedy if layout.verbose else group.first_remedy
    yield _painted(f"help: {remedy} See {group.page}", "note", layout, indent="  ")


def _painted(sentence: str, meaning: str, layout: Layout, indent: str = "") -> str:
    """The sentence on as many lines as it takes, each in the colour of a meaning, if any."""
    width = None if layout.width is None else layout.width - len(indent)
    lines = wrapped(sentence, width).split("\n")
    paint = layout.paint if meaning else plain
    return "\n".join(indent + paint(line, meaning) for line in lines)


def _below(report: Report, layout: Layout, is_part: bool = False) -> Iterator[str]:
    """What was not judged, or passes by the configuration, and the notes; of one of several
    checkpoints only what is not the same of all, unless all is asked for."""
    ignored: list[Finding] = report.rows_of("ignored")
    told = {finding.where for finding in report.findings}
    left_out = [entry for entry in report.skipped if entry["name"] not in told]
    reasons = [finding.reason for finding in ignored]
    lines = [
        *_not_run(report.rows_of("rules"), layout.verbose, is_part),
        *(f"ignored: {reasons.count(reason):,} ({reason})" for reason in dict.fromkeys(reasons)),
        *skipped(left_out, layout.verbose),
    ]
    notes = report.notes if layout.verbose else report.notes[: 0 if is_part else _NOTES]
    lines += notes
    if not is_part and (more := len(report.notes) - len(notes)):
        lines.append(f"{formatting.plural(more, 'more note')}: --verbose shows them")
    for line in lines:
        yield _painted(line, "dim", layout)


def _not_run(rules: Sequence[RuleOutcome], are_all: bool, is_part: bool) -> list[str]:
    """The rules that did not run by their reasons; unless all are asked for, those that wait for an
    option or have nothing to judge are counted, or for one of several checkpoints left out."""
    codes: dict[str, list[str]] = {}
    for rule in rules:
        if rule.status == "not run":
            codes.setdefault(rule.reason, []).append(rule.rule)
    named = {why: own for why, own in codes.items() if are_all or not why.startswith(_USUAL)}
    lines = [f"not run: {', '.join(own)} ({reason})" for reason, own in named.items()]
    usual = {why: own for why, own in codes.items() if why not in named}
    return lines if is_part else [*lines, *_counted(usual, "not run")]


def _counted(codes: Mapping[str, Sequence[str]], words: str) -> list[str]:
    """How many rules did not run, and the options that they need; codes: those of each reason."""
    count = sum(map(len, codes.values()))
    if not count:
        return []
    needed = _options(codes)
    waiting = sum(len(own) for why, own in codes.items() if why.startswith("needs "))
    some = "" if waiting == count else f"{waiting} of them "
    need = f" ({some}need {', '.join(needed)})" if needed else ""
    return [f"{formatting.plural(count, 'rule')} {words}{need}: --verbose says why"]


def _options(codes: Mapping[str, Sequence[str]]) -> list[str]:
    """The options that rules need, those of the most rules first."""
    counts: dict[str, int] = {}
    for reason, own in codes.items():
        found = _OPTION.findall(reason) if reason.startswith("needs ") else []
        for option in found[:1]:
            counts[option] = counts.get(option, 0) + len(own)
    return sorted(counts, key=lambda option: -counts[option])
