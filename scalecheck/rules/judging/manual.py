"""What a check says about itself: a rule's page, the settings in force, the number of findings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from scalecheck.errors import OptionError
from scalecheck.report import formatting
from scalecheck.report.checks import Checks
from scalecheck.report.finding import RULES, STATUSES, RuleOutcome
from scalecheck.report.report import Column, Report, Table
from scalecheck.rules.contract import registered
from scalecheck.rules.judging import pages
from scalecheck.rules.judging.policy import RulePolicy, chosen, resolve
from scalecheck.settings import DEFAULT, Settings

SETTINGS = (
    Column("setting", "setting", "text", "its name in the configuration"),
    Column("value", "value", "sentence", "what it is"),
    Column("source", "from", "sentence", "default, a configuration file, or the command line"),
)
_COUNTED = ("findings", "rule", "name", "summary")


def page(word: str) -> str:
    """A rule's page as text: what it finds, means and needs, what to try, limits and examples.
    Raises UsageError for a word that stands for no rule or for several."""
    codes = chosen([word], "--explain")
    if len(codes) > 1:
        raise OptionError("explain", f"stands for {', '.join(codes)}: give one", word)
    return pages.text(registered()[codes[0]])


class Setting(NamedTuple):
    """A row of the settings: the fields of SETTINGS."""

    setting: str
    value: str
    source: str


def settings_report(settings: Settings) -> Report:
    """Every setting in force, with its source, and the limits and severities of the rules. Raises
    UsageError."""
    config = settings.config
    rows = [
        Setting(name, _written(getattr(settings, name)), settings.sources[name])
        for name in settings.recorded()
    ]
    counted = f"{len(config.overrides)} overrides and {len(config.waivers)} exceptions"
    return Report(
        kind="settings",
        tables=[
            Table("rows", SETTINGS, SETTINGS, rows),
            Table("limits", SETTINGS, SETTINGS, [*_rule_settings(resolve(settings))], "Rules"),
        ],
        source={"path": None if config.path is None else str(config.path)},
        settings={},
        headline=f"configuration: {formatting.printable(str(config.path or 'none found'))}",
        notes=[f"{counted}, which hold for some tensors only"]
        if config.overrides or config.waivers
        else [],
    )


def _rule_settings(policy: RulePolicy) -> Iterator[Setting]:
    for code, entry in policy.rules.items():
        severity = policy.severities.get(code)
        source = DEFAULT if severity is None else str(policy.config.path)
        yield Setting(f"severity.{code}", severity or entry.rule.severity, source)
        own = policy.in_force(code)
        for name in policy.limits[code]:
            source = policy.limit_sources.get((code, name), DEFAULT)
            value = formatting.setting(own[name]) if name in own else pages.PUBLISHED
            yield Setting(f"limits.{code}.{name}", value, source)


def _written(value: Any) -> str:
    """A setting's value in a line."""
    if isinstance(value, float):
        return formatting.setting(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {_written(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_written, value))
    if hasattr(value, "globs"):
        return f"{', '.join(value.globs)}: {_written(value.settings)}"
    return "" if value is None else formatting.printable(str(value))


def statistics(reports: Sequence[Report]) -> Report:
    """The number of findings of each rule in place of the findings, of several checks in sum: the
    rules that found something, by how much."""
    shown = [column for name in _COUNTED for column in RULES if column.name == name]
    rows: dict[str, RuleOutcome] = {}
    for report in reports:
        for rule in report.rows_of("rules"):
            before = rows.get(rule.rule)
            more = 0 if before is None else before.findings
            worst = rule if before is None else min(before, rule, key=_rank)
            rows[rule.rule] = replace(worst, findings=rule.findings + more)
    hits = sorted((row for row in rows.values() if row.findings), key=lambda row: -row.findings)
    first = reports[0]
    conclusion = first.conclusion if len(reports) == 1 else [Checks(reports).conclusion]
    return replace(
        first,
        kind="statistics",
        tables=[Table("rules", shown, shown, hits, "Findings by rule")],
        conclusion=conclusion,
        notes=(),
        skipped=(),
    )


def _rank(rule: RuleOutcome) -> int:
    return STATUSES.index(rule.status)
