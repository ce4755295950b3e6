"""Tar archives that hold a torch file, as .nemo: read in place, compressed ones in stretches; what
is damaged or hostile is one line."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from command import scalecheck

import scalecheck as api
from scalecheck.checkpoint.archive.gzip import GzipSource
from scalecheck.checkpoint.source import Readers
from scalecheck.errors import CheckpointError

pytestmark = pytest.mark.usefixtures("elsewhere")

WEIGHTS = "./model_weights.ckpt"
CONFIG = {"./model_config.yaml": b"target: nemo\n"}


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3)) * 0.05


def torch_bytes(saved):
    buffer = io.BytesIO()
    torch.save(saved, buffer)
    return buffer.getvalue()


MODEL = {"up.weight": drawn(40, 30), "down.weight": drawn(30, 40).T, "ln.weight": torch.ones(30)}


def packed(members, path="m.nemo", mode="w", **options):
    with tarfile.open(path, mode, **options) as archive:
        for name, content in members.items():
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def problem(path="m.nemo"):
    with pytest.raises(CheckpointError) as raised:
        api.open_checkpoint(path)
    done = scalecheck("inspect", path)
    assert (done.code, len(done.err.splitlines()) <= 2) == (3, True)
    return raised.value.problem


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_weights_are_read_in_place(mode, form):
    packed({**CONFIG, WEIGHTS: torch_bytes(MODEL)}, mode=mode, format=form)
    checkpoint = api.open_checkpoint("m.nemo")
    assert checkpoint.format == "nemo, torch-zip"
    assert [t.name for t in checkpoint.tensors] == [*MODEL]
    for tensor in checkpoint.tensors:
        np.testing.assert_array_equal(tensor.words(), MODEL[tensor.name].numpy())
    assert any("model_config.yaml" in note for note in api.inspect("m.nemo").notes)
    assert not scalecheck("diff", "m.nemo", "m.nemo").code
    assert scalecheck("check", "m.nemo").code in (0, 1)
    assert scalecheck("translate", "m.nemo", "--lr", "1e-4").code == 0


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_longer_than_a_header(form):
    folder = "a" * 90 + "/" + "b" * 90 + "/"
    packed({folder + "model_weights.ckpt": torch_bytes(MODEL)}, format=form)
    assert len(api.open_checkpoint("m.nemo").tensors) == 3


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_training_file_in_an_archive_is_read_with_its_optimizer(mode):
    weight = torch.nn.Parameter(drawn(8, 6))
    optimizer = torch.optim.AdamW([weight], lr=1e-3)
    weight.grad = drawn(8, 6)
    optimizer.step()
    saved = {"state_dict": {"up.weight": weight.detach()}, "optimizer": optimizer.state_dict()}
    packed({"run/last.ckpt": torch_bytes(saved)}, "run.tar", mode)
    (row,) = api.translate("run.tar").rows
    assert row["update_rms"] == pytest.approx(1.0, rel=1e-3)
    assert row["lr"] == 1e-3


def test_slices_of_tensor_parallel_ranks_are_pieces():
    parts = {f"./mp_rank_{n:02}/model_weights.ckpt": torch_bytes(MODEL) for n in range(2)}
    packed({**CONFIG, **parts})
    kinds = {t.name: t.kind.kind for t in api.open_checkpoint("m.nemo").tensors}
    assert kinds["mp_rank_01/up.weight"] == "piece"
    assert len(kinds) == 6


def test_a_distributed_checkpoint_in_an_archive_is_named():
    packed({**CONFIG, "./model_weights/.metadata": b"x", "./model_weights/__0_0.distcp": b"y"})
    assert problem() == "holds a distributed checkpoint in model_weights/, not read in an archive"


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "is no checkpoint"),
        (CONFIG, "holds no weights in 1 members: model_config.yaml"),
        ({WEIGHTS: b""}, "model_weights.ckpt, which is no zip of torch"),
        ({WEIGHTS: b"PK\x03\x04" + bytes(40)}, "zip"),
        ({"a.pt": torch_bytes(MODEL), "b.pt": torch_bytes(MODEL)}, "holds 2 checkpoints: a.pt"),
        ({"sys_info": b"", "pickle": b"", "storages": b""}, "as torch wrote them until 2017"),
    ],
)
def test_what_holds_no_model_says_what_it_holds(members, words):
    assert words in problem(packed(members))


def special(kind, **fields):
    info = tarfile.TarInfo("model_weights.ckpt")
    info.type = kind
    for name, value in fields.items():
        setattr(info, name, value)
    return info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_is_not_followed(kind):
    torch.save(MODEL, "outside.ckpt")
    packed({special(kind, linkname="outside.ckpt"): b""})
    assert problem() == "holds its weights as a link, which is not followed: model_weights.ckpt"


def test_sparse_members_are_refused():
    packed({special(b"S"): torch_bytes(MODEL)})
    assert "sparse" in problem()


def test_two_members_of_one_name_are_refused():
    with tarfile.open("m.nemo", "w") as archive:
        for name in (WEIGHTS, "model_weights.ckpt"):
            info = tarfile.TarInfo(name)
            content = torch_bytes(MODEL)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert problem() == "has 2 members named model_weights.ckpt"


def test_names_that_lead_outside_are_names_alone():
    packed({"../../etc/model_weights.ckpt": torch_bytes(MODEL)})
    assert len(api.open_checkpoint("m.nemo").tensors) == 3


def with_header(**fields):
    """An archive whose header says other things, with a checksum that fits."""
    packed({"model_weights.ckpt": torch_bytes(MODEL)}, format=tarfile.USTAR_FORMAT)
    with open("m.nemo", "r+b") as file:
        header = bytearray(file.read(512))
        for at, field in fields.values():
            header[at : at + len(field)] = field
        if "sum" not in fields:
            header[148:156] = b" " * 8
            header[148:156] = b"%06o\0 " % sum(header)
        file.seek(0)
        file.write(header)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"size": (124, b"77777777777\0")}, "of 8589934591 bytes at 512, and ends at"),
        ({"size": (124, b"\x80" + b"\x7f" * 11)}, "whose size is past 63 bits"),
        ({"size": (124, b"\xff" * 12)}, "whose size is no number"),
        ({"size": (124, b"12a4567890z\0")}, "whose size is no number"),
        ({"sum": (148, b"000000\0 ")}, "its checksum does not fit"),
        ({"sum": (148, b"zzzzzz\0 ")}, "whose checksum is no number"),
    ],
)
def test_damaged_headers(fields, words):
    with_header(**fields)
    assert words in problem()


@pytest.mark.parametrize("pax", [{"size": "-4"}, {"size": "9" * 30}, {"GNU.sparse.major": "1"}])
def test_extended_headers_that_lie(pax):
    info = tarfile.TarInfo("model_weights.ckpt")
    info.pax_headers = pax
    packed({info: torch_bytes(MODEL)}, format=tarfile.PAX_FORMAT)
    assert "sparse" in problem() or "no number" in problem()


def test_a_header_of_all_members_gives_no_name():
    packed({WEIGHTS: torch_bytes(MODEL)}, format=tarfile.PAX_FORMAT, pax_headers={"path": "x"})
    assert "all members" in problem()


@pytest.mark.parametrize("kept", [100, 600, 3000, -1100])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_archives_that_are_cut_off(kept, mode):
    packed({**CONFIG, WEIGHTS: torch_bytes(MODEL)}, mode=mode)
    content = Path("m.nemo").read_bytes()
    if mode == "w":  # an archive is padded with zeros that nothing needs
        content = content.rstrip(b"\0")
    Path("m.nemo").write_bytes(content[:kept])
    assert problem()


def test_a_compressed_archive_that_unpacks_to_far_more_is_refused():
    packed({WEIGHTS: bytes(1 << 24)}, mode="w:gz")
    assert "the limit is 20 times" in problem()


def test_damaged_compression():
    packed({**CONFIG, WEIGHTS: torch_bytes(MODEL)}, mode="w:gz")
    content = bytearray(Path("m.nemo").read_bytes())
    content[len(content) // 2] ^= 0xFF
    Path("m.nemo").write_bytes(content)
    assert problem()


def test_what_follows_the_compressed_stream_is_refused():
    packed({WEIGHTS: torch_bytes(MODEL)}, mode="w:gz")
    with open("m.nemo", "ab") as file:
        file.write(b"more")
    assert "behind the end of its gzip stream" in problem()


def test_compressed_bytes_are_read_in_any_order():
    content = np.random.default_rng(5).integers(0, 256, 30_000_000, np.uint8).tobytes()
    with gzip.open("x.gz", "wb", compresslevel=1) as file:
        file.write(content)
    source = GzipSource.of(Path("x.gz"))
    assert source.nbytes == len(content)
    with Readers() as readers:
        reader = source.open(readers)
        for offset in (29_999_000, 0, 17, 8_400_000, 8_400_100, 20_000_000, 16_777_216, 3):
            buffer = bytearray(1000)
            reader.fill(offset, memoryview(buffer))
            assert buffer == content[offset : offset + 1000]
        with pytest.raises(CheckpointError, match="of 30000000"):
            reader.fill(29_999_999, memoryview(bytearray(2)))
