"""Runs that continue from a saved optimizer state: displacement against replays in float64 that
resume a state, and what --steps says of the next steps of a saved run."""

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st
from lr_multiples import multiples_of
from test_theory_displacement import BETAS, REPLAYED, made, of_schedules
from test_theory_schedule import schedules

import scalecheck as api
from scalecheck.optimizers.contract import CONSTANT, Gradient, Hyperparameters, NoFormula
from scalecheck.theory.displacement import LONG, average_sums, momentum_sums, sign_displacement
from scalecheck.theory.domain import MAX_STEPS
from scalecheck.theory.schedule import Schedule
from scalecheck.updates.next_summary import OWN_SHARES

INIT = Path("sample_ckpts/tiny-gpt-init")
DONE = (1, 4, 30, 400)
STEPS = (1, 5, 20, 200)
ELEMENTS = 4000


def resumed(
    optimizer: Hyperparameters, gradient: Gradient, done: int, plans: list[Schedule]
) -> list[float]:
    """RMS of the displacement by each schedule after so many steps on gradients of the same law:
    each resumes the state that was saved then."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(5)
    d = gradient.snr / math.hypot(1.0, gradient.snr)

    def step(weights: torch.Tensor, running: torch.optim.Optimizer, lr: float) -> None:
        running.param_groups[0]["lr"] = lr
        drawn = d + math.sqrt(1 - d * d) * rng.standard_normal(ELEMENTS)
        weights.grad = torch.from_numpy(gradient.known_rms * drawn)
        running.step()

    weights = torch.zeros(ELEMENTS, dtype=torch.float64, requires_grad=True)
    before = optimizer.torch_optimizer([weights], 1.0)
    for _ in range(done):
        step(weights, before, 1.0)
    found = []
    for plan in plans:
        weights = torch.zeros(ELEMENTS, dtype=torch.float64, requires_grad=True)
        running = optimizer.torch_optimizer([weights], 1.0)
        running.load_state_dict(copy.deepcopy(before.state_dict()))
        for lr in multiples_of(plan):
            step(weights, running, float(lr))
        found.append(float(weights.detach().square().mean().sqrt()))
    return found


def continued(done: int) -> list[Schedule]:
    """Schedules of each length after so many steps."""
    return [replace(each, done=done) for steps in STEPS for each in of_schedules(steps)]


@pytest.mark.parametrize("done", DONE)
@pytest.mark.parametrize(("name", "settings", "gradient"), REPLAYED, ids=str)
def test_a_resumed_run_carries_as_far_as_a_replay(
    name: str, settings: dict[str, Any], gradient: Gradient, done: int
) -> None:
    """Within 6 %: of drawn elements, and of a v that is not as steady as it is taken for."""
    optimizer = made(name, **settings)
    plans = continued(done)
    expected = [optimizer.displacement(plan, gradient) for plan in plans]
    assert resumed(optimizer, gradient, done, plans) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("done", [*DONE, 10**6, MAX_STEPS])
@pytest.mark.parametrize(("name", "settings", "gradient"), REPLAYED, ids=str)
def test_noise_of_a_resumed_run_never_carries_further_than_drift(
    name: str, settings: dict[str, Any], gradient: Gradient, done: int
) -> None:
    optimizer = made(name, **settings)
    for plan in continued(done):
        try:
            bound = optimizer.displacement(plan, Gradient(gradient.rms, CONSTANT))
        except NoFormula:  # each step of a sign is one lr
            bound = plan.sums().first
        assert optimizer.displacement(plan, Gradient(gradient.rms)) <= bound * (1 + 1e-12)


@given(schedules(), BETAS, st.integers(0, 300))
@tried(deadline=None, max_examples=60)
def test_what_was_done_before_counts_as_steps_of_lr_zero(
    schedule: Schedule, beta: float, done: int
) -> None:
    """Sums over all gradients, of a schedule whose first steps have no lr."""
    plan = replace(schedule, done=done)
    lrs = np.concatenate([np.zeros(done), multiples_of(schedule)])
    step = np.arange(1.0, len(lrs) + 1)
    averaged = carried((1 - beta) * lrs / (1 - beta**step), beta)
    assert [*average_sums(plan, beta)] == pytest.approx(squares(averaged), rel=1e-9)
    through = carried(lrs, beta)
    held = np.concatenate([through[:1], 0.7 * through[1:]])
    assert [*momentum_sums(plan, beta, 0.3)] == pytest.approx(squares(held), rel=1e-9)
    ahead = lrs + beta * through
    assert [*momentum_sums(plan, beta, nesterov=True)] == pytest.approx(squares(ahead), rel=1e-9)


def carried(lrs: np.ndarray, beta: float) -> np.ndarray:
    """Σ_(t≥i) lr_t·beta^(t−i) of each gradient i."""
    moved, later = np.zeros(len(lrs)), 0.0
    for i in reversed(range(len(lrs))):
        moved[i] = later = lrs[i] + beta * later
    return moved


def squares(moved: np.ndarray) -> list[float]:
    return [moved.sum(), moved @ moved]


@pytest.mark.parametrize("beta", [0.9, 0.9999])
def test_the_longest_resumed_schedules_are_carried_as_far_as_the_next_shorter(beta: float) -> None:
    below = Schedule("cosine", LONG, warmup=1000, done=5000)
    above = replace(below, steps=LONG + 8)
    for sums in (average_sums, momentum_sums):
        assert [*sums(above, beta)] == pytest.approx([*sums(below, beta)], rel=1e-3)
    expected = sign_displacement(below, 0.9, beta)
    assert sign_displacement(above, 0.9, beta) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("name", "settings", "gradient"), REPLAYED, ids=str)
def test_what_lies_far_back_no_longer_counts(
    name: str, settings: dict[str, Any], gradient: Gradient
) -> None:
    """But for Adagrad, which forgets nothing."""
    optimizer = made(name, **settings)
    late, steady = (
        optimizer.displacement(Schedule("linear", 50, 5, done=done), gradient)
        for done in (10**6, MAX_STEPS)
    )
    assert late == pytest.approx(steady, rel=1e-4) or name == "adagrad"


def saved(path: Path, kind: str, done: int, **settings: Any) -> torch.optim.Optimizer:
    """The optimizer of a run of so many steps on noise at lr 1e-3, saved with its weights."""
    torch.manual_seed(1)
    model = torch.nn.Linear(96, 96, bias=False, dtype=torch.float64)
    running: torch.optim.Optimizer = getattr(torch.optim, kind)(
        model.parameters(), lr=1e-3, **settings
    )
    go_on(running, done)
    torch.save({"model": model.state_dict(), "optimizer": running.state_dict()}, path)
    return running


def go_on(running: torch.optim.Optimizer, steps: int) -> float:
    """RMS of the displacement by so many more steps on noise."""
    (weights,) = running.param_groups[0]["params"]
    before = weights.detach().clone()
    for _ in range(steps):
        weights.grad = torch.randn_like(weights)
        running.step()
    return float((weights.detach() - before).square().mean().sqrt())


RUNS: list[tuple[str, dict[str, Any]]] = [
    ("AdamW", {"weight_decay": 0.0}),
    ("Adam", {"betas": (0.95, 0.98)}),
    ("NAdam", {}),
    ("RAdam", {}),
    ("RMSprop", {"momentum": 0.9}),
    ("Adagrad", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
]


@pytest.mark.parametrize("steps", [5, 200])
@pytest.mark.parametrize(("kind", "settings"), RUNS, ids=str)
def test_the_next_steps_of_a_saved_run_are_those_that_come(
    tmp_path: Path, kind: str, settings: dict[str, Any], steps: int
) -> None:
    """A state of step 300, resumed on noise: as far as said, and never beyond the bound."""
    running = saved(tmp_path / "run.pt", kind, 300, **settings)
    report = api.translate(tmp_path / "run.pt", steps=steps, grad_rms=1.0)
    (row,) = report.rows
    moved = go_on(running, steps) / row["rms"]
    assert moved == pytest.approx(row["random_walk"], rel=0.06)
    assert moved < row["drift"]
    assert row["largest_change"] == row["drift"]
    place = "steady state" if kind == "SGD" else "step 300"
    assert f"The run continues from the optimizer's {place}, with the momentum" in report.totals
    assert "fresh" not in report.totals.partition("The run continues")[2]
    expected = None if kind == "SGD" else 300
    assert report.summary["starts_after_min"] == report.summary["starts_after_max"] == expected


def test_the_first_step_of_a_saved_run_is_what_its_state_measures(tmp_path: Path) -> None:
    """At the lr of the schedule's first step; Adam's first step ever is not repeated."""
    saved(tmp_path / "run.pt", "AdamW", 300, weight_decay=0.0)
    plan: dict[str, Any] = {"steps": 100, "schedule": "cosine", "warmup": 10}
    report = api.translate(tmp_path / "run.pt", **plan)
    (row,) = report.rows
    assert row["first_relative_update"] == pytest.approx(row["relative_update"] / 10)
    assert "; the lr schedule starts at its own step 1." in report.totals
    (fresh,) = api.translate(tmp_path / "run.pt", state="none", lr=1e-3, **plan).rows
    assert fresh["first_relative_update"] == pytest.approx(1e-4 / row["rms"])


@pytest.mark.usefixtures("in_project_folder")
@pytest.mark.parametrize(("step", "done"), [(1, 0), (31, 30), ("steady", MAX_STEPS)])
def test_a_run_starts_at_the_step_that_is_asked_for(step: int | str, done: int) -> None:
    report = api.translate(INIT, lr=1e-3, steps=20, step=step, match=["*.mlp.up.weight"])
    expected = made("adamw").displacement(Schedule("constant", 20, done=done), Gradient())
    for row in report.rows:
        assert row["random_walk"] == pytest.approx(1e-3 * expected / row["rms"])
    place = {0: None, 30: "step 30"}.get(done, "steady state")
    said = f"The run continues from the optimizer's {place}, with the momentum built up by then."
    assert (said in report.totals) == (place is not None)
    assert ("First step of a fresh optimizer" in report.totals) == (place is None)


@pytest.mark.usefixtures("in_project_folder")
def test_a_schedule_does_not_reach_the_step_sizes_of_rprop(tmp_path: Path) -> None:
    """torch reads the lr at the first step alone: a warm-up makes all steps smaller, and no other
    schedule changes one. A state has step sizes that no lr changes."""
    given: dict[str, Any] = {"lr": 1e-3, "steps": 20, "match": ["*.mlp.up.weight"]}
    plain = api.translate(INIT, "rprop", **given)
    cosine = api.translate(INIT, "rprop", schedule="cosine", final=0.1, **given)
    warmed = api.translate(INIT, "rprop", warmup=10, **given)
    names = ("largest_change", "first_relative_update", "final_relative_update", "final_lr")
    for one, other, late in zip(plain.rows, cosine.rows, warmed.rows, strict=True):
        for name in names:
            assert one[name] == pytest.approx(other[name]) == pytest.approx(10 * late[name])
    told = "rprop uses the lr of its first step alone: no later one changes anything."
    assert told in cosine.totals
    assert told in warmed.totals
    assert told not in plain.totals
    running = saved(tmp_path / "run.pt", "Rprop", 10)
    resumed_run = api.translate(tmp_path / "run.pt", steps=50, schedule="cosine", warmup=10)
    (row,) = resumed_run.rows
    assert "rprop takes its step sizes from its state: no lr of the run" in resumed_run.totals
    assert row["first_relative_update"] == pytest.approx(row["relative_update"])
    assert row["final_relative_update"] is row["largest_change"] is row["turnover_steps"] is None
    lr_before = running.param_groups[0]["lr"]
    running.param_groups[0]["lr"] = 0.0
    assert go_on(running, 1) > lr_before / 10


@pytest.mark.usefixtures("in_project_folder")
def test_a_constant_schedule_ends_at_its_lr() -> None:
    plain = api.translate(INIT, lr=1e-3, steps=20)
    assert api.translate(INIT, lr=1e-3, steps=20, final=1.0).rows == plain.rows
    for shape in ("constant", "inverse-sqrt"):
        why = f"a {shape} schedule does not end at a share of the lr; linear, cosine and wsd do"
        with pytest.raises(api.UsageError, match=why):
            api.translate(INIT, lr=1e-3, steps=20, warmup=5, schedule=shape, final=0.1)


@pytest.mark.usefixtures("in_project_folder")
def test_a_run_without_an_lr_is_said_to_be_forecast_nothing() -> None:
    report = api.translate(INIT, target=0.001, steps=100)
    assert "steps: no tensor has both a known lr and a size" in report.totals
    assert report.summary["starts_after_min"] is None


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("AdamW", {}, "for {} of tensors of 1,000 elements or more"),
        ("SGD", {"momentum": 0.9}, "for {} of tensors of 1,000 elements or more"),
    ],
)
def test_how_near_the_next_steps_come_is_said_of_the_own_optimizer(
    tmp_path: Path, kind: str, settings: dict[str, Any], said: str
) -> None:
    saved(tmp_path / "run.pt", kind, 300, **settings)
    report = api.translate(tmp_path / "run.pt")
    shares = OWN_SHARES[kind.lower()]
    percent = " to ".join(f"{100 * share:.0f}" for share in shares) + " %"
    assert f"right within a factor of 1.25 {said.format(percent)}" in report.totals
    assert report.summary["forecast_shares_by_optimizer"] == {kind.lower(): [*shares]}
    assert report.summary["forecast_shares"]["measured"] == [min(shares), max(shares)]


def test_an_optimizer_that_was_not_tried_has_no_range(tmp_path: Path) -> None:
    model = torch.nn.Linear(96, 96, bias=False, dtype=torch.float64)
    running = made("signsgd", momentum=0.9).torch_optimizer(model.parameters(), 1e-3)
    go_on(running, 50)
    torch.save({"model": model.state_dict(), "optimizer": running.state_dict()}, tmp_path / "a.pt")
    report = api.translate(tmp_path / "a.pt", "signsgd", lr=1e-3)
    words = "accuracy is not known for signsgd"
    assert words in report.totals
    assert report.summary["forecast_shares"]["measured"] == []


@pytest.mark.usefixtures("in_project_folder")
def test_a_run_in_its_middle_has_the_shares_of_such_runs() -> None:
    """Gradients turn back more often than at the start of a run."""
    fresh = api.translate(INIT, lr=1e-3, steps=100)
    later = api.translate(INIT, lr=1e-3, steps=100, step=1000)
    assert "9 of 10 tensors moved 0.3 to 4 times as far as noise, and 4 of 10 less" in fresh.totals
    assert "8 of 10 tensors moved 0.3 to 4 times as far as noise, and 7 of 10 less" in later.totals
    for name, shares in {"range": (0.9, 0.8), "below": (0.4, 0.7)}.items():
        key = f"noise_{name}_share"
        assert (fresh.summary[key], later.summary[key]) == shares
