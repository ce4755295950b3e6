"""What holds of every optimizer of the directory: what it states and what it refuses, and that it
is pure. The numbers are those that theory gave before it was written as code."""

import dataclasses
import inspect
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from replays import replay

from scalecheck import registry
from scalecheck.optimizers.contract import (
    Gradient,
    Hyperparameters,
    NoFormula,
    Weights,
)
from scalecheck.theory.noise import Autoregressive, Sparse, StudentT
from scalecheck.updates.recognition import Recognised

NAMES = registry.names("optimizer")
NOISE, CONSTANT = Gradient(), Gradient(snr=1e6)
MATRIX = Weights((256, 256))


def load(name: str, **settings: Any) -> Hyperparameters:
    optimizer: type[Hyperparameters] = registry.load("optimizer", name).Optimizer
    return optimizer(**settings)


@pytest.mark.parametrize("name", NAMES)
def test_a_module_holds_one_optimizer_and_its_help(name: str) -> None:
    module = registry.load("optimizer", name)
    public = [
        member
        for member in vars(module).values()
        if inspect.isclass(member) and member.__module__ == module.__name__
    ]
    assert public == [module.Optimizer]
    assert issubclass(module.Optimizer, Hyperparameters)
    assert str(module.__doc__).splitlines()[0].endswith(".")
    assert "w ← " in module.Optimizer.__doc__


TORCH = {each.lower(): getattr(torch.optim, each) for each in dir(torch.optim)}


@pytest.mark.parametrize("name", [name for name in NAMES if name in TORCH])
def test_defaults_are_torchs(name: str) -> None:
    """torch's tuples are taken apart."""
    defaults = {
        setting: parameter.default
        for setting, parameter in inspect.signature(TORCH[name]).parameters.items()
    }
    optimizer = load(name)
    for pair, names in optimizer.state.pairs.items():
        defaults |= dict(zip(names, defaults[pair], strict=True))
    stated = dataclasses.asdict(optimizer)
    assert stated == {setting: defaults[setting] for setting in stated}


@pytest.mark.parametrize("name", NAMES)
def test_torchs_class_is_the_replay_where_there_is_one(name: str) -> None:
    running = load(name).torch_optimizer([torch.zeros(2, 2, requires_grad=True)], 0.1)
    assert type(running) is TORCH.get(name, type(running))
    assert type(running).__module__.startswith("torch.optim") == (name in TORCH)
    assert running.param_groups[0]["lr"] == 0.1


RUNS: dict[str, list[dict[str, Any]]] = {
    "adafactor_hf": [{"beta1": 0.9}],
    "adabelief": [{"amsgrad": True}],
    "adapnm": [{"amsgrad": True}],
    "sgdw": [{"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}],
    "adam": [{"amsgrad": True}],
    "adamw": [{"amsgrad": True}],
    "nadam": [{"decoupled_weight_decay": True}],
    "radam": [{"decoupled_weight_decay": True}],
    "rmsprop": [{"centered": True}, {"momentum": 0.9}],
    "sgd": [{"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}],
    "signsgd": [{"momentum": 0.9}],
}
"""Settings beside the defaults at which an optimizer may keep something else."""


def saved(name: str, settings: dict[str, Any]) -> tuple[list[torch.Tensor], dict[str, Any]]:
    """The parameters and the state_dict() of an optimizer after two steps."""
    params = [torch.ones(4, 3, requires_grad=True)]
    params += [] if name == "muon" else [torch.ones(5, requires_grad=True)]
    running = load(name, **settings).torch_optimizer(params, 0.1)
    for _ in range(2):
        for param in params:
            param.grad = torch.ones_like(param)
        running.step()
    return params, running.state_dict()


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_state_is_as_stated(name: str) -> None:
    """The settings and entries that a run saves are those stated, all of them in some run."""
    optimizer = load(name)
    stated = optimizer.state
    hyperparameters = optimizer.torch_settings().keys() | stated.fixed.keys()
    written: set[str] = set()
    kept: set[str] = set()
    for settings in ({}, *RUNS.get(name, [])):
        params, state = saved(name, settings)
        [group] = state["param_groups"]
        own = group.keys() - {"params", "lr"}
        assert hyperparameters - set(stated.optional_settings) <= own
        assert {setting: group[setting] for setting in stated.fixed} == stated.fixed
        assert all(isinstance(group[pair], tuple) for pair in stated.pairs)
        written |= own
        for key, entries in state["state"].items():
            assert stated.entries.keys() <= entries.keys()
            kept |= entries.keys()
            for entry, held in entries.items():
                has_own_shape = np.shape(held) == params[key].shape
                assert stated.every_entry[entry].has_own_shape == has_own_shape
    assert written == hyperparameters | set(stated.optional_settings)
    assert kept == stated.every_entry.keys()


@pytest.mark.parametrize("name", [name for name in NAMES if load(name).state.is_distinct])
def test_a_saved_state_is_recognised(name: str) -> None:
    for settings in ({}, *RUNS.get(name, [])):
        _, state = saved(name, settings)
        for group in state["param_groups"]:
            settings = {setting: group[setting] for setting in group if setting != "params"}
            assert Recognised(settings, state["state"].values()).name == name


def test_only_states_that_others_write_alike_are_not_recognised() -> None:
    unknown = {name for name in NAMES if not load(name).state.is_distinct}
    assert unknown == {
        *("adam_atan2", "adopt", "dadapt_adagrad", "dadapt_adam", "dadapt_sgd"),
        *("lamb", "lars", "prodigy", "sgdw", "signsgd", "stable_adamw"),
    }


def test_expected_updates_need_no_torch() -> None:
    program = (
        "import sys\n"
        "from scalecheck import registry\n"
        "from scalecheck.optimizers.contract import Gradient, NoFormula, Weights\n"
        "for name in registry.names('optimizer'):\n"
        "    optimizer = registry.load('optimizer', name).Optimizer()\n"
        "    try:\n"
        "        optimizer.update_rms(Gradient(), 3, Weights((4, 4)))\n"
        "        optimizer.rescaled(2.0)\n"
        "    except NoFormula:\n"
        "        pass\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("name", "settings", "gradient", "step", "expected"),
    [
        ("sgd", {"momentum": 0.9}, NOISE, None, 2.294),
        ("sgd", {"momentum": 0.9}, CONSTANT, None, 10.0),
        ("sgd", {"momentum": 0.9, "nesterov": True}, NOISE, None, 2.658),
        ("adam", {"eps": 0.0}, NOISE, None, 0.229302),
        ("adam", {}, CONSTANT, None, 1.0),
        ("adam", {"eps": 1.0}, NOISE, 1, 0.427801),
        ("adam", {"amsgrad": True}, NOISE, 1, 1.0),
        ("adamw", {"beta2": 0.95, "eps": 1.0}, NOISE, None, 0.113329),
        ("adamax", {}, NOISE, 100, 0.0888),
        ("nadam", {}, NOISE, None, 0.26577),
        ("nadam", {}, NOISE, 1000, 0.5444),
        ("nadam", {}, NOISE, 1, 1.056),
        ("radam", {}, CONSTANT, 6, 0.025821),
        ("radam", {}, CONSTANT, 100, 0.2153),
        ("radam", {}, CONSTANT, 1000, 0.6453),
        ("radam", {}, Gradient(rms=1e-3), 1, 1e-3),
        ("rmsprop", {}, NOISE, 1, 10.0),
        ("rmsprop", {}, NOISE, 10, 3.222),
        ("rmsprop", {}, NOISE, 100, 1.250),
        ("rmsprop", {}, NOISE, None, 0.9951),
        ("rmsprop", {"momentum": 0.9}, NOISE, None, 0.9951 * 2.29416),
        ("rmsprop", {"centered": True}, CONSTANT, 1000, 152.2),
        ("rmsprop", {"momentum": 0.9}, CONSTANT, None, 10.0),
        ("adagrad", {}, NOISE, 1000, 1000**-0.5),
        ("adafactor", {}, NOISE, 10, 1.0),
        ("muon", {"adjust_lr_fn": "match_rms_adamw"}, NOISE, 5, 0.181),
        ("muon", {}, NOISE, 5, 0.181 / 0.2 / 16),
        ("rprop", {}, CONSTANT, 10, 1.2**9),
        ("lion", {}, NOISE, None, 1.0),
        ("signsgd", {}, NOISE, None, 1.0),
        ("adam_atan2", {}, NOISE, None, 0.27875),
        ("stable_adamw", {"beta2": 0.999}, NOISE, 100, 0.22932),
        ("lamb", {}, NOISE, None, 1.0),
        ("lars", {}, NOISE, 1, 1e-3),
        ("lars", {}, NOISE, None, 2.294e-3),
        ("lars", {"weight_decay": 1.0}, CONSTANT, None, 5e-3),
    ],
)
def test_expected_updates_are_the_vectors(
    name: str, settings: dict[str, Any], gradient: Gradient, step: int | None, expected: float
) -> None:
    rel = 3e-2 if name == "muon" else 5e-3 if name in {"adamax", "nadam"} else 3e-4
    stated = load(name, **settings).update_rms(gradient, step, MATRIX)
    assert stated == pytest.approx(expected, rel=rel)


@pytest.mark.parametrize(
    ("name", "settings", "gradient", "step", "reason"),
    [
        ("adadelta", {}, NOISE, 5, "from its earlier steps"),
        ("adam", {"amsgrad": True}, NOISE, 5, "running maximum"),
        ("adamw", {"amsgrad": True}, NOISE, None, "running maximum"),
        ("adamax", {"eps": 0.1}, NOISE, 5, r"rms\(g\)/eps 10:"),
        ("adamax", {}, Gradient(noise=StudentT(3.0)), 5, "Gaussian"),
        ("nadam", {}, Gradient(noise=Sparse(0.1)), 5, "Gaussian"),
        ("rmsprop", {"centered": True}, Gradient(noise=Sparse(0.1)), 5, "Gaussian"),
        ("rmsprop", {"centered": True, "alpha": 0.0}, NOISE, 5, "divides by eps alone"),
        ("rmsprop", {"momentum": 0.5}, Gradient(noise=Autoregressive(0.5)), 5, "independent"),
        ("sgd", {}, Gradient(noise=StudentT(2.0)), 5, "mean square"),
        ("adagrad", {"initial_accumulator_value": 0.1}, NOISE, 5, "initial_accumulator_value 0.1"),
        ("muon", {}, CONSTANT, 5, "rank"),
        ("rprop", {}, NOISE, None, "step_size_min"),
    ],
)
def test_what_theory_does_not_know_is_refused_with_the_reason(
    name: str, settings: dict[str, Any], gradient: Gradient, step: int | None, reason: str
) -> None:
    with pytest.raises(NoFormula, match=reason):
        load(name, **settings).update_rms(gradient, step, MATRIX)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("radam", "first 5 steps"),
        ("adadelta", "no exponent fits both"),
        ("adabelief", "no exponent fits eps"),
        ("adapnm", "no exponent fits 1e-15"),
        ("dadapt_adagrad", "no exponent fits α"),
        ("padam", "no whole number"),
        ("sophia", "fits both clipped elements"),
        ("yogi", "no exponent fits initial_accumulator"),
    ],
)
def test_an_optimizer_without_an_exponent_says_why(name: str, reason: str) -> None:
    with pytest.raises(NoFormula, match=reason):
        load(name).rescaled(10.0)


UNLAWFUL = {
    *("adabelief", "adadelta", "adapnm", "dadapt_adagrad", "padam", "radam", "sophia", "yogi"),
}


def test_only_a_few_have_no_exponent() -> None:
    exponents = {
        name: load(name).reparameterization().lr_exponent for name in NAMES if name not in UNLAWFUL
    }
    relative = {name for name in NAMES if load(name).relative_lr}
    assert relative == {"adafactor", "adafactor_hf", "lamb", "lars"}
    assert {name for name, p in exponents.items() if p == 0} == relative
    assert {name for name, p in exponents.items() if p == 2} == {"sgd", "sgdw"}
    assert set(exponents.values()) == {0, 1, 2}


def test_most_expect_an_update_of_noise() -> None:
    refused = []
    for name in NAMES:
        try:
            load(name).update_rms(NOISE, 5, MATRIX)
        except NoFormula:
            refused.append(name)
    assert set(refused) == {
        *("adabelief", "adadelta", "adan", "adopt", "dadapt_adagrad", "dadapt_adan", "dadapt_sgd"),
        *("adapnm", "laprop", "novograd", "padam", "sophia", "yogi"),
    }


@pytest.mark.parametrize("name", ["adafactor", "adafactor_hf", "lamb", "lars"])
def test_weights_of_zero_have_no_relative_update(name: str) -> None:
    with pytest.raises(NoFormula, match="all zero"):
        load(name).update_rms(NOISE, 1, Weights((4, 4), 0.0))


def test_muon_takes_matrices_only() -> None:
    for shape in ((), (3,), (2, 3, 4)):
        with pytest.raises(ValueError, match="matrices only"):
            load("muon").update_rms(NOISE, 1, Weights(shape))


def test_amsgrad_is_below_adam() -> None:
    """Element by element, on the same gradients."""
    gradients = np.random.default_rng(0).standard_normal((100, 500))
    adam = replay(load("adam", beta2=0.95), np.zeros(500), gradients)
    amsgrad = replay(load("adam", beta2=0.95, amsgrad=True), np.zeros(500), gradients)
    moved = [(np.abs(u), np.abs(v)) for u, v in zip(adam, amsgrad, strict=True)]
    assert all((bounded <= update * (1 + 1e-9) + 1e-12).all() for update, bounded in moved)
    assert moved[-1][1].mean() < 0.9 * moved[-1][0].mean()


def test_centered_rmsprop_diverges_on_a_constant_gradient() -> None:
    """152 at step 1000, where Adam's update is 1."""
    *_, update = replay(load("rmsprop", centered=True), np.zeros(1), np.ones((1000, 1)))
    assert float(update[0]) == pytest.approx(152, rel=0.01)


def test_adadelta_starts_at_the_root_of_eps() -> None:
    update = next(replay(load("adadelta"), np.zeros(1), np.ones((1, 1))))
    assert float(update[0]) == pytest.approx(math.sqrt(1e-6 / 0.1), rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_steps_count_from_one(name: str) -> None:
    optimizer = load(name)
    assert optimizer.effective_lr(1e-3) == 1e-3
    with pytest.raises((ValueError, NoFormula), match=r"step 0|earlier steps"):
        optimizer.update_rms(NOISE, 0, MATRIX)


@pytest.mark.parametrize("start", [0.0, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_a_zero_gradient_stays_finite(name: str, start: float) -> None:
    """From the first step on, and between others."""
    gradients = np.zeros((6, 3, 4))
    gradients[3] = 1.0
    assert np.isfinite(list(replay(load(name), np.full((3, 4), start), gradients, 0.01))).all()


@pytest.mark.parametrize("name", ["lamb", "stable_adamw"])
def test_a_zero_gradient_needs_no_eps_where_torch_has_no_class(name: str) -> None:
    gradients = np.zeros((6, 3, 4))
    gradients[3, 0] = 1.0
    updates = replay(load(name, eps=0.0), np.ones((3, 4)), gradients, 0.01)
    assert np.isfinite(list(updates)).all()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "yogi"])
def test_weights_of_zero_do_not_move_without_a_gradient(name: str) -> None:
    """Yogi's averages start above zero."""
    assert not np.any(list(replay(load(name), np.zeros((3, 4)), np.zeros((3, 3, 4)))))


@pytest.mark.parametrize("name", NAMES)
def test_replay_leaves_its_inputs_as_they_are_and_repeats(name: str) -> None:
    rng = np.random.default_rng(0)
    weights, gradients = rng.standard_normal((3, 4)), rng.standard_normal((5, 3, 4))
    before = weights.copy(), gradients.copy()
    optimizer = load(name)
    first = list(replay(optimizer, weights, gradients, 0.01))
    np.testing.assert_array_equal(weights, before[0])
    np.testing.assert_array_equal(gradients, before[1])
    assert optimizer == load(name)
    np.testing.assert_array_equal(list(replay(optimizer, weights, gradients, 0.01)), first)
