"""Folders as torch.distributed.checkpoint writes them, made in memory: the bytes are the same in
every process, which torch's own are not, and every part of them can be altered."""

import io
import pathlib
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

Path = tuple[str | int, ...]


def saved(obj: object) -> bytes:
    """What torch.save writes."""
    stream = io.BytesIO()
    torch.save(obj, stream)
    return stream.getvalue()


@dataclass
class Folder:
    """A folder that is written: what its index will say, and the files of ranks."""

    entries: dict[str, object] = field(default_factory=dict)
    stored: dict[MetadataIndex, _StorageInfo] = field(default_factory=dict)
    paths: dict[str, Path] | None = field(default_factory=dict)
    data: dict[str, bytearray] = field(default_factory=dict)

    def add(self, path: Path, obj: object, ranks: int = 1, axis: int = 0) -> None:
        """Adds an object, a tensor in as many chunks as there are ranks."""
        name = ".".join(map(str, path))
        if self.paths is not None:
            self.paths[name] = path
        if not isinstance(obj, torch.Tensor):
            self.entries[name] = BytesStorageMetadata()
            self.put(MetadataIndex(name), 0, obj)
            return
        parts = torch.tensor_split(obj, ranks, axis) if obj.ndim and ranks > 1 else (obj,)
        properties = TensorProperties(dtype=obj.dtype)
        chunks: list[ChunkStorageMetadata] = []
        self.entries[name] = TensorStorageMetadata(properties, obj.shape, chunks)
        at = 0
        for rank, part in enumerate(parts):
            start = torch.Size(at if one == axis else 0 for one in range(obj.ndim))
            chunks.append(ChunkStorageMetadata(start, part.shape))
            if part.numel() or not obj.numel():
                self.put(MetadataIndex(name, start, rank), rank, part.clone())
            at += part.shape[axis] if obj.ndim else 0

    def put(self, index: MetadataIndex, rank: int, obj: object) -> None:
        """Writes an item to the file of a rank."""
        content, file = saved(obj), f"__{rank}_0.distcp"
        held = self.data.setdefault(file, bytearray())
        self.stored[index] = _StorageInfo(file, len(held), len(content))
        held += content

    @property
    def index(self) -> bytes:
        return pickle.dumps(Metadata(self.entries, self.paths, self.stored))

    def write(self, folder: pathlib.Path) -> None:
        """Writes the files into a folder."""
        for name, content in self.files.items():
            (folder / name).write_bytes(content)

    @property
    def files(self) -> dict[str, bytes]:
        """The files by name."""
        data = {name: bytes(content) for name, content in self.data.items()}
        return {**data, ".metadata": self.index}


def dcp_files(
    model: Mapping[str, torch.Tensor], ranks: int = 1, prefix: Sequence[str] = ()
) -> dict[str, bytes]:
    """A model of so many ranks, its names below a prefix."""
    folder = Folder()
    for name, tensor in model.items():
        folder.add((*prefix, name), tensor, ranks)
    return folder.files
