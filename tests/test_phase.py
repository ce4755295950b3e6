"""Which phase a run is in: by --phase, or by weights that are as an initialization leaves them."""

import json
from pathlib import Path

import pytest
import torch
from command import scalecheck
from safetensors.torch import save_file

from scalecheck import api
from scalecheck.measure.initial_signs import scaled_residuals, signs_of_initialization
from scalecheck.measure.measuring import measure
from scalecheck.measure.tensor_stats import TensorStats

BLOCKS, WIDTH = 4, 64


def noise(*shape, std=0.02, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator) * std


def gpt(out=None, names=("attn.qkv", "attn.proj", "mlp.fc", "mlp.out"), norms="ln"):
    """A new language model; out: the std of its residual outputs."""
    out = 0.02 / (2 * BLOCKS) ** 0.5 if out is None else out
    model = {"wte.weight": noise(4 * WIDTH, WIDTH, seed=99)}
    shapes = ((3 * WIDTH, WIDTH), (WIDTH, WIDTH), (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH))
    for block in range(BLOCKS):
        for place, (name, shape) in enumerate(zip(names, shapes, strict=True)):
            std = out if place in (1, 3) else 0.02
            seed = 10 * block + place
            model[f"h.{block}.{name}.weight"] = noise(*shape, std=std, seed=seed)
        if norms:
            model[f"h.{block}.{norms}_1.weight"] = torch.ones(WIDTH)
            model[f"h.{block}.{norms}_1.bias"] = torch.zeros(WIDTH)
    return model


def trained(model):
    """A direction in every matrix, as training leaves some."""
    return {
        name: w + 0.01 * noise(w.shape[0], 1, std=1, seed=7) if w.ndim == 2 else w
        for name, w in model.items()
    }


def saved(path, model):
    save_file({name: w.contiguous() for name, w in model.items()}, path)
    return path


def signs(path):
    from scalecheck.checkpoint.open import open_checkpoint

    checkpoint = open_checkpoint(path)
    sketches = measure(checkpoint.tensors, 1, lambda done, total: None)
    stats = [TensorStats.of(tensor, sketch) for tensor, sketch in sketches]
    tensors = {tensor.name: tensor for tensor in checkpoint.tensors}
    return signs_of_initialization(stats, tensors), scaled_residuals(stats)


@pytest.mark.parametrize(
    ("change", "is_initial"),
    [
        (lambda model: model, True),
        (lambda model: gpt(out=0.02), True),
        (lambda model: gpt(norms="input_layernorm"), True),
        (trained, False),
        (lambda model: gpt(norms=""), False),
        (lambda model: model | {"h.0.ln_1.weight": torch.ones(WIDTH) + noise(WIDTH)}, False),
        (lambda model: model | {"h.0.ln_1.bias": noise(WIDTH)}, False),
        (
            lambda model: {
                name: w * (1 + int(name.split(".")[1]) / 2) if name[0] == "h" and w.ndim == 2 else w
                for name, w in model.items()
            },
            False,
        ),
    ],
    ids=[
        *("new", "one scale", "named otherwise", "directions", "no norms", "a gain moved"),
        *("a bias moved", "scales by depth"),
    ],
)
def test_an_initialization_is_told_by_its_norms_its_noise_and_one_scale_a_family(
    tmp_path, change, is_initial
):
    found, _ = signs(saved(tmp_path / "m.safetensors", change(gpt())))
    assert bool(found) == is_initial
    if is_initial:
        assert found.startswith("4 gains of norms exactly 1, 4 biases exactly 0")


@pytest.mark.parametrize(
    "names",
    [
        ("attn.qkv", "attn.proj", "mlp.fc", "mlp.out"),
        ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"),
        ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
        ("attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
        ("attention.wq", "attention.wo", "feed_forward.w1", "feed_forward.w2"),
        ("alpha", "beta2d", "gamma2d", "delta"),
    ],
    ids=str,
)
def test_residual_outputs_are_told_by_name_and_scale_or_by_the_depth_alone(tmp_path, names):
    _, found = signs(saved(tmp_path / "m.safetensors", gpt(names=names)))
    last = (names[1], names[3])
    assert found == {f"h.{block}.{name}.weight" for block in range(BLOCKS) for name in last}
    _, found = signs(saved(tmp_path / "m.safetensors", gpt(out=0.02, names=names)))
    assert found == frozenset()


def test_a_fan_in_initialization_scales_nothing_down(tmp_path):
    """A projection of 4 times the inputs has half the rms, and the same gain."""
    model = gpt(out=0.02)
    model = {
        name: noise(*w.shape, std=w.shape[1] ** -0.5, seed=i) if w.ndim == 2 else w
        for i, (name, w) in enumerate(model.items())
    }
    initial, found = signs(saved(tmp_path / "m.safetensors", model))
    assert initial
    assert found == frozenset()


def summary(path, *options):
    done = scalecheck("translate", path, "--lr", "1e-3", *options, "--format", "json")
    assert done.code == 0, done.err
    return json.loads(done.out)["summary"]


def test_the_phase_is_found_given_or_not_known(tmp_path):
    new = saved(tmp_path / "new.safetensors", gpt())
    old = saved(tmp_path / "old.safetensors", trained(gpt()))
    assert summary(new)["phase"] == "pretrain"
    assert summary(new)["phase_evidence"].endswith("matrices of noise with one scale a family")
    assert summary(new, "--phase", "resume")["phase"] == "resume"
    assert summary(old)["phase"] is None
    assert summary(old)["phase_evidence"] is None
    assert summary(old, "--phase", "rl")["phase_evidence"] == "--phase rl"


def test_an_adapter_is_told_by_its_names():
    samples = Path(__file__).parent.parent / "sample_ckpts"
    found = json.loads(scalecheck("translate", samples / "tiny-gpt-lora", "--format", "json").out)
    assert (found["summary"]["phase"], found["summary"]["is_adapter"]) == (None, True)
    assert {record["phases"][-1] for record in found["summary"]["published"]} == {"rl"}
    judged = "Judged by published LoRA runs of any phase"
    assert any(note.startswith(judged) for note in found["notes"])
    tuned = scalecheck("check", samples / "tiny-gpt-lora", "--phase", "rl").out
    assert judged not in tuned


def test_a_saved_state_says_no_phase():
    samples = Path(__file__).parent.parent / "sample_ckpts"
    done = scalecheck("translate", samples / "tiny-gpt", "--format", "json")
    assert json.loads(done.out)["summary"]["phase"] is None


def test_shapes_without_elements_are_of_an_initialization():
    done = scalecheck(
        *("translate", "--shape", "h.0.w.weight=64x64", "--assume", "normal:0.02"),
        *("--lr", "1e-3", "--format", "json"),
    )
    assert json.loads(done.out)["summary"]["phase"] == "pretrain"


def test_the_phase_is_a_key_of_the_configuration_and_an_argument(tmp_path):
    path = saved(tmp_path / "old.safetensors", trained(gpt()))
    config = tmp_path / "scalecheck.toml"
    config.write_text('phase = "rl"\n[optimizer]\nlr = 1e-3\n', "utf-8")
    report = api.check(path, config=config, lr=5e-4, select="SC201")
    assert report.settings["phase"] == "rl"
    assert {finding.severity for finding in report.findings} == {"warning"}
    assert not api.check(path, lr=5e-4, phase="finetune", select="SC201").findings


def test_a_phase_that_is_not_known_is_refused(tmp_path):
    path = saved(tmp_path / "m.safetensors", gpt())
    done = scalecheck("check", path, "--lr", "1e-3", "--phase", "finetuning")
    assert done.code == 2
    assert done.problem == "scalecheck: --phase finetuning: not known; did you mean finetune?"
