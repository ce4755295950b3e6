"""How many names two checkpoints share, and where they share none whether the names of one model
only begin in another way."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from scalecheck.report.formatting import excerpt, plural

Shapes = Mapping[str, tuple[int, ...]]

_MAX_PARTS = 8  # of a prefix: real ones have one or two


@dataclass(frozen=True)
class SharedNames:
    """The tensors of each side and those of both.

    prefixes: where none is on both, what most names begin with before and after, each with its last
    dot, and how many tensors differ by that only.
    """

    before: int
    after: int
    both: int
    prefixes: tuple[str, str, int] | None = None

    @classmethod
    def of(cls, before: Shapes, after: Shapes) -> Self:
        """By the names and shapes of each side."""
        both = len(before.keys() & after.keys())
        prefixes = None if both else _prefixes(before, after)
        return cls(len(before), len(after), both, prefixes)

    def none_shared(self, before: str, after: str) -> str:
        """That no tensor is on both sides, and what the names differ by; before, after: what each
        side is called."""
        words = (
            f"no tensor is shared: {plural(self.before, 'tensor')} {before}, {self.after} {after}"
        )
        if self.prefixes is None:
            return words
        old, new, count = self.prefixes
        shown = [f"`{excerpt(prefix, 40)}`" for prefix in (old, new)]
        if old and new:
            return f"{words}; {count} names differ by a prefix only: {shown[0]} became {shown[1]}"
        lacking = after if old else before
        return f"{words}; {count} names differ only by the prefix {shown[not old]}, not {lacking}"


def _prefixes(before: Shapes, after: Shapes) -> tuple[str, str, int] | None:
    """The prefixes by which most tensors of one shape differ only; None where those are fewer than
    half of the smaller side."""
    ends: dict[str, tuple[str, str] | None] = {}  # None where several names end so
    for name in after:
        for cut in _cuts(name):
            end = name[cut:]
            ends[end] = None if end in ends else (name[:cut], name)
    found: Counter[tuple[str, str]] = Counter()
    for name, shape in before.items():
        for cut in _cuts(name):
            if (match := ends.get(name[cut:])) is not None:
                prefix, other = match
                found[name[:cut], prefix] += after[other] == shape
                break
    (old, new), count = next(iter(found.most_common(1)), (("", ""), 0))
    is_most = count and 2 * count >= min(len(before), len(after))
    return (old, new, count) if is_most else None


def _cuts(name: str) -> Iterator[int]:
    """Where the name can be cut after a prefix of whole parts, the shortest first."""
    yield 0
    at = -1
    for _ in range(_MAX_PARTS):
        at = name.find(".", at + 1)
        if at < 0:
            return
        yield at + 1
