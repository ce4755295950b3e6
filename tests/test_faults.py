"""Every command that reads a checkpoint, under what a file, a terminal or a pipe can do to it: it
ends with a documented code, at most one line of error, and sends nothing raw to the terminal."""

import json
import os
from xml.etree import ElementTree

import pytest
from command import Done, scalecheck
from hostile import UNREADABLE, sound
from odd import READABLE
from process import finished, program

COMMANDS = {
    "inspect": lambda path: ("inspect", path),
    "translate": lambda path: ("translate", path, "--lr", "1e-3"),
    "diff": lambda path: ("diff", path, path),
    "history": lambda path: ("history", path, path),
    "check": lambda path: ("check", path, "--lr", "1e-3"),
}
pytestmark = pytest.mark.usefixtures("elsewhere")
every_command = pytest.mark.parametrize("command", COMMANDS)
LARGE = "ten_thousand_tensors"
QUICK = [kind for kind in READABLE if kind not in {LARGE, "tensor_of_8_tib"}]


def is_one_line(done):
    """No error, or one printable line of it, with one of help behind it, and no report."""
    if not done.err:
        return True
    line, *help = done.err.removesuffix("\n").split("\n")
    is_helped = not help or (len(help) == 1 and help[0].startswith("  help: "))
    are_printable = all(one.isprintable() for one in (line, *help))
    return line.startswith("scalecheck: ") and is_helped and are_printable and not done.out


@every_command
@pytest.mark.parametrize(
    ("kind", "columns"),
    [(kind, columns) for kind in QUICK for columns in (None, 20, 80)] + [(LARGE, None)],
)
def test_an_odd_file_is_read_or_refused_in_one_line(command, kind, columns, tmp_path):
    path = READABLE[kind](tmp_path)
    done = scalecheck(*COMMANDS[command](path), columns=columns)
    assert done.code in (0, 1, 2)
    assert is_one_line(done)
    assert all(line.isprintable() for line in done.out.splitlines())


@every_command
@pytest.mark.parametrize("kind", ["empty", "zip_that_ends_early", "tensors_overlap"])
def test_a_broken_file_is_exit_3_and_one_line(command, kind, tmp_path):
    done = scalecheck(*COMMANDS[command](UNREADABLE[kind].build(tmp_path)))
    assert (done.code, done.out) == (3, "")
    assert is_one_line(done)


@pytest.mark.parametrize("kind", [*QUICK, LARGE])
@pytest.mark.parametrize("form", ["json", "sarif", "junit", "github", "markdown"])
def test_a_verdict_on_an_odd_file_is_well_formed(kind, form, tmp_path):
    path = READABLE[kind](tmp_path)
    done = scalecheck("check", path, "--format", form)
    assert done.code in (0, 1)
    assert done.err == ""
    if form in ("json", "sarif"):
        json.loads(done.out, parse_constant=pytest.fail)
    elif form == "junit":
        ElementTree.fromstring(done.out)
    else:
        assert all(line.isprintable() for line in done.out.splitlines())


@every_command
@pytest.mark.parametrize(
    "name", ["a b.safetensors", "a\nb.safetensors", "\x1b[31m.safetensors", "ü"]
)
def test_a_path_of_any_characters_is_said_on_one_line(command, name, tmp_path):
    path = sound(tmp_path / name, "w.weight")
    done = scalecheck(*COMMANDS[command](path))
    assert done.code == 0
    assert all(line.isprintable() for line in done.out.splitlines())
    done = scalecheck(*COMMANDS[command](tmp_path / f"no {name}"))
    assert done.code == 3
    assert is_one_line(done)


@every_command
def test_a_path_that_is_no_utf8_is_read(command, tmp_path):
    path = sound(tmp_path / os.fsdecode(b"\xff\xfe.safetensors"), "w.weight")
    done = finished(program(*COMMANDS[command](path)))
    assert (done.code, done.err) == (0, "")
    done = scalecheck(*COMMANDS[command](path), "--format", "json")
    json.loads(done.out, parse_constant=pytest.fail)


@every_command
@pytest.mark.parametrize(
    ("language", "more"),
    [("C", {}), ("C", {"NO_COLOR": "1"}), ("C", {"TERM": "dumb"}), ("en_US.UTF-8", {})],
    ids=str,
)
def test_no_locale_breaks_a_table(command, language, more, tmp_path):
    path = READABLE["names_that_write_to_the_terminal"](tmp_path)
    environment = os.environ | {"LANG": language, "LC_ALL": language, "PYTHONUTF8": "0"} | more
    done = finished(program(*COMMANDS[command](path), env=environment))
    assert done.code in (0, 1)
    assert done.err == ""
    assert "\x1b" not in done.out


@every_command
def test_a_reader_that_closes_the_pipe_ends_it_quietly(command, tmp_path):
    path = sound(tmp_path / "model.safetensors", "w.weight")
    process = program(*COMMANDS[command](path))
    process.stdout.close()
    process.stdout = None
    assert finished(process) == Done(0, "", "")


@every_command
def test_a_full_disk_is_one_line(command, tmp_path):
    path = sound(tmp_path / "model.safetensors", "w.weight")
    with open("/dev/full", "w") as full:
        done = finished(program(*COMMANDS[command](path), stdout=full))
    assert done == Done(2, "", "scalecheck: standard output: no space left on device\n")
    done = scalecheck(*COMMANDS[command](path), "--output", "/dev/full")
    assert done == Done(2, "", "scalecheck: --output /dev/full: no space left on device\n")


@every_command
def test_a_report_that_cannot_be_written_leaves_nothing_behind(command, tmp_path):
    path = sound(tmp_path / "model.safetensors", "w.weight")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.iterdir())
    done = scalecheck(*COMMANDS[command](path), "--output", tmp_path / "folder")
    assert done.code == 2
    assert is_one_line(done)
    assert sorted(tmp_path.iterdir()) == before
