"""The options that commands share, each an annotated type, and what the values of options have to
be. No module that reads a checkpoint is imported before a value is checked."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from scalecheck import registry
from scalecheck.errors import OptionError, unknown
from scalecheck.settings import Argument, Hyperparameter, Option
from scalecheck.theory.domain import MAX_STEPS
from scalecheck.updates.bands import Bands

if TYPE_CHECKING:
    from scalecheck.checkpoint.tensor import Checkpoint
    from scalecheck.measure.groups import By

    AnyCheckpoint = Path | str | Checkpoint
else:
    By = str
    AnyCheckpoint = Path | str  # and a Checkpoint, whose module takes numpy

TENSORS, TRAINING, RUN, JUDGED = "Tensors", "What trains it", "Run", "What is judged"
QUESTIONS, GRADIENTS, ROWS, OUTPUT = "Which lr", "Replay", "Rows and columns", "Output"
PANELS = (TRAINING, RUN, QUESTIONS, GRADIENTS, JUDGED, TENSORS, ROWS, OUTPUT)
"""The parts of a help page in their order."""

SMALLEST, LARGEST = 1e-100, 1e100  # of a scale: its cube and its inverse are still float64 numbers
_DIGITS = 20  # of a number of steps


def positive(number: float) -> None:
    if not 0 < number < math.inf:
        raise ValueError("a positive number")


def finite(number: float) -> None:
    if not math.isfinite(number):
        raise ValueError("a finite number")


def from_1_to(most: int) -> Callable[[int], None]:
    def check(number: int) -> None:
        if not 1 <= number <= most:
            raise ValueError(f"a number from 1 to {most}")

    return check


def scale(number: float) -> None:
    if not SMALLEST <= number <= LARGEST:
        raise ValueError(f"a number from {SMALLEST:g} to {LARGEST:g}")


def factor(k: float) -> None:
    scale(k)
    if k == 1:
        raise OptionError("k", "shows nothing; a factor other than 1", 1)


def not_negative(number: int) -> None:
    if number < 0:
        raise ValueError("a number from 0 up")


def share(share: float) -> None:
    if not 0 < share < 1:
        raise ValueError("a number between 0 and 1")


def _top(rows: int) -> None:
    if rows < 1:
        raise ValueError("at least 1 row")


def _step(step: int) -> None:
    if step < 1:
        raise ValueError("steady, or a number from 1 up")
    if step > MAX_STEPS:
        raise ValueError(f"at most {MAX_STEPS}")


def _bands(limits: Sequence[float]) -> None:
    Bands(tuple(limits))


def initialization(option: str, word: str) -> None:
    from scalecheck.measure.initial_scale import scheme

    scheme(word, option)


def _param_dtype(word: str) -> None:
    from scalecheck.updates.training import param_dtype

    param_dtype(word)


def serve_dtype(word: str) -> None:
    from scalecheck.rules.judging import check_input

    check_input.serve_dtype(word)


def noise(word: str) -> None:
    from scalecheck.laws.replay.gradients import noise_law

    noise_law(word)


def rules(option: str, words: Sequence[str]) -> None:
    from scalecheck.rules.judging.policy import chosen

    chosen(words, partial(unknown, option))


def optimizers() -> Sequence[str]:
    return registry.names("optimizer")


def optimizers_or_all() -> Sequence[str]:
    from scalecheck.laws.replay.experiment import ALL

    return [*optimizers(), ALL]


def _groupings() -> Sequence[str]:
    from scalecheck.measure import groups

    return get_args(groups.By)


def initializations() -> Sequence[str]:
    from scalecheck.measure.initial_scale import WORDS

    return WORDS


def _schedules() -> Sequence[str]:
    from scalecheck.theory.schedule import SHAPES

    return SHAPES


def replay_dtypes() -> Sequence[str]:
    from scalecheck.laws.replay.replay import DTYPES

    return DTYPES


def _step_of(word: str) -> int | None:
    """The step that a word names; None for the steady state."""
    if word == "steady":
        return None
    if not word.isdecimal() or len(word) > _DIGITS:
        raise OptionError("step", "steady, or a number from 1 up", word)
    return int(word)


def _columns_of(words: str) -> list[str]:
    names = [name.strip() for name in words.split(",")]
    if not all(names):
        raise OptionError("columns", "a column has no name", repr(words))
    return names


def codes_of(words: Sequence[str]) -> list[str]:
    """The codes of an option that takes several, by commas or by repeating it."""
    return [word.strip() for entry in words for word in entry.split(",") if word.strip()]


def _bands_of(words: str) -> list[float]:
    try:
        return [float(limit) for limit in words.split(",")]
    except ValueError:
        problem = "four rising numbers, such as 1e-5,1e-4,3e-3,1e-2"
        raise OptionError("bands", problem, words) from None


def _hyperparameters_of(words: Sequence[str]) -> dict[str, Any]:
    """The hyperparameters of NAME=VALUE, values of the type that the optimizers have; a name that
    none has is left to the optimizer to refuse."""
    from scalecheck.updates.training import hyperparameters

    types = hyperparameters()
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise OptionError("set", "is not NAME=VALUE, such as alpha=0.95", word)
        if name in found:
            raise OptionError("set", "is given twice", name)
        try:
            found[name] = _value_of(value, types.get(name, str))
        except ValueError as error:
            raise OptionError("set", str(error), word) from None
    return found


def _value_of(word: str, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        numbers = tuple(_value_of(part, float) for part in word.split(","))
        if len(numbers) != len(get_args(kind)):
            raise ValueError(f"{len(get_args(kind))} numbers by commas")
        return numbers
    kind = next(iter(get_args(kind)), kind)  # of float | None
    if kind is bool:
        if word not in ("true", "false"):
            raise ValueError("true or false")
        return word == "true"
    try:
        return kind(word)
    except ValueError:
        raise ValueError("a whole number" if kind is int else "a number") from None


PATH = Argument("A checkpoint: a file, a shard index (*.index.json) or a directory.", "PATH")
SomeCheckpoint = Annotated[AnyCheckpoint, PATH]
OptionalCheckpoint = Annotated[AnyCheckpoint | None, PATH]

_SIDE = "A checkpoint, or a report of `inspect --format json`."
Before = Annotated[AnyCheckpoint, Argument(_SIDE, "BEFORE")]
After = Annotated[AnyCheckpoint, Argument(_SIDE, "AFTER")]

Match = Annotated[
    str | Sequence[str],
    Option(
        "Only tensors whose whole name matches, * crossing dots (repeatable).",
        "GLOB",
        TENSORS,
        repeats=True,
    ),
]
Exclude = Annotated[
    str | Sequence[str],
    Option("No tensors whose whole name matches (repeatable).", "GLOB", TENSORS, repeats=True),
]
GroupBy = Annotated[
    By, Option("Print a row for each of: {choices}.", "WHAT", ROWS, choices=_groupings)
]
Sort = Annotated[
    str | None,
    Option("Sort by a column: numbers from the largest, words from A.", "COLUMN", ROWS),
]
Reverse = Annotated[bool, Option("Reverse the order.", panel=ROWS)]
Top = Annotated[int | None, Option("Print only the first N rows.", "N", ROWS, check=_top)]
Columns = Annotated[
    str | Sequence[str] | None,
    Option("Print only these columns, in this order.", "A,B,C", ROWS, parse=_columns_of),
]
Jobs = Annotated[
    int | None,
    Option(
        "Threads that read and count. Default: one for each core.",
        "N",
        OUTPUT,
        key="",
        recorded=False,
    ),
]

Lr = Annotated[
    float | None,
    Option(
        "The lr. Default: that of the optimizer state.",
        "LR",
        TRAINING,
        check=positive,
        key="optimizer.lr",
    ),
]
Optimizer = Annotated[
    str | None,
    Option(
        "One of {choices}. Default: that of the optimizer state, else adamw.",
        "NAME",
        TRAINING,
        choices=optimizers,
        key="optimizer.name",
    ),
]
Beta1 = Annotated[
    float | None,
    Hyperparameter("Averaging factor of the gradient, 0 to below 1.", "B", TRAINING),
]
Beta2 = Annotated[
    float | None, Hyperparameter("Averaging factor of the gradient's square.", "B", TRAINING)
]
Eps = Annotated[
    float | None,
    Hyperparameter("Added to the root that a gradient is divided by.", "EPS", TRAINING),
]
WeightDecay = Annotated[float | None, Hyperparameter("Weight decay.", "WD", TRAINING)]
Momentum = Annotated[
    float | None,
    Hyperparameter("Share of the last update that the next keeps.", "M", TRAINING),
]
Hyperparameters = Annotated[
    Any,
    Option(
        "Set any hyperparameter of the optimizer, such as alpha=0.95 (repeatable).",
        "NAME=VALUE",
        TRAINING,
        parse=_hyperparameters_of,
        repeats=True,
        flag="set",
        key="",
    ),
]
Group = Annotated[
    str | Sequence[str],
    Option(
        "Other settings for some names, such as '*.bias:lr=1e-4,weight_decay=0' (repeatable).",
        "GLOB:SETTINGS",
        TRAINING,
        repeats=True,
        key="",
    ),
]
Snr = Annotated[
    float,
    Option(
        "Mean over std of an element's gradient; 0 is noise alone.", "SNR", TRAINING, check=finite
    ),
]
GradRms = Annotated[
    float | None,
    Option(
        "RMS of the gradients. Default: that of the optimizer state, else so large that eps does "
        "not count.",
        "RMS",
        TRAINING,
        check=positive,
    ),
]
Step = Annotated[
    int | None,
    Option(
        "Forecast the update of this step: a number, or steady. Default: that of the optimizer "
        "state, else steady.",
        "STEP",
        TRAINING,
        parse=_step_of,
        check=_step,
    ),
]
State = Annotated[
    str | Path | None,
    Option(
        "Optimizer state file. Default: found beside the checkpoint; `none` ignores it.",
        "PATH",
        TRAINING,
        is_path=True,
    ),
]
ParamDtype = Annotated[
    str | None,
    Option(
        "Type that the weights are trained in: bf16, fp16, fp32. Default: the stored type.",
        "DTYPE",
        TRAINING,
        check=_param_dtype,
    ),
]
Steps = Annotated[
    int | None, Option("Add how far a run of so many steps carries each tensor.", "N", RUN)
]
Schedule = Annotated[
    str,
    Option(
        "Schedule of the lr: {choices}; wsd falls over its last fifth.",
        "SHAPE",
        RUN,
        choices=_schedules,
    ),
]
Warmup = Annotated[int, Option("Steps over which the lr rises.", "N", RUN)]
Final = Annotated[float, Option("The lr at the end, as a share of the lr.", "SHARE", RUN)]
BandLimits = Annotated[
    Sequence[float],
    Option(
        "Limits between frozen, low, typical, high and very high. Default: 1e-5,1e-4,3e-3,1e-2.",
        "A,B,C,D",
        JUDGED,
        parse=_bands_of,
        check=_bands,
    ),
]
