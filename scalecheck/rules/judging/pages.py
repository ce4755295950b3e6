"""The rules as people read them: the list of all, and a page for each with what it finds, why that
is bad, what to do, and how to change its limits."""

from collections.abc import Iterator, Sequence
from functools import partial
from textwrap import fill, wrap

from scalecheck.errors import UsageError
from scalecheck.report import formatting
from scalecheck.report.report import Column, Report, Table
from scalecheck.rules.contract import NEEDS, Example, Limit, Registered, registered

PUBLISHED = "published ranges"
GROUPS = {
    "SC1": "Weights",
    "SC2": "Learning rate and optimizer",
    "SC3": "Changes since a baseline",
    "": "Rules of other packages",
}
_WIDTH = 80  # of pages, and of the list where no terminal says another
_NEAR = 3  # rules that were perhaps meant

_filled = partial(fill, width=_WIDTH, break_on_hyphens=False, break_long_words=False)

COLUMNS = (
    Column("code", "code", "text", "the rule's code", get=lambda one: one.code),
    Column("name", "name", "text", "its name", get=lambda one: one.name),
    Column("severity", "severity", "text", "of its findings", get=lambda one: one.rule.severity),
    Column("finds", "finds", "sentence", "what it finds", get=lambda one: one.summary),
    Column("meaning", "why", "sentence", "why that is bad", get=lambda one: one.meaning),
    Column("remedy", "what to do", "sentence", "what to do", get=lambda one: one.remedy),
    Column("needs", "needs", "words", "what it is not run without", get=lambda one: needs(one)),
    Column(
        "limits",
        "limits",
        "words",
        "its limits: name, default and what it is",
        get=lambda one: [
            {"name": name, "default": limit.default, "help": limit.help}
            for name, limit in one.rule.limits.items()
        ],
    ),
)
_LISTED = COLUMNS[:4]


def asked(words: Sequence[str]) -> list[Registered]:
    """The rules of codes, beginnings of codes and names; all where there are none. Raises
    UsageError with the rules that are near to one that is not known."""
    known = registered()
    if not words:
        return [*known.values()]
    found: dict[str, Registered] = {}
    for word in words:
        own = {c: r for c, r in known.items() if c.startswith(word.upper()) or r.name == word}
        if not own:
            raise UsageError(f"rules {word}: not known; {_near(word)}")
        found |= own
    return [*found.values()]


def _near(word: str) -> str:
    """What was perhaps meant by a word that stands for no rule."""
    from difflib import get_close_matches

    names = {entry.name: code for code, entry in registered().items()}
    plain = word.lower().replace("_", "-")
    is_code = any(letter.isdigit() for letter in word)
    codes = get_close_matches(word.upper(), [*names.values()], _NEAR) if is_code else []
    parts = [code for name, code in names.items() if plain and plain in name]
    near = codes or parts or [names[one] for one in get_close_matches(plain, names, _NEAR, 0.5)]
    if not near:
        return "`scalecheck rules` lists all"
    return f"did you mean {' or '.join(f'{c} {registered()[c].name}' for c in near[:_NEAR])}?"


def needs(entry: Registered) -> list[str]:
    """What a rule is not run without, each as a phrase."""
    return [NEEDS[need].removeprefix("needs ") for need in entry.rule.needs]


def shown(limit: Limit) -> str:
    """What a limit is where nothing sets it."""
    return PUBLISHED if limit.is_published else formatting.setting(limit.default)


def report(entries: Sequence[Registered]) -> Report:
    """The rules as rows, a table for each group."""
    grouped = [Table("rules", COLUMNS, _LISTED, own, title) for title, own in _groups(entries)]
    return Report(kind="rules", tables=grouped, source={}, settings={}, headline=_headline(entries))


def listing(entries: Sequence[Registered], width: int | None) -> str:
    """The rules in groups: code, name, severity, and what each finds."""
    names = max(len(entry.name) for entry in entries)
    parts = [_headline(entries)]
    for title, own in _groups(entries):
        lines = [title]
        for entry in own:
            start = f"  {entry.code}  {entry.name:{names}}  {entry.rule.severity:7}  "
            lines += wrap(
                entry.summary,
                width or _WIDTH,
                initial_indent=start,
                subsequent_indent=" " * len(start),
                break_on_hyphens=False,
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _headline(entries: Sequence[Registered]) -> str:
    return f"{len(entries)} rules of scalecheck check; scalecheck rules SC104 explains one"


def _groups(entries: Sequence[Registered]) -> Iterator[tuple[str, list[Registered]]]:
    """The rules under their groups' titles."""
    starts = [start for start in GROUPS if start]
    for start, title in GROUPS.items():
        own = [
            entry
            for entry in entries
            if (entry.code.startswith(start) if start else entry.code[:3] not in starts)
        ]
        if own:
            yield title, own


def text(entry: Registered) -> str:
    """A rule's page as text."""
    rule = entry.rule
    parts = [f"{entry.code} {entry.name} ({rule.severity})", _filled(entry.summary)]
    parts += [_filled(f"Why it is bad: {entry.meaning}"), _filled(f"What to do: {entry.remedy}")]
    parts += [f"Needs: {need}." for need in needs(entry)]
    if rule.limits:
        lines = [f"  {line}" for line in limits_toml(entry)]
        parts.append("\n".join(["Limits and their defaults, for scalecheck.toml:", *lines]))
    for title, example in _examples(entry):
        parts.append("\n".join([title, *(f"  {line}" for line in example.lines.splitlines())]))
    parts[-1] += f"\n  → {rule.bad.finds}"
    return "\n\n".join(parts)


def limits_toml(entry: Registered) -> list[str]:
    """The lines of scalecheck.toml that set a rule's limits to their defaults; as comments those
    that published ranges stand in for."""
    settings = {
        name: f"{'# ' * limit.is_published}{name} = {formatting.setting(limit.default)}"
        for name, limit in entry.rule.limits.items()
    }
    width = max(map(len, settings.values()), default=0)
    lines = [f"[limits.{entry.code}]"]
    for name, limit in entry.rule.limits.items():
        default = f"; default: {PUBLISHED}" if limit.is_published else ""
        lines.append(f"{settings[name]:{width}}  # {limit.help}{default}")
    return lines


def markdown(entry: Registered) -> Iterator[str]:
    """A rule's page as Markdown, part by part."""
    rule = entry.rule
    yield f"\n## {entry.code} {entry.name}\n"
    yield f"**{entry.summary}** Severity: {rule.severity}.\n"
    yield f"{entry.meaning}\n"
    yield f"*Try:* {entry.remedy}\n"
    if rule.limits:
        yield "| Limit | Default | What it is |"
        yield "|---|---|---|"
        for name, limit in rule.limits.items():
            yield f"| `{name}` | {shown(limit)} | {limit.help.replace('|', '&#124;')} |"
        yield ""
    for title, example in (("Passes", rule.ok), ("Fails", rule.bad)):
        options = f" with `{example.options}`" if example.options else ""
        yield f"{title}{options}:\n\n```py\n{example.lines}\n```\n"
    yield f"> {rule.bad.finds}"


def _examples(entry: Registered) -> Iterator[tuple[str, Example]]:
    for title, example in (("Passes", entry.rule.ok), ("Fails", entry.rule.bad)):
        yield f"{title}{f' with {example.options}' if example.options else ''}:", example
