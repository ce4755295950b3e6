"""What the shell completes: the words of an option, rules, columns, and the tensors of the PATH
that was given. Nothing here fails: a shell shows no errors."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from scalecheck import registry
from scalecheck.settings import Option

_MOST = 500  # names; a shell asks before it lists more than a hundred
_SPECIAL = set("*?[]\\'\"`$ ")  # a glob or a shell reads these
# The columns of each command, in its modules.
_COLUMNS = {
    "inspect": ("measure.columns:TENSOR_COLUMNS", "measure.columns:GROUP_COLUMNS"),
    "translate": (
        *(f"updates.columns:{name}" for name in ("COLUMNS", "STATE", "SCHEDULE", "TARGET", "LIKE")),
        "updates.columns:TO",
        "updates.precision:COLUMNS",
    ),
    "diff": tuple(f"updates.displacement:{name}" for name in ("COLUMNS", "AHEAD", "EXPECTED")),
    "history": ("updates.history.columns:GROUPS", "updates.history.columns:POINTS"),
}


def completions(option: Option, context: Any, incomplete: str) -> list[str | tuple[str, str]]:
    """The values of an option that begin as what was typed so far; behind commas the next one."""
    before, comma, last = incomplete.rpartition(",") if option.parse else ("", "", incomplete)
    found: list[str | tuple[str, str]] = []
    try:
        for word, help in _words(option, context, last):
            if word.startswith(last) and word.isprintable():
                whole = f"{before}{comma}{word}"
                found.append((whole, help) if help else whole)
            if len(found) == _MOST:
                break
    except Exception:  # of a checkpoint that cannot be read, or another package's member
        return found
    return found


def _words(option: Option, context: Any, begun: str) -> Iterator[tuple[str, str]]:
    """Each value, and what it is where that is not plain."""
    match option.completes:
        case "rules":
            yield from _rules(begun)
        case "optimizers":
            yield from ((name, "") for name in registry.names("optimizer"))
        case "columns":
            yield from ((name, "") for name in _columns(context.info_name))
        case "tensors":
            yield from ((name, "") for name in _tensors(context))
        case _:
            yield from ((word, "") for word in option.words)


def _rules(begun: str) -> Iterator[tuple[str, str]]:
    """Codes, in the case that was begun with, and where a name was begun with names; from the names
    of the rules' files, as the rules themselves take long to import."""
    for file in registry.names("rule"):
        code, _, name = file.partition("_")
        name = name.replace("_", "-")
        yield (code if begun[:1].islower() else code.upper()), name
        if begun:
            yield name, ""


def _columns(command: str) -> Sequence[str]:
    found: dict[str, None] = {}
    for place in _COLUMNS[command]:
        module, _, name = place.partition(":")
        for column in getattr(import_module(f"scalecheck.{module}"), name):
            found[column.name] = None
    return [*found]


def _tensors(context: Any) -> Iterator[str]:
    """The names of the tensors of the checkpoint that stands before the option."""
    from scalecheck.checkpoint.open import open_checkpoint

    # An option without its value ends the reading of a command line before its arguments.
    given = [context.params.get(name) for name in ("checkpoint", "before")]
    many = [
        path for one in given if one for path in (one if isinstance(one, list | tuple) else [one])
    ]
    path = next(iter([*many, *context.args]), None)
    if path is None:
        return
    options = {name: bool(context.params.get(name)) for name in ("recursive", "raw")}
    for tensor in open_checkpoint(path, **options).tensors:
        if not _SPECIAL.intersection(tensor.name):
            yield tensor.name
