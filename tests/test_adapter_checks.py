"""What `check` says of adapters: with their base the matrices' updates, without it no range."""

import pytest
import torch
from adapter_files import CONFIG, lora, noise, write, write_base

import scalecheck as api

MODULE = "layers.0.q_proj"


def halves(module=MODULE, scale=1.0):
    a, b = lora()
    names = [f"base_model.model.{module}.lora_{half}.weight" for half in "AB"]
    return dict(zip(names, (a, scale * b), strict=True))


@pytest.fixture
def adapter(tmp_path):
    return write(tmp_path / "adapter", halves(), CONFIG)


@pytest.fixture
def base(tmp_path):
    return write_base(tmp_path / "base", {f"{MODULE}.weight": noise(48, 64)})


def found(report):
    return {(finding.rule, finding.where) for finding in report.findings}


def test_update_of_the_matrix_is_judged(adapter, base):
    high = api.check(adapter, base=base, lr=1.0, select="SC201")
    assert found(high) == {("SC201", f"{MODULE}.weight")}
    low = api.check(adapter, base=base, lr=1e-9, select="SC202")
    assert found(low) == {("SC202", f"{MODULE}.weight")}
    assert not api.check(adapter, base=base, lr=2e-3, select="SC2").failed


def test_of_halves_alone_a_is_judged_and_no_step_is_too_small(adapter):
    """How far a step of B is of itself says nothing: B starts at zero."""
    half = f"base_model.model.{MODULE}.lora_A.weight"
    assert found(api.check(adapter, lr=1.0, select="SC2")) == {("SC201", half)}
    low = api.check(adapter, lr=1e-6, select=["SC201", "SC202"])
    assert not low.findings
    assert {rule.status for rule in low.rows_of("rules")} == {"passed"}


def test_first_step_of_halves_alone_is_judged_by_the_lr_of_full_fine_tuning(tmp_path):
    tensors = halves()
    tensors[f"base_model.model.{MODULE}.lora_B.weight"].zero_()
    folder = write(tmp_path / "new", tensors, CONFIG)
    (finding,) = api.check(folder, lr=5e-3, select="SC201", phase="finetune").findings
    assert (finding.where, finding.severity) == (MODULE, "warning")
    assert finding.message.startswith("the first step at lr 0.005 moves W like full fine-tuning at")
    assert finding.message.endswith(
        "published LoRA fine-tunings move W as full fine-tuning does at lr 3e-07 to 9e-05 (23 "
        "recipes)"
    )
    assert not api.check(folder, lr=1e-5, select="SC201").findings


def test_nan_and_zeros_in_halves_are_found(tmp_path, base):
    tensors = halves() | halves("k")
    tensors[f"base_model.model.{MODULE}.lora_A.weight"][0, 0] = torch.nan
    tensors["base_model.model.k.lora_A.weight"].zero_()
    folder = write(tmp_path / "broken", tensors, CONFIG)
    assert {("SC101", f"base_model.model.{MODULE}.lora_A.weight")} <= found(api.check(folder))
    assert {("SC102", "base_model.model.k.lora_A.weight")} <= found(api.check(folder))


def test_matrix_that_the_base_has_not_fails(adapter, tmp_path):
    base = write_base(tmp_path / "other", {"v_proj.weight": noise(48, 64)})
    report = api.check(adapter, base=base)
    [finding] = [each for each in report.findings if each.rule == "SC107"]
    assert finding.where == MODULE
    assert finding.message == "not set beside the base: the base has no matrix of this name"
    assert report.failed
    assert [entry["name"] for entry in report.skipped] == [MODULE]


def test_missing_alpha_is_a_finding(tmp_path):
    folder = write(tmp_path / "a", halves())
    assert found(api.check(folder)) == {("SC110", MODULE)}
    both = write(tmp_path / "b", halves() | halves("k"))
    [finding] = api.check(both).findings
    assert finding.where == ""
    assert finding.message.endswith("this holds for all 2 adapted matrices")


def test_alpha_that_one_module_lacks_is_its_finding(tmp_path):
    a, b = lora()
    tensors = {}
    for module in ("q", "k"):
        tensors |= {f"{module}.lora_down.weight": a, f"{module}.lora_up.weight": b}
    folder = write(tmp_path / "a", tensors | {"q.alpha": torch.tensor(4.0)})
    assert found(api.check(folder)) == {("SC110", "k")}


def test_base_is_a_key_of_the_configuration(adapter, base, tmp_path):
    path = tmp_path / "scalecheck.toml"
    path.write_text('base = "base"\n[optimizer]\nlr = 1.0\n', "utf-8")
    report = api.check(adapter, config=path, select="SC201")
    assert found(report) == {("SC201", f"{MODULE}.weight")}
