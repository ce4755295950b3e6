"""The array in a .npy file, or in a member of a .npz: its header is a literal of Python, and its
elements follow it."""

import ast
import math
import re
import struct
import warnings
from typing import NamedTuple

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.source import Readers, Source
from scalecheck.checkpoint.swapped import SwappedSource
from scalecheck.checkpoint.tensor import MAX_DIMENSIONS, MAX_NAME, Tensor
from scalecheck.dtypes import BY_NUMPY_CODE, DTYPES, DType
from scalecheck.report.formatting import excerpt

MAGIC = b"\x93NUMPY"
MAX_HEADER_NBYTES = 10_000  # numpy's own limit where it loads no pickle
MAX_NUMEL = 1 << 62

_TYPE = re.compile(r"([<>|=]?)([a-zA-Z?])(\d{0,9})(\[.*\])?")
_LONG = re.compile(r"(?<=\d)L(?=[,)])")  # integers as Python 2 wrote them
_WHY = {
    "O": "Python objects, kept as a pickle: not read",
    "S": "text",
    "a": "text",
    "U": "text",
    "M": "dates",
    "m": "durations",
    "f": "floats of a size that differs between machines",
    "c": "complex numbers of a size that differs between machines",
    "V": "bytes without a type: an 8-bit float or 4-bit integer of ml_dtypes, or raw data",
}


class Header(NamedTuple):
    """An array as its header tells it: the type, whether its bytes are in the other order, and at
    which byte its elements start."""

    dtype: DType
    is_swapped: bool
    is_fortran: bool
    shape: tuple[int, ...]
    start: int


def array(name: str, source: Source, offset: int, nbytes: int, readers: Readers) -> Tensor:
    """The array in so many bytes of a source. Raises Malformed where it is none, or where its
    elements take another number of bytes than are there."""
    header = _header(source, offset, nbytes, readers)
    dtype, shape = header.dtype, header.shape
    numel = math.prod(shape)
    if len(name) > MAX_NAME:
        raise Malformed(f"{excerpt(name)}: a name of {len(name)} characters")
    if numel > MAX_NUMEL:
        raise Malformed(f"has {numel} elements")
    start, has = offset + header.start, nbytes - header.start
    needs = numel * dtype.bits // 8
    is_pickle = dtype.name == "O"
    if has != needs and not is_pickle:
        raise Malformed(f"{dtype.name} {list(shape)} needs {needs} bytes and has {has}")
    if header.is_swapped and dtype.words and dtype.itemsize > 1 and numel:
        source, start = SwappedSource(source, start, needs, dtype.itemsize), 0
    strides = _fortran(shape) if header.is_fortran and numel > 1 else None
    stored = has if is_pickle else None
    return Tensor(
        name,
        dtype,
        shape,
        source,
        start,
        strides,
        unmeasured=dtype.unmeasured,
        stored_nbytes=stored,
    )


def _fortran(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The strides of an array whose first index runs fastest; None where that is row-major, too."""
    if sum(size > 1 for size in shape) < 2:
        return None
    return tuple(math.prod(shape[:axis]) if n > 1 else 0 for axis, n in enumerate(shape))


def _header(source: Source, offset: int, nbytes: int, readers: Readers) -> Header:
    """The header at an offset. Raises Malformed."""

    def read(at: int, count: int) -> bytes:
        if at + count > nbytes:
            raise Malformed(f"is truncated: {nbytes} bytes, its header ends at {at + count}")
        content = bytearray(count)
        readers[source].fill(offset + at, memoryview(content))
        return bytes(content)

    start = read(0, 8)
    version = start[6]
    if start[:6] != MAGIC:
        raise Malformed(f"is no NumPy array: it starts with {start!r}")
    if version not in (1, 2, 3):
        raise Malformed(f"is of version {version} of the format, and 1 to 3 are read")
    layout = struct.Struct("<H" if version == 1 else "<I")
    (length,) = layout.unpack(read(8, layout.size))
    if length > MAX_HEADER_NBYTES:
        raise Malformed(f"has a header of {length} bytes, the limit is {MAX_HEADER_NBYTES}")
    text = read(8 + layout.size, length)
    end = 8 + layout.size + length
    try:
        words = text.decode("utf-8" if version == 3 else "latin-1").strip()
    except UnicodeDecodeError as error:
        raise Malformed("has a header that is no text") from error
    return _parsed(_LONG.sub("", words), end)


def _parsed(words: str, end: int) -> Header:
    """The header in its words, which end at a byte. Raises Malformed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python does not know
            told = ast.literal_eval(words)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise Malformed(f"has a header that is no literal: {excerpt(words)}") from error
    if not isinstance(told, dict) or sorted(map(str, told)) != ["descr", "fortran_order", "shape"]:
        raise Malformed(f"has a header without its three entries: {excerpt(words)}")
    shape, is_fortran = told["shape"], told["fortran_order"]
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise Malformed(f"has a shape that is none: {excerpt(repr(shape))}")
    if len(shape) > MAX_DIMENSIONS:
        raise Malformed(f"has {len(shape)} dimensions, the limit is {MAX_DIMENSIONS}")
    if type(is_fortran) is not bool:
        raise Malformed(f"has a fortran_order that is {excerpt(repr(is_fortran))}")
    dtype, is_swapped = dtype_of(told["descr"])
    return Header(dtype, is_swapped, is_fortran, shape, end)


def dtype_of(description: object) -> tuple[DType, bool]:
    """The type that numpy describes so, and whether the highest byte of a word stands first. Raises
    Malformed where it is none.

    Two bytes without a type are bfloat16: it is the one type of that size that ml_dtypes adds, and
    numpy keeps the sizes of added types alone.
    """
    if isinstance(description, list):
        return _structured(description), False
    matched = _TYPE.fullmatch(description) if isinstance(description, str) else None
    if matched is None:
        raise Malformed(f"has a type that is none: {excerpt(repr(description))}")
    order, kind, size = matched[1], matched[2], matched[3]
    name = BY_NUMPY_CODE.get(kind + size)
    if name is not None:
        return DTYPES[name], order == ">"
    if kind not in _WHY:
        raise Malformed(f"has a type that is not known: {excerpt(matched[0])}")
    bits = 64 if kind in "Mm" else 8 * int(size or 0) * (4 if kind == "U" else 1)
    label = kind + size if kind not in "Mm" else f"{kind}8"
    return DType(label, bits, "other", None, unmeasured=_WHY[kind]), False


def _structured(fields: list[object]) -> DType:
    """The type of records. Raises Malformed."""
    bits, names = _fields(fields, 8)
    why = f"records of {len(names)} fields: {excerpt(', '.join(names))}"
    return DType("record", bits, "other", None, unmeasured=why)


def _fields(fields: list[object], deeper: int) -> tuple[int, list[str]]:
    """The bits of a record of some fields, and their names."""
    bits, names = 0, []
    for field in fields:
        if not isinstance(field, tuple) or len(field) not in (2, 3) or not deeper:
            raise Malformed(f"has a field that is none: {excerpt(repr(field))}")
        label, kind, *shape = field
        inner = _fields(kind, deeper - 1)[0] if isinstance(kind, list) else dtype_of(kind)[0].bits
        sizes = shape[0] if shape else ()
        sizes = sizes if isinstance(sizes, tuple) else (sizes,)
        if not all(type(size) is int and size >= 0 for size in sizes):
            raise Malformed(f"has a field that is none: {excerpt(repr(field))}")
        bits += inner * math.prod(sizes)
        names.append(str(label[-1] if isinstance(label, tuple) and label else label))
    return bits, names
