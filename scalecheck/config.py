"""What a project asks of scalecheck: scalecheck.toml, or [tool.scalecheck] in pyproject.toml."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from os.path import isfile
from pathlib import Path
from typing import Any

from scalecheck.errors import UsageError, nearest, reason

FILE = "scalecheck.toml"
PYPROJECT = "pyproject.toml"

LARGEST = 1e308  # of a number: about float64's
MAX_NBYTES = 1 << 20  # a configuration is written by hand

Number = int | float

_TABLES = ("optimizer", "group", "severity", "limits", "override", "exception")


@dataclass(frozen=True)
class Key:
    """What a key at the top of the file holds: a value of one of some types, or a list of such. A
    path is relative to the file."""

    types: tuple[type, ...]
    is_list: bool = False
    is_path: bool = False


@dataclass(frozen=True)
class Where:
    """Which tensors an entry of the file is for: a glob over names, a role, or both."""

    match: str | None = None
    role: str | None = None

    def holds(self, name: str, role: str) -> bool:
        """Whether it is for a tensor."""
        return (self.match is None or fnmatchcase(name, self.match)) and self.role in (None, role)


@dataclass(frozen=True)
class Override:
    """Limits of rules, by code, for some tensors."""

    where: Where
    limits: Mapping[str, Mapping[str, Number]]


@dataclass(frozen=True)
class Waiver:
    """Rules whose findings are let pass for some tensors of some files, and why."""

    where: Where
    path: str | None
    rules: Sequence[str]
    reason: str


@dataclass(frozen=True)
class GroupEntry:
    """Optimizer settings of the tensors of these names, or that match a glob."""

    names: Sequence[str] | None
    match: str | None
    settings: Mapping[str, Number]


@dataclass(frozen=True)
class Config:
    """A configuration file. `path` is None where there is none.

    settings: the keys at the top that it has. optimizer: "name", "lr" and hyperparameters.
    severity: by rule. limits: by rule and limit.
    """

    path: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    groups: Sequence[GroupEntry] = ()
    severity: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)
    overrides: Sequence[Override] = ()
    waivers: Sequence[Waiver] = ()


def find(folder: Path) -> Path | None:
    """The nearest configuration file in the folder or above it: scalecheck.toml, else a
    pyproject.toml with [tool.scalecheck]. Raises UsageError where one cannot be read."""
    for place in (folder, *folder.parents):
        if isfile(place / FILE):
            return place / FILE
        if isfile(place / PYPROJECT) and "scalecheck" in _tools(place / PYPROJECT):
            return place / PYPROJECT
    return None


def read(path: str | Path, keys: Mapping[str, Key]) -> Config:
    """The configuration in a file, which has these keys at its top beside its tables. Raises
    UsageError for what it does not know or that does not fit, with the nearest known key."""
    path = Path(path)
    table = _tools(path).get("scalecheck") if path.name == PYPROJECT else _parsed(path)
    if not isinstance(table, dict):
        raise UsageError(f"{path}: has no table [tool.scalecheck]")
    return _Reader(path).config(table, keys)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_NBYTES + 1)
    except (OSError, ValueError) as error:
        problem = reason(error) if isinstance(error, OSError) else str(error)
        raise UsageError(f"{path}: {problem}") from error
    if len(text) > MAX_NBYTES:
        raise UsageError(f"{path}: is larger than {MAX_NBYTES} bytes")
    try:
        return tomllib.loads(text.decode())
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: byte {error.start} is not UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        problem = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UsageError(f"{path}: is not TOML: {problem}") from error


def _tools(path: Path) -> dict[str, Any]:
    tools = _parsed(path).get("tool", {})
    return tools if isinstance(tools, dict) else {}


class _Reader:
    """Turns a parsed file into a Config, and says where what does not fit stands."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def config(self, table: Mapping[str, Any], keys: Mapping[str, Key]) -> Config:
        self._known(table, "", (*keys, *_TABLES))
        settings: dict[str, Any] = {}
        for name, key in keys.items():
            if name not in table:
                continue
            value = self._typed(table, name, "", (list,) if key.is_list else key.types)
            if key.is_list:
                self._each(value, name, key.types)
            if key.is_path and "\0" in value:
                raise self._error(name, "holds a null byte")
            is_beside = key.is_path and value != "none"
            settings[name] = str(self._path.parent / value) if is_beside else value
        return Config(
            self._path,
            settings,
            self._scalars(self._table(table, "optimizer"), "optimizer"),
            [self._group(entry, at) for entry, at in self._entries(table, "group")],
            self._severity(self._table(table, "severity")),
            self._limits(self._table(table, "limits"), "limits"),
            [self._override(entry, at) for entry, at in self._entries(table, "override")],
            [self._waiver(entry, at) for entry, at in self._entries(table, "exception")],
        )

    def _group(self, entry: Mapping[str, Any], at: str) -> GroupEntry:
        names = self._typed(entry, "names", at, (list,)) if "names" in entry else None
        match = self._typed(entry, "match", at, (str,)) if "match" in entry else None
        if (names is None) == (match is None):
            raise self._error(at, "needs names = [...] or match = GLOB, one of them")
        self._each(names or [], f"{at}.names", (str,))
        settings = {key: value for key, value in entry.items() if key not in ("names", "match")}
        if not settings:
            raise self._error(at, "has no setting such as lr = 1e-4")
        for key, value in settings.items():
            self._each([value], f"{at}.{key}", (int, float) if key == "lr" else (int, float, bool))
        return GroupEntry(names, match, settings)

    def _severity(self, table: Mapping[str, Any]) -> Mapping[str, str]:
        for rule, word in table.items():
            if word not in ("error", "warning"):
                raise self._error(f"severity.{rule}", "is error or warning")
        return table

    def _override(self, entry: Mapping[str, Any], at: str) -> Override:
        limits = {key: value for key, value in entry.items() if key not in ("match", "role")}
        if not limits:
            raise self._error(at, "has no limits such as SC201 = { high = 1e-2 }")
        return Override(self._where(entry, at), self._limits(limits, at))

    def _waiver(self, entry: Mapping[str, Any], at: str) -> Waiver:
        self._known(entry, at, ("path", "match", "role", "rules", "reason"))
        for key in ("rules", "reason"):
            if not entry.get(key):
                raise self._error(at, f"needs {key}")
        rules = self._typed(entry, "rules", at, (list,))
        self._each(rules, f"{at}.rules", (str,))
        words = self._typed(entry, "reason", at, (str,))
        path = self._typed(entry, "path", at, (str,)) if "path" in entry else None
        if path is None and not {"match", "role"} & entry.keys():
            raise self._error(at, "needs path, match or role; to drop a rule there is ignore")
        return Waiver(self._where(entry, at, needed=False), path, rules, words)

    def _where(self, entry: Mapping[str, Any], at: str, needed: bool = True) -> Where:
        match = self._typed(entry, "match", at, (str,)) if "match" in entry else None
        role = self._typed(entry, "role", at, (str,)) if "role" in entry else None
        if needed and match is None and role is None:
            raise self._error(at, "needs match or role")
        return Where(match, role)

    def _limits(self, table: Mapping[str, Any], at: str) -> dict[str, Mapping[str, Number]]:
        for rule, limits in table.items():
            if not isinstance(limits, dict):
                raise self._error(f"{at}.{rule}", "is a table of limits")
            self._each(list(limits.values()), f"{at}.{rule}", (int, float))
        return dict(table)

    def _scalars(self, table: Mapping[str, Any], at: str) -> Mapping[str, Any]:
        kinds: dict[str, tuple[type, ...]] = {"name": (str,), "lr": (int, float)}
        for key, value in table.items():
            if isinstance(value, list) and key not in kinds:
                self._each(value, f"{at}.{key}", (int, float))
            else:
                self._typed(table, key, at, kinds.get(key, (int, float, bool, str)))
        return {key: tuple(x) if isinstance(x, list) else x for key, x in table.items()}

    def _table(self, table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._typed({key: table.get(key, {})}, key, "", (dict,))
        return found

    def _entries(self, table: Mapping[str, Any], key: str) -> list[tuple[Mapping[str, Any], str]]:
        entries = self._typed({key: table.get(key, [])}, key, "", (list,))
        self._each(entries, key, (dict,))
        return [(entry, f"{key}[{number}]") for number, entry in enumerate(entries, 1)]

    def _known(self, table: Mapping[str, Any], at: str, known: Sequence[str]) -> None:
        for key in table:
            if key not in known:
                raise self._error(at, f"{key} is not known; {nearest(key, known)}")

    def _typed(self, table: Mapping[str, Any], key: str, at: str, kinds: tuple[type, ...]) -> Any:
        value = table[key]
        is_flag = isinstance(value, bool) and bool not in kinds
        if not isinstance(value, kinds) or is_flag or _is_endless(value):
            raise self._error(f"{at}.{key}" if at else key, f"is {_KINDS[kinds]}")
        return value

    def _each(self, values: Sequence[Any], at: str, kinds: tuple[type, ...]) -> None:
        for value in values:
            is_flag = isinstance(value, bool) and bool not in kinds
            if not isinstance(value, kinds) or is_flag or _is_endless(value):
                raise self._error(at, f"holds {repr(value)[:40]}, not {_KINDS[kinds]}")

    def _error(self, at: str, problem: str) -> UsageError:
        return UsageError(f"{self._path}: {at}: {problem}" if at else f"{self._path}: {problem}")


def _is_endless(value: object) -> bool:
    """A number that no finite float64 stands for."""
    return isinstance(value, int | float) and not -LARGEST <= value <= LARGEST


_KINDS: Mapping[tuple[type, ...], str] = {
    (list,): "a list",
    (str,): "a word",
    (dict,): "a table",
    (int,): "a whole number",
    (int, float): "a number",
    (int, float, bool): "a number",
    (int, float, bool, str): "a number or a word",
}
