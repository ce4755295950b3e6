"""What an lr does to each tensor of a checkpoint: its statistics, its training, and the step that
theory expects or a saved state tells, in one typed object."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from scalecheck.checkpoint.keys import text_key
from scalecheck.checkpoint.naming import HALVES
from scalecheck.checkpoint.optimizer_state import ParamState
from scalecheck.errors import UsageError
from scalecheck.measure.sketch import Sketch
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.optimizers.contract import REFUSALS, Gradient, Hyperparameters
from scalecheck.recipes.placement import Placement
from scalecheck.report.formatting import listed
from scalecheck.settings import Settings
from scalecheck.theory.schedule import Schedule
from scalecheck.updates.assumed import Assumption
from scalecheck.updates.bands import Bands
from scalecheck.updates.expected_step import ASKED, FIRST, STATE, ExpectedStep, unless_settled
from scalecheck.updates.forecast import ScheduleForecast, expected_update, schedule_forecast
from scalecheck.updates.moves import counters, moves_of
from scalecheck.updates.precision import PrecisionForecast, precision_forecast
from scalecheck.updates.rare_rows import share_left
from scalecheck.updates.saved_state import States
from scalecheck.updates.state_statistics import figures as figures_of
from scalecheck.updates.training import FROZEN, NOT_TRAINED, Training, Trainings
from scalecheck.updates.unnamed_states import UnnamedStates

BEFORE_FIRST = "before the first step"
"""Of a half of an adapter that starts at zero, and is."""

WITHOUT_RATIO = ("zero-init", BEFORE_FIRST, "not finite", "empty")
"""Why an update is no share of a tensor."""
OWN, BUFFER, SHAPE, THEORY = "measured", "buffer", "states of its shape", "theory"
"""What the next steps are forecast by."""

NO_LR = "no lr is given; pass --lr"


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorForecast(TensorStats, ScheduleForecast, PrecisionForecast):
    """One step of a tensor, with an attribute for each field of a translation's row.

    trained_in: the type that it is trained in. update_rms: RMS of Δw/lr by the state, None where
    none measured it; update_rms_expected: by theory, at expected_step (None: the steady state),
    which expected_step_by says; update_rms_next: what the next steps are expected to have, by what
    next_by says. absolute_update: RMS of Δw, by update_rms where `measured`, else by
    update_rms_next; None where `reason` says why. unit_update: the same at an lr of 1, which may be
    known where the lr is not. relative_update: that over the rms of the weights; None of a tensor
    that is not finite or all zero. nominal_relative_update: lr/rms. rare_row_update: relative
    displacement of an embedding's row by one gradient after none for long. decay_pull:
    lr·weight_decay. assumed_rms: by an initialization; assumed_ratio: rms over that;
    assumed_relative_update: the one believed in then. to_update: RMS of Δw at lr 1 of another
    optimizer, None where to_reason says why. is_certain: False where it is not known how, or
    whether, it is trained. From `step` to `m_not_finite`: the figures of its optimizer state, None
    without one. state_reason: why the state does not tell the last update, where an expected one
    stands in; is_coded: it keeps codes of a few bits. placements: where its updates lie among
    published ones, that of a step first.
    """

    training: Training
    bands: Bands = field(repr=False)
    trained_in: str
    update_rms: float | None
    update_rms_expected: float | None
    measured: bool
    absolute_update: float | None
    unit_update: float | None
    relative_update: float | None
    nominal_relative_update: float | None
    rare_row_update: float | None
    decay_pull: float | None
    reason: str | None
    is_certain: bool = True
    has_state: bool = False
    expected_step: int | None = None
    expected_step_by: str | None = None
    update_rms_next: float | None = None
    next_by: str | None = None
    assumed_rms: float | None = None
    assumed_ratio: float | None = None
    assumed_relative_update: float | None = None
    to_update: float | None = None
    to_reason: str = ""
    step: int | None = None
    grad_rms: float | None = None
    snr: float | None = None
    at_noise_floor: bool | None = None
    eps_share: float | None = None
    eps_near_share: float | None = None
    v_zeros: int | None = None
    v_not_finite: int | None = None
    m_not_finite: int | None = None
    is_coded: bool = False
    state_reason: str | None = None
    placements: Sequence[Placement] = ()

    @property
    def lr(self) -> float | None:
        """None where it is not known."""
        return self.training.lr if self.training.is_lr_known else None

    @property
    def weight_decay(self) -> float | None:
        """None where it is not known."""
        return self.training.weight_decay if self.training.is_decay_known else None

    @property
    def trained(self) -> Sequence["TensorForecast"]:
        """The forecasts of the tensors whose lr moves it: its own."""
        return (self,)

    @property
    def has_size(self) -> bool:
        """An update can be a share of it."""
        return self.is_finite and bool(self.rms)

    @property
    def is_on_base(self) -> bool:
        """It is of a matrix of the base that an adapter adds to."""
        return False

    @property
    def has_band(self) -> bool:
        """The bands are about it: a matrix, and no half of a product."""
        return self.is_matrix and self.role not in HALVES

    @property
    def band(self) -> str | None:
        """Its band, or why it has none; None too for what the bands are not about."""
        if not self.is_finite:
            return "not finite" if self.numel else "empty"
        if self.rms == 0:
            return BEFORE_FIRST if _is_at_start(self) else "zero-init"
        if self.relative_update is None or not self.has_band:
            return None
        return self.bands.of(self.relative_update)


@dataclass(frozen=True)
class Forecaster:
    """Makes the forecast of each tensor by settings that are the same for all.

    step: the one to forecast, or STEADY; None for the state's, or one that a run reaches.
    param_dtype: the type that weights are trained in, None for the stored one. other: the optimizer
    to give an lr for. cast: the type of the precision ledger.
    """

    trainings: Trainings
    states: States
    gradient: Gradient
    step: int | str | None = None
    plan: Schedule | None = None
    param_dtype: str | None = None
    bands: Bands = field(default_factory=Bands)
    other: Hyperparameters | None = None
    assumption: Assumption | None = None
    cast: str | None = None

    @cached_property
    def unnamed(self) -> UnnamedStates:
        """The states that are not certain to be a tensor's."""
        return UnnamedStates(self.trainings, self.states)

    def of(self, stats: TensorStats, sketch: Sketch) -> TensorForecast:
        """A tensor's, from its statistics and the sketch of its elements."""
        training = self.trainings.of(stats.name, self.states.settings(stats.name, stats.shape))
        optimizer, lr, rms = training.optimizer, training.lr, stats.rms or 0.0
        state = self.states.by_name.get(stats.name)
        weights = self.states.tensors.get(stats.name)
        # What an lr is relative to: the weights themselves, or 1.
        unit, own = (rms, 1.0) if optimizer.relative_lr else (1.0, rms)
        stored = weights.dtype.name if weights else stats.dtype
        trained_in = self.param_dtype or stored
        is_scaled = type(optimizer).last_update_rms is not Hyperparameters.last_update_rms
        counted = counters(trained_in, self.cast, stored, lr * unit, is_scaled)
        saved = None if state is None else figures_of(state, optimizer, lr, weights, counted)
        further: dict[str, Any] = {} if saved is None else {**vars(saved)}
        measured, near = further.pop("update_rms", None), further.pop("update_rms_near", None)
        untold = further.pop("reason", None) or self.states.not_named(stats.name)
        gradient = self.gradient
        if gradient.rms is None and saved is not None and saved.grad_rms:
            gradient = replace(gradient, rms=saved.grad_rms)
        saved_step = None if saved is None else saved.step
        step, step_by = meant = self._expected_step(optimizer, lr, stats, gradient, saved_step)
        doubt = self._doubt(stats.name, training)
        if doubt is None:
            expected, reason = expected_update(optimizer, rms, stats.shape, gradient, step)
        else:
            expected, reason = None, doubt
        if expected is None and doubt is None and untold and state is not None and state.tensors:
            reason = untold
        update, by = expected, THEORY
        if measured is not None:
            update, by = measured, OWN
        elif near is not None:
            update, by = near, BUFFER
        elif state is None and doubt is None and self.step is None:
            of_shape = self.unnamed.update_rms(stats.shape)
            update, by = (expected, THEORY) if of_shape is None else (of_shape, SHAPE)
        absolute = relative = None
        if update is not None and not training.has_lr:
            reason = NO_LR
        elif update is not None and not training.is_lr_known:
            reason = "its lr is not known, as its group is not"
        elif update is not None:
            moved = optimizer.effective_lr(lr, step) * update
            absolute, relative = moved * unit, moved / own if rms else None
        is_first = self.step == 1 and math.isclose(update or 0.0, 1.0)
        is_certain = doubt is None and "lr" not in training.uncertain
        is_told = is_certain and training.has_lr
        is_trained = self.states.not_certain(stats.name) is None
        if self.plan is not None and is_told:
            plan = meant.starting(self.plan, bool(untold or state))
            told = update if by != THEORY and step_by != ASKED else None
            further |= vars(schedule_forecast(training, rms, stats.shape, plan, gradient, told))
        if self.assumption is not None:
            further |= self.assumption.of(stats, relative)
        if self.other is not None:
            to_step, _ = self._expected_step(self.other, lr, stats, gradient, saved_step)
            other, why = expected_update(self.other, rms, stats.shape, gradient, to_step)
            if other is not None:
                other *= self.other.effective_lr(1.0, to_step)
                other *= rms if self.other.relative_lr else 1.0
            further |= {"to_update": other, "to_reason": why}
        is_equal = optimizer.equal_updates or is_first
        is_counted = by in (OWN, BUFFER)
        moves = moves_of(counted, sketch, stats.dtype, absolute, is_equal, is_counted)
        decay = training.decay_pull if is_trained and training.is_decay_decoupled else None
        shares = precision_forecast(moves, trained_in, self.cast, lr, decay, sketch, stats.dtype)
        further |= vars(shares)
        has_nominal = stats.is_finite and training.is_known and own and is_told
        return TensorForecast(
            **stats.fields(),
            **further,
            training=training,
            has_state=saved is not None,
            bands=self.bands,
            trained_in=trained_in,
            update_rms=measured,
            update_rms_expected=expected,
            expected_step=step,
            expected_step_by=None if expected is None else step_by,
            update_rms_next=update,
            next_by=None if update is None else by,
            measured=measured is not None,
            absolute_update=absolute,
            unit_update=None if update is None else update * unit,
            relative_update=relative if stats.is_finite else None,
            nominal_relative_update=lr / own if has_nominal else None,
            rare_row_update=_rare_row_update(stats, training, state) if is_told else None,
            decay_pull=training.decay_pull if is_trained else None,
            reason=None if absolute is not None else reason or None,
            is_certain=is_certain,
            state_reason=(untold if measured is None and update is not None else "") or None,
        )

    def _expected_step(
        self,
        optimizer: Hyperparameters,
        lr: float,
        stats: TensorStats,
        gradient: Gradient,
        saved: int | None,
    ) -> ExpectedStep:
        """The step that an expected update is of: the one asked for, that of the tensor's state,
        the first of what has not moved yet, that of the other states, or else as unless_settled
        has it."""
        if self.step is not None:
            return ExpectedStep(None if isinstance(self.step, str) else self.step, ASKED)
        if saved:
            return ExpectedStep(saved, STATE)
        if _is_at_start(stats):
            return ExpectedStep(1, FIRST)
        if self.states.step:
            return ExpectedStep(self.states.step, STATE)
        run = None if self.plan is None else self.plan.steps
        rms = stats.rms or 0.0
        return unless_settled(optimizer, lr, rms, stats.shape, gradient, run)

    def _doubt(self, name: str, training: Training) -> str | None:
        """Why it is not certain how, or whether, a tensor is trained; None where it is."""
        if (why := self.states.not_certain(name)) is not None:
            return why
        setting = training.in_doubt
        return None if setting is None else f"its {setting} is not known, as its group is not"


def _is_at_start(stats: TensorStats) -> bool:
    """Whether it is the half of an adapter that starts at zero, before its first step."""
    return stats.role in HALVES and 0 < stats.numel == stats.zeros


def _rare_row_update(
    stats: TensorStats, training: Training, state: ParamState | None
) -> float | None:
    """Relative displacement of an embedding's row by one gradient after none for long: of a rare
    row by its own v where the state has it, else of one whose v is 0."""
    if stats.role != "embedding" or not stats.rms or not stats.is_finite:
        return None
    try:
        displacement = training.optimizer.isolated_gradient_displacement()
    except REFUSALS:
        return None
    left = share_left(state, training.optimizer)
    return training.lr * displacement * (1.0 if left is None else left) / stats.rms


def require_updates(
    forecasts: Sequence[TensorForecast],
    left_out: Collection[str],
    settings: Settings,
    by_state: bool,
) -> None:
    """Raises UsageError where nothing is trained, or the optimizer that was asked for has no size
    of an update; left_out: why tensors are not trained, by_state: a state says the optimizer."""
    to = settings.to
    if not forecasts:
        reasons = [*dict.fromkeys(left_out)]
        words = f"no optimizer trains any of the {len(left_out)} tensors: {listed(reasons)}"
        is_by_state = any(why.endswith(NOT_TRAINED) and why != FROZEN for why in reasons)
        raise UsageError(words + ("; --state none forecasts all" if is_by_state else ""))
    sized = [each for each in forecasts if each.has_size]
    is_refused = [
        e.training.is_known and e.unit_update is None and not e.has_state
        for e in sized
        if e.is_certain
    ]
    is_asked = settings.optimizer is not None or not by_state
    is_asked &= not settings.suggest  # published lrs need no size of an update
    if is_asked and sized and len(is_refused) == len(sized) and all(is_refused):
        raise UsageError(f"--optimizer {sized[0].training.name}: {sized[0].reason}")
    if to is not None and all(each.to_update is None for each in forecasts):
        raise UsageError(f"--to {to}: {forecasts[0].to_reason}")


def different_lrs(forecasts: Sequence[TensorForecast]) -> list[float]:
    """Each lr that is known of them, once."""
    known = [each.lr for each in forecasts if each.lr is not None]
    return [*{text_key(lr): lr for lr in known}.values()]
