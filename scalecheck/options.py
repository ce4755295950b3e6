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
    AnyRun = AnyCheckpoint | Sequence[AnyCheckpoint]
    LiveOptimizer = objects.Optimizer | Sequence[objects.Optimizer] | Mapping[str, Any]
    AnyOptimizer = str | LiveOptimizer
    AnyState = str | Path | LiveOptimizer
else:
    # What the command line takes; the modules of what Python takes beside import numpy.
    By = AnyOptimizer = str
    AnyCheckpoint = AnyRun = Path | str
    AnyState = str | Path

Number = float | None
Count = int | None
Word = str | None
Words = str | Sequence[str]

PANELS = ("Run", "Optimizer", "Selection", "Output")
"""The parts of a help page in their order, after its arguments and --help."""
run, training, selection, output = (partial(Option, panel=panel) for panel in PANELS)
hyperparameter = partial(Hyperparameter, panel="Optimizer")

_DIGITS = 20  # of a number of steps
_SHARE = "a percentage such as 0.1% or a share such as 0.001"
_STEPS = "must be `steady` or a whole number from 1 up"


def _only(words: str, holds: Callable[[Any], bool]) -> Callable[[Any], None]:
    """A check that refuses a value that does not hold, in these words."""

    def check(value: Any) -> None:
        if not holds(value):
            raise ValueError(f"must be {words}")

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
        raise OptionError("k", "must not be 1, which changes nothing", 1)


def _step(step: int | str) -> None:
    if step == STEADY:
        return
    if isinstance(step, str) or step < 1:
        raise ValueError(_STEPS)
    if step > MAX_STEPS:
        raise ValueError(f"must be at most {MAX_STEPS}")


def _step_of(word: str) -> int | str:
    """The step that a word names, or the steady state as it is."""
    if word == STEADY:
        return word
    if not word.isdecimal() or len(word) > _DIGITS:
        from scalecheck.written_numbers import whole_number

        raise OptionError("step", _STEPS, word, new=whole_number(word))
    return int(word)


def _share_of(word: str) -> float:
    """The share that a word says: 0.1% or 0.001."""
    digits = word.strip().removesuffix("%")
    is_percentage = digits != word.strip()
    try:
        return float(digits) / (100 if is_percentage else 1)
    except ValueError:
        from scalecheck.written_numbers import number

        meant = number(digits)
        new = f"{meant}%" if meant and is_percentage else meant
        raise OptionError("target", f"must be {_SHARE}", word, new=new) from None


def _part_of_tensor(share: float) -> None:
    POSITIVE(share)
    if share >= 1:
        problem = f"is {100 * share:.12g} % per step; must be below 100%, such as 0.1% (or 0.001)"
        raise OptionError("target", problem, share, new=f"{share:.12g}%" if share < 100 else "")


def _columns_of(words: str) -> list[str]:
    names = [name.strip() for name in words.split(",")]
    if not all(names):
        named = ",".join(filter(None, names))
        raise OptionError("columns", "has an empty name between two commas", words, new=named)
    return names


def codes_of(words: Sequence[str]) -> list[str]:
    """The codes of an option that takes several, by commas or by repeating it."""
    return [word.strip() for entry in words for word in entry.split(",") if word.strip()]


def _bands_of(words: str) -> list[float]:
    try:
        return [float(limit) for limit in words.split(",")]
    except ValueError:
        problem = "must be four rising numbers, such as 1e-5,1e-4,3e-3,1e-2"
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
            raise OptionError("set", "must be NAME=VALUE, such as alpha=0.95", word)
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
            raise ValueError(f"must be {len(get_args(kind))} numbers separated by commas")
        return numbers
    kind = next(iter(get_args(kind)), kind)  # of float | None
    if kind is bool:
        if word not in ("true", "false"):
            raise ValueError("must be true or false")
        return word == "true"
    try:
        return kind(word)
    except ValueError:
        raise ValueError(f"must be {'a whole number' if kind is int else 'a number'}") from None


def _replayed(word: str) -> str:
    from scalecheck.optimizers._spellings import resolve

    return resolve(word, "all")


_OPTIMIZERS = partial(registry.names, "optimizer")
_USUAL = "adamw, adam, sgd, lion, muon, adafactor, lamb, rmsprop; `scalecheck optimizers` lists all"
_SPELLED = "optimizers._spellings:resolve"
_SCHEMES, _SCHEME = (f"measure.initial_scale:{name}" for name in ("WORDS", "scheme"))
_RULES = "rules.judging.policy:chosen"
_FLOATS = ("bf16", "fp16", "fp32")
_CASTS = ("bf16", "fp16", "fp8", "e5m2", "fp32")

_PATH = Argument("Checkpoint: a file, a shard index (*.index.json) or a folder.", "PATH")
_SIDE = "Checkpoint, or a report of `scalecheck inspect --format json`."
SomeCheckpoint = Annotated[AnyCheckpoint, _PATH]
OptionalCheckpoint = Annotated[AnyCheckpoint | None, _PATH]
Before = Annotated[AnyCheckpoint, Argument(_SIDE, "BEFORE")]
After = Annotated[AnyCheckpoint, Argument(_SIDE, "AFTER")]

RunPaths = Annotated[
    AnyRun,
    Argument(
        "Folder of a run, such as one with checkpoint-500 and checkpoint-1000, or two checkpoints "
        "or more.",
        "PATH...",
        repeats=True,
    ),
]

# Which tensors, rows and columns.
Match = Annotated[
    Words,
    selection(
        "Read only tensors whose whole name matches, such as '*.bias'; * also matches dots. "
        "Repeatable.",
        "GLOB",
        repeats=True,
        completes="tensors",
    ),
]
Exclude = Annotated[
    Words,
    selection(
        "Leave out tensors whose whole name matches. Repeatable.",
        "GLOB",
        repeats=True,
        completes="tensors",
    ),
]
Recursive = Annotated[
    bool,
    selection("Read the checkpoints in all subfolders too. Their tensors are named FOLDER/NAME."),
]
Raw = Annotated[
    bool,
    selection("Show the stored codes and scales of quantised weights instead of decoded weights."),
]
Base = Annotated[
    AnyCheckpoint | None,
    selection(
        "Base model of the adapter in the checkpoint. Compares the adapter's ΔW with the base "
        "weights.",
        "MODEL",
        is_path=True,
    ),
]
GroupBy = Annotated[
    By,
    output("Print one row for each of: {choices}.", "WHAT", choices="measure.groups:GROUPINGS"),
]
Sort = Annotated[
    Word,
    output(
        "Sort by a column: largest number first, words from A to Z.", "COLUMN", completes="columns"
    ),
]
Reverse = Annotated[bool, output("Reverse the order of the rows.")]
Flagged = Annotated[bool, output("Print only the rows that have a flag.")]
Top = Annotated[
    Count, output("Print only the first N rows.", "N", _only("at least 1 row", lambda n: n >= 1))
]
Columns = Annotated[
    Words | None,
    output(
        "Print only these columns, in this order.", "A,B,C", parse=_columns_of, completes="columns"
    ),
]
Quantiles = Annotated[bool, output("Add columns for the values at 1, 5, 25, 50, 75, 95 and 99 %.")]
Init = Annotated[
    Word,
    output(
        "Add the ratio of each rms to the rms that an initialization gives: {choices}.",
        "SCHEME",
        _SCHEME,
        _SCHEMES,
    ),
]
Jobs = Annotated[
    Count,
    output("Use N threads. Default: one for each core.", "N", key="", recorded=False),
]

# The optimizer: settings that are given go before those of the optimizer state.
Lr = Annotated[
    Number,
    training(
        "Learning rate, such as 3e-4. Default: that of the optimizer state.",
        "LR",
        POSITIVE,
        key="optimizer.lr",
    ),
]
Optimizer = Annotated[
    AnyOptimizer | None,
    training(
        f"Optimizer, in any spelling such as AdamW or adamw_torch: {_USUAL}. Default: that of the "
        "optimizer state, else adamw.",
        "NAME",
        choices=_OPTIMIZERS,
        resolve=_SPELLED,
        key="optimizer.name",
        after="lr",
    ),
]
Beta1 = Annotated[Number, hyperparameter("Decay rate of the average of gradients.", "B")]
Beta2 = Annotated[Number, hyperparameter("Decay rate of the average of squared gradients.", "B")]
Eps = Annotated[
    Number, hyperparameter("Constant added to the denominator of Adam-like updates.", "EPS")
]
WeightDecay = Annotated[Number, hyperparameter("Weight decay.", "WD")]
Momentum = Annotated[Number, hyperparameter("Momentum factor.", "M")]
Hyperparameters = Annotated[
    Any,
    training(
        "Set any other hyperparameter of the optimizer, such as alpha=0.95. Repeatable.",
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
        "Give the tensors that match their own settings, such as "
        "'*.bias:lr=1e-4,weight_decay=0'. Repeatable.",
        "GLOB:SETTINGS",
        repeats=True,
        key="",
    ),
]
Snr = Annotated[
    float,
    training(
        "Signal-to-noise ratio of each element's gradient, mean over standard deviation. 0 is "
        "pure noise.",
        "SNR",
        NOT_NEGATIVE,
    ),
]
_GRAD_RMS = "RMS of the gradients. Default: {}so large that eps has no effect."
GradRms = Annotated[
    Number,
    training(_GRAD_RMS.format("that of the optimizer state, else "), "RMS", POSITIVE),
]
Step = Annotated[
    int | str | None,
    training(
        "Forecast the update at this step: a number, or `steady` for the steady state. Default: "
        "the step of the optimizer state, else the steady state; for an optimizer that has none, "
        "the last of --steps or step 1000.",
        "STEP",
        _step,
        (STEADY,),
        parse=_step_of,
    ),
]
State = Annotated[
    AnyState | None,
    training(
        "Optimizer state file; FILE::PLACE picks one of several in it. Default: found beside the "
        "checkpoint; `none` ignores it.",
        "PATH",
        is_path=True,
    ),
]
ParamNames = Annotated[
    str | Path | None,
    training(
        "File with the names of the optimizer's parameters in their order: one per line, or JSON.",
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
        _FLOATS,
    ),
]
Cast = Annotated[
    Word,
    training(
        "Add how much of each step survives rounding to this type: bf16, fp16, fp8 (e4m3), e5m2, "
        "fp32.",
        "DTYPE",
        "updates.precision:cast_type",
        _CASTS,
    ),
]

# A whole run.
RunPhase = Annotated[
    Word,
    run(
        "Phase of training, which decides the published range to compare with: {choices}. "
        "Default: pretrain where the weights look freshly initialized.",
        "PHASE",
        choices="recipes.recipe:PHASES",
    ),
]
Steps = Annotated[
    Count,
    run(
        "Add how far the next N steps move each tensor. They start after --step, else after the "
        "step of the optimizer state, else with a fresh optimizer.",
        "N",
    ),
]
Schedule = Annotated[
    str,
    run(
        "Schedule of the lr, from the first step of the run: {choices}. wsd decays over the last "
        "fifth of the run.",
        "SHAPE",
        choices="theory.schedule:SHAPES",
    ),
]
Warmup = Annotated[
    int, run("Warm-up steps, over which the lr rises from 0 at the start of the run.", "N")
]
Final = Annotated[
    float, run("Final lr of linear, cosine or wsd, as a share of the peak lr.", "SHARE", PART)
]

# Of translate alone.
TargetUpdate = Annotated[
    Number,
    run(
        "Add the lr that moves each tensor by this much per step, such as 0.1% or 0.001. Needs no "
        "--lr.",
        "SHARE",
        _part_of_tensor,
        parse=_share_of,
    ),
]
Suggest = Annotated[
    bool,
    run(
        "Show the lr that published recipes use for models of this width, kind, phase and "
        "optimizer. Needs no --lr."
    ),
]
Like = Annotated[
    str | AnyCheckpoint | None,
    run("Add the lr that moves each tensor as far as --lr moves it in this checkpoint.", "PATH"),
]
To = Annotated[
    Word,
    run(
        "Add the lr at which this other optimizer moves each tensor as far.",
        "NAME",
        choices=_OPTIMIZERS,
        resolve=_SPELLED,
    ),
]
ScaleBy = Annotated[
    Number,
    run("Add the settings that train weights K times larger in the same way.", "K", POSITIVE),
]
Assume = Annotated[
    Word,
    run(
        "Add the update and lr for weights as this initialization makes them: {choices}.",
        "SCHEME",
        _SCHEME,
        _SCHEMES,
    ),
]
Shape = Annotated[
    Words,
    selection(
        "Use a tensor of this name and shape instead of a checkpoint, such as "
        "wte.weight=50257x768. Repeatable.",
        "NAME=AxB",
        repeats=True,
    ),
]

# Of diff alone: the run between the two.
PeakLr = Annotated[
    Number, training("Peak lr of the run between the two. Needs --steps.", "LR", POSITIVE)
]
RunSteps = Annotated[
    Count,
    run(
        "Steps between the two. Adds how far as many more steps, and ten times as many, move each "
        "tensor.",
        "N",
    ),
]
RunOptimizer = Annotated[
    Word,
    training(
        f"Optimizer, in any spelling such as AdamW or adamw_torch: {_USUAL}. Default: adamw.",
        "NAME",
        choices=_OPTIMIZERS,
        resolve=_SPELLED,
    ),
]
RunGradRms = Annotated[Number, training(_GRAD_RMS.format(""), "RMS", POSITIVE)]

# Of history alone.
RunPeakLr = Annotated[
    Number,
    training(
        "Peak lr of the run. Default: the lrs that trainer_state.json or the optimizer states have "
        "recorded.",
        "LR",
        POSITIVE,
    ),
]
LastStep = Annotated[
    Count,
    run(
        "Last step of the run: the end of the schedule, and of the growth that is judged. Default: "
        "that of trainer_state.json, else of the last checkpoint.",
        "N",
    ),
]
Against = Annotated[
    Count,
    run("Compare each checkpoint with that of this step too.", "STEP"),
]
ResumedFrom = Annotated[
    Path | str | None,
    run(
        "Checkpoint that the run was resumed from. It comes first, and its moments are compared "
        "with those of the next one.",
        "PATH",
        is_path=True,
    ),
]

# What check judges by.
BandLimits = Annotated[
    Sequence[float],
    run(
        "Limits of the relative update per step between frozen, low, typical, high and very high. "
        "Default: 1e-5,1e-4,3e-3,1e-2.",
        "A,B,C,D",
        Bands,
        parse=_bands_of,
    ),
]
Select = Annotated[
    Words,
    selection(
        "Run only these rules: codes, their beginnings or names, separated by commas. "
        "`scalecheck rules` lists them.",
        "CODES",
        _RULES,
        parse=codes_of,
        repeats=True,
        completes="rules",
    ),
]
Ignore = Annotated[
    Words,
    selection(
        "Do not run these rules.",
        "CODES",
        _RULES,
        parse=codes_of,
        repeats=True,
        completes="rules",
    ),
]
FailOn = Annotated[
    str,
    output(
        "Exit with 1 for findings of this severity or above: {choices}.",
        "SEVERITY",
        choices=FAIL_ON,
    ),
]
PlannedSteps = Annotated[
    Count,
    run("Steps of the planned run. Default: those of the optimizer state, at a constant lr.", "N"),
]
ExpectedInit = Annotated[
    Word,
    run(
        "Expect weights as this initialization makes them: {choices}.", "SCHEME", _SCHEME, _SCHEMES
    ),
]
ServeDtype = Annotated[
    Word,
    run(
        "Check that the weights fit this type, to which they will be cast for serving: bf16, fp16, "
        "fp8 (e4m3), e5m2.",
        "DTYPE",
        "rules.judging.check_input:serve_dtype",
        _CASTS[:-1],
    ),
]
Baseline = Annotated[
    Path | str | None,
    run(
        "Compare with this earlier report of `scalecheck inspect --format json`.",
        "FILE",
        is_path=True,
    ),
]

# What simulate replays.
Replayed = Annotated[
    str,
    training(
        f"Optimizer, in any spelling: {_USUAL}. `all` runs every one.",
        "NAME",
        choices=lambda: [*_OPTIMIZERS(), "all"],
        resolve=_replayed,
    ),
]
Factor = Annotated[float, run("Multiply the gradients, and then the weights, by K.", "K", _factor)]
ReplayedSteps = Annotated[int, run("Run this many steps.", "N", SIZE)]
Size = Annotated[int, run("Number of elements of the simulated tensor.", "N", SIZE)]
LawLr = Annotated[
    float, training("Learning rate for the weight-scale and layer tests.", "LR", SCALE)
]
Noise = Annotated[
    str,
    run(
        "Distribution of the gradients: gaussian, student-t:DOF, sparse:DENSITY, ar1:RHO.",
        "LAW",
        "laws.replay.gradients:noise_law",
    ),
]
GradScale = Annotated[float, run("RMS of the gradients.", "RMS", SCALE)]
Clip = Annotated[Number, run("Clip the norm of the gradients to this.", "NORM", SCALE)]
ReplayDtype = Annotated[
    str,
    run(
        "Type of weights, gradients and optimizer state: {choices}.",
        "DTYPE",
        choices="laws.replay.replay:DTYPES",
    ),
]
Seed = Annotated[int, run("Seed of the random numbers.", "N", FROM_0)]
Tolerance = Annotated[
    float,
    run("Largest relative difference between measured and predicted that passes.", "SHARE", SHARE),
]
Sweep = Annotated[bool, run("Plot the RMS of the update for gradients scaled by 1e-12 to 1e12.")]
