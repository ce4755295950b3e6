"""What an lr does to each tensor that is checked, and why that is not known of some or of all."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scalecheck.checkpoint.optimizer_state import ParamState
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.errors import UsageError
from scalecheck.measure.sketch import Sketch
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.optimizers.contract import Gradient
from scalecheck.rules.contract import NEEDS
from scalecheck.settings import Settings
from scalecheck.updates.forecast import planned
from scalecheck.updates.saved_state import States
from scalecheck.updates.state_statistics import figures
from scalecheck.updates.tensor_forecast import Forecaster, TensorForecast
from scalecheck.updates.training import Trainings, param_dtype
from scalecheck.updates.without_formula import WithoutFormula

if TYPE_CHECKING:
    from scalecheck.measure.adapted import AskedAdapters
    from scalecheck.updates.adapted import AdapterForecasts


class Forecasts:
    """The forecast of each tensor, and why there is none.

    no_lr: why no tensor has one. no_optimizer: why a state has no figures. Raises UsageError for
    settings that were given and do not fit.
    """

    def __init__(
        self, settings: Settings, states: States, names: Sequence[str], trained: Sequence[Tensor]
    ) -> None:
        self._states = states
        self.notes: list[str] = []
        done = [one.step for one in states.by_name.values() if one.step]
        is_going_on = settings.schedule == "constant" and bool(done)
        lr, plan = settings.lr, planned(settings, int(max(done)) if is_going_on else None)
        dtype = param_dtype(settings.param_dtype)
        trainings = Trainings.asked(settings)
        trainings.check(names)
        has_lr = lr is not None or any("lr" in group.settings for group in trainings.groups)
        self.no_lr = "" if has_lr or states.path else NEEDS["lr"]
        self.no_optimizer = NEEDS["optimizer"] if states.path is None else ""
        self._without_lr: dict[str, str] = {}
        self._forecaster: Forecaster | None = None
        self._eps_shares: dict[str | None, float | None] = {}  # of the states that were read
        # What a state says beside its lr takes an optimizer, and any lr.
        stand_in = trainings if lr is not None else Trainings.asked(settings, 1.0)
        is_asked = lr is not None or settings.optimizer is not None
        unfit = _problems(stand_in, states, trained) if is_asked or not self.no_lr else {}
        if is_asked and unfit:
            raise UsageError(next(iter(unfit.values())))
        if self.no_lr:
            return
        unknown = _unknown(stand_in, states, trained) if not unfit else {}
        if unfit or unknown.keys() >= {label for label, *_ in _asked(states, trained)}:
            problem = next(iter({**unfit, **unknown}.values()), "")
            self.no_optimizer = self.no_lr = problem
            return
        self.notes += [
            f"no update is judged of {count} tensors: {why}"
            for why, count in Counter(unknown.values()).items()
        ]
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
        self._forecaster = Forecaster(trainings, states, gradient, settings.step, plan, dtype)
        self._stand_in = stand_in

    def of(self, stats: TensorStats, sketch: Sketch) -> TensorForecast | None:
        """A tensor's; None where its lr is not known."""
        if self._forecaster is None or stats.name in self._without_lr:
            return None
        forecast = self._forecaster.of(stats, sketch)
        self._eps_shares[stats.name] = forecast.eps_share
        return forecast

    def adapted(
        self, asked: "AskedAdapters", forecasts: Sequence[TensorForecast]
    ) -> "AdapterForecasts | None":
        """Those of the matrices that adapters add to; None where no update is known."""
        if self._forecaster is None or not asked.matrices:
            return None
        from scalecheck.updates.adapted import adapter_forecasts

        return adapter_forecasts(asked, self._forecaster, forecasts)

    def figures(self, state: ParamState) -> tuple[float | None, float | None]:
        """The share of a state's elements with √v̂ below eps, and beta2; None where not known."""
        if self._forecaster is None:
            return None, None
        training = self._stand_in.of(state.name or "", self._states.of_group(state))
        optimizer = training.optimizer
        beta2 = optimizer.second_moment_factor or None
        if state.name in self._eps_shares:
            return self._eps_shares[state.name], beta2
        return figures(state, optimizer).eps_share, beta2


def _problems(trainings: Trainings, states: States, tensors: Sequence[Tensor]) -> dict[str, str]:
    """Why tensors, by their names, and the states of no certain one, have no training."""
    problems = {}
    for label, name, settings in _asked(states, tensors):
        try:
            trainings.of(name, settings)
        except UsageError as error:
            problems[label] = str(error)
    return problems


def _unknown(trainings: Trainings, states: States, tensors: Sequence[Tensor]) -> dict[str, str]:
    """Why optimizers of tensors, and of the states of no certain one, have no formula here."""
    found = ((label, trainings.of(name, saved)) for label, name, saved in _asked(states, tensors))
    return {
        label: training.optimizer.why
        for label, training in found
        if isinstance(training.optimizer, WithoutFormula)
    }


def _asked(
    states: States, tensors: Sequence[Tensor]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """The label, name and saved settings of tensors, and of the states of no certain one."""
    for tensor in tensors:
        yield tensor.name, tensor.name, states.settings(tensor.name, tensor.shape)
    for one in states.unnamed:
        yield one.label, "", states.of_group(one)
