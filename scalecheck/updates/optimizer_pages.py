"""The optimizers as people read them: the list of all, and a page for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import cleandoc
from textwrap import wrap
from typing import Any

from scalecheck import registry
from scalecheck.docstring import docstring
from scalecheck.errors import OptionError
from scalecheck.optimizers._spellings import resolve, spellings
from scalecheck.report.formatting import plural
from scalecheck.report.report import Column, Report, Table

_WIDTH = 80  # of the list where no terminal says another

COLUMNS = (
    Column("name", "name", "text", "its name"),
    Column("summary", "what it is", "sentence", "what it is"),
    Column(
        "settings",
        "settings",
        "words",
        "its hyperparameters: name and default",
        get=lambda one: [{"name": name, "default": one.settings[name]} for name in one.settings],
    ),
    Column("spellings", "also called", "words", "names that other programs have for it"),
)


@dataclass(frozen=True)
class Entry:
    """An optimizer: the first sentence of its file, the rest, its formula, hyperparameters with
    their defaults, and other programs' names."""

    name: str
    summary: str
    more: str
    formula: str
    settings: Mapping[str, Any]
    spellings: Sequence[str]


def asked(words: Sequence[str]) -> list[Entry]:
    """The optimizers of these names, all where there are none. Raises UsageError."""
    try:
        names = [*dict.fromkeys(map(resolve, words))] or registry.names("optimizer")
    except OptionError as error:
        raise error.at("optimizers") from None
    return [*map(_entry, names)]


def _entry(name: str) -> Entry:
    module = registry.load("optimizer", name)
    summary, _, more = docstring(module).partition("\n\n")
    kind = module.Optimizer
    formula = cleandoc(kind.__doc__ or "")
    return Entry(name, " ".join(summary.split()), more, formula, vars(kind()), spellings(name))


def report(entries: Sequence[Entry]) -> Report:
    """The optimizers as rows."""
    return Report(
        kind="optimizers",
        tables=[Table("optimizers", COLUMNS, COLUMNS[:2], entries)],
        source={},
        settings={},
        headline=_headline(entries),
    )


def listing(entries: Sequence[Entry], width: int | None) -> str:
    """Each optimizer and what it is."""
    names = max(len(entry.name) for entry in entries)
    lines = [_headline(entries), ""]
    for entry in entries:
        start = f"  {entry.name:{names}}  "
        lines += wrap(
            entry.summary,
            width or _WIDTH,
            initial_indent=start,
            subsequent_indent=" " * len(start),
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def _headline(entries: Sequence[Entry]) -> str:
    return f"{plural(len(entries), 'optimizer')}; scalecheck optimizers NAME shows one"


def text(entry: Entry) -> str:
    """An optimizer's page as text."""
    parts = [f"{entry.name} (optimizer)", entry.summary, entry.more, entry.formula]
    lines = [f"  {name} = {value}" for name, value in entry.settings.items()]
    parts += ["\n".join(["Settings and their defaults, for --set:", *lines])] if lines else []
    parts += [f"Also called: {', '.join(entry.spellings)}"] if entry.spellings else []
    return "\n\n".join(filter(None, parts))
