"""Files that are two things at once: what loads a file of that name decides, or it is refused."""

import io
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

import scalecheck
from scalecheck.checkpoint.pickle.legacy_file import starts_with_magic
from scalecheck.errors import CheckpointError

SOUND = struct.pack("<4f", 0.1, -0.2, 0.3, -0.4)


def safetensors_and_torch(path):
    """A safetensors file of sound weights, whose header a pickle takes for texts: it goes on in the
    data, where it is a file of torch.save with other weights."""
    legacy = io.BytesIO()
    torch.save({"w": torch.full((4,), torch.nan)}, legacy, _use_new_zipfile_serialization=False)
    other = legacy.getvalue().ljust(999, b"\0")
    tail = (
        b'"},"c":{"dtype":"I8","shape":[999],"data_offsets":[0,999]},'
        b'"w":{"dtype":"F32","shape":[4],"data_offsets":[999,1015]}}'
    )
    # a text of 27 bytes reaches from the header's length into the metadata, others to its end
    start, header = b"X\x1b".ljust(8, b"\0"), b'{"__metadata__":{"a":"__'
    left = 0x58 + (0x1B << 8) - len(header) - len(tail) - 4
    lengths = [96] * (left // 98 - 1)
    lengths += [(left := left - 98 * len(lengths)) // 2 - 2, left - left // 2 - 2]
    header += b"".join(b"U" + bytes([n]) + b"a" * n for n in lengths)
    assert 2 + len(tail) < 128
    header += b"U" + bytes([2 + len(tail)]) + b"aa" + tail
    path.write_bytes(start + header + other + SOUND)
    return path


@pytest.mark.parametrize("file", ["model.bin", "model.pt"])
def test_a_file_of_two_formats_is_refused_where_its_name_is_torchs(file, tmp_path):
    path = safetensors_and_torch(tmp_path / file)
    assert torch.load(path)["w"].isnan().all()
    assert not load_file(path)["w"].isnan().any()
    with pytest.raises(CheckpointError, match="is a file of safetensors and one"):
        scalecheck.open_checkpoint(path)


def test_a_file_of_two_formats_is_what_its_name_says(tmp_path):
    path = safetensors_and_torch(tmp_path / "model.safetensors")
    assert {one.name for one in scalecheck.open_checkpoint(path).tensors} == {"c", "w"}


@pytest.mark.parametrize("opcodes", [b"N" * 20_000 + b".", b"}" * 20_000])
def test_a_pickle_of_many_opcodes_is_taken_for_torchs(opcodes, tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(opcodes)
    assert starts_with_magic(path)
    path.write_bytes(b"}" * 5000)
    assert not starts_with_magic(path)


def test_safetensors_of_another_name_are_read(tmp_path):
    save_file({"w": torch.ones(4)}, tmp_path / "model.ckpt")
    assert [one.name for one in scalecheck.open_checkpoint(tmp_path / "model.ckpt").tensors] == [
        "w"
    ]
