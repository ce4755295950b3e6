"""What a project asks of scalecheck: scalecheck.toml, or [tool.scalecheck] in pyproject.toml."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from glob import escape
from os.path import isfile
from pathlib import Path
from typing import Any

from scalecheck import toml
from scalecheck.errors import UsageError, nearest
from scalecheck.globs import Globs, literal
from scalecheck.settings import Option

FILE = "scalecheck.toml"
PYPROJECT = "pyproject.toml"

LARGEST = 1e308  # of a number: about float64's
# Each of these is tried on every tensor.
MAX_ENTRIES = 1000  # of [[override]] and of [[exception]]
MAX_GLOBS = 1000  # with a wildcard
MAX_GLOB = 1024  # characters, as many as a name may have
MAX_GLOBS_LENGTH = 1 << 16  # characters of all that have a wildcard

Number = int | float

_NUMBERS: Mapping[type, tuple[type, ...]] = {int: (int,), float: (int, float), bool: (bool,)}
_TABLES = ("optimizer", "group", "severity", "limits", "override", "exception")


@dataclass(frozen=True)
class Where:
    """Which tensors an entry of the file is for: a glob over names, a role, or both."""

    match: str | None = None
    role: str | None = None

    def holds(self, name: str, role: str) -> bool:
        """Whether it is for a tensor."""
        return (self.match is None or self._glob.hold(name)) and self.role in (None, role)

    @cached_property
    def _glob(self) -> Globs:
        return Globs(() if self.match is None else (self.match,))


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

    @cached_property
    def paths(self) -> Globs:
        """What its path matches."""
        return Globs(() if self.path is None else (self.path,))


@dataclass(frozen=True)
class GroupEntry:
    """Optimizer settings of the tensors whose names match one of some globs."""

    globs: Sequence[str]
    settings: Mapping[str, Number]


@dataclass(frozen=True)
class Config:
    """A configuration file. `path` is None where there is none.

    settings: the keys at the top that it has. optimizer: "name", "lr" and hyperparameters.
    severity: by rule. limits: by rule and limit. document: the file, None where there is none.
    """

    path: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    groups: Sequence[GroupEntry] = ()
    severity: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)
    overrides: Sequence[Override] = ()
    waivers: Sequence[Waiver] = ()
    document: toml.Document | None = field(default=None, repr=False, compare=False)

    def file(self, place: str) -> str:
        """The file, with the line of a place in it such as limits.SC201.high where it is seen."""
        within = "tool.scalecheck." if self.path and self.path.name == PYPROJECT else ""
        line = None if self.document is None else self.document.line(within + place)
        return f"{self.path}:{line}" if line else str(self.path)

    def at(self, place: str, shown: str = "") -> str:
        """The same and the place, or what is shown for it."""
        return f"{self.file(place)}: {shown or place}"


def find(folder: Path) -> Path | None:
    """The nearest configuration file in the folder or above it: scalecheck.toml, else a
    pyproject.toml with [tool.scalecheck]. Raises UsageError where one cannot be read."""
    for place in (folder, *folder.parents):
        if isfile(place / FILE):
            return place / FILE
        if isfile(place / PYPROJECT) and "scalecheck" in _tools(toml.parsed(place / PYPROJECT)):
            return place / PYPROJECT
    return None


def read(path: str | Path, options: Mapping[str, Option]) -> Config:
    """The configuration in a file, which has these options at its top beside its tables. Raises
    UsageError for what it does not know or that does not fit, with the nearest known key."""
    path = Path(path)
    document = toml.parsed(path)
    table = _tools(document).get("scalecheck") if path.name == PYPROJECT else document.table
    if not isinstance(table, dict):
        raise UsageError(f"{path}: has no table [tool.scalecheck]")
    try:
        config = _config(path, table, options)
        _check_globs(config)
        return replace(config, document=document)
    except ValueError as error:
        place = str(error).partition(": ")[0].partition(" ")[0]
        raise UsageError(f"{Config(path, document=document).file(place)}: {error}") from None


def _tools(document: toml.Document) -> dict[str, Any]:
    tools = document.table.get("tool", {})
    return tools if isinstance(tools, dict) else {}


def _config(path: Path, table: Mapping[str, Any], options: Mapping[str, Option]) -> Config:
    """What a parsed file says. Raises ValueError, as do those below, where it does not fit."""
    keys = {name: option for name, option in options.items() if option.key is None}
    _known(table, "", (*keys, *_TABLES))
    settings: dict[str, Any] = {}
    for name in [key for key in keys if key in table]:
        value, option = table[name], keys[name]
        kind = (option.item_types or option.types)[0]
        kinds: tuple[type, ...] = _NUMBERS.get(kind, (str,))
        if kind is int and str in option.types:  # step = "steady"
            kinds = (int, str)
        settings[name] = (_items if option.item_types else _typed)(value, name, *kinds)
        if option.is_path and value != "none":
            if "\0" in value:
                raise ValueError(f"{name}: holds a null byte")
            settings[name] = str(path.parent / value)
    severity = _typed(table.get("severity", {}), "severity", dict)
    for rule, word in severity.items():
        if word not in ("error", "warning", "note"):
            raise ValueError(f"severity.{rule}: is error, warning or note")
    return Config(
        path,
        settings,
        _optimizer(_typed(table.get("optimizer", {}), "optimizer", dict)),
        [_group(entry, at) for entry, at in _entries(table, "group")],
        severity,
        _limits(_typed(table.get("limits", {}), "limits", dict), "limits"),
        [_override(entry, at) for entry, at in _entries(table, "override")],
        [_waiver(entry, at) for entry, at in _entries(table, "exception")],
    )


def _check_globs(config: Config) -> None:
    """Raises ValueError where trying the globs would take long."""
    globs: list[tuple[str, str]] = [
        *((key, glob) for key in ("match", "exclude") for glob in config.settings.get(key, ())),
        *((f"group[{n}]", g) for n, group in enumerate(config.groups, 1) for g in group.globs),
        *((f"override[{n}]", o.where.match or "") for n, o in enumerate(config.overrides, 1)),
        *((f"exception[{n}]", w.where.match or "") for n, w in enumerate(config.waivers, 1)),
        *((f"exception[{n}]", w.path or "") for n, w in enumerate(config.waivers, 1)),
    ]
    length = 0
    wild = [(at, glob) for at, glob in globs if literal(glob) is None]
    for place, (at, glob) in enumerate(wild, 1):
        length += len(glob)
        if len(glob) > MAX_GLOB:
            raise ValueError(f"{at}: a glob of {len(glob)} characters, of at most {MAX_GLOB}")
        if place > MAX_GLOBS or length > MAX_GLOBS_LENGTH:
            raise ValueError(
                f"{at}: more than {MAX_GLOBS} globs with a wildcard, or {MAX_GLOBS_LENGTH} "
                "characters in them"
            )


def _optimizer(table: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in table.items():
        at = f"optimizer.{key}"
        if isinstance(value, list) and key not in ("name", "lr"):
            found[key] = tuple(_items(value, at, int, float))
        else:
            kinds = {"name": (str,), "lr": (int, float)}.get(key, (int, float, bool, str))
            found[key] = _typed(value, at, *kinds)
    return found


def _group(entry: Mapping[str, Any], at: str) -> GroupEntry:
    names, match = _items(entry.get("names", []), f"{at}.names", str), _word(entry, "match", at)
    if ("names" in entry) == (match is not None):
        raise ValueError(f"{at}: needs names = [...] or match = GLOB, one of them")
    settings = {key: value for key, value in entry.items() if key not in ("names", "match")}
    if not settings:
        raise ValueError(f"{at}: has no setting such as lr = 1e-4")
    for key, value in settings.items():
        _typed(value, f"{at}.{key}", int, float, *(() if key == "lr" else (bool,)))
    return GroupEntry(tuple(map(escape, names)) if match is None else (match,), settings)


def _override(entry: Mapping[str, Any], at: str) -> Override:
    limits = {key: value for key, value in entry.items() if key not in ("match", "role")}
    if not limits:
        raise ValueError(f"{at}: has no limits such as SC201 = {{ high = 1e-2 }}")
    if not {"match", "role"} & entry.keys():
        raise ValueError(f"{at}: needs match or role")
    return Override(_where(entry, at), _limits(limits, at))


def _waiver(entry: Mapping[str, Any], at: str) -> Waiver:
    _known(entry, at, ("path", "match", "role", "rules", "reason"))
    for key in ("rules", "reason"):
        if not entry.get(key):
            raise ValueError(f"{at}: needs {key}")
    if not {"path", "match", "role"} & entry.keys():
        raise ValueError(f"{at}: needs path, match or role; to drop a rule there is ignore")
    rules, reason = _items(entry["rules"], f"{at}.rules", str), _word(entry, "reason", at)
    return Waiver(_where(entry, at), _word(entry, "path", at), rules, reason or "")


def _where(entry: Mapping[str, Any], at: str) -> Where:
    return Where(_word(entry, "match", at), _word(entry, "role", at))


def _limits(table: Mapping[str, Any], at: str) -> dict[str, Mapping[str, Number]]:
    for rule, limits in table.items():
        if not isinstance(limits, dict):
            raise ValueError(f"{at}.{rule}: is a table of limits")
        for name, limit in limits.items():
            _typed(limit, f"{at}.{rule}.{name}", int, float)
    return dict(table)


def _entries(table: Mapping[str, Any], key: str) -> list[tuple[Mapping[str, Any], str]]:
    """The entries of a list of tables, and where each stands."""
    entries = _items(table.get(key, []), key, dict)
    if key != "group" and len(entries) > MAX_ENTRIES:
        raise ValueError(
            f"{key}[{MAX_ENTRIES + 1}]: one of {len(entries)}, of at most {MAX_ENTRIES}"
        )
    return [(entry, f"{key}[{place}]") for place, entry in enumerate(entries, 1)]


def _word(entry: Mapping[str, Any], key: str, at: str) -> str | None:
    word: str | None = _typed(entry[key], f"{at}.{key}", str) if key in entry else None
    return word


def _known(table: Mapping[str, Any], at: str, known: Sequence[str]) -> None:
    for key in table:
        if key not in known:
            place = f"{at}: " if at else ""
            raise ValueError(f"{place}{key} is not known; {nearest(key, known)}")


def _items(values: Any, at: str, *kinds: type) -> list[Any]:
    items: list[Any] = _typed(values, at, list)
    for item in items:
        if not _fits(item, kinds):
            raise ValueError(f"{at}: holds {_shown(item)}, not {_KINDS[kinds]}")
    return items


def _shown(item: Any) -> str:
    return hex(item)[:40] if isinstance(item, int) and abs(item) > LARGEST else repr(item)[:40]


def _typed(value: Any, at: str, *kinds: type) -> Any:
    if not _fits(value, kinds):
        raise ValueError(f"{at}: is {_KINDS[kinds]}")
    return value


def _fits(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether it is of one of the types, and if a number, one that a finite float64 stands for."""
    if isinstance(value, bool):
        return bool in kinds
    is_endless = isinstance(value, int | float) and not -LARGEST <= value <= LARGEST
    return isinstance(value, kinds) and not is_endless


_KINDS: Mapping[tuple[type, ...], str] = {
    (list,): "a list",
    (str,): "a word",
    (bool,): "true or false",
    (dict,): "a table",
    (int,): "a whole number",
    (int, str): "a whole number or a word",
    (int, float): "a number",
    (int, float, bool): "a number",
    (int, float, bool, str): "a number or a word",
}
