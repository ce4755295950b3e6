"""Errors of a command line that does not parse: place, problem, and the command line that works."""

import re
from collections.abc import Sequence
from os.path import lexists
from shlex import join, quote
from typing import Any

import typer

from scalecheck.errors import Fix, UsageError
from scalecheck.written_numbers import number, whole_number

_BAD_NUMBER = re.compile(r"'(.*)' is not a valid (float|int)(?: range)?\.?", re.DOTALL)
_NO_COMMAND = re.compile(r"No such command '(.*)'\.", re.DOTALL)
_EXAMPLES = {"--lr": "3e-4", "--beta1": "0.9", "--beta2": "0.999", "--eps": "1e-8", "--jobs": "4"}
_ARGUMENTS = {
    "PATH...": ("a run", "runs/gpt"),
    "PATH": ("a checkpoint", "model.safetensors"),
    "BEFORE": ("the first checkpoint", "before.safetensors after.safetensors"),
    "AFTER": ("the second checkpoint", "after.safetensors"),
}


def of_command_line(
    error: typer.TyperException, words: Sequence[str], commands: Sequence[str]
) -> UsageError:
    """The error of `scalecheck WORDS…`."""
    kind, message = type(error).__name__, error.format_message()
    if kind == "BadParameter":
        return _bad_value(error)
    if kind == "MissingParameter":
        return _missing(error, words)
    if kind == "BadOptionUsage" and (missing := re.match("Option '(.*)' requires", message)):
        return UsageError(f"{missing[1]}: needs a value")
    if found := _NO_COMMAND.fullmatch(message):
        return _no_command(found[1], words, commands)
    if "unexpected extra argument" in message:
        return _extra(error, words)
    return UsageError(message)


def _bad_value(error: Any) -> UsageError:
    """A value that is no number, with the number that was most likely meant."""
    found = _BAD_NUMBER.fullmatch(error.message)
    if found is None or error.param is None:
        return UsageError(error.format_message())
    word, is_whole, flag = found[1], found[2] == "int", error.param.opts[0]
    what = "a whole number" if is_whole else "a number"
    example = _EXAMPLES.get(flag, "1000" if is_whole else "0.1")
    meant = whole_number(word) if is_whole else number(word)
    is_far = flag == "--lr" and meant and float(meant) >= 1  # 3x, of which an exponent is missing
    fix = Fix(meant, word, flag) if meant and not is_far else None
    return UsageError(f"{flag} {word}: expected {what} such as {example}", "", fix)


def _missing(error: Any, words: Sequence[str]) -> UsageError:
    name = error.param.human_readable_name.strip("[]")
    what, example = _ARGUMENTS.get(name, ("a value", ""))
    help = f"for example {join(['scalecheck', *words])} {example}" if example else ""
    return UsageError(f"{name}: {what} is missing", help)


def _no_command(word: str, words: Sequence[str], commands: Sequence[str]) -> UsageError:
    """A word that is no command: perhaps a checkpoint in its place."""
    names = ", ".join(commands)
    place = next((at for at, each in enumerate(words) if each == word), 0)
    others = [*words[:place], *words[place + 1 :]]
    command = next((each for each in others if each in commands), None)
    if not lexists(word) and command is None:
        return UsageError(f"{word}: is not a command; there are {names}")
    rest = [each for each in words if each != command]
    help = join(["scalecheck", command or "inspect", *rest])
    return UsageError(f"{word}: is not a command; the command stands first: {names}", help)


def _extra(error: Any, words: Sequence[str]) -> UsageError:
    """More arguments than a command has: an lr without --lr, or a second checkpoint."""
    parameters = {flag for one in error.ctx.command.params for flag in one.opts}
    name = error.ctx.info_name
    given = [each for each in error.ctx.params.values() if each is not None]
    extra = re.sub(r"(?s).*\((.*)\)", r"\1", error.format_message())
    for word in [*map(str, given), *extra.split()]:
        if "--lr" in parameters and _is_number(word) and not lexists(word) and word in words:
            fix = Fix(f"--lr={word}", word)
            return UsageError(f"{word}: is not a checkpoint; an lr stands behind --lr", "", fix)
    paths = [each for each in words[1:] if lexists(each)]
    if name == "inspect" and len(paths) == 2:
        help = f"compare the two: scalecheck diff {' '.join(map(quote, paths))}"
        return UsageError(f"{extra}: inspect reads one checkpoint", help)
    return UsageError(f"{extra}: too many arguments for {name}")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
