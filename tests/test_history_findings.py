"""What `history` finds wrong with a run, each on a run that has it and on one that does not."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from command import scalecheck
from runs import STEPS, trained, trainer_folder
from safetensors.torch import save_file

from scalecheck.updates.history.findings import resets
from scalecheck.updates.history.growth import growth, reached


def report(*arguments, code=0):
    done = scalecheck("history", *arguments, "--format", "json")
    assert (done.code, done.err) == (code, "")
    return json.loads(done.out)


def found(*arguments, code=0):
    """Each finding's severity, name and tensor."""
    rows = report(*arguments, code=code)["findings"]
    return [(row["severity"], row["rule"], row["where"]) for row in rows]


def noise(*shape, seed=0, scale=0.1):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def saved(root, weights_of, count=6, every=100):
    """A run of checkpoints every so many steps, of the weights of each by its number."""
    for number in range(count):
        folder = root / f"checkpoint-{every * (number + 1)}"
        folder.mkdir(parents=True)
        save_file(weights_of(number), folder / "model.safetensors")
    return root


def walk(number, seed=0, scale=0.01):
    """Weights that noise has moved so many times."""
    moved = sum((noise(16, 8, seed=100 * seed + n, scale=scale) for n in range(number)), 0)
    return noise(16, 8, seed=seed) + moved


def test_an_ordinary_run_has_no_warning(tmp_path):
    root = saved(tmp_path, lambda n: {"a.weight": walk(n), "b.weight": walk(n, 1)})
    assert [one for one in found(root) if one[0] != "note"] == []


def test_a_tensor_that_stopped_is_told_from_one_that_never_moved(tmp_path):
    def weights(n):
        return {"a.weight": walk(n), "b.weight": walk(min(n, 2), 1), "c.weight": walk(0, 2)}

    root = saved(tmp_path, weights)
    assert ("warning", "stopped", "b.weight") in found(root)
    assert ("note", "never-moved", "c.weight") in found(root)
    assert not any(where == "a.weight" and rule != "growth" for _, rule, where in found(root))
    text = " ".join(scalecheck("history", root).out.split())
    assert "1 tensor stopped: b.weight" in text
    assert "warning[stopped] b.weight: does not change after step 300" in text
    rows = report(root, "--by", "tensor")["families"]
    status = {row["name"]: row["status"] for row in rows}
    expected = {"a.weight": "moves", "b.weight": "stopped", "c.weight": "never moved"}
    assert status == expected


def test_a_tensor_that_rested_once_is_named_with_its_steps(tmp_path):
    def weights(n):
        return {"a.weight": walk(n), "b.weight": walk(n if n < 3 else n - 1, 1)}

    root = saved(tmp_path, weights)
    assert ("warning", "did-not-move", "b.weight") in found(root)
    (row,) = [row for row in report(root)["findings"] if row["rule"] == "did-not-move"]
    assert "between step 300 and step 400" in row["message"]


def test_a_tensor_that_all_but_stopped_is_found(tmp_path):
    def weights(n):
        own = walk(n, 1) if n < 5 else walk(4, 1) * (1 + 1e-6)
        return {"a.weight": walk(n), "b.weight": own}

    assert ("warning", "stopped", "b.weight") in found(saved(tmp_path, weights))


def test_moments_that_were_reset_at_a_resume_are_found(tmp_path):
    trained(trainer_folder(tmp_path / "run"), STEPS[:4])
    again = tmp_path / "again"
    trained(trainer_folder(again), STEPS[:2])
    for step in (20, 40):
        own = again / f"checkpoint-{step}"
        state = json.loads((own / "trainer_state.json").read_text())
        moved = tmp_path / "run" / f"checkpoint-{80 + step}"
        own.rename(moved)
        text = json.dumps(state | {"global_step": 80 + step, "log_history": []})
        (moved / "trainer_state.json").write_text(text, "utf-8")
    rows = report(tmp_path / "run")
    (row,) = [row for row in rows["findings"] if row["rule"] == "moments-reset"]
    assert row["message"] == (
        "moments were reset before step 100: its optimizer state has counted 20 steps, that of "
        "step 80 had counted 80"
    )
    assert rows["summary"]["resets"] == ["checkpoint-100"]
    resumed = ("--resumed-from", tmp_path / "run" / "checkpoint-80")
    of_two = report(*resumed, tmp_path / "run" / "checkpoint-100", "--fail-on", "warning", code=1)
    assert "moments-reset" in [row["rule"] for row in of_two["findings"]]
    kept = ("--resumed-from", tmp_path / "run" / "checkpoint-60")
    names = [row["rule"] for row in report(*kept, tmp_path / "run" / "checkpoint-80")["findings"]]
    assert "moments-reset" not in names


@pytest.mark.parametrize(
    ("steps", "counts", "found"),
    [
        ([100, 200, 300], [100, 200, 300], []),
        ([100, 200, 300], [98, 197, 296], []),  # steps of fp16 that were skipped
        ([100, 200, 300], [100, 200, 50], [2]),
        ([100, 200, 300], [100, 200, 100], [2]),
        ([100, 200, 500], [100, 200, 300], [2]),
        ([1000, 2000, 3000], [500, 1000, 1500], []),  # each of two optimizers
        ([600, 700, 800], [100, 200, 300], [0]),
        ([600, 700, 800], [None, None, 300], []),
        ([100, 100, 100], [100, 100, 100], []),
        ([0, 100, 200], [None, 100, 200], []),
    ],
)
def test_a_reset_is_told_from_a_count_of_another_unit(steps, counts, found):
    run = [
        SimpleNamespace(step=step, step_by="its name", state_step=count)
        for step, count in zip(steps, counts, strict=True)
    ]
    assert resets(run) == found


def test_moments_that_were_kept_are_no_finding(tmp_path):
    trained(trainer_folder(tmp_path))
    assert "moments-reset" not in [rule for _, rule, _ in found(tmp_path)]


@pytest.mark.parametrize(
    ("factor", "rule"), [(lambda n: 1.0, "average-still"), (lambda n: 0.9**n, "average-decays")]
)
def test_an_average_that_does_not_follow_is_found(tmp_path, factor, rule):
    for number in range(5):
        model = {"a.weight": walk(number), "b.weight": walk(number, 1)}
        average = {name: factor(number) * walk(0, seed) for seed, name in enumerate(model)}
        content = {"model": model, "ema": average, "global_step": 100 * (number + 1)}
        torch.save(content, tmp_path / f"ckpt_{100 * (number + 1)}.pt")
    rules = [one for _, one, _ in found(tmp_path)]
    assert rule in rules
    assert len([one for one in rules if one.startswith("average")]) == 1


def test_an_average_that_follows_is_no_finding(tmp_path):
    average = None
    for number in range(5):
        model = {"a.weight": walk(number), "b.weight": walk(number, 1)}
        average = average or model
        average = {name: 0.5 * average[name] + 0.5 * model[name] for name in model}
        content = {"model": model, "ema": average, "global_step": 100 * (number + 1)}
        torch.save(content, tmp_path / f"ckpt_{100 * (number + 1)}.pt")
    assert report(tmp_path)["summary"]["averages"] == 2
    assert not any(rule.startswith("average") for _, rule, _ in found(tmp_path))


def test_growth_that_leaves_its_type_before_the_end_is_an_error(tmp_path):
    def weights(n):
        return {"a.weight": (noise(16, 8) * 2.0**n * 1000).half(), "b.weight": walk(n, 1)}

    root = saved(tmp_path, weights)
    assert ("error", "overflow", "a.weight") in found(root, "--steps", "1000")
    (row,) = [r for r in report(root, "--steps", "1000")["findings"] if r["rule"] == "overflow"]
    top = float((noise(16, 8) * 2.0**5 * 1000).half().abs().max())
    assert row["value"] == pytest.approx(600 + 100 * np.log2(65504 / top), rel=1e-3)
    assert ("error", "overflow", "a.weight") not in found(root, "--steps", "610")
    assert ("error", "overflow", "a.weight") not in found(root)
    assert any(one[1:] == ("growth", "a.weight") for one in found(root))


def test_numbers_that_are_not_finite_are_found_where_they_begin(tmp_path):
    def weights(n):
        tensor = walk(n)
        if n >= 3:
            tensor[0, :2] = torch.tensor([torch.nan, torch.inf])
        return {"a.weight": tensor, "b.weight": walk(n, 1)}

    root = saved(tmp_path, weights)
    (row,) = [row for row in report(root)["findings"] if row["rule"] == "not-finite"]
    assert row["message"] == "2 elements are NaN or inf at step 400, for the first time"
    w = walk(3).double().flatten()[2:]
    last = [r for r in report(root, "--by", "tensor")["rows"] if r["name"] == "a.weight"][3]
    assert last["rms"] == pytest.approx(float(w.square().mean().sqrt()), rel=1e-12)
    assert last["not_finite"] == 2


def test_growth_slows_or_does_not():
    steps = [100, 200, 300, 400, 500]
    linear = [np.sqrt(1 + n) for n in range(5)]  # a square that noise makes larger
    assert growth(steps, linear).pace == pytest.approx(1)
    assert growth(steps, linear).is_unbounded
    held = [1.0, 1.5, 1.7, 1.75, 1.76]
    assert not growth(steps, held).is_unbounded
    assert growth(steps, [1.0, 2.0, 3.0, 2.9, 4.0]) is None
    assert growth(steps[:3], [1.0, 2.0, 3.0]) is None
    assert growth([1, 1, 2, 3], [1.0, 2.0, 3.0, 4.0]) is None


def test_what_grows_reaches_a_limit_in_a_line_or_faster():
    steps = [100, 200, 300, 400, 500]
    assert reached(steps, [1.0, 2.0, 3.0, 4.0, 5.0], 10) == pytest.approx(1000)
    assert reached(steps, [1.0, 2.0, 4.0, 8.0, 16.0], 64) == pytest.approx(700)
    assert reached(steps, [5.0, 4.0, 3.0, 2.0, 1.0], 64) is None
    assert reached(steps, [1.0, 2.0, 4.0, 8.0, 64.0], 64) is None
