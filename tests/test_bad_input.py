"""Whatever a path holds, the answer is a report, or one line on stderr and its exit code: nothing
hangs, nothing of the file is run, and memory is bounded."""

import json
import os
import subprocess
import sys

import pytest
from command import Done, scalecheck
from hostile import UNREADABLE, entry, index, sound, sparse
from odd import READABLE
from process import finished, is_refusal, limited, permissions_that_count, program

import scalecheck as api
from scalecheck import CheckpointError
from scalecheck.cli.main import MAX_MESSAGE

MIB = 1 << 20
LONG = {"tensor_of_8_tib", "ten_thousand_tensors"}  # to read, or to write as a table


@pytest.mark.parametrize("kind", UNREADABLE)
def test_bad_file_is_refused_in_one_line_with_exit_code_3(kind, tmp_path):
    bad = UNREADABLE[kind]
    path = bad.build(tmp_path)
    culprit = tmp_path / bad.culprit if bad.culprit else path
    assert is_refusal(scalecheck("inspect", path), culprit, bad.problem)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "pipe",
        "endless_device",
        "path_that_writes_to_the_terminal",
        "header_length_of_2_to_the_63",
        "pickle_that_calls_os_system",
    ],
)
def test_bad_file_is_refused_alike_by_a_process_of_its_own(kind, tmp_path):
    path = UNREADABLE[kind].build(tmp_path)
    assert is_refusal(finished(program("inspect", path)), path, UNREADABLE[kind].problem)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("form", ["markdown", "json", "csv"])  # tables: test_faults.py
@pytest.mark.parametrize("kind", sorted(READABLE.keys() - LONG))
def test_odd_file_is_read(kind, form, tmp_path):
    said = scalecheck("inspect", READABLE[kind](tmp_path), "--format", form, "--quantiles")
    assert (said.code, said.err) == (0, "")
    assert said.out
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("by", ["tensor", "layer", "family", "role"])
@pytest.mark.parametrize("kind", sorted(READABLE.keys() - LONG))
def test_odd_file_is_grouped_and_sorted(kind, by, tmp_path):
    said = scalecheck("inspect", READABLE[kind](tmp_path), "--by", by, "--sort", "name")
    assert (said.code, said.err) == (0, "")


def test_ten_thousand_tensors_are_read(tmp_path):
    said = scalecheck("inspect", READABLE["ten_thousand_tensors"](tmp_path), "--format", "csv")
    assert (said.code, said.err, said.out.count("\n")) == (0, "", 10_001)


@pytest.mark.parametrize("form", ["table", "markdown", "json"])
@pytest.mark.parametrize("by", ["tensor", "layer", "family"])
def test_names_in_a_file_never_reach_the_terminal_as_commands(form, by, tmp_path):
    path = READABLE["names_that_write_to_the_terminal"](tmp_path)
    said = scalecheck("inspect", path, "--format", form, "--by", by, "--sort", "name")
    assert said.code == 0
    assert all(line.isprintable() for line in said.out.split("\n"))


def test_order_of_empty_tensors_is_that_of_the_file(tmp_path):
    path = READABLE["tensors_of_no_elements"](tmp_path)
    rows = json.loads(scalecheck("inspect", path, "--format", "json").out)["rows"]
    assert [row["name"] for row in rows] == [f"w.{i}" for i in range(20)]


def refusal(path):
    """The same by the function, fifty times as fast: for a file a byte."""
    try:
        api.inspect(path, jobs=1)
    except CheckpointError as error:
        return Done(3, "", f"scalecheck: {error}\n")
    return Done(0, "", "")


def test_file_cut_at_any_byte_is_refused(tmp_path):
    path = sound(tmp_path / "model.safetensors", "v", "w")
    whole = path.read_bytes()
    for nbytes in range(len(whole)):
        path.write_bytes(whole[:nbytes])
        said = refusal(path)
        assert is_refusal(said, path, "…")
        assert str(len(whole[:nbytes])) in said.err or "bytes of data" in said.err


def test_shard_cut_at_any_byte_is_refused_by_its_own_name(tmp_path):
    sound(tmp_path / "a.safetensors", "v")
    shard = sound(tmp_path / "b.safetensors", "w")
    path = index(tmp_path, {"v": "a.safetensors", "w": "b.safetensors"})
    whole = shard.read_bytes()
    for nbytes in range(len(whole)):
        shard.write_bytes(whole[:nbytes])
        assert is_refusal(refusal(path), shard, "…")


def test_index_cut_at_any_byte_is_refused(tmp_path):
    sound(tmp_path / "a.safetensors", "v")
    path = index(tmp_path, {"v": "a.safetensors"})
    whole = path.read_bytes()
    for nbytes in range(len(whole)):
        path.write_bytes(whole[:nbytes])
        assert is_refusal(refusal(path), path, "…")


def test_any_byte_may_be_any_other(tmp_path):
    path = sound(tmp_path / "model.safetensors", "v")
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in range(header):
        for other in (0, 0x22, 0x39, 0x7D, 0xFF, whole[place] ^ 1):
            path.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
            said = refusal(path)
            assert said.code == 0 or is_refusal(said, path, "…"), (place, other)


@pytest.mark.parametrize(
    "kind",
    [
        "endless_device",
        "header_length_of_16_mb",
        "header_of_16_mb_of_zeros",
        "header_of_100000_names",
        "header_of_five_million_lists",
        "index_of_many_tib",
        "sizes_are_many",
    ],
)
def test_worst_files_are_refused_within_512_mib(kind, tmp_path):
    path = UNREADABLE[kind].build(tmp_path)
    said = limited("RLIMIT_DATA", 512 * MIB, "inspect", path)
    assert is_refusal(said, path, UNREADABLE[kind].problem)


def test_tensor_of_8_tib_costs_nothing_while_it_is_not_wanted(tmp_path):
    path = READABLE["tensor_of_8_tib"](tmp_path)
    said = scalecheck("inspect", path, "--match", "small", "--format", "csv")
    assert said.code == 0
    assert said.out.splitlines()[1].startswith("small,F32,1,")


def test_file_larger_than_the_address_space_may_be_is_read(tmp_path):
    path = READABLE["tensor_of_8_tib"](tmp_path)
    said = limited("RLIMIT_AS", 4096 * MIB, "inspect", path, "--match", "small")
    assert (said.code, said.err) == (0, "")


def test_memory_does_not_grow_with_the_tensor(tmp_path):
    path = READABLE["tensor_of_8_tib"](tmp_path)
    calls = """
import sys, scalecheck
checkpoint = scalecheck.open_checkpoint(sys.argv[1])
def progress(done, total, calls=iter(range(8))):
    if next(calls, None) is None:
        print(max(int(line.split()[1]) for line in open("/proc/self/status") if "VmHWM" in line))
        raise SystemExit
scalecheck.inspect(checkpoint, progress=progress)
"""
    done = subprocess.run([sys.executable, "-c", calls, path], capture_output=True, check=True)
    assert int(done.stdout) < 120 * 1024


def test_message_is_bounded_whatever_a_file_calls_things(tmp_path):
    said = scalecheck("inspect", index(tmp_path, {"w" * 10**6: 5}))
    assert said.code == 3
    assert len(said.err) < MAX_MESSAGE + 100
    assert said.err.endswith("www: shard 5 is no file name\n")


def shrunk(path):
    os.truncate(path, path.stat().st_size // 2)


def grown(path):
    os.truncate(path, path.stat().st_size * 2)


def replaced(path):
    other = path.with_name("other")
    other.touch()
    os.truncate(other, path.stat().st_size)
    other.replace(path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (shrunk, r"changed while it was read \(43 bytes, 86 at the start\)"),
        (grown, r"changed while it was read \(172 bytes, 86 at the start\)"),
        (replaced, r"changed while it was read \(86 bytes, 86 at the start\)"),
        (os.unlink, "no such file or directory"),
    ],
)
def test_file_that_changes_before_it_is_measured_is_unreadable(change, problem, tmp_path):
    path = sound(tmp_path / "model.safetensors", "w")
    checkpoint = api.open_checkpoint(path)
    change(path)
    with pytest.raises(CheckpointError, match=f"(?i)model.safetensors: {problem}"):
        api.inspect(checkpoint)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("change", [shrunk, replaced, os.unlink])
def test_file_that_changes_while_it_is_measured_is_unreadable(change, jobs, tmp_path):
    nbytes = 256 * MIB
    header = {"w": entry("U8", [nbytes], [0, nbytes])}
    path = sparse(tmp_path / "model.safetensors", header, nbytes)
    changes = iter([change])

    def progress(*_):
        for make in changes:
            make(path)

    with pytest.raises(CheckpointError, match=r"model\.safetensors: "):
        api.inspect(path, jobs=jobs, progress=progress)


def test_file_that_shrinks_within_a_stretch_is_unreadable(tmp_path):
    nbytes = 4 * MIB
    header = {"w": entry("U8", [nbytes], [0, nbytes])}
    path = sparse(tmp_path / "model.safetensors", header, nbytes)
    [tensor] = api.open_checkpoint(path).tensors
    blocks = tensor.blocks()
    next(blocks)
    os.truncate(path, 2 * MIB)
    with pytest.raises(CheckpointError, match="ends at byte 2097152 and had 4194384"):
        list(blocks)


def test_file_without_permission_is_refused(tmp_path):
    path = sound(tmp_path / "model.safetensors", "w")
    path.chmod(0)
    with permissions_that_count():
        assert is_refusal(scalecheck("inspect", path), path, "permission denied")


def test_shard_without_permission_is_refused_by_its_own_name(tmp_path):
    shard = sound(tmp_path / "a.safetensors", "w")
    shard.chmod(0)
    path = index(tmp_path, {"w": "a.safetensors"})
    with permissions_that_count():
        assert is_refusal(scalecheck("inspect", path), shard, "permission denied")


@pytest.mark.parametrize("mode", [0o000, 0o100])
def test_folder_that_may_not_be_listed_is_refused(mode, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir(mode)
    with permissions_that_count():
        assert is_refusal(scalecheck("inspect", folder), folder, "permission denied")


def test_file_in_a_folder_that_may_not_be_entered_is_refused(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    path = sound(folder / "model.safetensors", "w")
    folder.chmod(0o600)
    with permissions_that_count():
        assert is_refusal(scalecheck("inspect", path), path, "permission denied")
        assert is_refusal(scalecheck("inspect", folder), folder, "permission denied")
    folder.chmod(0o700)


def test_nul_in_a_path_is_unreadable():
    with pytest.raises(CheckpointError, match="null byte"):
        api.open_checkpoint("model\0.safetensors")


def test_debug_adds_the_traceback_to_the_line(tmp_path):
    said = scalecheck("--debug", "inspect", tmp_path / "missing")
    assert said.code == 3
    assert said.err.startswith("Traceback")
    assert said.err.endswith(f"scalecheck: {tmp_path}/missing: no such file or directory\n")
