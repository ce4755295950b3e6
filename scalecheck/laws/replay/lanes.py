"""One pass over the gradients under several lanes: what the laws of gradient scale and of update
size are judged by."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalecheck.laws.replay.experiment import Experiment, HeldReplay
from scalecheck.laws.replay.gradients import Stream, deviation, rms
from scalecheck.optimizers.sgd import Optimizer as Sgd
from scalecheck.theory.noise import Gaussian

FloatArray = NDArray[np.float64]

LIMIT_STEPS = 200  # by which an update has its late size, and the contrast with SGD is seen


@dataclass(frozen=True)
class Size:
    """RMS of the updates of one step, and the standard error of it over the elements, relative."""

    step: int
    rms: float
    error: float

    @classmethod
    def of(cls, step: int, update: FloatArray) -> "Size":
        """The size of the updates of one step."""
        size = rms(update)
        if not 0 < size < math.inf:
            return cls(step, size, 0.0)
        fourth = float(np.mean((update / size) ** 4))
        return cls(step, size, math.sqrt(max(fourth - 1, 0.0) / (4 * update.size)))


@dataclass(frozen=True)
class Replayed:
    """What one pass gave.

    sizes: updates of the gradients g, at the steps of `reported`. noise, constant, unaveraged: the
    update at step LIMIT_STEPS, or the last before it, of noise without a mean, of a constant
    gradient, and of that noise at beta1 = 0.
    in_proportion, alike: largest deviation of the updates of k·g from k^degree and from 1 times
    those of g; sgd_alike: the same of SGD, where k^degree is 1.
    """

    sizes: tuple[Size, ...]
    noise: Size
    constant: Size
    unaveraged: Size | None
    in_proportion: float | None
    alike: float
    sgd_alike: float


def reported(steps: int) -> list[int]:
    """1, 2, 5, 10, 20, 50, … and the last."""
    series = (m * 10**power for power in range(len(str(steps))) for m in (1, 2, 5))
    return sorted({*(step for step in series if step < steps), steps})


def replayed(experiment: Experiment) -> Replayed:
    """Runs the experiment's gradients through all lanes, a step at a time."""
    base, scaled = HeldReplay(experiment), HeldReplay(experiment, experiment.k)
    contrast = (
        [HeldReplay(experiment, k, Sgd()) for k in (1.0, experiment.k)]
        if experiment.degree == 0
        else []
    )
    constant = HeldReplay(experiment)
    noise = None if _is_noise(experiment) else HeldReplay(experiment)
    without = experiment.unaveraged
    unaveraged = HeldReplay(experiment, optimizer=without) if without else None
    factor = None if experiment.degree is None else experiment.k**experiment.degree
    wanted = frozenset(reported(experiment.steps))
    ones = np.ones(experiment.shape)

    sizes = []
    in_proportion = alike = sgd_alike = 0.0
    last: dict[str, FloatArray] = {}
    limit = min(experiment.steps, LIMIT_STEPS)
    for step, (gradient, other) in enumerate(_gradients(experiment, noise is not None), 1):
        update, larger = base.update(gradient), scaled.update(gradient)
        alike = _worse(alike, deviation(larger, update))
        if factor is not None:
            in_proportion = _worse(in_proportion, deviation(larger, factor * update))
        if step in wanted:
            sizes.append(Size.of(step, update))
        if step <= limit:
            if contrast:
                small, large = (lane.update(gradient) for lane in contrast)
                sgd_alike = _worse(sgd_alike, deviation(large, small))
            last["constant"] = constant.update(ones)
            last["noise"] = noise.update(other) if noise else update
            if unaveraged:
                last["unaveraged"] = unaveraged.update(other)
        experiment.tick()
    ends = {name: Size.of(limit, update) for name, update in last.items()}
    return Replayed(
        sizes=tuple(sizes),
        noise=ends["noise"],
        constant=ends["constant"],
        unaveraged=ends.get("unaveraged"),
        in_proportion=None if factor is None else in_proportion,
        alike=alike,
        sgd_alike=sgd_alike,
    )


def _gradients(experiment: Experiment, apart: bool) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Of each step the experiment's gradient and one of noise, the same where not apart."""
    stream = experiment.stream()
    if not apart:
        return ((gradient, gradient) for gradient in stream)
    noise = Stream(Gaussian(), 0.0, experiment.shape, experiment.seed)
    return zip(stream, noise.gradients(experiment.steps), strict=True)


def _is_noise(experiment: Experiment) -> bool:
    return isinstance(experiment.noise, Gaussian) and experiment.snr == 0


def _worse(most: float, found: float) -> float:
    """The larger of two deviations; NaN, as of updates that are not finite, is beyond all."""
    return math.inf if math.isnan(found) else max(most, found)
