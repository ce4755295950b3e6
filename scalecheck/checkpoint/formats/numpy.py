"""NumPy's arrays: one in a .npy file, called as the file is, or several in a zip, as np.savez,
np.savez_compressed and MLX's mx.savez write them. Compressed ones are read as streams, so that
memory does not grow with them; what they cost is bounded by the file, which deflate can swell 1032
times and no more."""

from pathlib import Path

from scalecheck.checkpoint.archive.zip import Member, Zip, first_name
from scalecheck.checkpoint.arrays.array_tree import Leaf, checkpoint_of
from scalecheck.checkpoint.files.npy import MAGIC, array
from scalecheck.checkpoint.files.streams import Inflate, Parked, StreamSource
from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.malformed import Malformed, content_of
from scalecheck.checkpoint.source import FileSource, Readers
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.report.formatting import excerpt, listed, plural

MAX_RATIO = (
    1032  # of a deflated stream: 258 bytes by a bit for their length and one for their place
)


def recognises(path: Path, head: bytes) -> Evidence:
    if head.startswith(MAGIC) or first_name(head).endswith(".npy"):
        return Evidence.CONTENT
    is_named = head and path.suffix in (".npy", ".npz")
    return Evidence.NAME if is_named else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Lists the arrays of a zip in the order of its directory, under the names of its members.

    Raises CheckpointError where the file is damaged or holds no array.
    """
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
            tensor = _array(member, archive, source, parked, readers)
            leaves.append(Leaf(tensor.name, tensor))
        if not leaves:
            beside = f": {listed(others)}" if others else ""
            raise Malformed(f"holds no array and {plural(len(others), 'other member')}{beside}")
        notes = [f"members not read, as they are no arrays: {listed(others)}"] if others else []
        return checkpoint_of(path, "npz", leaves, notes)


def _array(
    member: Member, archive: Zip, source: FileSource, parked: Parked, readers: Readers
) -> Tensor:
    """The array in a member. Raises Malformed."""
    name = member.name.removesuffix(".npy")
    at = archive.position(member)
    try:
        if member.is_stored:
            return array(name, source, at, member.nbytes, readers)
        if member.nbytes > MAX_RATIO * member.packed:
            raise Malformed(
                f"{member.nbytes} bytes packed into {member.packed}, and deflate packs"
                f" {MAX_RATIO} times at most"
            )
        stream = StreamSource(
            source,
            at,
            member.packed,
            member.nbytes,
            _inflate,
            parked,
            f"member {excerpt(member.name)}",
            member.checksum,
        )
        return array(name, stream, 0, member.nbytes, readers)
    except Malformed as error:
        raise Malformed(f"{excerpt(name)}: {error}") from error


def _inflate() -> Inflate:
    return Inflate(-15)  # a bare stream, of the largest window
