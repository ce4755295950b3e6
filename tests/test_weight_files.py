"""Which file of a directory is the model: the plain one before its variants, a whole one before an
index, safetensors before pickles; and which files are one rank's part of it."""

import json
from pathlib import Path

import pytest
import torch
from checked import noise
from command import scalecheck
from safetensors.torch import save_file

import scalecheck as api

pytestmark = pytest.mark.usefixtures("elsewhere")


def mark(file):
    """A number by which a file is known again."""
    return float(sum(file.encode()))


def save(file, **tensors):
    """Writes a file whose tensors, where none are given, are one that is filled with its mark."""
    path = Path("m") / file
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = tensors or {"up.weight": torch.full((4, 4), mark(file))}
    (save_file if path.suffix == ".safetensors" else torch.save)(tensors, path)


def shards(stem, suffix=".safetensors", index=None):
    """Two shards and, where its name is given, their index."""
    files = {n: f"{stem}-0000{i}-of-00002{suffix}" for i, n in enumerate(("a", "b"), 1)}
    for name, file in files.items():
        save(file, **{name: torch.full((4, 4), mark(file))})
    if index:
        Path("m", index).write_text(json.dumps({"weight_map": files}))


def read(path="m"):
    """The file that was read, by the number in it."""
    report = api.inspect(path)
    return [f.name for f in Path(path).iterdir() if mark(f.name) == round(report.rows[0]["rms"])]


@pytest.mark.parametrize(
    ("plain", "variants"),
    [
        ("diffusion_pytorch_model.safetensors", ["fp16", "non_ema", "bf16.non_ema"]),
        ("model.safetensors", ["fp16", "int8"]),
        ("pytorch_model.bin", ["fp16"]),
        ("adapter_model.safetensors", ["checkpoint7"]),
        ("weights.safetensors", ["ema", "fp8_e4m3fn"]),
    ],
)
def test_the_plain_file_is_the_model_and_its_variants_lie_beside_it(plain, variants):
    stem, dot, suffix = plain.rpartition(".")
    save(plain)
    beside = sorted(f"{stem}.{variant}{dot}{suffix}" for variant in variants)
    for file in beside:
        save(file)
    done = scalecheck("inspect", "m")
    words = f"beside the model, not inspected: {', '.join(beside)} (to read one: scalecheck inspect"
    assert f"{words} m/{beside[0]})" in done.out
    assert read() == [plain]
    assert words in "\n".join(api.check("m").notes)
    assert words in "\n".join(api.translate("m", lr=1e-3).notes)
    assert f"m: {words}" in "\n".join(api.diff("m", "m").notes)


def test_a_variant_after_a_dash_lies_beside_the_file_without():
    save("v1-5-pruned.safetensors")
    save("v1-5-pruned-emaonly.safetensors")
    save("v1-5-pruned_fp16.safetensors")
    assert read() == ["v1-5-pruned.safetensors"]


def test_a_variant_alone_is_read_and_said():
    save("model.fp16.safetensors")
    assert read() == ["model.fp16.safetensors"]
    assert "its variant fp16 is read" in scalecheck("inspect", "m").out


@pytest.mark.parametrize("command", ["inspect", "check"])
def test_several_variants_without_a_plain_file_are_a_question_to_the_user(command):
    save("model.fp16.safetensors")
    save("model.non_ema.safetensors")
    done = scalecheck(command, "m")
    assert done.code == 2
    words = "holds 2 variants of a model and no plain one: model.fp16.safetensors"
    assert done.problem == f"scalecheck: m: {words}, model.non_ema.safetensors"
    assert done.err.endswith(f"one of them: scalecheck {command} m/model.fp16.safetensors\n")


def test_a_plain_pickle_goes_before_a_variant_in_safetensors():
    save("model.fp16.safetensors")
    save("pytorch_model.bin")
    assert read() == ["pytorch_model.bin"]


def test_another_format_of_the_same_model_lies_beside_it():
    save("model.safetensors")
    save("pytorch_model.bin")
    assert read() == ["model.safetensors"]
    assert "not inspected: pytorch_model.bin (to read one: " in scalecheck("inspect", "m").out


@pytest.mark.parametrize(
    "index", ["model.safetensors.index.fp16.json", "model.fp16.safetensors.index.json"]
)
def test_shards_of_a_variant_are_read_alone_by_their_index(index):
    shards("model.fp16", index=index)
    assert len(api.inspect("m").rows) == 2
    assert len(api.inspect(f"m/{index}").rows) == 2
    assert "its variant fp16 is read" in scalecheck("inspect", "m").out


def test_shards_of_a_variant_lie_beside_the_shards_of_the_model():
    shards("model", index="model.safetensors.index.json")
    shards("model.fp16", index="model.safetensors.index.fp16.json")
    rows = api.inspect("m").rows
    assert {row["rms"] for row in rows} == {
        mark(f"model-0000{i}-of-00002.safetensors") for i in (1, 2)
    }
    beside = "not inspected: model.safetensors.index.fp16.json (to read one"
    assert beside in scalecheck("inspect", "m").out


@pytest.mark.parametrize(
    ("whole", "stem", "suffix"),
    [
        ("model.safetensors", "model", ".safetensors"),
        ("pytorch_model.bin", "pytorch_model", ".bin"),
    ],
)
def test_a_whole_file_goes_before_an_index_as_in_transformers(whole, stem, suffix):
    shards(stem, suffix, f"{stem}{suffix}.index.json")
    save(whole)
    assert read() == [whole]


def test_an_index_goes_before_a_whole_file_as_in_diffusers():
    shards("diffusion_pytorch_model", index="diffusion_pytorch_model.safetensors.index.json")
    save("diffusion_pytorch_model.safetensors")
    assert read() == ["diffusion_pytorch_model-00001-of-00002.safetensors"]


def test_parts_that_are_no_variants_are_joined():
    save("model.layer1.safetensors", a=torch.ones(2, 2))
    save("model.layer2.safetensors", b=torch.ones(2, 2))
    assert {row["name"] for row in api.inspect("m").rows} == {"a", "b"}


def test_what_a_trainer_keeps_is_no_model():
    for file in ("optimizer_0.bin", "scheduler.pt", "random_states_0.pt", "rng_state_1.pth"):
        save(file)
    done = scalecheck("inspect", "m")
    assert (done.code, "holds an optimizer state and no model: optimizer_0.bin" in done.err) == (
        3,
        True,
    )


# ---- slices


def llama(rows):
    return {
        "tok_embeddings.weight": noise(32, 16),
        "layers.0.attention.wq.weight": noise(rows, 16),
        "norm.weight": torch.ones(16),
    }


def ranks(pattern, count=2, tensors=None):
    for rank in range(count):
        path = Path("m", pattern.format(rank))
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(tensors or llama(16 // count), path)


def kinds(path, **options):
    return {row["name"]: row["kind"] for row in api.inspect(path, **options).rows}


@pytest.mark.parametrize(
    "pattern",
    [
        "consolidated.{:02}.pth",
        "mp_rank_{:02}_model_states.pt",
        "model.tp_rank_{:02}.pt",
        "model_tp{}.pt",
        "layer_02-model_{:02}-model_states.pt",
        "shard-{:05}-model-00001-of-00001.bin",
    ],
)
@pytest.mark.parametrize("count", [2, 4])
def test_slices_are_read_rank_by_rank_as_pieces(pattern, count):
    ranks(pattern, count)
    found = kinds("m")
    assert set(found) == {f"rank{rank}/{name}" for rank in range(count) for name in llama(4)}
    assert set(found.values()) == {"piece"}
    notes = "\n".join(api.check("m").notes)
    assert f"is slice 0 of {count}: each tensor is a part of a larger one; " in notes
    assert "read rank by rank, as rank0/NAME, rank1/NAME" in notes
    assert {row["role"] for row in api.inspect("m").rows} == {"embedding", "matrix", "norm"}


def test_one_slice_that_is_named_is_called_one():
    ranks("consolidated.{:02}.pth")
    assert set(kinds("m/consolidated.01.pth").values()) == {"piece"}
    assert "slice 1 of 2" in "\n".join(api.inspect("m/consolidated.01.pth").notes)


@pytest.mark.parametrize(
    "folder", ["mp_rank_{:02}", "mp_rank_{:02}_000", "tp_rank_{:02}_pp_rank_000"]
)
def test_folders_of_tensor_parallel_ranks_are_slices(folder):
    ranks(f"iter_10/{folder}/model_optim_rng.pt")
    assert set(kinds("m", recursive=True).values()) == {"piece"}
    assert set(kinds(f"m/iter_10/{folder.format(1)}").values()) == {"piece"}


def test_a_slice_is_one_whatever_folder_it_is_named_from(monkeypatch):
    ranks("mp_rank_{:02}/model_optim_rng.pt")
    monkeypatch.chdir("m/mp_rank_01")
    assert set(kinds("model_optim_rng.pt").values()) == {"piece"}
    assert set(kinds(".").values()) == {"piece"}


def test_folders_of_pipeline_parallel_ranks_hold_whole_tensors():
    ranks("iter_10/mp_rank_00_{:03}/model_optim_rng.pt")
    assert set(kinds("m", recursive=True).values()) == {"parameter"}


@pytest.mark.parametrize(
    ("rows", "params", "kind"),
    [
        (16, {"dim": 16}, "parameter"),
        (8, {"dim": 16}, "piece"),
        (8, {"dim": 16, "head_dim": 2}, "parameter"),
        (8, None, "parameter"),
        (8, ["dim"], "parameter"),
        (24, {"dim": 16}, "parameter"),
    ],
)
def test_a_lone_file_is_a_slice_where_params_json_says_so(rows, params, kind):
    ranks("consolidated.{:02}.pth", 1, llama(rows))
    if params is not None:
        Path("m/params.json").write_text(json.dumps(params))
    for path in ("m", "m/consolidated.00.pth"):
        assert set(kinds(path).values()) == {kind}


def test_files_of_ranks_that_hold_whole_models_are_several_checkpoints():
    ranks("model_rank{}.pt")
    done = scalecheck("inspect", "m")
    assert done.code == 3
    assert "m: holds 2 checkpoints: model_rank0.pt, model_rank1.pt" in done.err


def test_nan_in_a_slice_is_an_error():
    ranks("consolidated.{:02}.pth")
    broken = llama(8)
    broken["norm.weight"][3] = float("nan")
    torch.save(broken, "m/consolidated.01.pth")
    done = scalecheck("check", "m", "--format", "concise")
    assert (done.code, "m: rank1/norm.weight: error[SC101] non-finite: 1 of " in done.out) == (
        1,
        True,
    )


ORDER = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json", "weights.safetensors"),
)
"""The files of which transformers loads the first one that is there."""


@pytest.mark.parametrize("there", range(1, 1 << len(ORDER)))
def test_of_all_the_files_together_the_one_that_transformers_loads_is_read(there):
    files = [file for place, file in enumerate(ORDER) if there >> place & 1]
    for file in files:
        whole = Path(file.removesuffix(".index.json"))
        if whole.name == file:
            save(file)
        else:
            shards(whole.stem, whole.suffix, file)
    first = Path(files[0].removesuffix(".index.json"))
    part = f"{first.stem}-00001-of-00002{first.suffix}"
    assert read() == [files[0] if files[0] == first.name else part]
