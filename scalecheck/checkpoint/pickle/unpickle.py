"""Pickles read as inert data: `pickletools` names the opcodes and a stack machine of our own obeys
them. Nothing that the file names is imported or called."""

import pickletools
import struct
import warnings
from collections.abc import Callable, Iterable
from typing import IO

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pickle.inert import Known, Placeholder, key_of
from scalecheck.report.formatting import excerpt

# pickle.Unpickler is not subclassed. Its C form allocates a memo as long as the largest index that
# a file names; and either form hashes a file's keys, where a deep tuple overflows the C stack.

MAX_PICKLE_NBYTES = 1 << 28  # a tensor takes some 140; arrays kept in a pickle the most
MAX_OPCODES = 1 << 22  # a tensor takes some 35; an opcode makes at most some 200 bytes
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
) -> object:
    """The object of one pickle: dicts, lists, tuples, scalars, placeholders and what `known` gives.

    `known` maps module and name to a Known, a constant, or a Foreign; `persistent` resolves a
    persistent id. Raises Malformed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pickletools decodes escapes in names, and complains
            return _Machine(known, persistent).run(stream)
    except BROKEN as error:
        reason = excerpt(str(error)) or type(error).__name__
        raise Malformed(f"its pickle is broken before byte {stream.tell()}: {reason}") from error


_CONSTANTS: dict[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_SET": list,
    "EMPTY_DICT": dict,
}


class _Machine:
    """The stack, the marks and the memo of one pickle; a method an opcode, or several alike."""

    def __init__(
        self, known: Callable[[str, str], object], persistent: Callable[[object], object]
    ) -> None:
        self.known = known
        self.persistent = persistent
        self.stack: list[object] = []
        self.outer: list[list[object]] = []
        self.memo: dict[int, object] = {}

    def run(self, stream: IO[bytes]) -> object:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count == MAX_OPCODES:
                raise Malformed(f"its pickle has more than {MAX_OPCODES} opcodes")
            if opcode.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[opcode.name]())
            elif step := _STEPS.get(opcode.name):
                step(self, argument)
            else:
                raise Malformed(f"its pickle uses the opcode {opcode.name}: torch never does")
        return self.stack.pop()

    def above_mark(self) -> list[object]:
        above, self.stack = self.stack, self.outer.pop()
        return above

    def skip(self, _: object) -> None:
        return

    def push(self, argument: object) -> None:
        self.stack.append(argument)

    def mark(self, _: object) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def pop(self, _: object) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.above_mark()

    def pop_mark(self, _: object) -> None:
        self.above_mark()

    def dup(self, _: object) -> None:
        self.stack.append(self.stack[-1])

    def make_tuple(self, _: object) -> None:
        above = self.above_mark()
        self.stack.append((*above,))

    def make_tuple1(self, _: object) -> None:
        self.stack.append((self.stack.pop(),))

    def make_tuple2(self, _: object) -> None:
        second, first = self.stack.pop(), self.stack.pop()
        self.stack.append((first, second))

    def make_tuple3(self, _: object) -> None:
        third, second, first = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.stack.append((first, second, third))

    def make_list(self, _: object) -> None:
        above = self.above_mark()
        self.stack.append(above)

    def make_dict(self, _: object) -> None:
        above = self.above_mark()
        self.stack.append({})
        self._set(above)

    def _append(self, items: Iterable[object]) -> None:
        target = self.stack[-1]
        if isinstance(target, Placeholder):
            if target.items is None:
                target.items = []
            target = target.items
        if not isinstance(target, list):
            raise Malformed("its pickle appends to what is no list")
        target.extend(items)

    def append(self, _: object) -> None:
        item = self.stack.pop()
        self._append([item])

    def appends(self, _: object) -> None:
        self._append(self.above_mark())

    def _set(self, pairs: list[object]) -> None:
        target = self.stack[-1]
        if isinstance(target, Placeholder):
            if target.entries is None:
                target.entries = {}
            target = target.entries
        if not isinstance(target, dict):
            raise Malformed("its pickle sets an entry of what is no dict")
        for key, item in zip(pairs[::2], pairs[1::2], strict=True):
            target[key_of(key)] = item

    def set_item(self, _: object) -> None:
        item, key = self.stack.pop(), self.stack.pop()
        self._set([key, item])

    def set_items(self, _: object) -> None:
        self._set(self.above_mark())

    def put(self, index: object) -> None:
        if not isinstance(index, int) or not 0 <= index < 1 << 32:
            raise Malformed("its pickle has a memo index past 32 bits")
        self.memo[index] = self.stack[-1]

    def memoize(self, _: object) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, index: object) -> None:
        if not isinstance(index, int) or not 0 <= index < 1 << 32 or index not in self.memo:
            raise Malformed("its pickle recalls a memo index that was never set")
        self.stack.append(self.memo[index])

    def _name(self, module: object, name: object) -> object:
        if type(module) is not str or type(name) is not str:
            raise Malformed("its pickle names a class by something other than text")
        if len(module) > MAX_GLOBAL or len(name) > MAX_GLOBAL:
            raise Malformed(f"its pickle names a class by more than {MAX_GLOBAL} characters")
        return self.known(module, name)

    def global_(self, argument: object) -> None:
        module, _, name = str(argument).partition(" ")
        self.stack.append(self._name(module, name))

    def stack_global(self, _: object) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(self._name(module, name))

    def extension(self, code: object) -> None:
        self.stack.append(self._name("copyreg", f"extension {code}"))

    def persistent_id(self, _: object) -> None:
        saved = self.stack.pop()
        self.stack.append(self.persistent(saved))

    def _call(self, maker: object, args: object, kwargs: object = None) -> None:
        if not isinstance(args, tuple):
            raise Malformed("its pickle calls with arguments that are no tuple")
        if isinstance(maker, Known):
            if kwargs:
                raise Malformed("its pickle rebuilds a tensor by keyword arguments")
            self.stack.append(maker.build(*args))
        else:
            self.stack.append(Placeholder(maker, args, kwargs))

    def reduce(self, _: object) -> None:
        args, maker = self.stack.pop(), self.stack.pop()
        self._call(maker, args)

    def new_object_ex(self, _: object) -> None:
        kwargs, args, maker = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self._call(maker, args, kwargs)

    def obj(self, _: object) -> None:
        maker, *args = self.above_mark()
        self._call(maker, (*args,))

    def inst(self, argument: object) -> None:
        args = self.above_mark()
        self.global_(argument)
        self._call(self.stack.pop(), (*args,))

    def build(self, _: object) -> None:
        """A placeholder keeps its state; what a dict or tensor carries beside its elements, as a
        state dict does its `_metadata`, is left out."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Placeholder):
            target.state = state


_STEPS: dict[str, Callable[[_Machine, object], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _Machine.skip),
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2"), _Machine.push),
    **dict.fromkeys(("LONG", "LONG1", "LONG4"), _Machine.push),
    **dict.fromkeys(("FLOAT", "BINFLOAT"), _Machine.push),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), _Machine.push),
    **dict.fromkeys(("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _Machine.push),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), _Machine.push),
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.dup,
    "TUPLE": _Machine.make_tuple,
    "TUPLE1": _Machine.make_tuple1,
    "TUPLE2": _Machine.make_tuple2,
    "TUPLE3": _Machine.make_tuple3,
    **dict.fromkeys(("LIST", "FROZENSET"), _Machine.make_list),
    "DICT": _Machine.make_dict,
    "APPEND": _Machine.append,
    **dict.fromkeys(("APPENDS", "ADDITEMS"), _Machine.appends),
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
    "MEMOIZE": _Machine.memoize,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "GLOBAL": _Machine.global_,
    "STACK_GLOBAL": _Machine.stack_global,
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), _Machine.extension),
    "BINPERSID": _Machine.persistent_id,
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _Machine.reduce),
    "NEWOBJ_EX": _Machine.new_object_ex,
    "OBJ": _Machine.obj,
    "INST": _Machine.inst,
    "BUILD": _Machine.build,
}
