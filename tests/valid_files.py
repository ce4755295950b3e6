"""A valid file of every kind that is read, made in memory: what mutations start from. The bytes are
the same in every process."""

import gzip
import io
import json
import pickle
import re
import struct
import tarfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from array_files import adam_tree, bits, flax_extension, flax_file, nested, npy, npz
from dcp_files import Folder, dcp_files
from encoded import STORED
from library_files import gguf_file, hdf5_file, keras_file, onnx_file
from orbax_files import orbax, under, zarr2, zarr3
from safetensors.torch import save
from trained import Network, steps
from zero_files import Zero, files_of_model

Files = Mapping[str, bytes]

SAMPLES = Path(__file__).parent / "data" / "samples"
REPORT = Path(__file__).parent / "golden" / "inspect-broken.json"

CONFIG = """\
select = ["SC1", "SC201"]
fail_on = "warning"
exclude = ["*.bias"]
init = "normal:0.02"
state = "none"
bands = [1e-5, 1e-4, 3e-3, 0.01]
snr = 0.5
step = 1_000
schedule = 'cosine'
steps = 2_000
warmup = 100

[optimizer]
name = "adamw"
lr = 3e-4
beta2 = 0.95

[[group]]
match = "*.norm.*"
weight_decay = 0

[[group]]
names = ["head.weight", "tok.weight"]
lr = 0x1

[severity]
SC104 = "error"

[limits]
SC201 = { high = 1e-2 }

[[override]]
role = "norm"
SC104.factor = 20.0

[[exception]]
path = "old/*"
match = "head.*"
rules = ["SC102"]
reason = "zero until it is trained"
"""


@dataclass(frozen=True)
class Case:
    """Files to lie beside each other, and the path in their folder to read: "" for the folder."""

    kind: str
    files: Files
    path: str

    def write(self, folder: Path) -> Path:
        """Writes the files, and says what to read."""
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder / self.path


@dataclass(frozen=True)
class Valid:
    """Files beside each other, the one to damage and its form, and the path to read: a file, or ""
    for the folder."""

    files: Files
    target: str
    form: str  # "safetensors", "json", "zip", "legacy", "pickle", "distcp" or "toml"
    path: str

    def case(self, kind: str) -> Case:
        """It as it is."""
        return Case(kind, self.files, self.path)


def safetensors(tensors: Mapping[str, tuple[str, list[int], bytes]], **metadata: str) -> bytes:
    """A safetensors file of (dtype, shape, data) by name."""
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    data = b""
    for name, (dtype, shape, content) in tensors.items():
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += content
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def _floats(count: int) -> bytes:
    return struct.pack(f"<{count}f", *(0.01 * (n % 7 - 3) for n in range(count)))


def _halves(count: int) -> bytes:
    return struct.pack(f"<{count}e", *(0.5 * (n % 5 - 2) for n in range(count)))


def _plain() -> bytes:
    return safetensors(
        {
            "tok.weight": ("F32", [6, 4], _floats(24)),
            "blocks.0.mlp.up.weight": ("BF16", [4, 3], _halves(12)),
            "blocks.1.mlp.up.weight": ("BF16", [4, 3], _halves(12)),
            "blocks.0.norm.weight": ("F64", [2], struct.pack("<2d", 1, 0.5)),
            "mask": ("BOOL", [5], bytes(5)),
            "scales": ("F8_E4M3", [3], b"\x38\x40\x7f"),
            "empty": ("I64", [0, 7], b""),
            "scalar": ("F16", [], _halves(1)),
        },
        format="pt",
    )


def _index() -> Files:
    shards = {
        "model-00001-of-00002.safetensors": {"tok.weight": ("F32", [2, 2], _floats(4))},
        "model-00002-of-00002.safetensors": {
            "head.weight": ("F16", [3], _halves(3)),
            "head.bias": ("F32", [1], _floats(1)),
        },
    }
    where = {name: shard for shard, tensors in shards.items() for name in tensors}
    index = {"metadata": {"total_size": 26}, "weight_map": where}
    files = {shard: safetensors(tensors) for shard, tensors in shards.items()}
    return files | {"model.safetensors.index.json": json.dumps(index, indent=1).encode()}


def torch_zip(obj: object) -> bytes:
    """What torch.save writes."""
    file = io.BytesIO()
    torch.save(obj, file)
    return file.getvalue()


class _Pickler(pickle._Pickler):  # the one in C cannot be told to call its storages by number
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, 2)
        self.storages: dict[int, tuple[str, torch.TypedStorage]] = {}

    def persistent_id(self, obj: object) -> object:
        if not isinstance(obj, torch.storage.TypedStorage):
            return None
        untyped = obj._untyped_storage
        key, _ = self.storages.setdefault(untyped._cdata, (str(len(self.storages)), obj))
        kind = getattr(torch, obj._pickle_storage_type())
        return ("storage", kind, key, "cpu", obj._size(), None)


def torch_legacy(obj: object) -> bytes:
    """What torch.save wrote before 1.6, its storages by number: torch calls them by their place in
    memory."""
    file = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(part, file, 2)
    pickler = _Pickler(file)
    pickler.dump(obj)
    pickle.dump([key for key, _ in pickler.storages.values()], file, 2)
    for _, storage in pickler.storages.values():
        file.write(struct.pack("<q", storage._size()))
        file.write(bytes(storage._untyped_storage.tolist()))
    return file.getvalue()


@cache
def _network() -> Network:
    torch.manual_seed(1)
    return Network()


def _weights() -> dict[str, object]:
    table = torch.arange(12.0).reshape(3, 4)
    return OrderedDict(
        table=table,
        transposed=table.T,
        part=table[1:, ::2],
        expanded=torch.ones(1).expand(3, 2),
        half=torch.ones(3, dtype=torch.bfloat16),
        count=torch.tensor(3),
        flags=torch.tensor([True, False]),
        complex=torch.ones(2, dtype=torch.complex64),
        sparse=torch.eye(2).to_sparse(),
        parameter=torch.nn.Parameter(torch.ones(2)),
    )


@cache
def _trained() -> tuple[Network, dict[str, object], dict[str, object]]:
    """A network and the AdamW states of its parameters, without and with their names."""
    model = _network()
    model.train()
    plain = steps(model, torch.optim.AdamW(model.parameters(), lr=1e-3)).state_dict()
    named = steps(model, torch.optim.AdamW(model.named_parameters(), amsgrad=True)).state_dict()
    return model, plain, named


def _training(optimizer: int) -> dict[str, object]:
    model, *states = _trained()
    return {
        "model": model.state_dict(),
        "optimizer": states[optimizer],
        "args": SimpleNamespace(lr=1e-3, betas=(0.9, 0.999)),
        "epoch": 3,
    }


def _beside(optimizer: bytes) -> Files:
    """A Trainer's directory: the network's weights, and an optimizer state."""
    tensors = {}
    for name, tensor in _trained()[0].state_dict().items():
        kind = "F32" if tensor.dtype is torch.float32 else "I64"
        data = tensor.contiguous().reshape(-1).view(torch.uint8).tolist()
        tensors[name] = (kind, list(tensor.shape), bytes(data))
    return {"model.safetensors": safetensors(tensors), "optimizer.pt": optimizer}


def _alone(name: str, form: str, content: bytes) -> Valid:
    return Valid({name: content}, name, form, name)


def _of_index() -> list[Valid]:
    files = _index()
    name = "model.safetensors.index.json"
    shard = "model-00002-of-00002.safetensors"
    return [
        Valid(files, name, "json", name),
        Valid(files, name, "json", ""),
        Valid(files, shard, "safetensors", name),
    ]


def _of_optimizer() -> list[Valid]:
    _, plain, named = _trained()
    states = [("zip", torch_zip(plain)), ("zip", torch_zip(named)), ("legacy", torch_legacy(plain))]
    return [Valid(_beside(state), "optimizer.pt", form, "") for form, state in states]


def _of_config() -> list[Valid]:
    tables = re.sub(r"(?m)^(\[+)", r"\1tool.scalecheck.", CONFIG)
    project = f'[project]\nname = "a"\n\n[tool.scalecheck]\n{tables}'
    return [
        _alone("scalecheck.toml", "toml", CONFIG.encode()),
        _alone("pyproject.toml", "toml", project.encode()),
    ]


def _of_encodings() -> list[Valid]:
    """A directory with a quantised weight in each layout, of which one file is changed."""
    found = []
    for number, (_, stored) in enumerate(STORED.values()):
        tensors, config, _, _ = stored(np.random.default_rng(number))
        files = {"model.safetensors": save(tensors), "config.json": json.dumps(config).encode()}
        found.append(Valid(files, "model.safetensors", "safetensors", ""))
    return found


def _of_training() -> list[Valid]:
    return [
        _alone("training.pt", "zip", torch_zip(_training(0))),
        _alone("training.pt", "zip", torch_zip(_training(1))),
        _alone("training.pt", "legacy", torch_legacy(_training(1))),
    ]


def _of_zero_training() -> list[Valid]:
    """Steps of stage 2 and stage 3, some parameters of which are not trained."""
    found = []
    for stage in (2, 3):
        files = Zero(stage, 2, frozen={"first.weight": (3, 5)}).contents()
        found += [Valid(files, name, "zip", "") for name in files if "rank_1_" not in name]
    return found


def _of_dcp_training() -> list[Valid]:
    """A model of two ranks and its state by names, each hyperparameter an item."""
    folder = Folder()
    model, _, named = _trained()
    for name, tensor in model.state_dict().items():
        folder.add(("model", name), tensor, 2)
    [group] = named["param_groups"]
    names = dict(zip(group["params"], group["param_names"], strict=True))
    for key, state in named["state"].items():
        for entry, tensor in state.items():
            folder.add(("optimizer", "state", names[key], entry), tensor, 2)
    for word, setting in {**group, "params": group["param_names"]}.items():
        if word != "param_names":
            folder.add(("optimizer", "param_groups", 0, word), setting)
    folder.add(("epoch",), 3)
    files = folder.files
    return [
        Valid(files, ".metadata", "pickle", ""),
        Valid(files, ".metadata", "pickle", ""),
        Valid(files, "__0_0.distcp", "distcp", ""),
        Valid(files, "__1_0.distcp", "distcp", ""),
    ]


def tar_of(files: Files, mode: str = "w") -> bytes:
    """A tar archive, the same at any time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0) if mode == "w:gz" else buffer.getvalue()


def _nemo(content: bytes, mode: str = "w") -> bytes:
    return tar_of({"./model_config.yaml": b"a: 1\n", "./model_weights.ckpt": content}, mode)


def _of_tar(saved: object) -> list[Valid]:
    content = torch_zip(saved)
    return [
        _alone("model.nemo", "tar", _nemo(content)),
        _alone("model.nemo", "tar.gz", _nemo(content, "w:gz")),
    ]


def _of_ranks() -> list[Valid]:
    """What FSDP's ranks left, each file to be damaged."""
    paths = sorted((SAMPLES / "fsdp_rank_files").iterdir())
    files = {path.name: path.read_bytes() for path in paths}
    return [Valid(files, name, "zip", "") for name in files]


def _of_torchtune(model: Mapping[str, torch.Tensor]) -> list[Valid]:
    weights, state = "epoch_0/model-00001-of-00001.bin", "recipe_state/recipe_state.pt"
    empty = {"optimizer": {"state": {}, "param_groups": []}, "epochs_run": 1}
    files = {weights: torch_zip(model), state: torch_zip(empty)}
    return [Valid(files, name, "zip", "") for name in files]


def _of_objects(name: str, form: str, save: Callable[[object], bytes]) -> list[Valid]:
    return [_alone(name, form, save(obj)) for obj in (_weights(), _network())]


def _of_adapter() -> list[Valid]:
    """Halves as PEFT and as kohya have them, and the configuration beside."""
    halves = {
        "base_model.model.q.lora_A.weight": ("F32", [2, 4], _floats(8)),
        "base_model.model.q.lora_B.weight": ("F32", [6, 2], _floats(12)),
        "base_model.model.q.lora_magnitude_vector": ("F32", [6], _floats(6)),
        "lora_unet_k.lora_down.weight": ("F16", [2, 3, 1, 1], _halves(6)),
        "lora_unet_k.lora_up.weight": ("F16", [5, 2, 1, 1], _halves(10)),
        "lora_unet_k.alpha": ("F32", [], _floats(1)),
        "v.lora_a": ("F32", [4, 2], _floats(8)),
        "v.lora_b": ("F32", [2, 4], _floats(8)),
        "o.hada_w1_a": ("F32", [4, 2], _floats(8)),
    }
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": "base",
        "r": 2,
        "lora_alpha": 4,
        "rank_pattern": {"o": 4},
        "alpha_pattern": {"v": 8},
        "use_rslora": True,
        "target_modules": ["q", "v"],
    }
    name = "adapter_model.safetensors"
    said = json.dumps({"q.r": 2, "q.lora_alpha": 4})
    alone = safetensors(halves, ss_network_alpha="2", lora_adapter_metadata=said)
    files = {name: alone, "adapter_config.json": json.dumps(config, indent=1).encode()}
    return [
        _alone(name, "safetensors", alone),
        Valid(files, name, "safetensors", name),
        Valid(files, "adapter_config.json", "json", name),
    ]


def _zarr(
    model: Mapping[str, torch.Tensor], way: Callable[..., dict[str, bytes]]
) -> dict[str, dict[str, bytes]]:
    """The files of each tensor."""
    names = {torch.bfloat16: "bfloat16"}
    return {
        name: way(
            bits(tensor), [-(-n // 2) for n in tensor.shape], dtype=names.get(tensor.dtype, "")
        )
        for name, tensor in model.items()
    }


def _of_zarr(model: Mapping[str, torch.Tensor]) -> list[Valid]:
    found = []
    for way in (zarr2, zarr3):
        arrays = _zarr(model, way)
        files = {k: v for name, own in arrays.items() for k, v in under(name, own).items()}
        mark = ".zgroup" if way is zarr2 else "zarr.json"
        group = {"zarr_format": 2 if way is zarr2 else 3, "node_type": "group"}
        target = f"{next(iter(arrays))}/{'.zarray' if way is zarr2 else 'zarr.json'}"
        found.append(Valid({**files, mark: json.dumps(group).encode()}, target, "json", ""))
    return found


def _of_orbax(model: Mapping[str, torch.Tensor]) -> list[Valid]:
    arrays = _zarr(model, zarr2)
    kept = orbax(arrays)
    database = orbax(_zarr(model, zarr3), is_ocdbt=True)
    return [
        Valid(kept, "_METADATA", "json", ""),
        Valid(kept, f"{next(iter(arrays))}/.zarray", "json", ""),
        Valid(database, "d/data", "bytes", ""),
        Valid(database, "manifest.ocdbt", "bytes", ""),
    ]


def _of_msgpack(model: Mapping[str, torch.Tensor]) -> list[Valid]:
    packed = {
        name: flax_extension(bits(tensor), name=str(tensor.dtype).removeprefix("torch."))
        for name, tensor in model.items()
    }
    files = [flax_file(packed), flax_file({"params": nested(packed, ".")})]
    return [_alone("flax_model.msgpack", "msgpack", content) for content in files]


def _msgpack_files() -> list[Valid]:
    state = flax_file(nested(adam_tree()))
    return [_alone("train_state.msgpack", "msgpack", state), _of_msgpack({"w": torch.ones(3)})[0]]


def _plain_model() -> dict[str, torch.Tensor]:
    return {
        "blk.0.attn_q.weight": torch.linspace(-1, 1, 192).reshape(3, 64),
        "blk.0.ffn_up.weight": torch.ones(2, 32, dtype=torch.bfloat16),
        "output_norm.weight": torch.ones(5, dtype=torch.float16),
    }


def _gguf_files() -> list[Valid]:
    found = [_alone("model.gguf", "bytes", gguf_file(_plain_model()))]
    for kind in ("Q4_0", "Q8_0", "MXFP4"):
        content = gguf_file(_plain_model(), {"blk.0.attn_q.weight": kind})
        found.append(_alone("model.gguf", "bytes", content))
    return found


def _keras_files() -> list[Valid]:
    weights = hdf5_file({"layers/dense/vars/0": torch.ones(3, 4), "vars/0": torch.ones(3)})
    return [
        _alone("model.keras", "zip", keras_file(weights)),
        _alone("m.weights.h5", "bytes", weights),
    ]


def _numpy_files() -> list[Valid]:
    tree = adam_tree()
    odd = {"wide": np.asfortranarray(tree["params/up/kernel"].astype(">f8")), "W": tree["step"]}
    one = npy(odd["wide"])
    return [
        _alone("train.npz", "npz", npz(tree)),
        _alone("train.npz", "npz", npz(tree, np.savez_compressed)),
        _alone("odd.npz", "npz", npz({**odd, "w": np.ones(3, "c8"), "text": np.array(["a"])})),
        _alone("one.npy", "npy", one),
    ]


VALID: Mapping[str, Callable[[], list[Valid]]] = {
    "adapter": cache(_of_adapter),
    "safetensors": cache(lambda: [_alone("model.safetensors", "safetensors", _plain())]),
    "index": cache(_of_index),
    "encoded": cache(_of_encodings),
    "torch-zip": cache(lambda: _of_objects("model.pt", "zip", torch_zip)),
    "torch-legacy": cache(lambda: _of_objects("model.pth", "legacy", torch_legacy)),
    "msgpack": cache(_msgpack_files),
    "numpy": cache(_numpy_files),
    "gguf": cache(_gguf_files),
    "hdf5": cache(
        lambda: [replace(valid, form="bytes") for valid in _of_hdf5({"up": torch.ones(4, 3)})]
    ),
    "keras": cache(_keras_files),
    "onnx": cache(lambda: [_alone("model.onnx", "bytes", onnx_file(_plain_model()))]),
    "orbax": cache(lambda: _of_orbax({"up.weight": torch.ones(4, 3), "step": torch.ones(())})),
    "training": cache(_of_training),
    "optimizer": cache(_of_optimizer),
    "deepspeed": cache(_of_zero_training),
    "dcp": cache(_of_dcp_training),
    "ranks": cache(_of_ranks),
    "tar": cache(lambda: _of_tar(_training(1))),
    "config": cache(_of_config),
    "report": cache(lambda: [_alone("base.json", "json", REPORT.read_bytes())]),
}
"""The valid files of each kind."""


def _as_safetensors(model: Mapping[str, torch.Tensor]) -> bytes:
    names = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
    return safetensors(
        {
            name: (
                names[tensor.dtype],
                [*tensor.shape],
                bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist()),
            )
            for name, tensor in model.items()
        }
    )


def _as_shards(model: Mapping[str, torch.Tensor]) -> Files:
    """A file a tensor, and their index."""
    shards = {f"model-{name}.safetensors": {name: tensor} for name, tensor in model.items()}
    index = {"weight_map": {name: shard for shard, held in shards.items() for name in held}}
    files = {shard: _as_safetensors(held) for shard, held in shards.items()}
    return files | {"model.safetensors.index.json": json.dumps(index).encode()}


def _of_numpy(model: Mapping[str, torch.Tensor]) -> list[Valid]:
    arrays = {name: bits(tensor) for name, tensor in model.items()}
    swapped = {name: a.astype(a.dtype.newbyteorder(">")) for name, a in arrays.items()}
    saved = [npz(arrays), npz(arrays, np.savez_compressed), npz(swapped, np.savez_compressed)]
    return [_alone("model.npz", "npz", content) for content in saved]


def _of_hdf5(model: Mapping[str, torch.Tensor]) -> list[Valid]:
    ways = ({}, {"chunks": True}, {"chunks": True, "compression": "gzip", "shuffle": True})
    return [_alone("model.h5", "hdf5", hdf5_file(model, **options)) for options in ways]


def _of_deepspeed(model: Mapping[str, torch.Tensor]) -> list[Valid]:
    files = files_of_model(model)
    return [Valid(files, name, "zip", "") for name in files]


def _of_dcp(model: Mapping[str, torch.Tensor]) -> list[Valid]:
    """One rank's, and of three ranks, the index and a file to damage."""
    whole, parts = dcp_files(model), dcp_files(model, 3, ("model",))
    return [
        Valid(whole, "__0_0.distcp", "zip", ""),
        Valid(parts, "__1_0.distcp", "zip", ""),
        Valid(parts, ".metadata", "pickle", ""),
    ]


MODEL_AS: Mapping[str, Callable[[dict[str, torch.Tensor]], list[Valid]]] = {
    "directory": lambda model: [
        Valid(
            {"model.safetensors": _as_safetensors(model)}, "model.safetensors", "safetensors", ""
        ),
        Valid(_as_shards(model), "model.safetensors.index.json", "json", ""),
    ],
    "deepspeed": _of_deepspeed,
    "msgpack": _of_msgpack,
    "numpy": _of_numpy,
    "orbax": _of_orbax,
    "dcp": _of_dcp,
    "gguf": lambda model: [_alone("model.gguf", "gguf", gguf_file(model))],
    "hdf5": _of_hdf5,
    "keras": lambda model: [_alone("model.keras", "zip", keras_file(hdf5_file(model)))],
    "onnx": lambda model: [_alone("model.onnx", "onnx", onnx_file(model))],
    "safetensors": lambda model: [
        _alone("model.safetensors", "safetensors", _as_safetensors(model))
    ],
    "shard_index": lambda model: [
        Valid(_as_shards(model), target, "json", "model.safetensors.index.json")
        for target in _as_shards(model)
    ],
    "tar": _of_tar,
    "torch": lambda model: [
        _alone("model.pt", "zip", torch_zip(model)),
        _alone("model.pth", "legacy", torch_legacy(model)),
    ],
    "torchtune": _of_torchtune,
    "zarr": _of_zarr,
}
"""How a model, a dict of float tensors by name, is written in each format, in every way there is of
it. `target` is the file to damage."""
