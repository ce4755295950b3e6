"""What is given to a command from Python: of which types it may be, and what is wrong with it in
the words of Python."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_origin

from scalecheck.config import Config
from scalecheck.errors import (
    ArgumentError,
    ArgumentTypeError,
    CheckpointError,
    OptionError,
    ScalecheckError,
    UsageError,
    nearest,
)
from scalecheck.report.report import Report
from scalecheck.settings import HYPERPARAMETERS, Argument, Option

_STARTS = re.compile(r"--(?P<flag>[a-z][a-z0-9-]*) (?P<value>(?:(?!--).)*?)(?=: )")
_SETTING = re.compile(r"--set (\w+)=?")
_FLAG = re.compile(r"--(?P<flag>[a-z][a-z0-9-]*)(?: (?P<value>none\b|[A-Z]+=\w+|[.\d][\w.+-]*))?")

_WORDS: Mapping[Any, str] = {
    float: "a number",
    int: "a whole number",
    bool: "True or False",
    str: "a str",
    Path: "a path",
}


def given_from_python(
    command: str, options: Mapping[str, Option], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments as commands take them: models and optimizers in memory as checkpoints and
    states, and single numbers of numpy and torch as Python's. Raises UsageErrors that are also
    TypeErrors or ValueErrors, and CheckpointError for a model that holds no tensor."""
    from scalecheck.checkpoint.live.given import is_live_optimizer

    found = {**given}
    if is_live_optimizer(found.get("optimizer")) and "state" in options:
        if found.get("state") is not None:
            raise ArgumentError(f"scalecheck.{command}: optimizer and state: give one of them")
        found["state"] = found.pop("optimizer")
    if HYPERPARAMETERS in found:
        _require_known(command, options, found[HYPERPARAMETERS])
    for name, value in found.items():
        try:
            found[name] = _taken(name, value, options)
        except TypeError as error:
            problem = f"{name} must be {error}"
            raise ArgumentTypeError(f"scalecheck.{command}: {problem}") from None
    return found


def _taken(name: str, value: Any, options: Mapping[str, Option]) -> Any:
    """The value as commands take it. Raises TypeError with what was expected."""
    from scalecheck.checkpoint.live.given import model_of, state_of

    if name == HYPERPARAMETERS:
        return value
    option = options.get(name)
    default = None if option is None else option.default
    if value is None and default is None:
        return None
    if option is None:
        return _others(name, value)
    if isinstance(option, Argument) and option.repeats and isinstance(value, list | tuple):
        return [*map(model_of, value)]
    if isinstance(option, Argument) or name in ("like", "base"):
        return model_of(value)
    if name == "state":
        return state_of(value)
    if name == "optimizer" and "state" in options and not isinstance(value, str):
        expected = "the name of an optimizer, a torch Optimizer or a list of them"
        raise TypeError(f"{expected}, not {type(value).__name__}")
    return _typed(option, value)


def _others(name: str, value: Any) -> Any:
    """What is no option: the configuration, and a function that is told of the progress."""
    if name == "progress" and not callable(value):
        raise TypeError(f"a function, not {type(value).__name__}")
    if name == "config" and not isinstance(value, Config | str | os.PathLike):
        raise TypeError(f"a path or a configuration, not {type(value).__name__}")
    return Path(value) if isinstance(value, os.PathLike) else value


def _require_known(
    command: str, options: Mapping[str, Option], hyperparameters: Mapping[str, Any]
) -> None:
    """Refuses a keyword that is neither an option nor a hyperparameter of any optimizer."""
    from scalecheck.updates.training import hyperparameters as known

    for name in hyperparameters.keys() - known().keys():
        near = nearest(name, [*options, *known()])
        hint = f"; {near}" if near.startswith("did") else ""
        problem = f"got an unexpected keyword argument {name!r}{hint}"
        raise ArgumentTypeError(f"scalecheck.{command}() {problem}")


def _typed(option: Option, value: Any) -> Any:
    """The value, where it is of a type of the option. Raises TypeError with what was expected."""
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    if any(_is(value, kind) for kind in option.types):
        return value
    expected = " or ".join(dict.fromkeys(map(_words, option.types)))
    raise TypeError(f"{expected}, not {_of_type(value)}")


def _is(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Sequence:
        (item,) = get_args(kind)
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        return is_list and all(_is(one, item) for one in value)
    if kind is Path:
        return isinstance(value, os.PathLike)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _words(kind: Any) -> str:
    if get_origin(kind) is Sequence:
        (item,) = get_args(kind)
        return "a list of numbers" if item is float else "a list of them"
    return _WORDS[kind]


def _of_type(value: Any) -> str:
    """The type of a value, of a list the first item that is of a type of its own."""
    if isinstance(value, list | tuple) and value:
        return f"{type(value).__name__} of {', '.join(sorted({type(x).__name__ for x in value}))}"
    return type(value).__name__


def in_python_words(
    command: str, options: Mapping[str, Option], error: ScalecheckError
) -> ScalecheckError:
    """The error of a command with options as Python writes them: lr=3e-4 for --lr 3e-4."""

    def respelled(words: str) -> str:
        return _respelled(words, options)

    if isinstance(error, CheckpointError):
        help = respelled(_help(error, options))
        return CheckpointError(error.path, respelled(error.problem), help)
    if isinstance(error, ArgumentError | ArgumentTypeError) or not isinstance(error, UsageError):
        return error
    if isinstance(error, OptionError):
        place = error.option if error.value == "" else f"{error.option}={_literal(error.value)}"
        words = f"{place}: {respelled(error.problem)}"
    else:
        text = str(error)
        start = _STARTS.match(text)
        place = "" if start is None else _spelled(start, options)
        words = place + respelled(text if start is None else text[start.end() :])
    return ArgumentError(f"scalecheck.{command}: {words}", respelled(_help(error, options)))


def _help(error: ScalecheckError, options: Mapping[str, Option]) -> str:
    """What to do about an error, in place of a command line the argument that works."""
    fix = error.fix
    if fix is None or not fix.new:
        return error.help
    name = fix.flag.removeprefix("--").replace("-", "_")
    new = f"{name}={_literal(fix.new)}" if name in options else repr(fix.new)
    before = f"{fix.before}, then " if fix.before else ""
    return f"{error.help}: {before}{new}" if error.help else f"{before}{new}"


def report_in_python_words(options: Mapping[str, Option], report: Report) -> Report:
    """The report of a command with options as Python writes them in its sentences."""
    return replace(
        report,
        conclusion=[_respelled(line, options) for line in report.conclusion],
        headline=_respelled(report.headline, options),
        totals=_respelled(report.totals, options),
        notes=[_respelled(note, options) for note in report.notes],
    )


def _respelled(words: str, options: Mapping[str, Option]) -> str:
    words = _SETTING.sub(r"\1=", words)
    return _FLAG.sub(lambda match: _spelled(match, options), words)


def _spelled(match: re.Match[str], options: Mapping[str, Option]) -> str:
    """An option of the command line as a keyword."""
    name = match["flag"].replace("-", "_")
    if name not in options:
        return match[0]
    value = match["value"]
    if value is not None:
        return f"{name}={_literal(value)}"
    return f"{name}=True" if options[name].types == (bool,) else name


def _literal(value: object) -> str:
    """A value as Python writes it; the letters of a number, as a command's error has it, as they
    are."""
    if isinstance(value, str):
        return value if _is_number(value) else repr(value)
    return repr(str(value)) if isinstance(value, os.PathLike) else str(value)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
