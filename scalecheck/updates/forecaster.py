"""What is the same for all tensors of a translation: it makes the line of each."""

import math
from dataclasses import dataclass, replace
from typing import Any

from scalecheck.checkpoint.optimizer_state import ParamState
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.measure.sketch import Sketch
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.optimizers.contract import REFUSALS, Gradient, Hyperparameters
from scalecheck.theory.schedule import Schedule
from scalecheck.updates.assumed import Assumption, assumed_scale
from scalecheck.updates.columns import SAVED
from scalecheck.updates.forecast import Forecast, forecast
from scalecheck.updates.precision import stalled
from scalecheck.updates.saved_state import States
from scalecheck.updates.schedule_forecast import schedule_fields
from scalecheck.updates.state_statistics import StateStatistics
from scalecheck.updates.state_statistics import figures as figures_of
from scalecheck.updates.tensor_forecast import TensorForecast
from scalecheck.updates.training import Training, Trainings


@dataclass(frozen=True)
class Forecaster:
    """The settings of a translation.

    step: None for the state's, or the late one. dtype: the type that weights are trained in, None
    for the stored one. other: the optimizer to give an lr for.
    """

    trainings: Trainings
    states: States
    gradient: Gradient
    step: int | None
    plan: Schedule | None
    dtype: str | None
    other: Hyperparameters | None
    assumption: Assumption | None

    def assumed(self, tensor: Tensor) -> TensorStats:
        """The scale of a tensor that does not exist yet."""
        assert self.assumption is not None
        return assumed_scale(tensor.name, tensor.shape, self.assumption)

    def line(self, scale: TensorStats, sketch: Sketch) -> TensorForecast:
        """A tensor's, from its scale and the sketch of its elements."""
        training = self.trainings.of(scale.name, self.states.settings(scale.name, scale.shape))
        state = self.states.by_name.get(scale.name)
        saved = None if state is None else figures_of(state, training.optimizer)
        gradient, known = self._gradient(saved)
        step = self.step if self.step is not None or saved is None else saved.step or None
        rms = scale.rms or 0.0
        expected = forecast(training.optimizer, training.lr, rms, scale.shape, gradient, step)
        measured = None
        if saved is not None and saved.update_rms is not None:
            measured = replace(expected, update_rms=saved.update_rms, reason="")
        more = _state_fields(saved, self.states.path is not None)
        if self.plan is not None:
            more |= schedule_fields(training, rms, self.plan, gradient, known)
        if self.other is not None:
            other = forecast(self.other, 1.0, rms, scale.shape, gradient, step)
            more |= {"to_update": other.absolute_update, "to_reason": other.reason}
        if self.assumption is not None:
            more |= self.assumption.fields(scale, (measured or expected).relative_update)
        return TensorForecast(
            scale,
            training,
            expected,
            measured,
            self._stalled(scale, sketch, training, measured or expected),
            training.decay_pull,
            _rare_row(scale, training),
            more,
        )

    def unnamed(self, state: ParamState) -> dict[str, Any]:
        """The row of a state that is not certain to be a tensor's."""
        settings = self.states.of_group(state)
        training = self.trainings.of("", settings)
        saved = figures_of(state, training.optimizer)
        return {
            "name": state.label,
            "shape": None if state.shape is None else list(state.shape),
            "lr": training.lr,
            "weight_decay": training.weight_decay,
            "update_rms": saved.update_rms,
            **_state_fields(saved, True),
        }

    def _gradient(self, saved: StateStatistics | None) -> tuple[Gradient, bool]:
        """The law of its gradients, and whether their RMS is known."""
        if self.gradient.rms is not None:
            return self.gradient, True
        if saved is not None and saved.grad_rms:
            return replace(self.gradient, rms=saved.grad_rms), True
        return self.gradient, False

    def _stalled(
        self, scale: TensorStats, sketch: Sketch, training: Training, update: Forecast
    ) -> float | None:
        is_first = self.step == 1 and math.isclose(update.update_rms or 0.0, 1.0)
        equal = training.optimizer.equal_updates or is_first
        return stalled(sketch, self.dtype or scale.dtype, update.absolute_update, equal)


def untrained(tensor: Tensor, checkpoint: Checkpoint, states: States) -> str | None:
    """Why an optimizer does not train the tensor, or it cannot be measured."""
    if tensor.unmeasured is not None:
        return tensor.unmeasured
    if tensor.name in checkpoint.non_model:
        return "beside the model"
    if tensor.tied_to is not None:
        return f"tied to {tensor.tied_to}"
    if tensor.role == "buffer":
        return "a buffer"
    if states.is_absent(tensor.name, tensor.shape):
        return "in no group of the optimizer state; --state none for all"
    return None


def _rare_row(scale: TensorStats, training: Training) -> float | None:
    """Relative displacement of an embedding's row by one gradient after none for long."""
    if scale.role != "embedding" or not scale.rms:
        return None
    try:
        return training.lr * training.optimizer.isolated_gradient_displacement() / scale.rms
    except REFUSALS:
        return None


def _state_fields(saved: StateStatistics | None, wanted: bool) -> dict[str, Any]:
    """The fields of SAVED."""
    if not wanted:
        return {}
    return {column.name: getattr(saved, column.name, None) for column in SAVED}
