"""Checkpoints to measure on: real shapes, weights drawn from a normal law, any size.

python benchmarks/files.py FILE BF16|F32 NBYTES
python benchmarks/files.py FILE moved NBYTES      the BF16 one, elements changed by 1 %
python benchmarks/files.py FILE FP8 NBYTES        codes with a scale for each 128×128
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


def generate_fp8(path: Path, nbytes: int) -> None:
    """Writes a safetensors file of about `nbytes`: square matrices of E4M3 codes, drawn from a
    normal law, and a scale for each block of 128 rows and columns."""
    matrix, blocks = WIDTH * WIDTH, WIDTH // 128
    header: dict[str, object] = {}
    at = 0
    for layer in range(nbytes // matrix):
        name = f"layers.{layer}.mlp.weight"
        for word, dtype, size, count in (
            ("", "F8_E4M3", WIDTH, 1),
            ("_scale_inv", "F32", blocks, 4),
        ):
            end = at + count * size * size
            header[name + word] = {"dtype": dtype, "shape": [size, size], "data_offsets": [at, end]}
            at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = np.random.default_rng(0)
    bits = np.abs(generator.normal(0, 64, matrix)).astype(np.float32).view(np.uint32)
    codes = np.clip((bits >> 20).astype(np.int64) - (120 << 3), 0, 126).astype(np.uint8)
    codes |= (generator.integers(0, 2, matrix) << 7).astype(np.uint8)
    scales = generator.uniform(1e-4, 4e-4, blocks * blocks).astype(np.float32)
    one = codes.tobytes() + scales.tobytes()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _ in range(at // len(one)):
            file.write(one)


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
    elif kind == "FP8":
        generate_fp8(Path(file), int(size))
    else:
        generate(Path(file), kind.replace("moved", "BF16"), int(size), kind == "moved")
