"""How far a schedule carries weights from where they are, by an optimizer that is fresh or has done
steps before: what each gradient moves in all, over the lrs that are left when it comes, or for
optimizers that step by a sign, how the signs of all steps agree. Gradients from before the schedule
still move weights through the averages that hold them. Weight decay is left out."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scalecheck.theory.schedule import Schedule, Sums

FloatArray = NDArray[np.float64]

LONG = 1 << 20  # steps up to which a schedule is followed step by step
NEGLIGIBLE = 1e-17  # below float64's resolution of a sum that is 1
_UNRELATED = 1e-12  # correlations below it are left out of the sums
_TERMS = 128  # of the series of asin; the ones beyond hold less than 1e-3 of its sum over lags
_PRECISE = 1e-9  # share of the sum below which a term of the series is the last
_LARGEST = 300.0  # natural logarithm of a power that is still far from float64's largest number


@lru_cache(maxsize=256)
def average_sums(plan: Schedule, beta: float) -> Sums:
    """ΣS and ΣS² of S_i = Σ_(t≥i) lr_t·(1−beta)·beta^(t−i)/(1−beta^t), what a gradient of step i
    moves in all through a bias-corrected moving average, at a peak lr of 1; lr_t is 0 in the steps
    before the schedule.

    ΣS is the displacement by gradients of 1, √ΣS² that by independent ones of RMS 1. Many steps
    make them Σlr and √Σlr².
    """
    if plan.steps > LONG:
        return _of_fewer_steps(plan, beta, average_sums)
    lrs = plan.multiples()
    if beta:
        lrs = (1 - beta) * lrs / remaining(plan, beta)
    return held_sums(discounted(lrs, beta), beta, plan)


@lru_cache(maxsize=256)
def momentum_sums(
    plan: Schedule, momentum: float, dampening: float = 0.0, nesterov: bool = False
) -> Sums:
    """The same of torch.optim.SGD, with the weights of `momentum_update_rms`: many steps make them
    (1−dampening)/(1−momentum) times Σlr and √Σlr²."""
    if plan.steps > LONG:
        return _times(1 - dampening, _of_fewer_steps(plan, momentum, momentum_sums))
    lrs = plan.multiples()
    held = discounted(lrs, momentum)
    moved = (1 - dampening) * held
    if not plan.done:
        moved[0] = held[0]  # torch does not dampen the first gradient
    before = earlier_sums(float(moved[0]), momentum, plan.done)
    if plan.done and dampening:
        very_first = momentum**plan.done * float(held[0])
        missing = Sums(dampening * very_first, (1 - (1 - dampening) ** 2) * very_first**2)
        before = before.plus(missing)
    if nesterov:
        before = _times(momentum, before)
        moved = lrs + momentum * moved
    return sums_of(moved).plus(before)


@lru_cache(maxsize=256)
def sign_displacement(plan: Schedule, beta1: float, beta2: float) -> float:
    """RMS of Σ lr_t·sign(c_t) at a peak lr of 1 for independent Gaussian gradients without mean,
    c_t = beta1·m_(t−1) + (1−beta1)·g_t and m_t = beta2·m_(t−1) + (1−beta2)·g_t, m 0 at the start of
    the optimizer.

    √(Σ_s Σ_t lr_s·lr_t·(2/π)·asin ρ_st), the arcsine law of signs, ρ_st the correlation of c_s and
    c_t; asin as its series, whose powers of ρ_st = left_s·right_t·beta2^(t−s−1) are summed over all
    pairs at once. Many steps make it sign_gain·√Σlr².
    """
    if plan.steps > LONG:
        return sign_gain(beta1, beta2) * math.sqrt(plan.sums().second)
    lrs = plan.multiples()
    gone = np.power(float(beta2), 2.0 * (plan.done + np.arange(len(lrs))))
    memory = beta1**2 * (1 - beta2) / (1 + beta2) * (1 - gone)
    variance = (1 - beta1) ** 2 + memory
    following = beta1 * (1 - beta1) * (1 - beta2) + beta2 * memory
    right = np.sqrt(variance[-1] / variance)
    left = following / variance[-1] * right
    steepest = math.log(float(right.max()))
    square, weight = float(lrs @ lrs), 1.0
    for power in range(1, 2 * _TERMS, 2):
        if power * steepest > _LARGEST:
            break
        later = discounted(lrs * right**power, beta2**power)[1:]
        term = 4 / math.pi * weight * float((lrs * left**power)[:-1] @ later)
        square += term
        if term < _PRECISE * square:
            break
        weight *= power**2 / ((power + 1) * (power + 2))
    return math.sqrt(square)


def sign_gain(beta1: float, beta2: float, decay: float = 0.0) -> float:
    """RMS of Σ (1−decay)^j·sign(c_(t−j)) over that of independent signs in the steady state:
    √(1 + 2·Σ_k (1−decay)^k·(2/π)·asin ρ_k), ρ_k the correlation of c over k steps."""
    variance = (1 - beta1) ** 2 + beta1**2 * (1 - beta2) / (1 + beta2)
    if beta2 == 0:
        correlation = np.array([(1 - beta1) * beta1 / variance])
    else:
        lag = np.arange(1, math.ceil(math.log(_UNRELATED) / math.log(beta2)) + 1)
        newest = (1 - beta1) * beta1 * (1 - beta2) * beta2 ** (lag - 1)
        older = beta1**2 * (1 - beta2) / (1 + beta2) * beta2**lag
        correlation = (newest + older) / variance
    kept = (1 - decay) ** np.arange(1, len(correlation) + 1)
    return math.sqrt(1 + 4 / math.pi * float(kept @ np.arcsin(correlation)))


def remaining(plan: Schedule, beta: float) -> FloatArray:
    """1 − beta^t, t the optimizer's step in each step of the schedule; beta above 0."""
    return np.asarray(-np.expm1((plan.done + np.arange(1, plan.steps + 1)) * math.log(beta)))


def held_sums(moved: FloatArray, beta: float, plan: Schedule) -> Sums:
    """ΣS and ΣS² of gradients that move weights through an average alone, those from before the
    schedule included; moved: S of its own."""
    return sums_of(moved).plus(earlier_sums(float(moved[0]), beta, plan.done))


def earlier_sums(first: float, beta: float, done: int) -> Sums:
    """ΣS and ΣS² of the gradients of steps that were done before the schedule: of S = first·beta^k,
    k = 1..done, what an average that forgets by beta a step still holds of them."""
    if not beta or not done:
        return Sums(0.0, 0.0)
    decay = math.log(beta)
    return Sums(
        first * beta * math.expm1(done * decay) / math.expm1(decay),
        first**2 * beta**2 * math.expm1(2 * done * decay) / math.expm1(2 * decay),
    )


def sums_of(moved: FloatArray) -> Sums:
    """ΣS and ΣS²."""
    return Sums(float(moved.sum()), float(moved @ moved))


def discounted(lrs: FloatArray, factor: float) -> FloatArray:
    """Σ_(t≥i) lr_t·factor^(t−i) for each i: over 1, 2, 4 … steps, until the rest is negligible."""
    total, reach = lrs.copy(), 1
    while reach < len(lrs) and factor > NEGLIGIBLE:
        total[:-reach] += factor * total[reach:]
        factor, reach = factor * factor, 2 * reach
    return total


def _of_fewer_steps(plan: Schedule, beta: float, sums: Callable[[Schedule, float], Sums]) -> Sums:
    """The sums by a schedule of the same form over LONG steps, of which an average holds as large a
    share: exact but for what happens within one of these steps."""
    share = LONG / plan.steps
    warmup = max(1 if plan.warmup else 0, round(plan.warmup * share))
    decay = min(round(plan.decay * share), LONG - warmup)
    done = min(round(plan.done * share), LONG)
    fewer = replace(plan, steps=LONG, warmup=warmup, decay=decay, done=done)
    exact, coarse = plan.sums(), fewer.sums()
    faster = beta ** (1 / share)
    first, second = sums(fewer, faster)
    if sums is momentum_sums:  # whose weights are not those of an average, of sum 1
        first, second = _times((1 - faster) / (1 - beta), Sums(first, second))
    return Sums(first * exact.first / coarse.first, second * exact.second / coarse.second)


def _times(factor: float, sums: Sums) -> Sums:
    """The sums of S that is larger by a factor."""
    return Sums(factor * sums.first, factor**2 * sums.second)
