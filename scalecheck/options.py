"""Every option of the commands, each an annotated type: what it is, its help, and what its values
have to be. No module that reads a checkpoint is imported before a value is checked."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from scalecheck import registry
from scalecheck.errors import OptionError
from scalecheck.report.finding import FAIL_ON
from scalecheck.settings import Argument, Hyperparameter, Option
from scalecheck.theory.domain import MAX_STEPS, STEADY
from scalecheck.updates.bands import Bands

if TYPE_CHECKING:
    from scalecheck.checkpoint.live import objects
    from scalecheck.checkpoint.tensor import Checkpoint
    from scalecheck.measure.groups import By

    AnyCheckpoint = Path | str | Checkpoint | objects.Module | Mapping[str, Any]
    LiveOptimizer = objects.Optimizer | Sequence[objects.Optimizer] | Mapping[str, Any]
    AnyOptimizer = str | LiveOptimizer
    AnyState = str | Path | LiveOptimizer
else:
    # What the command line takes; the modules of what Python takes beside import numpy.
    By = AnyOptimizer = str
    AnyCheckpoint = Path | str
    AnyState = str | Path

Number = float | None
Count = int | None
Word = str | None
Words = str | Sequence[str]

PANELS = (
    "What trains it",
    "Run",
    "Which lr",
    "Replay",
    "What is judged",
    "Tensors",
    "Rows and columns",
    "Output",
)
"""The parts of a help page in their order."""
training, run, question, replay, judged, tensors, rows, output = (
    partial(Option, panel=panel) for panel in PANELS
)
hyperparameter = partial(Hyperparameter, panel=PANELS[0])

_DIGITS = 20  # of a number of steps


def _only(words: str, holds: Callable[[Any], bool]) -> Callable[[Any], None]:
    """A check that refuses a value that does not hold, in these words."""

    def check(value: Any) -> None:
        if not holds(value):
            raise ValueError(words)

    return check


POSITIVE = _only("a positive number", lambda x: 0 < x < math.inf)
NOT_NEGATIVE = _only("a finite number from 0 up", lambda x: 0 <= x < math.inf)
SHARE = _only("a number between 0 and 1", lambda x: 0 < x < 1)
PART = _only("a number from 0 to 1", lambda x: 0 <= x <= 1)
FROM_0 = _only("a number from 0 up", lambda n: n >= 0)
SIZE = _only("a number from 1 to 10000000", lambda n: 1 <= n <= 10**7)
# Of a scale: its cube and its inverse are still float64 numbers.
SCALE = _only("a number from 1e-100 to 1e+100", lambda x: 1e-100 <= x <= 1e100)


def _factor(k: float) -> None:
    SCALE(k)
    if k == 1:
        raise OptionError("k", "shows nothing; a factor other than 1", 1)


def _step(step: int | str) -> None:
    if step == STEADY:
        return
    if isinstance(step, str) or step < 1:
        raise ValueError("steady, or a number from 1 up")
    if step > MAX_STEPS:
        raise ValueError(f"at most {MAX_STEPS}")


def _step_of(word: str) -> int | str:
    """The step that a word names, or the steady state as it is."""
    if word == STEADY:
        return word
    if not word.isdecimal() or len(word) > _DIGITS:
        raise OptionError("step", "steady, or a number from 1 up", word)
    return int(word)


def _share_of(word: str) -> float:
    """The share that a word says: 0.1% or 0.001."""
    digits = word.strip().removesuffix("%")
    try:
        return float(digits) / (1 if digits == word.strip() else 100)
    except ValueError:
        problem = "a percentage such as 0.1%, or a share such as 0.001"
        raise OptionError("target", problem, word) from None


def _columns_of(words: str) -> list[str]:
    names = [name.strip() for name in words.split(",")]
    if not all(names):
        raise OptionError("columns", "a column has no name", repr(words))
    return names


def _codes_of(words: Sequence[str]) -> list[str]:
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


_OPTIMIZERS = partial(registry.names, "optimizer")
_SCHEMES, _SCHEME = (f"measure.initial_scale:{name}" for name in ("WORDS", "scheme"))
_RULES = "rules.judging.policy:chosen"

_PATH = Argument("A checkpoint: a file, a shard index (*.index.json) or a directory.", "PATH")
_SIDE = "A checkpoint, or a report of `inspect --format json`."
SomeCheckpoint = Annotated[AnyCheckpoint, _PATH]
OptionalCheckpoint = Annotated[AnyCheckpoint | None, _PATH]
Before = Annotated[AnyCheckpoint, Argument(_SIDE, "BEFORE")]
After = Annotated[AnyCheckpoint, Argument(_SIDE, "AFTER")]

# Which tensors, rows and columns.
Match = Annotated[
    Words,
    tensors(
        "Only tensors whose whole name matches, * crossing dots (repeatable).", "GLOB", repeats=True
    ),
]
Exclude = Annotated[
    Words, tensors("No tensors whose whole name matches (repeatable).", "GLOB", repeats=True)
]
Recursive = Annotated[
    bool, tensors("Read the checkpoints in all folders below a directory too, as FOLDER/NAME.")
]
Raw = Annotated[
    bool,
    tensors("Show quantised weights as they are stored, codes and factors, not decoded."),
]
Base = Annotated[
    AnyCheckpoint | None,
    tensors(
        "The model that the adapter in the checkpoint adds to: compare ΔW with its weights.",
        "MODEL",
        is_path=True,
    ),
]
GroupBy = Annotated[
    By,
    rows("Print a row for each of: {choices}.", "WHAT", choices="measure.groups:GROUPINGS"),
]
Sort = Annotated[Word, rows("Sort by a column: numbers from the largest, words from A.", "COLUMN")]
Reverse = Annotated[bool, rows("Reverse the order.")]
Top = Annotated[
    Count, rows("Print only the first N rows.", "N", _only("at least 1 row", lambda n: n >= 1))
]
Columns = Annotated[
    Words | None, rows("Print only these columns, in this order.", "A,B,C", parse=_columns_of)
]
Quantiles = Annotated[bool, rows("Add the values at 1, 5, 25, 50, 75, 95 and 99 %.")]
Init = Annotated[
    Word,
    rows(
        "Add rms as a multiple of what an initialization gives: {choices}.",
        "SCHEME",
        _SCHEME,
        _SCHEMES,
    ),
]
Jobs = Annotated[
    Count,
    output("Threads that read and count. Default: one for each core.", "N", key="", recorded=False),
]

# What trains it: settings that are given go before those of the optimizer state.
Lr = Annotated[
    Number,
    training("The lr. Default: that of the optimizer state.", "LR", POSITIVE, key="optimizer.lr"),
]
Optimizer = Annotated[
    AnyOptimizer | None,
    training(
        "One of {choices}. Default: that of the optimizer state, else adamw.",
        "NAME",
        choices=_OPTIMIZERS,
        key="optimizer.name",
        after="lr",
    ),
]
Beta1 = Annotated[Number, hyperparameter("Averaging factor of the gradient, 0 to below 1.", "B")]
Beta2 = Annotated[Number, hyperparameter("Averaging factor of the gradient's square.", "B")]
Eps = Annotated[Number, hyperparameter("Added to the root that a gradient is divided by.", "EPS")]
WeightDecay = Annotated[Number, hyperparameter("Weight decay.", "WD")]
Momentum = Annotated[Number, hyperparameter("Share of the last update that the next keeps.", "M")]
Hyperparameters = Annotated[
    Any,
    training(
        "Set any hyperparameter of the optimizer, such as alpha=0.95 (repeatable).",
        "NAME=VALUE",
        parse=_hyperparameters_of,
        repeats=True,
        flag="set",
        key="",
    ),
]
Group = Annotated[
    Words,
    training(
        "Other settings for some names, such as '*.bias:lr=1e-4,weight_decay=0' (repeatable).",
        "GLOB:SETTINGS",
        repeats=True,
        key="",
    ),
]
Snr = Annotated[
    float,
    training("Mean over std of an element's gradient; 0 is noise alone.", "SNR", NOT_NEGATIVE),
]
GradRms = Annotated[
    Number,
    training(
        "RMS of the gradients. Default: that of the optimizer state, else so large that eps "
        "does not count.",
        "RMS",
        POSITIVE,
    ),
]
Step = Annotated[
    int | str | None,
    training(
        "Forecast the update of this step: a number, or steady. Default: that of the optimizer "
        "state; else steady, or where the optimizer does not settle before it the last of --steps, "
        "1000 without.",
        "STEP",
        _step,
        parse=_step_of,
    ),
]
State = Annotated[
    AnyState | None,
    training(
        "Optimizer state file, FILE::PLACE for one of several in it. Default: found beside the "
        "checkpoint; `none` ignores it.",
        "PATH",
        is_path=True,
    ),
]
ParamNames = Annotated[
    str | Path | None,
    training(
        "File of the names of the optimizer's parameters, in its order: one a line, or JSON.",
        "FILE",
        is_path=True,
    ),
]
ParamDtype = Annotated[
    Word,
    training(
        "Type that the weights are trained in: bf16, fp16, fp32. Default: the stored type.",
        "DTYPE",
        "updates.training:param_dtype",
    ),
]
Cast = Annotated[
    Word,
    question(
        "Add what rounding to this type leaves of a step: bf16, fp16, fp8 (e4m3), e5m2, fp32.",
        "DTYPE",
        "updates.precision:cast_type",
    ),
]

# A whole run.
RunPhase = Annotated[
    Word,
    run(
        "What the run is for, which tells the published range to judge by: {choices}. Default: "
        "pretrain where the weights are as an initialization leaves them.",
        "PHASE",
        choices="recipes.recipe:PHASES",
    ),
]
Steps = Annotated[
    Count,
    run(
        "Add what the next N steps do to each tensor: from --step on, else from the step of the "
        "optimizer state on, else with a fresh optimizer.",
        "N",
    ),
]
Schedule = Annotated[
    str,
    run(
        "Schedule of the lr, from the first step of the run on: {choices}; wsd falls over its last "
        "fifth.",
        "SHAPE",
        choices="theory.schedule:SHAPES",
    ),
]
Warmup = Annotated[int, run("Steps over which the lr rises, from the first of the run.", "N")]
Final = Annotated[
    float, run("The lr at the end of linear, cosine or wsd, as a share of the lr.", "SHARE", PART)
]

# Of translate alone.
TargetUpdate = Annotated[
    Number,
    question(
        "Add the lr of this relative update, such as 0.1% per step or 0.001; needs no --lr.",
        "SHARE",
        POSITIVE,
        parse=_share_of,
    ),
]
Suggest = Annotated[
    bool,
    question(
        "Say which lr published recipes near this model use, by its width, kind, phase and "
        "optimizer; needs no --lr."
    ),
]
Like = Annotated[
    str | AnyCheckpoint | None,
    question("Add the lr of the relative update that --lr gives on this checkpoint.", "PATH"),
]
To = Annotated[
    Word, question("Add the lr at which this optimizer moves as far.", "NAME", choices=_OPTIMIZERS)
]
ScaleBy = Annotated[
    Number, question("Add the settings that train weights K times larger alike.", "K", POSITIVE)
]
Assume = Annotated[
    Word,
    question("Add what is believed of an initialization: {choices}.", "SCHEME", _SCHEME, _SCHEMES),
]
Shape = Annotated[
    Words,
    tensors(
        "In place of PATH: a tensor such as wte.weight=50257x768 (repeatable).",
        "NAME=AxB",
        repeats=True,
    ),
]

# Of diff alone: the run between the two.
PeakLr = Annotated[
    Number, training("Peak lr of the run between them; takes --steps.", "LR", POSITIVE)
]
RunSteps = Annotated[
    Count,
    run("Steps between the two: adds how far as many more, and ten times as many, will go.", "N"),
]
RunOptimizer = Annotated[
    Word, training("One of {choices}. Default: adamw.", "NAME", choices=_OPTIMIZERS)
]
RunGradRms = Annotated[
    Number,
    training("RMS of the gradients. Default: so large that eps does not count.", "RMS", POSITIVE),
]

# What check judges by.
BandLimits = Annotated[
    Sequence[float],
    judged(
        "Limits between frozen, low, typical, high and very high. Default: 1e-5,1e-4,3e-3,1e-2.",
        "A,B,C,D",
        Bands,
        parse=_bands_of,
    ),
]
Select = Annotated[
    Words,
    judged(
        "Run only these rules: codes, their beginnings or names, by commas.",
        "CODES",
        _RULES,
        parse=_codes_of,
        repeats=True,
    ),
]
Ignore = Annotated[
    Words, judged("Leave out these rules.", "CODES", _RULES, parse=_codes_of, repeats=True)
]
FailOn = Annotated[
    str, judged("Least severity that exits 1: {choices}.", "SEVERITY", choices=FAIL_ON)
]
PlannedSteps = Annotated[
    Count, run("Steps of the run. Default: those of the optimizer state, at a constant lr.", "N")
]
ExpectedInit = Annotated[
    Word,
    judged("The initialization that scales have to be of: {choices}.", "SCHEME", _SCHEME, _SCHEMES),
]
ServeDtype = Annotated[
    Word,
    judged(
        "Type that the weights will be cast to: bf16, fp16, fp8 (e4m3), e5m2.",
        "DTYPE",
        "rules.judging.check_input:serve_dtype",
    ),
]
Baseline = Annotated[
    Path | str | None,
    judged(
        "Report of `inspect --format json` that scales have to agree with.", "FILE", is_path=True
    ),
]

# What simulate replays.
Replayed = Annotated[
    str, training("One of {choices}.", "NAME", choices=lambda: [*_OPTIMIZERS(), "all"])
]
Factor = Annotated[float, replay("Factor of the gradients and of the weights.", "K", _factor)]
ReplayedSteps = Annotated[int, replay("Steps that are replayed.", "N", SIZE)]
Size = Annotated[int, replay("Elements of the replayed tensor.", "N", SIZE)]
LawLr = Annotated[float, training("The lr of the laws 3 and 5.", "LR", SCALE)]
Noise = Annotated[
    str,
    replay(
        "Law of the gradients: gaussian, student-t:DOF, sparse:DENSITY, ar1:RHO.",
        "LAW",
        "laws.replay.gradients:noise_law",
    ),
]
GradScale = Annotated[float, replay("RMS of the gradients g.", "RMS", SCALE)]
Clip = Annotated[Number, replay("Clip the gradients to this norm.", "NORM", SCALE)]
ReplayDtype = Annotated[
    str,
    replay(
        "Type of weights, gradients and state: {choices}.",
        "DTYPE",
        choices="laws.replay.replay:DTYPES",
    ),
]
Seed = Annotated[int, replay("Seed of the random numbers.", "N", FROM_0)]
Tolerance = Annotated[float, replay("What measured may be off by.", "SHARE", SHARE)]
Sweep = Annotated[bool, replay("Draw the update's RMS for k from 1e-12 to 1e12.")]
