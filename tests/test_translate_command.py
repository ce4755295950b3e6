"""`scalecheck translate` as a user meets it."""

import json
import math
import subprocess
import sys
import tomllib
from pathlib import Path

import golden
import numpy as np
import pytest
import torch
from command import scalecheck
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch
from test_readme import printed

import scalecheck as api
from scalecheck.optimizers import adamw
from scalecheck.report.formatting import columns_wide
from scalecheck.theory.schedule import Schedule
from scalecheck.theory.update_rms import update_rms

SAMPLES = Path(__file__).parent.parent / "sample_ckpts"
TINY, INIT = "sample_ckpts/tiny-gpt", "sample_ckpts/tiny-gpt-init"
MATRIX = "blocks.0.mlp.up.weight"
NOISE = update_rms(0.9, 0.999)


pytestmark = pytest.mark.usefixtures("in_project_folder")


def translated(*arguments):
    """The JSON report."""
    done = scalecheck("translate", *arguments, "--format", "json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def rows(*arguments):
    """The rows of the report by name."""
    return {row["name"]: row for row in translated(*arguments)["rows"]}


def saved(folder, **tensors):
    """A checkpoint of these arrays."""
    path = folder / "model.safetensors"
    save_file({name.replace("_", "."): array for name, array in tensors.items()}, path)
    return path


@pytest.mark.parametrize("columns", [80, 160])
def test_the_sample_run_is_translated_as_reviewed(columns):
    done = scalecheck("translate", TINY, columns=columns)
    assert (done.code, done.err) == (0, "")
    golden.check(f"translate-tiny-gpt-{columns}.txt", done.out)


@pytest.mark.parametrize("format", ["csv", "markdown"])
def test_other_formats_are_as_reviewed(format):
    done = scalecheck("translate", INIT, "--lr", 3e-4, "--by", "family", "--format", format)
    assert done.code == 0
    golden.check(f"translate-init.{format}", done.out)


@pytest.mark.parametrize("columns", [80, 100, 160])
@pytest.mark.parametrize("by", ["tensor", "layer", "family", "role"])
def test_no_line_is_wider_than_the_terminal(by, columns):
    for more in ([], ["--target", 1e-3], ["--steps", 100], ["--to", "muon"]):
        done = scalecheck("translate", TINY, "--by", by, *more, columns=columns)
        assert max(map(columns_wide, done.out.splitlines())) <= columns, more


def test_a_row_is_the_arithmetic_of_lr_update_and_rms():
    row = rows(INIT, "--lr", 3e-4)[MATRIX]
    weights = api.inspect(INIT, match=MATRIX).rows[0]["rms"]
    assert row["rms"] == weights
    assert row["update_rms"] is None  # nothing was measured
    assert row["update_rms_expected"] == pytest.approx(NOISE)
    assert row["relative_update"] == pytest.approx(3e-4 * NOISE / weights)
    assert row["nominal_relative_update"] == pytest.approx(3e-4 / weights)
    assert (row["lr"], row["weight_decay"], row["band"]) == (3e-4, 0.01, "high")
    assert row["decay_pull"] == pytest.approx(3e-6)
    assert row["measured"] is False


@pytest.mark.parametrize(
    ("arguments", "update"),
    [
        (["--step", 1], 1.0),
        (["--snr", 1e6], 1.0),
        (["--beta1", 0.0], update_rms(0.0, 0.999)),
        (["--beta2", 0.95], update_rms(0.9, 0.95)),
        (["--eps", 1e-3, "--grad-rms", 1e-3], update_rms(0.9, 0.999, 0.0, None, 1.0)),
        (["--optimizer", "lion"], 1.0),
        (["--optimizer", "sgd", "--grad-rms", 0.01], 0.01),
        (["--optimizer", "sgd", "--momentum", 0.9, "--grad-rms", 1.0], 1 / math.sqrt(0.19)),
        (["--step", "steady"], NOISE),
    ],
)
def test_the_expected_update_follows_the_settings(arguments, update):
    row = rows(INIT, "--lr", 3e-4, "--match", MATRIX, *arguments)[MATRIX]
    assert row["update_rms_expected"] == pytest.approx(update)


def test_a_state_lends_its_settings_and_measures_the_update():
    row = rows(TINY)[MATRIX]
    assert (row["lr"], row["weight_decay"], row["step"]) == (0.0002, 0.1, 1500)
    assert row["measured"] is True
    state = torch.load(f"{TINY}/optimizer.pt", weights_only=True)["state"][4]
    m = state["exp_avg"].double() / (1 - 0.9**1500)
    v = state["exp_avg_sq"].double() / (1 - 0.99**1500)
    update = float((m / (v.sqrt() + 1e-8)).square().mean().sqrt())
    assert row["update_rms"] == pytest.approx(update, rel=1e-12)
    ratio = row["grad_rms"] / 1e-8
    assert row["update_rms_expected"] == update_rms(0.9, 0.99, 0.0, 1500, ratio)
    assert row["relative_update"] == pytest.approx(0.0002 * update / row["rms"])
    assert row["grad_rms"] == pytest.approx(float(v.mean().sqrt()), rel=1e-12)
    assert row["eps_share"] == 0


def test_an_snr_at_the_noise_floor_says_so_and_is_no_number():
    found = rows(f"{TINY}.pt")
    floor = [row for row in found.values() if row["at_noise_floor"]]
    assert len(floor) == 28
    assert {row["snr"] for row in floor} == {None}
    assert "floor" in scalecheck("translate", f"{TINY}.pt").out


def test_elements_ruled_by_eps_are_counted_and_named():
    found = rows(f"{TINY}.pt")
    assert found["blocks.0.attn.qkv.bias"]["eps_share"] == pytest.approx(1 / 3)  # the keys' third
    assert found[MATRIX]["eps_share"] == 0
    out = scalecheck("translate", f"{TINY}.pt").out
    assert "eps limits updates where √v̂ is below 100 × eps: blocks.0.attn.qkv.bias (33.33 %)" in out


def test_a_state_whose_tensor_is_not_certain_is_no_tensors():
    report = translated(TINY)
    by_name = {row["name"]: row for row in report["rows"]}
    assert by_name["ln_f.weight"]["measured"] is False
    assert by_name["ln_f.weight"]["weight_decay"] == 0  # all the groups it can be in say so
    assert [row["name"] for row in report["states"]][:2] == ["state[18] (48,)", "state[19] (48,)"]
    assert len(report["states"]) == 26


def test_the_command_line_goes_before_the_state():
    row = rows(TINY, "--lr", 1e-3, "--weight-decay", 0.5, "--beta1", 0.8)[MATRIX]
    assert (row["lr"], row["weight_decay"]) == (1e-3, 0.5)
    bare = rows(TINY, "--state", "none", "--lr", 1e-3)[MATRIX]
    assert bare["weight_decay"] == 0.01
    assert "step" not in bare


def test_groups_go_before_the_command_line():
    found = rows(
        INIT,
        *("--lr", 1e-3, "--group", "*.weight:lr=1e-4,weight_decay=0.3"),
        *("--group", "ln_f*:weight_decay=0"),
    )
    assert (found[MATRIX]["lr"], found[MATRIX]["weight_decay"]) == (1e-4, 0.3)
    assert (found["ln_f.weight"]["lr"], found["ln_f.weight"]["weight_decay"]) == (1e-4, 0)
    assert (found["ln_f.bias"]["lr"], found["ln_f.bias"]["weight_decay"]) == (1e-3, 0)


def test_the_update_between_two_saved_steps_is_the_relative_update_reported():
    """The weights at steps 1499 and 1500, at the lr that was applied, weight decay taken out."""
    lr = 0.0002000024369382586
    found = rows(TINY, "--lr", lr)
    before, after = (
        {t.name: t.array() for t in api.open_checkpoint(path).tensors}
        for path in (f"{TINY}.pt", TINY)
    )
    for name, row in found.items():
        if row["measured"]:
            moved = before[name] - after[name] - lr * row["weight_decay"] * before[name]
            relative = math.sqrt(float(np.mean(moved**2))) / row["rms"]
            rounding = float(np.spacing(np.float32(np.abs(before[name]).max()))) / row["rms"]
            assert row["relative_update"] == pytest.approx(relative, abs=1e-6 + rounding)
            # The README's factor between theory and one measured step.
            assert 0.7 < row["update_rms"] / row["update_rms_expected"] < 1.5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_stalled_share_is_what_rounding_leaves(dtype, tmp_path):
    generator = torch.Generator().manual_seed(0)
    weights = (torch.randn(200_000, generator=generator) * 0.02).to(dtype).reshape(400, 500)
    save_torch({"a.weight": weights}, tmp_path / "model.safetensors")
    lr = {torch.bfloat16: 1e-4, torch.float16: 1e-5, torch.float32: 1e-9}[dtype]
    row = rows(tmp_path / "model.safetensors", "--lr", lr)["a.weight"]
    step = torch.randn(weights.shape, generator=generator, dtype=torch.float64) * (lr * NOISE)
    stuck = float(((weights.double() + step).to(dtype) == weights).double().mean())
    assert 0.01 < stuck < 0.99
    assert row["stalled"] == pytest.approx(stuck, abs=4 * math.sqrt(0.25 / weights.numel()) + 2e-3)


def test_a_bfloat16_run_at_a_small_lr_stalls():
    done = scalecheck("translate", "sample_ckpts/tiny-gpt-bf16", "--lr", 3e-6)
    assert "of the weights round back to their old value each step" in done.out
    assert rows("sample_ckpts/tiny-gpt-bf16", "--lr", 3e-6)[MATRIX]["stalled"] > 0.99
    wide = rows(TINY, "--state", "none", "--lr", 3e-6)[MATRIX]["stalled"]
    assert wide < 0.01
    asked = rows(TINY, "--state", "none", "--lr", 3e-6, "--param-dtype", "bf16")[MATRIX]["stalled"]
    assert asked == pytest.approx(0.996, abs=2e-3)


def test_a_schedule_shows_how_far_it_carries_and_where_decay_balances():
    settings = ("--steps", 10_000, "--schedule", "cosine", "--warmup", 500, "--final", 0.1)
    row = rows(INIT, "--lr", 3e-4, "--weight-decay", 0.1, *settings)[MATRIX]
    first, second = Schedule("cosine", 10_000, 500, 0.1).sums()
    assert row["drift"] == pytest.approx(3e-4 * first / row["rms"], rel=1e-6)
    assert row["random_walk"] == pytest.approx(3e-4 * math.sqrt(second) / row["rms"], rel=1e-3)
    assert row["decay_sum"] == pytest.approx(3e-5 * first)
    assert row["memory_steps"] == pytest.approx(1 / 3e-5)
    assert row["equilibrium_rms"] == pytest.approx(math.sqrt(3e-4 / 0.2), rel=0.01)
    assert row["equilibrium_ratio"] == pytest.approx(row["rms"] / row["equilibrium_rms"])


def test_an_embedding_shows_what_one_gradient_does_to_a_rare_row():
    row = rows(INIT, "--lr", 3e-4)["tok_emb.weight"]
    assert row["rare_row_update"] == pytest.approx(
        3e-4 * adamw.Optimizer().isolated_gradient_displacement() / row["rms"]
    )
    assert row["rare_row_update"] > 100 * row["relative_update"]


def test_groups_of_rows_are_of_all_their_elements():
    single = rows(INIT, "--lr", 3e-4)
    merged = rows(INIT, "--lr", 3e-4, "--by", "role")["matrix"]
    members = [row for row in single.values() if row["role"] == "matrix"]
    squares = sum(row["numel"] * row["rms"] ** 2 for row in members)
    assert merged["tensors"] == len(members) == 16
    assert merged["rms"] == pytest.approx(math.sqrt(squares / merged["numel"]))
    assert merged["relative_update"] == pytest.approx(3e-4 * NOISE / merged["rms"])
    assert merged["relative_update_max"] == max(row["relative_update"] for row in members)


def test_bands_are_advice_for_matrices_alone_and_can_be_set():
    found = rows(INIT, "--lr", 3e-4)
    assert {row["band"] for row in found.values() if row["role"] != "matrix"} == {None, "zero-init"}
    wide = rows(INIT, "--lr", 3e-4, "--bands", "1e-6,1e-5,1e-1,1")
    assert {row["band"] for row in wide.values() if row["role"] == "matrix"} == {"typical"}
    said = scalecheck("translate", INIT, "--lr", 3e-4, "--bands", "1e-6,1e-5,1e-1,1").out
    assert "All 16 matrices are inside 0.001 to 10 % per step." in said
    assert "published" not in said
    assert "band" not in scalecheck("translate", INIT, "--lr", 3e-4).out


def test_zeros_and_nan_have_no_ratio_and_are_listed():
    found = rows("sample_ckpts/broken.safetensors", "--lr", 1e-3)
    zero, broken = found["blocks.5.mlp.down.weight"], found["blocks.1.attn.q.weight"]
    assert (zero["band"], zero["relative_update"]) == ("zero-init", None)
    assert zero["absolute_update"] == pytest.approx(1e-3 * NOISE)
    assert (broken["band"], broken["relative_update"]) == ("not finite", None)
    report = translated("sample_ckpts/broken.safetensors", "--lr", 1e-3)
    assert [(entry["name"], entry["reason"]) for entry in report["skipped"]] == [
        ("position_ids", "a buffer (its type I64)")
    ]


def test_an_lr_that_is_relative_says_so():
    done = scalecheck("translate", TINY, "--optimizer", "lamb", "--lr", 1e-3, "--state", "none")
    assert "The lr of lamb is relative: each step is this share of the weights." in done.out
    row = rows(TINY, "--optimizer", "lamb", "--lr", 1e-3, "--state", "none")[MATRIX]
    assert row["relative_update"] == row["nominal_relative_update"] == 1e-3


# Backward and across


@pytest.mark.parametrize("by", ["tensor", "family", "role"])
def test_the_lr_of_a_target_gives_it(by):
    for row in rows(INIT, "--lr", 3e-4, "--target", 1e-3, "--by", by).values():
        if row["relative_update"] is None:
            assert row["target_lr"] is None
        else:
            assert row["target_factor"] * row["relative_update"] == pytest.approx(1e-3)
            assert row["target_lr"] == pytest.approx(3e-4 * row["target_factor"])


def test_emitted_python_runs_as_printed():
    command = f"scalecheck translate {TINY} --target 1e-3 --by role --emit torch | python -"
    assert printed(command) == ""


def test_members_of_a_group_that_are_trained_differently_are_emitted_apart():
    emitted = json.loads(scalecheck("translate", TINY, *_BY_LAYER, "--emit", "json").out)
    found = rows(TINY, *_BY_LAYER)
    decays = {
        name: group.get("weight_decay", emitted["settings"]["weight_decay"])
        for group in emitted["groups"]
        for name in group["names"]
    }
    assert decays == {name: row["weight_decay"] for name, row in rows(TINY).items()}
    lrs = {name: group["lr"] for group in emitted["groups"] for name in group["names"]}
    assert lrs[MATRIX] == float(f"{0.0002 * found['blocks.0']['target_factor']:.2e}")


_BY_LAYER = ("--target", 1e-3, "--by", "layer")


def test_emitted_json_and_toml_say_the_same():
    first = json.loads(scalecheck("translate", INIT, *_TARGET, "--emit", "json").out)
    second = tomllib.loads(scalecheck("translate", INIT, *_TARGET, "--emit", "toml").out)
    assert first["schema"] == "scalecheck.groups/1"
    assert second["group"] == first["groups"]
    assert second["optimizer"] == {"name": first["optimizer"], **first["settings"]}
    assert sum(len(group["names"]) for group in first["groups"]) == 52


_TARGET = ("--lr", 3e-4, "--target", 1e-3, "--by", "family")


TORCH = (
    *("Adafactor", "Adagrad", "Adam", "Adamax", "AdamW", "Muon", "NAdam", "RAdam", "RMSprop"),
    "SGD",
)  # Adadelta and Rprop set the size of their steps themselves


@pytest.mark.parametrize("name", TORCH)
def test_the_settings_that_are_emitted_make_the_class_of_torch_with_them(name):
    emitted = scalecheck(
        *("translate", INIT, "--state", "none", "--optimizer", name.lower(), "--lr", 3e-4),
        *("--match", "*attn.out.weight", "--target", 1e-3, "--emit", "torch"),
        *("--grad-rms", 1, "--step", 1),
    )
    assert f"torch.optim.{name}(" in emitted.out
    module = {}
    exec(emitted.out, module)
    made = getattr(torch.optim, name)([torch.zeros(4, 4)], **module["SETTINGS"])
    plain = getattr(torch.optim, name)([torch.zeros(4, 4)], lr=3e-4)
    assert made.defaults == plain.defaults


@pytest.mark.parametrize("by", ["layer", "family", "role"])
def test_like_matches_groups_with_groups(by):
    found = rows(TINY, "--state", "none", "--lr", 3e-4, "--like", INIT, "--by", by)
    there = rows(INIT, "--lr", 3e-4, "--by", by)
    for name, row in found.items():
        assert row["like_relative_update"] == there[name]["relative_update"]


def test_like_gives_the_relative_update_of_the_other(tmp_path):
    found = rows(TINY, "--state", "none", "--lr", 3e-4, "--like", INIT)
    there = rows(INIT, "--lr", 3e-4)
    for name, row in found.items():
        assert row["like_relative_update"] == there[name]["relative_update"]
        if row["target_factor"] is not None:
            assert row["target_factor"] * row["relative_update"] == pytest.approx(
                there[name]["relative_update"]
            )
    rng = np.random.default_rng(0)
    path = tmp_path / "m.safetensors"
    save_file({"blocks.9.mlp.up.weight": rng.standard_normal((8, 8))}, path)
    row = rows(path, "--lr", 3e-4, "--like", INIT)["blocks.9.mlp.up.weight"]
    assert row["like_by"] == "family"


@pytest.mark.parametrize("other", ["sgd", "lion", "lamb", "muon", "adafactor"])
def test_the_lr_of_another_optimizer_moves_as_far(other):
    gradient = ("--grad-rms", 0.01)
    for name, row in rows(TINY, "--state", "none", "--lr", 3e-4, *gradient, "--to", other).items():
        if row["to_lr"] is None:
            assert other == "muon"
            assert len(row["shape"]) < 2 or min(row["shape"]) < 16
            continue
        there = rows(
            *(TINY, "--state", "none", "--match", name, *gradient),
            *("--optimizer", other, "--lr", row["to_lr"]),
        )[name]
        assert there["absolute_update"] == pytest.approx(row["absolute_update"], rel=1e-9)
        if row["role"] == "matrix":
            break


def test_settings_for_larger_weights_follow_the_law():
    report = translated(INIT, "--lr", 3e-4, "--scale-by", 10, "--match", MATRIX)
    assert {row["setting"]: row["scaled"] for row in report["scaled"]} == {
        "lr": pytest.approx(3e-3),
        "eps": pytest.approx(1e-9),
        "weight_decay": pytest.approx(1e-3),
        "clipping norm": None,
    }
    assert report["scaled"][-1]["exponent"] == -1
    done = scalecheck("translate", INIT, "--lr", 3e-4, "--optimizer", "radam", "--scale-by", 10)
    assert done.code == 2
    assert "RAdam's first 5 steps" in done.err


def test_an_assumption_is_held_against_the_measured_scale():
    row = rows(TINY, "--state", "none", "--lr", 3e-4, "--assume", "gpt2")[MATRIX]
    assert row["assumed_rms"] == 0.02
    assert row["assumed_ratio"] == pytest.approx(row["rms"] / 0.02)
    assert row["assumed_relative_update"] == pytest.approx(3e-4 * NOISE / 0.02)
    done = scalecheck("translate", TINY, "--state", "none", "--lr", 3e-4, "--assume", "gpt2")
    assert "Assumption: gpt2 is off by more than a factor of 2 for" in done.out


def test_shapes_are_translated_before_any_checkpoint_exists():
    report = translated(
        *("--shape", "wte.weight=50257x768", "--shape", "h.0.mlp.c_fc.weight=768x3072"),
        *("--assume", "gpt2", "--lr", 6e-4),
    )
    found = {row["name"]: row for row in report["rows"]}
    assert found["h.0.mlp.c_fc.weight"]["relative_update"] == pytest.approx(6e-4 * NOISE / 0.02)
    assert found["wte.weight"]["numel"] == 50257 * 768


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([INIT], 2, "--lr: no optimizer state with an lr was found beside"),
        ([INIT, "--lr", 0], 2, "--lr 0: must be a positive number"),
        ([INIT, "--lr", -1], 2, "--lr -1: must be a positive number"),
        ([INIT, "--lr", "nan"], 2, "--lr nan: must be a positive number"),
        ([INIT, "--lr", 1, "--group", "x*:lr=1"], 2, "--group x*: matches none of 52 tensors"),
        ([INIT, "--lr", 1, "--group", "x*"], 2, "--group x*: must be GLOB:SETTINGS, such as"),
        ([INIT, "--lr", 1, "--group", "*:lr=0"], 2, "--group *: lr 0.0: must be a positive number"),
        ([INIT, "--lr", 1, "--group", "*:foo=0"], 2, "--optimizer adamw: has no foo; it has "),
        ([INIT, "--lr", 1, "--beta2", 2], 2, "--optimizer adamw: beta2 2.0 is outside [0, 1)"),
        ([INIT, "--lr", 1, "--optimizer", "admw"], 2, "--optimizer admw: not known; did you mean"),
        (
            [INIT, "--lr", 1, "--optimizer", "sgd"],
            2,
            "--optimizer sgd: its updates are as large",
        ),
        ([INIT, "--lr", 1, "--optimizer", "radam", "--step", 3], 2, "--optimizer radam: its up"),
        (
            [INIT, "--lr", 1, "--optimizer", "adagrad", "--step", "steady"],
            2,
            "--optimizer adagrad: its late updates ",
        ),
        ([INIT, "--lr", 1, "--to", "sgd"], 2, "--to sgd: its updates are as large as its gradie"),
        ([INIT, "--lr", 1, "--to", "adadelta"], 2, "--to adadelta: Adadelta takes the size"),
        ([INIT, "--lr", 1, "--optimizer", "adadelta"], 2, "--optimizer adadelta: Adadelta takes"),
        ([INIT, "--lr", 1, "--steps", 9, "--warmup", 10], 2, "--warmup 10: is more than the"),
        ([INIT, "--lr", 1, "--steps", 0], 2, "--schedule constant: steps 0 is below 1"),
        ([INIT, "--lr", 1, "--warmup", 9], 2, "--schedule, --warmup and --final: need --steps"),
        ([INIT, "--lr", 1, "--schedule", "cos"], 2, "--schedule cos: not known"),
        (
            [INIT, "--lr", 1, "--step", "x"],
            2,
            "--step x: must be `steady` or a whole number from 1 up",
        ),
        (
            [INIT, "--lr", 1, "--step", 0],
            2,
            "--step 0: must be `steady` or a whole number from 1 up",
        ),
        ([INIT, "--lr", 1, "--grad-rms", 0], 2, "--grad-rms 0: must be a positive number"),
        ([INIT, "--lr", 1, "--target", 0], 2, "--target 0: must be a positive number"),
        (
            [INIT, "--target", "x"],
            2,
            "--target x: must be a percentage such as 0.1% or a share such as",
        ),
        ([INIT, "--target", "-1%"], 2, "--target -0.01: must be a positive number"),
        ([INIT, "--lr", 1, "--bands", "1,2"], 2, "--bands 1,2: must be four rising numbers"),
        ([INIT, "--lr", 1, "--param-dtype", "i8"], 2, "--param-dtype i8: not known"),
        ([INIT, "--lr", 1, "--to", "mun"], 2, "--to mun: not known; did you mean muon?"),
        ([INIT, "--lr", 1, "--emit", "torch"], 2, "--emit torch: needs --target or --like"),
        ([INIT, "--lr", 1, "--target", 1, "--emit", "x"], 2, "--emit x: not known"),
        ([INIT, "--lr", 1, "--assume", "gtp2"], 2, "--assume gtp2: not known; did you mean gpt2?"),
        ([INIT, "--lr", 1, "--scale-by", 0], 2, "--scale-by 0: must be a positive number"),
        ([INIT, "--like", TINY], 2, "--like: needs --lr"),
        ([TINY, "--like", INIT], 2, "--like: needs --lr"),
        (
            ["sample_ckpts/broken.safetensors", "--lr", 1, "--match", "position*"],
            2,
            "no optimizer trains any of the 1 tensors: a buffer",
        ),
        (["--lr", 1], 2, "PATH and --shape: give"),
        (["--lr", 1, "--shape", "a=2x2"], 2, "--shape: needs --assume"),
        (
            ["--lr", 1, "--shape", "a=2y2", "--assume", "xavier"],
            2,
            "--shape a=2y2: must be NAME=AxB",
        ),
        ([INIT, "--lr", 1, "--state", "nope.pt"], 3, "nope.pt: no such file or directory"),
        (["nope", "--lr", 1], 3, "nope: no such file or directory"),
        (
            ["sample_ckpts/broken.safetensors", "--state", f"{TINY}/optimizer.pt"],
            2,
            f"--state {TINY}/optimizer.pt: its 52 states fit none of 14 tensors",
        ),
    ],
)
def test_wrong_usage_is_one_line(arguments, code, words):
    done = scalecheck("translate", *arguments)
    assert (done.code, done.out) == (code, "")
    assert done.problem.startswith(f"scalecheck: {words}"), done.err


@pytest.mark.parametrize("family", [torch.optim.ASGD, torch.optim.LBFGS])
def test_a_state_of_an_unknown_optimizer_is_not_taken_for_another(family, tmp_path):
    model = torch.nn.Linear(4, 4)
    running = family(model.parameters(), lr=1e-2)

    def closure():
        running.zero_grad()
        loss = model(torch.ones(2, 4)).square().mean()
        loss.backward()
        return loss

    running.step(closure)
    path = tmp_path / "training.pt"
    torch.save({"model": model.state_dict(), "optimizer": running.state_dict()}, path)
    done = scalecheck("translate", path)
    assert (done.code, done.err) == (0, "")
    assert "2 of 2 tensors have no update: optimizer not known (settings " in done.out
    assert scalecheck("translate", path, "--optimizer", "adamw").code == 0


def test_a_displacement_that_follows_unknown_gradients_is_not_told(tmp_path):
    model = torch.nn.Linear(4, 4)
    running = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    model(torch.ones(2, 4)).sum().backward()
    running.step()
    path = tmp_path / "training.pt"
    torch.save({"model": model.state_dict(), "optimizer": running.state_dict()}, path)
    row = rows(path, "--steps", 100)["weight"]
    assert row["update_rms"] == pytest.approx(2.0)
    assert row["update_rms_expected"] is None
    assert (row["drift"], row["random_walk"]) == (None, None)
    assert rows(path, "--steps", 100, "--grad-rms", 2.0)["weight"]["random_walk"] > 0


def test_a_stream_without_unicode_gets_none():
    more = ("--steps", 10, "--scale-by", 3, "--assume", "gpt2", "--to", "muon")
    done = scalecheck("translate", f"{TINY}.pt", *more, encoding="ascii")
    assert done.code == 0
    assert done.out.isascii()
    assert "\\u" not in done.out


def test_translate_needs_no_torch():
    code = (
        "import sys; from scalecheck import translate; "
        f"translate({TINY!r}, target=1e-3, steps=100); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_first_moment_that_is_not_finite_is_said(tmp_path):
    model = torch.nn.Linear(8, 8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for _ in range(2):
        model(torch.ones(4, 8)).square().sum().backward()
        optimizer.step()
    state = optimizer.state_dict()
    state["state"][0]["exp_avg"][0, :3] = torch.nan
    torch.save({"model": model.state_dict(), "optimizer": state}, tmp_path / "run.pt")
    done = scalecheck("translate", tmp_path / "run.pt")
    assert "m is NaN or inf in 3 elements, most of them in weight." in done.out


def test_a_state_without_an_average_of_gradients_has_figures(tmp_path):
    model = torch.nn.Linear(8, 8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.0, 0.999))
    for _ in range(2):
        model(torch.ones(4, 8)).square().sum().backward()
        optimizer.step()
    run = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(run, tmp_path / "run.pt")
    row = rows(tmp_path / "run.pt")["weight"]
    assert row["update_rms"] > 0
    assert row["snr"] is None


def test_the_updates_of_a_fresh_optimizer_are_not_said_to_go_on(tmp_path):
    model = torch.nn.Linear(64, 64, bias=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(3):
        model.weight.grad = torch.randn(64, 64)
        optimizer.step()
    torch.save(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "a.pt"
    )
    text = scalecheck("translate", tmp_path / "a.pt", columns=160).out
    assert "while the fresh optimizer settles" in text
    assert "at step 3, 0.251 × lr at step 23" in text
    assert "expect the measured update" not in text


def test_a_run_in_bfloat16_is_said_to_leave_rounding_out():
    bf16 = f"{TINY}-bf16"
    arguments = ("translate", bf16, "--lr", 3e-6, "--steps", 100, "--state", "none", "--verbose")
    assert "This leaves rounding out: 16 of 16 move less far" in scalecheck(*arguments).out
    assert "leaves rounding out" not in scalecheck(*arguments, "--param-dtype", "fp32").out
