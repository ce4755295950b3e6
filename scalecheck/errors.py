"""What can go wrong, as a user would say it: one line with the place, the matter and the number."""

from collections.abc import Sequence
from dataclasses import dataclass


def reason(error: OSError) -> str:
    """Why the system refused, as it words it: "no such file or directory"."""
    return (error.strerror or str(error)).lower()


@dataclass(frozen=True)
class Fix:
    """What makes a refused command line work: its word `old` becomes `new`, and an empty `new`
    removes it. flag: the option whose value `old` is, such as --match; an empty `old` adds the
    option. before: a shell command that has to run first."""

    new: str = ""
    old: str = ""
    flag: str = ""
    before: str = ""


class ScalecheckError(Exception):
    """An expected failure whose text is one line for the user. help: what to do about it; fix:
    the fix of the command line that does it."""

    help: str = ""
    fix: Fix | None = None


class UsageError(ScalecheckError):
    """What was asked for does not exist or does not fit: an option, a column, an output path."""

    def __init__(self, words: str, help: str = "", fix: Fix | None = None) -> None:
        super().__init__(words)
        self.help, self.fix = help, fix


class OptionError(UsageError):
    """An option's value does not fit. `option` is its name in Python, such as grad_rms. new: a
    value that fits in its place."""

    def __init__(
        self, option: str, problem: str, value: object = "", help: str = "", new: str = ""
    ) -> None:
        self.option, self.problem, self.value, self.new = option, problem, value, new
        self.flag = f"--{option.replace('_', '-')}"
        fix = Fix(new, str(value), self.flag) if new else None
        self.help, self.fix = help, fix
        super().__init__(str(self.at(self.flag)), help, fix)

    def at(self, place: str) -> UsageError:
        """The error of a value that stands at another place, such as a key of a file."""
        words = str(self.value)
        if isinstance(self.value, float):
            words = words.removesuffix(".0")  # as it was most likely written
        where = f"{place} {words}" if words else place
        return UsageError(f"{where}: {self.problem}", self.help, self.fix)


class ArgumentError(UsageError, ValueError):
    """A value that was given from Python does not fit."""


class ArgumentTypeError(UsageError, TypeError):
    """What was given from Python is of a type that does not fit."""


def unknown(option: str, word: str, known: Sequence[str]) -> OptionError:
    """The error for a word that an option does not know, with the nearest one that it does."""
    near = close_to(word, known)
    return OptionError(option, f"not known; {nearest(word, known)}", word, new=near)


def nearest(word: str, known: Sequence[str]) -> str:
    """What was perhaps meant by a word that is not known: the nearest one, or all there are."""
    near = close_to(word, known)
    return f"did you mean {near}?" if near else f"there are {', '.join(known)}"


def close_to(word: str, known: Sequence[str], likeness: float = 0.6) -> str:
    """The word that is spelled most like one that is not known; empty where none is like it.
    likeness: the least share of letters that both have."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, known, 1, likeness)), "")


class CheckpointError(ScalecheckError):
    """A checkpoint is missing, truncated, corrupt or refused."""

    def __init__(self, path: object, problem: str, help: str = "", fix: Fix | None = None) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem
        self.help = help
        self.fix = fix


class NotAllRead(ScalecheckError):
    """Of several checkpoints some could not be read, for a reason each."""

    def __init__(self, errors: Sequence[CheckpointError]) -> None:
        super().__init__("; ".join(map(str, errors)))
        self.errors = errors
