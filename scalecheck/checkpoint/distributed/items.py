"""The items of a distributed checkpoint: each is a whole file of torch.save in a stretch of a
file of one rank."""

import math
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from scalecheck.checkpoint.ahead import Ahead
from scalecheck.checkpoint.archive.zip import Zip
from scalecheck.checkpoint.distributed.alike import Alike
from scalecheck.checkpoint.distributed.ends import EndsReader, read_ends, unpacked_ends
from scalecheck.checkpoint.distributed.index import Chunk, Stored
from scalecheck.checkpoint.files.extras import library
from scalecheck.checkpoint.formats.torch import Unpickled, check_overlap
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.mapped import mapped
from scalecheck.checkpoint.pickle.inert import Placeholder
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.pickle.torch_dtypes import dtype_of, itemsize_of
from scalecheck.checkpoint.pickle.torch_zip import read_archive
from scalecheck.checkpoint.pickle.unpickle import MAX_PICKLE_NBYTES
from scalecheck.checkpoint.source import FileSource, Readers, SliceSource, Source
from scalecheck.checkpoint.state_file import recorded
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.errors import CheckpointError
from scalecheck.report.formatting import excerpt

_FEW_NBYTES = 2048  # of an item whose bytes are looked up among those that were read before
_MAX_KEPT = 4096  # of these
_MOST_BESIDE = 1 << 20  # bytes of one that is compressed, beside its elements
_ZSTD = re.compile(r"stream\.zstd/1(\.\d+)*")
_MOST_AROUND = 1 << 14  # bytes of an archive beside the elements; real ones have some two thousand


class Items:
    """Reads the items of a folder. `missing` are the files that are not there."""

    def __init__(self, folder: Path, readers: Readers) -> None:
        self.folder = folder
        self.missing: dict[str, None] = {}
        self._readers = readers
        self._files: dict[str, FileSource] = {}
        self._ahead: Ahead
        self._last: Source | None = None  # the file that it reads
        self._alike: dict[str, Alike] = {}
        self._same: dict[bytes, object] = {}

    def is_there(self, stored: Stored) -> bool:
        """Whether the file of an item is there. Raises Malformed for one out of the folder."""
        if stored.file not in self._files and stored.file not in self.missing:
            path = self._path(stored.file)
            try:
                self._files[stored.file] = FileSource.of(path)
            except CheckpointError:
                if path.exists():
                    raise
                self.missing[stored.file] = None
        return stored.file in self._files

    def tensor(self, name: str, chunk: Chunk, dtype: str) -> Tensor:
        """The tensor of a chunk whose file is there. Raises Malformed, CheckpointError."""
        stored = chunk.stored
        source = self._source(stored)
        kind = f"{dtype} {chunk.sizes} {stored.nbytes}"
        known = self._alike.get(kind)
        is_plain = not stored.transforms
        ahead = self._ahead_in(source.file)
        if known is not None and is_plain and known.is_at(ahead, source.start):
            return _in_file(known.tensor, name, source)
        nbytes = math.prod(chunk.sizes) * itemsize_of(dtype)
        item, archive = self._opened(source, stored.transforms, 2 * nbytes + _MOST_BESIDE)
        root = item.root
        if not isinstance(root, TensorRecord):
            held = str(root) if isinstance(root, Placeholder) else f"a {type(root).__name__}"
            unmeasured = f"{held}, not a plain tensor"
            return Tensor(name, dtype_of(dtype), chunk.sizes, source, 0, unmeasured=unmeasured)
        if root.shape != chunk.sizes or root.dtype != dtype:
            raise Malformed(
                f"its item at byte {stored.offset} of {excerpt(stored.file)} is"
                f" {root.dtype} {list(root.shape)}, the index has {dtype} {list(chunk.sizes)}"
            )
        tensor = item.tensor(name, root)
        if tensor.unmeasured is None and is_plain and stored.nbytes - nbytes < _MOST_AROUND:
            if len(self._alike) == _MAX_KEPT:
                self._alike.clear()
            self._alike[kind] = Alike.of(archive, item.reader, tensor)
        return _in_file(tensor, name, source)

    def object(self, name: str, stored: Stored) -> object:
        """The object of an item whose file is there, its tensors by `recorded`. Raises Malformed,
        CheckpointError."""
        content = b""
        if stored.nbytes <= _FEW_NBYTES:
            content = self._content(stored)
            if content in self._same:
                return self._same[content]
        source = self._source(stored)
        item, _ = self._opened(source, stored.transforms, MAX_PICKLE_NBYTES)
        tensors: list[Tensor] = []

        def made(record: TensorRecord) -> TensorRecord:
            tensor = item.tensor(name, record)
            tensors.append(tensor)
            return recorded(_in_file(tensor, name, source))

        found = mapped(item.root, made)
        check_overlap(tensors)
        if content and not tensors and len(self._same) < _MAX_KEPT:
            self._same[content] = found
        return found

    def _ahead_in(self, file: Source) -> Ahead:
        if file is not self._last:
            self._last, readers = file, self._readers
            self._ahead = Ahead(lambda at, buffer: readers[file].fill(at, buffer), file.nbytes)
        return self._ahead

    def _content(self, stored: Stored) -> bytes:
        content = bytearray(stored.nbytes)
        source = self._source(stored)
        self._readers[source.file].fill(source.start, memoryview(content))
        return bytes(content)

    def _opened(
        self, source: SliceSource, transforms: Sequence[str], most: int
    ) -> tuple[Unpickled, Zip]:
        """An item, no longer than so many bytes where it is compressed."""
        try:
            reader = self._ends(source, transforms, most)
            archive = Zip(reader)
            return Unpickled(reader, read_archive(archive), self._readers), archive
        except Malformed as error:
            place = f"{excerpt(source.path.name)} at byte {source.start}"
            raise Malformed(f"its item in {place}: {error}") from error

    def _ends(self, source: SliceSource, transforms: Sequence[str], most: int) -> EndsReader:
        if not transforms:
            return read_ends(source, self._readers)
        if len(transforms) > 1 or not _ZSTD.fullmatch(transforms[0]):
            words = excerpt(", ".join(transforms))
            raise Malformed(f"was written through {words}, which is not read")
        library("zstandard", source.path, "an item compressed by stream.zstd")
        return unpacked_ends(source, most, self._readers)

    def _source(self, stored: Stored) -> SliceSource:
        file = self._files[stored.file]
        end = stored.offset + stored.nbytes
        if end > file.nbytes:
            raise Malformed(
                f"its item is bytes {stored.offset} to {end} of {excerpt(stored.file)},"
                f" which has {file.nbytes}"
            )
        return SliceSource(file, stored.offset, stored.nbytes)

    def _path(self, file: str) -> Path:
        """The path of a file that an index names. Raises Malformed where it leads out of the
        folder."""
        parts = PurePosixPath(file).parts
        is_inside = not (
            PurePosixPath(file).is_absolute()
            or PureWindowsPath(file).anchor
            or ".." in parts
            or "\\" in file
        )
        path = self.folder / file
        if is_inside and len(parts) > 1:
            is_inside = path.resolve().is_relative_to(self.folder.resolve())
        if not is_inside:
            raise Malformed(f"its item lies in {excerpt(file)}, outside of the folder")
        return path


def _in_file(tensor: Tensor, name: str, source: SliceSource) -> Tensor:
    """A tensor of an item, by its place in the file where it lies there as it is."""
    is_plain = isinstance(tensor.source, SliceSource)
    return Tensor(
        name,
        tensor.dtype,
        tensor.shape,
        source.file if is_plain else tensor.source,
        source.start + tensor.offset if is_plain else tensor.offset,
        tensor.strides,
        unmeasured=tensor.unmeasured,
        piece=tensor.piece,
        is_trained=tensor.is_trained,
    )
