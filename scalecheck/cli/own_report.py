"""Which files a report may take the place of: a report, and none that the command reads."""

import os
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

from scalecheck.report.report import Column
from scalecheck.toml import OWN_MARK

_HEAD_NBYTES = 1 << 16  # in which a report has shown what it is

# How many of what a check found.
_COUNTED = (
    r"(?:no\ findings|nothing\ was\ judged|[\d,]+\ (?:error|warning|note|ignored)[^\n]*)"
    r"\ in\ [\d,]+\ tensors?"
)
# How reports begin.
_BEGINNING = re.compile(
    rf"""
    \{{\s*"schema":\ "scalecheck\.
    | \{{\s*"\$schema":\ "[^"]*sarif[^"]*",\s*"version":\ "2\.1\.0",\s*
      "runs":\ \[\s*\{{\s*"tool":\ \{{\s*"driver":\ \{{\s*"name":\ "scalecheck"
    | <\?xml\ [^>]*\?>\s*<testsuites>\s*<testsuite\ [^>]*>\s*<testcase\ classname="scalecheck\.
    | ::(?:error|warning|notice)\ file=[^:\n]*,title=[^:\n]*::
    | \"""Parameter\ groups\ for\ torch\.optim\.
    | SC\d+\ [\w-]+\ \((?:error|warning|note)\)\n
    | \#\#\ SC\d+\ [\w-]+\n\n\*\*
    | \w+\ \(optimizer\)\n
    | \d+\ rules\ of\ scalecheck\ check;\ scalecheck\ rules
    | \d+\ optimizers?;\ scalecheck\ optimizers
    | [\w\ ]+:\ (?:all\ )?\d+\ (?:of\ \d+\ )?claims\ of\ the\ laws\ (?:hold|breaks?)
    | (?:[^\n]*(?::\ |\n\n))?(?:error|warning|note)\[SC\d+\]\ [\w-]+:\ \S
    | [^\n]*:\ (?:failed|passed[\w\ ,]*):\ {_COUNTED}\n
    | (?:\#\#\#\ )?[\d,]+\ (?:of\ [\d,]+\ )?checkpoints?\ (?:failed|passed)[^\n]*:\ {_COUNTED}\n
    | [^\n]*:\ {_COUNTED};\ [\d,]+\ rules?\ run
    | \#\#\#\ `[^\n]*`:\ (?:failed|passed)\n\n[^\n]*{_COUNTED};\ [\d,]+\ rules?\ run
    | Nothing\ stands\ out\ in\ [\d,]+\ tensors?:
    | [\d,]+\ of\ [\d,]+\ tensors?\ stands?\ out:
    """,
    re.VERBOSE,
)
_TABLE = re.compile(r"^(.*)\n *-+(?:  +-+)*$", re.MULTILINE)
_GRID = re.compile(r"^\|(.*)\|\n\|[-|:]+\|$", re.MULTILINE)
_BLOCKS = 8  # at the beginning: the conclusion, a title and the table, or a page of someone else's
_OF_A_PAGE = re.compile(r"^(?:```|\$ |#{1,6} |[-*] )", re.MULTILINE)  # which quotes a report
_FEWEST = 3  # columns by which a table is known
_QUANTILE = re.compile(r"[\d.]+ %|quantiles_[\d.]+")
_COLUMNS = (  # the modules that have the columns of every report
    "laws.layers",
    "laws.replay.claim",
    "laws.replay.overview",
    "laws.sweep",
    "laws.update_size",
    "laws.weight_scale",
    "measure.columns",
    "measure.initial_scale",
    "report.finding",
    "rules.judging.manual",
    "rules.judging.pages",
    "updates.assumed",
    "updates.columns",
    "updates.displacement",
    "updates.history.columns",
    "updates.optimizer_pages",
)


def is_among(path: Path, others: Iterable[Path]) -> bool:
    """Whether it is one of the others, by whatever links."""
    for other in others:
        try:
            if os.path.samefile(path, other):
                return True
        except OSError:  # one that is not there
            continue
    return False


def is_own(path: Path) -> bool:
    """Whether a file is a report of some command in some format, or is empty. Raises OSError."""
    with path.open("rb") as file:
        content = file.read(_HEAD_NBYTES)
    head = content.decode("utf-8", "replace")
    ways = (_begins, _is_emitted_toml, _is_table, _is_grid, _is_csv)
    return not head or any(says(head) for says in ways)


def _begins(head: str) -> bool:
    return _BEGINNING.match(head) is not None


def _is_emitted_toml(head: str) -> bool:
    """Whether it is what --emit toml wrote, and nobody has added a table to it."""
    tables = {line for line in head.splitlines() if line.startswith("[")}
    return head.startswith(f"# {OWN_MARK}\n") and tables <= {"[optimizer]", "[[group]]"}


def _is_table(head: str) -> bool:
    found = _near_the_top(_TABLE, head)
    return found is not None and _are_known(re.split(" {2,}", found[1].strip()))


def _is_grid(head: str) -> bool:
    found = _near_the_top(_GRID, head)
    return found is not None and _are_known(
        [cell.strip().replace("\\", "") for cell in re.split(r"(?<!\\)\|", found[1])]
    )


def _near_the_top(table: re.Pattern[str], head: str) -> re.Match[str] | None:
    """The head of the first table, where no more than a conclusion and a title stand before it."""
    found = table.search("\n\n".join(head.split("\n\n")[:_BLOCKS]))
    return None if found is None or _OF_A_PAGE.search(head[: found.start()]) else found


def _is_csv(head: str) -> bool:
    words = head.split("\n", 1)[0].split(",")
    return _are_known(words[1:] if words[:2] == ["path", "rule"] else words)


def _are_known(words: Sequence[str]) -> bool:
    """Whether they are several, all names or titles of columns; one of quantiles has as many as
    there are."""
    are_known = all(word in _known() or _QUANTILE.fullmatch(word) for word in words)
    return len(words) >= _FEWEST and are_known


@cache
def _known() -> frozenset[str]:
    """The names and titles of all columns."""
    found: set[str] = set()
    for module in _COLUMNS:
        for value in vars(import_module(f"scalecheck.{module}")).values():
            for column in value if isinstance(value, list | tuple) else [value]:
                if isinstance(column, Column):
                    found |= {column.name, column.title}
    return frozenset(found)
