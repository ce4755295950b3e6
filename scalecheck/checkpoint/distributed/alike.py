"""Archives of one tensor that are alike: for two chunks of one type and shape torch writes the same
bytes but for the elements, checksums, and an identity made of these. What was found in one holds
for the other, so that of a tensor in a thousand files one archive is looked into."""

from dataclasses import dataclass
from typing import Self

from scalecheck.checkpoint.ahead import Ahead
from scalecheck.checkpoint.archive.zip import Zip
from scalecheck.checkpoint.source import SourceReader
from scalecheck.checkpoint.tensor import Tensor

_IDENTITY = ".data/serialization_id"
_CHECKSUM_NBYTES = 4


@dataclass(frozen=True, slots=True)
class End:
    """The bytes before or behind the elements: `nbytes` from a byte on, as a number, with the bits
    that may differ masked out."""

    at: int
    nbytes: int
    mask: int
    bits: int

    def is_in(self, ahead: Ahead, start: int) -> bool:
        """Whether an archive that starts at a byte of a file has it too."""
        found = ahead.read(start + self.at, self.nbytes)
        return int.from_bytes(found) & self.mask == self.bits


@dataclass(frozen=True, slots=True)
class Alike:
    """What archives have in common: the tensor, its offset from their start, and both ends."""

    tensor: Tensor
    head: End
    tail: End

    @classmethod
    def of(cls, archive: Zip, reader: SourceReader, tensor: Tensor) -> Self:
        """That of an archive with its tensor."""
        differing = [(at, _CHECKSUM_NBYTES) for at in archive.checksums()]
        for name in archive:
            if name.endswith(_IDENTITY) and (member := archive.find(name)) is not None:
                differing.append((archive.position(member), member.packed))
        last = tensor.offset + tensor.span * tensor.dtype.itemsize
        ends = []
        for first, stop in ((0, tensor.offset), (last, reader.source.nbytes)):
            mask, bits = bytearray(b"\xff") * (stop - first), bytearray(stop - first)
            for at, count in differing:
                if first <= at < stop:
                    mask[at - first : at - first + count] = bytes(count)
            reader.fill(first, memoryview(bits))
            whole = int.from_bytes(mask)
            ends.append(End(first, stop - first, whole, int.from_bytes(bits) & whole))
        return cls(tensor, *ends)

    def is_at(self, ahead: Ahead, start: int) -> bool:
        """Whether an archive of as many bytes is the same but for what may differ."""
        return self.head.is_in(ahead, start) and self.tail.is_in(ahead, start)
