"""What opcodes of a pickle do that takes a check: on the stack, the marks and the memo of an inert
machine, whose memory is bounded."""

from collections.abc import Callable, Iterable
from typing import IO

from scalecheck.checkpoint.malformed import Malformed, never_saved
from scalecheck.checkpoint.pickle.attributes import is_flags
from scalecheck.checkpoint.pickle.inert import (
    Foreign,
    IntegerKeys,
    Key,
    Known,
    LongText,
    OrderedDict,
    Placeholder,
    integer_of,
    key_of,
)
from scalecheck.checkpoint.pickle.memo import Memo
from scalecheck.checkpoint.pickle.records import StorageType, TensorRecord

MAX_OBJECTS = 1 << 18  # containers, names and objects set aside: each takes some 200 bytes
NBYTES_AN_OBJECT = 12  # of an index; a chunk and its place make 7 and take some 150 bytes
MAX_MEMORY = 100 << 20  # that values, tuples and the memo take
MAX_PACKED_MEMORY = 40 << 20  # the same of a pickle that is packed in its file
MEMORY_A_BYTE = 8  # of an index; a chunk takes some 900 bytes in 135
MAX_FREE_COPIES = 1 << 10  # entries and characters; beyond, no more than the pickle has bytes
MAX_GLOBAL = 256  # characters of a module or class; the longest in torch has 90


class Machine:
    """The stack, the marks and the memo of one pickle, and what opcodes do that takes a check."""

    def __init__(
        self,
        stream: IO[bytes],
        known: Callable[[str, str], object],
        persistent: Callable[[object], object],
        ratio: float,
        nbytes: int,
    ) -> None:
        self.stream, self.start = stream, stream.tell()
        self.known = known
        self.persistent = persistent
        self.max_objects = max(MAX_OBJECTS, nbytes // NBYTES_AN_OBJECT)
        self.allowed = MAX_MEMORY if ratio == 1 else MAX_PACKED_MEMORY
        # for each byte of the pickle, which is kept itself
        self.allowed_more = MEMORY_A_BYTE if nbytes else 3 / ratio - 1
        self.memory = self.room = 0
        self.stack: list[object] = []
        self.outer: list[list[object]] = []
        self.memo = Memo()
        self.integer_keys = IntegerKeys()
        self.objects = 0
        self.copied = 0
        self.numbers: set[tuple[int, int]] = set()

    def check_memory(self) -> None:
        """Raises Malformed where more is kept than a pickle of the bytes read so far may."""
        nbytes = self.stream.tell() - self.start
        limit = self.allowed + int(self.allowed_more * nbytes)
        self.room = limit - self.memo.nbytes
        if self.memory > self.room:
            raise Malformed(f"its pickle makes objects of more than {limit} bytes of memory")

    def count_object(self) -> None:
        self.objects += 1
        if self.objects > self.max_objects:
            raise Malformed(f"its pickle makes more than {self.max_objects} containers and objects")

    def make(self, container: object) -> None:
        self.count_object()
        self.stack.append(container)

    def push(self, item: object) -> None:
        self.stack.append(item)

    def popped(self, count: int) -> tuple[object, ...]:
        """The topmost items, the last one pushed at the end."""
        stack = self.stack
        if count > len(stack):
            raise IndexError("pop from empty list")
        items = (*stack[-count:],)
        del stack[-count:]
        return items

    def above_mark(self) -> list[object]:
        above, self.stack = self.stack, self.outer.pop()
        return above

    def append(self, items: Iterable[object]) -> None:
        target = self.stack[-1]
        if isinstance(target, Placeholder):
            if target.items is None:
                target.items = []
            target = target.items
        if not isinstance(target, list):
            raise Malformed("its pickle appends to what is no list")
        target.extend(items)

    def set(self, pairs: Iterable[object]) -> None:
        target = self.stack[-1]
        if isinstance(target, Placeholder):
            if target.entries is None:
                target.entries = {}
            target = target.entries
        if not isinstance(target, dict):
            raise Malformed("its pickle sets an entry of what is no dict")
        items = iter(pairs)
        for key, item in zip(items, items, strict=True):
            if type(key) is str:
                target[key] = item
                continue
            if isinstance(key, LongText):
                raise Malformed(f"its pickle has a key of {key.nbytes} bytes")
            if isinstance(key, (int, float)):
                self.check_number(target, key)
            if type(kept := key_of(key)) is Key:
                self.count_object()
            target[kept] = item

    def check_number(self, target: dict[object, object], key: object) -> None:
        """Raises Malformed where a dict has two keys that are one to Python, as True and 1 are."""
        number = integer_of(key)
        place = id(target), number if number is not None else key
        if number is not None:
            if place in self.numbers or key_of(number) in target:
                raise never_saved(f"has the keys {number} and {key} in one dict")
            self.numbers.add((id(target), number))
        elif type(key) is int:
            if self.numbers and place in self.numbers:
                raise never_saved(f"has {key} twice among the keys of a dict, once as another type")
            self.integer_keys.look_at(key, len(target))

    def make_dict(self) -> None:
        above = self.above_mark()
        self.make({})
        self.set(above)

    def put(self, index: int) -> None:
        self.memo.put(index, self.stack[-1])

    def named(self, module: object, name: object) -> object:
        if type(module) is not str or type(name) is not str:
            raise Malformed("its pickle names a class by something other than text")
        if len(module) > MAX_GLOBAL or len(name) > MAX_GLOBAL:
            raise Malformed(f"its pickle names a class by more than {MAX_GLOBAL} characters")
        known = self.known(module, name)
        if isinstance(known, Foreign):
            self.count_object()
        return known

    def reduce(self) -> None:
        args = self.stack.pop()
        self.call(self.stack.pop(), args)

    def call(self, maker: object, args: object, kwargs: object = None) -> None:
        if not isinstance(args, tuple):
            raise Malformed("its pickle calls with arguments that are no tuple")
        if isinstance(maker, Known):
            if kwargs:
                raise Malformed("its pickle rebuilds a tensor by keyword arguments")
            if maker.copies:
                self.count_copies(args)
            self.stack.append(maker.build(*args))
        elif isinstance(maker, StorageType):
            raise never_saved("makes a storage by calling its class")
        else:
            self.count_object()
            self.stack.append(Placeholder(maker, args, kwargs))

    def count_copies(self, args: tuple[object, ...]) -> None:
        for arg in args:
            if isinstance(arg, _SIZED):
                self.copied += len(arg)
        if self.copied > MAX_FREE_COPIES:
            nbytes = self.stream.tell() - self.start
            if self.copied > nbytes + MAX_FREE_COPIES:
                raise Malformed(f"its pickle copies more than its {nbytes} bytes hold")

    def make_object(self) -> None:
        maker, *args = self.above_mark()
        self.call(maker, (*args,))

    def build(self) -> None:
        """A placeholder and an OrderedDict keep their state. Raises Malformed where it may change
        what was built before: a tensor's elements, another state."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Placeholder):
            target.state = state if target.state is None else (target.state, state)
        elif type(target) is OrderedDict and target.attributes is None and isinstance(state, dict):
            target.attributes = state
        elif not isinstance(target, TensorRecord) or not is_flags(state):
            raise never_saved(f"sets the state of a {_in_words(target)}")


_SIZED = (bytes, dict, list, str, tuple)


def _in_words(target: object) -> str:
    if isinstance(target, TensorRecord):
        return "tensor"
    return f"class {target}" if isinstance(target, Foreign) else type(target).__name__
