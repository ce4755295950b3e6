"""What a saved optimizer state is read as, beside what the real optimizer did."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from real_checkpoints import real_file
from states import find_state, open_state

from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.states.state_names import named
from scalecheck.updates.recognition import group_settings, recognised
from scalecheck.updates.state_statistics import figures
from scalecheck.updates.training import Trainings

SAMPLES = Path(__file__).parent.parent / "sample_ckpts"
SHAPE = (24, 40)
LR = 1e-3

RUNS = {
    "adam": (torch.optim.Adam, {"eps": 1e-3}),
    "adam-amsgrad": (torch.optim.Adam, {"amsgrad": True, "betas": (0.5, 0.9)}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.1, "betas": (0.8, 0.95)}),
    "adamax": (torch.optim.Adamax, {}),
    "radam": (torch.optim.RAdam, {}),
    "rmsprop-momentum": (torch.optim.RMSprop, {"momentum": 0.9}),
    "rmsprop-centered": (torch.optim.RMSprop, {"momentum": 0.5, "centered": True}),
    "rprop": (torch.optim.Rprop, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
    "sgd-dampened": (torch.optim.SGD, {"momentum": 0.8, "dampening": 0.4}),
}
SILENT = {
    "adadelta": (torch.optim.Adadelta, {}),
    "adafactor": (torch.optim.Adafactor, {}),
    "adagrad": (torch.optim.Adagrad, {"initial_accumulator_value": 0.1}),
    "nadam": (torch.optim.NAdam, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "sgd-nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "muon": (torch.optim.Muon, {}),
}


def trained(family, given, steps, dtype, folder, scale=0.1):
    """The state that the optimizer saves after so many steps, as it is read; RMS of its last −Δw/lr
    without weight decay; and the gradients."""
    rng = np.random.default_rng(3)
    weights = torch.from_numpy(rng.standard_normal(SHAPE)).to(dtype).requires_grad_()
    running = family([weights], lr=LR, **given)
    gradients = scale * (rng.standard_normal((steps, *SHAPE)) + 0.2)
    for gradient in gradients:
        before = weights.detach().clone().double()
        weights.grad = torch.from_numpy(gradient).to(dtype)
        running.step()
    moved = (before - weights.detach().double()) / LR
    decay = given.get("weight_decay", 0.0)
    path = folder / "optimizer.pt"
    torch.save(running.state_dict(), path)
    state = open_state(path)
    return state, float((moved - decay * before).square().mean().sqrt()), gradients


def training_of(state, one):
    group = state.groups[one.group]
    return Trainings(None, None, {}).of("w", group_settings(group, recognised(group, [one])))


def read(state):
    """The name of the optimizer, and the figures of the state's only parameter."""
    [one] = state.states
    training = training_of(state, one)
    return training.name, figures(one, training.optimizer, training.lr)


@pytest.mark.parametrize("steps", [1, 3, 40])
@pytest.mark.parametrize("run", RUNS)
def test_the_last_update_is_the_one_applied(run, steps, tmp_path):
    state, moved, _ = trained(*RUNS[run], steps, torch.float64, tmp_path)
    name, saved = read(state)
    assert name == run.split("-")[0]
    assert saved.update_rms == pytest.approx(moved, rel=1e-9)
    assert saved.reason == ""


@pytest.mark.parametrize("run", RUNS)
def test_the_last_update_of_float32_is_the_one_applied(run, tmp_path):
    state, moved, _ = trained(*RUNS[run], 20, torch.float32, tmp_path)
    assert read(state)[1].update_rms == pytest.approx(moved, rel=1e-4)  # by the weights' rounding


@pytest.mark.parametrize("run", SILENT)
def test_a_state_that_does_not_tell_says_why(run, tmp_path):
    state, _, _ = trained(*SILENT[run], 5, torch.float64, tmp_path)
    name, saved = read(state)
    assert name == run.split("-")[0]
    assert saved.update_rms is None
    assert saved.reason


@pytest.mark.parametrize(
    ("run", "remembered"),
    [
        ("adam", 0.999),
        ("adamw", 0.95),
        ("radam", 0.999),
        ("nadam", 0.999),
        ("rmsprop", 0.99),
        ("adadelta", 0.9),
        ("adagrad", 1.0),
    ],
)
def test_gradient_rms_is_that_of_the_gradients_remembered(run, remembered, tmp_path):
    state, _, gradients = trained(*(RUNS | SILENT)[run], 12, torch.float64, tmp_path)
    weights = remembered ** np.arange(11, -1, -1)
    squares = np.mean(gradients**2, axis=(1, 2))
    expected = math.sqrt(float(np.sum(weights * squares) / np.sum(weights)))
    assert read(state)[1].grad_rms == pytest.approx(expected, rel=1e-9)


def test_adafactors_gradients_are_those_of_its_rows(tmp_path):
    state, _, gradients = trained(torch.optim.Adafactor, {}, 1, torch.float64, tmp_path)
    expected = math.sqrt(float(np.mean(gradients**2)))
    assert read(state)[1].grad_rms == pytest.approx(expected, rel=1e-9)


def test_snr_is_estimated_and_absent_at_the_noise_floor(tmp_path):
    state, _, _ = trained(torch.optim.Adam, {}, 200, torch.float64, tmp_path)
    assert read(state)[1].snr == pytest.approx(0.2, abs=0.03)
    rng = np.random.default_rng(0)
    m = torch.from_numpy(rng.standard_normal(SHAPE)) * 1e-3
    entry = {"step": 1000, "exp_avg": m, "exp_avg_sq": torch.ones(SHAPE)}
    group = torch.optim.Adam([m]).state_dict()["param_groups"]
    torch.save({"state": {0: entry}, "param_groups": group}, tmp_path / "o.pt")
    saved = read(open_state(tmp_path / "o.pt"))[1]
    assert (saved.snr, saved.at_noise_floor) == (None, True)


def test_one_gradient_tells_no_snr(tmp_path):
    state, _, _ = trained(torch.optim.Adam, {}, 1, torch.float64, tmp_path)
    assert read(state)[1].snr is None


def test_eps_and_broken_elements_are_counted(tmp_path):
    v = torch.full((10,), 1.0, dtype=torch.float64)
    v[:4] = torch.tensor([0.0, 1e-18, 1e-13, math.nan])
    v[4], v[5] = math.inf, -1.0
    m = torch.ones(10, dtype=torch.float64)
    m[9] = math.nan
    entry = {"step": torch.tensor(10_000.0), "exp_avg": m, "exp_avg_sq": v}
    group = torch.optim.Adam([m], eps=1e-8).state_dict()["param_groups"]
    torch.save({"state": {0: entry}, "param_groups": group}, tmp_path / "o.pt")
    saved = read(open_state(tmp_path / "o.pt"))[1]
    assert (saved.v_zeros, saved.v_not_finite, saved.m_not_finite) == (1, 3, 1)
    assert saved.eps_share == pytest.approx(2 / 7)
    assert saved.eps_near_share == pytest.approx(3 / 7)
    assert math.isfinite(saved.update_rms)


def test_a_parameter_without_state_says_so(tmp_path):
    weights = torch.zeros(3, requires_grad=True)
    torch.save(torch.optim.Adam([weights]).state_dict(), tmp_path / "o.pt")
    reason = read(open_state(tmp_path / "o.pt"))[1].reason
    assert reason == "its state is empty, as before the first gradient"


def test_the_sample_run_moved_as_its_state_says():
    """The weights between steps 1499 and 1500, at the lr that was applied."""
    lr = 0.0002000024369382586
    after = {t.name: t for t in open_checkpoint(SAMPLES / "tiny-gpt").tensors}
    before = {t.name: t for t in open_checkpoint(SAMPLES / "tiny-gpt.pt").tensors}
    state = named(open_state(SAMPLES / "tiny-gpt"), open_checkpoint(SAMPLES / "tiny-gpt"))
    checked = 0
    for one in state.states:
        if one.name is None:
            continue
        training = training_of(state, one)
        old, new = before[one.name].array(), after[one.name].array()
        moved = (old - new) / lr - training.weight_decay * old
        measured = figures(one, training.optimizer).update_rms
        rounding = float(np.spacing(np.float32(np.abs(old).max()))) / lr
        rms = math.sqrt(float(np.mean(moved**2)))
        assert measured == pytest.approx(rms, abs=1e-6 + rounding / math.sqrt(old.size))
        checked += 1
    assert checked == 26


def test_chgnets_updates_are_those_of_noise():
    path = real_file("chgnet", "chgnet/pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar")
    checkpoint = open_checkpoint(path)
    state = named(find_state(checkpoint), checkpoint)
    updates = []
    for one in state.states:
        training = training_of(state, one)
        if one.shape and math.prod(one.shape) >= 64:
            updates.append(figures(one, training.optimizer).update_rms)
    assert len(updates) == 122
    assert np.median(updates) == pytest.approx(0.205, abs=5e-4)
    assert (min(updates), max(updates)) == pytest.approx((0.079, 0.261), abs=5e-4)


def test_figures_of_any_numbers_are_finite_or_absent(tmp_path):
    m = torch.tensor([1e300, 1e-300, 0.0, -1e160], dtype=torch.float64)
    v = torch.tensor([1e-300, 1e300, 0.0, 1e308], dtype=torch.float64)
    entry = {"step": 3, "exp_avg": m, "exp_avg_sq": v}
    group = torch.optim.Adam([m], eps=0.0).state_dict()["param_groups"]
    torch.save({"state": {0: entry}, "param_groups": group}, tmp_path / "o.pt")
    saved = read(open_state(tmp_path / "o.pt"))[1]
    for figure in (saved.update_rms, saved.grad_rms, saved.snr, saved.eps_share):
        assert figure is None or math.isfinite(figure)
