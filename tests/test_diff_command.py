"""`scalecheck diff`: what it lists, what it says of a run, and what it refuses."""

import json
import os
import threading
from pathlib import Path

import pytest
import torch
from command import scalecheck
from process import limited
from safetensors.torch import save_file

import scalecheck as library

SAMPLES = Path(__file__).parent.parent / "sample_ckpts"
TINY, START = SAMPLES / "tiny-gpt", SAMPLES / "tiny-gpt-init"
RUN = ("--lr", "2e-3", "--steps", "1500", "--warmup", "150", "--schedule", "cosine")
RUN += ("--final", "0.1", "--beta2", "0.99")


def noise(*shape, seed=5):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def report(*arguments):
    done = scalecheck("diff", *arguments, "--format", "json")
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)


def by_name(*arguments):
    return {row["name"]: row for row in report(*arguments)["rows"]}


def saved(folder, tensors, name):
    save_file({key: tensor.clone() for key, tensor in tensors.items()}, folder / name)
    return folder / name


def recorded(path, target, *options):
    assert scalecheck("inspect", path, "--format", "json", "--output", target, *options).code == 0
    return target


def test_two_identical_checkpoints_are_said_to_be_so():
    done = scalecheck("diff", TINY, TINY)
    assert "Nothing changed: 52 tensors with 121,200 elements are identical." in done.out
    rows = report(TINY, TINY)["rows"]
    assert {row["status"] for row in rows} == {"identical"}
    assert {row["relative_change"] for row in rows} == {0}
    assert {row["changed"] for row in rows} == {0}


def test_what_came_went_and_changed_its_form_is_listed(tmp_path):
    weight = noise(8, 8)
    common = {"same": weight, "changed": weight, "reshaped": weight, "retyped": weight}
    before = saved(tmp_path, common | {"removed": weight}, "a.safetensors")
    common |= {"changed": 2 * weight, "reshaped": weight.reshape(4, 16)}
    common |= {"retyped": weight.bfloat16(), "added": weight}
    rows = by_name(before, saved(tmp_path, common, "b.safetensors"))
    assert {name: row["status"] for name, row in rows.items()} == {
        "same": "identical",
        "changed": "changed",
        "reshaped": "reshaped",
        "retyped": "retyped",
        "removed": "removed",
        "added": "added",
    }
    assert rows["changed"]["relative_change"] == 1
    assert 0 < rows["retyped"]["relative_change"] < 2**-8
    assert rows["reshaped"]["relative_change"] is None
    assert (rows["reshaped"]["shape_before"], rows["reshaped"]["shape_after"]) == ([8, 8], [4, 16])
    assert (rows["removed"]["dtype_before"], rows["removed"]["dtype_after"]) == ("F32", None)
    assert rows["added"]["rms_before"] is None
    assert rows["added"]["rms_after"] == pytest.approx(rows["same"]["rms_after"])


def test_the_order_is_that_of_before_and_then_of_what_was_added(tmp_path):
    before = saved(tmp_path, {"b": noise(2), "a": noise(2)}, "a.safetensors")
    after = saved(tmp_path, {"c": noise(2), "a": noise(2)}, "b.safetensors")
    names = [row["name"] for row in report(before, after)["rows"]]
    assert names == [row["name"] for row in library.inspect(before).rows] + ["c"]


def test_the_training_of_the_sample_lies_near_noise():
    rows = by_name(START, TINY, *RUN)
    matrices = [row for row in rows.values() if row["role"] == "matrix"]
    assert len(matrices) == 16
    for row in matrices:
        assert row["expected_walk"] < row["expected_drift"]
        assert -0.2 < row["place"] < 0.5


def test_noise_and_drift_are_those_of_translate():
    run = [word for word in RUN if word != "--beta2"]
    run.remove("0.99")
    there = {
        row["name"]: row
        for row in json.loads(
            scalecheck("translate", START, *run, "--state", "none", "--format", "json").out
        )["rows"]
    }
    for name, row in by_name(START, TINY, *run).items():
        if row["rms_before"]:
            assert row["expected_walk"] == pytest.approx(there[name]["random_walk"], rel=1e-9)
            assert row["expected_drift"] == pytest.approx(there[name]["drift"], rel=1e-9)


def test_one_step_apart_the_change_is_the_update_that_was_applied():
    updates = {
        row["name"]: row
        for row in library.translate(TINY, lr=0.0002000024369382586).rows
        if row["measured"]
    }
    rows = by_name(SAMPLES / "tiny-gpt.pt", TINY)
    assert len(updates) == 26
    for name, row in updates.items():
        assert rows[name]["relative_change"] == pytest.approx(row["relative_update"], rel=0.02)


def test_rounding_to_bfloat16_is_half_an_ulp_at_most():
    for row in by_name(TINY, SAMPLES / "tiny-gpt-bf16").values():
        assert row["status"] == "retyped"
        assert 0 <= row["relative_change"] <= 2**-8


@pytest.mark.parametrize("by", ["layer", "family", "role"])
def test_groups_are_their_elements_together(by):
    rows = report(START, TINY)["rows"]
    for group in report(START, TINY, "--by", by)["rows"]:
        members = [row for row in rows if row[by] == group["name"]]
        assert group["tensors"] == len(members)
        before = sum(row["numel"] * row["rms_before"] ** 2 for row in members)
        moved = sum(
            row["numel"] * (row["relative_change"] or 0) ** 2 * row["rms_before"] ** 2
            if row["rms_before"]
            else row["numel"] * row["rms_after"] ** 2
            for row in members
        )
        if before:
            assert group["relative_change"] == pytest.approx((moved / before) ** 0.5)


def test_a_report_on_a_side_is_compared_by_its_figures(tmp_path):
    path = recorded(TINY, tmp_path / "tiny.json")
    rows = by_name(path, TINY)
    assert {row["status"] for row in rows.values()} == {"alike"}
    assert {row["relative_change"] for row in rows.values()} == {None}
    rows = by_name(path, START)
    assert {row["status"] for row in rows.values()} == {"changed"}
    assert rows["ln_f.weight"]["rms_ratio"] == pytest.approx(1 / 1.70269, rel=1e-5)
    both = report(path, recorded(SAMPLES / "tiny-gpt-bf16", tmp_path / "b.json"))
    assert {row["status"] for row in both["rows"]} == {"retyped"}
    assert both["source"]["before"]["format"] == "report"


def test_what_is_not_finite_is_counted_and_shown(tmp_path):
    weight = noise(8, 8)
    other = weight.clone()
    other[0, 0] = float("nan")
    before = saved(tmp_path, {"w": weight}, "a.safetensors")
    after = saved(tmp_path, {"w": other}, "b.safetensors")
    row = by_name(before, after)["w"]
    assert (row["status"], row["apart"], row["changed"]) == ("changed", 1, 1 / 64)
    assert row["relative_change"] == 0
    done = scalecheck("diff", before, after)
    assert "1 elements are NaN or inf on a side" in done.out
    assert by_name(after, after)["w"]["status"] == "identical"


def test_what_has_no_numbers_is_compared_byte_by_byte(tmp_path):
    phase = noise(4) * 1j
    before = saved(tmp_path, {"w": noise(4, 4), "phase": phase, "same": phase}, "a.safetensors")
    after = saved(tmp_path, {"w": noise(4, 4), "phase": -phase, "same": phase}, "b.safetensors")
    found = report(before, after)
    assert found["skipped"] == []
    rows = {row["name"]: row for row in found["rows"]}
    assert {name: row["status"] for name, row in rows.items()} == {
        "w": "identical",
        "phase": "changed",
        "same": "identical",
    }
    assert {rows["phase"][figure] for figure in ("rms_before", "max_abs", "changed")} == {None}
    assert "Nothing changed" not in scalecheck("diff", before, after).out
    said = "Nothing changed: 3 tensors with 24 elements are identical."
    assert said in scalecheck("diff", before, before).out


def test_what_cannot_be_compared_is_listed_as_skipped(tmp_path):
    tensors = {"w": noise(4, 4), "few": torch.eye(4).to_sparse()}
    torch.save(tensors, tmp_path / "a.pt")
    found = report(tmp_path / "a.pt", tmp_path / "a.pt")
    assert [(entry["name"], entry["reason"]) for entry in found["skipped"]] == [
        ("few", "a sparse tensor")
    ]
    assert {row["name"]: row["status"] for row in found["rows"]} == {
        "w": "identical",
        "few": None,
    }
    assert "Nothing changed" not in scalecheck("diff", tmp_path / "a.pt", tmp_path / "a.pt").out


@pytest.mark.parametrize(
    ("was", "now", "changed"),
    [
        (torch.arange(8), torch.arange(8) + 1, 1),
        (torch.arange(8), torch.arange(8), 0),
        (torch.arange(8), torch.arange(8).to(torch.int16), 0),
        (torch.arange(8).to(torch.uint8), torch.arange(8).float(), 0),
        (torch.tensor([True, False]), torch.tensor([True, True]), 0.5),
        (torch.tensor([-1, 2]), torch.tensor([2**64 - 1, 2], dtype=torch.uint64), 0.5),
    ],
)
def test_integers_and_bools_are_compared_and_have_no_scale(tmp_path, was, now, changed):
    before = saved(tmp_path, {"x.ids": was}, "a.safetensors")
    row = by_name(before, saved(tmp_path, {"x.ids": now}, "b.safetensors"))["x.ids"]
    status = "retyped" if was.dtype != now.dtype else "changed" if changed else "identical"
    assert (row["status"], row["changed"]) == (status, changed)
    norms = ("rms_before", "rms_after", "rms_ratio", "relative_change", "cosine", "max_abs")
    assert {row[figure] for figure in norms} == {None}


def test_statistics_that_move_are_compared_and_not_judged(tmp_path):
    before = saved(tmp_path, {"bn.running_mean": torch.ones(4)}, "a.safetensors")
    after = saved(tmp_path, {"bn.running_mean": 3 * torch.ones(4)}, "b.safetensors")
    row = by_name(before, after)["bn.running_mean"]
    assert (row["rms_before"], row["rms_after"], row["max_abs"], row["changed"]) == (1, 3, 2, 1)
    assert (row["relative_change"], row["cosine"]) == (None, None)


def test_a_group_sums_its_weights_and_counts_its_buffers(tmp_path):
    ids = torch.arange(396)
    before = {"l.0.w": torch.full((4,), 2.0), "l.0.ids": ids, "l.0.running_mean": torch.ones(4)}
    after = {"l.0.w": torch.full((4,), 3.0), "l.0.ids": ids, "l.0.running_mean": 9 * torch.ones(4)}
    sides = saved(tmp_path, before, "a.safetensors"), saved(tmp_path, after, "b.safetensors")
    row = by_name(*sides, "--by", "layer")["l.0"]
    assert (row["rms_before"], row["rms_after"], row["relative_change"]) == (2, 3, 0.5)
    assert (row["max_abs"], row["changed"], row["numel"]) == (1, 8 / 404, 404)
    out = scalecheck("diff", *sides).out
    said = "2 of 3 tensors changed, 1 is identical: together by 50 % of their norm, cosine 1."
    assert out.startswith(said)
    assert "\nNorms leave out buffers.\n" in out


def test_a_group_with_a_tensor_on_one_side_has_the_figures_of_the_others(tmp_path):
    before = saved(tmp_path, {"l.0.w": torch.full((4,), 2.0)}, "a.safetensors")
    after = {"l.0.w": torch.full((4,), 3.0), "l.0.v": torch.ones(4)}
    after |= {"l.1.w": torch.full((3,), 5.0), "l.1.v": torch.full((1,), 1.0)}
    rows = by_name(before, saved(tmp_path, after, "b.safetensors"), "--by", "layer")
    mixed, added = rows["l.0"], rows["l.1"]
    assert (mixed["status"], mixed["relative_change"], mixed["rms_after"]) == ("mixed", 0.5, 3)
    assert (added["status"], added["rms_before"], added["relative_change"]) == ("added", None, None)
    assert added["rms_after"] == pytest.approx((76 / 4) ** 0.5)


def test_groups_of_a_report_have_the_rms_of_its_figures_together(tmp_path):
    path = recorded(START, tmp_path / "start.json")
    groups = by_name(path, TINY, "--by", "family")
    for name, row in by_name(START, TINY, "--by", "family").items():
        for figure in ("rms_before", "rms_after"):
            assert groups[name][figure] == pytest.approx(row[figure], rel=1e-12), name
        assert groups[name]["relative_change"] is None


def test_a_change_from_zero_says_so(tmp_path):
    before = saved(tmp_path, {"w": torch.zeros(4, 4)}, "a.safetensors")
    after = saved(tmp_path, {"w": noise(4, 4)}, "b.safetensors")
    assert by_name(before, after)["w"]["relative_change"] is None
    assert "from zero" in scalecheck("diff", before, after).out
    assert "from zero" not in scalecheck("diff", before, before).out


def test_ties_are_those_of_their_own_side(tmp_path):
    """A vocabulary that grew: both names have another shape on either side."""
    for name, rows in (("a.pt", 10), ("b.pt", 12)):
        weight = rows * torch.ones(rows, 4)
        torch.save({"tok.weight": weight, "head.weight": weight}, tmp_path / name)
    for row in by_name(tmp_path / "a.pt", tmp_path / "b.pt").values():
        assert (row["status"], row["rms_before"], row["rms_after"]) == ("reshaped", 10, 12)


def test_many_small_shards_need_few_open_files(tmp_path):
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        for number in range(150):
            saved(tmp_path / side, {f"l.{number}.w": noise(4)}, f"model-{number:05}.safetensors")
    done = limited("RLIMIT_NOFILE", 64, "diff", tmp_path / "a", tmp_path / "b", "--quiet")
    assert (done.code, done.err) == (0, "")


def test_large_integers_are_compared_to_their_last_bit(tmp_path):
    before = saved(tmp_path, {"x.num": torch.tensor([2**62, 5])}, "a.safetensors")
    after = saved(tmp_path, {"x.num": torch.tensor([2**62 + 1, 5])}, "b.safetensors")
    assert by_name(before, after)["x.num"]["changed"] == 0.5
    numbers = torch.tensor([[2**62, 5, 6], [7, 8, 9]])
    torch.save({"x.num": numbers.T.contiguous().T}, tmp_path / "a.pt")
    numbers[0, 0] += 1
    torch.save({"x.num": numbers}, tmp_path / "b.pt")
    assert by_name(tmp_path / "a.pt", tmp_path / "b.pt")["x.num"]["changed"] == 1 / 6


def test_tied_tensors_have_one_change(tmp_path):
    for name, factor in (("a.pt", 1), ("b.pt", 3)):
        weight = factor * noise(6, 6)
        torch.save({"tok.weight": weight, "head.weight": weight}, tmp_path / name)
    sides = (tmp_path / "a.pt", tmp_path / "b.pt")
    rows = by_name(*sides)
    assert rows["tok.weight"]["relative_change"] == pytest.approx(2)
    assert rows["tok.weight"]["max_abs"] == rows["head.weight"]["max_abs"]
    assert by_name(*sides, "--match", "head.*")["head.weight"]["relative_change"] == pytest.approx(
        2
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((TINY, TINY, "--lr", "1e-3"), 2, "--lr: needs --steps, the steps …"),
        (
            (TINY, TINY, "--steps", "5", "--warmup", "2"),
            2,
            "--schedule, --warmup and --final: need --lr, the peak lr of the run",
        ),
        ((TINY, TINY, "--lr", "-1", "--steps", "5"), 2, "--lr -1: must be a positive number"),
        (
            (TINY, TINY, "--schedule", "cosine"),
            2,
            "--schedule, --warmup and --final: need --steps, the steps of the run",
        ),
        ((TINY, TINY, *RUN[:4], "--warmup", "1501"), 2, "--warmup …"),
        ((TINY, TINY, "--match", "zzz"), 2, "--match zzz: matches none of 52 tensors"),
        ((TINY, TINY, "--group", "zzz:lr=1"), 2, "--group zzz: matches none of 52 tensors"),
        ((TINY, TINY, "--sort", "chnage"), 2, "--sort chnage: no such column; did you mean …"),
        ((TINY, TINY, "--by", "x"), 2, "--by x: not known; …"),
        ((TINY, TINY, "--jobs", "0"), 2, "--jobs 0: must be 1 to 256 threads"),
        ((TINY, "none"), 3, "none: no such file or directory"),
        (("none", TINY), 3, "none: no such file or directory"),
    ],
)
def test_wrong_usage_is_one_line(arguments, code, said):
    done = scalecheck("diff", *arguments)
    line = done.problem.removeprefix("scalecheck: ")
    assert (done.code, done.out) == (code, "")
    assert line == said or (said.endswith("…") and line.startswith(said[:-1]))


@pytest.mark.parametrize("form", ["table", "json", "csv", "markdown"])
def test_every_format_is_there(form):
    done = scalecheck("diff", START, TINY, *RUN, "--format", form)
    assert (done.code, done.err) == (0, "")
    assert "ln_f.weight" in done.out


def test_the_library_compares_as_the_command_does():
    assert json.loads(library.diff(START, TINY).rendered("json")) == report(START, TINY)


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_file_that_changes_meanwhile_is_an_error_in_every_thread(tmp_path, jobs):
    tensors = {f"layers.{number}.w": noise(600, 600, seed=number) for number in range(60)}
    sides = [saved(tmp_path, tensors, name) for name in ("a.safetensors", "b.safetensors")]
    opened = [library.open_checkpoint(path) for path in sides]
    with sides[1].open("r+b") as file:
        file.truncate(sides[1].stat().st_size // 2)
    with pytest.raises(library.CheckpointError, match=r"b\.safetensors: changed while it was read"):
        library.diff(*opened, jobs=jobs)
    with pytest.raises(library.CheckpointError, match=r"b\.safetensors: changed while it was read"):
        library.check(opened[1], jobs=jobs)


def test_a_report_is_read_from_a_pipe(tmp_path):
    text = recorded(TINY, tmp_path / "r.json").read_text()
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=(text,))
    writer.start()
    done = scalecheck("diff", tmp_path / "pipe", TINY)
    writer.join()
    assert (done.code, done.err) == (0, "")
    assert "52 of 52 tensors have equal figures" in done.out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nan": 10**6}, "row 1: 1000000 zeros, NaN and inf among 48 elements"),
        ({"shape": [2**62] * 64}, "row 1: shape is a list"),
    ],
)
def test_a_report_whose_numbers_do_not_fit_is_refused(tmp_path, change, said):
    path = recorded(TINY, tmp_path / "r.json")
    written = json.loads(path.read_text())
    written["rows"][0] |= change
    path.write_text(json.dumps(written))
    done = scalecheck("diff", path, TINY)
    assert (done.code, done.out, done.err) == (3, "", f"scalecheck: {path}: {said}\n")


def test_a_report_of_more_values_than_are_parsed_is_refused(tmp_path):
    path = tmp_path / "r.json"
    path.write_text('{"schema":"scalecheck.inspect/1","rows":[' + "{}," * 3_000_000 + "{}]}")
    done = scalecheck("diff", path, TINY)
    assert done.code == 3
    assert "it has up to 6000004 values, the limit is 6000000" in done.err


def test_a_move_that_underflows_beside_its_walk_has_a_place(tmp_path):
    for name, small in (("a", 1e-300), ("b", 2e-300)):
        save_file({"w": torch.tensor([small, 1.0, 1.0], dtype=torch.float64)}, tmp_path / name)
    run = ("--lr", "1e100", "--steps", "100")
    (row,) = report(tmp_path / "a", tmp_path / "b", *run)["rows"]
    assert row["place"] < -50


def test_what_changed_most_comes_first():
    """What is on one side alone comes before it, and what is identical last; programs get the
    order of names."""
    out = scalecheck("diff", TINY, SAMPLES / "broken.safetensors", "--quiet").out.splitlines()
    assert out[0].split()[:2] == ["name", "status"]
    changes = [row["relative_change"] or 0 for row in library.diff(START, TINY)]
    shown = scalecheck("diff", START, TINY, "--quiet", "--columns", "name,relative_change").out
    figures = [line.split()[1] for line in shown.splitlines()[2:]]
    numbers = [float(figure) for figure in figures if figure != "from"]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == sum(map(bool, changes))
    assert changes != sorted(changes, reverse=True)


def test_two_models_without_a_common_name_are_warned_of(tmp_path):
    save_file({"a": torch.ones(3)}, tmp_path / "a.safetensors")
    save_file({"b": torch.ones(3)}, tmp_path / "b.safetensors")
    done = scalecheck("diff", tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert done.out.startswith("Nothing is compared: no tensor is shared: 1 tensor before, 1 after")


def test_what_changed_shape_or_type_is_shown_with_both(tmp_path):
    before = {"a": torch.ones(2, 3), "b": torch.ones(4)}
    after = {"a": torch.ones(3, 2), "b": torch.ones(4, dtype=torch.bfloat16)}
    save_file(before, tmp_path / "a.safetensors")
    save_file(after, tmp_path / "b.safetensors")
    out = scalecheck("diff", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--quiet").out
    rows = {line.split()[0]: line.split() for line in out.splitlines()[2:]}
    assert {"2×3", "3×2"} <= {*rows["a"]}
    assert {"F32", "BF16"} <= {*rows["b"]}
