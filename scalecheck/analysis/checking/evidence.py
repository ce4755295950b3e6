"""What the rules are shown: every tensor measured once, forecast where an lr is known, and set
beside its initialization and its state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from scalecheck.analysis.checking.settings import Settings
from scalecheck.analysis.reference import Initialization, Model, scheme
from scalecheck.analysis.selection import Selection
from scalecheck.analysis.translation.bands import Bands
from scalecheck.analysis.translation.late import schedule as planned
from scalecheck.analysis.translation.stall import param_dtype
from scalecheck.analysis.translation.states import States, states_of
from scalecheck.analysis.translation.training import Training, Trainings
from scalecheck.analysis.translation.translator import Translator, check_numbers, untrained
from scalecheck.checkpoint.dtypes import DTYPES, WORDS, named
from scalecheck.checkpoint.optimizer_state import ParamState
from scalecheck.checkpoint.recorded import Recorded, recorded
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.errors import UsageError, unknown
from scalecheck.forecast import UNSEEN
from scalecheck.measure.rows import row_figures
from scalecheck.measure.scale import Progress, Scale, measure
from scalecheck.measure.sketch import Sketch
from scalecheck.optimizers._optimizer import Gradient
from scalecheck.report.report import Row
from scalecheck.rules._rule import NEEDS
from scalecheck.rules._subject import InitScale, Subject, Weights
from scalecheck.theory.initialization import rms_tolerance
from scalecheck.theory.schedule import Schedule

_SCALES = ("_scale", "_scale_inv", ".scale", ".weight_scale", ".scale_weight", ".scales")
_SECOND_MOMENTS = ("exp_avg_sq", "max_exp_avg_sq", "square_avg")
_BETA2 = ("beta2", "alpha", "rho")  # what optimizers call the factor that it averages with
_WITH_ROWS = ("SC103", "SC108")  # rules that look inside tensors


@dataclass(frozen=True)
class Evidence:
    """The subject of the rules; `missing` says for each of NEEDS that was not met why. unjudged:
    states of no certain tensor, which a selection of tensors leaves out."""

    subject: Subject
    missing: Mapping[str, str]
    states: States
    roles: Mapping[str, str]
    unjudged: int


def evidence(
    checkpoint: Checkpoint, settings: Settings, jobs: int | None, progress: Progress
) -> Evidence:
    """Reads the checkpoint, and what lies with it. Raises UsageError, CheckpointError."""
    check_numbers(settings["lr"], settings["snr"], settings["grad_rms"], settings["step"])
    wanted = Selection(settings["match"], settings["exclude"]).tensors(checkpoint.tensors)
    states = states_of(checkpoint, settings["state"])
    serve_dtype = _serve_dtype(settings["serve_dtype"])
    init = None if settings["init"] is None else scheme(settings["init"])
    before = None if settings["baseline"] is None else recorded(settings["baseline"])
    missing = {
        "init": NEEDS["init"] if init is None else "",
        "baseline": NEEDS["baseline"] if before is None else "",
        "state": NEEDS["state"] if states.path is None else "",
    }
    translator, missing["lr"] = _translator(settings, states, wanted, checkpoint)
    missing["peak_lr"] = NEEDS["peak_lr"] if settings["lr"] is None else missing["lr"]
    if translator is None and not missing["state"]:
        missing["state"] = missing["lr"]

    tensors: list[Weights] = []
    rows: list[Row] = []
    names = {tensor.name for tensor in checkpoint.tensors}
    model = Model({tensor.name: tensor.shape for tensor in checkpoint.tensors})
    has_rows = bool(set(_WITH_ROWS) & settings.rules.keys())
    readable = tuple(tensor for tensor in wanted if tensor.unmeasured is None)
    for tensor, sketch in measure(readable, jobs, progress):
        scale = Scale.of(tensor, sketch)
        # Of a tied tensor the first says all, and of one of zeros its rule.
        is_looked_into = has_rows and scale.tied_to is None and scale.zeros < scale.numel
        step = None
        if translator is not None and untrained(tensor, checkpoint) is None:
            step = _step(translator, scale, sketch)
            state = states.by_name.get(scale.name)
            if state is not None:
                rows.append(_state_row(step, state, scale.role, step["members"][0][1]))
        tensors.append(
            Weights(
                scale,
                row_figures(tensor, scale.zeros, scale.role) if is_looked_into else None,
                None if init is None else _init_scale(init, scale, model),
                None if missing["lr"] else step,
                _is_scaled(scale.name, names),
            )
        )
    unjudged = len(states.unnamed)
    if translator is not None and len(wanted) == len(checkpoint.tensors):
        unjudged = 0
        for one in states.unnamed:
            training = translator.trainings.of("", states.of_group(one))
            rows.append(_state_row(translator.unnamed(one), one, "", training))
    subject = Subject(
        tensors,
        [tensor for tensor in wanted if tensor.unmeasured is not None],
        rows,
        None if before is None else _selected(before, settings),
        frozenset() if before is None else frozenset(_covered(before, wanted)),
        serve_dtype=serve_dtype,
        is_dtype_given=settings["param_dtype"] is not None,
    )
    roles = {tensor.name: tensor.scale.role for tensor in tensors}
    return Evidence(subject, missing, states, roles, unjudged)


def _translator(
    settings: Settings, states: States, wanted: Sequence[Tensor], checkpoint: Checkpoint
) -> tuple[Translator | None, str]:
    """What makes the forecasts, and why there are none: empty where there are. A state whose lr is
    none still has figures. Raises UsageError for settings that were given and do not fit."""
    trained = [tensor.name for tensor in wanted if untrained(tensor, checkpoint) is None]
    lr, problem = settings["lr"], ""
    trainings = _trainings(settings, lr)
    trainings.check([tensor.name for tensor in wanted])
    plan = _plan(settings, states)
    if lr is None and states.path is None:
        return None, NEEDS["lr"]
    try:
        _probe(trainings, states, trained)
    except UsageError as error:
        if lr is not None:
            raise
        problem = str(error)
        trainings = _trainings(settings, 1.0)
        try:
            _probe(trainings, states, trained)
        except UsageError:
            return None, problem
    translator = Translator(
        trainings,
        states,
        Gradient(UNSEEN if settings["grad_rms"] is None else settings["grad_rms"], settings["snr"]),
        settings["step"],
        plan,
        param_dtype(settings["param_dtype"]),
        None,
        None,
    )
    return translator, problem


def _trainings(settings: Settings, lr: float | None) -> Trainings:
    return Trainings(settings["optimizer"], lr, settings["hyperparameters"], settings["group"])


def _probe(trainings: Trainings, states: States, names: Sequence[str]) -> None:
    for name in names:
        trainings.of(name, states.settings(name))
    for one in states.unnamed:
        trainings.of("", states.of_group(one))


def _plan(settings: Settings, states: States) -> Schedule | None:
    """The schedule of the run: as given, else the steps of the state at its lr."""
    steps = settings["steps"]
    if steps is None and settings["schedule"] == "constant":
        done = [one.step for one in states.by_name.values() if one.step]
        steps = int(max(done)) if done else None
    return planned(settings["schedule"], steps, settings["warmup"], settings["final"])


def _step(translator: Translator, scale: Scale, sketch: Sketch) -> dict[str, Any]:
    """The tensor's row of a translation, and the type it is trained in."""
    row = translator.line(scale, sketch).row(Bands())
    return row | {"trained_in": translator.dtype or scale.dtype}


def _state_row(row: Row, state: ParamState, role: str, training: Training) -> dict[str, Any]:
    """What the rules see of a state: its row, and its second moment's type and size."""
    v = next((state.tensors[name] for name in _SECOND_MOMENTS if name in state.tensors), None)
    return {
        **row,
        "role": role,
        "v_dtype": None if v is None else v.dtype.name,
        "v_numel": 0 if v is None else v.numel,
        "beta2": next((b for n in _BETA2 if (b := getattr(training.optimizer, n, None))), None),
    }


def _init_scale(init: Initialization, scale: Scale, model: Model) -> InitScale | None:
    reference = init.of(scale.name, scale.role, scale.shape, model)
    if reference is None:
        return None
    tolerance = rms_tolerance(scale.numel, reference.kurtosis) if reference.rms else 0.0
    return InitScale(reference.rms, tolerance)


def _is_scaled(name: str, names: set[str]) -> bool:
    """Whether another tensor holds its scale factors, under the names that quantizers give them."""
    stem = name.removesuffix(".weight")
    return any(base + suffix in names for base in (name, stem) for suffix in _SCALES)


def _serve_dtype(word: str | None) -> str | None:
    if word is None:
        return None
    name = named(word)
    if name not in DTYPES or not DTYPES[name].is_float:
        raise unknown("--serve-dtype", word, [*WORDS])
    return name


def _selected(before: Recorded, settings: Settings) -> Recorded:
    """The recorded tensors among those that are wanted."""
    match, exclude = settings["match"], settings["exclude"]
    rows = {n: row for n, row in before.rows.items() if _holds(n, match, exclude)}
    return replace(before, rows=rows)


def _covered(before: Recorded, wanted: Sequence[Tensor]) -> list[str]:
    """The names that the baseline would have, had they been there."""
    return [t.name for t in wanted if _holds(t.name, before.match, before.exclude)]


def _holds(name: str, match: Sequence[str], exclude: Sequence[str]) -> bool:
    is_in = not match or any(fnmatchcase(name, glob) for glob in match)
    return is_in and not any(fnmatchcase(name, glob) for glob in exclude)
