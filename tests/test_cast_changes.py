"""How much of the change between two casts is rounding, beside replays whose masters are known."""

import json
import math

import pytest
import torch
from command import scalecheck
from safetensors.torch import save_file

RMS = 0.028


def compared(folder, before, after, *arguments):
    """The report of a diff of these tensors, and what people read."""
    paths = [folder / "before.safetensors", folder / "after.safetensors"]
    for path, tensors in zip(paths, (before, after), strict=True):
        save_file(tensors, path)
    done = scalecheck("diff", *paths, *arguments, "--format", "json")
    assert done.code == 0, done.err
    return json.loads(done.out), " ".join(scalecheck("diff", *paths).out.split())


def masters(relative, start=None, numel=200_000):
    """float32 weights before and after normal changes of this relative size; start: the type that
    the first are values of."""
    torch.manual_seed(0)
    before = {f"{i}.weight": RMS * (1 + i) * torch.randn(numel // 500, 500) for i in range(2)}
    before["norm.weight"] = 1 + 0.02 * torch.randn(500)
    if start is not None:
        before = cast(before, start).items()
        before = {name: tensor.float() for name, tensor in before}
    size = relative * RMS
    after = {name: tensor + size * torch.randn(tensor.shape) for name, tensor in before.items()}
    return before, after


def cast(tensors, dtype):
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def true_change(before, after):
    squares = sum(float((after[n] - before[n]).double().square().sum()) for n in before)
    return math.sqrt(squares / sum(float(x.double().square().sum()) for x in before.values()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("relative", [1.5e-4, 1e-3, 3e-3, 1e-2])
def test_the_change_of_the_masters_is_told_from_their_casts(tmp_path, dtype, relative):
    before, after = masters(relative)
    report, _ = compared(tmp_path, cast(before, dtype), cast(after, dtype))
    figures, real = report["summary"]["casts"], true_change(before, after)
    sure = 4 * (figures["master_change_error"] or 0.0)
    assert figures["master_change"] == pytest.approx(real, rel=0.02, abs=sure)
    rounding = 1 - (real / figures["relative_change"]) ** 2
    assert figures["rounding_share"] == pytest.approx(rounding, abs=0.02)
    row = report["rows"][0]
    own = true_change({"0": before["0.weight"]}, {"0": after["0.weight"]})
    assert row["master_change"] == pytest.approx(own, rel=0.05)
    assert own < row["relative_change"]


def test_a_small_lr_changes_casts_several_times_as_far_as_masters(tmp_path):
    before, after = masters(1.5e-4)
    report, said = compared(tmp_path, cast(before, torch.bfloat16), cast(after, torch.bfloat16))
    figures = report["summary"]["casts"]
    assert figures["relative_change"] > 5 * figures["master_change"]
    assert f"{100 * figures['rounding_share']:.3g} % of the squared change is rounding" in said
    assert f"of their norm, the weights by {figures['master_change']:#.4g} ± " in said


@pytest.mark.parametrize("relative", [1.5e-4, 1e-3, 2e-3])
def test_a_run_that_starts_from_the_cast_itself_is_not_told(tmp_path, relative):
    """Then only weights whose gap is small have crossed one, and the others hide their change."""
    before, after = masters(relative, start=torch.bfloat16)
    report, said = compared(tmp_path, cast(before, torch.bfloat16), cast(after, torch.bfloat16))
    figures = report["summary"]["casts"]
    assert figures["master_change"] is figures["rounding_share"] is None
    assert "How far fp32 weights behind these bf16 casts moved is not known" in said


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("relative", [1e-3, 3e-3, 1e-2, 3e-2])
@pytest.mark.parametrize("start", [1.0, -0.5, 3.0, 0.1])
def test_gains_that_were_one_number_tell_how_far_they_moved(tmp_path, start, relative, dtype):
    """The gap below a power of two is half the one above, and 0.1 is no value of the type."""
    torch.manual_seed(0)
    before = {f"{n}.norm.weight": torch.full((4096,), start) for n in range(4)}
    after = {n: x + abs(start) * relative * torch.randn(x.shape) for n, x in before.items()}
    sides = [cast(before, dtype), cast(after, dtype)]
    real = true_change(before, after)
    for first, second in (sides, sides[::-1]):
        report, _ = compared(tmp_path, first, second)
        figures = report["summary"]["casts"]
        assert figures["master_change"] == pytest.approx(real, rel=0.05)
        assert report["rows"][0]["master_change"] == pytest.approx(real, rel=0.1)


@pytest.mark.parametrize("relative", [2e-4, 1e-3])
def test_gains_of_one_beside_matrices_add_what_they_moved(tmp_path, relative):
    before, _ = masters(relative)
    before["norm.weight"] = torch.ones(20_000)
    size = {"norm.weight": relative}
    after = {n: x + size.get(n, relative * RMS) * torch.randn(x.shape) for n, x in before.items()}
    report, _ = compared(tmp_path, cast(before, torch.bfloat16), cast(after, torch.bfloat16))
    figures, real = report["summary"]["casts"], true_change(before, after)
    if relative == 1e-3:  # else no gain has left its cell, and it is not known how far they moved
        assert figures["master_change"] == pytest.approx(real, rel=0.03)
    own = {n: x for n, x in before.items() if n != "norm.weight"}
    rows = {row["name"]: row["master_change"] for row in report["rows"]}
    for name, x in own.items():
        assert rows[name] == pytest.approx(true_change({name: x}, {name: after[name]}), rel=0.1)


@pytest.mark.parametrize("relative", [5e-4, 1e-3, 2e-3])
def test_steps_of_one_size_from_the_cast_itself_are_not_told(tmp_path, relative):
    """As the first step of Adam: whole ranges of weights cross a gap, others none."""
    before, _ = masters(relative, start=torch.bfloat16)
    del before["norm.weight"]
    after = {n: x + relative * RMS * torch.randn(x.shape).sign() for n, x in before.items()}
    report, _ = compared(tmp_path, cast(before, torch.bfloat16), cast(after, torch.bfloat16))
    assert report["summary"]["casts"]["master_change"] is None


def test_float32_has_no_rounding_to_tell(tmp_path):
    report, said = compared(tmp_path, *masters(1e-4))
    assert "casts" not in report["summary"]
    assert "master_change" not in report["rows"][0]
    assert "is rounding" not in said


def test_equal_casts_say_nothing_of_rounding(tmp_path):
    before, _ = masters(1e-4)
    report, said = compared(tmp_path, *[cast(before, torch.bfloat16)] * 2)
    figures = report["summary"]["casts"]
    assert figures["rounding_share"] is figures["master_change"] is None
    assert "is rounding" not in said


@pytest.mark.parametrize("wide", [torch.float32, torch.float64])
def test_float32_beside_casts_counts_as_it_is(tmp_path, wide):
    before, after = masters(1e-3)
    sides = [
        {name: x.to(torch.bfloat16 if name == "0.weight" else wide) for name, x in side.items()}
        for side in (before, after)
    ]
    report, _ = compared(tmp_path, *sides)
    figures, real = report["summary"]["casts"], true_change(before, after)
    assert figures["dtype"] == "BF16"
    assert figures["relative_change"] > 1.05 * real
    assert figures["master_change"] == pytest.approx(real, rel=0.02)
    told = {row["name"]: row["master_change"] is not None for row in report["rows"]}
    assert told == {"0.weight": True, "1.weight": False, "norm.weight": False}


def test_casts_that_did_not_change_hide_what_their_masters_did(tmp_path):
    before, after = masters(1e-3)
    for tensors in (before, after):
        tensors["0.weight"] = before["0.weight"].bfloat16()
    report, said = compared(tmp_path, before, after)
    assert report["summary"]["casts"]["master_change"] is None
    assert "is rounding" not in said


def test_casts_to_two_types_have_rows_and_no_total(tmp_path):
    before, after = masters(1e-3)
    for tensors in (before, after):
        tensors["0.weight"] = tensors["0.weight"].bfloat16()
        tensors["1.weight"] = tensors["1.weight"].half()
    report, _ = compared(tmp_path, before, after)
    assert "casts" not in report["summary"]


def test_what_rests_on_normal_changes_says_so(tmp_path):
    """Steps of one size look √(π/2) times as large: the spread alone is not all."""
    before, after = masters(1e-4)
    _, small = compared(tmp_path, cast(before, torch.bfloat16), cast(after, torch.bfloat16))
    assert "if their changes are normally distributed." in small
    before, after = masters(1e-1)
    del before["norm.weight"], after["norm.weight"]
    _, large = compared(tmp_path, cast(before, torch.bfloat16), cast(after, torch.bfloat16))
    assert "is rounding" in large
    assert "normally distributed" not in large


def test_a_change_of_few_elements_has_a_wide_error(tmp_path):
    before = {"a.weight": (RMS * torch.randn(50, 50)).bfloat16()}
    after = {"a.weight": before["a.weight"].clone()}
    after["a.weight"].view(torch.int16)[0, :2] += 1
    figures = compared(tmp_path, before, after)[0]["summary"]["casts"]
    assert figures["master_change_error"] > 0.5 * figures["master_change"]


def test_elements_that_are_not_finite_are_left_out(tmp_path):
    before, after = (cast(each, torch.bfloat16) for each in masters(1e-3))
    clean = compared(tmp_path, before, after)[0]["summary"]["casts"]
    for tensors, number in ((before, math.inf), (after, math.nan)):
        tensors["0.weight"][0, :3] = number
    figures = compared(tmp_path, before, after)[0]["summary"]["casts"]
    assert figures["master_change"] == pytest.approx(clean["master_change"], rel=0.01)
