"""Damaged files that are read here are read the same by the libraries that would load them: torch
(weights_only) or safetensors, in a process of its own; and of a folder the files that transformers
loads. A table, and exit code 1 where any differs.

    python tests/oracle.py --count 50000 --seed 1 --keep differing
    python tests/oracle.py --count 5000 --kind folders

Run from the project's folder; the tests read 500. Where transformers is installed, it says itself
which files it loads.
"""

import argparse
import contextlib
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from model_folders import drawn, loaded, require_agreement
from mutations import mutated
from process import cpu_seconds
from structures import restructured
from tabulate import tabulate
from valid_files import Case

from scalecheck import open_checkpoint
from scalecheck.checkpoint.formats import safetensors, torch
from scalecheck.checkpoint.pickle.state_dict import parts
from scalecheck.checkpoint.pickle.tree import Tree
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.errors import CheckpointError, UsageError

SECONDS = 30  # of a processor for one file in the library
ROOM = 6 << 30  # of its address space
IN_TESTS = 500  # inputs that the tests compare
MAX_NUMEL = 1 << 22  # of a tensor whose elements are compared

KINDS = {
    "torch-zip": 6,
    "torch-legacy": 4,
    "training": 3,
    "optimizer": 2,
    "safetensors": 3,
    "folders": 2,
}
"""The kinds of inputs with a loader, and how many of each in 20."""

WORDS = ("same", "refused", "theirs refuses", "theirs died", "differs")


class Held(NamedTuple):
    """A tensor as it is compared: its elements' digest, None where they are not."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: str | None


def digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


# Here.


def ours(path: Path) -> list[Held]:
    """What we read. Raises CheckpointError, UsageError."""
    if path.is_dir():
        checkpoint = open_checkpoint(path)
        if checkpoint.unread:  # a check fails
            raise CheckpointError(path, "holds files that libraries load and that are not read")
        return [_held(tensor) for tensor in checkpoint.tensors]
    if path.suffix == ".safetensors":
        return [_held(tensor) for tensor in safetensors.load(path).tensors]
    with torch.unpickled(path) as file:
        found = parts(Tree(file.pickled.root))
        if not found.rows and not found.optimizer:
            raise CheckpointError(path, "holds no tensor")
        return [_held(file.tensor(*one)) for one in (*found.rows, *found.optimizer)]


def _held(tensor: Tensor) -> Held:
    content = None
    if tensor.unmeasured is None and tensor.numel <= MAX_NUMEL:
        # numpy makes no array of (0, 2^63)
        content = digest(np.ascontiguousarray(tensor.words()).tobytes() if tensor.numel else b"")
    return Held(tensor.name, tensor.dtype.torch or tensor.dtype.name, tensor.shape, content)


# There.


def serve() -> None:
    """Reads paths from stdin and writes a line of JSON on each: what the library has of it."""
    import torch as library

    library.set_num_threads(1)
    library.serialization.add_safe_globals([SimpleNamespace])  # as a training file has
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        path = line.removesuffix("\n")
        resource.setrlimit(
            resource.RLIMIT_CPU, (int(cpu_seconds()) + SECONDS, resource.RLIM_INFINITY)
        )
        try:
            answer: object = [
                _described(name, tensor)
                for root in _roots(Path(path))
                for name, tensor in _tensors(root)
            ]
        except Exception as error:  # whatever it raises, it has not read it
            answer = f"{type(error).__name__}: {error}"[:200]
        print(json.dumps(answer), flush=True)


def _roots(path: Path) -> Iterator[object]:
    """What is loaded of a path: of a folder a dict of the model, and one of the adapter on it."""
    if not path.is_dir():
        yield _loaded(path)
        return
    require_agreement(path)
    for files in loaded(path):
        held: dict[str, object] = {}
        for file in files:
            held.update(_loaded(file))
        yield held


def _loaded(path: Path) -> dict[str, object]:
    import torch as library
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    root: dict[str, object] = library.load(path, weights_only=True, map_location="cpu")
    return root


def _tensors(root: object) -> Iterator[tuple[str, object]]:
    """Every tensor in what was loaded, wherever it lies, with its keys."""
    import torch as library

    seen: set[int] = set()
    todo: list[tuple[str, object]] = [("", root)]
    while todo:
        name, node = todo.pop()
        if isinstance(node, library.storage.TypedStorage):
            node = library.empty(0, dtype=node.dtype).set_(node._untyped_storage)
        if isinstance(node, library.Tensor):
            yield name, node
        if id(node) in seen:
            continue
        seen.add(id(node))
        within: list[tuple[object, object]] = [*getattr(node, "__dict__", {}).items()]
        if isinstance(node, dict):
            within += [*node.items(), *(("key", key) for key in node)]
        elif isinstance(node, list | tuple | set | frozenset):
            within += enumerate(node)
        todo += [(f"{name}.{key}" if name else str(key), child) for key, child in within]


def _described(name: str, tensor: object) -> Held:
    import torch as library

    assert isinstance(tensor, library.Tensor)
    plain = tensor.layout is library.strided and not (
        tensor.is_quantized or tensor.is_nested or tensor.is_meta or tensor.numel() > MAX_NUMEL
    )
    content = None
    if plain:
        flat = tensor.detach().resolve_neg().resolve_conj().contiguous().reshape(-1)
        content = digest(bytes(flat.view(library.uint8).numpy()) if flat.numel() else b"")
    shape = () if tensor.is_nested else (*tensor.shape,)
    if tensor.dtype is library.float4_e2m1fn_x2 and shape:  # torch counts pairs, and we each
        shape = (*shape[:-1], 2 * shape[-1])
    printable = name.encode("utf-8", "backslashreplace").decode()
    return Held(printable, str(tensor.dtype).removeprefix("torch."), shape, content)


class Library:
    """The process that loads files, started again where one of them ended it."""

    def __init__(self) -> None:
        self.process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).parent,
        )

    def load(self, path: Path) -> list[Held] | str | None:
        """What it has of a file, why it refuses it, or None where it died of it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{path}\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.close()
            self.process = self._start()
            return None
        answer = json.loads(line)
        if isinstance(answer, str):
            return answer
        return [Held(name, dtype, (*shape,), content) for name, dtype, shape, content in answer]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def __enter__(self) -> "Library":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def compared(case: Case, folder: Path, library: Library) -> tuple[str, str]:
    """One of WORDS, and what differs. The files are written into an empty folder, and are gone
    afterwards."""
    path = case.write(folder)
    if case.kind != "folders":
        [target] = [name for name in case.files if name == "optimizer.pt"] or [*case.files]
        path = folder / target
    try:
        here = ours(path)
    except (CheckpointError, UsageError):
        return "refused", ""
    else:
        there = library.load(path)
    finally:
        for name in case.files:
            (folder / name).unlink()
    if there is None:
        return "theirs died", ""
    if isinstance(there, str):
        is_table_wrong = there.startswith("AssertionError: the table")
        return ("differs", there) if is_table_wrong else ("theirs refuses", "")
    said = difference(here, there)
    return ("differs", said) if said else ("same", "")


def difference(here: list[Held], there: list[Held]) -> str:
    """What the library has and we do not, or the other way round; one of ours that is not measured
    stands for any of its shape. Empty where there is nothing."""
    known = {(one.dtype, one.shape, one.digest) for one in here if one.digest is not None}
    unmeasured = {one.shape for one in here if one.digest is None}
    for one in there:
        if (one.dtype, one.shape, one.digest) not in known and one.shape not in unmeasured:
            return f"theirs: {one}; ours: {here}"
    loaded = {(one.dtype, one.shape, one.digest) for one in there}
    for one in here:
        if one.digest is not None and (one.dtype, one.shape, one.digest) not in loaded:
            return f"ours: {one}; theirs: {there}"
    names = Counter(one.name for one in there)
    by_name = {one.name: one for one in there if names[one.name] == 1}
    for one in here:
        other = by_name.get(one.name, one)
        if one.digest is not None and one[1:] != other[1:]:
            return f"under one name: {one}; theirs: {other}"
    return ""


def damaged(kind: str, seed: int, number: int) -> Case:
    """One in four with any damage, the others with damage to their structure; or a folder."""
    if kind == "folders":
        return drawn(seed, number)
    return (mutated if number % 4 == 0 else restructured)(kind, seed, number)


def inputs(kinds: list[str], first: int, count: int) -> Iterator[tuple[str, int]]:
    """So many inputs, of each kind its share."""
    row = [kind for kind in kinds for _ in range(KINDS[kind])]
    numbers = dict.fromkeys(kinds, first)
    for place in range(count):
        kind = row[place % len(row)]
        yield kind, numbers[kind]
        numbers[kind] += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=IN_TESTS, help="inputs in all")
    parser.add_argument("--first", type=int, default=0, help="number of the first of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=[*KINDS], help="inputs of one kind only")
    parser.add_argument("--keep", type=Path, help="a folder for inputs that differ")
    asked = parser.parse_args()
    if asked.serve:
        serve()
        return 0
    kinds = [asked.kind] if asked.kind else [*KINDS]
    tallies: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    with Library() as library, tempfile.TemporaryDirectory() as folder:
        for kind, number in inputs(kinds, asked.first, asked.count):
            case = damaged(kind, asked.seed, number)
            word, said = compared(case, Path(folder), library)
            tallies[kind][word] += 1
            if word == "differs":
                print(f"--kind {kind} --seed {asked.seed} --first {number} --count 1: {said:.600}")
                if asked.keep:
                    place = asked.keep / f"{kind}-{asked.seed}-{number}"
                    place.mkdir(parents=True, exist_ok=True)
                    case.write(place)
    rows = [
        [kind, tally.total(), *(tally[word] for word in WORDS)] for kind, tally in tallies.items()
    ]
    rows.append(["all", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True))])
    print(tabulate(rows, ["kind", "inputs", *WORDS], disable_numparse=True))
    return 1 if any(tally["differs"] for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
