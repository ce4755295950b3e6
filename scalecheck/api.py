"""The commands as functions: `scalecheck.inspect(path)` is `scalecheck inspect`. Their signatures
are the one list of all options: the command line, the configuration, the recorded settings and the
manual are read from them. What runs a command is imported when it is called.
"""

import inspect as introspection
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, get_type_hints

from scalecheck import config as configuration
from scalecheck import options
from scalecheck.config import Config
from scalecheck.errors import OptionError
from scalecheck.report.finding import FAIL_ON
from scalecheck.report.report import Report
from scalecheck.settings import Argument, Option, Settings, keys, options_of
from scalecheck.updates.bands import LIMITS

P = ParamSpec("P")
Progress = Callable[[int, int], None]


def settings(
    command: Callable[..., Any], given: Mapping[str, Any], config: Config | None = None
) -> Settings:
    """The settings of a command to which these options are given. Raises UsageError."""
    if config is None:
        return Settings(options_of(command), given)
    from scalecheck.rules.judging.policy import configured

    return Settings(options_of(command), given, configured(config, given), config)


def read_config(path: str | Path) -> Config:
    """The configuration in a file, by the options of `check`. Raises UsageError."""
    return configuration.read(path, keys(options_of(check)))


def _command(signature: Callable[P, Callable[..., Report]]) -> Callable[P, Report]:
    """The function of a signature whose body returns what runs it, a function of the paths, the
    settings and the progress."""

    @wraps(signature)
    def run(*args: P.args, **keywords: P.kwargs) -> Report:
        given = introspection.signature(signature).bind(*args, **keywords).arguments
        progress = given.pop("progress", None) or (lambda done, total: None)
        config = given.pop("config", None)
        if isinstance(config, str | Path):
            config = read_config(config)
        paths = [
            given.pop(name, option.default)
            for name, option in options_of(signature).items()
            if isinstance(option, Argument)
        ]
        in_force = settings(signature, given, config)
        try:
            return signature(*args, **keywords)(*paths, in_force, progress)
        except OptionError as error:
            raise in_force.located(error) from None

    run.__signature__ = _shown(signature)  # type: ignore[attr-defined] # what help() reads
    return run


def _shown(signature: Callable[..., Any]) -> introspection.Signature:
    """The signature that a reader wants: types without what the command line says of them."""
    types = get_type_hints(signature)
    parameters = introspection.signature(signature).parameters.values()
    return introspection.Signature(
        [parameter.replace(annotation=types[parameter.name]) for parameter in parameters],
        return_annotation=Report,
    )


@_command
def inspect(
    checkpoint: options.SomeCheckpoint,
    *,
    match: options.Match = (),
    exclude: options.Exclude = (),
    sort: options.Sort = None,
    reverse: options.Reverse = False,
    top: options.Top = None,
    columns: options.Columns = None,
    by: options.GroupBy = "tensor",
    quantiles: Annotated[
        bool, Option("Add the values at 1, 5, 25, 50, 75, 95 and 99 %.", panel=options.ROWS)
    ] = False,
    init: Annotated[
        str | None,
        Option(
            "Add rms as a multiple of what an initialization gives: {choices}.",
            "SCHEME",
            options.ROWS,
            choices=options.initializations,
            is_open=True,
            check=partial(options.initialization, "init"),
        ),
    ] = None,
    jobs: options.Jobs = None,
    progress: Progress | None = None,
) -> Callable[..., Report]:
    """Measures the tensors of a checkpoint: a row a tensor, or a row a layer, family or role.

    match, exclude: globs over whole names. sort: a column; numbers from the largest, words from A.
    top: rows that are kept. columns: the ones wanted, in this order. by: tensor, layer, family or
    role. quantiles: of each row's elements. init: an initialization such as kaiming or normal:0.02,
    to compare rms with. jobs: threads, one for each core where None. progress: called with the
    bytes read so far and in all. Raises UsageError where an option fits nothing, CheckpointError
    where the checkpoint cannot be read.
    """
    from scalecheck.commands.inspect import inspect

    return inspect


@_command
def translate(
    checkpoint: options.OptionalCheckpoint = None,
    *,
    match: options.Match = (),
    exclude: options.Exclude = (),
    sort: options.Sort = None,
    reverse: options.Reverse = False,
    top: options.Top = None,
    columns: options.Columns = None,
    by: options.GroupBy = "tensor",
    lr: options.Lr = None,
    optimizer: options.Optimizer = None,
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
    steps: options.Steps = None,
    schedule: options.Schedule = "constant",
    warmup: options.Warmup = 0,
    final: options.Final = 0.0,
    bands: options.BandLimits = LIMITS,
    param_dtype: options.ParamDtype = None,
    target: Annotated[
        float | None,
        Option(
            "Add the lr of this relative update.",
            "SHARE",
            options.QUESTIONS,
            check=options.positive,
        ),
    ] = None,
    like: Annotated[
        str | options.AnyCheckpoint | None,
        Option(
            "Add the lr of the relative update that --lr gives on this checkpoint.",
            "PATH",
            options.QUESTIONS,
        ),
    ] = None,
    to: Annotated[
        str | None,
        Option(
            "Add the lr at which this optimizer moves as far.",
            "NAME",
            options.QUESTIONS,
            choices=options.optimizers,
        ),
    ] = None,
    scale_by: Annotated[
        float | None,
        Option(
            "Add the settings that train weights K times larger alike.",
            "K",
            options.QUESTIONS,
            check=options.positive,
        ),
    ] = None,
    assume: Annotated[
        str | None,
        Option(
            "Add what is believed of an initialization: {choices}.",
            "SCHEME",
            options.QUESTIONS,
            choices=options.initializations,
            is_open=True,
            check=partial(options.initialization, "assume"),
        ),
    ] = None,
    shape: Annotated[
        str | Sequence[str],
        Option(
            "In place of PATH: a tensor such as wte.weight=50257x768 (repeatable).",
            "NAME=AxB",
            options.TENSORS,
            repeats=True,
        ),
    ] = (),
    jobs: options.Jobs = None,
    progress: Progress | None = None,
    **hyperparameters: options.Hyperparameters,
) -> Callable[..., Report]:
    """The relative update of each tensor at an lr: expected, nominal, and where an optimizer state
    was saved, measured.

    lr, optimizer and hyperparameters go before those of the state, which go before the optimizer's
    defaults; group holds GLOB:lr=1e-4,weight_decay=0 for some tensors. hyperparameters: any of the
    optimizer's own, such as alpha. snr, grad_rms: the gradients' mean/std and RMS, for the expected
    update. step: of the expected update; the state's where None, else the steady state. state: a
    file, "none", or what lies with the checkpoint. steps, schedule, warmup, final: a whole run;
    final is a share of lr. bands: limits of the relative update. param_dtype: the type that the
    weights are trained in, where it is not the stored one. target: a relative update, like: another
    checkpoint, to: another optimizer, to give the lr for; scale_by: a factor of the weights, to
    give the settings for. assume: an initialization, to show what is believed of it; with it shape,
    NAME=4096x1024, may take the place of a checkpoint. The others are as in `inspect`. Raises
    UsageError, CheckpointError.
    """
    from scalecheck.commands.translate import translate

    return translate


@_command
def diff(
    before: options.Before,
    after: options.After,
    *,
    match: options.Match = (),
    exclude: options.Exclude = (),
    sort: options.Sort = None,
    reverse: options.Reverse = False,
    top: options.Top = None,
    columns: options.Columns = None,
    by: options.GroupBy = "tensor",
    lr: Annotated[
        float | None,
        Option(
            "Peak lr of the run between them; takes --steps.",
            "LR",
            options.TRAINING,
            check=options.positive,
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        Option(
            "One of {choices}. Default: adamw.",
            "NAME",
            options.TRAINING,
            choices=options.optimizers,
        ),
    ] = None,
    beta1: options.Beta1 = None,
    beta2: options.Beta2 = None,
    eps: options.Eps = None,
    weight_decay: options.WeightDecay = None,
    momentum: options.Momentum = None,
    group: options.Group = (),
    snr: options.Snr = 0.0,
    grad_rms: Annotated[
        float | None,
        Option(
            "RMS of the gradients. Default: so large that eps does not count.",
            "RMS",
            options.TRAINING,
            check=options.positive,
        ),
    ] = None,
    steps: Annotated[
        int | None, Option("Add how far so many steps should carry each tensor.", "N", options.RUN)
    ] = None,
    schedule: options.Schedule = "constant",
    warmup: options.Warmup = 0,
    final: options.Final = 0.0,
    jobs: options.Jobs = None,
    progress: Progress | None = None,
    **hyperparameters: options.Hyperparameters,
) -> Callable[..., Report]:
    """The change of each tensor from one checkpoint to another: exact, in float64, both read once.

    A path may be a report of `inspect --format json`, of which only figures are compared. With lr
    and steps the displacement that such a run is expected to bring is set beside it: settings of
    the run are as in `translate`, the others as in `inspect`. Raises UsageError, CheckpointError.
    """
    from scalecheck.commands.diff import diff

    return diff


@_command
def check(
    checkpoint: options.SomeCheckpoint,
    *,
    select: Annotated[
        str | Sequence[str],
        Option(
            "Run only these rules: codes, their beginnings or names, by commas.",
            "CODES",
            options.JUDGED,
            parse=options.codes_of,
            check=partial(options.rules, "select"),
            repeats=True,
        ),
    ] = (),
    ignore: Annotated[
        str | Sequence[str],
        Option(
            "Leave out these rules.",
            "CODES",
            options.JUDGED,
            parse=options.codes_of,
            check=partial(options.rules, "ignore"),
            repeats=True,
        ),
    ] = (),
    fail_on: Annotated[
        str,
        Option(
            "Least severity that exits 1: {choices}.", "SEVERITY", options.JUDGED, choices=FAIL_ON
        ),
    ] = "error",
    match: options.Match = (),
    exclude: options.Exclude = (),
    lr: options.Lr = None,
    optimizer: options.Optimizer = None,
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
    steps: Annotated[
        int | None,
        Option("Steps of the run. Default: those of the optimizer state.", "N", options.RUN),
    ] = None,
    schedule: options.Schedule = "constant",
    warmup: options.Warmup = 0,
    final: options.Final = 0.0,
    bands: options.BandLimits = LIMITS,
    param_dtype: options.ParamDtype = None,
    init: Annotated[
        str | None,
        Option(
            "The initialization that scales have to be of: {choices}.",
            "SCHEME",
            options.JUDGED,
            choices=options.initializations,
            is_open=True,
            check=partial(options.initialization, "init"),
        ),
    ] = None,
    serve_dtype: Annotated[
        str | None,
        Option(
            "Type that the weights will be cast to: bf16, fp16, fp8 (e4m3), e5m2.",
            "DTYPE",
            options.JUDGED,
            check=options.serve_dtype,
        ),
    ] = None,
    baseline: Annotated[
        Path | str | None,
        Option(
            "Report of `inspect --format json` that scales have to agree with.",
            "FILE",
            options.JUDGED,
            is_path=True,
        ),
    ] = None,
    config: Config | str | Path | None = None,
    jobs: options.Jobs = None,
    progress: Progress | None = None,
    **hyperparameters: options.Hyperparameters,
) -> Callable[..., Report]:
    """Judges a checkpoint by the rules; `summary["failed"]` says whether CI should stop.

    config: a configuration, or the file it is in; none is looked for, and the other options go
    before it. select, ignore: codes of rules, their beginnings or names. fail_on: error, warning or
    never. init: the initialization, baseline: the report of `inspect`, that scales have to agree
    with. serve_dtype: the type that weights will be cast to. The others are as in `translate`.
    Raises UsageError, CheckpointError.
    """
    from scalecheck.commands.check import check

    return check


@_command
def simulate(
    optimizer: Annotated[
        str,
        Option(
            "One of {choices}.",
            "NAME",
            options.TRAINING,
            choices=options.optimizers_or_all,
        ),
    ] = "adam",
    *,
    k: Annotated[
        float,
        Option(
            "Factor of the gradients and of the weights.",
            "K",
            options.GRADIENTS,
            check=options.factor,
        ),
    ] = 10.0,
    steps: Annotated[
        int,
        Option("Steps that are replayed.", "N", options.GRADIENTS, check=options.from_1_to(10**7)),
    ] = 1000,
    size: Annotated[
        int,
        Option(
            "Elements of the replayed tensor.",
            "N",
            options.GRADIENTS,
            check=options.from_1_to(10**7),
        ),
    ] = 4096,
    lr: Annotated[
        float, Option("The lr of the laws 3 and 5.", "LR", options.TRAINING, check=options.scale)
    ] = 1e-3,
    beta1: options.Beta1 = None,
    beta2: options.Beta2 = None,
    eps: options.Eps = None,
    weight_decay: options.WeightDecay = None,
    momentum: options.Momentum = None,
    snr: options.Snr = 0.0,
    noise: Annotated[
        str,
        Option(
            "Law of the gradients: gaussian, student-t:DOF, sparse:DENSITY, ar1:RHO.",
            "LAW",
            options.GRADIENTS,
            check=options.noise,
        ),
    ] = "gaussian",
    grad_scale: Annotated[
        float, Option("RMS of the gradients g.", "RMS", options.GRADIENTS, check=options.scale)
    ] = 1.0,
    clip: Annotated[
        float | None,
        Option("Clip the gradients to this norm.", "NORM", options.GRADIENTS, check=options.scale),
    ] = None,
    dtype: Annotated[
        str,
        Option(
            "Type of weights, gradients and state: {choices}.",
            "DTYPE",
            options.GRADIENTS,
            choices=options.replay_dtypes,
        ),
    ] = "float64",
    seed: Annotated[
        int,
        Option("Seed of the random numbers.", "N", options.GRADIENTS, check=options.not_negative),
    ] = 0,
    tolerance: Annotated[
        float,
        Option("What measured may be off by.", "SHARE", options.GRADIENTS, check=options.share),
    ] = 0.01,
    sweep: Annotated[
        bool, Option("Draw the update's RMS for k from 1e-12 to 1e12.", panel=options.GRADIENTS)
    ] = False,
    progress: Progress | None = None,
    **hyperparameters: options.Hyperparameters,
) -> Callable[..., Report]:
    """Replays the real optimizer, or "all" of them, and claims what theory says of it.

    k: factor of the gradients and of the weights. size: elements of the replayed tensor. lr: the
    nominal one of the laws that need one; update sizes are at lr 1. Gradients have RMS grad_scale,
    a mean of snr standard deviations, the noise gaussian, student-t:DOF, sparse:DENSITY or
    ar1:RHO, and are clipped to the norm clip. dtype: one of float64, float32, bfloat16, float16.
    tolerance: relative. sweep: instead of the other laws, the updates at k from 1e-12 to 1e12.
    hyperparameters: the optimizer's own, such as beta1 or eps. progress: called with the steps done
    so far and in all.

    The report's claims say whether they hold; one that breaks and is no contrast is a failure.
    Raises UsageError for an unknown word and a setting outside its domain.
    """
    from scalecheck.commands.simulate import simulate

    return simulate
