"""The metadata of a zarr array, of version 2 and 3: its shape and type, how it is cut into chunks,
and how a chunk is made into bytes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalecheck.checkpoint.files.array_dtypes import named, unknown
from scalecheck.checkpoint.files.npy import MAX_NUMEL, dtype_of
from scalecheck.checkpoint.files.strict_json import parsed
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.tensor import MAX_DIMENSIONS
from scalecheck.dtypes import DType
from scalecheck.report.formatting import excerpt

MAX_CODECS = 8  # of a chunk; real ones have two or three

Shape = tuple[int, ...]
Codec = tuple[str, Mapping[str, Any]]
"""The name of a compression, and its settings."""


@dataclass(frozen=True)
class Chunk:
    """How a chunk of a shape is kept. order: its axes as they are stored, the last fastest.
    is_swapped: the highest byte of a word stands first. packed: the compressions, in the order in
    which they were applied. shard: how each of the smaller chunks is kept that it consists of, and
    `index` how their places are. unread: why it cannot be read."""

    shape: Shape
    order: Shape
    is_swapped: bool = False
    packed: tuple[Codec, ...] = ()
    shard: "Chunk | None" = None
    index: "Chunk | None" = None
    is_index_first: bool = False
    unread: str | None = None


@dataclass(frozen=True)
class ArrayMetadata:
    """An array. key: that of the chunk at an index of the grid. fill: the number that stands for
    what was never written; None where nothing does."""

    dtype: DType
    shape: Shape
    chunk: Chunk
    key: Callable[[Sequence[int]], str]
    fill: object

    @property
    def grid(self) -> Shape:
        """How many chunks there are along each dimension."""
        sizes = zip(self.shape, self.chunk.shape, strict=True)
        return tuple(-(-size // chunk) for size, chunk in sizes)


def metadata_of(text: bytearray, version: int) -> ArrayMetadata:
    """The metadata in a text. Raises Malformed."""
    try:
        told = parsed(text)
    except ValueError as error:
        raise Malformed(f"has bad metadata: {error}") from error
    if not isinstance(told, dict):
        raise Malformed("has metadata that are no object")
    if told.get("zarr_format") != version:
        found = excerpt(repr(told.get("zarr_format")))
        raise Malformed(f"has metadata of zarr_format {found}, not {version}")
    return _version_2(told) if version == 2 else _version_3(told)


def _version_2(told: Mapping[str, Any]) -> ArrayMetadata:
    shape, chunk = _shape(told.get("shape")), _chunk_shape(told.get("chunks"), told.get("shape"))
    description = told.get("dtype")
    if isinstance(description, list):
        description = [tuple(one) if isinstance(one, list) else one for one in description]
    known = named(description) if isinstance(description, str) else None
    dtype, is_swapped = (known, False) if known else _numpy_type(description)
    axes = tuple(range(len(shape)))
    order = told.get("order", "C")
    if order not in ("C", "F"):
        raise Malformed(f"has order {excerpt(repr(order))}, not C or F")
    packed: list[Codec] = []
    unread = None
    filters = told.get("filters") or []
    if not isinstance(filters, list) or len(filters) > MAX_CODECS:
        raise Malformed("has filters that are no short list")
    for codec in (*filters, *([told["compressor"]] if told.get("compressor") else [])):
        if not isinstance(codec, dict) or not isinstance(codec.get("id"), str):
            raise Malformed("has a compressor or filter without an id")
        packed.append((codec["id"], codec))
    if filters:
        unread = f"its chunks are filtered by {excerpt(packed[0][0], 40)}, which is not read"
    separator = _separator(told.get("dimension_separator", "."))
    order_of_axes = axes if order == "C" else axes[::-1]

    def key(index: Sequence[int]) -> str:
        return separator.join(map(str, index)) or "0"

    own = Chunk(chunk, order_of_axes, is_swapped, tuple(packed), unread=unread)
    return ArrayMetadata(dtype, shape, own, key, told.get("fill_value"))


def _numpy_type(description: object) -> tuple[DType, bool]:
    """The type of numpy's description, or one that is not known here."""
    try:
        return dtype_of(description)
    except Malformed:
        if not isinstance(description, str):
            raise
        return unknown(description, 8), False


def _version_3(told: Mapping[str, Any]) -> ArrayMetadata:
    shape = _shape(told.get("shape"))
    name = told.get("data_type")
    word = name if isinstance(name, str) else str(_name(name))
    dtype = named(word) or unknown(word, 8)
    grid, config = _named(told.get("chunk_grid"), "chunk_grid")
    if grid != "regular":
        raise Malformed(f"has chunk_grid {excerpt(grid)}, and regular ones are read")
    chunk = _chunk_shape(config.get("chunk_shape"), told.get("shape"))
    codecs = told.get("codecs")
    own = _chain(chunk, codecs, is_outer=True)
    encoding, config = _named(told.get("chunk_key_encoding"), "chunk_key_encoding")
    if encoding not in ("default", "v2"):
        raise Malformed(f"has chunk_key_encoding {excerpt(encoding)}, not default or v2")
    separator = _separator(config.get("separator", "/" if encoding == "default" else "."))
    start = "c" if encoding == "default" else ""

    def key(index: Sequence[int]) -> str:
        parts = [*([start] if start else []), *map(str, index)]
        return separator.join(parts) or "0"

    if unread := _storage_transformers(told):
        own = Chunk(own.shape, own.order, unread=unread)
    return ArrayMetadata(dtype, shape, own, key, told.get("fill_value"))


def _storage_transformers(told: Mapping[str, Any]) -> str | None:
    if told.get("storage_transformers"):
        return "its storage is transformed in a way that is not read"
    return None


def _chain(shape: Shape, codecs: object, *, is_outer: bool) -> Chunk:
    """How a chunk is kept by a list of codecs of version 3. Raises Malformed."""
    if not isinstance(codecs, list) or not 0 < len(codecs) <= MAX_CODECS:
        raise Malformed(f"has codecs that are no list of 1 to {MAX_CODECS}")
    order = tuple(range(len(shape)))
    is_bytes, is_swapped = False, False
    shard = index = None
    is_index_first = False
    packed: list[Codec] = []
    unread = None
    for codec in codecs:
        name, config = _named(codec, "codecs")
        if name == "transpose" and not is_bytes:
            order = _transposed(order, config.get("order"))
        elif name == "bytes" and not is_bytes:
            is_bytes = True
            is_swapped = config.get("endian") == "big"
        elif name == "sharding_indexed" and not is_bytes and is_outer:
            is_bytes = True
            inner = _chunk_shape(config.get("chunk_shape"), shape)
            if any(whole % part for whole, part in zip(shape, inner, strict=True)):
                raise Malformed(f"has shards of {list(shape)} cut into {list(inner)}")
            shard = _chain(inner, config.get("codecs"), is_outer=False)
            parts = tuple(whole // part for whole, part in zip(shape, inner, strict=True))
            index = _chain((*parts, 2), config.get("index_codecs"), is_outer=False)
            is_index_first = config.get("index_location") == "start"
            if order != tuple(range(len(shape))):
                unread = "its shards are transposed"
            unread = unread or shard.unread or index.unread
            if index.shard or any(one != "crc32c" for one, _ in index.packed):
                unread = unread or "the lists of its shards are compressed"
        elif is_bytes:
            packed.append((name, config))
        else:
            unread = f"its chunks are made by {excerpt(name, 40)}, which is not read"
            is_bytes = True
    if not is_bytes:
        raise Malformed("has codecs that make no bytes")
    if shard and packed:
        unread = unread or "its shards are compressed as a whole"
    return Chunk(shape, order, is_swapped, tuple(packed), shard, index, is_index_first, unread)


def _transposed(order: Shape, told: object) -> Shape:
    if told == "C":
        return order
    if told == "F":
        return order[::-1]
    if not isinstance(told, list) or sorted(map(repr, told)) != sorted(map(repr, order)):
        raise Malformed(f"has a transpose of order {excerpt(repr(told))}")
    return tuple(order[axis] for axis in told)


def _named(node: object, what: str) -> tuple[str, Mapping[str, Any]]:
    """The name and the configuration of an object. Raises Malformed."""
    if isinstance(node, str):
        return node, {}
    if not isinstance(node, dict) or not isinstance(node.get("name"), str):
        raise Malformed(f"has a {what} without a name")
    config = node.get("configuration", {})
    if not isinstance(config, dict):
        raise Malformed(f"has a {what} whose configuration is no object")
    return node["name"], config


def _name(node: object) -> str:
    return _named(node, "data_type")[0]


def _separator(told: object) -> str:
    if told not in (".", "/"):
        raise Malformed(f"has the separator {excerpt(repr(told))}, not . or /")
    return str(told)


def _shape(told: object) -> Shape:
    if not isinstance(told, list) or not all(type(n) is int and n >= 0 for n in told):
        raise Malformed(f"has a shape that is none: {excerpt(repr(told))}")
    if len(told) > MAX_DIMENSIONS:
        raise Malformed(f"has {len(told)} dimensions, the limit is {MAX_DIMENSIONS}")
    if math.prod(told) > MAX_NUMEL:
        raise Malformed(f"has {math.prod(told)} elements")
    return tuple(told)


def _chunk_shape(told: object, whole: object) -> Shape:
    shape = _shape(told)
    if 0 in shape or not isinstance(whole, (list, tuple)) or len(shape) != len(whole):
        raise Malformed(f"has chunks of {list(shape)}, which cut no array of its shape")
    return shape
