"""What a step of an adapter's halves does to the product that is added to a matrix:
ΔB·A + B·ΔA − ΔB·ΔA of the halves after it, times the scale."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scalecheck.checkpoint.adapters.pairs import Pair
from scalecheck.checkpoint.optimizer_state import ParamState
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.measure.adapted import NOT_FINITE, AdaptedMatrix, Added, rms_of
from scalecheck.measure.low_rank import FloatArray, gram, product_norm, step_norm
from scalecheck.optimizers.contract import REFUSALS, WEIGHTS, Gradient
from scalecheck.updates.coded_entries import coded_entries, numbered
from scalecheck.updates.forecast import expected_update
from scalecheck.updates.saved_state import States
from scalecheck.updates.tensor_forecast import Forecaster, TensorForecast
from scalecheck.updates.training import Training

BOTH_ZERO = "both halves are zero, so no step moves their product"
AS_INDEPENDENT = (
    "the state does not give the update of every element of both halves, so the two updates "
    "are taken as independent"
)


@dataclass(frozen=True, kw_only=True)
class AdapterStep(Added):
    """A step of ΔW beside what the adapter adds.

    absolute_update: RMS of the step of ΔW, lr included, None where `reason` says why. measured: it
    is that of the last step by the optimizer state; expected_update: the same by theory. full_lr:
    the lr at which the same optimizer, training the matrix itself, would move it as much, None
    where its updates are not of a size of their own. unit_update: RMS of a step at lr 1, in
    proportion to the lr. to_update: RMS of a step at lr 1 of another
    optimizer. training: of a half that is trained. halves: the forecasts of those that are.
    is_first: a half is zero, so that the other has no gradient yet. is_certain: False where it is
    not known how, or whether, a half is trained. state_reason: why an expected step stands in for
    a measured one.
    """

    absolute_update: float | None = None
    expected_update: float | None = None
    measured: bool = False
    full_lr: float | None = None
    unit_update: float | None = None
    to_update: float | None = None
    training: Training | None = None
    halves: Sequence[TensorForecast] = ()
    is_first: bool = False
    is_certain: bool = True
    state_reason: str | None = None

    @property
    def lr(self) -> float | None:
        """None where it is not known, or that of the halves differs."""
        if self.training is None or not self.training.is_lr_known:
            return None
        return self.training.lr


def adapter_step(
    matrix: AdaptedMatrix,
    forecaster: Forecaster,
    forecasts: Mapping[str, TensorForecast],
) -> AdapterStep:
    """The step of a pair; forecasts: those of the tensors that are trained, by name. Raises
    CheckpointError."""
    pair = matrix.pair
    halves = [forecasts.get(half.name) for half in pair.halves]
    trained = [half for half in halves if half is not None]
    if not trained:
        raise ValueError(f"{pair.name}: neither half is trained")
    grams = _Grams.of(pair, halves, forecaster.states)
    added_rms = rms_of(pair, product_norm(grams.up, grams.down))
    known = grams.step(pair, halves)
    factor = None if pair.scale.factor is None else abs(pair.scale.factor)
    reason = matrix.unmatched or pair.scale.reason
    reason = reason or next((half.reason for half in trained if half.reason), None) or ""
    if not reason and not all(map(math.isfinite, grams.norms)):
        reason = NOT_FINITE
    if not reason and grams.norms == (0.0, 0.0):
        reason = BOTH_ZERO
    absolute = None
    if factor is not None and known.rms is not None and reason not in (NOT_FINITE, BOTH_ZERO):
        absolute = factor * known.rms
    step = AdapterStep(
        matrix=matrix,
        added_rms=added_rms,
        reason=reason if absolute is None or added_rms is None or matrix.unmatched else "",
        absolute_update=absolute,
        expected_update=grams.expected_step(pair, halves, factor or 0.0) if absolute else None,
        measured=known.is_measured and absolute is not None,
        unit_update=grams.linear_step("unit_update", pair, halves, factor),
        to_update=grams.linear_step("to_update", pair, halves, factor) if absolute else None,
        training=_training(trained),
        halves=trained,
        is_first=0.0 in grams.norms,
        is_certain=all(half.is_certain for half in trained),
        state_reason=known.reason or None,
    )
    return replace(step, full_lr=_full_lr(step, forecaster))


def _training(trained: Sequence[TensorForecast]) -> Training:
    """That of the halves; its lr is not certain where theirs differ."""
    first, *others = (half.training for half in reversed(trained))
    if all(other.lr == first.lr for other in others):
        return first
    return replace(first, uncertain=(*dict.fromkeys([*first.uncertain, "lr"]),))


@dataclass(frozen=True)
class _Known:
    """RMS of a step of B·A, scale left out."""

    rms: float | None
    is_measured: bool = False
    reason: str = ""


@dataclass(frozen=True)
class _Grams:
    """The Gram matrices of A and B, and those of [A; ΔA] and [B, ΔB], where states tell both
    updates element by element."""

    down: FloatArray
    up: FloatArray
    moved: tuple[FloatArray, FloatArray] | None

    @property
    def norms(self) -> tuple[float, float]:
        """‖A‖ and ‖B‖."""
        down, up = (math.sqrt(float(np.trace(one))) for one in (self.down, self.up))
        return down, up

    @classmethod
    def of(cls, pair: Pair, halves: Sequence[TensorForecast | None], states: States) -> "_Grams":
        rank = pair.rank
        moved = []
        for number, half in enumerate(halves):
            own = pair.rank_first(pair.halves[number], number)
            found = None
            if half is None:
                found = np.zeros((2 * rank, 2 * rank))
                found[:rank, :rank] = gram([own])
            elif half.measured and (state := states.by_name.get(half.name)) is not None:
                found = _with_update(pair, number, half, state)
            if found is None:
                down, up = (gram([one]) for one in (pair.down, pair.up))
                return cls(down, up, None)
            moved.append(found)
        down, up = moved
        return cls(down[:rank, :rank], up[:rank, :rank], (down, up))

    def step(self, pair: Pair, halves: Sequence[TensorForecast | None]) -> _Known:
        """The step of both halves: the last one by their states, else one whose updates are
        independent of the halves and of each other."""
        reason = next((half.state_reason for half in halves if half and half.state_reason), None)
        if self.moved is not None:
            norm = step_norm(self.moved[1], self.moved[0])
            if math.isfinite(norm):
                return _Known(norm / math.sqrt(math.prod(pair.shape)), True)
        if any(half is not None and half.measured for half in halves):
            reason = AS_INDEPENDENT
        sizes = [0.0 if half is None else half.absolute_update for half in halves]
        if (down := sizes[0]) is None or (up := sizes[1]) is None:
            return _Known(None)
        return _Known(self._independent(pair, down, up), reason=reason or "")

    def expected_step(
        self, pair: Pair, halves: Sequence[TensorForecast | None], factor: float
    ) -> float | None:
        """RMS of a step of ΔW by theory, whatever states say."""
        sizes = [0.0 if half is None else _expected(half) for half in halves]
        if (down := sizes[0]) is None or (up := sizes[1]) is None:
            return None
        return factor * self._independent(pair, down, up)

    def linear_step(
        self, name: str, pair: Pair, halves: Sequence[TensorForecast | None], factor: float | None
    ) -> float | None:
        """RMS of a step of ΔW at lr 1, in proportion to the lr: the product of both updates left
        out. name: the attribute of a half that is its own step at lr 1. None where that is not
        known, or no half moves the product."""
        sizes = [0.0 if half is None else getattr(half, name) for half in halves]
        if factor is None or (down := sizes[0]) is None or (up := sizes[1]) is None:
            return None
        if not all(map(math.isfinite, self.norms)) or self.norms == (0.0, 0.0):
            return None
        return factor * self._independent(pair, down, up, is_linear=True)

    def _independent(self, pair: Pair, down: float, up: float, is_linear: bool = False) -> float:
        """RMS of ΔB·A + B·ΔA + ΔB·ΔA for updates of these RMS whose elements are independent:
        E‖ΔB·A‖² = outputs·up²·‖A‖², E‖B·ΔA‖² = inputs·down²·‖B‖², E‖ΔB·ΔA‖² =
        outputs·inputs·rank·up²·down².

        Of a half that is zero the other has no gradient: with B = 0 the step is ΔB·A, of RMS
        up·‖A‖/√inputs. A of kaiming_uniform(a=√5), as LoRA starts it, has elements of mean square
        1/(3·inputs), ‖A‖² = rank/3, and a first step of Adam has up = lr: at scale alpha/rank the
        RMS of ΔW is then lr·alpha/√(3·inputs·rank).
        """
        outputs, inputs = pair.shape
        of_down, of_up = self.norms
        if of_up == 0:
            down = 0.0
        elif of_down == 0:
            up = 0.0
        terms = [up * of_down / math.sqrt(inputs), down * of_up / math.sqrt(outputs)]
        if not is_linear:
            terms.append(math.sqrt(pair.rank) * up * down)
        return math.hypot(*terms)


def _expected(half: TensorForecast) -> float | None:
    """RMS of a step of a half by theory, lr included."""
    expected, told = half.update_rms_expected, half.absolute_update
    used = half.update_rms if half.measured else half.update_rms_next
    if told is None or expected == used:
        return told
    return told * expected / used if expected is not None and used else None


def _with_update(
    pair: Pair, number: int, half: TensorForecast, state: ParamState
) -> FloatArray | None:
    """The Gram matrix of a half and of its last step, stacked; None where the state does not tell
    that element by element."""
    optimizer, stored = half.training.optimizer, pair.halves[number]
    entries = _entries(state, stored, half)
    if entries is None or half.absolute_update is None:
        return None
    names = [*entries]
    step = max(int(state.step or 0), 1)

    def rows(parts: Sequence[FloatArray]) -> Sequence[FloatArray]:
        own = {name: part.ravel() for name, part in zip(names, parts[1:], strict=True)}
        own |= {WEIGHTS: parts[0].ravel()} if optimizer.update_needs_weights else {}
        update = optimizer.last_update_from_state(own, step).update
        if update is None:
            raise KeyError
        return [parts[0], update.reshape(parts[0].shape)]

    tensors = [pair.rank_first(tensor, number) for tensor in (stored, *entries.values())]
    try:
        found = gram(tensors, rows)
    except (KeyError, *REFUSALS):
        return None
    rank = pair.rank
    square = float(np.trace(found[rank:, rank:]))
    if not math.isfinite(square):
        return None
    # One factor for all elements: the lr, and what an optimizer divides whole tensors by.
    rms = math.sqrt(square / stored.numel)
    factor = np.ones(2 * rank)
    factor[rank:] = -half.absolute_update / rms if rms else 0.0
    return found * np.outer(factor, factor)


def _entries(
    state: ParamState, stored: Tensor, half: TensorForecast
) -> Mapping[str, Tensor] | None:
    """The entries of a state that have the half's shape, as an update follows from them; None where
    some are codes, or the update is of the whole tensor."""
    optimizer = half.training.optimizer
    names = [*optimizer.state.every_entry]
    if optimizer.update_needs_tensor or state.shape != stored.shape or coded_entries(state, names):
        return None
    renamed = {name: tensor for name, (tensor, *_) in numbered(state, names).items()}
    entries = renamed or state.tensors
    own = {name: one for name, one in entries.items() if one.shape == stored.shape}
    return {name: one for name, one in own.items() if one.dtype.is_float} or None


def _full_lr(step: AdapterStep, forecaster: Forecaster) -> float | None:
    """The lr at which the optimizer would move the matrix itself as much: the step over the RMS of
    an update of the matrix at lr 1, by theory, times what states measured of the halves that moved
    over what theory expects of these."""
    training = step.training
    if training is None or not step.absolute_update or not step.is_certain:
        return None
    optimizer = training.optimizer
    if not optimizer.needs_lr or not training.is_known:
        return None
    base = step.matrix.base
    rms = base.rms if base is not None else None
    if optimizer.relative_lr and not rms:
        return None
    number = next((half.expected_step for half in step.halves if half.expected_step), None)
    gradient = Gradient(None, forecaster.gradient.snr)
    full, _ = expected_update(optimizer, rms or 1.0, step.matrix.pair.shape, gradient, number)
    ratios = [
        (half.numel, half.update_rms / half.update_rms_expected)
        for half in step.halves
        if half.measured and half.update_rms and half.update_rms_expected
    ]
    if full is None:
        return None
    full *= optimizer.effective_lr(1.0, number) * (rms or 1.0 if optimizer.relative_lr else 1.0)
    if step.measured and ratios:
        numel = sum(n for n, _ in ratios)
        full *= math.sqrt(sum(n * ratio**2 for n, ratio in ratios) / numel)
    return step.absolute_update / full if full else None
