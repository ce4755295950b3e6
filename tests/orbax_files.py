"""Zarr arrays and Orbax's checkpoints in the bytes of their files, made without either."""

import json
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import zstandard

Files = dict[str, bytes]


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(1).compress(content)


def _chunks(array: np.ndarray, size: Sequence[int]) -> dict[tuple[int, ...], np.ndarray]:
    """The chunks of an array by their index, those at its end filled up with zeros."""
    grid = [-(-n // chunk) for n, chunk in zip(array.shape, size, strict=True)]
    found = {}
    for index in product(*map(range, grid)):
        part = array[tuple(slice(i * n, (i + 1) * n) for i, n in zip(index, size, strict=True))]
        chunk = np.zeros(size, array.dtype)
        chunk[tuple(map(slice, part.shape))] = part
        found[index] = chunk
    return found


def zarr2(
    array: np.ndarray, chunks: Sequence[int] | None = None, dtype: str = "", **told: Any
) -> Files:
    """A zarr array of version 2, compressed by zstd. told: entries of its metadata."""
    chunks = array.shape if chunks is None else chunks
    pack: Mapping[str, Callable[[bytes], bytes]] = {"zstd": zstd, "zlib": zlib.compress}
    metadata = {
        "zarr_format": 2,
        "shape": list(array.shape),
        "chunks": list(chunks),
        "dtype": dtype or array.dtype.str,
        "compressor": {"id": "zstd", "level": 1},
        "fill_value": None,
        "filters": None,
        "order": "C",
        "dimension_separator": ".",
    } | told
    compressor = metadata["compressor"]
    packed = pack[compressor["id"]] if compressor else bytes
    order = metadata["order"]
    files = {
        ".".join(map(str, index)) or "0": packed(chunk.tobytes(order))
        for index, chunk in _chunks(array, chunks).items()
    }
    return {".zarray": json.dumps(metadata).encode(), **files}


def zarr3(
    array: np.ndarray,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    dtype: str = "",
    **told: Any,
) -> Files:
    """A zarr array of version 3, its chunks compressed by zstd, in shards where these are given."""
    chunks = array.shape if chunks is None else chunks
    own: list[dict[str, Any]] = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "zstd", "configuration": {"level": 1, "checksum": False}},
    ]
    codecs = own
    if shards is not None:
        index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        inner = {"chunk_shape": list(chunks), "codecs": own, "index_codecs": index}
        codecs = [{"name": "sharding_indexed", "configuration": inner}]
    outer = chunks if shards is None else shards
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(array.shape),
        "data_type": dtype or array.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(outer)}},
        "chunk_key_encoding": {"name": "default"},
        "codecs": codecs,
        "fill_value": 0,
    } | told
    files = {}
    for index, chunk in _chunks(array, outer).items():
        packed = zstd(chunk.tobytes()) if shards is None else _shard(chunk, chunks)
        files["/".join(["c", *map(str, index)])] = packed
    return {"zarr.json": json.dumps(metadata).encode(), **files}


def _shard(chunk: np.ndarray, size: Sequence[int]) -> bytes:
    """The chunks of a shard and the list of their places, without its checksum's right value."""
    content, places = b"", b""
    for inner in _chunks(chunk, size).values():
        packed = zstd(inner.tobytes())
        places += struct.pack("<2Q", len(content), len(packed))
        content += packed
    return content + places + bytes(4)


def under(name: str, files: Mapping[str, bytes]) -> Files:
    return {f"{name}/{file}": content for file, content in files.items()}


def tree_metadata(keys: Sequence[Sequence[str]], **told: Any) -> bytes:
    """Orbax's _METADATA of arrays by the keys that lead to them."""
    tree = {
        str(tuple(path)): {
            "key_metadata": [{"key": key, "key_type": 1 + (not key.isdigit())} for key in path],
            "value_metadata": {"value_type": "jax.Array", "skip_deserialize": False},
        }
        for path in keys
    }
    whole = {"store_array_data_equal_to_fill_value": True} | told
    return json.dumps({"tree_metadata": tree, **whole}).encode()


def orbax(arrays: Mapping[str, Files], *, is_ocdbt: bool = False, **told: Any) -> Files:
    """The folder of an item. arrays: the files of each by its name with dots."""
    metadata = tree_metadata([name.split(".") for name in arrays], **told)
    values = {k: v for name, files in arrays.items() for k, v in under(name, files).items()}
    return {"_METADATA": metadata, **(ocdbt(values) if is_ocdbt else values)}


# OCDBT.


def varint(number: int) -> bytes:
    found = b""
    while number >= 0x80:
        found += bytes([number & 0x7F | 0x80])
        number >>= 7
    return found + bytes([number])


def varints(numbers: Sequence[int]) -> bytes:
    return b"".join(map(varint, numbers))


def node(body: bytes, magic: int = 0x0CDB20DE, compression: int = 1) -> bytes:
    """A node around a body; its checksum is no right one."""
    packed = zstd(body) if compression else body
    head = bytes([0, compression])
    length = 4 + 8 + len(head) + len(packed) + 4
    return struct.pack(">I", magic) + struct.pack("<Q", length) + head + packed + bytes(4)


def file_table(names: Sequence[str]) -> bytes:
    encoded = [name.encode() for name in names]
    lengths = varints([0] * max(0, len(names) - 1)) + varints([*map(len, encoded)])
    return varint(len(names)) + lengths + varints([0] * len(names)) + b"".join(encoded)


def names_of(keys: Sequence[str], more: bytes = b"") -> bytes:
    """The keys of a node without a common start."""
    encoded = [key.encode() for key in keys]
    lengths = varints([0] * max(0, len(keys) - 1)) + varints([*map(len, encoded)])
    return lengths + more + b"".join(encoded)


def leaf(
    values: Mapping[str, bytes], start: int = 0, most_inline: int = 100
) -> tuple[bytes, bytes]:
    """A leaf, and the bytes of its large values, which lie in d/data from a start on."""
    apart = [len(value) > most_inline for value in values.values()]
    data, offsets = b"", []
    for value, is_apart in zip(values.values(), apart, strict=True):
        if is_apart:
            offsets.append(start + len(data))
            data += value
    inline = b"".join(v for v, is_apart in zip(values.values(), apart, strict=True) if not is_apart)
    body = bytes([0]) + file_table(["d/data"]) + varint(len(values)) + names_of([*values])
    body += varints([len(value) for value in values.values()]) + varints([*map(int, apart)])
    return body + varints([0] * len(offsets)) + varints(offsets) + inline, data


def manifest(offset: int, nbytes: int, height: int = 0, file: str = "d/data") -> bytes:
    body = bytes(16) + varints([0, 100, 1 << 20]) + bytes([4]) + varint(1) + struct.pack("<i", 0)
    body += file_table([file]) + varints([1, 1]) + bytes([height])
    body += varints([0, offset, nbytes, 1, 1, 1]) + struct.pack("<Q", 0)
    return node(body + varint(0), 0x0CDB3A2A)


def ocdbt(values: Mapping[str, bytes]) -> Files:
    """A database of two leaves under one root."""
    ordered = dict(sorted(values.items()))
    keys = [*ordered]
    halves = [keys[: len(keys) // 2], keys[len(keys) // 2 :]]
    content = b""
    children = []
    for half in filter(None, halves):
        body, data = leaf({key: ordered[key] for key in half}, len(content))
        content += data
        written = node(body)
        children.append((half[0], len(content), len(written)))
        content += written
    body = bytes([1]) + file_table(["d/data"]) + varint(len(children))
    body += names_of([key for key, _, _ in children], varints([0] * len(children)))
    body += varints([0] * len(children)) + varints([at for _, at, _ in children])
    body += varints([n for _, _, n in children]) + varints([0] * 3 * len(children))
    root = node(body)
    return {
        "manifest.ocdbt": manifest(len(content), len(root), 1),
        "d/data": content + root,
    }
