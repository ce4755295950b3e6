"""What a pickle is read as beside dicts, lists and scalars: names that nobody looks up, and objects
as the pieces they would have been built from. None of it is compared, hashed or printed whole."""

from collections.abc import Callable
from dataclasses import dataclass

from scalecheck.report.formatting import excerpt


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Foreign:
    """A class or function that the file names and nobody looks up."""

    module: str
    name: str

    def __str__(self) -> str:
        return excerpt(f"{self.module}.{self.name}")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Known:
    """A global of the allow-list; `build` makes our record from the arguments in the file."""

    build: Callable[..., object]


@dataclass(slots=True, eq=False, repr=False)
class Placeholder:
    """What the file would have built by calling `maker`, as the pieces it would have been given."""

    maker: object
    args: object = ()
    kwargs: object = None
    state: object = None
    items: list[object] | None = None
    entries: dict[object, object] | None = None

    def __str__(self) -> str:
        return str(self.maker) if isinstance(self.maker, Foreign) else "an object of the file"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Key:
    """A dictionary key that is neither text nor a small integer, told apart by identity alone: what
    a file can choose may not be hashed, since it can choose collisions."""

    original: object


def key_of(key: object) -> object:
    """The key under which a dictionary of ours keeps a key of the file."""
    if type(key) is str or (type(key) is int and -(1 << 60) < key < 1 << 60):
        return key
    return Key(key)
