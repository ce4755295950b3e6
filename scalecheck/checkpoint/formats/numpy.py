"""NumPy's arrays: one in a .npy file, called as the file is, or several in a zip, as np.savez,
np.savez_compressed and MLX's mx.savez write them."""

from pathlib import Path

from scalecheck.checkpoint.archive.zip import Zip, first_name
from scalecheck.checkpoint.files.npy import MAGIC, array
from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.malformed import Malformed, content_of
from scalecheck.checkpoint.source import FileSource, Readers
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.report.formatting import excerpt, listed, plural


def recognises(path: Path, head: bytes) -> Evidence:
    if head.startswith(MAGIC) or first_name(head).endswith(".npy"):
        return Evidence.CONTENT
    is_named = head and path.suffix in (".npy", ".npz")
    return Evidence.NAME if is_named else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Lists the arrays of a zip in the order of its directory, under the names of its members.

    Raises CheckpointError where the file is damaged or holds no array.
    """
    from scalecheck.checkpoint.arrays.array_tree import Leaf, checkpoint_of
    from scalecheck.checkpoint.files.npz import member_array
    from scalecheck.checkpoint.files.streams import Parked

    source = FileSource.of(path)
    with content_of(path), source.open() as reader, Readers() as readers:
        head = bytearray(min(len(MAGIC), source.nbytes))
        reader.fill(0, memoryview(head))
        if head == MAGIC or path.suffix == ".npy":
            tensor = array(path.stem, source, 0, source.nbytes, readers)
            return Checkpoint(path, "npy", (tensor,))
        archive = Zip(reader, is_case_kept=True)
        parked = Parked()
        leaves, others = [], []
        for name in archive:
            if not name.endswith(".npy"):
                others.append(excerpt(name, 40))
                continue
            member = archive.find(name)
            assert member is not None
            tensor = member_array(member, archive, source, parked, readers)
            leaves.append(Leaf(tensor.name, tensor))
        if not leaves:
            beside = f": {listed(others)}" if others else ""
            raise Malformed(f"holds no array and {plural(len(others), 'other member')}{beside}")
        notes = [f"members not read, as they are no arrays: {listed(others)}"] if others else []
        return checkpoint_of(path, "npz", leaves, notes)
