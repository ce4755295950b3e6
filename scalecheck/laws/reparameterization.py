"""The law of reparameterization: y = f(w·x) and y = f((w'/k)·x) with w' = k·w stay the same
function under the real optimizer at lr' = k^p·lr, eps and decay co-scaled; at another p they do
not."""

import math
from collections.abc import Iterator

from scalecheck.laws.replay.claim import NO_REASON, Claim, claims_table
from scalecheck.laws.replay.experiment import Experiment
from scalecheck.laws.replay.gradients import CLIP_EPS, deviation
from scalecheck.laws.replay.lanes import Replayed
from scalecheck.laws.replay.rescaled_network import Training, suitable_lr, train
from scalecheck.report.formatting import setting
from scalecheck.report.report import Table

LAW = "reparameterization"
ORDER = 4
CLIPPED = 1e-4  # precision with clipping: torch adds 1e-6 to the norm, which does not scale
_POWERLESS = "k is too near 1, or the training too slow, to tell p from another"
APART = 0.01  # how far apart another p must take the functions, for a k of e and more


def tables(experiment: Experiment, run: Replayed) -> Iterator[Table]:
    """The law at p, and at p ± 1 to show that the test can fail."""
    title = "4  Reparameterization: y = f(w·x) and y = f((w'/k)·x) trained alike, w' = k·w"
    if experiment.law is None:
        yield claims_table([], title, [f"no law: {experiment.refusal}"])
        return
    names = [f"{name}' = {_scaled(name, power)}" for name, power in _coscaled(experiment)]
    note = "in float64, lr' = k^p·lr" + "".join(f", {name}" for name in names)
    yield claims_table([*claims(experiment)], title, [note])


def claims(experiment: Experiment) -> list[Claim]:
    """At p the deviation is rounding; at p ± 1 it is not. Of an optimizer with such a law."""
    law = experiment.law
    assert law is not None
    lr = suitable_lr(experiment.optimizer, experiment.clip, experiment.seed)
    base = _trained(experiment, 1.0, lr)
    precision = experiment.optimizer.precision
    if experiment.clip is not None:
        precision = max(precision, CLIPPED)
    found = []
    for off in (0, -1, 1):
        p = law.lr_exponent + off
        twin = _trained(experiment, experiment.k, lr * experiment.k**p)
        found.append(
            Claim(
                LAW,
                f"at p = {p} the outputs " + ("differ" if off else "are the same"),
                experiment.name,
                experiment.k,
                _deviation(twin, base),
                max(APART * min(1.0, abs(math.log(experiment.k))), 5 * precision) if off else 0.0,
                None if off else precision,
                reason=_POWERLESS if off else _reason(experiment),
            )
        )
    return found


def _reason(experiment: Experiment) -> str:
    """What in the settings does not follow k."""
    if eps1 := getattr(experiment.optimizer, "eps1", None):
        return f"eps1 {setting(eps1)} bounds squared gradients and does not follow k"
    if experiment.clip is not None:
        clip = setting(experiment.clip / experiment.k)
        return f"torch adds {CLIP_EPS:g} to a norm that it clips to clip/k = {clip}"
    return NO_REASON


def _trained(experiment: Experiment, k: float, lr: float) -> Training:
    clip = None if experiment.clip is None else experiment.clip / k
    return train(experiment.optimizer.rescaled(k), lr, k, clip, experiment.seed)


def _deviation(twin: Training, base: Training) -> float:
    """The largest over the steps, relative to the outputs' RMS."""
    steps = [deviation(a, b) for a, b in zip(twin.outputs, base.outputs, strict=True)]
    return math.inf if any(map(math.isnan, steps)) else max(steps)


def _coscaled(experiment: Experiment) -> Iterator[tuple[str, int]]:
    assert experiment.law is not None
    for name, power in experiment.law.exponents.items():
        if getattr(experiment.optimizer, name):
            yield name, power
    if experiment.clip is not None:
        yield "clip", -1


def _scaled(name: str, power: int) -> str:
    """A power of k times a setting: k·eps2, eps/k, weight_decay/k^2."""
    size = "k" if abs(power) == 1 else f"k^{abs(power)}"
    return f"{size}·{name}" if power > 0 else f"{name}/{size}"
