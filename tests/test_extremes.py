"""Numbers at the ends of float64's range, in weights, on the command line and in a saved state: a
result or a reason, and never an error of arithmetic."""

import json

import numpy as np
import pytest
import safetensors.numpy
import torch
from command import scalecheck

from scalecheck.optimizers import rmsprop
from scalecheck.optimizers._optimizer import Gradient, Unlawful

LARGEST = np.finfo(np.float64).max
pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def weights(tmp_path):
    """A checkpoint of one matrix of float64, of the numbers given."""

    def saved(numbers):
        path = tmp_path / "w.safetensors"
        safetensors.numpy.save_file({"w.weight": np.asarray(numbers).reshape(-1, 4)}, path)
        return path

    return saved


def finite(token):
    pytest.fail(f"{token} in JSON")


@pytest.mark.parametrize("count", [4, 60, 64, 100, 1000])
def test_figures_of_the_largest_numbers_are_finite(weights, count):
    signs = np.random.default_rng(count).choice([-1.0, 1.0], count)
    done = scalecheck("inspect", weights(LARGEST * signs), "--format", "json", "--by", "layer")
    assert (done.code, done.err) == (0, "")
    (row,) = json.loads(done.out, parse_constant=finite)["rows"]
    assert row["rms"] == pytest.approx(LARGEST, rel=1e-12)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--optimizer", "lion"),
        ("--steps", 100, "--target", 1e-3),
        ("--optimizer", "adafactor", "--grad-rms", 1e200),
        ("--optimizer", "rprop", "--snr", 1e6, "--step", 10**9),
        ("--optimizer", "adam", "--grad-rms", 1e-310, "--eps", 1),
        ("--optimizer", "rmsprop", "--momentum", 0.9999999999),
        ("--optimizer", "rmsprop", "--momentum", 0.9999999999, "--step", 10**12),
        ("--optimizer", "lion", "--weight-decay", 1e-320, "--steps", 10),
        ("--by", "role", "--to", "lion"),
    ],
)
@pytest.mark.parametrize("scale", [1e-320, 1e-3, 1e300])
@pytest.mark.parametrize("lr", [1e-3, 1e308])
def test_any_scale_and_lr_have_a_translation(weights, arguments, scale, lr):
    path = weights(scale * np.array([1.0, -1.0, 1.0, 1.0]))
    for form in ("json", "table"):
        done = scalecheck("translate", path, "--lr", lr, *arguments, "--format", form)
        assert (done.code, len(done.err.splitlines())) in ((0, 0), (2, 1))
        if form == "json" and done.out:
            json.loads(done.out, parse_constant=finite)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (torch.optim.AdamW, {"weight_decay": 1e-170}),
        (torch.optim.AdamW, {"lr": 1e200, "weight_decay": 1e-300}),
        (torch.optim.Adafactor, {"beta2_decay": -1000}),
        (torch.optim.RMSprop, {"momentum": 0.9999999999, "alpha": 0.9999999999}),
        (torch.optim.Rprop, {"etas": (0.5, 1e200)}),
    ],
)
@pytest.mark.parametrize("command", [("translate", "--steps", 100), ("check",)])
def test_any_settings_of_a_state_have_a_translation(tmp_path, kind, settings, command):
    model = torch.nn.Linear(8, 8)
    optimizer = kind(model.parameters(), lr=1e-3)
    model(torch.ones(4, 8)).square().sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    state["param_groups"][0] |= settings
    torch.save({"model": model.state_dict(), "optimizer": state}, tmp_path / "run.pt")
    name, *more = command
    done = scalecheck(name, tmp_path / "run.pt", *more, "--format", "json")
    assert (done.code, len(done.err.splitlines())) in ((0, 0), (1, 0), (2, 1))
    if done.out:
        json.loads(done.out, parse_constant=finite)


def test_settings_that_leave_the_range_of_float64_are_the_reason(weights):
    path = weights([1.0, -1.0, 1.0, 1.0])
    options = ("--lr", 1e-3, "--optimizer", "adafactor", "--grad-rms", 1e200)
    done = scalecheck("translate", path, *options)
    reason = "--optimizer adafactor: its numbers leave the range of float64"
    assert (done.code, done.err) == (2, f"scalecheck: {reason}\n")


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.99])
def test_the_limit_of_rmsprop_is_its_late_step(momentum):
    optimizer = rmsprop.Optimizer(momentum=momentum)
    for snr in (0.0, 0.3):
        late = optimizer.update_rms(Gradient(snr=snr), 5000)
        assert optimizer.update_rms(Gradient(snr=snr)) == pytest.approx(late, rel=1e-5)


def test_a_momentum_that_adds_up_more_updates_than_are_solved_is_refused():
    with pytest.raises(Unlawful, match=r"adds up 1000000000 updates"):
        rmsprop.Optimizer(momentum=0.9999999999).update_rms(Gradient(), 10**9)
