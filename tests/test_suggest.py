"""`translate --suggest`: the lr that published recipes near a model use."""

import json
import math
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from command import scalecheck
from safetensors.numpy import save_file
from test_translate_command import INIT, TINY, translated

import scalecheck as api
from scalecheck.recipes import near
from scalecheck.recipes.nearest import width
from scalecheck.recipes.quantities import quantities
from scalecheck.recipes.recipe import load
from scalecheck.theory.update_rms import update_rms

pytestmark = pytest.mark.usefixtures("in_project_folder")

FINE_TUNING = "fine-tuning, Adam, language models"
GPT2 = ("--shape", "transformer.wte.weight=50257x768", "--suggest")


def suggested(*arguments):
    """The ways to an lr, by phase and name."""
    report = translated(*arguments)
    return {(row["phase"], row["way"]): row for row in report["suggested"]}


def a_model(folder, width=256, layers=4, scale=0.02, kind="lm"):
    """A language model of this width as it starts."""
    random = np.random.default_rng(0)

    def noise(*shape):
        return (scale * random.standard_normal(shape)).astype(np.float32)

    tensors = {"lm_head.weight" if kind == "lm" else "out.weight": noise(4 * width, width)}
    for layer in range(layers):
        start = f"h.{layer}"
        tensors[f"{start}.ln_1.weight"] = np.ones(width, np.float32)
        tensors[f"{start}.ln_1.bias"] = np.zeros(width, np.float32)
        tensors[f"{start}.attn.qkv.weight"] = noise(3 * width, width)
        tensors[f"{start}.mlp.up.weight"] = noise(4 * width, width)
    save_file(tensors, folder / "model.safetensors")
    return folder / "model.safetensors"


def test_the_fit_is_that_of_the_recipes():
    own, found = near.FIT, near.fitted(near.of_fit(load()))
    assert (own.recipes, own.widths) == (found.recipes, found.widths)
    assert own.coefficient == pytest.approx(found.coefficient, rel=1e-3)
    assert own.exponent == pytest.approx(found.exponent, rel=1e-3)
    assert own.spread == pytest.approx(found.spread, rel=1e-3)
    assert found.exponent == pytest.approx(-0.74, abs=0.005)


def test_the_fit_is_least_squares():
    """Against numpy's."""
    recipes = near.of_fit(load())
    x, y = np.log([width(one) for one in recipes]), np.log([one.lr for one in recipes])
    slope, start = np.polyfit(x, y, 1)
    found = near.fitted(recipes)
    assert found.exponent == pytest.approx(slope)
    assert found.coefficient == pytest.approx(math.exp(start))
    assert found.spread == pytest.approx(math.exp(np.std(y - start - slope * x)))


def test_no_source_tells_its_own_lr():
    """Left out, 9 of 10 language models' lrs are within 3 times, and no kind knows better."""
    errors = {(one.what, one.method): one for one in near.leave_one_out()}
    own = errors["pretraining, Adam, language models", "nearest recipes"]
    assert own.recipes + own.untold == 51
    assert 1.3 < own.middle < 2
    assert own.most < 3
    assert errors[FINE_TUNING, "nearest recipes"].most > 5
    for one in near.leave_one_out():
        assert 1 <= one.middle <= one.most <= one.worst


def test_the_manual_says_how_far_off_it_is():
    errors = {one.what: one for one in near.leave_one_out() if one.method == "nearest recipes"}
    page = Path(__file__).parent.parent / "docs" / "how-to" / "choose-lr.md"
    text = " ".join(page.read_text("utf-8").split())
    start, tuned = errors["pretraining, Adam, language models"], errors[FINE_TUNING]
    assert f"an unknown one's lr within {start.most:.3g} times in 9 of 10" in text
    assert f"for fine-tuning, within {tuned.most:.3g} times" in text


def test_recipes_are_within_2_or_4_times_the_width():
    for own in (300, 768, 1024, 4096, 12288):
        found = near.near(near.Asked("pretrain", "adam", own, "lm"))
        assert found.reach in near.REACHES
        for one in found.recipes:
            assert max(width(one) / own, own / width(one)) <= found.reach
            assert (one.phase, one.domain, one.verified) == ("pretrain", "lm", True)
        assert found.reach == 2 or len(found.recipes) < 3 or own < 512
        low, middle, high = found.lrs
        lrs = [one.lr for one in found.recipes]
        assert (low, middle, high) == (min(lrs), median(lrs), max(lrs))


@pytest.mark.parametrize(
    ("own", "is_near"), [(32, True), (31, False), (57344, True), (60000, False)]
)
def test_a_width_far_from_all_has_no_recipe(own, is_near):
    """Language models that Adam pretrained are of width 128 to 14336."""
    found = near.near(near.Asked("pretrain", "adam", own, "lm"))
    assert bool(found.recipes) == is_near
    assert bool(found.reason) != is_near


def test_recipes_that_do_not_say_their_width_are_near_by_their_size():
    """Of preference tuning nearly none says it."""
    asked = near.Asked("preference", "adam", 4096, "lm", parameters=7_000_000_000)
    assert near.near(asked).by_size
    assert all(7e9 / 8 <= one.params <= 7e9 * 8 for one in near.near(asked).recipes)
    tiny = near.Asked("preference", "adam", 48, "lm", parameters=120_000)
    assert not near.near(tiny).recipes


def test_shapes_alone_tell_the_published_lrs():
    done = scalecheck("translate", *GPT2)
    first = done.out.splitlines()[0]
    start = "For pretraining with AdamW at width 768, published recipes of language models use"
    assert first.startswith(f"{start} lr 3e-4 to 3e-3 (")
    assert "median 6e-4" in first
    assert "nanoGPT GPT-2 124M" in done.out
    assert "karpathy/nanoGPT" in done.out
    ways = suggested(*GPT2)
    fit = ways["pretrain", "fit over width"]
    assert fit["lr"] == pytest.approx(near.FIT.lr(768))
    assert fit["lr_high"] / fit["lr"] == pytest.approx(near.FIT.spread)
    assert ways["pretrain", "published relative update"]["lr"] is None
    reason = "The published relative update gives no lr for pretraining: no matrix has a scale"
    assert reason in scalecheck("translate", *GPT2, "--verbose").out


def test_the_summary_holds_what_is_said():
    report = translated(INIT, "--suggest", "--lr", 1e-4)
    own = report["summary"]["suggested"]
    assert (own["width"], own["depth"], own["parameters"]) == (48, 4, 121200)
    assert (own["kind"], own["optimizer"]) == ("lm", "adamw")
    [phase] = own["phases"]
    assert phase["phase"] == "pretrain"
    ways = {row["way"]: row for row in report["suggested"]}
    for name, way in phase["ways"].items():
        assert way["lr"] == ways[name]["lr"]
    published = ways["published recipes"]["lr"]
    assert phase["lr_over_median"] == pytest.approx(1e-4 / published)
    over = phase["over_published"]
    assert over["fit over width"] == pytest.approx(ways["fit over width"]["lr"] / published)
    done = scalecheck("translate", INIT, "--suggest", "--lr", 1e-4, "--verbose")
    assert "An lr of 1e-4 is below what these recipes use, 10 times below the median" in done.out
    assert f"{over['fit over width']:.3g} times above the median" in done.out
    assert f"rms·√width {own['gain']:.3g}, outside the published" in done.out


def test_the_relative_update_is_that_of_this_checkpoint(tmp_path):
    """lr·u/rms is the published median for the middle matrix."""
    for scale in (0.01, 0.04):
        path = a_model(tmp_path, scale=scale)
        way = suggested(path, "--suggest")["pretrain", "published relative update"]
        rms = median(
            row["rms"] for row in translated(path, "--suggest")["rows"] if row["role"] == "matrix"
        )
        assert way["lr"] * update_rms(0.9, 0.999) / rms == pytest.approx(0.00569, rel=1e-3)
        assert way["lr_low"] < way["lr"] < way["lr_high"]


@pytest.mark.parametrize("width", [256, 512])
def test_the_width_is_what_the_matrices_share(width, tmp_path):
    summary = translated(a_model(tmp_path, width), "--suggest")["summary"]["suggested"]
    assert (summary["width"], summary["depth"], summary["kind"]) == (width, 4, "lm")


def test_a_model_of_no_width_says_so_and_lists_its_kind(tmp_path):
    random = np.random.default_rng(0)
    sizes = [(40, 30), (70, 60), (90, 80), (110, 100)]
    tensors = {f"{n}.weight": random.standard_normal(size) for n, size in enumerate(sizes)}
    save_file(tensors, tmp_path / "model.safetensors")
    done = scalecheck("translate", tmp_path, "--suggest", "--phase", "pretrain")
    assert done.code == 0
    assert "Width not known: the size" in done.out
    assert "Kind of model not known: no name or shape tells it" in done.out
    assert done.out.startswith(
        "For pretraining with AdamW, the published relative update gives lr "
    )
    assert "No published recipe is near for pretraining: the nearest in size is " in done.out


@pytest.mark.parametrize(
    ("shapes", "evidence"),
    [
        (
            ["stem.weight=32x3x3x3", "layer1.conv.weight=64x32x3x3", "fc.weight=10x128"],
            "Width not known: 2 of 3 weights are convolutions",
        ),
        (
            ["head.weight=10x128"],
            "Width not known: the only matrix, 10×128, may have it as either",
        ),
    ],
)
def test_a_classifier_head_is_no_width(shapes, evidence):
    given = [word for shape in shapes for word in ("--shape", shape)]
    report = translated(*given, "--suggest")
    assert report["summary"]["suggested"]["width"] is None
    assert evidence in report["notes"]


def test_one_parameter_is_singular(tmp_path):
    save_file({"x": np.ones((), np.float32)}, tmp_path / "one.safetensors")
    assert "1 parameter" in translated(tmp_path / "one.safetensors", "--suggest")["notes"]


def test_recipes_that_stray_from_the_fit_say_to_which_side(tmp_path):
    report = scalecheck("translate", a_model(tmp_path, 128), "--suggest")
    said = " ".join(report.out.split())
    assert "to 47 recipes of width 128 to 14336, and those near this width lie below it" in said


def test_where_the_width_is_not_known_parameters_choose_the_recipes():
    found = near.near(near.Asked("pretrain", "adam", None, "vision", parameters=28_000_000))
    assert found.by_size
    assert {"Swin-T ImageNet-1k"} <= {one.name for one in found.recipes}
    assert all(28e6 / 8 <= one.params <= 28e6 * 8 for one in found.recipes)


SQUARE, PIXELS = (32, 32), (32, 3, 16, 16)


@pytest.mark.parametrize(
    ("tensors", "kind"),
    [
        ({"lm_head.weight": SQUARE}, "lm"),
        ({"model.layers.0.self_attn.q_proj.weight": SQUARE}, "lm"),
        ({"transformer.h.0.attn.c_attn.weight": SQUARE}, "lm"),
        ({"bert.encoder.layer.0.attention.self.query.weight": SQUARE}, "encoder"),
        ({"embeddings.token_type_embeddings.weight": (2, 32)}, "encoder"),
        ({"wav2vec2.encoder.layers.0.attention.q_proj.weight": SQUARE}, "speech"),
        ({"encoder.conv1.weight": (32, 80, 3)}, "speech"),
        ({"patch.proj.weight": PIXELS, "layers.0.self_attn.q_proj.weight": SQUARE}, "vision"),
        ({"stem.kernel": (7, 7, 3, 32)}, "vision"),
        ({"depthwise.weight": (32, 1, 3, 3)}, None),
        ({"conv_in.weight": PIXELS, "down_blocks.0.proj.weight": SQUARE}, "diffusion"),
        ({"patch.proj.weight": PIXELS, "embed_tokens.weight": (99, 32)}, None),
        ({"encoder.block.0.q.weight": SQUARE, "decoder.block.0.q.weight": SQUARE}, None),
        ({"blocks.0.attn.weight": SQUARE}, None),
    ],
)
def test_the_kind_follows_from_names_and_shapes_that_only_it_has(tensors, kind, tmp_path):
    for prefix in ("", "module.", "_orig_mod."):
        arrays = {prefix + name: np.ones(shape, np.float32) for name, shape in tensors.items()}
        save_file(arrays, tmp_path / "model.safetensors")
        report = translated(tmp_path, "--suggest", "--phase", "finetune")
        assert report["summary"]["suggested"]["kind"] == kind
        start = "Kind of model not known: " if kind is None else "Recipes are of "
        assert any(note.startswith(start) for note in report["notes"])


def test_the_configuration_confirms_width_and_kind(tmp_path):
    save_file(
        {"a.weight": np.ones((64, 32)), "b.weight": np.ones((32, 64))},
        tmp_path / "model.safetensors",
    )
    config = {"architectures": ["GPTNeoXForCausalLM"], "hidden_size": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))
    report = translated(tmp_path, "--suggest", "--phase", "pretrain")
    own = report["summary"]["suggested"]
    assert (own["width"], own["kind"]) == (64, "lm")
    assert any("config.json says so" in note for note in report["notes"])


def test_every_possible_phase_has_its_lrs():
    ways = suggested(TINY, "--suggest")
    assert {phase for phase, _ in ways} == {"finetune", "preference", "rl", "resume"}
    done = scalecheck("translate", TINY, "--suggest", "--verbose")
    lines = done.out.splitlines()[:4]
    assert [line.split(" with ")[0] for line in lines] == [
        "For fine-tuning",
        "For preference tuning",
        "For RL",
        "For mid-run pretraining",
    ]
    assert "the weights were trained: 9 of 9 gains of norms were trained." in done.out
    [only] = {phase for phase, _ in suggested(TINY, "--suggest", "--phase", "rl")}
    assert only == "rl"


def test_an_optimizer_without_recipes_has_no_lr():
    done = scalecheck("translate", INIT, "--suggest", "--optimizer", "adadelta")
    assert done.code == 0
    assert "no published recipe is near: no recipe with adadelta is published" in done.out


def test_an_optimizer_that_is_not_known_has_no_lr(tmp_path):
    model = torch.nn.Linear(32, 32)
    optimizer = torch.optim.ASGD(model.parameters(), lr=1e-3)
    model(torch.ones(32)).sum().backward()
    optimizer.step()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    done = scalecheck("translate", tmp_path, "--suggest", "--phase", "pretrain")
    assert (done.code, done.err) == (0, "")
    first = "For pretraining at width 32, no lr can be suggested: no published recipe is near: the "
    assert done.out.startswith(first)
    assert scalecheck("translate", tmp_path, "--suggest", "--optimizer", "adamw").code == 0


def test_muon_is_beside_recipes_that_scale_it_alike():
    shapes = ("--shape", "lm_head.weight=768x768", "--shape", "h.0.a.weight=768x768")
    asked = (*shapes, "--assume", "gpt2", "--optimizer", "muon", "--suggest")
    plain = suggested(*asked)["pretrain", "published recipes"]
    assert 0.01 < plain["lr"] < 0.1
    matched = suggested(*asked, "--set", "adjust_lr_fn=match_rms_adamw")
    assert matched["pretrain", "published recipes"]["lr"] in (None, pytest.approx(4.2e-4, rel=0.5))


def a_lora(folder, inputs=1024, rank=16, alpha=32):
    names = [f"base_model.model.model.layers.{n}.self_attn.q_proj" for n in range(3)]
    random = np.random.default_rng(0)
    tensors = {}
    for name in names:
        down = random.uniform(-1, 1, (rank, inputs)) / math.sqrt(inputs)
        tensors[f"{name}.lora_A.weight"] = down.astype(np.float32)
        tensors[f"{name}.lora_B.weight"] = np.zeros((inputs, rank), np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(("rank", "alpha"), [(8, 16), (64, 16)])
def test_lora_takes_rank_and_alpha(rank, alpha, tmp_path):
    path = a_lora(tmp_path, 4096, rank, alpha)
    report = translated(path, "--suggest")
    own = report["summary"]["suggested"]
    assert (own["width"], own["rank"], own["alpha"], own["kind"]) == (4096, rank, alpha, "lm")
    factor = alpha / math.sqrt(3 * 4096 * rank)
    assert own["full_lr_over_lr"] == pytest.approx(factor)
    ways = {(row["phase"], row["way"]): row for row in report["suggested"]}
    way = ways["finetune", "published first step on W"]
    assert way["lr"] == pytest.approx(6e-6 / factor, rel=1e-2)
    published = ways["finetune", "published recipes"]
    assert 1e-4 <= published["lr"] <= 3e-4
    for row in report["recipes"]:
        assert min(row["rank"], row["alpha"]) > 0
        of = next(one for one in load() if one.name == row["name"])
        assert row["lr_equivalent"] == quantities(of).lr_equivalent
    done = scalecheck("translate", path, "--suggest")
    assert done.out.startswith(
        "For LoRA fine-tuning with AdamW at width 4096, published recipes of"
    )


def test_python_suggests_too():
    model = torch.nn.Sequential(torch.nn.Linear(768, 768), torch.nn.Linear(768, 768))
    report = api.translate(model, suggest=True, phase="pretrain")
    assert report.conclusion[0].startswith("For pretraining with AdamW at width 768")
    assert report.rows[0]["way"] == "published recipes"


@pytest.mark.parametrize("columns", [80, 160])
def test_no_line_of_it_is_wider_than_the_terminal(columns):
    for path in (INIT, TINY):
        done = scalecheck("translate", path, "--suggest", columns=columns)
        assert max(map(len, done.out.splitlines())) <= columns, done.out


def test_a_convolution_after_another_reads_no_spectrogram(tmp_path):
    """As the 128 channels of a detector of speech are those of the layer before."""
    tensors = {"conv1.weight": (128, 129, 3), "conv2.weight": (64, 128, 3)}
    arrays = {name: np.ones(shape, np.float32) for name, shape in tensors.items()}
    save_file(arrays, tmp_path / "model.safetensors")
    report = translated(tmp_path, "--suggest", "--phase", "finetune")
    assert report["summary"]["suggested"]["kind"] is None


def test_phases_without_a_recipe_of_the_kind_are_left_out(tmp_path):
    arrays = {f"bert.encoder.layer.{n}.attention.self.q.weight": 768 for n in range(4)}
    random = np.random.default_rng(0)
    tensors = {name: random.standard_normal((d, d), np.float32) for name, d in arrays.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    assert {phase for phase, _ in suggested(tmp_path, "--suggest")} == {
        "finetune",
        "resume",
        "pretrain",
    }
    [(phase, _), *_] = suggested(tmp_path, "--suggest", "--phase", "rl")
    assert phase == "rl"
    done = scalecheck("translate", tmp_path, "--suggest", "--phase", "rl")
    assert "No published recipe is near for RL: none of encoders is for RL" in done.out


def test_an_adapter_of_a_kind_without_recipes_says_so(tmp_path):
    name = "base_model.model.bert.encoder.layer.0.attention.self.query"
    tensors = {
        f"{name}.lora_A.weight": np.ones((8, 768), np.float32),
        f"{name}.lora_B.weight": np.zeros((768, 8), np.float32),
    }
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    done = scalecheck("translate", tmp_path / "adapter_model.safetensors", "--suggest")
    assert done.out.startswith(
        "For LoRA fine-tuning with AdamW at width 768, no lr can be suggested: no published recipe "
        "is near: none of encoders is for fine-tuning with this optimizer"
    )
    assert (
        "The published first step on W gives no lr for fine-tuning: alpha is not known" in done.out
    )
