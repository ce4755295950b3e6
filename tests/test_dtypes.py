"""The value of each stored word is what torch says, and every type safetensors knows has a row."""

import json
import re
import struct

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, deserialize

from scalecheck.dtypes import DTYPES

TORCH = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
    "I16": torch.int16,
    "U16": torch.uint16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
WIDE = {"F64": "f8", "F32": "f4", "I64": "i8", "U64": "u8", "I32": "i4", "U32": "u4"}
WIDE_WORDS = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**52 + 1, 2**63 - 1, 2**63, 2**64 - 1)


def every_word(name: str) -> np.ndarray:
    bits = DTYPES[name].bits
    return np.arange(2**bits, dtype=f"<u{bits // 8}")


def safetensors_file(dtype: str, nbytes: int, numel: int) -> bytes:
    entry = {"dtype": dtype, "shape": [numel], "data_offsets": [0, nbytes]}
    header = json.dumps({"w": entry}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(nbytes)


def names_known_to_safetensors() -> list[str]:
    """The library names its types where it refuses one."""
    with pytest.raises(SafetensorError) as refusal:
        deserialize(safetensors_file("NONE", 0, 0))
    return re.findall(r"`(\w+)`", str(refusal.value).partition("expected")[2])


LIBRARY = names_known_to_safetensors()


@pytest.mark.parametrize("name", TORCH)
def test_every_word_decodes_to_what_torch_says(name):
    words = every_word(name)
    said = torch.from_numpy(words).view(TORCH[name]).to(torch.float64).numpy()
    np.testing.assert_array_equal(DTYPES[name].decode(words.view(DTYPES[name].words)), said)


@pytest.mark.parametrize("name", TORCH)
def test_the_table_of_values_is_in_the_order_of_the_words(name):
    dtype = DTYPES[name]
    np.testing.assert_array_equal(dtype.values(), dtype.decode(every_word(name)))


@pytest.mark.parametrize("name", TORCH)
def test_the_table_of_values_cannot_be_written(name):
    with pytest.raises(ValueError, match="read-only"):
        DTYPES[name].values()[0] = 1.0


@pytest.mark.parametrize("name", WIDE)
def test_wide_words_decode_as_numpy_casts_them(name):
    nbytes = DTYPES[name].itemsize
    words = np.array([word % 2 ** (8 * nbytes) for word in WIDE_WORDS], f"<u{nbytes}")
    words = words.view(WIDE[name])
    np.testing.assert_array_equal(DTYPES[name].decode(words), words.astype(np.float64))


def test_a_signalling_nan_decodes_without_a_warning():
    words = np.array([0x7F800001, 0xFF800001], "<u4").view("<f4")
    assert np.isnan(DTYPES["F32"].decode(words)).all()


@pytest.mark.parametrize("name", [*TORCH, *WIDE])
def test_decoding_keeps_the_shape(name):
    assert DTYPES[name].decode(np.zeros((2, 0, 3), DTYPES[name].words)).shape == (2, 0, 3)


@pytest.mark.parametrize("name", [name for name, dtype in DTYPES.items() if dtype.words])
def test_words_are_as_wide_as_the_type(name):
    assert 8 * np.dtype(DTYPES[name].words).itemsize == DTYPES[name].bits


@pytest.mark.parametrize("name", DTYPES)
def test_a_type_is_filed_under_its_name(name):
    assert DTYPES[name].name == name


@pytest.mark.parametrize("name", DTYPES)
def test_a_type_is_measured_or_says_why_not(name):
    dtype = DTYPES[name]
    assert (dtype.words is None) == bool(dtype.unmeasured)


def test_safetensors_tells_its_types():
    assert {"F64", "F32", "BF16", "BOOL"} <= set(LIBRARY)


@pytest.mark.parametrize("name", LIBRARY)
def test_every_safetensors_type_is_known(name):
    assert name in DTYPES


@pytest.mark.parametrize("name", [name for name in LIBRARY if name in DTYPES])
def test_a_type_is_as_wide_as_safetensors_says(name):
    ((_, tensor),) = deserialize(safetensors_file(name, DTYPES[name].bits, 8))
    assert len(tensor["data"]) == DTYPES[name].bits


@pytest.mark.parametrize("name", ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E8M0"])
def test_floating_types_are_float(name):
    assert DTYPES[name].is_float


@pytest.mark.parametrize("name", ["I64", "U8", "BOOL", "F4", "C64"])
def test_integers_bools_and_unmeasured_types_are_not_float(name):
    assert not DTYPES[name].is_float
