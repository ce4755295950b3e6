"""The commands as functions: `scalecheck.inspect(path)` is `scalecheck inspect`. Their signatures
are the one list of all options: the command line, the configuration, the recorded settings and the
manual are read from them, and docs/commands says what each option does. What runs a command is
imported when it is called.
"""

import inspect as introspection
from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, ParamSpec, get_type_hints

from scalecheck import config as configuration
from scalecheck import options
from scalecheck.config import Config
from scalecheck.errors import ArgumentTypeError, OptionError, ScalecheckError
from scalecheck.report.report import Report
from scalecheck.settings import HYPERPARAMETERS, Argument, Settings, options_of
from scalecheck.updates.bands import LIMITS

P = ParamSpec("P")
Progress = Callable[[int, int], None]


def settings(
    command: Callable[..., Any], given: Mapping[str, Any], config: Config | None = None
) -> Settings:
    """The settings of a command to which these options are given. Raises UsageError."""
    configured: Mapping[str, Any] = {}
    if config is not None:
        from scalecheck.rules.judging import policy

        configured = policy.configured(config, given)
    return Settings(options_of(command), given, configured, config or Config())


def read_config(path: str | Path) -> Config:
    """The configuration in a file, by the options of `check`. Raises UsageError."""
    return configuration.read(path, options_of(check))


def report_of(function: Callable[..., Report], given: Mapping[str, Any]) -> Report:
    """The report of a function of this module, from the command of the same name in
    scalecheck.commands, which takes the paths, the settings and the progress. Errors are in the
    words of the command line."""
    given = introspection.signature(function).bind(**given).arguments
    progress = given.pop("progress", None) or (lambda done, total: None)
    config = given.pop("config", None)
    if isinstance(config, str | Path):
        config = read_config(config)
    paths = [
        given.pop(word, option.default)
        for word, option in options_of(function).items()
        if isinstance(option, Argument)
    ]
    in_force = settings(function, given, config)
    name = function.__name__
    command = getattr(import_module(f"scalecheck.commands.{name}"), name)
    try:
        report: Report = command(*paths, in_force, progress)
    except OptionError as error:
        raise in_force.located(error) from None
    return report


def _command(signature: Callable[P, None]) -> Callable[P, Report]:
    """The function that a signature describes."""
    name, options = signature.__name__, options_of(signature)
    bare = introspection.signature(signature)
    types = get_type_hints(signature)

    @wraps(signature)
    def run(*args: P.args, **keywords: P.kwargs) -> Report:
        from scalecheck.arguments import (
            given_from_python,
            in_python_words,
            report_in_python_words,
        )

        try:
            bound = bare.bind(*args, **keywords).arguments
        except TypeError as error:
            raise ArgumentTypeError(f"scalecheck.{name}() {error}") from None
        given = given_from_python(name, options, bound)
        hyperparameters = given.pop(HYPERPARAMETERS, {})
        try:
            report = report_of(run, {**given, **hyperparameters})
        except ScalecheckError as error:
            raise in_python_words(name, options, error) from error.__cause__
        return report_in_python_words(options, report)

    # What help() shows: types without what the command line says of them.
    parameters = [one.replace(annotation=types[one.name]) for one in bare.parameters.values()]
    shown = bare.replace(parameters=parameters, return_annotation=Report)
    run.__signature__ = shown  # type: ignore[attr-defined] # what inspect.signature reads
    return run


@_command
def inspect(
    checkpoint: options.SomeCheckpoint,
    *,
    match: options.Match = (),
    exclude: options.Exclude = (),
    recursive: options.Recursive = False,
    raw: options.Raw = False,
    base: options.Base = None,
    sort: options.Sort = None,
    reverse: options.Reverse = False,
    top: options.Top = None,
    columns: options.Columns = None,
    by: options.GroupBy = "tensor",
    quantiles: options.Quantiles = False,
    init: options.Init = None,
    flagged: options.Flagged = False,
    jobs: options.Jobs = None,
    progress: Progress | None = None,
) -> None:
    """Measure how large the weights of each tensor are, and show which stand out.

    The report has one row for each tensor, or for each layer, family or role. checkpoint: a path,
    an nn.Module, or a mapping of names to arrays, which is not copied. progress: called with the
    bytes read so far and in all. Raises UsageError, which is a TypeError or a ValueError too where
    an argument does not fit, and CheckpointError where the checkpoint cannot be read.
    """


@_command
def translate(
    checkpoint: options.OptionalCheckpoint = None,
    optimizer: options.Optimizer = None,
    *,
    match: options.Match = (),
    exclude: options.Exclude = (),
    recursive: options.Recursive = False,
    raw: options.Raw = False,
    base: options.Base = None,
    sort: options.Sort = None,
    reverse: options.Reverse = False,
    top: options.Top = None,
    columns: options.Columns = None,
    by: options.GroupBy = "tensor",
    lr: options.Lr = None,
    beta1: options.Beta1 = None,
    beta2: options.Beta2 = None,
    eps: options.Eps = None,
    weight_decay: options.WeightDecay = None,
    momentum: options.Momentum = None,
    group: options.Group = (),
    snr: options.Snr = 0.0,
    grad_rms: options.GradRms = None,
    step: options.Step = None,
    state: options.State = None,
    param_names: options.ParamNames = None,
    phase: options.RunPhase = None,
    steps: options.Steps = None,
    schedule: options.Schedule = "constant",
    warmup: options.Warmup = 0,
    final: options.Final = 0.0,
    bands: options.BandLimits = LIMITS,
    param_dtype: options.ParamDtype = None,
    cast: options.Cast = None,
    suggest: options.Suggest = False,
    target: options.TargetUpdate = None,
    like: options.Like = None,
    to: options.To = None,
    scale_by: options.ScaleBy = None,
    assume: options.Assume = None,
    shape: options.Shape = (),
    jobs: options.Jobs = None,
    progress: Progress | None = None,
    **hyperparameters: options.Hyperparameters,
) -> None:
    """Show how far a learning rate moves each tensor per step, relative to its own size.

    The relative update is given as expected, nominal and, where there is an optimizer state,
    measured. checkpoint: as for inspect. optimizer: its name, or a torch Optimizer or a list of
    them, whose groups and moments are then the state. state: a path, or the same. lr, optimizer and
    hyperparameters, which are any of the optimizer's own, override those of the state, which
    override the optimizer's defaults. With assume, shape can replace the checkpoint. Raises
    UsageError, CheckpointError.
    """


@_command
def diff(
    before: options.Before,
    after: options.After,
    *,
    match: options.Match = (),
    exclude: options.Exclude = (),
    recursive: options.Recursive = False,
    raw: options.Raw = False,
    base: options.Base = None,
    sort: options.Sort = None,
    reverse: options.Reverse = False,
    top: options.Top = None,
    columns: options.Columns = None,
    by: options.GroupBy = "tensor",
    lr: options.PeakLr = None,
    optimizer: options.RunOptimizer = None,
    beta1: options.Beta1 = None,
    beta2: options.Beta2 = None,
    eps: options.Eps = None,
    weight_decay: options.WeightDecay = None,
    momentum: options.Momentum = None,
    group: options.Group = (),
    snr: options.Snr = 0.0,
    grad_rms: options.RunGradRms = None,
    steps: options.RunSteps = None,
    schedule: options.Schedule = "constant",
    warmup: options.Warmup = 0,
    final: options.Final = 0.0,
    jobs: options.Jobs = None,
    progress: Progress | None = None,
    **hyperparameters: options.Hyperparameters,
) -> None:
    """Measure how far each tensor moved between two checkpoints.

    The change is exact, in float64. Each side is a path, an nn.Module, or a mapping of names to
    arrays. A path can be a report of `inspect --format json`, of which only the figures are
    compared. With steps, the number between the two, the report says how far as many more steps
    move each tensor; with lr too, how far noise would have moved it. Raises UsageError,
    CheckpointError.
    """


@_command
def history(
    run: options.RunPaths,
    *,
    match: options.Match = (),
    exclude: options.Exclude = (),
    raw: options.Raw = False,
    sort: options.Sort = None,
    reverse: options.Reverse = False,
    top: options.Top = None,
    columns: options.Columns = None,
    by: options.GroupBy = "family",
    against: options.Against = None,
    resumed_from: options.ResumedFrom = None,
    lr: options.RunPeakLr = None,
    optimizer: options.RunOptimizer = None,
    beta1: options.Beta1 = None,
    beta2: options.Beta2 = None,
    eps: options.Eps = None,
    weight_decay: options.WeightDecay = None,
    momentum: options.Momentum = None,
    group: options.Group = (),
    snr: options.Snr = 0.0,
    grad_rms: options.RunGradRms = None,
    steps: options.LastStep = None,
    schedule: options.Schedule = "constant",
    warmup: options.Warmup = 0,
    final: options.Final = 0.0,
    fail_on: options.FailOn = "never",
    jobs: options.Jobs = None,
    progress: Progress | None = None,
    **hyperparameters: options.Hyperparameters,
) -> None:
    """Show how a run moved its weights from checkpoint to checkpoint, beside noise and drift.

    The report has one row for each family and checkpoint; printed, one for each family. run: the
    folder of a run, or a list of two checkpoints or more, each as for inspect. Each file is read
    once. `failed` says whether a finding is as severe as fail_on. Raises UsageError,
    CheckpointError.
    """


@_command
def check(
    checkpoint: options.SomeCheckpoint,
    optimizer: options.Optimizer = None,
    *,
    select: options.Select = (),
    ignore: options.Ignore = (),
    fail_on: options.FailOn = "error",
    match: options.Match = (),
    exclude: options.Exclude = (),
    recursive: options.Recursive = False,
    raw: options.Raw = False,
    base: options.Base = None,
    lr: options.Lr = None,
    beta1: options.Beta1 = None,
    beta2: options.Beta2 = None,
    eps: options.Eps = None,
    weight_decay: options.WeightDecay = None,
    momentum: options.Momentum = None,
    group: options.Group = (),
    snr: options.Snr = 0.0,
    grad_rms: options.GradRms = None,
    step: options.Step = None,
    state: options.State = None,
    param_names: options.ParamNames = None,
    phase: options.RunPhase = None,
    steps: options.PlannedSteps = None,
    schedule: options.Schedule = "constant",
    warmup: options.Warmup = 0,
    final: options.Final = 0.0,
    bands: options.BandLimits = LIMITS,
    param_dtype: options.ParamDtype = None,
    init: options.ExpectedInit = None,
    serve_dtype: options.ServeDtype = None,
    baseline: options.Baseline = None,
    config: Config | str | Path | None = None,
    jobs: options.Jobs = None,
    progress: Progress | None = None,
    **hyperparameters: options.Hyperparameters,
) -> None:
    """Check a checkpoint, its learning rate and its optimizer state by rules, and fail on findings.

    checkpoint, optimizer and state: as for translate. The report's `failed` says whether CI should
    stop. config: a configuration, or its file; no file is searched for, and the other options
    override it. Raises UsageError, CheckpointError.
    """


@_command
def simulate(
    optimizer: options.Replayed = "adam",
    *,
    k: options.Factor = 10.0,
    steps: options.ReplayedSteps = 1000,
    size: options.Size = 4096,
    lr: options.LawLr = 1e-3,
    beta1: options.Beta1 = None,
    beta2: options.Beta2 = None,
    eps: options.Eps = None,
    weight_decay: options.WeightDecay = None,
    momentum: options.Momentum = None,
    snr: options.Snr = 0.0,
    noise: options.Noise = "gaussian",
    grad_scale: options.GradScale = 1.0,
    clip: options.Clip = None,
    dtype: options.ReplayDtype = "float64",
    seed: options.Seed = 0,
    tolerance: options.Tolerance = 0.01,
    sweep: options.Sweep = False,
    progress: Progress | None = None,
    **hyperparameters: options.Hyperparameters,
) -> None:
    """Run an optimizer on synthetic gradients and test how its updates scale.

    optimizer is one name, or "all". The report's claims say whether they hold; `failed` is True
    where one breaks that is no contrast. progress: called with the steps done so far and in all.
    Raises UsageError.
    """
