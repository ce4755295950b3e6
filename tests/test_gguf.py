"""GGUF files against the gguf library, which wrote them and decodes them."""

import struct

import gguf
import numpy as np
import pytest
from command import scalecheck
from gguf.quants import dequantize, quantize

import scalecheck as library
from scalecheck.checkpoint.formats.gguf import _BLOCKS, _INNER
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.errors import CheckpointError
from scalecheck.measure.measuring import measure

TYPES = gguf.GGMLQuantizationType
QUANTISED = [TYPES(number) for number in _BLOCKS if number not in _INNER]
RANDOM = np.random.default_rng(3)


def written(path, tensors, endian=gguf.GGUFEndian.LITTLE, **words):
    writer = gguf.GGUFWriter(path, "llama", endianess=endian)
    for key, word in words.items():
        writer.add_string(f"general.{key}", word)
    for name, (numbers, kind) in tensors.items():
        writer.add_tensor(name, numbers, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def blocks(kind, rows=6, count=3):
    """Random blocks whose factors are numbers of float16 near 1."""
    size, nbytes = gguf.GGML_QUANT_SIZES[kind]
    try:
        return quantize(RANDOM.standard_normal((rows, count * size)).astype(np.float32), kind)
    except NotImplementedError:
        return RANDOM.integers(0x20, 0x38, (rows, count * nbytes), np.uint8)


@pytest.mark.parametrize("kind", QUANTISED, ids=lambda kind: kind.name)
def test_quantised_numbers_are_the_librarys(tmp_path, kind):
    words = blocks(kind)
    path = written(tmp_path / "m.gguf", {"blk.0.attn_q.weight": (words, kind)})
    (tensor,) = open_checkpoint(path).tensors
    expected = dequantize(words, kind).astype(np.float64)
    assert (tensor.dtype.name, tensor.shape) == (kind.name, expected.shape)
    assert tensor.nbytes == words.nbytes
    np.testing.assert_array_equal(tensor.array(), expected)
    part = np.concatenate([block.copy() for block in tensor.blocks(5, expected.size - 7)])
    np.testing.assert_array_equal(part, expected.ravel()[5:-7])
    [(_, sketch)] = measure((tensor,))
    finite = expected[np.isfinite(expected)]
    assert sketch.rms == pytest.approx(np.sqrt(np.mean(finite**2)), rel=1e-12)


def test_the_table_of_blocks_is_the_librarys():
    table = {kind: gguf.GGML_QUANT_SIZES[kind] for kind in TYPES if int(kind) in _BLOCKS}
    assert {TYPES(n).name: (b.numel, b.nbytes) for n, b in _BLOCKS.items()} == {
        kind.name: sizes for kind, sizes in table.items()
    }
    plain = {kind for kind in TYPES if gguf.GGML_QUANT_SIZES[kind][0] == 1}
    assert {int(kind) for kind in TYPES} == set(_BLOCKS) | {int(kind) for kind in plain}


@pytest.mark.parametrize("endian", gguf.GGUFEndian, ids=lambda endian: endian.name)
def test_plain_types_in_both_orders_of_bytes(tmp_path, endian):
    kinds = {
        "f4": np.float32,
        "f2": np.float16,
        "f8": np.float64,
        "i1": np.int8,
        "i2": np.int16,
        "i4": np.int32,
        "i8": np.int64,
    }
    made = {word: (9 * RANDOM.standard_normal((3, 4, 5))).astype(t) for word, t in kinds.items()}
    path = written(tmp_path / "m.gguf", {w: (x.copy(), None) for w, x in made.items()}, endian)
    tensors = {tensor.name: tensor for tensor in open_checkpoint(path).tensors}
    for word, numbers in made.items():
        np.testing.assert_array_equal(tensors[word].array(), numbers.astype(np.float64))


@pytest.mark.parametrize("is_swapped", [False, True])
def test_bfloat16_of_a_file_with_the_highest_byte_first(tmp_path, is_swapped):
    """The library's writer leaves its words as they are; its converter swaps them."""
    numbers = RANDOM.standard_normal((4, 64)).astype(np.float32)
    words = quantize(numbers, TYPES.BF16)
    expected = dequantize(words, TYPES.BF16)
    if is_swapped:
        words = words.reshape(4, 64, 2)[:, :, ::-1].reshape(4, 128).copy()
    made = {"w": (words, TYPES.BF16), "zero": (np.zeros((1, 64), np.uint8), TYPES.BF16)}
    path = written(tmp_path / "m.gguf", made, gguf.GGUFEndian.BIG)
    tensor, zero = open_checkpoint(path).tensors
    np.testing.assert_array_equal(tensor.array(), expected)
    assert not zero.array().any()


def test_one_number_is_no_whole_block(tmp_path):
    path = written(tmp_path / "m.gguf", {"one": (np.array(1.0, np.float32), None)})
    content = path.read_bytes()
    at = content.index(b"one") + 3 + 4  # behind the number of dimensions
    assert content[at - 4 : at + 4] == bytes(8)
    path.write_bytes(content[:at] + struct.pack("<I", TYPES.Q4_0) + content[at + 4 :])
    with pytest.raises(CheckpointError, match="one: rows of 1 elements are no whole blocks"):
        open_checkpoint(path)


def test_metadata_of_every_kind_is_passed_over(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_array("tokenizer.ggml.tokens", ["a", "bc", ""] * 1000)
    writer.add_array("tokenizer.ggml.scores", [0.5] * 1000)
    writer.add_bool("x.flag", True)
    writer.add_float64("x.wide", 1.5)
    writer.add_int64("x.long", -3)
    writer.add_uint8("x.byte", 3)
    writer.add_name("Tiny")
    writer.add_custom_alignment(64)
    writer.add_tensor("output.weight", np.ones((4, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    checkpoint = open_checkpoint(tmp_path / "m.gguf")
    assert (checkpoint.tensors[0].array() == 1).all()
    assert checkpoint.metadata["general.name"] == "Tiny"


def test_every_command_reads_one(tmp_path):
    numbers = RANDOM.standard_normal((64, 256)).astype(np.float32) / 16
    kind = TYPES.Q8_0
    path = written(tmp_path / "m.gguf", {"blk.0.ffn_up.weight": (quantize(numbers, kind), kind)})
    for arguments in (["inspect"], ["translate", "--lr", "1e-3"], ["check"], ["diff", path]):
        done = scalecheck(*arguments, path)
        assert (done.code, done.err) == (0, ""), arguments
        assert "blk.0.ffn_up.weight" in done.out or arguments == ["check"]


def header(**changes):
    """A header of one tensor of two rows, and its bytes."""
    given = {
        "version": 3,
        "tensors": 1,
        "keys": 0,
        "name": b"w",
        "sizes": (4, 2),
        "type": 0,
        "offset": 0,
        "metadata": b"",
    } | changes
    name = struct.pack("<Q", given.get("length", len(given["name"]))) + given["name"]
    words = b"GGUF" + struct.pack("<IQQ", given["version"], given["tensors"], given["keys"])
    words += (
        given["metadata"] + name + struct.pack("<I", given.get("dimensions", len(given["sizes"])))
    )
    words += b"".join(struct.pack("<Q", size) for size in given["sizes"])
    words += struct.pack("<IQ", given["type"], given["offset"])
    return words + bytes(-len(words) % 32) + bytes(32)


KEY = struct.pack("<Q", 1) + b"k"
DAMAGES = {
    "of a version to come": ({"version": 9}, "is GGUF of version 9; versions 2 and 3 are read"),
    "of no tensor": ({"tensors": 0}, "holds no tensor"),
    "of too many tensors": ({"tensors": 1 << 40}, "claims 1099511627776 tensors, the limit is"),
    "of too many keys": ({"keys": 1 << 40}, "claims 1099511627776 values of metadata"),
    "past its end": ({"offset": 64}, "w: bytes 64..96 do not lie in the 32 bytes of data"),
    "larger than it": ({"sizes": (1 << 62, 8)}, "do not lie in the 32 bytes of data"),
    "of five dimensions": ({"sizes": (1,) * 5}, "claims 5 dimensions of w, the limit is 4"),
    "of broken blocks": ({"type": 12}, "w: rows of 4 elements are no whole blocks of Q4_K"),
    "of a long name": ({"length": 1 << 50}, "a tensor's name has 1125899906842624 bytes"),
    "of a name that is no text": ({"name": b"\xff"}, "a tensor's name is not UTF-8"),
    "of a value of no type": (
        {"keys": 1, "metadata": KEY + struct.pack("<I", 99)},
        "k: a value of type 99, which GGUF does not have",
    ),
    "of an endless list": (
        {"keys": 1, "metadata": KEY + struct.pack("<IIQ", 9, 8, 1 << 60)},
        "is truncated: k claims 9223372036854775808 bytes",
    ),
    "of a list of lists": (
        {"keys": 1, "metadata": KEY + struct.pack("<IIQ", 9, 9, 1)},
        "k: a value of type 9, which GGUF does not have",
    ),
    "of an odd alignment": (
        {
            "keys": 1,
            "metadata": struct.pack("<Q", 17) + b"general.alignment" + struct.pack("<II", 4, 24),
        },
        "general.alignment is 24, no power of two",
    ),
}


@pytest.mark.parametrize(("changes", "problem"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_refused_in_one_line(tmp_path, changes, problem):
    path = tmp_path / "m.gguf"
    path.write_bytes(header(**changes))
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = header()
    path = tmp_path / "m.gguf"
    for end in range(4, len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(CheckpointError):
            open_checkpoint(path)
    path.write_bytes(whole)
    assert open_checkpoint(path).parameters == 8


def test_tensors_that_share_bytes_are_refused(tmp_path):
    one = np.ones(16, np.float32)
    words = written(tmp_path / "m.gguf", {"a": (one, None), "b": (one, None)}).read_bytes()
    at = words.index(struct.pack("<IQ", 0, 64))
    (tmp_path / "m.gguf").write_bytes(words[:at] + struct.pack("<IQ", 0, 32) + words[at + 12 :])
    with pytest.raises(CheckpointError, match="b: starts at 32 of the data, where a ends at 64"):
        open_checkpoint(tmp_path / "m.gguf")


def test_a_type_that_is_not_known_is_named(tmp_path):
    (tmp_path / "m.gguf").write_bytes(header(type=200))
    done = scalecheck("check", tmp_path / "m.gguf")
    assert done.code == 1
    assert "its type is number 200 of ggml, which this version does not know" in done.out


def test_what_types_of_codes_there_are_is_said(tmp_path):
    numbers = np.ones((2, 32), np.float32)
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    codes = gguf.quants.quantize(numbers, TYPES.Q8_0)
    writer.add_tensor("w", codes, raw_dtype=TYPES.Q8_0)
    writer.add_tensor("b", numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    said = "1 quantised weight, by the numbers they stand for: 1 Q8_0"
    assert said in library.inspect(tmp_path / "m.gguf").notes
