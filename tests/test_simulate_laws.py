"""What `simulate` says, beside optimizers, gradients and networks that are written here.

An RMS over n independent updates u has the relative standard error √((E[u⁴]/E[u²]² − 1)/4n); four
of them are allowed.
"""

import math
import re
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scalecheck

STEPS = (1, 2, 5, 20, 100)
OWN_SIZE = 40_000
SIZE = 8192
SHORT = {"steps": 50, "size": 1024}
TINY = {"steps": 5, "size": 32}


def table(report, name):
    (found,) = (each for each in report.tables if each.name == name and each.rows)
    return found.rows


def claims(report, law=None):
    rows = report.rows_of("claims")
    return [row for row in rows if law in (None, row["law"])]


def lawful(report, law):
    return [row for row in claims(report, law) if not row["contrast"]]


def moved_otherwise(report):
    """How far k·g moves the optimizer otherwise than g, by the report."""
    return lawful(report, "gradient scale")[0]["measured"]


def replayed(report):
    return {row["step"]: row["update_rms_replayed"] for row in table(report, "replay")}


def expected(report):
    return {row["step"]: row["update_rms_expected"] for row in table(report, "replay")}


def stream(noise, snr, steps, size, seed=7):
    """Gradients of mean square 1, one array a step."""
    rng = np.random.default_rng(seed)
    law, _, number = noise.partition(":")
    varying = rng.standard_normal(size)
    for _ in range(steps):
        if law == "ar1":
            yield (snr + varying) / math.hypot(1, snr)
            rho = float(number)
            varying = rho * varying + math.sqrt(1 - rho**2) * rng.standard_normal(size)
            continue
        varying = rng.standard_normal(size)
        if law == "student-t":
            dof = float(number)
            varying = varying * np.sqrt((dof - 2) / rng.chisquare(dof, size))
        elif law == "sparse":
            density = float(number)
            varying = varying * (rng.random(size) < density) / math.sqrt(density)
        yield (snr + varying) / math.hypot(1, snr)


def adam(gradients, beta1=0.9, beta2=0.999, eps=1e-8):
    """Kingma and Ba's algorithm 1 without its lr."""
    m = v = 0.0
    for step, gradient in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        yield m / (1 - beta1**step) / (np.sqrt(v / (1 - beta2**step)) + eps)


def rms(updates):
    return math.sqrt(np.mean(np.square(updates)))


def spread(updates):
    """Relative standard error of the rms of one element's update; over √n for n elements."""
    square = np.square(updates)
    return float(square.std() / (2 * square.mean()))


@lru_cache
def own_adam(noise="gaussian", snr=0.0, grad_scale=1.0, beta1=0.9, beta2=0.999, eps=1e-8):
    """RMS and its spread at STEPS."""
    gradients = (grad_scale * g for g in stream(noise, snr, max(STEPS), OWN_SIZE))
    updates = enumerate(adam(gradients, beta1, beta2, eps), 1)
    return {step: (rms(u), spread(u)) for step, u in updates if step in STEPS}


def own_deviation(k, noise="gaussian", snr=0.0, grad_scale=1.0, steps=50, size=20_000, **betas):
    """Largest rms(u_k − u_1)/rms(u_1) of the steps."""
    gradients = [grad_scale * g for g in stream(noise, snr, steps, size)]
    moves = zip(adam(gradients, **betas), adam((k * g for g in gradients), **betas), strict=True)
    return max(rms(u_k - u_1) / rms(u_1) for u_1, u_k in moves)


# Update size

ADAMS = [
    {},
    {"snr": 0.5},
    {"eps": 1.0},
    {"eps": 0.01, "grad_scale": 0.02, "snr": 0.5},
    {"beta1": 0.8, "beta2": 0.95},
    {"noise": "student-t:5"},
    {"noise": "sparse:0.05"},
    {"noise": "ar1:0.5"},
    {"noise": "ar1:-0.5", "snr": 0.5},
]


@pytest.mark.parametrize("setting", ADAMS, ids=str)
def test_update_size_is_that_of_an_adam_in_numpy(setting):
    report = scalecheck.simulate("adam", steps=max(STEPS), size=SIZE, **setting)
    of_tool, of_theory = replayed(report), expected(report)
    for step, (own, one) in own_adam(**setting).items():
        of_own = one / math.sqrt(OWN_SIZE)
        of_both = math.hypot(of_own, one / math.sqrt(SIZE))
        assert of_tool[step] == pytest.approx(own, rel=4 * of_both + 1e-6), f"step {step}"
        assert of_theory[step] == pytest.approx(own, rel=4 * of_own + 1e-6), f"step {step}"


@pytest.mark.parametrize(
    ("snr", "measured"),
    [
        (0.0, {1: 1, 2: 0.70804, 5: 0.45180, 10: 0.32967, 20: 0.25936, 50: 0.23078, 100: 0.22965}),
        (0.5, {2: 0.74760, 5: 0.57338, 10: 0.51563, 20: 0.49210, 100: 0.48932}),
    ],
)
def test_expected_update_is_the_notes_monte_carlo(snr, measured):
    of_report = expected(scalecheck.simulate("adam", steps=100, size=16, snr=snr, eps=1e-15))
    for step, rms_measured in measured.items():
        assert of_report[step] == pytest.approx(rms_measured, rel=2e-3)
        assert scalecheck.update_rms(0.9, 0.999, snr, step) == pytest.approx(of_report[step])


@pytest.mark.parametrize("grad_scale", [1.0, 0.003])
@pytest.mark.parametrize(
    ("noise", "snr", "kurtosis"),
    [
        ("gaussian", 0.0, 3),
        ("gaussian", 2.0, 3),
        ("student-t:5", 0.0, 9),
        ("sparse:0.05", 0.0, 60),
        ("ar1:0.5", 0.0, 3),
        ("ar1:-0.9", 1.0, 3),
    ],
)
def test_gradients_have_the_scale_that_is_asked_for(noise, snr, kurtosis, grad_scale):
    """SGD's update at lr 1 is the gradient."""
    size = 16_384
    report = scalecheck.simulate(
        "sgd", noise=noise, snr=snr, grad_scale=grad_scale, steps=10, size=size
    )
    for step, of_tool in replayed(report).items():
        error = math.sqrt((kurtosis - 1) / (4 * size))
        assert of_tool == pytest.approx(grad_scale, rel=4 * error), f"step {step}"


@pytest.mark.parametrize(
    ("noise", "snr", "rho"),
    [
        ("gaussian", 0.0, 0.0),
        ("gaussian", 0.5, 0.0),
        ("student-t:5", 0.0, 0.0),
        ("sparse:0.5", 0.0, 0.0),
        ("ar1:0.5", 0.0, 0.5),
        ("ar1:0.9", 0.0, 0.9),
        ("ar1:-0.5", 0.0, -0.5),
        ("ar1:0.5", 0.5, 0.5),
    ],
)
def test_gradients_are_correlated_over_steps_as_asked_for(noise, snr, rho):
    """SGD with momentum adds them up: E[u²] = Σ momentum^(i+j)·E[g_i·g_j]."""
    momentum, size = 0.9, 16_384
    report = scalecheck.simulate(
        "sgd", momentum=momentum, noise=noise, snr=snr, steps=10, size=size
    )
    drift_share = snr**2 / (1 + snr**2)
    for step, of_tool in replayed(report).items():
        lags = np.abs(np.subtract.outer(np.arange(step), np.arange(step)))
        products = drift_share + (1 - drift_share) * float(rho) ** lags
        weights = momentum ** np.arange(step)
        kurtosis = 9 if noise == "student-t:5" else 6  # 3/density
        error = math.sqrt((kurtosis - 1) / (4 * size))
        own = math.sqrt(weights @ products @ weights)
        assert of_tool == pytest.approx(own, rel=4 * error), f"step {step}"


@pytest.mark.parametrize("density", [0.05, 0.5])
def test_sparse_gradients_have_the_density_that_is_asked_for(density):
    """The sign of a gradient that is zero is zero, so that signSGD's update counts the others."""
    size = 16_384
    report = scalecheck.simulate("signsgd", noise=f"sparse:{density}", steps=5, size=size)
    for of_tool in replayed(report).values():
        error = math.sqrt(density * (1 - density) / size)
        assert of_tool**2 == pytest.approx(density, abs=4 * error)


def test_student_t_has_its_tails():
    """One step of Adam with eps = rms(g) halves |g| = rms(g) and moves the tails by up to 1."""
    size = 16_384
    report = scalecheck.simulate("adam", noise="student-t:3", eps=1.0, steps=1, size=size)
    (gradients,) = stream("student-t:3", 0.0, 1, 200_000)
    update = np.abs(gradients) / (np.abs(gradients) + 1)
    error = spread(update) * math.hypot(size**-0.5, 200_000**-0.5)
    assert replayed(report)[1] == pytest.approx(rms(update), rel=4 * error)
    assert abs(rms(update) / 0.427801 - 1) > 6 * error  # the Gaussian's


@pytest.mark.parametrize("density", [0.05, 0.5])
@pytest.mark.parametrize("optimizer", ["signsgd", "lion"])
def test_signs_of_sparse_gradients_are_expected_where_they_are(optimizer, density):
    """signSGD moves where a gradient is, Lion where one has been: 1 − (1 − density)^step."""
    report = scalecheck.simulate(optimizer, noise=f"sparse:{density}", steps=10, size=4096)
    for step, of_theory in expected(report).items():
        moved = density if optimizer == "signsgd" else 1 - (1 - density) ** step
        error = math.sqrt(moved * (1 - moved) / 4096)
        assert replayed(report)[step] ** 2 == pytest.approx(moved, abs=4 * error + 1e-9)
        if of_theory is not None:
            assert of_theory == pytest.approx(math.sqrt(moved), rel=1e-6), f"step {step}"


@pytest.mark.parametrize("noise", ["student-t:5", "sparse:0.05", "ar1:0.5"])
def test_atan2_is_expected_as_it_is_replayed(noise):
    report = scalecheck.simulate("adam_atan2", noise=noise, steps=100, size=4096)
    assert [row["reason"] for row in lawful(report, "update size") if not row["holds"]] == []


# Gradient scale


@pytest.mark.parametrize(
    ("k", "setting"),
    [
        (1e-9, {}),
        (1e-8, {}),
        (3e-8, {}),
        (1e-8, {"snr": 0.5}),
        (1e-8, {"beta1": 0.5, "beta2": 0.9}),
        (10.0, {"eps": 1.0}),
        (0.1, {"eps": 1e-4, "grad_scale": 1e-4}),
        (1e-8, {"noise": "student-t:5"}),
        (1e-8, {"noise": "ar1:0.5"}),
    ],
    ids=str,
)
def test_gradient_scale_moves_adam_as_it_moves_one_in_numpy(k, setting):
    report = scalecheck.simulate("adam", k=k, steps=50, size=4096, **setting)
    assert moved_otherwise(report) == pytest.approx(own_deviation(k, **setting), rel=0.03)


POWERS = st.integers(-3, 20).filter(bool).map(lambda exponent: 2.0**exponent)


@pytest.mark.parametrize(
    "optimizer", ["adam", "adamw", "lion", "signsgd", "rmsprop", "adagrad", "adamax", "nadam"]
)
@settings(max_examples=6)
@given(k=POWERS, seed=st.integers(0, 2**32))
def test_powers_of_two_are_no_gradient_scale_without_eps(optimizer, k, seed):
    without = {} if optimizer in {"lion", "signsgd"} else {"eps": 0.0}
    report = scalecheck.simulate(optimizer, k=k, seed=seed, **TINY, **without)
    assert moved_otherwise(report) < 1e-12


@settings(max_examples=10)
@given(k=st.floats(1e-6, 1e6).filter(lambda k: k != 1))
def test_sgd_moves_k_times_as_far(k):
    report = scalecheck.simulate("adam", k=k, **TINY)
    (contrast,) = (row for row in claims(report, "gradient scale") if row["contrast"])
    assert contrast["optimizer"] == "sgd"
    assert contrast["measured"] == pytest.approx(abs(k - 1), rel=1e-9, abs=1e-12)


# The window of k


def window(report):
    """The share and the two ends that the notes of the first claims name."""
    notes = " ".join(report.tables[0].notes)
    words = re.search(r"holds to (\S+) % for k from (\S+) to ([^;\s]+)", notes)
    return tuple(float(word) for word in words.groups())


WINDOWS = [
    {},
    {"dtype": "float32"},
    {"dtype": "bfloat16"},
    {"eps": 1e-3},
    {"eps": 1e-3, "grad_scale": 100.0, "snr": 1.0},
    {"tolerance": 0.2},
    {"weight_decay": 0.1, "tolerance": 0.1},
    {"clip": 0.01},
    {"optimizer": "rmsprop", "dtype": "float32"},
    {"optimizer": "adagrad"},
    {"optimizer": "lamb"},
]


@pytest.mark.parametrize("setting", WINDOWS, ids=str)
def test_window_ends_where_the_law_breaks(setting):
    setting = {"steps": 20, "size": 1024, **setting}
    _, low, high = window(scalecheck.simulate(**setting))
    assert low < 1 < high

    def holds(k):
        report = scalecheck.simulate(k=k, **setting)
        return lawful(report, "gradient scale")[0]["holds"]

    assert holds(low**0.9)
    assert not holds(low**1.1)
    if high < 1e100:  # the largest k
        assert holds(high**0.9)
        assert not holds(high**1.1)


def test_window_is_that_of_an_adam_in_numpy():
    """At 50 %, where no single small gradient rules the deviation."""
    share, low, _ = window(scalecheck.simulate(tolerance=0.5, steps=20, size=4096))
    assert share == 50
    outside, inside = 1e-12, 1.0
    for _ in range(30):
        middle = math.sqrt(outside * inside)
        if own_deviation(middle, steps=20, size=4096) > 0.5:
            outside = middle
        else:
            inside = middle
    assert low == pytest.approx(inside, rel=0.15)


def test_window_of_sgd_is_the_tolerance():
    notes = " ".join(scalecheck.simulate(tolerance=0.05, **TINY).tables[0].notes)
    low, high = re.search(r"same of sgd for k from (\S+) to (\S+)", notes).groups()
    assert float(low) == pytest.approx(0.95, rel=1e-3)
    assert float(high) == pytest.approx(1.05, rel=1e-3)


# Weight scale


@lru_cache
def own_changes(build, weight_rms, lr, steps=100, size=OWN_SIZE):
    """rms(Δw)/rms(w) of the first step and of the last, gradients in proportion to 1/rms(w)."""
    rng = np.random.default_rng(11)
    start = rng.standard_normal(size)
    weights = torch.tensor(weight_rms * start / rms(start), requires_grad=True)
    running = build([weights], lr, weight_rms)
    changes = []
    for gradient in stream("gaussian", 0.0, steps, size):
        before = weights.detach().clone()
        weights.grad = torch.from_numpy(gradient / weight_rms)
        running.step()
        changes.append(rms((weights.detach() - before).numpy()) / rms(before.numpy()))
    return changes[0], changes[-1]


def torch_adam(weights, lr, scale):
    return torch.optim.Adam(weights, lr, eps=1e-8 / scale)


def torch_adamw(weights, lr, scale):
    return torch.optim.AdamW(weights, lr, eps=1e-8 / scale, weight_decay=0.5 / scale)


def torch_sgd(weights, lr, scale):
    return torch.optim.SGD(weights, lr, momentum=0.5)


@pytest.mark.parametrize(
    ("optimizer", "p", "build", "setting"),
    [
        ("adam", 1, torch_adam, {}),
        ("adamw", 1, torch_adamw, {"weight_decay": 0.5}),
        ("sgd", 2, torch_sgd, {"momentum": 0.5}),
    ],
    ids=["adam", "adamw", "sgd"],
)
@pytest.mark.parametrize("k", [10.0, 0.5])
def test_weight_scale_changes_steps_as_torch_changes_them(optimizer, p, build, setting, k):
    size, lr = 4096, 0.01
    report = scalecheck.simulate(optimizer, k=k, lr=lr, steps=100, size=size, **setting)
    rows = table(report, "cases")
    asked = [(1.0, lr), (k, k**p * lr), (k, lr), (1.0, lr / k**p)]
    assert [row["weight_rms"] for row in rows] == pytest.approx([rms for rms, _ in asked])
    assert [row["lr"] for row in rows] == pytest.approx([lr for _, lr in asked])
    tolerance = 4 * math.sqrt(1 / (2 * size))
    for row in rows:
        first, last = own_changes(build, row["weight_rms"], row["lr"])
        assert row["nominal"] == pytest.approx(row["lr"] / row["weight_rms"])
        assert row["first"] == pytest.approx(first, rel=tolerance)
        assert row["late"] == pytest.approx(last, rel=2 * tolerance)
        if optimizer == "adam":
            assert row["first"] == pytest.approx(row["nominal"], rel=1e-4)


# Reparameterization


class Lion:
    """Chen et al. 2023, algorithm 2."""

    def __init__(self, weights, lr):
        self.weights, self.lr = weights, lr
        self.averages = [torch.zeros_like(w) for w in weights]

    def step(self):
        with torch.no_grad():
            for w, m in zip(self.weights, self.averages, strict=True):
                w -= self.lr * torch.sign(0.9 * m + 0.1 * w.grad)
                m.mul_(0.99).add_(w.grad, alpha=0.01)


class Lamb:
    """You et al. 2020, algorithm 2, the cap on ‖w‖ left out."""

    def __init__(self, weights, lr, eps):
        self.weights, self.lr, self.eps, self.steps = weights, lr, eps, 0
        self.averages = [(torch.zeros_like(w), torch.zeros_like(w)) for w in weights]

    def step(self):
        self.steps += 1
        with torch.no_grad():
            for w, (m, v) in zip(self.weights, self.averages, strict=True):
                m.mul_(0.9).add_(w.grad, alpha=0.1)
                v.mul_(0.999).add_(w.grad**2, alpha=0.001)
                root = (v / (1 - 0.999**self.steps)).sqrt()
                u = m / (1 - 0.9**self.steps) / (root + self.eps)
                w -= self.lr * w.norm() / u.norm() * u


TWINS = {
    "adam": (0.01, lambda weights, lr, k: torch.optim.Adam(weights, lr, eps=1e-4 / k)),
    "sgd": (0.1, lambda weights, lr, k: torch.optim.SGD(weights, lr, momentum=0.5)),
    "lion": (0.01, lambda weights, lr, k: Lion(weights, lr)),
    "lamb": (0.02, lambda weights, lr, k: Lamb(weights, lr, 1e-4 / k)),
}


def own_outputs(optimizer, k, p):
    """Of relu((w1/k)·x)·(w2/k), trained for 40 steps from weights k times the same ones."""
    rng = np.random.default_rng(3)

    def normal(*shape):
        return torch.from_numpy(rng.standard_normal(shape))

    weights = [(k * normal(20, 7) / 7**0.5).requires_grad_(), k * normal(4, 20) / 20**0.5]
    weights[1].requires_grad_()
    tests = normal(30, 7)
    lr, build = TWINS[optimizer]
    running = build(weights, k**p * lr, k)

    def forward(x):
        return torch.relu(x @ (weights[0] / k).T) @ (weights[1] / k).T

    outputs = []
    for _ in range(40):
        for w in weights:
            w.grad = None
        torch.autograd.backward((forward(normal(10, 7)) - normal(10, 4)).square().mean())
        running.step()
        outputs.append(forward(tests).detach().numpy())
    return np.stack(outputs)


@lru_cache
def everything(seed=1):
    return scalecheck.simulate("all", k=3.0, seed=seed, steps=60, size=1024)


@pytest.mark.parametrize("k", [10.0, 0.1])
@pytest.mark.parametrize("optimizer", TWINS)
def test_reparameterization_is_that_of_other_twins(optimizer, k):
    (p,) = (r["p"] for r in table(everything(), "optimizers") if r["optimizer"] == optimizer)
    alone = own_outputs(optimizer, 1.0, 0)
    with np.errstate(over="ignore", invalid="ignore"):
        apart = {
            power: np.max(np.abs(own_outputs(optimizer, k, power) - alone)) / np.abs(alone).max()
            for power in (p - 1, p, p + 1)
        }
    assert apart[p] < 1e-8
    assert not apart[p - 1] <= 1e-2  # NaN, where it diverges, is no agreement
    assert not apart[p + 1] <= 1e-2
    said = {
        int(re.search(r"p = (-?\d+)", row["claim"])[1]): row
        for row in claims(scalecheck.simulate(optimizer, k=k, **TINY), "reparameterization")
    }
    assert set(said) == {p - 1, p, p + 1}
    assert {power for power, row in said.items() if row["relation"] == "within"} == {p}
    assert all(row["holds"] for row in said.values())


# Many layers


@pytest.mark.parametrize("lr", [1e-3, 0.5])
def test_layers_follow_their_gradients_under_sgd_alone(lr):
    layers = table(scalecheck.simulate("adam", lr=lr, steps=100, size=SIZE), "layers")
    assert [row["grad_rms"] for row in layers] == [1e-4, 1e-2, 1, 100]
    own, one = own_adam()[100]
    for row in layers:
        tolerance = 4 * one * math.hypot(OWN_SIZE**-0.5, SIZE**-0.5)
        assert row["update_rms"] == pytest.approx(own, rel=tolerance)
        sampling = 4 / math.sqrt(2 * SIZE)
        assert row["update_rms_sgd"] == pytest.approx(row["grad_rms"], rel=sampling)
        assert row["relative_equal"] == pytest.approx(lr * row["update_rms"])
        assert row["relative_different"] == pytest.approx(
            lr * row["update_rms"] / row["weight_rms"]
        )


# What a claim is worth

BREAKING = [
    ("gradient scale", "adam", {"k": 1e-9}, "eps"),
    ("gradient scale", "adam", {"k": 1e-3, "eps": 1e-3}, "eps"),
    ("gradient scale", "adam", {"weight_decay": 0.1}, "weight_decay"),
    ("gradient scale", "adam", {"dtype": "float32", "k": 1e25}, "float32"),
    ("gradient scale", "adam", {"dtype": "float16"}, "float16"),
    ("gradient scale", "sgd", {"clip": 0.01}, "clip"),
    ("gradient scale", "adam", {"clip": 0.01, "grad_scale": 1e-4}, "clip"),
    ("update size", "adam", {"weight_decay": 0.3}, "weight_decay"),
    ("update size", "adam", {"dtype": "float16"}, "float16"),
    ("update size", "adam", {"dtype": "bfloat16"}, "bfloat16"),
    ("update size", "adam", {"dtype": "float32", "grad_scale": 1e-25, "eps": 0.0}, "float32"),
    ("weight scale", "adam", {"dtype": "bfloat16", "lr": 1e-5}, "bfloat16"),
    ("weight scale", "adam", {"lr": 1e-17}, "float64"),
    ("weight scale", "sgd", {"lr": 1e-17}, "float64"),
    ("reparameterization", "adafactor", {"eps1": 1e-3}, "eps1"),
    ("reparameterization", "adam", {"clip": 0.01, "k": 1e4}, "clip"),
    ("many layers", "adam", {"eps": 1e-3}, "eps"),
    ("many layers", "adam", {"weight_decay": 0.1}, "weight_decay"),
    ("many layers", "adagrad", {"eps": 1e-3}, "eps"),
]


@pytest.mark.parametrize(("law", "optimizer", "setting", "word"), BREAKING, ids=str)
def test_a_law_breaks_with_a_reason(law, optimizer, setting, word):
    report = scalecheck.simulate(optimizer, **SHORT, **setting)
    broken = [row for row in lawful(report, law) if not row["holds"]]
    assert broken
    assert report.failed
    for row in broken:
        if row["relation"] == "within" and row["measured"] is not None:
            assert abs(row["measured"] - row["expected"]) > row["tolerance"]
    assert all(word in row["reason"] for row in broken), [row["reason"] for row in broken]


@pytest.mark.parametrize("optimizer", sorted({optimizer for _, optimizer, *_ in BREAKING}))
def test_the_same_law_holds_without_that_setting(optimizer):
    report = scalecheck.simulate(optimizer, **SHORT)
    assert not report.failed
    assert {law for law, name, *_ in BREAKING if name == optimizer} <= {
        row["law"] for row in lawful(report, None) if row["holds"]
    }


@pytest.mark.parametrize("p_setting", [{"k": 1e-9}, {"eps": 1e-3}, {"dtype": "float16"}, {}])
def test_a_verdict_is_its_numbers(p_setting):
    for row in claims(scalecheck.simulate("adam", **SHORT, **p_setting)):
        measured = math.nan if row["measured"] is None else row["measured"]
        if row["relation"] == "within":
            assert row["holds"] == (abs(measured - row["expected"]) <= row["tolerance"])
        else:
            assert row["holds"] == (measured > row["expected"])
        assert (row["reason"] is None) == row["holds"]


@pytest.mark.parametrize("seed", [1, 2])
def test_every_law_holds_at_another_seed(seed):
    report = everything(seed)
    broken = [row for row in lawful(report, None) if not row["holds"]]
    assert [(row["optimizer"], row["claim"], row["measured"]) for row in broken] == []
    assert not report.failed  # though its contrasts break


# Contrasts


@pytest.mark.parametrize(
    ("optimizer", "setting"),
    [
        ("adam", {}),
        ("sgd", {}),
        ("radam", {}),
        ("adadelta", {}),
        ("adam", {"k": 1e-9}),
        ("adam", {"clip": 0.01}),
        ("adam", {"eps": 1e-3}),
        ("all", {"k": 1e-9}),
    ],
    ids=str,
)
def test_contrasts_are_no_failures(optimizer, setting):
    report = scalecheck.simulate(optimizer, **SHORT, **setting)
    rows = claims(report)
    broken = [row for row in rows if not row["holds"] and not row["contrast"]]
    assert any(row["contrast"] for row in rows)
    assert report.failed == bool(broken)
    assert bool(broken) == bool(setting.keys() & {"k", "eps"})
