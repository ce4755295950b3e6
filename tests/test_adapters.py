"""Adapters among tensors: their halves, scale and base matrix, and what they add."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from adapter_files import CONFIG, PEFT, lora, noise, product, rms, write, write_base
from command import scalecheck

import scalecheck as api
from scalecheck.checkpoint.adapters.scale import Patterns
from scalecheck.errors import CheckpointError, UsageError

MODULE = "model.layers.0.self_attn.q_proj"


def adapted(folder, base=None, **options):
    """The only adapted matrix of a folder."""
    [row] = api.inspect(folder, base=base, **options).rows_of("adapted")
    return row


def peft(a, b, module=MODULE):
    return {PEFT.format(module, "A"): a, PEFT.format(module, "B"): b}


@pytest.fixture
def base(tmp_path):
    return write_base(tmp_path / "base", {f"{MODULE}.weight": noise(48, 64, seed=9)})


A, B = lora()
SPELLINGS = {
    "PEFT": peft(A, B),
    "PEFT with an adapter's name": {
        f"base_model.model.{MODULE}.lora_{half}.default.weight": t
        for half, t in (("A", A), ("B", B))
    },
    "kohya": {
        f"lora_unet_{MODULE.replace('.', '_')}.lora_down.weight": A,
        f"lora_unet_{MODULE.replace('.', '_')}.lora_up.weight": B,
    },
    "diffusers": {f"{MODULE}.lora.down.weight": A, f"{MODULE}.lora.up.weight": B},
    "diffusers' processors": {
        "model.layers.0.self_attn.processor.q_proj_lora.down.weight": A,
        "model.layers.0.self_attn.processor.q_proj_lora.up.weight": B,
    },
    "diffusers' text encoders": {
        f"text_encoder.{MODULE}.lora_linear_layer.down.weight": A,
        f"text_encoder.{MODULE}.lora_linear_layer.up.weight": B,
    },
    "torchtune": {f"{MODULE}.lora_a.weight": A, f"{MODULE}.lora_b.weight": B},
    "llama.cpp": {f"{MODULE}.weight.lora_a": A, f"{MODULE}.weight.lora_b": B},
    "MLX": {f"{MODULE}.lora_a": A.T, f"{MODULE}.lora_b": B.T},
}


@pytest.mark.parametrize("tensors", SPELLINGS.values(), ids=SPELLINGS)
def test_product_of_halves_is_that_of_whole_matrices(tensors, base, tmp_path):
    folder = write(tmp_path / "adapter", tensors, CONFIG)
    row = adapted(folder, base)
    assert row["name"] == f"{MODULE}.weight"
    assert row["added_rms"] == pytest.approx(rms(product(A, B, 2.0)), rel=1e-12)
    weights = noise(48, 64, seed=9)
    assert row["added_relative"] == pytest.approx(row["added_rms"] / rms(weights), rel=1e-12)


def test_product_is_exact_when_factors_are_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("scalecheck.measure.low_rank._ELEMENTS", 50)
    folder = write(tmp_path / "adapter", peft(A, B), CONFIG)
    assert adapted(folder)["added_rms"] == pytest.approx(rms(product(A, B, 2.0)), rel=1e-12)


def test_square_matrix_has_the_smaller_size_as_rank(tmp_path):
    a, b = lora(64, 64)
    folder = write(tmp_path / "mlx", {"q.lora_a": a.T, "q.lora_b": b.T}, CONFIG)
    row = adapted(folder)
    assert row["rank"] == 4
    assert row["added_rms"] == pytest.approx(rms(product(a, b, 2.0)), rel=1e-12)


def test_rank_past_the_sizes_of_a_square_matrix_comes_first(tmp_path):
    a, b = lora(8, 8, rank=16)
    row = adapted(write(tmp_path / "a", peft(a, b), {**CONFIG, "r": 16}))
    assert row["rank"] == 16
    assert row["added_rms"] == pytest.approx(rms(product(a, b, 0.5)), rel=1e-12)


def test_convolution_is_a_matrix_with_its_kernel_among_the_inputs(tmp_path):
    a, b = noise(4, 6, 3, 3, seed=1), noise(10, 4, 1, 1, seed=2)
    base = write_base(tmp_path / "base", {"conv.weight": noise(10, 6, 3, 3, seed=3)})
    folder = write(tmp_path / "adapter", peft(a, b, "conv"), CONFIG)
    row = adapted(folder, base)
    whole = product(a.reshape(4, -1), b.reshape(10, 4), 2.0)
    assert row["shape"] == [10, 54]
    assert row["added_relative"] == pytest.approx(rms(whole) / rms(noise(10, 6, 3, 3, seed=3)))


def test_embedding_has_its_inputs_first(tmp_path):
    a, b = noise(4, 100, seed=1), noise(16, 4, seed=2)
    names = [f"base_model.model.wte.lora_embedding_{half}" for half in "AB"]
    base = write_base(tmp_path / "base", {"wte.weight": noise(100, 16, seed=3)})
    row = adapted(write(tmp_path / "a", dict(zip(names, (a, b), strict=True)), CONFIG), base)
    assert row["added_relative"] == pytest.approx(
        rms(product(a, b, 2.0)) / rms(noise(100, 16, seed=3))
    )


def test_base_that_keeps_inputs_first_fits(tmp_path):
    base = write_base(tmp_path / "base", {"h.0.attn.c_attn.weight": noise(64, 48, seed=3)})
    config = {**CONFIG, "fan_in_fan_out": True}
    folder = write(tmp_path / "a", peft(A, B, "transformer.h.0.attn.c_attn"), config)
    assert adapted(folder, base)["name"] == "h.0.attn.c_attn.weight"


SCALES = {
    "alpha over rank": (CONFIG, 2.0),
    "rsLoRA": ({**CONFIG, "use_rslora": True}, 4.0),
    "alpha_pattern by the end of a name": ({**CONFIG, "alpha_pattern": {"q_proj": 2}}, 0.5),
    "alpha_pattern of another module": ({**CONFIG, "alpha_pattern": {"v_proj": 2}}, 2.0),
    "alpha_pattern with a wildcard": (
        {**CONFIG, "alpha_pattern": {r"model\.layers\..*\.q_proj": 6}},
        1.5,
    ),
    "rank_pattern beside the default": ({**CONFIG, "r": 16, "rank_pattern": {"q_proj": 4}}, 2.0),
    "MLX": ({"lora_parameters": {"rank": 4, "scale": 20.0}}, 20.0),
}


@pytest.mark.parametrize(("config", "scale"), SCALES.values(), ids=SCALES)
def test_scale_follows_the_configuration(config, scale, tmp_path):
    folder = write(tmp_path / "adapter", peft(A, B), config)
    report = api.inspect(folder)
    [row] = report.rows_of("adapted")
    assert row["scale"] == scale
    assert not any("rank" in note for note in report.notes)


def test_alpha_beside_the_halves_goes_before_the_configuration(tmp_path):
    tensors = {
        **SPELLINGS["kohya"],
        "lora_unet_" + MODULE.replace(".", "_") + ".alpha": torch.ones(()),
    }
    assert adapted(write(tmp_path / "a", tensors, CONFIG))["scale"] == 0.25


@pytest.mark.parametrize(
    "metadata",
    [
        {"ss_network_alpha": "2", "ss_network_dim": "4"},
        {"lora_adapter_metadata": json.dumps({"model.r": 4, "model.lora_alpha": 2})},
    ],
    ids=["kohya", "diffusers"],
)
def test_alpha_is_read_from_metadata(metadata, tmp_path):
    folder = write(tmp_path / "a", SPELLINGS["diffusers"], metadata=metadata)
    assert adapted(folder)["scale"] == 0.5


def test_configuration_of_another_rank_is_said(tmp_path):
    folder = write(tmp_path / "a", peft(A, B), {**CONFIG, "r": 16})
    notes = api.inspect(folder).notes
    assert "adapter_config.json says rank 16 where halves have rank 4: theirs counts" in notes


def test_start_that_is_taken_off_the_weights_is_said(tmp_path):
    folder = write(tmp_path / "a", peft(A, B), {**CONFIG, "init_lora_weights": "pissa_niter_4"})
    assert any("began as pissa_niter_4" in note for note in api.inspect(folder).notes)


@pytest.mark.parametrize(
    ("pattern", "is_read"), [("q_proj", True), ("(q|k)_proj", False), ("a{1,9}", False)]
)
def test_patterns_that_are_no_names_are_not_read(pattern, is_read):
    assert Patterns({pattern: 1}).is_read == is_read


def test_dora_is_said(tmp_path):
    magnitude = {f"base_model.model.{MODULE}.lora_magnitude_vector": torch.ones(48)}
    folder = write(tmp_path / "a", {**peft(A, B), **magnitude}, CONFIG)
    report = api.inspect(folder)
    assert report.rows_of("adapted")[0]["dora"]
    assert any("1 of 1 adapted matrices are DoRA's" in note for note in report.notes)


def test_several_adapters_of_a_module_are_told_apart(tmp_path):
    names = [f"base_model.model.q.lora_{half}.{name}.weight" for name in "xy" for half in "AB"]
    tensors = dict(zip(names, (A, B, A, 2 * B), strict=True))
    rows = api.inspect(write(tmp_path / "a", tensors, CONFIG)).rows_of("adapted")
    assert [row["name"] for row in rows] == ["q [x]", "q [y]"]
    assert rows[1]["added_rms"] == pytest.approx(2 * rows[0]["added_rms"])


HOSTILE = {
    "no JSON": "{",
    "NaN": '{"lora_alpha": NaN}',
    "a list": "[1]",
    "a name twice": '{"r": 1, "r": 2}',
    "deep": "[" * 100_000,
    "large": " " * (1 << 21),
    "not UTF-8 numbers": '{"lora_alpha": "8", "r": [4]}',
    "infinite": '{"lora_alpha": 1e999}',
    "huge integer": '{"lora_alpha": 1' + "0" * 400 + "}",
    "a flag": '{"lora_alpha": true}',
    "patterns of no form": '{"alpha_pattern": [1], "rank_pattern": 3}',
    "pattern that takes for ever": '{"lora_alpha": 8, "alpha_pattern": {"(a+)+$": 1}}',
}


@pytest.mark.parametrize("config", HOSTILE.values(), ids=HOSTILE)
def test_configuration_that_says_no_alpha_leaves_the_product_unknown(config, tmp_path):
    row = adapted(write(tmp_path / "a", peft(A, B), config))
    assert row["added_rms"] is None
    assert row["reason"].startswith("alpha is not known: ")


@pytest.mark.parametrize("alpha", [math.nan, math.inf])
def test_alpha_that_is_no_number_leaves_the_product_unknown(alpha, tmp_path):
    tensors = {"q.lora_down.weight": A, "q.lora_up.weight": B, "q.alpha": torch.tensor(alpha)}
    assert adapted(write(tmp_path / "a", tensors))["reason"] == f"its alpha is {alpha}"


OTHERS = {
    "one half": ({"q.lora_A.weight": A}, "without its other half"),
    "no rank in common": ({"q.lora_A.weight": A, "q.lora_B.weight": B.T}, "no rank in common"),
    "Tucker": (
        {"q.lora_down.weight": A, "q.lora_up.weight": B, "q.lora_mid.weight": A},
        "Tucker's form",
    ),
    "AdaLoRA": ({"q.lora_A": A, "q.lora_B": B, "q.lora_E": noise(4, 1)}, "AdaLoRA"),
    "LoHa": ({"q.hada_w1_a": B, "q.hada_w1_b": A}, "LoHa: not computed"),
    "IA3": ({"q.ia3_l": noise(48, 1)}, "IA3: not computed"),
    "VeRA": ({"q.vera_lambda_b": noise(48)}, "VeRA: not computed"),
    "rank past the limit": (
        {"q.lora_A.weight": noise(1025, 3), "q.lora_B.weight": noise(2, 1025)},
        "its rank is 1025",
    ),
}


@pytest.mark.parametrize(("tensors", "why"), OTHERS.values(), ids=OTHERS)
def test_adapter_that_is_not_computed_is_named(tensors, why, tmp_path):
    base = write_base(tmp_path / "base", {"q.weight": noise(48, 64), "k.weight": noise(48, 64)})
    folder = write(tmp_path / "a", {**tensors, **peft(A, B, "k")}, CONFIG)
    skipped = api.inspect(folder, base=base).skipped
    assert [why in entry["reason"] for entry in skipped if entry["name"] == "q"] == [True]
    with pytest.raises(UsageError, match="has no adapter whose product is computed"):
        api.inspect(write(tmp_path / "alone", tensors, CONFIG), base=base)


def test_nan_in_a_half_leaves_the_product_unknown(tmp_path):
    a = A.clone()
    a[0, 0] = math.nan
    row = adapted(write(tmp_path / "a", peft(a, B), CONFIG))
    assert row["reason"].startswith("its halves hold NaN or inf")


MISSING = {
    "no such name": ({"other.weight": noise(48, 64)}, "the base has no matrix of this name"),
    "another shape": (
        {f"{MODULE}.weight": noise(48, 63)},
        f"{MODULE}.weight of the base is 48×63, the adapter's is 48×64",
    ),
    "two of one ending": (
        {f"a.{MODULE}.weight": noise(48, 64), f"b.{MODULE}.weight": noise(48, 64)},
        "several matrices of the base could be meant",
    ),
}


@pytest.mark.parametrize(("tensors", "why"), MISSING.values(), ids=MISSING)
def test_matrix_that_the_base_has_not_for_certain_is_named(tensors, why, tmp_path):
    base = write_base(tmp_path / "base", tensors)
    folder = write(tmp_path / "a", peft(A, B), CONFIG)
    report = api.inspect(folder, base=base)
    [entry] = report.skipped
    assert entry["name"] == MODULE
    assert why in entry["reason"]
    assert report.rows_of("adapted")[0]["added_relative"] is None


def test_kohyas_parts_of_a_pipeline_are_its_folders(tmp_path):
    stem = "text_model_encoder_layers_0_mlp_fc1"
    name = "text_model.encoder.layers.0.mlp.fc1.weight"
    pipeline = tmp_path / "pipeline"
    for n, part in enumerate(("text_encoder", "text_encoder_2", "unet")):
        write_base(pipeline / part, {name: noise(48, 64, seed=n, rms=n + 1)})
    for prefix, folder in (("te1", "text_encoder"), ("te2", "text_encoder_2"), ("unet", "unet")):
        module = f"lora_{prefix}_{stem}"
        halves = {f"{module}.lora_down.weight": A, f"{module}.lora_up.weight": B}
        adapter = write(tmp_path / prefix, halves, CONFIG)
        assert adapted(adapter, pipeline, recursive=True)["name"] == f"{folder}/{name}"


def test_output_of_diffusers_attention_is_the_first_of_its_list(tmp_path):
    base = write_base(tmp_path / "base", {"attn1.to_out.0.weight": noise(48, 64)})
    names = [f"unet.attn1.processor.to_out_lora.{half}.weight" for half in ("down", "up")]
    folder = write(tmp_path / "a", dict(zip(names, (A, B), strict=True)), CONFIG)
    assert adapted(folder, base)["name"] == "attn1.to_out.0.weight"


def test_base_without_an_adapter_is_refused(base):
    done = scalecheck("inspect", base, "--base", base)
    assert done.code == 2
    assert "has no adapter: no LoRA halves such as NAME.lora_A.weight" in done.err


def test_base_that_is_missing_is_unreadable(tmp_path):
    folder = write(tmp_path / "a", peft(A, B), CONFIG)
    with pytest.raises(CheckpointError):
        api.inspect(folder, base=tmp_path / "none")


def test_zero_half_is_before_the_first_step(tmp_path):
    folder = write(tmp_path / "a", peft(A, 0 * B), CONFIG)
    assert "B·A is zero in 1 adapted matrix, as before the first step." in str(api.inspect(folder))


def test_selection_leaves_other_pairs_out(tmp_path):
    folder = write(tmp_path / "a", {**peft(A, B, "q"), **peft(A, B, "k")}, CONFIG)
    assert adapted(folder, match="*.q.*")["name"] == "q"


def test_model_in_memory_says_the_settings_of_its_adapter():
    """As a PeftModel does, by its peft_config."""
    model = torch.nn.Module()
    for half, weights in (("A", A), ("B", B)):
        model.register_parameter(f"lora_{half}", torch.nn.Parameter(weights))
    whole = torch.nn.Module()
    whole.q = model
    whole.peft_config = {"default": SimpleNamespace(r=4, lora_alpha=2, alpha_pattern={})}
    assert adapted(whole)["scale"] == 0.5
    assert adapted(whole, base={"q.weight": noise(48, 64)})["added_relative"] > 0


def test_configuration_in_the_working_directory_is_not_that_of_a_model_in_memory(
    tmp_path, monkeypatch
):
    write(tmp_path, {}, CONFIG)
    monkeypatch.chdir(tmp_path)
    assert adapted({"q.lora_A.weight": A, "q.lora_B.weight": B})["scale"] is None
