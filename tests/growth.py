"""Kinds of files whose cost could grow faster than the files: each is built in a size that is
asked for, and has a command that reads it."""

import json
import math
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from array_files import flax_file, nested
from dcp_files import Folder
from orbax_files import orbax, zarr2

_MODULUS = 1 << 64
_PRIMES = 11400714785074694791, 14029467366897019727, 2870177450012600261  # of CPython's tuples


class Kind(NamedTuple):
    """How a file of n parts is written into a folder, the command that reads it, and how many parts
    take it some seconds."""

    write: Callable[[Path, int], Path]
    command: Sequence[str]
    parts: int


def safetensors(path: Path, entries: dict[str, tuple[str, Sequence[int]]], content=None) -> Path:
    """A file of tensors by name, type and shape; all are noise where no content is given."""
    header, end = {}, 0
    for name, (dtype, shape) in entries.items():
        start, end = end, end + math.prod(shape) * (1 if dtype.startswith("F8") else 4)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    if content is None:
        content = np.random.default_rng(0).standard_normal(end // 4).astype("<f4").tobytes()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    return path


def many(folder: Path, n: int) -> Path:
    """Small tensors of blocks."""
    names = [f"model.layers.{k // 8}.block.{k % 8}.weight" for k in range(n)]
    return safetensors(folder / "m.safetensors", dict.fromkeys(names, ("F32", [2, 2])))


def of_one_hash(folder: Path, n: int) -> Path:
    """Empty tensors whose shapes have one hash, as tuples of CPython have them."""
    first, second, start = _PRIMES

    def rolled(x: int) -> int:
        return ((x << 31) | (x >> 33)) % _MODULUS

    state = rolled(start) * first % _MODULUS
    shapes: list[tuple[int, ...]] = []
    number = 0
    while len(shapes) < n:
        number += 1
        after = rolled((state + number * second) % _MODULUS) * first
        last = (0x123456789ABCDEF - after) * pow(second, -1, _MODULUS) % _MODULUS
        if last < (1 << 61) - 1:
            shapes.append((0, number, last))
    entries = {f"w.{k}.weight": ("F32", shape) for k, shape in enumerate(shapes)}
    return safetensors(folder / "h.safetensors", entries, b"")


def ties(folder: Path, n: int) -> Path:
    """Names of one tensor."""
    torch.save(
        dict.fromkeys((f"w.{k}.weight" for k in range(n)), torch.ones(2, 2)), folder / "t.pt"
    )
    return folder / "t.pt"


def transposed(folder: Path, n: int) -> Path:
    """One matrix of n MiB that lies column by column."""
    torch.save({"w.weight": torch.randn(1024, n << 8).T}, folder / "w.pt")
    return folder / "w.pt"


def beside_its_transpose(folder: Path, n: int) -> Path:
    """The same, and the files that lie row by row, for a diff."""
    weight = torch.randn(1024, n << 8)
    torch.save({"w.weight": weight.T}, folder / "w.pt")
    torch.save({"w.weight": weight.T.contiguous()}, folder / "before.pt")
    return folder / "w.pt"


def narrow_rows(folder: Path, n: int) -> Path:
    """A matrix of n MiB of rows of two bytes, most of which repeat others."""
    content = np.random.default_rng(0).integers(1, 126, n << 20, dtype=np.uint8).tobytes()
    return safetensors(folder / "r.safetensors", {"w.weight": ("F8_E4M3", [n << 19, 2])}, content)


def _training(folder: Path, n: int, groups: int, trained: int) -> Path:
    weights = {f"layers.{k // 8}.experts.{k % 8}.weight": torch.ones(2, 2) for k in range(n)}
    places = [k for k in range(n) if k % 10 < trained]
    entry = {"step": torch.tensor(5.0), "exp_avg": torch.ones(2, 2), "exp_avg_sq": torch.ones(2, 2)}
    settings = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "amsgrad": False}
    size = -(-len(places) // groups)
    saved_groups = [
        {"lr": 1e-3 * (1 + at), **settings, "params": [*range(at, min(at + size, len(places)))]}
        for at in range(0, len(places), size)
    ]
    states = dict.fromkeys(range(len(places)), entry)
    optimizer = {"state": states, "param_groups": saved_groups}
    torch.save({"model": weights, "optimizer": optimizer}, folder / "run.pt")
    return folder / "run.pt"


def states(folder: Path, n: int) -> Path:
    """A model and Adam's states of nine tenths of it, without names."""
    return _training(folder, n, 1, 9)


def groups(folder: Path, n: int) -> Path:
    """The same with a group for each state."""
    return _training(folder, n, n, 9)


def chunks(folder: Path, n: int) -> Path:
    """A model whose tensors lie in the files of ten ranks, a thousand bytes an archive."""
    made = Folder()
    for k in range(n // 10):
        made.add(("model", f"layers.{k // 8}.block.{k % 8}.weight"), torch.ones(10, 4), ranks=10)
    made.write(folder)
    return folder


def shapes(folder: Path, n: int) -> Path:
    """The same, no two chunks of one shape."""
    made = Folder()
    for k in range(n // 2):
        made.add(("model", f"layers.{k}.weight"), torch.ones(2 * k + 3, 1), ranks=2)
    made.write(folder)
    return folder


_FORMAT = ("--format", "json")  # unless a command has another


def arguments(kind: Kind, path: Path) -> list[str]:
    """The command line that reads a file of a kind."""
    command, *options = kind.command
    before = [str(path.with_name("before.pt"))] if command == "diff" else []
    return [command, *before, str(path), "--quiet", "--jobs", "1", *_FORMAT, *options]


def averages(folder: Path, n: int) -> Path:
    """Matrices of one shape in a distributed checkpoint, trained ones and an average of each."""
    made = Folder()
    for k in range(n):
        matrix = torch.full((8, 8), float(k))
        matrix[0, 0] = -1
        made.add(("model", f"w.{k}.weight"), matrix)
        made.add(("ema", f"w.{k}.weight"), matrix + 0.5)
        made.add(("optim", "state", f"w.{k}.weight", "exp_avg"), matrix)
    made.add(("optim", "param_groups", 0, "lr"), 1e-3)
    path = folder / f"averages{n}"
    path.mkdir()
    made.write(path)
    return path


def metadata_nbytes(path: Path) -> int:
    """The bytes of a file that are no elements, or of small arrays all."""
    if path.suffix == ".safetensors":
        with path.open("rb") as file:
            return 8 + int.from_bytes(file.read(8), "little")
    if (path / ".metadata").is_file():
        archives = sum(file.stat().st_size for file in path.glob("*.distcp"))
        return (path / ".metadata").stat().st_size + archives
    if not zipfile.is_zipfile(path):
        files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
        return sum(one.stat().st_size for one in files)
    with zipfile.ZipFile(path) as archive:
        elements = sum(one.file_size for one in archive.infolist() if "/data/" in one.filename)
    return path.stat().st_size - elements


MEMORY = 150 << 20  # bytes that a command takes beside what it knows of a file's metadata


def _trained_arrays(n: int) -> dict[str, np.ndarray]:
    """Small matrices of blocks, and their moments."""
    params = {f"layers.{k}.up.kernel": np.full((4, 4), k + 1, "f4") for k in range(n)}
    return {
        **{f"params.{name}": array for name, array in params.items()},
        "opt_state.0.count": np.array(3, "i4"),
        **{f"opt_state.0.{w}.{name}": a for w in ("mu", "nu") for name, a in params.items()},
    }


def compressed_arrays(folder: Path, n: int) -> Path:
    """Deflated members of a zip."""
    np.savez_compressed(folder / "train.npz", **_trained_arrays(n))
    return folder / "train.npz"


def one_compressed_array(folder: Path, n: int) -> Path:
    """So many MiB, which threads read in stretches."""
    array = np.arange(n << 18, dtype="f4").reshape(-1, 256)
    np.savez_compressed(folder / "one.npz", **{"up.weight": array})
    return folder / "one.npz"


def flax_maps(folder: Path, n: int) -> Path:
    """Maps in maps."""
    path = folder / "train_state.msgpack"
    path.write_bytes(flax_file(nested(_trained_arrays(n), ".")))
    return path


def database(folder: Path, n: int) -> Path:
    """Arrays of zarr in a database."""
    arrays = {name: zarr2(array) for name, array in _trained_arrays(n).items()}
    for name, content in orbax(arrays, is_ocdbt=True).items():
        (folder / "step" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "step" / name).write_bytes(content)
    return folder / "step"


KINDS = {
    "many tensors, inspect": Kind(many, ["inspect"], 3000),
    "many tensors, a table": Kind(many, ["inspect", "--format", "table"], 3000),
    "many tensors, by family": Kind(many, ["inspect", "--by", "family"], 3000),
    "many tensors, check": Kind(many, ["check"], 3000),
    "many tensors, translate": Kind(many, ["translate", "--lr", "1e-3"], 2000),
    "shapes of one hash, inspect": Kind(of_one_hash, ["inspect"], 4000),
    "shapes of one hash, check": Kind(of_one_hash, ["check"], 4000),
    "ties, by role": Kind(ties, ["inspect", "--by", "role"], 4000),
    "ties, check": Kind(ties, ["check"], 4000),
    "a transposed matrix, check": Kind(transposed, ["check"], 32),
    "a transposed matrix, diff": Kind(beside_its_transpose, ["diff"], 32),
    "narrow rows, check": Kind(narrow_rows, ["check"], 1),
    "chunks of a distributed checkpoint": Kind(chunks, ["inspect"], 4000),
    "chunks of different shapes": Kind(shapes, ["inspect"], 1000),
    "averages of a distributed checkpoint": Kind(averages, ["inspect"], 400),
    "states without names, translate": Kind(states, ["translate"], 1000),
    "states without names, check": Kind(states, ["check"], 1000),
    "a group for each state, translate": Kind(groups, ["translate"], 1000),
    "a group for each state, check": Kind(groups, ["check"], 1000),
    "compressed arrays, inspect": Kind(compressed_arrays, ["inspect"], 700),
    "one compressed array, inspect": Kind(one_compressed_array, ["inspect", "--jobs", "2"], 80),
    "maps in maps, translate": Kind(flax_maps, ["translate", "--lr", "1e-3"], 700),
    "arrays of a database, translate": Kind(database, ["translate", "--lr", "1e-3"], 500),
}
