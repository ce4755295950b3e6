"""What flax.serialization writes: a model's parameters, or the whole state of its training, as maps
in MessagePack. Arrays are read where they lie in the file."""

from pathlib import Path

from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.malformed import Malformed, content_of
from scalecheck.checkpoint.source import FileSource
from scalecheck.checkpoint.tensor import Checkpoint


def recognises(path: Path, head: bytes) -> Evidence:
    """A map whose first key is a text."""
    if _starts_map(head):
        return Evidence.CONTENT
    return Evidence.NAME if head and path.suffix == ".msgpack" else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Lists the arrays, in the order of the file, under the path of keys to each.

    Raises CheckpointError where the file is damaged or holds no array.
    """
    from scalecheck.checkpoint.arrays.array_tree import checkpoint_of
    from scalecheck.checkpoint.arrays.flax_arrays import leaves_of
    from scalecheck.checkpoint.files.msgpack import Packed, unpacked

    source = FileSource.of(path)
    with content_of(path), source.open() as reader:
        root = unpacked(reader)
        if isinstance(root, Packed):
            root = {path.stem: root}
        if not isinstance(root, dict):
            raise Malformed("holds a single value and no array")
        return checkpoint_of(path, "flax-msgpack", leaves_of(root, source))


def _starts_map(head: bytes) -> bool:
    """Whether it starts with a map that has entries, the first of which has a text for its key."""
    if not head:
        return False
    size = {0xDE: 2, 0xDF: 4}.get(head[0], 0)
    is_map = 0x81 <= head[0] <= 0x8F or (size and any(head[1 : 1 + size]))
    key = head[1 + size : 3 + size]
    if not is_map or len(key) < 2:
        return False
    start, length = (2 + size, key[0] & 31) if 0xA0 < key[0] <= 0xBF else (3 + size, key[1])
    if key[0] not in range(0xA1, 0xC0) and key[0] != 0xD9:
        return False
    word = head[start : start + length]
    return word.decode(errors="replace").isprintable() and len(head) > start + length
