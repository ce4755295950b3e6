"""Cost grows with the size of a file, and not with its square: the processor's time and the memory
that each kind of file takes whose cost could grow faster."""

import random
import struct
import zipfile

import pytest
from growth import KINDS, MEMORY, arguments, many, metadata_nbytes
from process import cost_of

TIMES = {2: 2.6, 4: 6.0}  # the time that a file of so many times the size takes at most


@pytest.mark.parametrize("name", KINDS)
def test_a_larger_file_costs_in_proportion(tmp_path, name):
    kind = KINDS[name]
    first = None
    for times in (1, *TIMES):
        path = kind.write(tmp_path, times * kind.parts)
        done, seconds, peak = cost_of(*arguments(kind, path))
        assert done.code in (0, 1), done.err
        assert peak <= MEMORY + 3 * metadata_nbytes(path)
        first = first or seconds
        assert seconds <= TIMES.get(times, 1) * first


def packed(folder, opcodes):
    """A deflated pickle, with so many random bytes that it is packed no better than is allowed."""
    padding = random.Random(0).randbytes(len(opcodes) // 11)
    opcodes = b"\x80\x04B" + struct.pack("<I", len(padding)) + padding + b"0" + opcodes + b"."
    path = folder / "packed.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("packed/data.pkl", opcodes)
    return path


@pytest.mark.parametrize(
    "opcodes",
    [
        b"N" + b"\x94" * 4_000_000,
        b"(" + b"N\x85" * 1_500_000 + b"t",
        b"(" + b"\x8c\x04wxyz" * 3_000_000 + b"t",
        b"(" + (b"\x8a\x08" + b"\x01" * 8) * 3_000_000 + b"t",
    ],
    ids=["memo", "tuples", "texts", "integers"],
)
def test_a_packed_pickle_takes_memory_by_what_it_takes_in_its_file(tmp_path, opcodes):
    path = packed(tmp_path, opcodes)
    done, _, peak = cost_of("inspect", str(path))
    assert done.code == 3
    assert "its pickle makes objects of more than" in done.err
    assert peak <= MEMORY + 3 * path.stat().st_size


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "--format", "json"),
        ("inspect", "--format", "csv"),
        ("check", "--format", "json"),
        ("translate", "--lr", "1e-3", "--format", "json"),
    ],
    ids=["inspect-json", "inspect-csv", "check", "translate"],
)
def test_a_safetensors_file_of_60000_tensors_takes_memory_by_its_header(tmp_path, arguments):
    command, *options = arguments
    path = many(tmp_path, 60_000)
    done, _, peak = cost_of(command, str(path), "--quiet", "--jobs", "1", *options)
    assert done.code in (0, 1)
    assert peak <= MEMORY + 3 * metadata_nbytes(path)
