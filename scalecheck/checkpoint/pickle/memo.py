"""What a pickle keeps to recall: by places that count up, as picklers have them, and by any others
that a file may choose."""

from scalecheck.checkpoint.malformed import Malformed

_PLACE_NBYTES = 16  # of an entry in a list that grows
_FAR_NBYTES = 150  # of one in a dict, and the text of its number


class Memo:
    """Objects by their indexes. Those past the end of the list go by their texts: Python hashes a
    text with a secret of the process, and an integer as it is. What reads `near` itself finds all
    there where `far` is empty."""

    def __init__(self) -> None:
        self.near: list[object] = []
        self.far: dict[str, object] = {}

    @property
    def nbytes(self) -> int:
        """What its places take, beside the objects."""
        return _PLACE_NBYTES * len(self.near) + _FAR_NBYTES * len(self.far)

    def add(self, kept: object) -> None:
        """Keeps an object under the next index, as `put` does."""
        if self.far:
            self.put(len(self.near) + len(self.far), kept)
        else:
            self.near.append(kept)

    def put(self, index: int, kept: object) -> None:
        """Keeps an object. Raises Malformed."""
        near = self.near
        if index == len(near):
            near.append(kept)
            if self.far:
                self.far.pop(str(index), None)
        elif not 0 <= index < 1 << 32:
            raise Malformed("its pickle has a memo index past 32 bits")
        elif index < len(near):
            near[index] = kept
        else:
            self.far[str(index)] = kept

    def get(self, index: int) -> object:
        """The object of an index. Raises Malformed where there is none."""
        if 0 <= index < len(self.near):
            return self.near[index]
        if (key := str(index)) in self.far:
            return self.far[key]
        raise Malformed("its pickle recalls a memo index that was never set")
