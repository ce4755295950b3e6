"""What a saved optimizer state says of one parameter: the update that was really applied, the size
of its gradients, and what eps and the state's type do to them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.optimizer_state import ParamState
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.optimizers.contract import (
    REFUSALS,
    WEIGHTS,
    Hyperparameters,
    LastUpdate,
    Totals,
    refusal,
)
from scalecheck.report.formatting import listed
from scalecheck.theory.averages import squared_weight_sum
from scalecheck.updates.moves import MeasuredMoves
from scalecheck.updates.rounding import Rounding
from scalecheck.updates.state_elements import Block, Elements, blocks, is_small

FloatArray = NDArray[np.float64]

LARGEST = 1e140  # whose square still has a sum; what is larger counts as inf
NEAR = 100.0  # times eps below which √v̂ is near it


@dataclass(frozen=True)
class StateStatistics:
    """A state's figures, over its finite elements; None where `reason` or the optimizer leave it.

    step: updates done. update_rms: RMS of −Δw/lr of the last one applied, weight decay left out;
    update_rms_near: about that, where the state does not hold the last gradient. grad_rms:
    √mean(v̂), over the steps that v remembers. snr: mean/std of an element's gradient over the
    1/(1−beta1) steps that m averages, its persistence; None at or below the noise floor, which
    at_noise_floor says. eps_share, eps_near_share: shares
    of the elements with √v̂ below eps, and below 100 eps. v_zeros, v_not_finite, m_not_finite: how
    many elements of v are 0, of v and of m NaN, inf or (v) negative. is_coded: its averages are
    codes of a few bits, written after the update that they tell.
    """

    step: int | None = None
    update_rms: float | None = None
    update_rms_near: float | None = None
    grad_rms: float | None = None
    snr: float | None = None
    at_noise_floor: bool | None = None
    eps_share: float | None = None
    eps_near_share: float | None = None
    v_zeros: int = 0
    v_not_finite: int = 0
    m_not_finite: int = 0
    is_coded: bool = False
    reason: str = ""


def figures(
    state: ParamState,
    optimizer: Hyperparameters,
    lr: float = 1.0,
    weights: Tensor | None = None,
    moves: Sequence[MeasuredMoves] = (),
) -> StateStatistics:
    """The figures of one parameter's state, read in blocks; lr: of its last step, weights: the
    parameter after it. moves: filled where the state tells the update of each element, or about
    what it was; they stay empty where it is kept in codes. Raises CheckpointError where it cannot
    be read."""
    if not state.tensors:
        return StateStatistics(reason=_without_tensors(state, optimizer))
    if state.step is None and not optimizer.state_without_step:
        return StateStatistics(reason="the state does not say how many steps were done")
    step = int(state.step or 0)
    if state.step is not None and step < 1:
        return StateStatistics(step, reason="the state is of step 0")
    lacking = ((n, t.unmeasured) for n, t in state.tensors.items() if t.unmeasured)
    if unread := next(lacking, None):
        return StateStatistics(step or None, reason=f"its {unread[0]} is not read: {unread[1]}")
    sums = _Sums(getattr(optimizer, "eps", None), moves)
    reason = ""
    own = weights if optimizer.update_needs_weights or moves else None
    is_whole = optimizer.update_needs_tensor and is_small(state)
    for block in blocks(state, optimizer.state.every_entry, own, is_whole):
        with np.errstate(all="ignore"):
            try:
                reason = sums.add(block, optimizer, max(step, 1))
            except KeyError as missing:
                return StateStatistics(step or None, reason=f"the state lacks {missing.args[0]}")
    update = None
    if sums.updates:
        try:
            sums.rounding.require_fine()
            update = optimizer.last_update_rms(sums.totals, state.numbers, lr, max(step, 1))
        except REFUSALS as error:
            reason = refusal(error)
    return sums.statistics(step or None, optimizer, update, reason)


def _without_tensors(state: ParamState, optimizer: Hyperparameters) -> str:
    if state.left_out:
        return f"its state keeps {listed(state.left_out)} in a form that is not read"
    if not optimizer.state.entries and getattr(optimizer, "momentum", None) == 0:
        return "its optimizer keeps nothing where momentum is 0"
    return "its state is empty, as before the first gradient"


def _chosen(numbers: FloatArray, wanted: NDArray[np.bool_]) -> FloatArray:
    """The numbers that are wanted; all of them, as a rule, are not copied."""
    return numbers if wanted.all() else numbers[wanted]


class _Sums:
    """Sums over the blocks of a state."""

    def __init__(self, eps: float | None, moves: Sequence[MeasuredMoves]) -> None:
        self.eps, self.moves = eps, moves
        self.update = self.near_square = self.mean = self.square = 0.0
        self.weights = self.products = 0.0
        self.has_weights = self.is_coded = False
        self.updates = self.nears = self.means = self.squares = 0
        self.below = self.near = self.zeros = self.v_not_finite = self.m_not_finite = 0
        self.rounding = Rounding()

    def add(self, block: Block, optimizer: Hyperparameters, step: int) -> str:
        """Takes in a block, its finite elements, and gives the reason for an update that is not
        told. KeyError of an entry that lacks."""

        weights = block.weights if optimizer.update_needs_weights else None

        def told(entries: Elements) -> LastUpdate:
            if block.is_whole:
                return optimizer.last_update_from_tensors(entries, step)
            own = {} if weights is None else {WEIGHTS: weights}
            return optimizer.last_update_from_state({**entries, **own}, step)

        update, mean, square, reason, near = told(block.entries)
        self.is_coded = block.smallest is not None
        if block.smallest is not None and block.largest is not None and update is not None:
            largest = told(block.largest).update
            if optimizer.equal_updates:  # an element of any gradient at all moves by lr
                update = largest
            else:
                self.rounding.add(told(block.smallest).update, update, largest)
        if update is not None:
            is_known = np.abs(update) < LARGEST
            if weights is not None:
                is_known &= np.abs(weights) < LARGEST
                own = _chosen(weights, is_known)
                self.weights += float(own @ own)
                self.products += float(own @ _chosen(update, is_known))
                self.has_weights = True
            known = _chosen(update, is_known)
            self.update += float(known @ known)
            self.updates += known.size
            if block.weights is not None and not self.is_coded:
                for each in self.moves:
                    each.add(update, block.weights)
        if near is not None:
            known = _chosen(near, np.abs(near) < LARGEST)
            self.near_square += float(known @ known)
            self.nears += known.size
            if update is None and block.weights is not None and not self.is_coded:
                for each in self.moves:
                    each.add(near, block.weights)
        if mean is not None:
            known = _chosen(mean, np.abs(mean) < LARGEST)
            self.mean += float(known @ known)
            self.means += known.size
            self.m_not_finite += mean.size - known.size
        if square is not None:
            known = _chosen(square, (square >= 0) & (square < LARGEST))
            self.square += float(known.sum())
            self.squares += known.size
            self.v_not_finite += square.size - known.size
            if not self.is_coded:  # a code of 0 is no v of 0
                self.zeros += known.size - int(np.count_nonzero(known))
            if self.eps is not None and not self.is_coded:
                self.below += int(np.count_nonzero(known < np.square(self.eps)))
                self.near += int(np.count_nonzero(known < np.square(NEAR * self.eps)))
        return reason

    @property
    def totals(self) -> Totals:
        """The sums over its updates."""
        weights = (self.weights, self.products) if self.has_weights else (None, None)
        return Totals(self.updates, self.update, *weights)

    def statistics(
        self, step: int | None, optimizer: Hyperparameters, update: float | None, reason: str
    ) -> StateStatistics:
        """The figures, with this update."""
        square = self.square / self.squares if self.squares else None
        has_eps = self.eps is not None and square is not None and not self.is_coded
        snr, at_floor = self._snr(step, getattr(optimizer, "beta1", None), square)
        return StateStatistics(
            step=step,
            update_rms=update,
            update_rms_near=math.sqrt(self.near_square / self.nears) if self.nears else None,
            grad_rms=None if square is None else math.sqrt(square),
            snr=snr,
            at_noise_floor=at_floor,
            eps_share=self.below / self.squares if has_eps else None,
            eps_near_share=self.near / self.squares if has_eps else None,
            v_zeros=self.zeros,
            v_not_finite=self.v_not_finite,
            m_not_finite=self.m_not_finite,
            is_coded=self.is_coded,
            reason=reason,
        )

    def _snr(
        self, step: int | None, beta1: float | None, square: float | None
    ) -> tuple[float | None, bool | None]:
        """mean/std of an element's gradient over the steps that m averages, and whether it is below
        the noise floor.

        mean² = (A − c·V)/(1−c), std² = (V − A)/(1−c), with A = mean(m̂²), V = mean(v̂) and c = Σa²
        the share of noise's mean square that m̂ lets through. Unbiased for independent noise;
        elements with large gradients dominate, and positively correlated noise reads as drift.
        """
        if step is None or beta1 is None or not square or not self.means:
            return None, None
        floor = squared_weight_sum(beta1, step)
        if floor == 1:  # at step 1 and for beta1 0: one gradient tells neither
            return None, None
        average = self.mean / self.means
        drift, noise = (average - floor * square) / (1 - floor), (square - average) / (1 - floor)
        return math.sqrt(drift / noise) if drift > 0 and noise > 0 else None, drift <= 0
