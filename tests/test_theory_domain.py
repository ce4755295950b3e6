"""Arguments outside a formula's domain are refused with the number."""

import math
from collections.abc import Callable

import pytest

from scalecheck.theory.adam_relatives import (
    adagrad_update_rms,
    adamax_update_rms,
    nadam_update,
    radam_rectification,
)
from scalecheck.theory.bounds import (
    largest_update,
    peak_after_jump,
    single_gradient_displacement,
    single_gradient_update,
    update_after_jump,
)
from scalecheck.theory.closed_form import first_order, second_order
from scalecheck.theory.decay import equilibrium_rms, memory_steps, torch_weight_decay
from scalecheck.theory.displacement import (
    crossover_steps,
    displaced_rms,
    displacement_rms,
    effective_steps,
)
from scalecheck.theory.momentum import momentum_update_rms
from scalecheck.theory.noise import Autoregressive, Sparse, StudentT
from scalecheck.theory.orthogonal_updates import newton_schulz_update_rms
from scalecheck.theory.sign_updates import lion_equilibrium_rms, lion_noise_gain, lion_update_mean
from scalecheck.theory.signal import (
    signal_from_state,
    squared_drift_fraction,
    squared_drift_fraction_error,
)
from scalecheck.theory.update_rms import update_rms

CASES: list[tuple[Callable[[], object], str]] = [
    (lambda: update_rms(1.0, 0.999), r"beta1 1.0 is outside \[0, 1\)"),
    (lambda: update_rms(0.9, -0.1), r"beta2 -0.1 is outside \[0, 1\)"),
    (lambda: update_rms(math.nan, 0.999), r"beta1 nan is outside \[0, 1\)"),
    (lambda: update_rms(0.9, 0.999, math.inf), "snr inf is not finite"),
    (lambda: update_rms(0.9, 0.999, step=0), "step 0 is below 1"),
    (lambda: update_rms(0.9, 0.999, grad_rms_over_eps=-1.0), "grad_rms_over_eps -1.0"),
    (lambda: update_rms(0.9, 0.999, grad_rms_over_eps=math.nan), "grad_rms_over_eps nan"),
    (lambda: update_rms(0.9, 0.0), "beta2 0 with beta1 0.9: .* infinite"),
    (lambda: update_rms(0.9, 0.8, noise=Sparse(1e-3)), "density 0.001 .* infinite"),
    (lambda: update_rms(0.9, 0.99, 0.5, noise=Sparse(0.1)), "snr 0.5: .* for snr 0 only"),
    (lambda: update_rms(0.9, 0.99, 0.5, noise=StudentT(3.0)), "snr 0.5: .* for snr 0 only"),
    (
        lambda: update_rms(0.9, 0.99, grad_rms_over_eps=1.0, noise=StudentT(1.0)),
        "dof 1.0: a gradient without an rms",
    ),
    (lambda: StudentT(0.5), "dof 0.5 is not a finite number from 1 up"),
    (lambda: Sparse(0.0), r"density 0.0 is outside \(0, 1\]"),
    (lambda: Autoregressive(1.0), r"rho 1.0 is outside \(-1, 1\)"),
    (lambda: first_order(0.9, step=5, rho=0.5), "rho 0.5 at step 5"),
    (lambda: second_order(0.9, 1.0), "beta2 1.0"),
    (lambda: largest_update(0.9, 1.5), "beta2 1.5"),
    (lambda: update_after_jump(0.9, 0.99, 0.0, 1), "jump 0.0 is not positive"),
    (lambda: update_after_jump(0.9, 0.99, 2.0, 0), "step 0"),
    (lambda: peak_after_jump(0.9, 0.99, 0.5), "jump 0.5 is below 1"),
    (lambda: single_gradient_update(0.9, 0.99, 0), "step 0"),
    (lambda: single_gradient_displacement(0.9, 0.81), "displacement is infinite"),
    (lambda: adagrad_update_rms(0), "step 0"),
    (lambda: radam_rectification(1.0, 5), "beta2 1.0"),
    (lambda: nadam_update(0.9, 0.99, grad_rms_over_eps=0.0), "grad_rms_over_eps 0.0"),
    (lambda: nadam_update(0.9, 0.0), "beta2 0 with beta1 0.9: .* infinite"),
    (lambda: adamax_update_rms(0.9, 0.99, snr=math.nan), "snr nan"),
    (lambda: momentum_update_rms(1.0), "momentum 1.0"),
    (lambda: signal_from_state(1.0, 1.0, 0.9, 1), "step 1 with beta1 0.9"),
    (lambda: squared_drift_fraction(1.0, 0.0, 0.99, 5), "step 5 with beta1 0.0"),
    (lambda: squared_drift_fraction_error(0.9, 5, 0), "numel 0 is below 1"),
    (lambda: equilibrium_rms(2.0, 0.5), "lr·weight_decay 1.0 is not below 1"),
    (lambda: equilibrium_rms(0.0, 0.5), "lr 0.0 is not a positive finite number"),
    (lambda: memory_steps(1e-3, -0.1), "weight_decay -0.1"),
    (lambda: torch_weight_decay(1e-4, 0.0), "peak_lr 0.0"),
    (lambda: displacement_rms(-1.0, 1.0), "lr_sum -1.0"),
    (lambda: displaced_rms(1.0, math.inf), "displacement inf"),
    (lambda: effective_steps(0.9, 0), "step 0 is below 1"),
    (lambda: crossover_steps(math.nan), "snr nan"),
    (lambda: newton_schulz_update_rms(0, 3), "a 0 x 3 matrix is empty"),
    (lambda: lion_update_mean(0.9, 0.99, math.inf), "snr inf"),
    (lambda: lion_noise_gain(0.9, 1.0), "beta2 1.0"),
    (lambda: lion_equilibrium_rms(1.0, 1.0, 0.9, 0.99), r"decay 1.0 is outside \[0, 1\)"),
]


@pytest.mark.parametrize(("call", "message"), CASES)
def test_outside_the_domain_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_eps_makes_the_update_finite_where_beta2_is_zero() -> None:
    assert 0 < update_rms(0.9, 0.0, grad_rms_over_eps=10.0) < 10.0


def test_a_state_below_its_noise_floor_has_no_snr() -> None:
    below = signal_from_state(0.01, 1.0, 0.9, 1000)
    assert below.drift < 0
    assert below.snr is None
    assert squared_drift_fraction(0.01, 0.9, 0.99, 1000) < 0
