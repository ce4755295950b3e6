"""What the rules are shown: every tensor measured once, forecast where an lr is known, and set
beside its initialization and its state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from scalecheck.checkpoint.naming import role
from scalecheck.checkpoint.optimizer_state import ParamState
from scalecheck.checkpoint.recorded import Recorded, recorded
from scalecheck.checkpoint.selection import Selection, retied
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.dtypes import DTYPES, WORDS, named
from scalecheck.errors import UsageError, unknown
from scalecheck.measure.initial_scale import Initialization, Model, scheme
from scalecheck.measure.measuring import measure
from scalecheck.measure.pipeline import Progress
from scalecheck.measure.rows import row_figures
from scalecheck.measure.sketch import Sketch
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.optimizers.contract import Gradient
from scalecheck.report.report import Row
from scalecheck.rules.contract import (
    MATRICES,
    NEEDS,
    CheckpointFacts,
    InitFacts,
    StateFacts,
    TensorFacts,
)
from scalecheck.rules.judging.policy import RulePolicy
from scalecheck.settings import Settings
from scalecheck.theory.initialization import rms_tolerance
from scalecheck.theory.schedule import Schedule
from scalecheck.updates.bands import Bands
from scalecheck.updates.forecaster import Forecaster, untrained
from scalecheck.updates.precision import param_dtype
from scalecheck.updates.saved_state import States, states_of
from scalecheck.updates.schedule_forecast import schedule as planned
from scalecheck.updates.state_statistics import figures
from scalecheck.updates.training import Trainings

_SCALES = ("_scale", "_scale_inv", ".scale", ".weight_scale", ".scale_weight", ".scales")
_WITH_ROWS = ("SC103", "SC108")  # rules that look inside tensors


@dataclass(frozen=True)
class CheckInput:
    """The subject of the rules; `missing` says for each of NEEDS that was not met why. roles: of
    every name that a rule can speak of. notes: on what was left out."""

    subject: CheckpointFacts
    missing: Mapping[str, str]
    states: States
    roles: Mapping[str, str]
    notes: Sequence[str]


def check_input(
    checkpoint: Checkpoint, settings: Settings, policy: RulePolicy, progress: Progress
) -> CheckInput:
    """Reads the checkpoint, and what lies with it. Raises UsageError, CheckpointError."""
    selection = Selection(settings.match, settings.exclude)
    wanted = retied(selection.tensors(checkpoint.tensors))
    served = None if settings.serve_dtype is None else serve_dtype(settings.serve_dtype)
    init = None if settings.init is None else scheme(settings.init)
    before = None if settings.baseline is None else recorded(settings.baseline)
    states = states_of(checkpoint, settings.state)
    trained = [tensor for tensor in wanted if untrained(tensor, checkpoint, states) is None]
    forecasts = _Forecasts(settings, states, [tensor.name for tensor in wanted], trained)

    tensors: list[TensorFacts] = []
    names = {tensor.name for tensor in checkpoint.tensors}
    model = Model({tensor.name: tensor.shape for tensor in checkpoint.tensors})
    has_rows = bool(set(_WITH_ROWS) & policy.rules.keys())
    needed = {need for entry in policy.rules.values() for need in entry.rule.needs}
    readable = tuple(tensor for tensor in wanted if tensor.unmeasured is None)
    for tensor, sketch in measure(readable, settings.jobs, progress):
        scale = TensorStats.of(tensor, sketch)
        # Of a tied tensor the first says all, and of one of zeros its rule.
        is_alone = scale.tied_to is None and scale.zeros < scale.numel
        is_looked_into = has_rows and is_alone and scale.role in MATRICES
        is_scaled = _is_scaled(tensor, names)
        is_trained = untrained(tensor, checkpoint, states) is None and not is_scaled
        has_step = is_trained and bool({"lr", "peak_lr"} & needed)
        tensors.append(
            TensorFacts(
                scale,
                row_figures(tensor, scale.zeros, scale.role) if is_looked_into else None,
                None if init is None or is_scaled else _init_scale(init, scale, model),
                forecasts.step(scale, sketch) if has_step else None,
                is_scaled,
            )
        )
    unmeasured = [tensor for tensor in wanted if tensor.unmeasured is not None]
    roles = {tensor.name: tensor.role for tensor in wanted}
    if before is not None:
        before = _selected(before, settings)
        gone = {name: was for name, was in before.every.items() if name not in roles}
        roles |= {
            n: role(n, DTYPES[s.dtype], s.shape) for n, s in gone.items() if s.dtype in DTYPES
        }
    # A selection of tensors is no selection among states of no certain one.
    is_whole = len(wanted) == len(checkpoint.tensors)
    judged = [s for s in states.by_name.values() if s.name in roles]
    judged += states.unnamed if is_whole else []
    subject = CheckpointFacts(
        tensors,
        unmeasured,
        _states(judged if "state" in needed else [], forecasts, roles, settings.jobs),
        before,
        frozenset() if before is None else frozenset(_covered(before, wanted)),
        serve_dtype=served,
        is_dtype_given=settings.param_dtype is not None,
    )
    missing = {
        "init": NEEDS["init"] if init is None else "",
        "baseline": NEEDS["baseline"] if before is None else "",
        "state": NEEDS["state"] if states.path is None else "",
        "optimizer": forecasts.no_optimizer,
        "lr": forecasts.no_lr,
        "peak_lr": NEEDS["peak_lr"] if settings.lr is None else forecasts.no_lr,
    }
    notes = [*states.notes] if states.path else [*checkpoint.notes]
    notes += states.doubts(trained, {"lr", *settings.hyperparameters})
    if states.unnamed and not is_whole:
        notes.append(f"{len(states.unnamed)} states are of no certain tensor and were not judged")
    if scaled := sum(tensor.is_scaled for tensor in tensors):
        notes.append(
            f"{scaled} tensors are multiplied by another: no update or initialization is judged"
        )
    return CheckInput(subject, missing, states, roles, [*notes, *forecasts.notes])


class _Forecasts:
    """The forecast of each tensor, and why there is none.

    no_lr: why no tensor has one. no_optimizer: why a state has no figures. Raises UsageError for
    settings that were given and do not fit.
    """

    def __init__(
        self, settings: Settings, states: States, names: Sequence[str], trained: Sequence[Tensor]
    ) -> None:
        self._states = states
        self.notes: list[str] = []
        lr, plan = settings.lr, _plan(settings, states)
        dtype = param_dtype(settings.param_dtype)
        trainings = _trainings(settings, lr)
        trainings.check(names)
        has_lr = lr is not None or any("lr" in group.settings for group in trainings.groups)
        self.no_lr = "" if has_lr or states.path else NEEDS["lr"]
        self.no_optimizer = NEEDS["optimizer"] if states.path is None else ""
        self._without_lr: dict[str, str] = {}
        self._translator: Forecaster | None = None
        self._eps_shares: dict[str | None, float | None] = {}  # of the states that were read
        if self.no_lr:
            return
        # What a state says beside its lr takes an optimizer, and any lr.
        stand_in = trainings if lr is not None else _trainings(settings, 1.0)
        unknown_optimizers = _problems(stand_in, states, trained)
        if lr is not None and unknown_optimizers:
            raise UsageError(next(iter(unknown_optimizers.values())))
        if unknown_optimizers:
            self.no_optimizer = self.no_lr = next(iter(unknown_optimizers.values()))
            return
        self._without_lr = _problems(trainings, states, trained)
        if self._without_lr:
            problem = next(iter(self._without_lr.values()))
            if self._without_lr.keys() >= {tensor.name for tensor in trained}:
                self.no_lr = problem
            else:
                self.notes.append(
                    f"no update is judged of {len(self._without_lr)} tensors: {problem}"
                )
        gradient = Gradient(settings.grad_rms, settings.snr)
        self._translator = Forecaster(
            trainings, states, gradient, settings.step, plan, dtype, None, None
        )
        self._stand_in = replace(self._translator, trainings=stand_in)

    def step(self, scale: TensorStats, sketch: Sketch) -> Row | None:
        """The tensor's row of a translation, and the type it is trained in."""
        translator = self._translator
        if translator is None or scale.name in self._without_lr:
            return None
        row = translator.line(scale, sketch).row(Bands())
        self._eps_shares[scale.name] = row.get("eps_share")
        return row | {"trained_in": translator.dtype or scale.dtype}

    def figures(self, state: ParamState) -> tuple[float | None, float | None]:
        """The share of a state's elements with √v̂ below eps, and beta2; None where not known."""
        if self._translator is None:
            return None, None
        optimizer = self._stand_in.trainings.of(
            state.name or "", self._states.of_group(state)
        ).optimizer
        beta2 = optimizer.second_moment_factor or None
        if state.name in self._eps_shares:
            return self._eps_shares[state.name], beta2
        return figures(state, optimizer).eps_share, beta2


def _problems(trainings: Trainings, states: States, tensors: Sequence[Tensor]) -> dict[str, str]:
    """Why tensors, by their names, and the states of no certain one, have no training."""
    asked = [(t.name, t.name, states.settings(t.name, t.shape)) for t in tensors]
    asked += [(one.label, "", states.of_group(one)) for one in states.unnamed]
    problems = {}
    for label, name, settings in asked:
        try:
            trainings.of(name, settings)
        except UsageError as error:
            problems[label] = str(error)
    return problems


def _trainings(settings: Settings, lr: float | None) -> Trainings:
    return Trainings(settings.optimizer, lr, settings.hyperparameters, settings.group)


def _plan(settings: Settings, states: States) -> Schedule | None:
    """The schedule of the run: as given, else the steps of the state at its lr."""
    steps = settings.steps
    if steps is None and settings.schedule == "constant":
        done = [one.step for one in states.by_name.values() if one.step]
        steps = int(max(done)) if done else None
    return planned(settings.schedule, steps, settings.warmup, settings.final)


def _states(
    states: Sequence[ParamState], forecasts: _Forecasts, roles: Mapping[str, str], jobs: int | None
) -> list[StateFacts]:
    """What the rules see of states, each tensor of floats measured."""
    floats = [{n: t for n, t in one.tensors.items() if _has_scale(t)} for one in states]
    measured = measure(tuple(tensor for own in floats for tensor in own.values()), jobs)
    found = []
    for one, own in zip(states, floats, strict=True):
        scales = {name: TensorStats.of(*next(measured)) for name in own}
        eps_share, beta2 = forecasts.figures(one)
        found.append(
            StateFacts(
                one.label,
                roles.get(one.name or "", ""),
                scales,
                [tensor for name, tensor in one.tensors.items() if name not in own],
                [n for n, x in one.numbers.items() if isinstance(x, float) and not isfinite(x)],
                eps_share,
                beta2,
            )
        )
    return found


def _has_scale(tensor: Tensor) -> bool:
    return tensor.dtype.is_float and tensor.unmeasured is None


def _init_scale(init: Initialization, scale: TensorStats, model: Model) -> InitFacts | None:
    reference = init.of(scale.name, scale.role, scale.shape, model)
    if reference is None:
        return None
    tolerance = rms_tolerance(scale.numel, reference.kurtosis) if reference.rms else 0.0
    return InitFacts(reference.rms, tolerance)


def _is_scaled(tensor: Tensor, names: set[str]) -> bool:
    """Whether another tensor holds its scale factors, under the names that quantizers give them."""
    stem = tensor.name.removesuffix(".weight")
    return tensor.dtype.itemsize == 1 and any(
        base + suffix in names for base in (tensor.name, stem) for suffix in _SCALES
    )


def serve_dtype(word: str) -> str:
    """The type of --serve-dtype by its safetensors name. Raises UsageError."""
    name = named(word)
    if name not in DTYPES or not DTYPES[name].is_float:
        raise unknown("serve_dtype", word, [*WORDS])
    return name


def _selected(before: Recorded, settings: Settings) -> Recorded:
    """The recorded tensors among those that are wanted."""
    selection = Selection(settings.match, settings.exclude)
    rows = {name: row for name, row in before.rows.items() if selection.holds(name)}
    return replace(before, rows=rows)


def _covered(before: Recorded, wanted: Sequence[Tensor]) -> list[str]:
    """The names that the baseline would have, had they been there."""
    selection = Selection(before.match, before.exclude)
    return [tensor.name for tensor in wanted if selection.holds(tensor.name)]
