"""Folders of models drawn at random, and the files of them that libraries load: the same for the
same seed and number."""

import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import torch
from safetensors.torch import save
from valid_files import Case

WHOLE = (
    *("model.safetensors", "pytorch_model.bin", "model.fp16.safetensors", "pytorch_model.fp16.bin"),
    *("adapter_model.safetensors", "adapter_model.bin", "diffusion_pytorch_model.safetensors"),
    *("diffusion_pytorch_model.bin", "weights.safetensors", "consolidated.safetensors"),
    *("consolidated.00.pth", "pytorch_model_1.bin", "model_1.safetensors", "optimizer.pt"),
    *("shard-00001-model-00001-of-00001.safetensors", "model-00001-of-00002.safetensors"),
)
INDEXED = (
    *("model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors"),
    *("diffusion_pytorch_model.bin", "model.fp16.safetensors"),
)
LIKELY = ("model.safetensors", "pytorch_model.bin", "adapter_model.safetensors")


def drawn(seed: int, number: int) -> Case:
    """A folder of some of the files that trainers write, one in four with a damaged one."""
    rng = Random(f"folder {seed} {number}")
    files: dict[str, bytes] = {}
    for name in rng.sample(INDEXED, rng.choice((0, 0, 1, 1, 2))):
        files |= _indexed(name, rng)
    few = rng.choice((0, 1, 1, 2, 3))
    for name in rng.sample(WHOLE, few) + rng.sample(LIKELY, rng.choice((0, 0, 1, 2))):
        files[name] = _written(name, {"up.weight": _drawn(rng), "own": _drawn(rng)})
    if not files:
        files["model.safetensors"] = _written("model.safetensors", {"up.weight": _drawn(rng)})
    if rng.random() < 0.3:
        files["adapter_config.json"] = b'{"base_model_name_or_path": "elsewhere/base"}'
    if rng.random() < 0.5:
        config = {"model_type": "llama"}
        if rng.random() < 0.2:
            config["transformers_weights"] = rng.choice([*files, "lost.safetensors"])
        files["config.json"] = json.dumps(config).encode()
    if rng.random() < 0.25:
        damaged = rng.choice([*files])
        files[damaged] = _damaged(files[damaged], rng)
    return Case("folders", files, "")


def _drawn(rng: Random) -> torch.Tensor:
    return torch.tensor([[rng.uniform(-1, 1) for _ in range(3)] for _ in range(2)])


def _written(name: str, tensors: Mapping[str, torch.Tensor]) -> bytes:
    if name.endswith(".safetensors"):
        return save(dict(tensors))
    content = io.BytesIO()
    torch.save(tensors, content)
    return content.getvalue()


def _indexed(name: str, rng: Random) -> dict[str, bytes]:
    """Two shards and their index, one time in three with a fault."""
    stem, dot, suffix = name.rpartition(".")
    shards = [f"{stem}-0000{number}-of-00002{dot}{suffix}" for number in (1, 2)]
    held = [{f"part{i}.weight": _drawn(rng), f"part{i}.bias": _drawn(rng)} for i in range(2)]
    places = {key: file for file, part in zip(shards, held, strict=True) for key in part}
    index: dict[str, object] = {"metadata": {"total_size": 96}, "weight_map": places}
    match rng.choice((*range(12), *range(6))):
        case 6:
            held[1]["part0.weight"] = _drawn(rng)  # in both
        case 7:
            held[0]["unlisted"] = _drawn(rng)
        case 8:
            places["part0.bias"] = shards[1]
        case 9:
            places["lost"] = shards[0]
        case 10:
            del index["metadata"]
        case 11:
            places["away"] = rng.choice(("../up.safetensors", "model.safetensors", "lost.bin"))
    files = {file: _written(file, part) for file, part in zip(shards, held, strict=True)}
    if rng.random() < 0.1:
        del files[rng.choice(shards)]
    return {**files, f"{name}.index.json": json.dumps(index).encode()}


def _damaged(content: bytes, rng: Random) -> bytes:
    place = rng.randrange(len(content))
    return rng.choice(
        (
            b"",
            content[:place],
            content[:place] + bytes([rng.randrange(256)]) + content[place + 1 :],
            content + b"\0",
            save({"up.weight": _drawn(rng)}),
            _written("model.bin", {"up.weight": _drawn(rng)}),
        )
    )


# What libraries load, from their source: transformers 5.24, modeling_utils.py, in
# PreTrainedModel.from_pretrained, _get_resolved_checkpoint_files and maybe_load_adapters; diffusers
# 0.42, models/modeling_utils.py, in ModelMixin.from_pretrained.

TRANSFORMERS = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
DIFFUSERS = (
    *("diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors"),
    "diffusion_pytorch_model.bin",
)
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
DISTRIBUTED = re.compile(r"^shard-[0-9]{5}-model-[0-9]{5}-of-[0-9]{5}\.safetensors$")


def loaded(folder: Path) -> list[list[Path]]:
    """The files of the model and those of an adapter on it, in the order in which they are loaded.
    Raises OSError and more where there are none."""
    there = {path.name for path in folder.iterdir()}
    groups = []
    is_adapter = "adapter_config.json" in there
    if not is_adapter or "config.json" in there:
        groups.append(base(folder))
    if is_adapter:
        groups += [[folder / name] for name in ADAPTERS if name in there][:1]
    if not groups:
        raise OSError("no file of an adapter")
    return groups


def base(folder: Path) -> list[Path]:
    """The files of the model, of transformers where it finds one, else of diffusers."""
    there = sorted(path.name for path in folder.iterdir())
    if any(DISTRIBUTED.match(name) for name in there):
        return [folder / name for name in there if name.endswith(".safetensors")]
    first = named_by_config(folder)
    taken = (".safetensors", ".safetensors.index.json")
    if first is not None and not first.endswith(taken) and first != "adapter_model.bin":
        raise ValueError(f"no safetensors file: {first}")
    if first is None:
        first = next((name for name in (*TRANSFORMERS, *DIFFUSERS) if name in there), None)
    if first is None:
        raise OSError("no file of a model")
    if not first.endswith(".index.json"):
        return [folder / first]
    index = json.loads((folder / first).read_text("utf-8"))
    index["metadata"]["all"] = []
    return [folder / name for name in sorted(set(index["weight_map"].values()))]


def named_by_config(folder: Path) -> str | None:
    """The file of the model that its configuration names."""
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8")) if path.exists() else {}
    found: str | None = config.get("transformers_weights")
    return found


def require_agreement(folder: Path) -> None:
    """Raises AssertionError where transformers, if it is installed, says otherwise than `base`."""
    try:
        from transformers.distributed.checkpoint import is_sharded_checkpoint
        from transformers.modeling_utils import (
            _get_resolved_checkpoint_files,
            _get_resolved_distributed_checkpoint_files,
        )
    except ImportError:
        return

    def of_transformers() -> list[Path]:
        if is_sharded_checkpoint(folder):
            return [Path(file) for file in _get_resolved_distributed_checkpoint_files(folder)]
        named = named_by_config(folder)
        files, _ = _get_resolved_checkpoint_files(
            folder, None, None, None, {}, False, transformers_explicit_filename=named
        )
        return [Path(file) for file in files or ()]

    ours, theirs = _or_none(base, folder), _or_none(lambda _: of_transformers(), folder)
    is_of_diffusers = ours is not None and ours[0].name.startswith("diffusion_")
    assert ours == theirs or (theirs is None and is_of_diffusers), f"the table: {ours}, {theirs}"


def _or_none(files: Callable[[Path], list[Path]], folder: Path) -> list[Path] | None:
    try:
        return files(folder)
    except Exception:  # whatever it raises, it loads nothing
        return None
