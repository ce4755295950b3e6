"""A small network and its twin with weights k times larger that are divided by k in the forward
pass: at the right lr and co-scaling the real optimizer makes them the same function."""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalecheck.optimizers.contract import Gradient, Hyperparameters, NoFormula, Weights
from scalecheck.optimizers.sgd import Optimizer as Sgd

FloatArray = NDArray[np.float64]

SIZES = (12, 16, 6)
STEPS = 60
BATCH = 8
TEST_INPUTS = 20
RELATIVE_UPDATE = 0.01  # a step: trains in 60 steps, and does not diverge
TYPICAL_STEP = 10  # at which the lr is to give that


@dataclass(frozen=True)
class Training:
    """One run: the network's outputs on the test inputs, (steps, TEST_INPUTS, SIZES[2]), and the
    RMS and the norm of its gradients, (steps,)."""

    outputs: FloatArray
    grad_rms: FloatArray
    grad_norms: FloatArray


def train(
    optimizer: Hyperparameters,
    lr: float,
    k: float = 1.0,
    clip: float | None = None,
    seed: int = 0,
    steps: int = STEPS,
) -> Training:
    """Trains tanh(x·(w1/k)ᵀ)·(w2/k)ᵀ in float64 on minibatches of random targets, from weights k
    times those that the seed gives. clip is the norm that gradients are clipped to, by
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
    norms = np.sqrt(squares)
    return Training(np.stack(outputs), norms / sum(w.numel() for w in weights) ** 0.5, norms)


def suitable_lr(optimizer: Hyperparameters, clip: float | None = None, seed: int = 0) -> float:
    """The lr that by theory changes the network's weights by RELATIVE_UPDATE a step at the
    gradients it starts with, clipped; where theory has no update RMS, as if that were 1."""
    inside, hidden, outside = SIZES
    rms = ((hidden + outside) / (hidden * (inside + outside))) ** 0.5
    weights = Weights((hidden, inside), rms)
    start = train(Sgd(), 0.0, seed=seed, steps=1)
    kept = 1.0 if clip is None else min(1.0, clip / float(start.grad_norms[0]))
    gradient = Gradient(rms=kept * float(start.grad_rms[0]))
    u = 1.0
    for step in (1, TYPICAL_STEP):
        with suppress(NoFormula, ValueError):
            u = optimizer.update_rms(gradient, step, weights)
    return RELATIVE_UPDATE * (1.0 if optimizer.relative_lr else rms) / u
