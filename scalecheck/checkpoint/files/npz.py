"""The arrays in a zip of NumPy's. Compressed ones are read as streams, so that memory does not grow
with them; what they cost is bounded by the file, which deflate can swell 1032 times and no more."""

from scalecheck.checkpoint.archive.zip import Member, Zip
from scalecheck.checkpoint.files.npy import array
from scalecheck.checkpoint.files.streams import Inflate, Parked, StreamSource
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.source import FileSource, Readers
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.report.formatting import excerpt

MAX_RATIO = (
    1032  # of a deflated stream: 258 bytes by a bit for their length and one for their place
)


def member_array(
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
