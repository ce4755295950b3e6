"""Models in folders below a directory: each is read, or named with what to type, by every command,
and a check fails on what was not read."""

import json
import os
from pathlib import Path

import pytest
import torch
from checked import noise
from command import scalecheck
from library_files import gguf_file
from safetensors.torch import save_file

import scalecheck as api
from scalecheck.checkpoint.files import folders

pytestmark = pytest.mark.usefixtures("elsewhere")

MODEL = {f"layers.{i}.up.weight": noise(16, 8, seed=i) for i in range(3)}
BROKEN = {"linear.weight": torch.full((8, 4), float("nan"))}


def save(path, tensors=MODEL):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    (torch.save if path.suffix in (".pt", ".pth", ".bin") else save_file)(tensors, path)


def names(report):
    return {row["name"] for row in report.rows}


# A directory's folders with models in them; the model of its own is `model.safetensors`.
LAYOUTS = {
    "sentence-transformers": ["2_Dense/model.safetensors"],
    "two modules": ["1_Dense/pytorch_model.bin", "2_Dense/model.safetensors"],
    "original files": ["original/consolidated.00.pth"],
    "an adapter beside its base": ["adapter/adapter_model.safetensors"],
    "deeper": ["a/b/c/weights.pt"],
    "a name with a space": ["my model/model.safetensors"],
}


@pytest.fixture(params=LAYOUTS)
def layout(request):
    """The names of the folders in `m`, each with NaN in its model."""
    save("m/model.safetensors")
    for file in LAYOUTS[request.param]:
        save(f"m/{file}", BROKEN)
    return [file.rpartition("/")[0] for file in LAYOUTS[request.param]]


def test_a_folder_with_a_model_is_named_with_what_to_type_and_fails_a_check(layout):
    done = scalecheck("check", "m", "--format", "concise")
    assert done.code == 1
    for folder in layout:
        quoted = f"'m/{folder}'" if " " in folder else f"m/{folder}"
        words = f"not read; scalecheck check m --recursive, or scalecheck check {quoted}"
        assert f"m: {folder}: error[SC107] not-analysed: {words}" in done.out


@pytest.mark.parametrize("command", ["inspect", "translate"])
def test_other_commands_name_it_among_what_was_skipped(layout, command):
    report = getattr(api, command)("m", **({"lr": 1e-3} if command == "translate" else {}))
    assert [entry["name"] for entry in report.skipped] == layout
    for entry in report.skipped:
        assert entry["reason"].startswith(f"not read; scalecheck {command} m --recursive, or ")
        assert (entry["dtype"], entry["shape"]) == (None, None)


def test_diff_names_it_too(layout):
    save("n.safetensors")
    assert [entry["name"] for entry in api.diff("m", "n.safetensors").skipped] == layout


def test_recursive_reads_every_folder_under_its_name(layout):
    report = api.inspect("m", recursive=True)
    assert names(report) == MODEL.keys() | {f"{folder}/linear.weight" for folder in layout}
    assert report.skipped == []
    done = scalecheck("check", "m", "--recursive", "--format", "concise")
    assert done.code == 1
    nan = "error[SC101] non-finite: 32 of 32 elements are NaN"
    assert all(f"m: {folder}/linear.weight: {nan}" in done.out for folder in layout)


def test_translate_and_diff_read_them_too(layout):
    first = f"{layout[0]}/linear.weight"
    assert first in {row["name"] for row in api.translate("m", lr=1e-3, recursive=True).rows}
    assert first in names(api.diff("m", "m", recursive=True))


def test_a_folder_that_is_excluded_is_no_finding():
    save("m/model.safetensors")
    save("m/part-5/model.safetensors", BROKEN)
    assert scalecheck("check", "m", "--exclude", "part-*").code == 0
    assert scalecheck("check", "m", "--exclude", "part-5/*").code == 0
    assert scalecheck("check", "m", "--exclude", "*.0.*").code == 1
    assert scalecheck("check", "m", "--match", "layers.*").code == 0
    assert scalecheck("check", "m", "--match", "*weight").code == 1
    assert "matches none of 3 tensors" in scalecheck("check", "m", "--exclude", "step-*").err


@pytest.mark.parametrize(
    "step",
    ["checkpoint-500", "step_10", "global_step12", "iter_0000100", "epoch=3-step=900", "ckpt7"],
)
def test_other_steps_of_the_run_are_named_and_fail_no_check(step):
    save("m/model.safetensors")
    save(f"m/{step}/model.safetensors", BROKEN)
    done = scalecheck("check", "m")
    assert done.code == 0
    assert f"{step}: another step of the run, not read; scalecheck check m --recursive" in done.out
    assert scalecheck("check", "m", "--recursive").code == 1


def test_a_report_with_a_folder_that_was_not_read_is_a_baseline():
    save("m/model.safetensors")
    save("m/2_Dense/model.safetensors")
    Path("b.json").write_text(scalecheck("inspect", "m", "--format", "json").out)
    done = scalecheck("check", "m", "--baseline", "b.json", "--select", "SC3")
    assert (done.code, done.err) == (0, "")
    assert "skipped: not read; " in scalecheck("inspect", "m", "--format", "csv").out


@pytest.mark.parametrize(
    ("files", "which", "one"),
    [
        (["unet/model.safetensors", "vae/model.safetensors"], "one of them", "m/unet"),
        (
            ["checkpoint-500/model.safetensors", "checkpoint-1000/a.pt"],
            "the newest",
            "m/checkpoint-1000",
        ),
        (["step_9/unet/a.pt", "step_9/vae/a.pt", "step_10/unet/a.pt"], "the newest", "m/step_10"),
        (["epoch=3/a.pt", "best/a.pt"], "one of them", "m/best"),
        (
            ["mp_rank_00/model_optim_rng.pt", "mp_rank_01/model_optim_rng.pt"],
            "one of them",
            "m/mp_rank_00",
        ),
    ],
)
@pytest.mark.parametrize("command", ["inspect", "translate --lr 1e-3"])
def test_a_directory_whose_folders_alone_hold_models_says_which_to_name(files, which, one, command):
    for file in files:
        save(f"m/{file}")
    done = scalecheck(*command.split(), "m")
    assert done.code == 3
    first, second = done.err.splitlines()
    assert first.startswith("scalecheck: m: holds no checkpoint itself, ")
    assert second == f"  help: {which} (--recursive reads all): scalecheck {command} {one}"
    report = api.inspect("m", recursive=True)
    assert len(report.rows) == 3 * len(files)
    assert f"{len(files)} folders" in report.headline or len(files) == 1


def test_the_only_folder_with_a_model_is_named():
    save("m/a b/c/model.safetensors")
    done = scalecheck("check", "m")
    assert (done.code, done.out) == (3, "")
    assert done.err.splitlines() == [
        "scalecheck: m: holds no checkpoint itself, its folder a b/c does",
        "  help: scalecheck check 'm/a b/c'",
    ]


def test_a_directory_of_other_formats_says_which():
    Path("m/step-30").mkdir(parents=True)
    Path("m/step-30/model.onnx").write_bytes(b"x")
    for options in ([], ["--recursive"]):
        done = scalecheck("inspect", "m", *options)
        assert done.code == 3
        words = "holds no checkpoint itself, and below it step-30/model.onnx"
        assert done.problem == f"scalecheck: m: {words}"
        assert "m/step-30/model.onnx" in done.err.splitlines()[1]


def test_a_directory_of_one_file_of_another_format_is_that_file():
    Path("m").mkdir()
    model = {"blk.0.attn_q.weight": torch.randn(8, 32), "output_norm.weight": torch.ones(8)}
    Path("m/model-00001-of-00002.gguf").write_bytes(gguf_file(model))
    done = scalecheck("inspect", "m")
    assert (done.code, done.err) == (3, "scalecheck: m: 1 of 2 shards missing\n")
    Path("m/model-00002-of-00002.gguf").write_bytes(gguf_file({"output.weight": torch.ones(4, 8)}))
    assert "gguf, 2 shards, 3 tensors" in scalecheck("inspect", "m").out
    Path("m/model-00002-of-00002.gguf").rename("m/other.gguf")
    done = scalecheck("inspect", "m")
    words = "holds 2 checkpoints: model-00001-of-00002.gguf, other.gguf"
    assert (done.code, done.problem) == (3, f"scalecheck: m: {words}")
    Path("m/other.gguf").unlink()
    Path("m/model-00001-of-00002.gguf").rename("m/model.gguf")
    done = scalecheck("check", "m")
    assert (done.code, "beside the model" in done.out) == (0, False)


def test_many_folders_in_one_are_named_together():
    """As the universal checkpoint of DeepSpeed has one for each tensor."""
    save("m/model.safetensors")
    for i in range(20):
        save(f"m/zero/layers.{i}.weight/fp32.pt")
    assert [entry["name"] for entry in api.inspect("m").skipped] == ["zero"]
    assert len(api.inspect("m", recursive=True).rows) == 63


def test_a_folder_that_cannot_be_read_is_a_finding_and_the_others_are_read():
    save("m/model.safetensors")
    save("m/a/model.safetensors")
    Path("m/b").mkdir()
    Path("m/b/model.safetensors").write_bytes(b"\xff" * 40)
    save("m/c/model-00001-of-00002.safetensors")
    done = scalecheck("check", "m", "--recursive")
    assert done.code == 1
    assert "  b: not read: model.safetensors: is no safetensors file" in done.out
    assert "  c: not read: 1 of 2 shards missing" in done.out
    assert len(api.inspect("m", recursive=True).rows) == 6


def test_a_directory_of_which_nothing_can_be_read_is_unreadable():
    Path("m/b").mkdir(parents=True)
    Path("m/b/model.safetensors").write_bytes(b"\xff" * 40)
    done = scalecheck("check", "m", "--recursive")
    assert done.code == 3
    assert "m/b/model.safetensors: is no safetensors file" in done.err


def test_links_that_lead_back_end():
    save("m/model.safetensors")
    save("m/sub/model.safetensors")
    os.symlink("..", "m/sub/up")
    os.symlink("sub", "m/same")
    assert len(api.inspect("m", recursive=True).rows) == 6
    assert len(api.inspect("m").skipped) == 1


def test_folders_past_the_limits_are_said_not_to_be_read(monkeypatch):
    save("m/model.safetensors")
    save("m/a/b/c/model.safetensors")
    monkeypatch.setattr(folders, "MAX_DEPTH", 2)
    assert (
        "not-analysed: not read: folders more than 2 deep\n  a/b\n" in scalecheck("check", "m").out
    )
    monkeypatch.setattr(folders, "MAX_FOLDERS", 1)
    assert "not read: all folders, as it holds more than 1 folders" in scalecheck("check", "m").out


def test_folders_without_models_are_no_matter():
    save("m/model.safetensors")
    for name in ("m/1_Pooling/config.json", "m/.cache/x.json", "m/logs/events.out"):
        Path(name).parent.mkdir()
        Path(name).write_text("{}")
    torch.save({}, "m/1_Pooling/training_args.bin")
    save("m/.git/model.safetensors")
    done = scalecheck("check", "m")
    assert (done.code, "1_Pooling" in done.out) == (0, False)


def test_files_of_formats_that_are_not_read_are_named_and_no_finding():
    save("m/model.safetensors")
    Path("m/onnx").mkdir()
    for file in ("m/onnx/model.onnx", "m/tf_model.h5"):
        Path(file).write_bytes(b"x")
    done = scalecheck("check", "m")
    assert done.code == 0
    words = "beside the model, not inspected: tf_model.h5, onnx/model.onnx"
    assert words in done.out
    assert words in scalecheck("inspect", "m").out


def test_an_average_in_a_folder_of_its_own_is_an_average():
    """As diffusers keeps one; wrappers in one folder make no difference to another's."""
    save("p/unet/model.safetensors")
    save("p/unet_ema/model.safetensors", {k: v + 1e-3 for k, v in MODEL.items()})
    kinds = {row["name"]: row["kind"] for row in api.inspect("p", recursive=True).rows}
    assert {kind for name, kind in kinds.items() if name.startswith("unet_ema/")} == {"average"}
    assert api.inspect("p", recursive=True).source["parameters"] == 3 * 128
    save("w/unet/model.safetensors", {f"module._orig_mod.{k}": v for k, v in MODEL.items()})
    save("v/unet/model.safetensors")
    report = api.diff("w", "v", recursive=True)
    assert report.conclusion[0].startswith("Nothing changed: ")
    assert "names differ by module., _orig_mod.: 3 tensors are matched without" in report.notes


def test_the_state_beside_the_model_is_read_and_that_of_a_folder_is_not():
    w = torch.nn.Parameter(noise(16, 8))
    optimizer = torch.optim.AdamW([w], lr=1e-3)
    w.grad = torch.ones(16, 8)
    optimizer.step()
    save("m/model.safetensors", {"up.weight": w.detach()})
    save("m/2_Dense/model.safetensors", {"down.weight": noise(4, 8)})
    torch.save(optimizer.state_dict(), "m/optimizer.pt")
    report = api.translate("m", recursive=True)
    updates = {row["name"]: row["update_rms"] for row in report.rows}
    assert updates["up.weight"] == pytest.approx(1, rel=1e-3)
    assert updates.get("2_Dense/down.weight") is None


def test_the_settings_of_a_report_say_whether_folders_were_read():
    save("m/model.safetensors")
    text = scalecheck("inspect", "m", "--recursive", "--format", "json").out
    assert json.loads(text)["settings"]["recursive"] is True
