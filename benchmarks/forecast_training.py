"""A network that is trained step by step, every update recorded in float64."""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from forecast_models import PROBLEMS
from forecast_optimizers import OPTIMIZERS, decay_of
from torch import Tensor

MOMENTS = (1 / 12, 1 / 4, 1 / 2, 5 / 6)
"""Parts of the run at which a checkpoint is saved; one more is saved at its end."""
BATCHES = 32  # whose gradients say an element's mean and deviation


@dataclass(frozen=True)
class Run:
    """What is trained, with what, for how many steps: a multiple of 12."""

    model: str
    optimizer: str
    steps: int
    seed: int

    def parts(self, shares: Iterable[float]) -> list[int]:
        """Shares of the steps: each at least 1 step and none twice, in ascending order."""
        return sorted({max(1, round(share * self.steps)) for share in shares})

    @property
    def moments(self) -> list[int]:
        return self.parts(MOMENTS)


class Training:
    """A run as it goes: the network, its optimizers, and what is recorded.

    names, sizes: of the tensors, in the order of the network. rms: RMS of each tensor's update, by
    step, weight decay's share taken out. updates: such an update of all tensors, one after the
    other, for the steps that are kept; weights: the same of the weights after a step, in float64.
    rows, embeddings: the rows of the embedding that a step's batch has, and the embedding after it.
    """

    def __init__(self, run: Run) -> None:
        torch.manual_seed(run.seed)
        self.run, self.problem = run, PROBLEMS[run.model]
        self.draw = torch.Generator().manual_seed(run.seed)
        self.model = self.problem.make()
        named = [*self.model.named_parameters()]
        self.optimizers = OPTIMIZERS[run.optimizer](named)
        self.names = [name for name, _ in named]
        self.sizes = [weight.numel() for _, weight in named]
        self.rms: dict[int, list[float]] = {}
        self.updates: dict[int, Tensor] = {}
        self.weights: dict[int, Tensor] = {}
        self.rows: dict[int, set[int]] = {}
        self.embeddings: dict[int, Tensor] = {}
        decay = decay_of(self.optimizers)
        shares = [
            torch.full((weight.numel(),), 1 - decay[id(weight)], dtype=torch.float64)
            for _, weight in named
        ]
        self._left_by_decay = torch.cat(shares)
        self._now = self._flat()

    def step(self, number: int, keeps_update: bool) -> None:
        """One step of the run, recorded."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss, rows = self.problem.loss(self.model, self.draw)
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        before, self._now = self._now, self._flat()
        update = self._now - self._left_by_decay * before
        squares = update.square().split(self.sizes)
        self.rms[number] = [float(square.mean().sqrt()) for square in squares]
        if keeps_update:
            self.updates[number] = update
        if rows is not None:
            self.rows[number] = {*rows.unique().tolist()}
            name = self.problem.embedding
            self.embeddings[number] = self.model.get_parameter(name or "").detach().clone()

    def keep(self, number: int) -> None:
        """Keeps the weights as they are after this step."""
        self.weights[number] = self._now

    def of(self, flat: Tensor) -> dict[str, Tensor]:
        """A flat vector as its tensors, by their names."""
        return dict(zip(self.names, flat.split(self.sizes), strict=True))

    def save(self, path: Path, lr_factor: float = 1.0, named: bool = True) -> None:
        """A checkpoint as torch.save leaves it, of weights and optimizer states."""
        states = [deepcopy(optimizer.state_dict()) for optimizer in self.optimizers]
        for state in states:
            for group in state["param_groups"]:
                group["lr"] *= lr_factor
                if not named:
                    del group["param_names"]
        held = {"optimizer": states[0]} if len(states) == 1 else {"optimizers": states}
        torch.save({"model": self.model.state_dict(), **held}, path)

    def snr(self, seed: int) -> dict[str, float]:
        """Mean over std of an element's gradient between batches, of a tensor's elements together:
        √(Σμ²/Σσ²), without the share that the deviation has in the mean."""
        model, draw = deepcopy(self.model), torch.Generator().manual_seed(seed)
        weights = [*model.parameters()]
        sums = [torch.zeros((2, *weight.shape), dtype=torch.float64) for weight in weights]
        for _ in range(BATCHES):
            gradients = torch.autograd.grad(self.problem.loss(model, draw)[0], weights)
            for both, gradient in zip(sums, gradients, strict=True):
                exact = gradient.double()
                both += torch.stack([exact, exact.square()])
        told = {}
        for name, both in zip(self.names, sums, strict=True):
            mean, square = both / BATCHES
            variance = (square - mean.square()) * BATCHES / (BATCHES - 1)
            signal = float((mean.square() - variance / BATCHES).mean())
            told[name] = max(0.0, signal / max(float(variance.mean()), 1e-300)) ** 0.5
        return told

    def _flat(self) -> Tensor:
        parts = [weight.detach().flatten() for weight in self.model.parameters()]
        return torch.cat(parts).double()
