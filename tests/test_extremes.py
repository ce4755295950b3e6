"""Numbers at the ends of float64's range, in weights, on the command line and in a saved state: a
result or a reason, and never an error of arithmetic."""

import json

import numpy as np
import pytest
import safetensors.numpy
import torch
from command import scalecheck

from scalecheck.optimizers import nadam, rmsprop
from scalecheck.optimizers.contract import Gradient, NoFormula

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
        ("--eps", 1e300),
        ("--weight-decay", 1e-320, "--steps", 1000),
        ("--steps", 10**15, "--schedule", "cosine"),
        ("--steps", 10**15, "--schedule", "wsd"),
        ("--optimizer", "lamb", "--param-dtype", "bf16"),
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
    with pytest.raises(NoFormula, match=r"adds up 1000000000 updates"):
        rmsprop.Optimizer(momentum=0.9999999999).update_rms(Gradient(), 10**9)


@pytest.mark.parametrize("number", [10**16, 10**320, int("9" * 4000)])
@pytest.mark.parametrize("option", ["--step", "--steps"])
@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "wsd"])
def test_more_steps_than_float64_keeps_apart_are_refused(weights, number, option, schedule):
    path = weights([1.0, -1.0, 1.0, 1.0])
    more = ("--schedule", schedule) if option == "--steps" else ()
    for command in (("translate",), ("check",)):
        done = scalecheck(*command, path, "--lr", 1e-3, option, number, *more)
        assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)


def test_a_state_with_a_huge_eps_is_ruled_by_it():
    model = torch.nn.Linear(8, 8)
    optimizer = torch.optim.NAdam(model.parameters(), eps=1e300)
    model(torch.ones(4, 8)).square().sum().backward()
    optimizer.step()
    run = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(run, "run.pt")
    done = scalecheck("translate", "run.pt", "--format", "json")
    assert (done.code, done.err) == (0, "")
    assert {row["eps_share"] for row in json.loads(done.out)["rows"]} == {1.0}


def test_a_momentum_decay_that_vanishes_is_refused_and_not_waited_for():
    with pytest.raises(NoFormula, match="is a product of over 100000 μ"):
        nadam.Optimizer(beta1=1 - 1e-12, momentum_decay=1e300).update_rms(Gradient(), 10**12)


@pytest.mark.parametrize("form", ["json", "toml", "torch"])
def test_an_lr_that_is_not_finite_is_not_emitted(weights, form):
    path = weights([1.7e308, -1.7e308, 1.7e308, 1.7e308])
    done = scalecheck("translate", path, "--lr", 1e300, "--target", 0.9, "--emit", form)
    assert (done.code, done.out) == (2, "")
    assert done.err == "scalecheck: --emit: the lr of w.weight is not finite\n"


def test_what_is_not_finite_is_nothing_in_csv(weights):
    path = weights([1e-200, -1e-200, 1e-200, 1e-200])
    done = scalecheck("translate", path, "--lr", 1e150, "--format", "csv")
    assert done.code == 0
    assert "inf" not in done.out.split("\n", 1)[1]


def test_a_shape_of_more_elements_than_there_are_is_refused():
    shape = "w.weight=" + "x".join(["999999999999999999"] * 20)
    done = scalecheck("translate", "--shape", shape, "--assume", "torch", "--lr", 1e-3)
    assert done.code == 2
    assert done.err.endswith("has 2^63 elements or more\n")
