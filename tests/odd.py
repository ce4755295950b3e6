"""Files that are odd and no error: a builder a kind, each to be read without a word on stderr."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

from hostile import LOUD, TENSOR, TIB, entry, safetensors, sound, sparse, system
from opcodes import torch_zip

READABLE: dict[str, Callable[[Path], Path]] = {}


def readable(build):
    """Enters a builder under its name."""
    READABLE[build.__name__] = build
    return build


@readable
def pickle_with_a_tensor_that_calls_os_system(folder):
    """A command beside a tensor: the tensor is read."""
    pickle = b"(dS'w'\n" + TENSOR + b"sS'then'\n" + system(folder) + b"s."
    return torch_zip(folder / "model.pt", pickle, k=bytes(16))


@readable
def tensor_of_8_tib(folder):
    """A tensor larger than any disk here, and all zeros, which take no room; a small one after."""
    end = 8 * TIB
    header = {"huge": entry(shape=[end // 4], offsets=[0, end])}
    header["small"] = entry(offsets=[end, end + 4])
    return sparse(folder / "model.safetensors", header, end + 4)


@readable
def ten_thousand_tensors(folder):
    """A tensor of four elements ten thousand times."""
    return sound(folder / "model.safetensors", *(f"blocks.{i}.w" for i in range(10_000)))


@readable
def tensors_of_no_elements(folder):
    """Tensors that all start and end at the same byte, with sizes whose product overflows."""
    header = {f"w.{i}": entry(shape=[0, 2**63, i], offsets=[0, 0]) for i in range(20)}
    return safetensors(folder / "model.safetensors", header, b"")


@readable
def names_that_write_to_the_terminal(folder):
    """Names that change colours, ring, clear the screen, break the line, or are nothing at all."""
    return sound(folder / "model.safetensors", LOUD, "", "\n", "\0", "a|b`c<d>", "=1+1")


@readable
def names_of_digits_that_are_no_numbers(folder):
    """Superscripts, which Python takes for digits and for no decimal; and digits of Arabic."""
    return sound(folder / "model.safetensors", "²", "w.²", "w.٣", "w.3")


@readable
def names_of_a_thousand_characters(folder):
    """Names as long as they may be, of digits and of what patterns for names look for."""
    ends = ("9" * 1000, "_" * 1000, "_emb" * 250, "ln_" * 333, "0." * 500)
    return sound(folder / "model.safetensors", *(f"w.{end}.w" for end in ends))


@readable
def metadata_that_is_null(folder):
    """No metadata, said in so many words."""
    return safetensors(folder / "model.safetensors", {"__metadata__": None, "w": entry()})


@readable
def metadata_that_writes_to_the_terminal(folder):
    """Metadata nobody asked for."""
    return safetensors(folder / "model.safetensors", {"__metadata__": {LOUD: LOUD}, "w": entry()})


@readable
def entry_with_more_than_it_needs(folder):
    """A key that the format does not know."""
    return safetensors(folder / "model.safetensors", {"w": entry(scale=[[1.5]])})


@readable
def header_behind_spaces(folder):
    """A header that begins and ends with spaces."""
    text = b"  " + json.dumps({"w": entry()}).encode() + b"   "
    return safetensors(folder / "model.safetensors", text)


EXTREMES = {
    "F64": ("Q", 1, 0x7FEF << 48 | 0xFFFF_FFFF_FFFF, 0xFFEF << 48, 0x7FF0 << 48, 0x7FF8 << 48),
    "F32": ("I", 1, 0x7F7F_FFFF, 0xFF7F_FFFF, 0x7F80_0000, 0x7FC0_0000),
    "BF16": ("H", 1, 0x7F7F, 0xFF7F, 0x7F80, 0x7FC0),
    "F16": ("H", 1, 0x7BFF, 0xFBFF, 0x7C00, 0x7E00),
    "F8_E8M0": ("B", 0, 0xFE, 0x01, 0xFF, 0x7F),
    "I64": ("Q", 1, 0x7FFF << 48, 0x8000 << 48, 0xFFFF << 48, 0x7FF8 << 48),
}
"""Words of each type: its least, its largest, about its lowest, infinity, NaN."""


@readable
def extremes_of_every_type(folder):
    """Tensors of nothing but denormals, of the largest numbers, of NaN, and of all at once."""
    header, data = {}, b""
    for dtype, (letter, *words) in EXTREMES.items():
        for block, content in enumerate([*([word] * 5 for word in words), words]):
            packed = struct.pack(f"<5{letter}", *content)
            name = f"blocks.{block}.{dtype.lower()}.weight"
            header[name] = entry(dtype, [5], [len(data), len(data) + len(packed)])
            data += packed
    return safetensors(folder / "model.safetensors", header, data)
