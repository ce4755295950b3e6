"""What was perhaps meant by an option or a command that is not known, and the command line that
would work."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from os.path import lexists
from typing import Any, NamedTuple

# The field's and other programs' words for options, in lower case and with - between words.
SPELLINGS = {
    "--lr": "learning-rate learningrate lr-rate base-lr max-lr peak-lr init-lr rate",
    "--optimizer": "optim opt optimiser optimizer-name optimizer-type optim-name algorithm",
    "--weight-decay": "wd decay l2 weight-decay-rate adam-weight-decay weightdecay",
    "--beta1": "b1 beta-1 adam-beta1 adam-b1",
    "--beta2": "b2 beta-2 adam-beta2 adam-b2",
    "--eps": "epsilon adam-epsilon adam-eps optim-eps",
    "--momentum": "mom sgd-momentum",
    "--param-dtype": "dtype precision weight-dtype train-dtype torch-dtype mixed-precision",
    "--state": "optimizer-state optim-state opt-state state-file optimizer-file",
    "--steps": "max-steps num-steps total-steps train-steps num-training-steps iterations iters",
    "--warmup": "warmup-steps num-warmup-steps lr-warmup-steps warm-up warmup-iters",
    "--schedule": "scheduler lr-scheduler lr-schedule lr-scheduler-type scheduler-type decay-style",
    "--final": "min-lr min-lr-ratio final-lr end-lr",
    "--match": "include filter only pattern name names tensor tensors glob grep layer layers",
    "--exclude": "skip omit without",
    "--by": "group-by groupby",
    "--sort": "sort-by order-by order",
    "--top": "head limit n max-rows first",
    "--columns": "cols column fields",
    "--jobs": "j threads workers num-workers n-jobs num-threads",
    "--output": "o out out-file output-file outfile save",
    "--format": "f fmt output-format",
    "--quiet": "q silent",
    "--select": "rules rule enable only-rules",
    "--ignore": "disable skip-rules ignore-rules exclude-rules",
    "--baseline": "reference ref previous compare",
    "--config": "c config-file configuration",
    "--fail-on": "severity fail-level min-severity",
    "--clip": "max-grad-norm grad-clip clip-grad gradient-clipping clip-norm",
    "--init": "initialization initializer init-scheme",
    "--grad-rms": "grad-scale gradient-rms grad-norm",
    "--suggest": "recommend lr-find find-lr",
    "--k": "factor scale",
}
_FLAGS = {word: flag for flag, words in SPELLINGS.items() for word in words.split()}
_COMMANDS = {
    "inspect": "stats show info summary view print ls list scan measure",
    "translate": "lr forecast convert predict updates",
    "diff": "compare delta cmp",
    "history": "trend evolution timeline track run-history",
    "check": "lint validate verify test judge",
    "simulate": "sim replay run",
    "rules": "rule explain",
    "optimizers": "optimizer optim optims",
}
_NAMED = {word: name for name, words in _COMMANDS.items() for word in words.split()}
_FORMATS = ("csv", "json", "markdown", "table", "text", "github", "junit", "sarif")
_DTYPES = ("bf16", "fp16", "fp32")
_GLOBAL = ("--debug", "--version")  # stand before the command
_LONGEST = 100  # characters of a word that can be a misspelled one
_NO_OPTION = re.compile(r"No such option: (\S+)")
_NO_COMMAND = re.compile(r"No such command '(.*?)'\.(?: Did you mean .*)?", re.DOTALL)


class Advice(NamedTuple):
    """A line on what is wrong, and the command line that would work."""

    problem: str
    help: str = ""


@dataclass(frozen=True)
class Given:
    """An option that is not known as it was given: the words before and behind it, its value where
    it has one by `=`, and the flags and the name of the command."""

    flag: str
    before: Sequence[str]
    behind: Sequence[str]
    value: str | None
    flags: Sequence[str]
    command: str

    @property
    def word(self) -> str:
        return self.flag.lstrip("-").lower().replace("_", "-")

    def replaced(self, *words: str, takes: int = 0) -> str:
        """The command line with these words in its place and that of so many behind it, and with
        options behind these in our spelling."""
        return _line([*self.before, *words, *map(self._respelled, self.behind[takes:])])

    def _respelled(self, word: str) -> str:
        flag, equals, value = word.partition("=")
        if not flag.startswith("--") or flag in self.flags:
            return word
        plain = flag.lstrip("-").lower().replace("_", "-")
        meant = (option for option in _spelled(plain) if option in self.flags)
        return next(meant, flag) + equals + value


def advice(error: Any, arguments: Sequence[str]) -> Advice | None:
    """What to say of a usage error of typer's; None for one of another kind."""
    message = str(error.message)
    if found := _NO_OPTION.match(message):
        return _of_option(found[1], error.ctx, arguments)
    if found := _NO_COMMAND.fullmatch(message):
        return _of_command(found[1], error.ctx, arguments)
    return None


def _of_command(word: str, context: Any, arguments: Sequence[str]) -> Advice | None:
    """Of a word that is a misspelled command; None of one that stands in a command's place."""
    known = context.command.list_commands(context)
    behind = arguments[[*arguments].index(word) + 1 :] if word in arguments else []
    if lexists(word) or any(each in known for each in arguments):
        return None
    near = _NAMED.get(word.lower()) or _near(word.lower(), known)
    if not near:
        return Advice(f"{word}: no such command; there are {', '.join(known)}")
    return Advice(f"{word}: no such command; did you mean {near}?", _line([near, *behind]))


def _of_option(flag: str, context: Any, arguments: Sequence[str]) -> Advice:
    group = context.parent
    given = _given(flag, context, arguments)
    if group is None:
        return _before_a_command(given, context)
    if (own := _meant(given)) is not None:
        return own
    name = f"--{given.word}"
    if name in _GLOBAL:
        return Advice(
            f"{name}: stands before the command", _line([name, *given.before, *given.behind])
        )
    others = {
        one: {option for parameter in command.params for option in parameter.opts}
        for one, command in group.command.commands.items()
    }
    for spelled in (name, _FLAGS.get(given.word, name)):
        having = [one for one, flags in others.items() if spelled in flags]
        if having:
            problem = f"{given.flag}: no option of {given.command}; {spelled} is one of "
            return Advice(problem + ", ".join(having), f"scalecheck {having[0]} --help")
    if near := _near(name, given.flags):
        return _instead(given, near, given.replaced(*_with_value(near, given)))
    return Advice(
        f"{given.flag}: no such option of {given.command}", f"scalecheck {given.command} --help"
    )


def _given(flag: str, context: Any, arguments: Sequence[str]) -> Given:
    """The option among the words of the command line; of -lr, which is read as -l and more, all."""
    is_short = not flag.startswith("--")
    place, (name, equals, value) = next(
        (
            (at, parts)
            for at, parts in enumerate(word.partition("=") for word in arguments)
            if parts[0] == flag
            or (is_short and parts[0].startswith(flag) and not parts[0].startswith("--"))
        ),
        (len(arguments), (flag, "", "")),
    )
    return Given(
        name,
        arguments[:place],
        arguments[place + 1 :],
        value if equals else None,
        [option for parameter in context.command.params for option in parameter.opts],
        context.info_name or "",
    )


def _before_a_command(given: Given, context: Any) -> Advice:
    """An option that stands before the command, where only a few do."""
    names = context.command.list_commands(context)
    at = next((place for place, word in enumerate(given.behind) if word in names), None)
    if at is None:
        return Advice(f"{given.flag}: no such option", "scalecheck --help")
    value = [] if given.value is None else [given.value]
    moved = [*given.behind[at:], given.flag, *value, *given.behind[:at]]
    problem = f"{given.flag}: stands behind the command {given.behind[at]}"
    return Advice(problem, _line([*given.before, *moved]))


def _meant(given: Given) -> Advice | None:
    """What an option of the command is called that is surely meant; None where none is."""
    word, flags = given.word, given.flags
    if word in ("betas", "adam-betas") and "--beta1" in flags:
        return _betas(given)
    for flag in _spelled(word):
        if flag in flags:
            return _instead(given, flag, given.replaced(*_with_value(flag, given)))
    for option, words in (("--format", _FORMATS), ("--param-dtype", _DTYPES)):
        if word in words and option in flags:
            return _instead(given, f"{option} {word}", given.replaced(option, word))
    if "--set" in flags:
        from scalecheck.updates.training import hyperparameters

        name = word.replace("-", "_")
        if name in hyperparameters():
            value = given.value or _value_behind(given) or "true"
            takes = int(given.value is None and _value_behind(given) is not None)
            line = given.replaced("--set", f"{name}={value}", takes=takes)
            return _instead(given, f"--set {name}={value}", line)
    return None


def _betas(given: Given) -> Advice:
    """Two numbers at once: 0.9,0.95 or 0.9 0.95 or (0.9, 0.95)."""
    numbers: list[str] = []
    takes = 0
    for word in [*([] if given.value is None else [given.value]), *given.behind]:
        found = re.findall(r"[\d.][\d.e+-]*", word)
        if len(numbers) == 2 or not found or word.startswith("--"):
            break
        numbers += found
        takes += 1
    takes -= given.value is not None
    values: Mapping[int, str] = dict(enumerate(numbers))
    words = ["--beta1", values.get(0, "0.9"), "--beta2", values.get(1, "0.999")]
    line = _line([*given.before, *words, *given.behind[max(takes, 0) :]])
    return _instead(given, "--beta1 and --beta2", line)


def _spelled(word: str) -> Iterator[str]:
    """The options that a word is another spelling of."""
    yield f"--{word}"
    if word in _FLAGS:
        yield _FLAGS[word]


def _value_behind(given: Given) -> str | None:
    value = next(iter(given.behind), None)
    return None if value is None or value.startswith("--") else value


def _with_value(flag: str, given: Given) -> list[str]:
    return [flag] if given.value is None else [f"{flag}={given.value}"]


def _near(word: str, known: Sequence[str]) -> str:
    """The nearest of the known words; empty where none is near."""
    if len(word) > _LONGEST:
        return ""
    return next(iter(get_close_matches(word, known, 1)), "")


def _instead(given: Given, meant: str, line: str) -> Advice:
    return Advice(f"{given.flag}: no such option; did you mean {meant}?", line)


def _line(words: Sequence[str]) -> str:
    return shlex.join(["scalecheck", *words])
