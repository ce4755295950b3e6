"""Zip archives that readers disagree on, which are refused; and those of every writer, which are
read."""

import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
import torch
from opcodes import tensor, text
from process import bounded, problem_of

import scalecheck
from scalecheck.checkpoint.formats.torch import load

MIB = 1 << 20
FOUR = struct.pack("<4f", 0, 1, 2, 3)
NAN = struct.pack("<4f", *[float("nan")] * 4)
PICKLE = b"\x80\x02}" + text("w") + tensor((4,)) + b"s."
ALL = {"a/data.pkl": PICKLE, "a/data/0": FOUR, "a/version": b"3\n"}

problem = partial(problem_of, load)


def entry(name, content, at, flags=0, method=0, extra=b"", size=None):
    """A member as the directory has it."""
    size = len(content) if size is None else size
    name = name if isinstance(name, bytes) else name.encode()
    numbers = (zlib.crc32(content), size, size, len(name), len(extra))
    head = struct.pack("<4s6H", b"PK\x01\x02", 20, 20, flags, method, 0, 0)
    return head + struct.pack("<3L5H2L", *numbers, 0, 0, 0, 0, at) + name + extra


def member(name, content, flags=0, method=0, extra=b"", size=None):
    """A member as it lies in the archive."""
    size = len(content) if size is None else size
    name = name if isinstance(name, bytes) else name.encode()
    numbers = (zlib.crc32(content), size, size, len(name), len(extra))
    head = struct.pack("<4s5H", b"PK\x03\x04", 20, flags, method, 0, 0)
    return head + struct.pack("<3L2H", *numbers) + name + extra + content


def end(count, nbytes, start, comment=b""):
    return struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, nbytes, start, len(comment))


def wide_end(count, nbytes, start):
    return struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, nbytes, start)


def locator(at):
    return struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)


FULL = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, *[0xFFFF] * 2, *[0xFFFFFFFF] * 2, 0)


def laid_out(members, gap=b""):
    """Members one after the other, and their directory."""
    body = directory = b""
    for name, content in members:
        directory += entry(name, content, len(body))
        body += member(name, content) + gap
    return body, directory


def archive(members, gap=b"", counted=None, before=b"", behind=b""):
    body, directory = laid_out(members, gap)
    counted = len(members) if counted is None else counted
    return before + body + directory + end(counted, len(directory), len(body)) + behind


def two_directories(place):
    """An archive in which the locator names the directory of other storages than the record before
    it, as CVE-2025-8291 has it."""
    body, sound = laid_out([*ALL.items()])
    other = len(body)
    more, bad = b"", b""
    for name, content in {**ALL, "a/data/0": NAN}.items():
        bad += entry(name, content, other + len(more))
        more += member(name, content)
    body += more
    first = body + bad + wide_end(3, len(bad), len(body))
    second = first + sound + wide_end(3, len(sound), len(first))
    return second + locator(len(first) - 56 if place else len(second) - 56) + FULL


def zeroed_header(field):
    """An archive in which a member's own header says something else than the directory."""
    content = bytearray(archive([*ALL.items()]))
    at = content.index(b"a/data/0") - 30
    content[at + field] ^= 1
    return bytes(content)


def marked_folder():
    """An archive whose directory has a storage for a folder, by a bit of DOS: torch leaves what it
    would read it into as it is."""
    content = bytearray(archive([*ALL.items()]))
    at = content.rindex(b"a/data/0") - 46
    content[at + 38] |= 0x10
    return bytes(content)


ITEMS = [*ALL.items()]
UPPER = [*ITEMS, ("A/DATA/0", NAN)]
DIFFER = "has members a/data/0 and A/DATA/0, whose names differ in case only"
HEADER = "has member a/data/0, of which its own header at byte"

ODD = {
    "case of a storage": (archive(UPPER), DIFFER),
    "case of the pickle": (
        archive([("a/DATA.PKL", PICKLE), *ITEMS]),
        "has members a/DATA.PKL and a/data.pkl, whose names differ in case only",
    ),
    "twice": (archive([*ITEMS, ITEMS[1]]), "has 2 members named a/data/0"),
    "byte order": (
        archive([*ITEMS, ("a/BYTEORDER", b"big")]),
        "has a byte order that is not read: b'big'",
    ),
    "another folder first": (
        archive([("b/x/data.pkl", b""), *ITEMS]),
        "is a zip of 4 members that torch.save did not write: no data.pkl",
    ),
    "another folder": (
        archive([*ITEMS, ("b/data/0", NAN)]),
        "has member b/data/0 outside of its folder a/: torch.save writes one folder",
    ),
    "name in cp437": (
        archive([*ITEMS, (b"a/data/\x82", NAN)]),
        "has a member whose name is no UTF-8",
    ),
    "zero in a name": (
        archive([*ITEMS, ("a/data/0\0x", NAN)]),
        "has a member with a zero byte in its name",
    ),
    "folder": (marked_folder(), "has member a/data/0 of 16 bytes that is marked a folder"),
    "folder by name": (
        archive([*ITEMS, ("a/data/0/", NAN)]),
        "has member a/data/0/ of 16 bytes that is marked a folder",
    ),
    "fewer counted": (archive(ITEMS, counted=2), "has a zip directory of "),
    "more counted": (
        archive(ITEMS, counted=4),
        "has a zip directory that ends before its last member",
    ),
    "gap": (archive(ITEMS, gap=b"\0"), "has 1 bytes between a/data.pkl and member a/data/0"),
    "bytes before": (archive(ITEMS, before=b"PK\x03\x04"), "is truncated or damaged: its zip"),
    "bytes behind": (archive(ITEMS, behind=b"\0"), "has 1 bytes behind its zip archive"),
    "end in a comment": (
        archive(ITEMS)[:-2] + struct.pack("<H", 22) + end(0, 0, 0),
        "has 432 bytes before its zip archive",
    ),
    "two directories": (two_directories(True), "has a zip directory that is looked for at byte"),
    "two directories, the last": (two_directories(False), "has 466 bytes between a/version"),
    "flags": (zeroed_header(6), HEADER),
    "method": (zeroed_header(8), HEADER),
    "checksum": (zeroed_header(14), HEADER),
    "packed": (zeroed_header(18), HEADER),
    "size": (zeroed_header(22), HEADER),
    "name": (zeroed_header(30), HEADER),
}


@pytest.mark.parametrize("name", ODD)
def test_an_archive_that_readers_disagree_on_is_refused(name, tmp_path):
    content, said = ODD[name]
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    assert problem(path).startswith(said)


def test_what_is_put_together_here_is_read_where_nothing_is_odd(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(archive(ITEMS))
    assert load(path).tensors[0].words().tobytes() == FOUR
    body, directory = laid_out(ITEMS)
    ends = wide_end(3, len(directory), len(body)) + locator(len(body + directory)) + FULL
    path.write_bytes(body + directory + ends)
    assert load(path).tensors[0].words().tobytes() == FOUR


def python(path, method=zipfile.ZIP_STORED, **options):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in ALL.items():
            with file.open(zipfile.ZipInfo(name), "w", **options) as target:
                target.write(content)


class Pipe(NamedTuple):
    """A file that has no places."""

    write: Callable[[bytes], int]
    flush: Callable[[], None]


def unseekable(path):
    """What zipfile writes to a pipe: sizes behind the content."""
    with path.open("wb") as file, zipfile.ZipFile(Pipe(file.write, file.flush), "w") as archive:
        for name, content in ALL.items():
            archive.writestr(name, content)


def commented(path):
    python(path)
    with zipfile.ZipFile(path, "a") as file:
        file.comment = b"from a download"


def with_folders(path):
    with zipfile.ZipFile(path, "w") as file:
        for name in ("a/", "a/data/"):
            file.writestr(zipfile.ZipInfo(name), b"")
        for name, content in ALL.items():
            file.writestr(name, content)


def turned_around(path):
    """An archive whose directory lists its members from the last to the first."""
    with zipfile.ZipFile(path, "w") as file:
        for name, content in ALL.items():
            file.writestr(name, content)
        file.filelist.reverse()


WRITERS = {
    "zipfile": python,
    "zipfile, 64 bits": partial(python, force_zip64=True),
    "zipfile to a pipe": unseekable,
    "a comment": commented,
    "folders": with_folders,
    "a directory in another order": turned_around,
}


@pytest.mark.parametrize("name", WRITERS)
def test_an_archive_of_an_ordinary_writer_is_read(name, tmp_path):
    path = tmp_path / "model.pt"
    WRITERS[name](path)
    assert load(path).tensors[0].words().tobytes() == FOUR


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_script_and_files_beside_its_code_are_read(tmp_path):
    path = tmp_path / "model.pt"
    script = torch.jit.script(torch.nn.Linear(2, 2))
    torch.jit.save(script, path, _extra_files={"notes/readme.txt": b"text", "empty": b""})
    assert [one.name for one in load(path).tensors] == ["weight", "bias"]


class Frozen(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.kept, self.frozen = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.frozen(self.kept(x))

    @torch.jit.export
    def weight(self):
        return self.kept.weight


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kept", [["kept"], []])
def test_the_weights_of_frozen_modules_are_judged(kept, tmp_path):
    path = tmp_path / "model.pt"
    model = Frozen().eval()
    model.frozen.weight.data[0, 0] = torch.nan
    torch.jit.save(torch.jit.freeze(torch.jit.script(model), kept), path)
    [finding] = scalecheck.check(path, jobs=1, select=["SC101"]).findings
    assert finding.where.startswith("constants.")


def test_a_directory_of_many_members_takes_little_room(tmp_path):
    """All of them at one place: found before their headers are read."""
    count = 200_000
    body = member("a/data.pkl", PICKLE)
    entries = b"".join(entry(f"a/{n:07}", b"", 7) for n in range(count))
    directory = entry("a/data.pkl", PICKLE, 0) + entries
    ends = wide_end(count + 1, len(directory), len(body)) + locator(len(body + directory)) + FULL
    path = tmp_path / "model.pt"
    path.write_bytes(body + directory + ends)
    with bounded(5 * len(directory)):
        assert "overlap at byte 7" in problem(path)
