"""The line of a translation that says who trains the checkpoint, how, and where that was found."""

from collections.abc import Sequence

from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.dtypes import DTYPES
from scalecheck.report.formatting import printable, rate
from scalecheck.settings import DEFAULT, GIVEN, Settings
from scalecheck.updates.precision import spoken
from scalecheck.updates.saved_state import States
from scalecheck.updates.tensor_forecast import TensorForecast, different_lrs
from scalecheck.updates.training import Training

Forecasts = Sequence[TensorForecast]


def headline(
    checkpoint: Checkpoint, forecasts: Forecasts, states: States, settings: Settings
) -> str:
    """tiny-gpt.pt: AdamW (optimizer state), lr 1e-3 (--lr), fp32 (stored type), step 1,499 (state):
    who trains the checkpoint, and where that was found."""
    parts = [
        _optimizers(checkpoint, forecasts, states, settings),
        _lrs(forecasts, states, settings),
        _types(checkpoint, forecasts, settings),
        _step(forecasts, settings),
    ]
    path = "--shape" if settings.shape else printable(str(checkpoint.path))
    return f"{path}: {', '.join(filter(None, parts))}"


def _optimizers(
    checkpoint: Checkpoint, forecasts: Forecasts, states: States, settings: Settings
) -> str:
    names = sorted({spoken_optimizer(each.training) for each in forecasts})
    own = _state_words(checkpoint, states)
    source = given_by(settings, "optimizer") or own or "default"
    return f"{' and '.join(names)} ({source})"


def _state_words(checkpoint: Checkpoint, states: States) -> str:
    """The state that was read; empty for none."""
    if states.path is None:
        return ""
    if states.in_memory:
        return "optimizer in memory"
    if states.path == checkpoint.path:
        return "optimizer state"
    return f"optimizer state {printable(str(states.path))}"


def _lrs(forecasts: Forecasts, states: States, settings: Settings) -> str:
    if not any(each.training.has_lr for each in forecasts):
        return "no lr given"
    lrs = sorted(different_lrs(forecasts))
    if not lrs:
        return "lr not known"
    span = f"lr {rate(lrs[0])}" + (f" to {rate(lrs[-1])}" if len(lrs) > 1 else "")
    own = "" if states.path is None else "state"
    given = [given_by(settings, name) for name in ("lr", "group")]
    sources = [*filter(None, given)] or [own or "default"]
    return f"{span} ({' and '.join(sources)})"


def _types(checkpoint: Checkpoint, forecasts: Forecasts, settings: Settings) -> str:
    """The types that weights are trained in; empty where none is known."""
    types = sorted({each.trained_in for each in forecasts} & DTYPES.keys())
    has_masters = any(each.name in checkpoint.masters for each in forecasts)
    stored = "master weights" if has_masters else "stored type"
    words = " and ".join(map(spoken, types))
    return f"{words} ({given_by(settings, 'param_dtype') or stored})" if types else ""


def _step(forecasts: Forecasts, settings: Settings) -> str:
    """The step that updates are of, where all are of one, or from the first to the last."""
    if settings.step is not None:
        at = f"step {settings.step:,}" if isinstance(settings.step, int) else "steady state"
        return f"{at} ({given_by(settings, 'step')})"
    steps = sorted({each.step for each in forecasts if each.step is not None})
    if not steps:
        return ""
    span = f"step {steps[0]:,}" if len(steps) == 1 else f"steps {steps[0]:,} to {steps[-1]:,}"
    return f"{span} (state)"


def given_by(settings: Settings, name: str) -> str:
    """The option that was given, or the file that sets it; empty for neither."""
    source = settings.sources.get(name, DEFAULT)
    if source == DEFAULT or not getattr(settings, name):
        return ""
    flag = f"--{name.replace('_', '-')}"
    return flag if GIVEN in source else printable(source)


def spoken_optimizer(training: Training) -> str:
    """What people call the optimizer: AdamW."""
    return getattr(training.optimizer, "torch_class", "") or training.name
