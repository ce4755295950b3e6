"""Muon: momentum of a matrix with its singular values brought near 1."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from scalecheck.optimizers._newton_schulz import orthogonalized
from scalecheck.optimizers.contract import (
    UNIT,
    Beta,
    Entry,
    FloatArray,
    Gradient,
    Hyperparameters,
    LastUpdate,
    NoFormula,
    NotNegative,
    SavedState,
    Weights,
    Writer,
)
from scalecheck.theory.domain import require_step
from scalecheck.theory.reparameterization import Reparameterization

# torch.optim.Muon's defaults; the iteration overshoots on purpose and ends between 0.68 and 1.21.
COEFFICIENTS = (3.4445, -4.775, 2.0315)
STEPS = 5
_NODES = 2048  # of the integral over singular values

SMALLEST = 16  # rows and columns from which on the law of singular values holds to formula_error
_DRAWS = 1024  # of smaller matrices, over which their singular values are averaged: to 0.5 %
MATCHED_RMS = 0.2  # the update RMS that match_rms_adamw aims at
ADJUSTMENTS = (None, "original", "match_rms_adamw")


WITH_AUXILIARY_ADAM = Writer(
    settings=("momentum", "weight_decay", "use_muon"),
    entries=("momentum_buffer",),
    optional_settings=("nesterov", "ns_steps"),
    values={"use_muon": True},
)
"""Jordan's MuonWithAuxAdam, whose defaults are these: nesterov, and 5 steps."""


@dataclass(frozen=True)
class Optimizer(Hyperparameters):
    """torch.optim.Muon: w ← (1 − lr·weight_decay)·w − lr·adjust·O, of rows × cols matrices only.

    O: ns_steps times X ← a·X + (b·XXᵀ + c·(XXᵀ)²)·X, ns_coefficients (a, b, c), in bfloat16, from
    X = M/max(‖M‖, eps). M = momentum·M + (1−momentum)·g, or the same once more with nesterov.
    adjust: √max(1, rows/cols) for adjust_lr_fn "original" or None, 0.2·√max(rows, cols) for
    "match_rms_adamw". weight_decay is multiplied by lr before adjust. Source: Jordan et al. 2024.
    """

    torch_class: ClassVar[str] = "Muon"
    spellings: ClassVar[Collection[str]] = (
        "MuonWithAuxAdam",
        "SingleDeviceMuon",
        "SingleDeviceMuonWithAuxAdam",
    )
    state: ClassVar[SavedState] = SavedState(
        entries={"momentum_buffer": Entry.MOMENTUM},
        writers=(WITH_AUXILIARY_ADAM,),
    )
    precision: ClassVar[float] = 2e-2  # its matrix products are in bfloat16
    state_without_step: ClassVar[bool] = True
    update_needs_tensor: ClassVar[bool] = True

    weight_decay: NotNegative = 0.1
    momentum: Beta = 0.95
    nesterov: bool = True
    ns_coefficients: tuple[float, float, float] = COEFFICIENTS
    eps: NotNegative = 1e-7
    ns_steps: int = STEPS
    adjust_lr_fn: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adjust_lr_fn not in ADJUSTMENTS:
            raise ValueError(
                f"adjust_lr_fn {self.adjust_lr_fn!r} is not original or match_rms_adamw"
            )
        if not 1 <= self.ns_steps < 100:
            raise ValueError(f"ns_steps {self.ns_steps} is outside 1..99")

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """adjust·√E[p(s)²]/√max(rows, cols) over the singular values s of a Gaussian matrix, p the
        iterated polynomial: 0.76 to 0.96 of what exact singular values of 1 would give.

        By the Marchenko-Pastur law s² = (1 + y + 2√y·cos θ)/min(rows, cols), y = min/max, with θ of
        density 2·sin²θ/(π·s²·min); of matrices with fewer than 16 rows or columns by drawing some.
        The gradient's size and the step do not count while ‖M‖ > eps. Raises NoFormula for an snr:
        what counts is the rank of the mean, which the law of an element does not tell; ValueError
        for a shape other than a matrix.
        """
        require_step(step)
        if len(weights.shape) != 2:
            raise ValueError(f"Muon takes matrices only, not the shape {weights.shape}")
        gradient.require_gaussian()
        if gradient.snr:
            raise NoFormula(
                f"snr {gradient.snr}: Muon's update depends on the rank of the mean gradient, "
                "solved for noise only"
            )
        rows, cols = weights.shape
        return self._orthogonalized_rms(rows, cols) * self._adjustment(rows, cols)

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """None: no element has an update by itself."""
        if self.nesterov:
            why = "nesterov's last update holds a gradient that its state does not"
        else:
            why = "its matrix is too large to orthogonalize it again"
        return LastUpdate(reason=why)

    def last_update_from_tensors(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """The momentum, orthogonalized again in bfloat16."""
        momentum = state["momentum_buffer"]
        if self.nesterov or momentum.ndim != 2:
            return self.last_update_from_state(state, step)
        coefficients, steps = self.ns_coefficients, self.ns_steps
        update = orthogonalized(momentum, coefficients, steps, self.eps)
        return LastUpdate((update * self._adjustment(*momentum.shape)).ravel())

    def formula_error(self, step: int | None = None) -> float:
        """Finite matrices stray from the law of their singular values."""
        return 0.02

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, eps' = eps/k, weight_decay' = weight_decay/k; to the precision of bfloat16,
        exactly for k a power of 2."""
        return Reparameterization(1, {"eps": -1, "weight_decay": -1})

    def _adjustment(self, rows: int, cols: int) -> float:
        if self.adjust_lr_fn == "match_rms_adamw":
            return MATCHED_RMS * math.sqrt(max(rows, cols))
        return math.sqrt(max(1.0, rows / cols))

    def _orthogonalized_rms(self, rows: int, cols: int) -> float:
        """RMS of O for a momentum of independent noise."""
        short, long = sorted((rows, cols))
        singular, share = (_drawn if short < SMALLEST else _limit)(short, long)
        linear, cubic, quintic = self.ns_coefficients
        with np.errstate(over="ignore", invalid="ignore"):  # of coefficients that diverge
            for _ in range(self.ns_steps):
                square = singular * singular
                singular = singular * (linear + square * (cubic + square * quintic))
            return 1 / math.sqrt(long) * math.sqrt(float(share @ singular**2))


Arrays = tuple[FloatArray, FloatArray]


def _limit(short: int, long: int) -> Arrays:
    """Singular values of a large Gaussian matrix of norm 1, and the share of each among them."""
    aspect = short / long
    theta = (np.arange(_NODES) + 0.5) * math.pi / _NODES
    spread = 1 + aspect + 2 * math.sqrt(aspect) * np.cos(theta)
    return np.sqrt(spread / short), 2 / _NODES * np.sin(theta) ** 2 / spread


@lru_cache(maxsize=256)
def _drawn(short: int, long: int) -> Arrays:
    """The same of small Gaussian matrices, drawn by a fixed seed as the triangular factors that
    have their singular values. Source: Bartlett 1933."""
    rng = np.random.default_rng(0)
    factors = np.tril(rng.standard_normal((_DRAWS, short, short)), -1)
    place = np.arange(short)
    factors[:, place, place] = np.sqrt(rng.chisquare(long - place, (_DRAWS, short)))
    values = np.linalg.svd(factors, compute_uv=False)
    singular = np.divide(values, np.linalg.norm(values, axis=1, keepdims=True), dtype=np.float64)
    return singular.ravel(), np.full(_DRAWS * short, 1 / (_DRAWS * short))
