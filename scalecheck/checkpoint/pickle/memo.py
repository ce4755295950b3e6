"""What a pickle keeps to recall: by places that count up, as picklers have them, and by any others
that a file may choose."""

from scalecheck.checkpoint.malformed import Malformed

_PLACE_NBYTES = 16  # of an entry in a list that grows
_FAR_NBYTES = 150  # of one in a dict, and the text of its number


class Memo:
    """Objects by their indexes. Those past the end of the list go by their texts: Python hashes a
    text with a secret of the process, and an integer as it is."""

    def __init__(self) -> None:
        self._near: list[object] = []
        self._far: dict[str, object] = {}

    def add(self, kept: object) -> int:
        """Keeps an object under the next index, as `put` does."""
        if self._far:
            return self.put(len(self._near) + len(self._far), kept)
        self._near.append(kept)
        return _PLACE_NBYTES

    def put(self, index: object, kept: object) -> int:
        """Keeps an object, and says how many bytes its place takes. Raises Malformed."""
        near = self._near
        if index == len(near):
            near.append(kept)
            if self._far:
                self._far.pop(str(index), None)
            return _PLACE_NBYTES
        if not isinstance(index, int) or not 0 <= index < 1 << 32:
            raise Malformed("its pickle has a memo index past 32 bits")
        if index < len(near):
            near[index] = kept
            return 0
        self._far[str(index)] = kept
        return _FAR_NBYTES

    def get(self, index: object) -> object:
        """The object of an index. Raises Malformed where there is none."""
        if isinstance(index, int) and 0 <= index < len(self._near):
            return self._near[index]
        key = str(index)
        if key not in self._far:
            raise Malformed("its pickle recalls a memo index that was never set")
        return self._far[key]
