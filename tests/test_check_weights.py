"""What `scalecheck check` says of weights: what it must find, and what is no fault."""

import sys

import pytest
import torch
from checked import found, noise, report, rule, saved, written
from command import scalecheck

pytestmark = pytest.mark.usefixtures("elsewhere")


def calls(work, file, function=None):
    """How many functions of a file are called while it works."""
    count = 0

    def see(frame, event, _):
        nonlocal count
        code = frame.f_code
        named = function is None or code.co_name == function
        count += event == "call" and named and code.co_filename.endswith(file)

    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_the_work_for_a_family_grows_as_its_siblings():
    counts = []
    for count in (250, 500):
        path = saved({f"b.{i}.w.weight": noise(2, 2, seed=i) for i in range(count)})
        counts.append(calls(lambda: found(path, "--select", "SC104"), "outliers.py"))  # noqa: B023 # called here
    assert counts[1] < 3 * counts[0]


def test_exceptions_are_looked_up_once_and_not_for_every_finding():
    entry = "[[exception]]\nmatch = 'zz*'\nrules = ['SC102']\nreason = 'x'\n"
    path = saved({f"{name}.weight": torch.full((2, 2), float("nan")) for name in "abcdefghij"})
    written(20 * entry)
    assert calls(lambda: found(path, "--select", "SC101"), "settings.py", "chosen") < 100


def test_a_norm_of_zeros_among_others_of_ones_is_found():
    norms = {f"layers.{i}.norm.weight": torch.ones(64) for i in range(6)}
    path = saved(norms | {"layers.3.norm.weight": torch.zeros(64)})
    assert "layers.3.norm.weight" in {where for _, where in found(path)}


def test_norms_that_are_all_zero_are_gains_around_one():
    path = saved({f"layers.{i}.norm.weight": torch.zeros(64) for i in range(6)})
    assert found(path) == []


def test_the_relative_update_of_scaled_fp8_is_that_of_its_numbers():
    weight = (noise(64, 64) * 5e3).clamp(-448, 448).to(torch.float8_e4m3fn)
    path = saved({"w.weight": weight, "w.weight_scale_inv": torch.full((1, 1), 2e-4)})
    judged = report(path, "--lr", "1e-4")
    assert judged["findings"] == []
    assert rule(judged, "SC202")["status"] == "passed"
    assert rule(judged, "SC203")["status"] == "not run"


def test_a_gain_of_a_channel_is_no_convolution():
    path = saved({"features.1.0.layer_scale": torch.full((96, 1, 1), 1e-6), "w": noise(64, 64)})
    assert {row[0] for row in found(path, "--lr", "1e-4")} & {"SC201", "SC208"} == set()


def test_codes_are_said_to_be_left_out_and_others_are_judged():
    weight = noise(64, 64).to(torch.float8_e4m3fn)
    tensors = {"w.weight": weight, "w.weight_scale_inv": torch.full((7, 3), 2e-4)}  # fits not
    judged = report(saved(tensors | {"v.weight": noise(64, 64)}), "--lr", "1e-4")
    assert rule(judged, "SC202")["status"] == "passed"
    assert [(f["rule"], f["where"]) for f in judged["findings"]] == [("SC107", "w.weight")]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("q_proj.qweight", torch.int32), ("fc.weight", torch.uint8), ("fc.weight", torch.int8)],
)
def test_a_weight_that_a_quantizer_left_as_integers_is_not_passed(name, dtype):
    assert found(saved({name: torch.ones(8, 8, dtype=dtype)})) == [("SC107", name)]


@pytest.mark.parametrize("name", ["attn.bias", "position_ids", "num_batches_tracked", "idx.table"])
def test_integers_that_are_no_weights_are_no_finding(name):
    assert found(saved({name: torch.ones(8, 8, dtype=torch.int64)})) == []


def test_a_lone_token_may_be_zero_and_an_output_of_one_may_not():
    path = saved({"cls_token": torch.zeros(1, 1, 64), "head.weight": torch.zeros(1, 64)})
    assert found(path) == [("SC102", "head.weight")]


def test_a_stack_of_gains_is_no_matrix_with_equal_rows():
    assert found(saved({"layers.ln_1.weight": torch.ones(12, 64), "w": noise(64, 64)})) == []


def test_a_tie_whose_first_name_is_left_out_is_judged(tmp_path):
    weight = torch.randn(8, 8)
    weight[0, 0] = torch.nan
    torch.save({"tok_emb.weight": weight, "lm_head.weight": weight}, tmp_path / "tied.pt")
    done = scalecheck("check", tmp_path / "tied.pt", "--exclude", "tok*")
    assert done.code == 1
    assert "non-finite: 1 of 64 elements is NaN\n  lm_head.weight\n" in done.out
    done = scalecheck("inspect", tmp_path / "tied.pt", "--match", "lm_head*")
    assert "total: 64 parameters in 1 tensor" in done.out
    assert "1 NaN, 0 inf" in done.out
