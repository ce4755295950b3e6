"""What --steps says: of a run to come in translate, and of one that was and of the next in diff."""

import json
import math

import numpy as np
import pytest
import torch
from lr_multiples import multiples_of

import scalecheck as api
from scalecheck.theory.schedule import Schedule
from scalecheck.theory.update_rms import update_rms

TINY, INIT = "sample_ckpts/tiny-gpt", "sample_ckpts/tiny-gpt-init"
MATRIX = "blocks.0.mlp.up.weight"
NOISE = update_rms(0.9, 0.999)

pytestmark = pytest.mark.usefixtures("in_project_folder")


def test_a_run_is_told_by_arithmetic_first():
    """The bound, the turnover, the first step and the last, in rows, summary and sentences."""
    plan = {"steps": 1000, "schedule": "cosine", "warmup": 100, "final": 0.1}
    report = api.translate(INIT, lr=3e-4, **plan)
    schedule = Schedule("cosine", 1000, 100, 0.1)
    lrs = 3e-4 * multiples_of(schedule)
    row = report[MATRIX]
    assert row["largest_change"] == pytest.approx(lrs.sum() / row["rms"])
    assert row["turnover_steps"] == math.ceil(row["rms"] / 3e-4)
    assert row["turnover_steps_scheduled"] == 1 + np.searchsorted(np.cumsum(lrs), row["rms"])
    assert row["first_lr"] == pytest.approx(3e-6)
    assert row["first_relative_update"] == pytest.approx(3e-6 / row["rms"])
    assert row["final_lr"] == pytest.approx(lrs[-1])
    assert row["final_relative_update"] == pytest.approx(lrs[-1] * NOISE / row["rms"], rel=1e-3)
    matrices = [row for row in report.rows if row["role"] == "matrix"]
    found = report.summary
    assert (found["steps"], found["run_tensors"]) == (1000, len(matrices))
    for name in ("largest_change", "turnover_steps", "first_relative_update", "random_walk"):
        values = [row[name] for row in matrices]
        assert (found[f"{name}_min"], found[f"{name}_max"]) == (min(values), max(values))
    most = f"{found['largest_change_min']:.3g} to {found['largest_change_max']:.3g} times"
    said = f"1,000 steps of this schedule can change a matrix by at most {most}"
    assert said in report.totals
    first = f"{100 * found['first_relative_update_min']:.3g} to "
    first += f"{100 * found['first_relative_update_max']:.3g} % of a matrix"
    assert f"First step of a fresh optimizer: lr 3e-06, {first}" in report.totals
    assert "moved 0.3 to 4 times as far as noise" in report.totals
    assert "Real runs reach 0.26 to 3.8 times it." in report.totals
    assert (found["noise_range"], found["equilibrium_range"]) == ([0.3, 4.0], [0.26, 3.8])


def test_relative_updates_compound():
    """Each is of the weights that those before have made larger."""
    row = api.translate(INIT, lr=1e-3, optimizer="lamb", steps=1000)[MATRIX]
    assert row["largest_change"] == pytest.approx(math.e - 1)
    assert row["turnover_steps"] == math.ceil(math.log(2) / 1e-3)
    endless = api.translate(INIT, lr=1e-2, optimizer="lamb", steps=10**7)
    assert endless[MATRIX]["largest_change"] is None
    assert endless.rendered("json")


@pytest.mark.parametrize("optimizer", ["adamw", "lars", "lamb", "lion"])
@pytest.mark.parametrize("lr", [1e308, 1e-322])
def test_an_lr_at_the_ends_of_float64_has_a_forecast(optimizer, lr):
    report = api.translate(INIT, lr=lr, optimizer=optimizer, steps=1000)
    assert json.loads(report.rendered("json"))["summary"]["steps"] == 1000


def test_a_schedule_too_short_to_turn_a_tensor_over_says_so():
    report = api.translate(INIT, lr=3e-7, steps=100)
    assert {row["turnover_steps_scheduled"] for row in report.rows} == {None}
    assert "for 16 of 16 the schedule is too short" in report.totals


@pytest.mark.parametrize("optimizer", ["prodigy", "dadapt_adam"])
def test_an_estimate_that_multiplies_lr_is_not_forecast(optimizer):
    """It grows by any factor, so that the first step alone has a figure, and no bound is one."""
    report = api.translate(INIT, optimizer, lr=1.0, steps=100, match=["*.mlp.*.weight"])
    for row in report.rows:
        assert row["first_relative_update"] > 0
        names = ("largest_change", "drift", "random_walk", "turnover_steps")
        assert {row[name] for name in (*names, "final_relative_update")} == {None}
    said = f"for 8 tensors under {optimizer}: it multiplies lr by its estimate d, which grows"
    assert said in report.totals


@pytest.mark.parametrize(
    ("optimizer", "given", "field", "words"),
    [
        ("muon", {}, "displacement_reason", "no formula is known for the sum of its updates"),
        ("muon", {}, "equilibrium_reason", "no formula for it has been checked against runs"),
        ("adam", {"weight_decay": 0.1}, "equilibrium_reason", "divided by the size of its grad"),
        ("sgd", {"weight_decay": 0.1, "grad_rms": 1.0}, "equilibrium_reason", "its updates follow"),
        ("lion", {"snr": 0.1}, "displacement_reason", "snr 0.1: solved for gradients without"),
    ],
)
def test_an_optimizer_without_an_answer_to_steps_is_named(optimizer, given, field, words):
    settings = {"optimizer": optimizer, "lr": 1e-3, "steps": 100, **given}
    report = api.translate(INIT, match=["*.mlp.*.weight"], **settings)
    for row in report.rows:
        assert row[field].startswith(words) or words in row[field]
        assert row["equilibrium_rms" if "equilibrium" in field else "random_walk"] is None
    kind = "equilibrium rms" if "equilibrium" in field else "displacement by noise"
    (said,) = (line for line in report.totals.splitlines() if line.startswith(f"No {kind}"))
    assert said.startswith(f"No {kind} for 8 tensors under {optimizer}: ")
    assert words in said


def test_an_optimizer_of_unknown_formula_is_named_with_no_other_reason(tmp_path):
    """Its weight decay is not said to be L2, of which nothing is known."""
    model = torch.nn.Linear(8, 8)
    running = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(torch.ones(2, 8)).sum().backward()
    running.step()
    state = running.state_dict()
    state["param_groups"][0]["unheard_of"] = 1
    torch.save({"model": model.state_dict(), "optimizer": state}, tmp_path / "training.pt")
    report = api.translate(tmp_path / "training.pt", steps=100)
    named = "1 tensor under an optimizer that is not known: there is no formula for it here."
    for kind in ("displacement by noise", "equilibrium rms"):
        assert f"No {kind} for {named}" in report.totals


def test_the_halves_of_an_adapter_are_told_and_their_product_is_not():
    lora, base = "sample_ckpts/tiny-gpt-lora", "sample_ckpts/tiny-gpt"
    alone = api.translate(lora, steps=1000)
    assert "No theory tells how far a run moves B·A" in alone.totals
    assert "of a tensor" in alone.totals
    for row in api.translate(lora, base=base, steps=1000).rows:
        assert row["random_walk"] is None
        assert row["displacement_reason"].startswith("no formula is known for how far many steps")


def test_a_schedule_without_a_training_is_told_to_forecast_nothing():
    zeros = {"w.weight": np.zeros((4, 4), np.float32)}
    report = api.translate(zeros, lr=1e-3, steps=100)
    assert "steps: no tensor has both a known lr and a size" in report.totals
    assert report.summary["run_tensors"] == 0


def test_weights_without_decay_are_told_no_equilibrium():
    report = api.translate(INIT, lr=1e-3, weight_decay=0.0, steps=100)
    assert {row["equilibrium_reason"] for row in report.rows} == {None}
    assert "quilibrium" not in report.totals


@pytest.mark.parametrize("optimizer", ["adamw", "lion", "sgd"])
def test_noise_carries_a_short_run_no_further_than_the_bound(optimizer):
    for steps in (1, 2, 5, 20):
        report = api.translate(INIT, lr=1e-3, optimizer=optimizer, steps=steps, grad_rms=1.0)
        for row in report.rows:
            if row["rms"]:
                assert row["random_walk"] <= row["drift"] * (1 + 1e-9)


def test_steps_alone_tell_how_far_the_next_ones_go():
    """The last displacement times √(steps/steps before), over the weights that it led to."""
    said = api.diff(INIT, TINY, steps=1500)
    for row in said.rows:
        if row["relative_change"]:
            moved = row["relative_change"] * row["rms_before"] / row["rms_after"]
            assert row["next_change"] == pytest.approx(moved)
            assert row["next_change_10"] == pytest.approx(moved * 10**0.5)
            assert "expected_walk" not in row
        elif row["rms_after"]:  # it was zero
            assert row["next_change"] == pytest.approx(1)
    assert said.summary["steps"] == 1500
    assert said.summary["next_matrices"] == 16
    assert f"about {100 * said.summary['next_change_median']:.3g} % of its norm" in said.totals
    assert (
        f"about {said.summary['next_change_10_median']:.3g} times its norm (median of 16 matrices"
        in said.totals
    )
    assert "within a factor of 2" in said.totals
    bare = api.diff(INIT, TINY)
    assert "next_change" not in bare.rows[0]
    assert "steps" not in bare.summary


def test_the_next_change_of_a_group_is_said_to_be_of_its_tensors_as_one():
    """The sentence is the median of matrices, each by itself, however rows are grouped."""
    each, roles = (api.diff(INIT, TINY, steps=1500, by=by) for by in ("tensor", "role"))
    assert each.summary["next_change_median"] == roles.summary["next_change_median"]
    row = roles["matrix"]
    moved = row["relative_change"] * row["rms_before"] / row["rms_after"]
    assert row["next_change"] == pytest.approx(moved)
    assert moved != pytest.approx(roles.summary["next_change_median"], rel=0.01)
    assert "(median of 16 matrices, each by itself)" in each.totals
    assert roles.totals == each.totals


def test_the_sentences_of_a_diff_hold_figures_of_its_summary():
    found, said = (report := api.diff(INIT, TINY)).summary, " ".join(report.conclusion)
    assert found["statuses"] == {"changed": 52}
    rows = {row["name"]: row["relative_change"] for row in report.rows if row["relative_change"]}
    assert found["most_changed"] == max(rows, key=rows.__getitem__)
    assert found["least_change"] == min(rows.values())
    assert "52 of 52 tensors changed: together by " in said
    assert f"by {100 * found['relative_change']:.3g} % of their norm" in said
    assert f"cosine {found['cosine']:.3g}" in said
    assert f"Most: {found['most_changed']}, {found['most_change']:.3g} times" in said
    least = f"{found['least_changed']}, {100 * found['least_change']:.3g} % of its norm"
    assert f"Least: {least}" in said


def test_half_of_a_walk_foretells_the_other_within_a_factor_of_two():
    """Half of a walk of independent steps says how far the other half goes."""
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.standard_normal((3, 200, 64)), axis=1)
    sides = [{"w": (100 + walk[0, at]).astype(np.float64)} for at in (0, 50, 199)]
    (first,) = api.diff(sides[0], sides[1], steps=50).rows
    (second,) = api.diff(sides[1], sides[2]).rows
    assert second["relative_change"] == pytest.approx(
        first["next_change"] * (149 / 50) ** 0.5, rel=1.0
    )


def test_a_run_is_beside_noise_with_the_range_of_real_runs():
    said = api.diff(INIT, TINY, lr=2e-3, steps=1500, beta2=0.99)
    matrices = [row for row in said.rows if row["role"] == "matrix"]
    over = sorted(row["relative_change"] / row["expected_walk"] for row in matrices)
    found = said.summary
    assert found["noise_range"] == [0.3, 4.0]
    assert found["noise_matrices"] == found["in_noise_range"] + sum(not 0.3 <= x <= 4 for x in over)
    assert found["below_noise"] == sum(x < 1 for x in over)
    assert f"Matrices moved {found['over_noise_median']:.3g} times as far as noise" in said.totals
    assert "0.3 to 4 times" in said.totals
    assert "drift" not in said.totals


def test_an_optimizer_without_a_displacement_is_named():
    said = api.diff(INIT, TINY, lr=1e-3, steps=100, optimizer="muon")
    assert {row["expected_walk"] for row in said.rows} == {None}
    assert all(
        "under muon: no formula is known" in row["reason"] for row in said.rows if row["reason"]
    )
    assert "No displacement by noise for 16 tensors under muon: no formula is known" in said.totals


@pytest.mark.parametrize(("name", "centered"), [("Rprop", False), ("RMSprop", True)])
def test_steps_that_grow_under_one_sign_are_bounded_by_the_last(name, centered):
    """20 steps of torch's with gradients of one sign stay below the largest change."""
    weights = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    settings = {"centered": True} if centered else {}
    optimizer = getattr(torch.optim, name)([weights], lr=1e-3, foreach=False, **settings)
    for _ in range(20):
        weights.grad = torch.ones_like(weights)
        optimizer.step()
    moved = float(weights.detach().abs().mean())
    row = api.translate(INIT, name.lower(), lr=1e-3, steps=20, **settings)[MATRIX]
    assert moved <= row["largest_change"] * row["rms"] <= 10 * moved


def test_what_only_eps_bounds_has_no_largest_change():
    """Centered RMSprop divides gradients that are all alike by eps alone."""
    report = api.translate(INIT, "rmsprop", lr=1e-3, steps=10**6, centered=True)
    assert report[MATRIX]["largest_change"] is report[MATRIX]["turnover_steps"] is None
    assert "can change a matrix by at most" not in report.totals


def test_a_run_of_one_step_reads_well():
    report = api.diff(INIT, TINY, steps=1)
    assert "The next step at the same lr will move a matrix by about" in report.totals
    assert "the next 10 by about" in report.totals
