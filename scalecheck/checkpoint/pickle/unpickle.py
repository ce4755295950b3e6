"""Pickles read as inert data: `pickletools` names the opcodes and a stack machine of our own obeys
them. Nothing that the file names is imported or called."""

import struct
import warnings
from collections.abc import Callable, Iterable, Sequence
from sys import getsizeof
from typing import IO, Any

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
from scalecheck.checkpoint.pickle.opcodes import MEMOIZE, OPCODES, STOP, Argument, string_of
from scalecheck.checkpoint.pickle.records import StorageType, TensorRecord
from scalecheck.report.formatting import excerpt

# pickle.Unpickler is not subclassed. Its C form allocates a memo as long as the largest index that
# a file names; and either form hashes a file's keys, where a deep tuple overflows the C stack.

MAX_PICKLE_NBYTES = 1 << 28  # a tensor takes some 140; arrays kept in a pickle the most
MAX_OPCODES = 1 << 22  # a tensor takes some 35; an opcode makes at most some 200 bytes
MAX_OBJECTS = 1 << 18  # containers, names and objects set aside: each takes some 200 bytes
NBYTES_AN_OBJECT = 12  # of an index; a chunk and its place make 7 and take some 150 bytes
MAX_MEMORY = 100 << 20  # that values, tuples and the memo take
MAX_PACKED_MEMORY = 40 << 20  # the same of a pickle that is packed in its file
MEMORY_A_BYTE = 8  # of an index; a chunk takes some 900 bytes in 135
MAX_FREE_COPIES = 1 << 10  # entries and characters; beyond, no more than the pickle has bytes
MAX_GLOBAL = 256  # characters of a module or class; the longest in torch has 90

BROKEN = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
"""What reading garbage raises, here and in `pickletools`."""


def unpickle(
    stream: IO[bytes],
    known: Callable[[str, str], object],
    persistent: Callable[[object], object],
    ratio: float = 1.0,
    nbytes: int = 0,
) -> object:
    """The object of one pickle: dicts, lists, tuples, scalars, placeholders and what `known` gives.

    `known` maps module and name to a Known, a constant, or a Foreign; `persistent` resolves a
    persistent id; `ratio` is that of the pickle's bytes to those it takes in its file;
    nbytes: of a pickle that may make as many objects as it has room for, as the index of a large
    distributed checkpoint does. Raises Malformed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pickletools decodes escapes in names, and complains
            return _Machine(known, persistent, ratio, nbytes).run(stream)
    except BROKEN as error:
        reason = excerpt(str(error)) or type(error).__name__
        raise Malformed(f"its pickle is broken before byte {stream.tell()}: {reason}") from error


class _Machine:
    """The stack, the marks and the memo of one pickle, and what opcodes do that takes a check."""

    def __init__(
        self,
        known: Callable[[str, str], object],
        persistent: Callable[[object], object],
        ratio: float,
        nbytes: int,
    ) -> None:
        self.known = known
        self.persistent = persistent
        self.max_opcodes = max(MAX_OPCODES, nbytes)
        self.max_objects = max(MAX_OBJECTS, nbytes // NBYTES_AN_OBJECT)
        self.allowed = MAX_MEMORY if ratio == 1 else MAX_PACKED_MEMORY
        # for each byte of the pickle, which is kept itself
        self.allowed_more = MEMORY_A_BYTE if nbytes else 3 / ratio - 1
        self.memory = self.checked = 0
        self.stack: list[object] = []
        self.outer: list[list[object]] = []
        self.memo = Memo()
        self.integer_keys = IntegerKeys()
        self.objects = 0
        self.copied = 0
        self.numbers: set[tuple[int, int]] = set()

    def run(self, stream: IO[bytes]) -> object:
        self.stream, self.start = stream, stream.tell()
        read, table, memo = stream.read, _TABLE, self.memo
        for _ in range(self.max_opcodes):
            code = read(1)
            if code == MEMOIZE:  # every third one
                self.memory += memo.add(self.stack[-1])
            else:
                step = table.get(code)
                if step is None:
                    raise self.unknown(code)
                argument, obey, is_kept = step
                obey(self, None if argument is None else argument(stream))
                if is_kept:
                    self.memory += getsizeof(self.stack[-1])
                if code == STOP:
                    return self.stack.pop()
            if self.memory > self.checked:
                self.check_memory()
        raise Malformed(f"its pickle has more than {self.max_opcodes} opcodes")

    def unknown(self, code: bytes) -> Exception:
        """The error of a byte that is no opcode, or one that torch never writes."""
        if not code:
            return EOFError("pickle exhausted before seeing STOP")
        if code not in OPCODES:
            return ValueError(f"at position {self.stream.tell() - 1}, opcode {code!r} unknown")
        name, argument = OPCODES[code]
        if argument is not None:
            argument(self.stream)  # garbage lacks it, and is said to be that
        return Malformed(f"its pickle uses the opcode {name}: torch never does")

    def check_memory(self) -> None:
        """Raises Malformed where more is kept than a pickle of the bytes read so far may."""
        nbytes = self.stream.tell() - self.start
        self.checked = self.allowed + int(self.allowed_more * nbytes)
        if self.memory > self.checked:
            limit = self.checked
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
        return (*reversed([self.stack.pop() for _ in range(count)]),)

    def mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

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

    def set(self, pairs: Sequence[object]) -> None:
        target = self.stack[-1]
        if isinstance(target, Placeholder):
            if target.entries is None:
                target.entries = {}
            target = target.entries
        if not isinstance(target, dict):
            raise Malformed("its pickle sets an entry of what is no dict")
        for key, item in zip(pairs[::2], pairs[1::2], strict=True):
            if type(key) is str:
                target[key] = item
                continue
            if isinstance(key, LongText):
                raise Malformed(f"its pickle has a key of {key.nbytes} bytes")
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

    def put(self, index: object) -> None:
        self.memory += self.memo.put(index, self.stack[-1])

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
            self.push(maker.build(*args))
        elif isinstance(maker, StorageType):
            raise never_saved("makes a storage by calling its class")
        else:
            self.count_object()
            self.push(Placeholder(maker, args, kwargs))

    def count_copies(self, args: tuple[object, ...]) -> None:
        self.copied += sum([len(arg) for arg in args if isinstance(arg, _SIZED)])
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


_KEEPING = frozenset(
    (
        *("BININT", "BININT2", "INT", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    )
)
"""Opcodes whose value takes memory of its own."""

_SIZED = (bytes, dict, list, str, tuple)


def _in_words(target: object) -> str:
    if isinstance(target, TensorRecord):
        return "tensor"
    return f"class {target}" if isinstance(target, Foreign) else type(target).__name__


_Step = Callable[[_Machine, Any], object]


def _alike(names: str, step: _Step) -> dict[str, _Step]:
    return dict.fromkeys(names.split(), step)


_STEPS: dict[str, _Step] = {
    **_alike("PROTO FRAME STOP", lambda machine, _: None),
    **_alike("INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT", _Machine.push),
    "STRING": _Machine.push,
    **_alike("BINSTRING SHORT_BINSTRING", lambda machine, coded: machine.push(string_of(coded))),
    **_alike("UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8", _Machine.push),
    **_alike("BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8", _Machine.push),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    **_alike("EMPTY_LIST EMPTY_SET", lambda machine, _: machine.make([])),
    "EMPTY_DICT": lambda machine, _: machine.make({}),
    "MARK": lambda machine, _: machine.mark(),
    "POP": lambda machine, _: machine.stack.pop() if machine.stack else machine.above_mark(),
    "POP_MARK": lambda machine, _: machine.above_mark(),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    "TUPLE": lambda machine, _: machine.push((*machine.above_mark(),)),
    "TUPLE1": lambda machine, _: machine.push((machine.stack.pop(),)),
    "TUPLE2": lambda machine, _: machine.push(machine.popped(2)),
    "TUPLE3": lambda machine, _: machine.push(machine.popped(3)),
    **_alike("LIST FROZENSET", lambda machine, _: machine.make(machine.above_mark())),
    "DICT": lambda machine, _: machine.make_dict(),
    "APPEND": lambda machine, _: machine.append(machine.popped(1)),
    **_alike("APPENDS ADDITEMS", lambda machine, _: machine.append(machine.above_mark())),
    "SETITEM": lambda machine, _: machine.set(machine.popped(2)),
    "SETITEMS": lambda machine, _: machine.set(machine.above_mark()),
    **_alike("PUT BINPUT LONG_BINPUT", _Machine.put),
    **_alike(
        "GET BINGET LONG_BINGET",
        lambda machine, index: machine.stack.append(machine.memo.get(index)),
    ),
    "GLOBAL": lambda machine, path: machine.push(machine.named(*path.split(" ", 1))),
    "STACK_GLOBAL": lambda machine, _: machine.push(machine.named(*machine.popped(2))),
    **_alike(
        "EXT1 EXT2 EXT4",
        lambda machine, code: machine.push(machine.named("copyreg", f"extension {code}")),
    ),
    "BINPERSID": lambda machine, _: machine.push(machine.persistent(machine.stack.pop())),
    **_alike("REDUCE NEWOBJ", lambda machine, _: machine.reduce()),
    "NEWOBJ_EX": lambda machine, _: machine.call(*machine.popped(3)),
    "OBJ": lambda machine, _: machine.make_object(),
    "INST": lambda machine, path: machine.call(
        machine.named(*path.split(" ", 1)), (*machine.above_mark(),)
    ),
    "BUILD": lambda machine, _: machine.build(),
}


_TABLE: dict[bytes, tuple[Argument | None, _Step, bool]] = {
    code: (opcode.argument, _STEPS[opcode.name], opcode.name in _KEEPING)
    for code, opcode in OPCODES.items()
    if opcode.name in _STEPS
}
