"""What flax.serialization writes: a model's parameters, or the whole state of its training, as maps
in MessagePack. Arrays are read where they lie in the file."""

import math
from dataclasses import replace
from pathlib import Path

from scalecheck.checkpoint.arrays.array_tree import Leaf, checkpoint_of
from scalecheck.checkpoint.files.array_dtypes import named, unknown
from scalecheck.checkpoint.files.msgpack import Map, Node, Packed, starts_map, unpacked
from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.malformed import Malformed, content_of
from scalecheck.checkpoint.pieces import Piece, joined
from scalecheck.checkpoint.source import FileSource
from scalecheck.checkpoint.tensor import MAX_DIMENSIONS, MAX_NAME, Checkpoint, Tensor
from scalecheck.report.formatting import excerpt

CHUNKED = "__msgpack_chunked_array__"
"""The key by which flax marks an array that it cut into chunks, of a gibibyte each."""


def recognises(path: Path, head: bytes) -> Evidence:
    """A map whose first key is a text."""
    if starts_map(head):
        return Evidence.CONTENT
    return Evidence.NAME if head and path.suffix == ".msgpack" else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Lists the arrays, in the order of the file, under the path of keys to each.

    Raises CheckpointError where the file is damaged or holds no array.
    """
    source = FileSource.of(path)
    with content_of(path), source.open() as reader:
        root = unpacked(reader)
        if isinstance(root, Packed):
            root = {path.stem: root}
        if not isinstance(root, dict):
            raise Malformed("holds a single value and no array")
        return checkpoint_of(path, "flax-msgpack", _leaves(root, source))


def _leaves(root: Map, source: FileSource) -> list[Leaf]:
    """The arrays and numbers under a map. Raises Malformed."""
    leaves: list[Leaf] = []

    def add(keys: tuple[str, ...], node: Node) -> None:
        name = ".".join(keys)
        if len(name) > MAX_NAME:
            raise Malformed(f"{excerpt(name)}: a name of {len(name)} characters")
        if isinstance(node, Packed):
            leaves.append(Leaf(name, _tensor(name, node, source), keys))
        elif isinstance(node, dict) and CHUNKED in node:
            leaves.append(Leaf(name, _joined(name, node, source), keys))
        elif isinstance(node, dict):
            for key, inner in node.items():
                add((*keys, key), inner)
        else:
            leaves.append(Leaf(name, node, keys))

    add((), root)
    return leaves


def _tensor(name: str, packed: Packed, source: FileSource) -> Tensor:
    """An array where it lies. Raises Malformed where its bytes are not as many as it needs."""
    numel = math.prod(packed.shape)
    dtype = named(packed.dtype)
    if dtype is None or dtype.bits % 8:
        bits = 8 * packed.nbytes // max(1, numel)
        dtype = unknown(packed.dtype, bits)
    needs = numel * dtype.bits // 8
    if needs != packed.nbytes:
        shape = list(packed.shape)
        raise Malformed(f"{name}: {dtype.name} {shape} needs {needs} bytes, not {packed.nbytes}")
    return Tensor(name, dtype, packed.shape, source, packed.start, unmeasured=dtype.unmeasured)


def _joined(name: str, node: Map, source: FileSource) -> Tensor:
    """An array of chunks, which are flat. Raises Malformed."""
    shape, chunks = node.get("shape"), node.get("chunks")
    if not isinstance(shape, dict) or not isinstance(chunks, dict) or not chunks:
        raise Malformed(f"{name}: is cut into chunks and has no shape, or no chunk")
    sizes = [shape.get(str(axis)) for axis in range(len(shape))]
    whole = tuple(size for size in sizes if type(size) is int and size >= 0)
    pieces = []
    start = 0
    for number in range(len(chunks)):
        chunk = chunks.get(str(number))
        if not isinstance(chunk, Packed) or len(chunk.shape) != 1:
            raise Malformed(f"{name}: chunk {number} of {len(chunks)} is no flat array")
        pieces.append(Piece((start,), _tensor(f"{name} chunk {number}", chunk, source)))
        start += chunk.shape[0]
    if len(whole) != len(sizes) or len(whole) > MAX_DIMENSIONS or math.prod(whole) != start:
        raise Malformed(f"{name}: chunks of {start} elements are of shape {sizes}")
    flat = joined(name, (start,), pieces, source.path)
    return replace(flat, shape=whole)
