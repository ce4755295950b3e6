"""Why a claim breaks at the settings of an experiment, as far as theory tells."""

import math
from collections.abc import Iterable, Iterator, Mapping

from scalecheck.dtypes import BY_TORCH_NAME, FLOAT_TYPES
from scalecheck.laws.replay.claim import NO_REASON
from scalecheck.laws.replay.experiment import Experiment
from scalecheck.report.formatting import setting
from scalecheck.theory.precision import rounded, square_limits

CLIPPED = 2.0  # times its expectation that a norm may be
SMALL = 0.05  # of the eps that takes the tolerance of a first update
ROUNDING = 1e-6  # an optimizer of less precision computes in a narrow type
LARGEST = 4.0  # standard deviations that some element of a tensor reaches


def reason(
    experiment: Experiment, scales: Mapping[str, float], change: float = 1.0, coscaled: bool = False
) -> str:
    """What theory has against a claim on gradients of these names and scales: all that counts here.

    change: the smallest relative change of the weights that is claimed of. coscaled: eps, clipping
    and decay follow the scale.
    """
    against = [
        *([] if coscaled else _clipping(experiment, scales)),
        *([] if coscaled else _decay(experiment)),
        *([] if coscaled else _eps(experiment, scales)),
        *_storage(experiment, scales),
        *_stall(experiment, change),
        *_products(experiment),
    ]
    return "; ".join(against) or NO_REASON


def _products(experiment: Experiment) -> Iterator[str]:
    if experiment.optimizer.precision > ROUNDING:
        yield f"{experiment.name} multiplies matrices in bfloat16"


def _stall(experiment: Experiment, change: float) -> Iterator[str]:
    rounding = FLOAT_TYPES[BY_TORCH_NAME[experiment.dtype].name].epsilon / 2
    if rounding > experiment.tolerance * change:
        yield (
            f"{experiment.dtype} rounds a weight by up to {setting(rounding)} of it where a step "
            f"changes it by {setting(change)}"
        )


def _clipping(experiment: Experiment, scales: Mapping[str, float]) -> Iterator[str]:
    """Clipping that acts on all alike leaves gradients of one norm: a fault only where the update
    is to follow the gradient."""
    if experiment.clip is None:
        return
    root = math.sqrt(experiment.size)
    norms = {name: root * experiment.grad_scale * scale for name, scale in scales.items()}
    clipped = [name for name, norm in norms.items() if norm > experiment.clip / CLIPPED]
    alike = all(norm > experiment.clip * CLIPPED for norm in norms.values())
    if clipped and not (alike and experiment.degree == 0):
        yield (
            f"clip {setting(experiment.clip)} cuts the norm of {_listed(clipped)}, "
            f"{_listed(setting(norms[name]) for name in clipped)}"
        )


def _listed(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def _decay(experiment: Experiment) -> Iterator[str]:
    if experiment.is_decay_coupled:
        yield (
            f"weight_decay {setting(experiment.decay)} joins the gradient (coupled L2) and does "
            "not follow its scale"
        )


def _eps(experiment: Experiment, scales: Mapping[str, float]) -> Iterator[str]:
    """An eps of x·rms(g) takes √(0.8·x) of the first update of noise, x of the later ones."""
    optimizer = experiment.optimizer
    # Adafactor's eps1 bounds a mean square.
    eps = getattr(optimizer, "eps", 0.0) or math.sqrt(getattr(optimizer, "eps1", None) or 0.0)
    sizes = {name: experiment.rms(scale) for name, scale in scales.items()}
    small = [name for name, rms in sizes.items() if eps > SMALL * experiment.tolerance**2 * rms]
    if small and experiment.optimizer.precision <= ROUNDING:
        ratios = (f"{setting(eps / sizes[name])} of rms({name})" for name in small)
        yield f"eps {setting(eps)} is {_listed(ratios)}: the smallest gradients move less"


def storage_limits(experiment: Experiment) -> tuple[float, float]:
    """|g| of an element up to which, and above which, the experiment's dtype loses it or the square
    that an average of beta2 keeps of it."""
    dtype = BY_TORCH_NAME[experiment.dtype].name
    kind = FLOAT_TYPES[dtype]
    beta2 = getattr(experiment.optimizer, "beta2", None)
    if beta2 is None:
        return kind.smallest_subnormal / 2, kind.largest
    limits = square_limits(dtype, beta2)
    return limits.vanishing, min(limits.overflowing, kind.largest)


def _storage(experiment: Experiment, scales: Mapping[str, float]) -> Iterator[str]:
    dtype, stored = experiment.dtype, BY_TORCH_NAME[experiment.dtype].name
    kind = FLOAT_TYPES[stored]
    eps = getattr(experiment.optimizer, "eps", 0.0)
    no_eps = bool(eps) and float(rounded(eps, stored)) == 0
    if no_eps:
        yield f"eps {setting(eps)} is 0 in {dtype}"
    beta2 = getattr(experiment.optimizer, "beta2", None)
    kept = "g" if beta2 is None else "(1 − beta2)·g²"
    vanishing, overflowing = storage_limits(experiment)
    sizes = {name: experiment.rms(scale) for name, scale in scales.items()}
    large = {name: rms for name, rms in sizes.items() if rms > overflowing / LARGEST}
    if large:
        rms = _listed(f"rms({name}) is {setting(rms)}" for name, rms in large.items())
        yield f"{kept} overflows {dtype} for |g| above {setting(overflowing)}, and {rms}"
    small = {name: rms for name, rms in sizes.items() if vanishing > experiment.tolerance**2 * rms}
    if small:
        shares = _listed(
            f"{setting(100 * math.erf(vanishing / (math.sqrt(2) * rms)))} % of {name}"
            for name, rms in small.items()
        )
        yield f"{kept} is 0 in {dtype} for |g| up to {setting(vanishing)}: for {shares}"
    frozen = 0.0 if beta2 is None else square_limits(stored, beta2).frozen_share
    if frozen:
        yield (
            f"beta2 {setting(beta2)} times v is v for {setting(100 * frozen)} % of the numbers of "
            f"{dtype}: v cannot decay"
        )
    elif kind.mantissa_bits < FLOAT_TYPES["F32"].mantissa_bits and not (large or small or no_eps):
        error = setting(kind.epsilon / 2)
        yield f"{dtype} rounds each number of the state by up to {error} of it"
