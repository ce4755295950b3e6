"""A reader that goes away, a full disk, Ctrl-C, a bad place for the report: at most one line, and
never half a report."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import Done, scalecheck
from hostile import UNREADABLE, sound
from odd import READABLE
from process import at_most, finished, on_terminal, permissions_that_count, program, shown


def test_ctrl_c_ends_it_at_once_with_one_line_and_no_half_report(tmp_path):
    path = READABLE["tensor_of_8_tib"](tmp_path)
    arguments = ("inspect", path, "--output", tmp_path / "report", "--jobs", 2)
    with at_most(10), on_terminal(*arguments) as (process, end):  # 8 TiB take hours
        said = shown(end, until=b"TB")  # the progress bar: it is reading
        os.write(end, b"\x03")
        said += shown(end)
        assert process.wait() == 130
    assert said.endswith(b"scalecheck: interrupted\r\n")
    assert b"Traceback" not in said
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("option", ["--help", "--version"])  # commands: test_faults.py
def test_reader_that_closes_the_pipe_ends_it_quietly(option):
    process = program(option)
    process.stdout.close()
    process.stdout = None
    assert finished(process) == Done(0, "", "")


def test_full_disk_behind_the_help_is_one_line():
    with open("/dev/full", "w") as full:
        said = finished(program("--help", stdout=full))
    assert said == Done(2, "", "scalecheck: standard output: no space left on device\n")


def test_full_disk_behind_stderr_leaves_the_exit_code(tmp_path):
    with open("/dev/full", "w") as full:
        assert finished(program("inspect", tmp_path, stderr=full)).code == 3


@pytest.mark.parametrize("closed", [1, 2])
def test_stream_closed_by_the_caller_changes_neither_the_other_nor_the_exit_code(closed, tmp_path):
    command = f'exec "$0" -m scalecheck inspect "$1" {closed}>&-'
    for path, code in ((sound(tmp_path / "model.safetensors", "w"), 0), (tmp_path / "none", 3)):
        done = subprocess.run(["sh", "-c", command, sys.executable, path], capture_output=True)
        assert done.returncode == code
        assert bool(done.stdout) == (closed == 2 and code == 0)
        assert bool(done.stderr) == (closed == 1 and code == 3)


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("nowhere/report", "no such file or directory"),
        ("folder", "is a directory"),
        ("model.safetensors/report", "not a directory"),
        ("loop", "too many levels of symbolic links"),
        ("r" * 300, "file name too long"),
    ],
)
def test_bad_output_path_fails_before_the_checkpoint_is_looked_at(target, problem, tmp_path):
    sound(tmp_path / "model.safetensors", "w")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.iterdir())
    said = scalecheck("inspect", tmp_path / "missing", "--output", tmp_path / target)
    assert (said.code, said.out) == (2, "")
    assert said.problem == f"scalecheck: --output {tmp_path / target}: {problem}"
    assert sorted(tmp_path.iterdir()) == before


def test_report_never_takes_the_place_of_a_checkpoint(tmp_path):
    path = sound(tmp_path / "model.safetensors", "w")
    whole = path.read_bytes()
    said = scalecheck("inspect", path, "--output", path)
    problem = "is read by this command, and not replaced"
    assert said == Done(2, "", f"scalecheck: --output {path}: {problem}\n")
    assert path.read_bytes() == whole


def test_output_without_permission_fails_before_the_checkpoint_is_looked_at(tmp_path):
    (tmp_path / "report").write_text("kept")
    (tmp_path / "report").chmod(0o400)
    (tmp_path / "folder").mkdir(0o500)
    for target in (tmp_path / "report", tmp_path / "folder" / "report"):
        with permissions_that_count():
            said = scalecheck("inspect", tmp_path / "missing", "--output", target)
        assert said == Done(2, "", f"scalecheck: --output {target}: permission denied\n")
    assert (tmp_path / "report").read_text() == "kept"


@pytest.mark.parametrize("kind", ["empty", "zip_that_ends_early", "tensors_overlap"])
def test_failure_leaves_the_report_of_before_and_no_half_of_a_new_one(kind, tmp_path):
    (tmp_path / "report").write_text("name,numel,rms\nkept,1,1\n")
    path = UNREADABLE[kind].build(tmp_path)
    assert scalecheck("inspect", path, "--output", tmp_path / "report").code == 3
    assert (tmp_path / "report").read_text() == "name,numel,rms\nkept,1,1\n"
    assert sorted(tmp_path.iterdir()) == sorted([path, tmp_path / "report"])


def test_report_takes_the_place_and_the_permissions_of_the_one_before(tmp_path):
    path = sound(tmp_path / "model.safetensors", "w")
    (tmp_path / "report").write_text("name,numel,rms\nold,1,1\n")
    (tmp_path / "report").chmod(0o604)
    (tmp_path / "link").symlink_to("report")
    assert scalecheck("inspect", path, "--output", tmp_path / "link") == Done(0, "", "")
    assert f"\n{path}: safetensors" in (tmp_path / "report").read_text()
    assert (tmp_path / "report").stat().st_mode & 0o777 == 0o604
    assert (tmp_path / "link").is_symlink()
    assert len(list(tmp_path.iterdir())) == 3


def test_output_to_a_pipe_arrives_whole(tmp_path):
    path = sound(tmp_path / "model.safetensors", "w")
    os.mkfifo(tmp_path / "pipe")
    process = program("inspect", path, "--output", tmp_path / "pipe")
    assert f"\n{path}: safetensors" in (tmp_path / "pipe").read_text()
    assert finished(process) == Done(0, "", "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("inspect", "sample_ckpts/tiny-gpt"), 0),
        (("inspect", "sample_ckpts/tiny-gpt.pt"), 0),
        (("translate", "sample_ckpts/tiny-gpt"), 0),
        (("check", "sample_ckpts/broken.safetensors"), 1),
        (("diff", "sample_ckpts/tiny-gpt.pt", "sample_ckpts/tiny-gpt-bf16"), 0),
        (("simulate",), 2),
    ],
)
def test_without_torch_only_replays_are_missing_and_say_so(arguments, code, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.chdir(Path(__file__).parent.parent)
    done = scalecheck(*arguments)
    assert done.code == code
    said = "scalecheck: this replays torch's optimizers: pip install torch\n"
    assert done.err == (said if code == 2 else "")


def test_ctrl_c_during_the_imports_is_one_line(tmp_path):
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    done = subprocess.run(
        [sys.executable, "-m", "scalecheck", "--version"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "scalecheck: interrupted\n")
