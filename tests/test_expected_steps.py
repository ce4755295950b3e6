"""A forecast is of a step that a run has, that of the state or of --steps, and of no limit that a
run does not reach; and what the next steps are expected to be."""

import json

import numpy as np
import pytest
import torch
from command import scalecheck
from replays import replay
from safetensors.torch import save_file

import scalecheck as api
from scalecheck.optimizers import muon, nadam, radam, rmsprop
from scalecheck.optimizers.contract import Gradient, Weights
from scalecheck.updates.next_steps import LARGE

INIT = "sample_ckpts/tiny-gpt-init"
MATRIX = "blocks.0.mlp.up.weight"
REPLAYED = (1, 100, 1000, 5000)


def rms(updates):
    return float(np.sqrt(np.mean(np.square(updates))))


@pytest.mark.parametrize(
    "optimizer",
    [nadam.Optimizer(), radam.Optimizer(), rmsprop.Optimizer(), rmsprop.Optimizer(centered=True)],
    ids=["nadam", "radam", "rmsprop", "centered"],
)
def test_theory_at_a_step_is_what_torch_does_there(optimizer):
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    gradients = (rng.standard_normal(4000) for _ in range(REPLAYED[-1]))
    for step, update in enumerate(replay(optimizer, np.zeros(4000), gradients), 1):
        if step in REPLAYED:
            expected = optimizer.update_rms(Gradient(), step)
            assert rms(update) == pytest.approx(expected, rel=0.03), step


def row(*arguments, name=MATRIX):
    done = scalecheck("translate", *arguments, "--format", "json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    return next(each for each in found["rows"] if each["name"] == name), found


@pytest.mark.parametrize(
    ("optimizer", "arguments", "step", "by", "update"),
    [
        ("nadam", [], 1000, "assumed", 0.5443),
        ("nadam", ["--steps", 5000], 5000, "--steps", 0.3962),
        ("nadam", ["--steps", 40_000], None, "steady state", 0.2656),
        ("nadam", ["--steps", 5000, "--step", 100], 100, "--step", 0.5957),
        ("nadam", ["--step", "steady"], None, "--step", 0.2656),
        ("radam", [], 1000, "assumed", 0.1480),
        ("adagrad", [], 1000, "assumed", 0.03162),
        ("rmsprop", [], None, "steady state", 0.9951),
        ("rmsprop", ["--steps", 50], 50, "--steps", 1.584),
        ("adamw", [], None, "steady state", 0.2293),
        ("adamw", ["--steps", 5], 5, "--steps", 0.4521),
    ],
)
def test_without_a_state_a_forecast_is_of_a_step_that_a_run_reaches(
    optimizer, arguments, step, by, update
):
    found, report = row(INIT, "--lr", 1e-3, "--optimizer", optimizer, *arguments)
    assert (found["expected_step"], found["expected_step_by"]) == (step, by)
    assert found["update_rms_expected"] == pytest.approx(update, rel=1e-3)
    assert found["relative_update"] == pytest.approx(1e-3 * update / found["rms"], rel=1e-3)
    assert report["summary"]["expected_step"] == step
    assert report["summary"]["expected_step_by"] == by
    [note] = [note for note in report["notes"] if note.startswith("The expected update of")]
    assert ("steady" if step is None else f"step {step:,}") in note


def run(folder, shapes, steps=30, make=torch.optim.NAdam, **settings):
    """A checkpoint and the state of an optimizer of its tensors, in no order that tells them."""
    torch.manual_seed(0)
    model = {name: torch.nn.Parameter(torch.randn(shape) * 0.1) for name, shape in shapes.items()}
    optimizer = make(model.values(), lr=1e-3, **settings)
    applied = {}
    for _ in range(steps):
        for one in model.values():
            one.grad = torch.randn(one.shape)
        before = {name: one.detach().clone() for name, one in model.items()}
        optimizer.step()
        applied = {n: rms((before[n] - one.detach()).numpy()) / 1e-3 for n, one in model.items()}
    save_file({name: one.detach() for name, one in model.items()}, folder / "model.safetensors")
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    return applied


def test_a_tensor_of_no_certain_state_takes_the_step_of_the_states(tmp_path):
    run(tmp_path, {"a.weight": (40, 40), "z.weight": (40, 40), "b.weight": (8, 40)})
    report = api.translate(tmp_path)
    expected = nadam.Optimizer().update_rms(Gradient(), 30)
    assert [(each["step"], each["expected_step"]) for each in report.rows] == [
        (None, 30),
        (30, 30),
        (None, 30),
    ]
    for each in report.rows:
        assert each["update_rms_expected"] == pytest.approx(expected, rel=1e-6)
        assert each["expected_step_by"] == "state"


def test_a_tensor_of_no_certain_state_moves_like_the_states_of_its_shape(tmp_path):
    shapes = {"a.weight": (40, 40), "m.weight": (40, 40), "z.weight": (40, 40), "b.w": (8, 40)}
    applied = run(tmp_path, shapes, make=torch.optim.AdamW, weight_decay=0.0)
    rows = {each["name"]: each for each in api.translate(tmp_path).rows}
    middle = sorted(applied[name] for name in shapes if name != "b.w")[1]
    for name in ("a.weight", "m.weight", "z.weight"):
        each = rows[name]
        assert (each["measured"], each["update_rms"]) == (False, None)
        assert each["next_by"] == "states of its shape"
        assert each["update_rms_next"] == pytest.approx(middle, rel=1e-3)
        assert each["relative_update"] == pytest.approx(
            1e-3 * each["update_rms_next"] / each["rms"], rel=1e-9
        )
    assert (rows["b.w"]["measured"], rows["b.w"]["next_by"]) == (True, "measured")
    notes = api.translate(tmp_path).notes
    assert any(note.startswith("The expected update of 3 tensors is the median") for note in notes)


def test_small_tensors_of_a_family_are_told_together(tmp_path):
    shapes = {f"layers.{n}.bias": (60,) for n in range(4)} | {"w": (LARGE,), "scale": ()}
    applied = run(tmp_path, shapes, make=torch.optim.Adam)
    rows = {each["name"]: each for each in api.translate(tmp_path).rows}
    together = rms([applied[f"layers.{n}.bias"] for n in range(4)])
    for n in range(4):
        each = rows[f"layers.{n}.bias"]
        assert each["next_by"] == "family"
        assert each["update_rms"] == pytest.approx(applied[each["name"]], rel=1e-3)
        assert each["update_rms_next"] == pytest.approx(together, rel=1e-3)
    assert rows["w"]["next_by"] == "measured"
    assert rows["w"]["update_rms_next"] == rows["w"]["update_rms"]
    # One element's update is chance.
    assert rows["scale"]["next_by"] == "theory"
    assert rows["scale"]["update_rms_next"] == rows["scale"]["update_rms_expected"]


def test_a_group_says_what_of_it_is_measured(tmp_path):
    shapes = {"a.weight": (40, 40), "b.weight": (40, 40), "c.weight": (8, 40)}
    applied = run(tmp_path, shapes, make=torch.optim.AdamW, weight_decay=0.0)
    [matrices] = api.translate(tmp_path, by="role").rows
    assert (matrices["tensors"], matrices["tensors_measured"]) == (3, 1)
    assert matrices["update_rms_measured"] == pytest.approx(applied["c.weight"], rel=1e-3)
    assert matrices["update_rms"] == matrices["update_rms_measured"]
    assert matrices["measured"] is False
    [matrices] = api.translate(tmp_path, by="role", state="none", lr=1e-3).rows
    assert (matrices["update_rms_measured"], matrices["tensors_measured"]) == (None, 0)


@pytest.mark.parametrize(("snr", "off"), [(0.0, 0.03), (50.0, 0.16)], ids=["noise", "constant"])
def test_nesterovs_update_is_about_its_buffers(snr, off, tmp_path):
    """That of noise, and 16 % more than that of constant gradients."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    weights = torch.zeros(50, 50, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=1e-3, momentum=0.9, nesterov=True)
    for _ in range(100):
        before = weights.detach().clone()
        weights.grad = torch.from_numpy(snr + rng.standard_normal((50, 50)))
        optimizer.step()
    applied = rms((before - weights.detach()).numpy()) / 1e-3
    path = tmp_path / "run.pt"
    torch.save({"model": {"w": weights.detach() + 1}, "optimizer": optimizer.state_dict()}, path)
    [found] = api.translate(path).rows
    assert (found["update_rms"], found["measured"], found["next_by"]) == (None, False, "buffer")
    assert found["update_rms_next"] == pytest.approx(applied, rel=off)
    assert found["relative_update"] == pytest.approx(1e-3 * found["update_rms_next"] / found["rms"])


def test_nesterovs_buffer_says_which_elements_move(tmp_path):
    """Gradients whose sizes spread over elements: by one RMS nearly all would move."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    weights = torch.nn.Parameter(0.02 * torch.randn(80, 80))
    sizes = 1e-2 * torch.exp(2 * torch.randn(80, 80))
    optimizer = torch.optim.SGD([weights], lr=1e-2, momentum=0.9, nesterov=True)
    for _ in range(50):
        before = weights.detach().clone()
        weights.grad = sizes * torch.randn(80, 80)
        optimizer.step()
    after = weights.detach()
    stored = after.bfloat16()
    moved = ((stored + (after - before)).bfloat16() != stored).double().mean()
    crossed = (stored != before.bfloat16()).double().mean()
    path = tmp_path / "run.pt"
    torch.save({"model": {"w": after}, "optimizer": optimizer.state_dict()}, path)
    [found] = api.translate(path, cast="bf16").rows
    assert found["next_by"] == "buffer"
    assert found["moves_pure"] == pytest.approx(float(moved), abs=0.02)
    assert found["moves_cast"] == pytest.approx(float(crossed), abs=0.02)
    assert found["moves_pure"] < 0.8


def test_lion_moves_what_had_a_gradient(tmp_path):
    """A quarter of the elements never had one: √¾ of lr."""
    rows = torch.ones(40, 40)
    rows[:10] = 0
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(40, 40))], lr=1e-3, momentum=0.9)
    weights = optimizer.param_groups[0]["params"][0]
    group = {"lr": 1e-3, "betas": (0.9, 0.99), "weight_decay": 0.0, "params": [0]}
    state = {"state": {0: {"exp_avg": torch.randn(40, 40) * rows}}, "param_groups": [group]}
    path = tmp_path / "run.pt"
    torch.save({"model": {"w": weights.detach()}, "optimizer": state}, path)
    [found] = api.translate(path, optimizer="lion").rows
    assert found["measured"] is True
    assert found["update_rms"] == pytest.approx(0.75**0.5)


@pytest.mark.parametrize("shape", [(64, 10), (10, 64), (1, 50), (3, 500), (15, 15)])
def test_muon_of_a_small_matrix_moves_as_expected(shape):
    torch.set_num_threads(1)
    optimizer = muon.Optimizer(weight_decay=0.0)
    rng = np.random.default_rng(0)
    gradients = (rng.standard_normal(shape) for _ in range(200))
    updates = [*replay(optimizer, np.zeros(shape), gradients)]
    expected = optimizer.update_rms(Gradient(), 100, Weights(shape))
    assert rms(updates) == pytest.approx(expected, rel=0.02)


def test_centered_rmsprop_has_an_update_of_every_tensor_of_a_model():
    found, report = row(
        *(INIT, "--lr", 1e-3, "--optimizer", "rmsprop", "--set", "centered=true", "--grad-rms", 0.1)
    )
    assert found["update_rms_expected"] == pytest.approx(0.9977, rel=1e-3)
    assert all(each["update_rms_expected"] for each in report["rows"])
