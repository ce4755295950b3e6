"""Opcodes of pickles, put together by hand: what no pickler writes."""

import pickle
import struct


def text(words):
    """Pushes a text, lone surrogates and all."""
    coded = words.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(coded)) + coded


def integer(number):
    """Pushes a whole number of any size."""
    return pickle.dumps(number, 2)[2:-1]


def numbers(*counts):
    """Pushes a tuple of whole numbers."""
    return b"(" + b"".join(map(integer, counts)) + b"t"


def named(path):
    """Pushes a global, os.system as it is imported."""
    module, _, name = path.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def called(path, *arguments):
    """Pushes what a global makes of arguments that are opcodes."""
    return named(path) + b"(" + b"".join(arguments) + b"tR"


def storage(numel=4, key="0"):
    """Pushes a storage of so many float32."""
    kind = named("torch.FloatStorage")
    return b"(" + text("storage") + kind + text(key) + text("cpu") + integer(numel) + b"tQ"


def tensor(shape=(2,), strides=(1,), offset=0, of=None):
    """Pushes a tensor of float32, over storage 0 of four of them where `of` pushes no other."""
    layout = (integer(offset), numbers(*shape), numbers(*strides), b"\x89", b"}")
    return called("torch._utils._rebuild_tensor_v2", storage() if of is None else of, *layout)
