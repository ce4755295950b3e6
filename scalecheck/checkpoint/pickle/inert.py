"""What a pickle is read as beside dicts, lists and scalars: names that nobody looks up, and objects
as the pieces they would have been built from. None of it is compared, hashed or printed whole."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from scalecheck.checkpoint.malformed import Malformed
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
    copies: bool = False  # whether it makes as much as its arguments hold


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


class OrderedDict(dict[object, object]):
    """A collections.OrderedDict; `attributes` are its own, as the `_metadata` of a state dict."""

    __slots__ = ("attributes",)
    attributes: dict[object, object] | None

    def __init__(self, entries: Iterable[tuple[object, object]] = ()) -> None:
        super().__init__(entries)
        self.attributes = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Key:
    """A dictionary key that is neither text nor a small integer, told apart by identity alone: what
    a file can choose may not be hashed, since it can choose collisions."""

    original: object


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LongText:
    """Text, bytes or an integer of so many bytes, of which no more is kept: numpy pickles an array
    as such."""

    nbytes: int


NEAR = 1 << 16  # past the entries of a dict: so few keys cost little however they are chosen
MAX_FAR = 1 << 11  # the parameters of an optimizer whose keys are places in memory


class IntegerKeys:
    """Bounds what integers cost as keys: Python hashes them as they are, and so a file can choose
    such as are found only after most others. Keys that count up are free."""

    def __init__(self) -> None:
        self.far = 0

    def look_at(self, key: int, entries: int) -> None:
        """A key that is added to so many. Raises Malformed where too many lie far from a count."""
        if not 0 <= key <= entries + NEAR:
            self.far += 1
            if self.far > MAX_FAR:
                raise Malformed(f"has more than {MAX_FAR} integers above {NEAR} as keys of dicts")


def key_of(key: object) -> object:
    """The key under which a dictionary of ours keeps a key of the file."""
    if type(key) is str or (type(key) is int and -(1 << 60) < key < 1 << 60):
        return key
    return Key(key)


def integer_of(key: object) -> int | None:
    """The integer that Python takes for the same key as a bool or a float."""
    if isinstance(key, (bool, float)) and key == key // 1:
        return int(key)
    return None
