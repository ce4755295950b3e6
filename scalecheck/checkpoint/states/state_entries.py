"""What an optimizer keeps for one parameter, as tensors and numbers that each have a name: those in
lists, dicts and objects too."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from scalecheck.checkpoint.malformed import NotUnderstood
from scalecheck.checkpoint.optimizer_state import Scalar
from scalecheck.checkpoint.pickle.contents import tables_of
from scalecheck.checkpoint.pickle.inert import Foreign, Key, Placeholder
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.pickle.tree import MAX_LETTERS, MAX_TENSORS
from scalecheck.checkpoint.tensor import MAX_DIMENSIONS, MAX_NAME
from scalecheck.report.formatting import excerpt

MAX_ENTRIES = MAX_TENSORS  # of all groups and states; Adam has four for each parameter
MAX_ITEMS = 16  # of a setting; betas are two or three
MAX_TABLE = 64  # of a setting of equally long lists; AdaBelief's buffer is ten of three
MAX_DIGITS = 15  # of a parameter's number
MAX_NESTED = 4  # containers around a tensor; those of real optimizers have up to two

WRAPPERS = frozenset(("__bnb_optimizer_quant_state__",))
"""Dicts that a program puts around entries while it saves them: bitsandbytes since 0.49, so that
FSDP does not gather the tensors of a quantisation."""

Kept = Scalar | TensorRecord
Table = dict[object, object]
Shape = tuple[int, ...]


@dataclass
class Entries:
    """The entries of one parameter's state.

    `names` are the entries as the optimizer has them. `kept` are their tensors and numbers, by the
    entry's name where it is one, else by names such as `Q[0]`, `projector.rank`, `exp_avg.codes`.
    `shapes` are those that tensors of a class of their own have as a whole, as quantised ones do.
    `nested` are the entries that are dicts and other objects. `left_out` are those that are neither
    tensors nor numbers.
    """

    names: dict[str, None] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    nested: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)


class EntryReader:
    """Reads the states of a file, all of which together are bounded: a file of a few bytes can hold
    one list a million times."""

    def __init__(self) -> None:
        self._entries = self._letters = 0

    def read(self, state: Table) -> Entries:
        """The entries of a parameter's state. Raises NotUnderstood where there are too many."""
        found = Entries()
        inner: list[tuple[object, object]] = []
        for key, entry in state.items():
            if key in WRAPPERS and isinstance(entry, dict):
                inner += entry.items()
            else:
                self._entry(key, entry, found)
        for key, entry in inner:
            self._entry(key, entry, found)
        return found

    def _entry(self, key: object, entry: object, found: Entries) -> None:
        if not is_text(key) or key in found.names:
            found.names[in_words(key)] = None
            found.left_out.append(in_words(key))
            return
        self._count(key)
        found.names[key] = None
        if isinstance(entry, dict) or (isinstance(entry, Placeholder) and _shape(entry) is None):
            found.nested.add(key)
        self._add(key, entry, found, MAX_NESTED)

    def _add(self, name: str, node: object, found: Entries, deeper: int) -> None:
        if len(name) > MAX_NAME or not is_text(name):
            found.left_out.append(in_words(name))
        elif isinstance(node, TensorRecord) or is_scalar(node):
            found.kept[name] = node
        elif not deeper or not isinstance(node, (dict, list, tuple, Placeholder)):
            found.left_out.append(in_words(name))
        else:
            self._add_parts(name, node, found, deeper - 1)

    def _add_parts(
        self,
        name: str,
        node: dict[object, object] | Sequence[object] | Placeholder,
        found: Entries,
        deeper: int,
    ) -> None:
        """What lies in a container, by the container's name and its own."""
        if isinstance(node, Placeholder):
            if (local := _local_part(node)) is not None:
                self._add(name, local, found, deeper)
                return
            if (shape := _shape(node)) is not None:
                found.shapes[name] = shape
        count = 0
        for suffix, part in _parts(node):
            count += 1
            self._count(name + suffix)
            self._add(name + suffix, part, found, deeper)
        if not count and isinstance(node, Placeholder):
            found.left_out.append(in_words(name))

    def _count(self, name: str) -> None:
        self._entries += 1
        self._letters += len(name)
        if self._entries > MAX_ENTRIES or self._letters > MAX_LETTERS:
            raise NotUnderstood(f"its states have more than {MAX_ENTRIES} entries")


def _parts(
    node: dict[object, object] | Sequence[object] | Placeholder,
) -> Iterator[tuple[str, object]]:
    """What a container holds, with what it adds to the name: an object's attributes, the entries of
    a dict, the items of a list."""
    if isinstance(node, Placeholder):
        for table in tables_of(node):
            yield from _parts(table)
        yield from _parts(node.items or [])
        given = node.args if isinstance(node.args, tuple) else ()
        yield from ((f"[{n}]", arg) for n, arg in enumerate(given) if isinstance(arg, TensorRecord))
    elif isinstance(node, dict):
        for key, part in node.items():
            word = key.original if isinstance(key, Key) else key
            is_plain = is_text(word) or (is_scalar(word) and word is not None)
            yield (f".{word}" if is_plain else f".{in_words(key)}"), part
    else:
        yield from ((f"[{place}]", part) for place, part in enumerate(node))


def _shape(node: Placeholder) -> Shape | None:
    """The shape of an object of a tensor's subclass, which torch rebuilds by its class, dtype, size
    and more; None of any other object."""
    if not isinstance(node.args, tuple) or len(node.args) < 3:
        return None
    kind, _, sizes, *_ = node.args
    if not isinstance(kind, Foreign) or not isinstance(sizes, tuple):
        return None
    is_shape = all(type(size) is int and 0 <= size < 1 << 63 for size in sizes)
    return sizes if is_shape and len(sizes) <= MAX_DIMENSIONS else None


def _local_part(node: Placeholder) -> object:
    """What a DTensor holds of itself in this file; None of any other object."""
    return next((t["_local_tensor"] for t in tables_of(node) if "_local_tensor" in t), None)


def is_scalar(value: object) -> TypeGuard[Scalar]:
    """A number that fits 64 bits, a word, None."""
    if type(value) is int:
        return abs(value) < 1 << 63
    return value is None or type(value) in (bool, float) or is_text(value)


def is_text(value: object) -> TypeGuard[str]:
    """Text that can be printed, which a lone surrogate cannot."""
    if type(value) is not str or len(value) > MAX_NAME:
        return False
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def items_of(setting: object) -> Sequence[Kept] | None:
    """The items of a setting, of a table those of its rows; None for what is neither."""
    if not isinstance(setting, (list, tuple)):
        return [setting] if _is_kept_whole(setting) else None
    rows = [row for row in setting if isinstance(row, (list, tuple))]
    if rows and len(rows) == len(setting) and len({len(row) for row in rows}) == 1:
        if len(rows) * len(rows[0]) > MAX_TABLE:
            return None
        items = [item for row in rows for item in row]
    elif len(setting) <= MAX_ITEMS:
        items = [*setting]
    else:
        return None
    kept = [item for item in items if _is_kept_whole(item)]
    return kept if len(kept) == len(items) else None


def _is_kept_whole(setting: object) -> TypeGuard[Kept]:
    if isinstance(setting, TensorRecord):
        return setting.numel == 1
    return is_scalar(setting)


def numbered(key: object, names: Collection[str]) -> object:
    """The key of a parameter, as a number where it is one in letters, as JSON leaves it, and no
    name of the model."""
    if type(key) is not str or key in names or len(key) > MAX_DIGITS:
        return key
    return int(key) if key.isdecimal() and str(int(key)) == key else key


def in_words(key: object) -> str:
    """A key of the file in a message."""
    if isinstance(key, Key):
        key = key.original
    if isinstance(key, str):
        return excerpt(key, 40)
    if isinstance(key, int) and key.bit_length() > 64:
        return f"an integer of {key.bit_length()} bits"
    if isinstance(key, (int, float)):
        return str(key)
    return f"a {type(key).__name__}"
