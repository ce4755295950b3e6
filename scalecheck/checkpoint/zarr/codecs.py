"""How the chunks of zarr arrays are compressed: which compressions are read, and by what."""

import bz2
import lzma
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.files.extras import library
from scalecheck.checkpoint.files.streams import Damaged, Decoder, Inflate, Unpacked, Whole, Zstd
from scalecheck.report.formatting import excerpt

MAX_WHOLE_NBYTES = 1 << 28  # of a chunk of a compression that has no stream
BZ2_NBYTES = 4 << 20  # what its decompressor takes
LZMA_NBYTES = 64 << 20

_STREAMS: Mapping[str, Callable[[], Decoder]] = {
    "gzip": lambda: Inflate(31),
    "zlib": lambda: Inflate(15),
    "bz2": lambda: Unpacked(bz2.BZ2Decompressor(), BZ2_NBYTES),
    "lzma": lambda: Unpacked(lzma.LZMADecompressor(memlimit=LZMA_NBYTES), LZMA_NBYTES),
}


def decoder_of(
    name: str, config: Mapping[str, Any], nbytes: int, path: Path
) -> Callable[[], Decoder] | str:
    """What makes a decoder of a compression, for chunks of so many bytes; where it is not read,
    the reason. Raises CheckpointError where it needs a library that is not installed."""
    name = name.removeprefix("numcodecs.")
    if name in _STREAMS:
        return _STREAMS[name]
    if name == "zstd":
        library("zstandard", path, "a zarr array compressed by zstd")
        return Zstd
    if name == "blosc" and nbytes <= MAX_WHOLE_NBYTES:
        library("tensorstore", path, "a zarr array compressed by blosc")
        return partial(Whole, nbytes, partial(_unblosc, nbytes))
    if name == "blosc":
        return (
            f"its chunks of {nbytes} bytes are compressed by blosc, the limit is {MAX_WHOLE_NBYTES}"
        )
    return f"its chunks are compressed by {excerpt(name, 40)}, which is not read"


def _unblosc(nbytes: int, packed: bytes) -> bytes:
    """What blosc packed, as TensorStore reads it: a chunk of a zarr array in memory."""
    import tensorstore

    if len(packed) < 16 or int.from_bytes(packed[4:8], "little") != nbytes:
        raise Damaged(f"no blosc of {nbytes} bytes")
    memory = {"driver": "memory"}
    metadata = {
        "zarr_format": 2,
        "shape": [nbytes],
        "chunks": [nbytes],
        "dtype": "|u1",
        "compressor": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 0},
        "fill_value": None,
        "filters": None,
        "order": "C",
    }
    context = tensorstore.Context()
    try:
        keys = tensorstore.KvStore.open(memory, context=context).result()
        spec = {"driver": "zarr", "kvstore": memory, "metadata": metadata}
        array = tensorstore.open(spec, create=True, context=context).result()
        keys.write("0", packed).result()
        return bytes(array.read().result().tobytes())
    except ValueError as error:
        raise Damaged(excerpt(str(error))) from error
