"""Which tensors, rows and columns of a report are wanted and in what order, in the same words in
every command."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Protocol, TypeVar

from scalecheck.checkpoint.files.folders import Unread
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.errors import Fix, OptionError, UsageError, close_to, nearest
from scalecheck.globs import Globs, similar
from scalecheck.report.formatting import excerpt
from scalecheck.report.report import Column, Rows
from scalecheck.settings import Settings

_TAKES = {  # columns that an option adds
    "quantiles": "--quantiles",
    **dict.fromkeys(("init_rms", "init_ratio", "init_tolerance"), "--init"),
}


class Named(Protocol):
    """What a glob can match."""

    @property
    def name(self) -> str: ...


_MAX_SOUGHT = 10_000  # names among which one is sought that is spelled almost so

N = TypeVar("N", bound=Named)


@dataclass(frozen=True)
class Selection:
    """Globs over names that a tensor must match one of and none of, an order, a number of rows, and
    columns by name; empty or None for all as they come."""

    match: Sequence[str] = ()
    exclude: Sequence[str] = ()
    sort: str | None = None
    reverse: bool = False
    top: int | None = None
    columns: Sequence[str] | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Selection":
        """The selection that a command's settings ask for."""
        return cls(*(getattr(settings, field.name) for field in fields(cls)))

    def holds(self, name: str) -> bool:
        """Whether a tensor of this name is wanted."""
        matched, excluded = self._globs
        return (not self.match or matched.hold(name)) and not excluded.hold(name)

    @cached_property
    def _globs(self) -> tuple[Globs, Globs]:
        return Globs(self.match), Globs(self.exclude)

    def tensors(
        self, tensors: Sequence[N], unread: Sequence[Unread] = (), beside: Sequence[str] = ()
    ) -> tuple[N, ...]:
        """The tensors wanted. Raises UsageError where a glob matches no tensor, none of the folders
        that were not read, and no name of what lies beside."""
        names = [tensor.name for tensor in tensors]
        known = [*names, *(f"{folder.name}/" for folder in unread), *beside]
        for option, globs in (("match", self.match), ("exclude", self.exclude)):
            for glob in dict.fromkeys(globs):
                if not any(map(Globs([glob]).hold, known)):
                    raise _unmatched(option, glob, names)
        wanted = tuple(tensor for tensor in tensors if self.holds(tensor.name))
        if not wanted:
            raise UsageError(f"--match and --exclude leave none of {len(names)} tensors")
        return wanted

    def folders(self, unread: Sequence[Unread]) -> list[Unread]:
        """The folders that were not read and may hold tensors that are wanted, by their names up to
        the first wildcard of a glob."""
        wanted = []
        for folder in unread:
            name = f"{folder.name}/"
            starts = [re.split(r"[*?[]", glob, maxsplit=1)[0] for glob in self.match]
            is_in = not starts or any(s.startswith(name) or name.startswith(s) for s in starts)
            if is_in and not self._globs[1].hold(name):
                wanted.append(folder)
        return wanted

    def check(self, columns: Sequence[Column]) -> None:
        """Raises UsageError where a column that is asked for does not exist."""
        wanted = [("--columns", name) for name in self.columns or ()]
        if self.columns is not None and not wanted:
            raise UsageError("--columns: names no column")
        for option, name in [*wanted, *([] if self.sort is None else [("--sort", self.sort)])]:
            known = [column.name for column in columns]
            if name not in known:
                raise _no_column(option, name, self.columns or (), known)
            if option == "--sort" and columns[known.index(name)].unit in {"quantiles", "spark"}:
                raise UsageError(f"--sort {name}: holds several numbers a row, which have no order")

    def fields(self, columns: Sequence[Column]) -> Sequence[Column]:
        """The columns asked for in the order asked for; all where none was."""
        by_name = {column.name: column for column in columns}
        return [by_name[name] for name in dict.fromkeys(self.columns or by_name)]

    def shown(self, columns: Sequence[Column], usual: Sequence[Column]) -> Sequence[Column]:
        """The columns of a table: those asked for, however narrow it is, else the usual ones."""
        return [replace(c, rank=0) for c in self.fields(columns)] if self.columns else usual

    @property
    def is_whole(self) -> bool:
        """All rows as they come, in the usual columns."""
        return not (self.columns or self.sort or self.top)

    def rows(self, rows: Rows) -> Rows:
        """The rows in order, at most `top` of them. Numbers are sorted from the largest down, words
        from A to Z with numbers inside them by value; what is absent comes last either way."""
        if self.sort is not None:
            values = [row[self.sort] for row in rows]
            there = [place for place, value in enumerate(values) if value is not None]
            absent = [place for place, value in enumerate(values) if value is None]
            falling = any(isinstance(values[place], int | float) for place in there)
            there.sort(key=lambda place: _order(values[place]), reverse=falling != self.reverse)
            rows = rows.at([*there, *absent])
        elif self.reverse:
            rows = rows[::-1]
        return rows[: self.top]


def _no_column(flag: str, name: str, asked: Sequence[str], known: Sequence[str]) -> UsageError:
    """The error of a column that does not exist, with the option that adds it or one like it."""
    taken, near = _TAKES.get(name), close_to(name, known)
    fix = None
    if taken == "--quantiles":
        fix = Fix("", "", taken)
    elif near and flag == "--sort":
        fix = Fix(near, name, flag)
    elif near:
        words = [near if one == name else one for one in asked]
        fix = Fix(",".join(words), ",".join(asked), flag)
    hint = f"it takes {taken}" if taken else nearest(name, known)
    return UsageError(f"{flag} {name}: no such column; {hint}", "", fix)


def _unmatched(option: str, glob: str, names: Sequence[str]) -> OptionError:
    """The error of a glob that matches none of the names, with one like it that does."""
    problem = f"matches none of {len(names)} tensors"
    meant, count = similar(glob, names)
    if not meant and (meant := close_to(glob, names[:_MAX_SOUGHT], 0.8)):
        count = 1
    if meant and not (option == "exclude" and count == len(names)):
        return OptionError(option, f"{problem}; {meant!r} matches {count}", glob, new=meant)
    help = f"a glob matches whole names, such as {excerpt(names[0])}" if names else ""
    return OptionError(option, problem, glob, help)


def retied(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The tensors; of those tied to one that is left out the first stands for the others."""
    there = {tensor.name for tensor in tensors}
    firsts: dict[str | None, str] = {}
    found = []
    for tensor in tensors:
        if tensor.tied_to is not None and tensor.tied_to not in there:
            first = firsts.setdefault(tensor.tied_to, tensor.name)
            tensor = replace(tensor, tied_to=None if first == tensor.name else first)
        found.append(tensor)
    return tuple(found)


def _order(value: Any) -> Any:
    if isinstance(value, str):
        return natural(value)
    return (not value, value) if isinstance(value, list) else value  # no flags after some


def natural(name: str) -> list[tuple[bool, int, str]]:
    """A key that sorts names by the value of the numbers in them: layer.2 before layer.10."""
    key = []
    for part in re.split(r"(\d+)", name):
        digits = part.lstrip("0")
        if part.isdecimal():
            key.append((False, len(digits), digits))
        elif part:
            key.append((True, 0, part))
    return key
