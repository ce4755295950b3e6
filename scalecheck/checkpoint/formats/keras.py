"""`.keras` files, Keras's zip archives of a configuration and the weights in HDF5: by the h5py
library."""

from pathlib import Path
from typing import Any

from scalecheck.checkpoint.archive.zip import Zip, first_name
from scalecheck.checkpoint.arrays.keras_state import (
    MAX_CONFIG_NBYTES,
    keras_checkpoint,
    layers_of,
    order_of_layers,
)
from scalecheck.checkpoint.files.hdf5_file import Hdf5Place, attribute, opened, tensors
from scalecheck.checkpoint.files.strict_json import parsed
from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.malformed import Malformed, content_of
from scalecheck.checkpoint.source import FileSource
from scalecheck.checkpoint.tensor import Checkpoint

WEIGHTS = "model.weights.h5"


def recognises(path: Path, head: bytes) -> Evidence:
    """A zip archive that starts as Keras's does."""
    if first_name(head) == "metadata.json":
        return Evidence.CONTENT
    return Evidence.NAME if path.suffix == ".keras" else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Lists the tensors of the weights in the archive. Raises CheckpointError."""
    source = FileSource.of(path)
    with content_of(path):
        with source.open() as reader:
            archive = Zip(reader)
            member = archive.find(WEIGHTS)
            if member is None:
                raise Malformed(f"is a Keras archive without {WEIGHTS}")
            if not member.is_stored:
                raise Malformed(f"has {WEIGHTS} compressed: unpack the archive, and name that file")
            place = Hdf5Place(source, archive.position(member), member.nbytes)
            config = _config(archive)
        with opened(place) as file:
            found = (*tensors(place, file),)
            names = {
                tensor.name.rpartition("/")[0]: attribute(file[tensor.name].parent, "name")
                for tensor in found
                if tensor.unmeasured is None
            }
    compiled = config.get("compile_config")
    optimizer = compiled.get("optimizer") if isinstance(compiled, dict) else None
    order = order_of_layers(found, names, layers_of(config))
    return keras_checkpoint(path, "keras", found, optimizer, order)


def _config(archive: Zip) -> dict[str, Any]:
    """The model's configuration; empty where it has none that can be read."""
    member = archive.find("config.json")
    if member is None:
        return {}
    try:
        config = parsed(bytearray(archive.content(member, MAX_CONFIG_NBYTES, 200)))
    except ValueError as error:
        raise Malformed(f"has a bad config.json: {error}") from error
    return config if isinstance(config, dict) else {}
