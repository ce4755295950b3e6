"""What can go wrong, as a user would say it: one line with the place, the matter and the number."""

from collections.abc import Sequence


def reason(error: OSError) -> str:
    """Why the system refused, as it words it: "no such file or directory"."""
    return (error.strerror or str(error)).lower()


class ScalecheckError(Exception):
    """An expected failure whose text is one line for the user."""


class UsageError(ScalecheckError):
    """What was asked for does not exist or does not fit: an option, a column, an output path."""


class OptionError(UsageError):
    """An option's value does not fit. `option` is its name in Python, such as grad_rms."""

    def __init__(self, option: str, problem: str, value: object = "") -> None:
        self.option, self.problem, self.value = option, problem, value
        super().__init__(str(self.at(f"--{option.replace('_', '-')}")))

    def at(self, place: str) -> UsageError:
        """The error of a value that stands at another place, such as a key of a file."""
        value = "" if self.value == "" else f" {self.value}"
        return UsageError(f"{place}{value}: {self.problem}")


class ArgumentError(UsageError, ValueError):
    """A value that was given from Python does not fit."""


class ArgumentTypeError(UsageError, TypeError):
    """What was given from Python is of a type that does not fit."""


def unknown(option: str, word: str, known: Sequence[str]) -> OptionError:
    """The error for a word that an option does not know, with the nearest one that it does."""
    return OptionError(option, f"not known; {nearest(word, known)}", word)


def nearest(word: str, known: Sequence[str]) -> str:
    """What was perhaps meant by a word that is not known: the nearest one, or all there are."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


class CheckpointError(ScalecheckError):
    """A checkpoint is missing, truncated, corrupt or refused. `help` is what to do about it."""

    def __init__(self, path: object, problem: str, help: str = "") -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem
        self.help = help


class NotAllRead(ScalecheckError):
    """Of several checkpoints some could not be read, for a reason each."""

    def __init__(self, errors: Sequence[CheckpointError]) -> None:
        super().__init__("; ".join(map(str, errors)))
        self.errors = errors
