"""What `history` measures of a run that is trained here, against float64 sums made without it."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from command import scalecheck
from runs import STEPS, trained, trainer_folder

import scalecheck as library


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run, and its weights by step in float64."""
    root = tmp_path_factory.mktemp("run")
    return root, trained(trainer_folder(root), fall_at=100)


def report(*arguments, code=0):
    done = scalecheck("history", *arguments, "--format", "json")
    assert (done.code, done.err) == (code, "")
    return json.loads(done.out)


def flat(weights, end=""):
    return np.concatenate([w.ravel() for name, w in weights.items() if name.endswith(end)])


def by_step(found, name):
    return {row["step"]: row for row in found["rows"] if row["name"] == name}


def test_displacements_are_those_of_the_weights(run):
    root, weights = run
    found = report(root, "--against", "60")
    assert {row["name"] for row in found["rows"]} == {"N.weight", "N.bias"}
    for end in ("weight", "bias"):
        rows = by_step(found, f"N.{end}")
        assert [*rows] == [*STEPS]
        first, chosen = flat(weights[STEPS[0]], end), flat(weights[60], end)
        last = None
        for step, row in rows.items():
            w = flat(weights[step], end)
            assert row["rms"] == pytest.approx(math.sqrt(np.mean(w * w)), rel=1e-12)
            assert row["absmax"] == np.abs(w).max()
            for start, which in ((last, ""), (first, "_first"), (chosen, "_against")):
                moved, cosine = row[f"relative_change{which}"], row[f"cosine{which}"]
                if start is None or (which and np.array_equal(start, w)):
                    assert moved is cosine is None
                    continue
                norm = np.linalg.norm(start)
                assert moved == pytest.approx(np.linalg.norm(w - start) / norm, rel=1e-9)
                expected = start @ w / norm / np.linalg.norm(w)
                assert cosine == pytest.approx(expected, rel=1e-9)
            last = w


def test_the_exponent_is_the_slope_of_logarithms(run):
    root, weights = run
    first = flat(weights[STEPS[0]])
    sizes = [np.linalg.norm(flat(weights[step]) - first) for step in STEPS[1:]]
    x, y = np.log(np.array(STEPS[1:]) - STEPS[0]), np.log(sizes)
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    summary = report(root)["summary"]
    assert summary["exponent"] == pytest.approx(slope, rel=1e-9)
    assert summary["exponent_error"] == pytest.approx(math.sqrt(covariance[0, 0]), rel=1e-9)
    assert f"exponent {slope:.2f} ±" in scalecheck("history", root).out.splitlines()[0]


def test_the_exponent_of_noise_is_a_half_whatever_the_lr_does(tmp_path):
    lrs = np.array([1e-3 * min(1, step / 150) for step in range(1, 401)])
    generator = torch.Generator().manual_seed(5)
    w = torch.ones(64, 64, dtype=torch.float64)
    log = []
    for step, lr in enumerate(lrs, 1):
        w = w + float(lr) * torch.randn(64, 64, generator=generator, dtype=torch.float64)
        log.append({"step": step, "learning_rate": float(lr)})
        if not step % 50:
            folder = tmp_path / f"checkpoint-{step}"
            folder.mkdir()
            torch.save({"w.weight": w}, folder / "pytorch_model.bin")
            state = {"global_step": step, "log_history": log}
            (folder / "trainer_state.json").write_text(json.dumps(state), "utf-8")
    summary = report(tmp_path)["summary"]
    assert summary["exponent"] > 0.6
    assert summary["exponent_by_lr"] == pytest.approx(0.5, abs=0.02)
    first = " ".join(scalecheck("history", tmp_path).out.split())
    assert ", like noise (exponent" in first
    assert f"{summary['exponent_by_lr']:.2f} with the lr's changes taken out" in first


def test_three_checkpoints_have_no_exponent(run):
    root, _ = run
    found = report(*(root / f"checkpoint-{step}" for step in STEPS[:3]))
    assert found["summary"]["exponent"] is None
    assert "an exponent takes 4 checkpoints or more" in found["notes"]


def test_noise_and_drift_follow_the_lrs_that_were_logged(run):
    root, weights = run
    found = report(root)
    rows = by_step(found, "N.weight")
    lrs = np.array([1e-2 if step <= 100 else 1e-3 for step in range(1, STEPS[-1] + 1)])
    for before, step in pairwise(STEPS):
        part = lrs[before:step]
        w = flat(weights[before], "weight")
        rms = math.sqrt(np.mean(w * w))
        assert rows[step]["lr"] == part[-1]
        drift = rows[step]["expected_drift"]
        assert drift == pytest.approx(part.sum() / rms, rel=0.02)
        walk = rows[step]["expected_walk"]
        assert walk == pytest.approx(math.sqrt(np.sum(part**2)) / rms, rel=0.25)
    part = lrs[STEPS[0] :]
    at_start = flat(weights[STEPS[0]], "weight")
    expected = part.sum() / math.sqrt(np.mean(at_start * at_start))
    assert rows[STEPS[-1]]["expected_drift_first"] == pytest.approx(expected, rel=0.01)
    assert found["summary"]["lrs_by"] == "160 logged lrs of trainer_state.json"


def test_lrs_are_those_given_then_logged_then_saved_then_unknown(tmp_path):
    for name, options in (
        ("saved", {"with_log": False}),
        ("unknown", {"with_log": False, "with_state": False}),
    ):
        trained(trainer_folder(tmp_path / name, **options), STEPS[:3])
    found = report(tmp_path / "saved")
    assert found["summary"]["lrs_by"] == "the lrs of 3 optimizer states, in a line between them"
    assert by_step(found, "N.weight")[40]["lr"] == 1e-2
    found = report(tmp_path / "unknown")
    assert found["summary"]["lrs_by"] is None
    assert by_step(found, "N.weight")[40]["expected_walk"] is None
    assert any("lrs of the run are not known" in note for note in found["notes"])
    given = ("--lr", "4e-3", "--schedule", "linear", "--steps", "100")
    found = report(tmp_path / "unknown", *given)
    assert found["summary"]["lrs_by"] == "--lr"
    assert by_step(found, "N.weight")[41 - 1]["lr"] == pytest.approx(4e-3 * (1 - 39 / 100))


def test_the_update_is_that_of_the_saved_state(run):
    root, _ = run
    found = report(root, "--by", "tensor")
    for name in ("0.weight", "4.bias"):
        path = root / "checkpoint-160"
        own = library.translate(path)[name]["relative_update"]
        row = by_step(found, name)[160]
        assert row["relative_update"] == pytest.approx(own, rel=1e-12)


def test_the_update_of_a_family_is_over_all_its_elements(run):
    root, weights = run
    each = [row for row in report(root, "--by", "tensor")["rows"] if row["step"] == 160]
    moved = size = 0.0
    for row in each:
        if row["name"].endswith("weight"):
            count = weights[160][row["name"]].size
            moved += count * (row["relative_update"] * row["rms"]) ** 2
            size += count * row["rms"] ** 2
    family = by_step(report(root), "N.weight")[160]
    assert family["relative_update"] == pytest.approx(math.sqrt(moved / size), rel=1e-9)


def test_the_equilibrium_is_that_of_the_decay(run):
    root, _ = run
    row = by_step(report(root), "N.weight")[160]
    lr, decay = 1e-3, 0.1
    held = row["equilibrium_rms"]
    assert held == pytest.approx(math.sqrt(lr / (2 * decay)), rel=0.05)
    assert row["equilibrium_ratio"] == pytest.approx(row["rms"] / held)
    left = math.log((row["equilibrium_ratio"] ** 2 - 1) / (1.1**2 - 1))
    assert row["equilibrium_steps"] == math.ceil(left / (2 * lr * decay))


def test_a_fall_of_the_lr_is_seen(run):
    root, _ = run
    (row,) = [row for row in report(root)["findings"] if row["rule"] == "lr-change"]
    assert row["severity"] == "note"
    assert "after step 100 weights move" in row["message"]
    assert "the lr goes from 0.01 to 1e-3 (means)" in row["message"]


def test_without_steps_nothing_is_said_of_the_lr(run):
    _, weights = run
    models = [{k: torch.tensor(w) for k, w in weights[s].items()} for s in (20, 100, 120, 140)]
    assert [one.rule for one in library.history(models).findings] == []


def test_the_result_does_not_depend_on_threads(run):
    root, _ = run
    assert report(root, "--jobs", "1") == report(root, "--jobs", "3")


def test_python_gives_the_same(run):
    root, weights = run
    assert library.history(root).rows == report(root)["rows"]
    models = [{k: torch.tensor(w) for k, w in weights[s].items()} for s in STEPS[:2]]
    rows = library.history(models).rows
    w = [flat(weights[step], "weight") for step in STEPS[:2]]
    expected = np.linalg.norm(w[1] - w[0]) / np.linalg.norm(w[0])
    (last,) = [r for r in rows if r["name"] == "N.weight" and r["relative_change"] is not None]
    assert last["relative_change"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("format", ["table", "csv", "markdown"])
def test_every_format_shows_every_family(run, format):
    root, _ = run
    out = scalecheck("history", root, "--format", format).out
    assert "N.weight" in out
    assert "N.bias" in out


def test_columns_and_order_are_those_of_families(run):
    root, _ = run
    options = ("--by", "tensor", "--sort", "exponent", "--top", "2", "--columns", "name,exponent")
    found = report(root, *options)
    exponents = [row["exponent"] for row in found["families"]]
    assert exponents == sorted(exponents, reverse=True)
    assert [*found["families"][0]] == ["name", "exponent"]
    assert {row["name"] for row in found["rows"]} == {row["name"] for row in found["families"]}
    for wrong in (("--columns", "exponennt"), ("--sort", "step")):
        done = scalecheck("history", root, *wrong)
        assert (done.code, done.out) == (2, "")
        assert "no such column" in done.problem
    done = scalecheck("history", root, "--columns", "step,name,cosine", "--format", "csv")
    assert done.out.splitlines()[0] == "step,name,cosine"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--set", "alpha=0.9"), "--optimizer adamw: has no alpha"),
        (("--beta1", "2"), "beta1 2.0 is outside [0, 1)"),
        (("--group", "zz*:lr=1e-3"), "--group zz*: matches none of 6 tensors"),
        (("--warmup", "9"), "need --lr, the peak lr of the run"),
        (("--lr", "1e-3", "--warmup", "900"), "--warmup 900: is more than the 200 steps"),
    ],
)
def test_settings_that_do_not_fit_are_refused(run, options, problem):
    root, _ = run
    done = scalecheck("history", root, *options)
    assert (done.code, done.out) == (2, "")
    assert problem in done.problem


def test_a_step_without_a_checkpoint_is_refused(run):
    root, _ = run
    done = scalecheck("history", root, "--against", "61")
    assert (done.code, done.out) == (2, "")
    assert "--against 61: no checkpoint is of this step" in done.problem
    assert "--against 60" in done.err
