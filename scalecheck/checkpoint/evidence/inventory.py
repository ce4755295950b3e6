"""The tensors of a checkpoint by the module that owns them: what decides on the kind of a tensor
stands beside it."""

import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Protocol

from scalecheck.checkpoint.naming import spelled
from scalecheck.dtypes import DType

REMEMBERED = 4096  # parts of names; a model repeats some hundred in every block

_WORDS = re.compile(r"[A-Z]?[a-z]+\d*|[A-Z]+(?![a-z])\d*")
_TALLY = re.compile(r"(?:\w+_)?(?:total|count)|(?:total|sum|num|n)_\w+|errors|\w+_sum")


class Described(Protocol):
    """A tensor without its elements."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> DType: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Description:
    """A tensor of a list, such as a report's, without its elements."""

    name: str
    dtype: DType
    shape: tuple[int, ...]


class Entry:
    """A tensor's description, and its name in parts: `module` is the name up to the last separator,
    `path` the parts of that, `word` what the tensor is called in its module. Of all parts only the
    word is kept: a file may have a hundred thousand tensors."""

    __slots__ = ("_spelled", "dtype", "name", "shape", "word")

    def __init__(self, tensor: Described) -> None:
        self.name = tensor.name
        self.dtype = tensor.dtype
        self.shape = tensor.shape
        self._spelled = name = spelled(tensor.name)
        self.word = sys.intern(name[max(name.rfind("."), name.rfind("/")) + 1 :])

    @property
    def module(self) -> str:
        return self._spelled[: max(0, len(self._spelled) - len(self.word) - 1)]

    @property
    def path(self) -> Sequence[str]:
        return self._spelled.replace("/", ".").split(".")[:-1]

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def is_vector(self) -> bool:
        """At most one dimension has more than one element."""
        return max(self.shape, default=1) >= self.numel

    @property
    def is_wide_float(self) -> bool:
        """A float of 16 bits or more: a weight, not a code of one."""
        return self.dtype.is_float and self.dtype.bits > 8

    @property
    def owner(self) -> str:
        """The last part of its path that is no index: what its module is called."""
        return next((part for part in reversed(self.path) if not part.isdigit()), "")


@dataclass
class Module:
    """The tensors that lie directly in one module, by their words."""

    members: dict[str, Entry] = field(default_factory=dict)

    @cached_property
    def has_matrix(self) -> bool:
        return any(one.is_wide_float and not one.is_vector for one in self.members.values())

    @cached_property
    def is_tally(self) -> bool:
        """It holds single numbers alone, no weight, and one has the name of a count or sum."""
        is_single = all(one.numel <= 1 for one in self.members.values())
        is_norm = self.members.keys() & {"weight", "bias", "num_batches_tracked"}
        return is_single and not is_norm and any(map(_TALLY.fullmatch, self.members))

    @cached_property
    def has_pointer(self) -> bool:
        return any(word.endswith("_ptr") for word in self.members)

    def has(self, word: str, shape: tuple[int, ...] | None = None) -> bool:
        """Whether it has a tensor of this word, of this shape where one is given."""
        return word in self.members and shape in (None, self.members[word].shape)


_EMPTY = Module()


class Inventory:
    """Every tensor by its name, and by its module."""

    def __init__(self, tensors: Iterable[Described]) -> None:
        self.entries: Mapping[str, Entry] = {one.name: Entry(one) for one in tensors}
        self.modules: dict[str, Module] = {}
        for entry in self.entries.values():
            self.modules.setdefault(entry.module, Module()).members[entry.word] = entry

    def module(self, entry: Entry) -> Module:
        """The module that the tensor lies in."""
        return self.modules[entry.module]

    def inside(self, name: str) -> Module:
        """The tensors whose names go on where this one ends, as absmax after q.weight."""
        return self.modules.get(name, _EMPTY)


@lru_cache(REMEMBERED)
def words(part: str) -> frozenset[str]:
    """The words of one part of a name in lower case, at underscores and at capitals."""
    return frozenset(word.lower() for word in _WORDS.findall(part))
