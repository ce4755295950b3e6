"""Checkpoints to measure on: real shapes, weights drawn from a normal law, any size.

python benchmarks/files.py FILE BF16|F32 NBYTES
python benchmarks/files.py FILE moved NBYTES      the BF16 one, elements changed by 1 %
python benchmarks/files.py FOLDER shards NBYTES   64 files of BF16 with an index
python benchmarks/files.py FILE small COUNT
"""

import json
import sys
from pathlib import Path

import numpy as np

WIDTH = 4096
SHARDS = 64
_ITEMSIZE = {"BF16": 2, "F32": 4}


def generate(
    path: Path, dtype: str, nbytes: int, moved: bool = False, width: int = WIDTH, first: int = 0
) -> None:
    """Writes a safetensors file of about `nbytes`: square matrices, a norm beside each. moved: by
    1 % of each element, rounded. first: the number of the first layer."""
    itemsize = _ITEMSIZE[dtype]
    matrix, norm = width * width * itemsize, width * itemsize
    header: dict[str, object] = {}
    at = 0
    for layer in range(first, first + nbytes // (matrix + norm)):
        for name, shape, size in (
            (f"layers.{layer}.mlp.weight", [width, width], matrix),
            (f"layers.{layer}.norm.weight", [width], norm),
        ):
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
            at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = np.random.default_rng(0)
    words = generator.normal(0, 0.02, (matrix + norm) // itemsize).astype(np.float32)
    if moved:
        words *= 1 + 0.01 * generator.standard_normal(len(words), np.float32)
    stored = words if dtype == "F32" else (words.view(np.uint32) >> 16).astype(np.uint16)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        while at:
            at -= file.write(stored.tobytes()[:at])


def generate_shards(folder: Path, nbytes: int) -> None:
    """Writes 64 files, each of eight layers or so, and their index."""
    folder.mkdir()
    places = {}
    for number in range(SHARDS):
        name = f"model-{number:05}-of-{SHARDS:05}.safetensors"
        first = 1000 * number
        generate(folder / name, "BF16", nbytes // SHARDS, width=1024, first=first)
        text = (folder / name).read_bytes()
        places |= dict.fromkeys(json.loads(text[8 : 8 + int.from_bytes(text[:8], "little")]), name)
    index = {"metadata": {"total_size": nbytes}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def generate_small(path: Path, count: int) -> None:
    """Writes a safetensors file of `count` float32 vectors of 64 elements."""
    header = {
        f"layers.{i}.norm.weight": {
            "dtype": "F32",
            "shape": [64],
            "data_offsets": [256 * i, 256 * i + 256],
        }
        for i in range(count)
    }
    text = json.dumps(header).encode()
    body = np.random.default_rng(0).normal(1, 0.1, 64 * count).astype(np.float32)
    path.write_bytes(len(text).to_bytes(8, "little") + text + body.tobytes())


if __name__ == "__main__":
    file, kind, size = sys.argv[1:]
    if kind == "small":
        generate_small(Path(file), int(size))
    elif kind == "shards":
        generate_shards(Path(file), int(size))
    else:
        generate(Path(file), kind.replace("moved", "BF16"), int(size), kind == "moved")
