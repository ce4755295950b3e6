"""Tar archives that hold a torch file, as NeMo's .nemo: it is read in place. Of an archive that is
compressed with gzip stretches are unpacked as they are read."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

from scalecheck.checkpoint.archive.gzip import MAGIC, GzipSource, start_of
from scalecheck.checkpoint.archive.tar import BLOCK, Member, is_tar, members_of
from scalecheck.checkpoint.files.weight_files import is_weights, slice_of
from scalecheck.checkpoint.formats import torch
from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.formats.shard_index import join, renamed
from scalecheck.checkpoint.malformed import content_of
from scalecheck.checkpoint.pickle.torch_zip import read_zip
from scalecheck.checkpoint.source import FileSource, Readers, SliceReader, SliceSource, SourceReader
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import CheckpointError
from scalecheck.report.formatting import listed

_TORCH_TAR = {"sys_info", "pickle", "storages", "tensors"}  # torch.save's members until 2017
_DISTRIBUTED = re.compile(r"(?:(.*)/)?(?:\.metadata|[^/]+\.distcp|\.zarray|zarr\.json|\.zgroup)")
_ZIP = b"PK\x03\x04"
_RANK = "each tensor is a part of a larger one"


def recognises(path: Path, head: bytes) -> Evidence:
    """A tar archive, or a compressed one."""
    start = start_of(head, BLOCK) if head.startswith(MAGIC) else head
    return Evidence.CONTENT if is_tar(start) else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Lists the tensors of the torch file in an archive, or of those of tensor-parallel ranks.

    Raises CheckpointError where the archive is damaged or hostile, and where it holds no torch file
    or several.
    """
    with _opened(path) as archive:
        weights = archive.weights()
        parts = []
        for number, member in enumerate(weights):
            with archive.unpickled(member) as file:
                part = torch.listed_tensors(file)
            if len(weights) > 1:
                piece = f"slice {number} of {len(weights)}: {_RANK}"
                tensors = (replace(tensor, piece=tensor.piece or piece) for tensor in part.tensors)
                folder = member.name.rpartition("/")[0].rpartition("/")[2]
                part = renamed(replace(part, tensors=(*tensors,)), f"{folder}/")
            parts.append(part)
        read = {member.name for member in weights}
        others = [m.name for m in archive.members if m.name not in read and not m.is_folder]
    joined = join(path, parts)
    what = "nemo" if any(name.endswith("model_config.yaml") for name in others) else "tar"
    note = f"in the archive, not inspected: {listed(others)}"
    layout = (*joined.layout, *([note] if others else []))
    return replace(joined, format=f"{what}, {joined.format}", layout=layout)


def is_archived(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint was read of one torch file in an archive."""
    return checkpoint.format in ("nemo, torch-zip", "tar, torch-zip")


@contextmanager
def unpickled(path: Path) -> Iterator[torch.Unpickled]:
    """The only torch file of an archive, open. Raises CheckpointError as `load` does."""
    with _opened(path) as archive:
        weights = archive.weights()
        if len(weights) > 1:
            names = listed([member.name for member in weights])
            raise CheckpointError(path, f"holds {len(weights)} torch files: {names}", _unpack(path))
        with archive.unpickled(weights[0]) as file:
            yield file


@dataclass(frozen=True)
class _Archive:
    """An archive that is open."""

    reader: SourceReader
    members: Sequence[Member]
    readers: Readers

    @property
    def path(self) -> Path:
        return self.reader.source.path

    def weights(self) -> list[Member]:
        """The torch file, or one of each tensor-parallel rank. Raises CheckpointError."""
        files = [one for one in self.members if one.is_file]
        if {one.name for one in files} >= _TORCH_TAR - {"tensors"}:
            raise CheckpointError(
                self.path, "is a tar archive, as torch wrote them until 2017: not read"
            )
        found = [one for one in files if is_weights(one.name.rpartition("/")[2])]
        if not found and (folders := self.distributed()):
            problem = f"holds a distributed checkpoint in {listed(folders)}, not read in an archive"
            raise CheckpointError(self.path, problem, f"{_unpack(self.path)}, and name that folder")
        names = listed([one.name for one in found or self.members])
        if not found:
            links = [m for m in self.members if m.is_link and is_weights(m.name.rpartition("/")[2])]
            if links:
                problem = f"holds its weights as a link, which is not followed: {links[0].name}"
                raise CheckpointError(self.path, problem)
            problem = f"holds no weights in {len(self.members)} members"
            raise CheckpointError(self.path, f"{problem}: {names}" if names else problem)
        if len(found) > 1 and not _are_slices(found):
            problem = f"holds {len(found)} checkpoints: {names}"
            raise CheckpointError(self.path, problem, f"{_unpack(self.path)}, and name one")
        for one in found:
            start = bytearray(min(len(_ZIP), one.nbytes))
            self.reader.fill(one.start, memoryview(start))
            if start != _ZIP:
                problem = f"holds {one.name}, which is no zip of torch and is not read in place"
                raise CheckpointError(self.path, problem, f"{_unpack(self.path)}, and name it")
        return found

    def distributed(self) -> list[str]:
        """The folders with files of a distributed checkpoint."""
        found = (_DISTRIBUTED.fullmatch(one.name) for one in self.members)
        folders = ((match[1] or "").partition("/")[0] + "/" for match in found if match)
        return [*dict.fromkeys(folders)]

    @contextmanager
    def unpickled(self, member: Member) -> Iterator[torch.Unpickled]:
        source = SliceSource(self.reader.source, member.start, member.nbytes)
        with content_of(self.path):
            reader = SliceReader(source, self.readers)
            yield torch.Unpickled(reader, read_zip(reader), self.readers)


@contextmanager
def _opened(path: Path) -> Iterator[_Archive]:
    """An archive and its members; a Malformed of the body is a CheckpointError."""
    with content_of(path), Readers() as readers:
        file = FileSource.of(path)
        start = bytearray(min(len(MAGIC), file.nbytes))
        readers[file].fill(0, memoryview(start))
        source = GzipSource.of(path) if start == MAGIC else file
        reader = source.open(readers)
        try:
            yield _Archive(reader, members_of(reader), readers)
        finally:
            reader.close()


def _are_slices(members: Sequence[Member]) -> bool:
    """Whether each lies in the folder of a tensor-parallel rank, mp_rank_00/model_weights.ckpt."""
    folders = [slice_of(one.name.rpartition("/")[0].rpartition("/")[2]) for one in members]
    return None not in folders and len(set(folders)) == len(folders)


def _unpack(path: Path) -> str:
    return f"unpack it: tar -xf {quote(str(path))}"
