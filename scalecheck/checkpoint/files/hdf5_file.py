"""What an HDF5 file holds: its datasets, by the h5py library. What lies in the file as it is, is
read by its place there; what is compressed or in chunks, by the library."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scalecheck.checkpoint.files.extras import library
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pieces import flat_boxes
from scalecheck.checkpoint.source import FileSource, Readers, Source
from scalecheck.checkpoint.swapped import SwappedSource
from scalecheck.checkpoint.tensor import MAX_NAME, Tensor
from scalecheck.dtypes import BY_NUMPY_CODE, DTYPES, DType
from scalecheck.errors import CheckpointError
from scalecheck.report.formatting import excerpt

MAX_OBJECTS = 1 << 20
MAX_DEPTH = 64
MAX_CHUNK_NBYTES = 1 << 30
_CACHE_NBYTES = 64 << 20  # of chunks that were unpacked: a row of them, as a rule

_DAMAGES = (OSError, RuntimeError, ValueError, TypeError, KeyError)  # as h5py says of a file
# What Keras and ml_dtypes write as opaque bytes, by the attribute that says which.
_OPAQUE = {
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}


@dataclass(frozen=True)
class Hdf5Place:
    """Where an HDF5 file lies: a file, or a stretch of one."""

    source: FileSource
    start: int
    nbytes: int


class _Stretch(io.RawIOBase):
    """A stretch of a file, as h5py reads one."""

    def __init__(self, place: Hdf5Place) -> None:
        super().__init__()
        self._place = place
        self._reader = place.source.open()
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._place.nbytes}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), max(0, self._place.nbytes - self._at))
        if count:  # else it may lie further than any file reaches
            self._reader.fill(self._place.start + self._at, memoryview(buffer)[:count])
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            self._reader.close()
        super().close()


@contextmanager
def opened(place: Hdf5Place, **options: Any) -> Iterator[Any]:
    """The h5py file at a place. Raises CheckpointError where it is damaged, or h5py lacks."""
    h5py = library("h5py", place.source.path, "an HDF5 file")
    with _Stretch(place) as stretch:
        try:
            with h5py.File(stretch, "r", **options) as file:
                yield file
        except _DAMAGES as error:
            raise CheckpointError(place.source.path, f"is damaged: {_words(error)}") from error


def tensors(place: Hdf5Place, file: Any) -> Iterator[Tensor]:
    """The datasets of an open file by their paths, in the order of the file. A dataset that is
    reached a second time is tied to the first; what cannot be read says why. Raises Malformed."""
    first: dict[int, str] = {}
    groups: set[int] = set()
    count = 0
    stack: list[tuple[str, Any, int]] = [("", file, 0)]
    while stack:
        path, node, depth = stack.pop()
        count += 1
        if count > MAX_OBJECTS or depth > MAX_DEPTH:
            raise Malformed(
                f"holds more than {MAX_OBJECTS} objects, or nests deeper than {MAX_DEPTH}"
            )
        if len(path) > MAX_NAME:
            raise Malformed(f"holds a dataset with a name of {len(path)} characters")
        if isinstance(node, str):
            yield _unread(path, place, node)
            continue
        address = _address(node)
        if hasattr(node, "shape"):
            tied_to = first.setdefault(address, path)
            yield _tensor(path, node, place, None if tied_to == path else tied_to)
        elif hasattr(node, "keys") and address not in groups:
            groups.add(address)
            below = [(f"{path}/{key}".lstrip("/"), *_child(node, key)) for key in node]
            stack += [(name, child, depth + 1) for name, child in reversed(below)]


def attribute(node: Any, name: str) -> str | None:
    """An attribute that is text; None where it is none, or there is none."""
    try:
        found = node.attrs.get(name)
    except _DAMAGES:
        return None
    if isinstance(found, bytes):
        found = found.decode("utf-8", "replace")
    return found if isinstance(found, str) else None


def parsed_attribute(node: Any, name: str) -> Any:
    """An attribute that is JSON, parsed; None where it is none."""
    try:
        return json.loads(attribute(node, name) or "null")
    except (ValueError, RecursionError):
        return None


def _child(group: Any, key: str) -> tuple[Any]:
    """What a group holds under a key, or why it is not read."""
    try:
        link = group.get(key, getlink=True)
        if type(link).__name__ == "ExternalLink":
            return (f"is a link to {excerpt(str(link.filename))}, and links are not followed",)
        return (group[key],)
    except _DAMAGES as error:
        return (f"cannot be read: {_words(error)}",)


def _address(node: Any) -> int:
    from importlib import import_module

    info = import_module("h5py").h5o.get_info(node.id)
    return int(info.addr)


def _unread(name: str, place: Hdf5Place, reason: str) -> Tensor:
    dtype = DType("unknown", 8, "other", None, unmeasured=reason)
    return Tensor(name, dtype, (), place.source, 0, unmeasured=reason, stored_nbytes=0)


def _tensor(name: str, dataset: Any, place: Hdf5Place, tied_to: str | None) -> Tensor:
    """The tensor of a dataset. Raises Malformed where it does not lie in the file."""
    if dataset.shape is None:
        return _unread(name, place, "is an empty dataset, without a shape")
    shape = tuple(int(size) for size in dataset.shape)
    word = _OPAQUE.get(attribute(dataset, "dtype") or "")
    kind = dataset.dtype.str[1:]
    if word is not None and dataset.dtype.kind == "V" and dataset.dtype.fields is None:
        dtype = DTYPES[word]
    elif dataset.dtype.kind in "fiub" and kind in BY_NUMPY_CODE:
        dtype = DTYPES[BY_NUMPY_CODE[kind]]
    else:
        return _unread(
            name, place, f"holds {excerpt(str(dataset.dtype), 60)}, which are no numbers"
        )
    if dtype.itemsize != dataset.dtype.itemsize:
        return _unread(name, place, f"says {dtype.name} of {dataset.dtype.itemsize} bytes a number")
    problem = _refused(dataset)
    if problem is not None:
        return Tensor(name, dtype, shape, place.source, 0, tied_to=tied_to, unmeasured=problem)
    offset = dataset.id.get_offset() if dataset.chunks is None else None
    if offset is None or not dataset.size:
        made = DatasetSource(place, name, shape, dtype.itemsize)
        return Tensor(name, dtype, shape, made, 0, tied_to=tied_to)
    nbytes = dataset.size * dtype.itemsize
    if offset + nbytes > place.nbytes:
        raise Malformed(
            f"{excerpt(name)}: bytes {offset}..{offset + nbytes} do not lie in the {place.nbytes}"
            " of the file"
        )
    at = place.start + offset
    source: Source = place.source
    if dataset.dtype.byteorder == ">" and dtype.itemsize > 1:
        source, at = SwappedSource(place.source, at, nbytes, dtype.itemsize), 0
    return Tensor(name, dtype, shape, source, at, tied_to=tied_to)


def _refused(dataset: Any) -> str | None:
    """Why a dataset is not read though its type is known."""
    if dataset.is_virtual:
        return "is a virtual dataset, of other files, and links are not followed"
    if dataset.external:
        return f"lies in {excerpt(str(dataset.external[0][0]))}, and links are not followed"
    if dataset.chunks is not None:
        nbytes = int(np.prod(dataset.chunks, dtype=object)) * dataset.dtype.itemsize
        if nbytes > MAX_CHUNK_NBYTES:
            return f"has chunks of {nbytes} bytes, the limit is {MAX_CHUNK_NBYTES}"
    return None


def _words(error: Exception) -> str:
    """What h5py says of a problem, in one line."""
    return excerpt(str(error).strip("'\"").partition("\n")[0])


@dataclass(frozen=True, eq=False)
class DatasetSource:
    """The elements of a dataset in row-major order, as h5py unpacks them."""

    place: Hdf5Place
    name: str
    shape: tuple[int, ...]
    itemsize: int

    @property
    def path(self) -> Path:
        return self.place.source.path

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=object)) * self.itemsize

    def open(self, readers: Readers) -> "DatasetReader":
        return DatasetReader(self)


class DatasetReader:
    """Reads stretches of a dataset, with the file open for as long."""

    has_file = True

    def __init__(self, source: DatasetSource) -> None:
        self._source = source
        self._context = opened(source.place, rdcc_nbytes=_CACHE_NBYTES)
        self._file = self._context.__enter__()

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fills the buffer from a byte offset. Raises CheckpointError."""
        size = self._source.itemsize
        words = np.frombuffer(buffer, f"<u{size}")
        start = offset // size
        try:
            dataset = self._file[self._source.name]
            order = ">" if dataset.dtype.byteorder == ">" else "<"
            for box in flat_boxes(self._source.shape, start, start + len(words)):
                where = tuple(slice(s, s + n) for s, n in zip(box.start, box.sizes, strict=True))
                found = np.ascontiguousarray(dataset[where]).reshape(-1)
                words[: len(found)] = found.view(f"{order}u{size}")
                words = words[len(found) :]
        except _DAMAGES as error:
            problem = f"{excerpt(self._source.name)}: cannot be read: {_words(error)}"
            raise CheckpointError(self._source.path, problem) from error

    def close(self) -> None:
        self._context.__exit__(None, None, None)
