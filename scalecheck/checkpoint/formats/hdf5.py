"""HDF5 files, as Keras writes weights and whole models in `.h5`: by the h5py library."""

from pathlib import Path

from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.malformed import content_of
from scalecheck.checkpoint.source import FileSource
from scalecheck.checkpoint.tensor import Checkpoint

SIGNATURE = b"\x89HDF\r\n\x1a\n"


def recognises(path: Path, head: bytes) -> Evidence:
    """Its first eight bytes."""
    if head.startswith(SIGNATURE):
        return Evidence.CONTENT
    return Evidence.NAME if path.suffix in (".h5", ".hdf5") else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Lists the datasets of an HDF5 file. Raises CheckpointError."""
    from scalecheck.checkpoint.arrays.keras_state import keras_checkpoint, legacy_order
    from scalecheck.checkpoint.files.hdf5_file import Hdf5Place, opened, parsed_attribute, tensors

    source = FileSource.of(path)
    place = Hdf5Place(source, 0, source.nbytes)
    with content_of(path), opened(place) as file:
        found = (*tensors(place, file),)
        training = parsed_attribute(file, "training_config")
        order = legacy_order([tensor.name for tensor in found])
    config = training.get("optimizer_config") if isinstance(training, dict) else None
    return keras_checkpoint(path, "hdf5", found, config, order)
