"""Pickles read as inert data: `pickletools` names the opcodes and a stack machine of our own obeys
them. Nothing that the file names is imported or called."""

import io
import struct
import warnings
from collections.abc import Callable
from pickle import (
    BINGET,
    BININT1,
    BININT2,
    BUILD,
    EMPTY_DICT,
    EMPTY_TUPLE,
    LONG_BINGET,
    LONG_BINPUT,
    MARK,
    MEMOIZE,
    NEWOBJ,
    SETITEMS,
    STOP,
    TUPLE1,
)
from sys import getsizeof
from typing import IO

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pickle.machine import Machine
from scalecheck.checkpoint.pickle.opcodes import OPCODES, Argument, string_of
from scalecheck.report.formatting import excerpt

# pickle.Unpickler is not subclassed. Its C form allocates a memo as long as the largest index that
# a file names; and either form hashes a file's keys, where a deep tuple overflows the C stack.

MAX_PICKLE_NBYTES = 1 << 28  # a tensor takes some 140; arrays kept in a pickle the most
MAX_OPCODES = 1 << 22  # a tensor takes some 35; an opcode makes at most some 200 bytes
AT_ONCE = 1 << 10  # opcodes before the memory of the memo is looked at

# what `_is_done` obeys itself, by numbers, which are compared faster than bytes
_IN_PLACE = (
    *(MEMOIZE, LONG_BINGET, BINGET, TUPLE1, SETITEMS, EMPTY_TUPLE),
    *(BININT2, BININT1, BUILD, MARK, LONG_BINPUT),
)
_MEMOIZE, _LONG_BINGET, _BINGET, _TUPLE1, _SETITEMS, _EMPTY_TUPLE, *_RARER = range(len(_IN_PLACE))
_BININT2, _BININT1, _BUILD, _MARK, _LONG_BINPUT = _RARER
_DIRECT = {code: number for number, code in enumerate(_IN_PLACE)}

_STATE_BEGUN = NEWOBJ + MEMOIZE + EMPTY_DICT + MEMOIZE + MARK
"""What follows an empty tuple where an object is made whose attributes come next."""

_TUPLE1_NBYTES, _INTEGER_NBYTES = getsizeof((0,)), getsizeof(1)

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
            return _run(Machine(stream, known, persistent, ratio, nbytes), max(MAX_OPCODES, nbytes))
    except BROKEN as error:
        reason = excerpt(str(error)) or type(error).__name__
        raise Malformed(f"its pickle is broken before byte {stream.tell()}: {reason}") from error


def _run(machine: Machine, most: int) -> object:
    for done in range(0, most, AT_ONCE):
        machine.check_memory()
        if _is_done(machine, min(AT_ONCE, most - done)):
            return machine.stack.pop()
    raise Malformed(f"its pickle has more than {most} opcodes")


def _is_done(machine: Machine, count: int) -> bool:
    """Obeys so many opcodes, and says whether the last one was STOP. Those of which there are most
    are obeyed in place. A number that is cut off needs no check: no opcode follows it."""
    stream, stack, memo, number = machine.stream, machine.stack, machine.memo, int.from_bytes
    read, near, far, direct, table = stream.read, memo.near, memo.far, _DIRECT.get, _TABLE.get
    content = stream.getvalue() if isinstance(stream, io.BytesIO) else b""
    for _ in range(count):
        code = read(1)
        kind = direct(code)
        if kind is None:
            step = table(code)
            if step is None:
                raise _unknown(code, stream)
            argument, obey, is_kept = step
            if argument is None:
                obey(machine)
            else:
                obey(machine, argument(stream))
            stack = machine.stack
            if is_kept:
                machine.memory += getsizeof(stack[-1])
                if machine.memory > machine.room:
                    machine.check_memory()
            elif code == STOP:
                return True
        elif kind == _MEMOIZE:
            if far:
                memo.add(stack[-1])
            else:
                near.append(stack[-1])
        elif kind in (_LONG_BINGET, _BINGET):
            index = number(read(4 if kind == _LONG_BINGET else 1), "little")
            stack.append(near[index] if index < len(near) else memo.get(index))
        elif kind == _TUPLE1:
            stack[-1] = (stack[-1],)
            machine.memory += _TUPLE1_NBYTES
        elif kind == _SETITEMS:
            above, stack = stack, machine.outer.pop()
            machine.stack = stack
            machine.set(above)
        elif kind == _EMPTY_TUPLE:
            if content.startswith(_STATE_BEGUN, at := stream.tell()):
                stream.seek(at + len(_STATE_BEGUN))
                machine.call(stack.pop(), ())
                memo.add(stack[-1])
                machine.make({})
                memo.add(stack[-1])
                machine.outer.append(stack)
                stack = machine.stack = []
            else:
                stack.append(())
        elif kind == _BININT2:
            stack.append(number(read(2), "little"))
            machine.memory += _INTEGER_NBYTES
        elif kind == _BININT1:
            stack.append(number(read(1), "little"))
        elif kind == _BUILD:
            machine.build()
        elif kind == _MARK:
            machine.outer.append(stack)
            stack = machine.stack = []
        elif kind == _LONG_BINPUT:
            index = number(read(4), "little")
            if index == len(near) and not far:
                near.append(stack[-1])
            else:
                memo.put(index, stack[-1])
    return False


def _unknown(code: bytes, stream: IO[bytes]) -> Exception:
    """The error of a byte that is no opcode, or one that torch never writes."""
    if not code:
        return EOFError("pickle exhausted before seeing STOP")
    if code not in OPCODES:
        return ValueError(f"at position {stream.tell() - 1}, opcode {code!r} unknown")
    name, argument = OPCODES[code]
    if argument is not None:
        argument(stream)  # garbage lacks it, and is said to be that
    return Malformed(f"its pickle uses the opcode {name}: torch never does")


_KEEPING = frozenset(
    (
        *("BININT", "INT", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        *("TUPLE", "TUPLE2", "TUPLE3"),
    )
)
"""Opcodes whose value takes memory of its own."""

_Step = Callable[..., object]


def _alike(names: str, step: _Step) -> dict[str, _Step]:
    return dict.fromkeys(names.split(), step)


# what `_is_done` obeys itself is not here
_STEPS: dict[str, _Step] = {
    **_alike("PROTO FRAME", lambda machine, _: None),
    "STOP": lambda machine: None,
    **_alike("INT BININT LONG LONG1 LONG4 FLOAT BINFLOAT", Machine.push),
    "STRING": Machine.push,
    **_alike("BINSTRING SHORT_BINSTRING", lambda machine, coded: machine.push(string_of(coded))),
    **_alike("UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8", Machine.push),
    **_alike("BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8", Machine.push),
    "NONE": lambda machine: machine.push(None),
    "NEWTRUE": lambda machine: machine.push(True),
    "NEWFALSE": lambda machine: machine.push(False),
    **_alike("EMPTY_LIST EMPTY_SET", lambda machine: machine.make([])),
    "EMPTY_DICT": lambda machine: machine.make({}),
    "POP": lambda machine: machine.stack.pop() if machine.stack else machine.above_mark(),
    "POP_MARK": Machine.above_mark,
    "DUP": lambda machine: machine.push(machine.stack[-1]),
    "TUPLE": lambda machine: machine.push((*machine.above_mark(),)),
    "TUPLE2": lambda machine: machine.push(machine.popped(2)),
    "TUPLE3": lambda machine: machine.push(machine.popped(3)),
    **_alike("LIST FROZENSET", lambda machine: machine.make(machine.above_mark())),
    "DICT": Machine.make_dict,
    "APPEND": lambda machine: machine.append(machine.popped(1)),
    **_alike("APPENDS ADDITEMS", lambda machine: machine.append(machine.above_mark())),
    "SETITEM": lambda machine: machine.set(machine.popped(2)),
    **_alike("PUT BINPUT", Machine.put),
    "GET": lambda machine, index: machine.push(machine.memo.get(index)),
    "GLOBAL": lambda machine, path: machine.push(machine.named(*path.split(" ", 1))),
    "STACK_GLOBAL": lambda machine: machine.push(machine.named(*machine.popped(2))),
    **_alike(
        "EXT1 EXT2 EXT4",
        lambda machine, code: machine.push(machine.named("copyreg", f"extension {code}")),
    ),
    "BINPERSID": lambda machine: machine.push(machine.persistent(machine.stack.pop())),
    **_alike("REDUCE NEWOBJ", Machine.reduce),
    "NEWOBJ_EX": lambda machine: machine.call(*machine.popped(3)),
    "OBJ": Machine.make_object,
    "INST": lambda machine, path: machine.call(
        machine.named(*path.split(" ", 1)), (*machine.above_mark(),)
    ),
}


_TABLE: dict[bytes, tuple[Argument | None, _Step, bool]] = {
    code: (opcode.argument, _STEPS[opcode.name], opcode.name in _KEEPING)
    for code, opcode in OPCODES.items()
    if opcode.name in _STEPS
}
