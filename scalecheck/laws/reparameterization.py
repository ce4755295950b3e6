"""The law of reparameterization: y = f(w·x) and y = f((w'/k)·x) with w' = k·w stay the same
function under the real optimizer at lr' = k^p·lr, eps and decay co-scaled; at another p they do
not."""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from scalecheck.laws.replay.claim import NO_REASON, Claim, claims_table
from scalecheck.laws.replay.experiment import Experiment
from scalecheck.laws.replay.gradients import CLIP_EPS, deviation
from scalecheck.laws.replay.replay import Replayed
from scalecheck.optimizers.contract import Gradient, Hyperparameters, NoFormula, Weights
from scalecheck.optimizers.sgd import Optimizer as Sgd
from scalecheck.report.formatting import setting
from scalecheck.report.report import Table

FloatArray = NDArray[np.float64]

LAW = "reparameterization"
ORDER = 4
CLIPPED = 1e-4  # precision with clipping: torch adds 1e-6 to the norm, which does not scale
SIZES = (12, 16, 6)  # of the network that is trained
STEPS = 60
BATCH = 8
TEST_INPUTS = 20
RELATIVE_UPDATE = 0.01  # a step: trains in 60 steps, and does not diverge
TYPICAL_STEP = 10  # at which the lr is to give that
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


def answer(experiment: Experiment, tables: Sequence[Table]) -> str:
    """Nothing more than the law of weight scale says."""
    return ""


def claims(experiment: Experiment) -> list[Claim]:
    """At p the deviation is rounding; at p ± 1 it is not. Of an optimizer with such a law."""
    law, optimizer = experiment.law, experiment.optimizer
    assert law is not None
    lr = suitable_lr(optimizer, experiment.clip, experiment.seed)

    def outputs(k: float, lr: float) -> FloatArray:
        clip = None if experiment.clip is None else experiment.clip / k
        return train(optimizer.rescaled(k), lr, k, clip, experiment.seed)[0]

    base = outputs(1.0, lr)
    precision = max(optimizer.precision, 0.0 if experiment.clip is None else CLIPPED)
    apart = max(APART * min(1.0, abs(math.log(experiment.k))), 5 * precision)
    found = []
    for off in (0, -1, 1):
        p = law.lr_exponent + off
        words = f"at p = {p} the outputs " + ("differ" if off else "are the same")
        steps = [*map(deviation, outputs(experiment.k, lr * experiment.k**p), base)]
        measured = math.inf if any(map(math.isnan, steps)) else max(steps)
        judged = (apart, None, _POWERLESS) if off else (0.0, precision, _reason(experiment))
        found.append(Claim.of(experiment, LAW, words, measured, *judged))
    return found


def _reason(experiment: Experiment) -> str:
    """What in the settings does not follow k."""
    if eps1 := getattr(experiment.optimizer, "eps1", None):
        return f"eps1 {setting(eps1)} bounds squared gradients and does not follow k"
    if experiment.clip is not None:
        clip = setting(experiment.clip / experiment.k)
        return f"torch adds {CLIP_EPS:g} to a norm that it clips to clip/k = {clip}"
    return NO_REASON


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


def train(
    optimizer: Hyperparameters,
    lr: float,
    k: float = 1.0,
    clip: float | None = None,
    seed: int = 0,
    steps: int = STEPS,
) -> tuple[FloatArray, float]:
    """Trains tanh(x·(w1/k)ᵀ)·(w2/k)ᵀ in float64 on minibatches of random targets, from weights k
    times those that the seed gives: its outputs on the test inputs, (steps, TEST_INPUTS, SIZES[2]),
    and the norm of its first gradient. clip is the norm that gradients are clipped to, by
    torch.nn.utils.clip_grad_norm_, which adds 1e-6 to the norm it divides by."""
    import torch

    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(shape))

    inside, hidden, outside = SIZES
    initial = (normal(hidden, inside) / inside**0.5, normal(outside, hidden) / hidden**0.5)
    tests = normal(TEST_INPUTS, inside)
    inputs, targets = normal(steps, BATCH, inside), normal(steps, BATCH, outside)
    weights = [(k * w).requires_grad_() for w in initial]
    running = optimizer.torch_optimizer(weights, lr)

    def forward(x: torch.Tensor) -> torch.Tensor:
        first, second = (w / k for w in weights)
        outputs: torch.Tensor = torch.tanh(x @ first.T) @ second.T
        return outputs

    outputs, squares = [], []
    for x, y in zip(inputs, targets, strict=True):
        running.zero_grad()
        torch.autograd.backward((forward(x) - y).square().mean())
        squares.append(sum(float(w.grad.square().sum()) for w in weights if w.grad is not None))
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(weights, clip)
        running.step()
        outputs.append(forward(tests).detach().numpy())
    return np.stack(outputs), math.sqrt(squares[0])


def suitable_lr(optimizer: Hyperparameters, clip: float | None = None, seed: int = 0) -> float:
    """The lr that by theory changes the network's weights by RELATIVE_UPDATE a step at the
    gradients it starts with, clipped; where theory has no update RMS, as if that were 1 at the
    lr that weight decay is of."""
    inside, hidden, outside = SIZES
    rms = ((hidden + outside) / (hidden * (inside + outside))) ** 0.5
    weights = Weights((hidden, inside), rms)
    _, norm = train(Sgd(), 0.0, seed=seed, steps=1)
    kept = 1.0 if clip is None else min(1.0, clip / norm)
    gradient = Gradient(rms=kept * (norm / (hidden * (inside + outside)) ** 0.5))
    u = optimizer.decay_scale
    for step in (1, TYPICAL_STEP):
        with suppress(NoFormula, ValueError):
            u = optimizer.update_rms(gradient, step, weights)
    return RELATIVE_UPDATE * (1.0 if optimizer.relative_lr else rms) / u
