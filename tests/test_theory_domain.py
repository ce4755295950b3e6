"""Arguments outside the domain of the public update_rms, and of the laws of noise, are refused with
the number."""

import math
from collections.abc import Callable

import pytest

from scalecheck.theory.noise import Autoregressive, Sparse, StudentT
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
    (lambda: update_rms(0.9, 0.99, 0.5, noise=StudentT(3.0)), "snr 0.5: .* for snr 0 only"),
    (
        lambda: update_rms(0.9, 0.99, grad_rms_over_eps=1.0, noise=StudentT(1.0)),
        "dof 1.0: a gradient without an rms",
    ),
    (lambda: StudentT(0.5), "dof 0.5 is not a finite number from 1 up"),
    (lambda: Sparse(0.0), r"density 0.0 is outside \(0, 1\]"),
    (lambda: Autoregressive(1.0), r"rho 1.0 is outside \(-1, 1\)"),
]


@pytest.mark.parametrize(("call", "message"), CASES)
def test_outside_the_domain_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_eps_makes_the_update_finite_where_beta2_is_zero() -> None:
    assert 0 < update_rms(0.9, 0.0, grad_rms_over_eps=10.0) < 10.0
