"""What the system takes away: memory, threads, time, a dependency, a docstring, a sane terminal."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import scalecheck
from hostile import sound
from process import finished, program

from scalecheck import registry
from scalecheck.cli.main import COMMANDS

TINY = Path(__file__).parents[1] / "sample_ckpts" / "tiny-gpt"
USED_UP = (
    "scalecheck: no more memory, threads or files; raise the limit (ulimit -a) or pass --jobs 1"
)
NOT_IMPORTED = "scalecheck: cannot import what it needs; free memory, or install it anew"
ERRORS = {
    "MemoryError('for an array')": f"{USED_UP}: MemoryError: for an array\n",
    'RuntimeError("can\'t start new thread")': f"{USED_UP}: RuntimeError: can't start new thread\n",
    "OSError(12, 'no memory')": f"{USED_UP}: OSError: [Errno 12] no memory\n",
    "OSError(24, 'open files')": f"{USED_UP}: OSError: [Errno 24] open files\n",
    "ImportError('broken')": f"{NOT_IMPORTED}: ImportError: broken\n",
    "OSError('libc10.so: no such file')": f"{NOT_IMPORTED}: OSError: libc10.so: no such file\n",
}


@pytest.mark.parametrize("error", ERRORS)
def test_what_the_system_is_to_blame_for_is_not_to_be_reported(error):
    fails = f"import scalecheck.commands.inspect as c\ndef f(*_): raise {error}\nc.inspect = f"
    done = finished(program("inspect", TINY, before=fails))
    assert (done.code, done.out, done.err) == (70, "", ERRORS[error])


def started(*arguments, folder=None, options=(), **environment):
    """The console script as it is started, with a folder before all others on the path."""
    return subprocess.run(
        [sys.executable, *options, "-m", "scalecheck", *map(str, arguments)],
        env=os.environ | ({} if folder is None else {"PYTHONPATH": str(folder)}) | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("module", ["numpy", "typer", "rich"])
@pytest.mark.parametrize("text", ["x = (", "raise ImportError('a\\nb')", "import nowhere"])
def test_a_dependency_that_fails_to_import_is_one_line(module, text, tmp_path):
    (tmp_path / f"{module}.py").write_text(text)
    done = started("inspect", TINY, folder=tmp_path)
    assert done.stderr.count("\n") == bool(done.returncode)
    assert done.returncode in (0, 70)  # rich draws nothing here
    assert done.returncode == 0 or done.stderr.startswith("scalecheck: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGXCPU"])
def test_a_command_that_the_system_ends_leaves_no_draft(name, tmp_path):
    """Asked to end while it waits for the rest of a pipe."""
    path, number = sound(tmp_path / "model.safetensors", "w.weight"), getattr(signal, name)
    os.mkfifo(tmp_path / "pipe")
    options = ("--baseline", tmp_path / "pipe", "--output", tmp_path / "report")
    process = subprocess.Popen(
        [sys.executable, "-m", "scalecheck", "check", path, *options],
        stderr=subprocess.PIPE,
        text=True,
        # Under nohup the tests themselves ignore SIGHUP, and would hand that on.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    with (tmp_path / "pipe").open("wb") as writer:  # open when the command reads it
        writer.write(b"{")
        writer.flush()
        assert [path.suffix for path in tmp_path.glob(".scalecheck-*")] == [".part"]
        process.send_signal(number)
        said = process.communicate()[1]
    assert process.returncode == 128 + number
    assert said == ("scalecheck: no more processor time; raise the limit (ulimit -t)\n") * (
        name == "SIGXCPU"
    )
    assert not list(tmp_path.glob(".scalecheck-*"))


def test_a_command_under_nohup_is_not_ended_by_the_terminal():
    code = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "import scalecheck.cli.main as m; from scalecheck.__main__ import main\n"
        "m.run = lambda: print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n"


def test_texts_of_rules_and_commands_survive_oo():
    """Where Python takes the docstrings away they are read from the files."""
    for arguments in (
        *(
            ("check", "--explain", rule.partition("_")[0])
            for rule in registry.built_in("rule")[::6]
        ),
        ("check", TINY, "--format", "sarif"),
        *((command.name, "--help") for command in COMMANDS),
        ("--help",),
    ):
        plain, bare = (started(*arguments, options=options) for options in ((), ("-OO",)))
        assert plain.stdout == bare.stdout
        assert plain.stderr == bare.stderr == ""


WIDTHS = ["1000000000", "9" * 30, "9" * 5000, "-5", "0", "000", "abc", "1e3", "²", "", " 7", "0x10"]


@pytest.mark.parametrize("width", WIDTHS, ids=lambda width: width[:10])
@pytest.mark.parametrize("arguments", [("--help",), ("inspect", "--help"), ("inspect", TINY)])
def test_a_width_that_is_none_or_huge_is_bounded(arguments, width, monkeypatch):
    monkeypatch.setenv("TERMINAL_WIDTH", width)
    done = scalecheck(*arguments, columns=width)
    assert (done.code, done.err) == (0, "")
    assert 500 < len(done.out) < 2_000_000
    assert max(map(len, done.out.splitlines())) <= 10_000


def test_no_warning_of_numpy_is_on_stderr():
    warns = (
        "import warnings\nfrom scalecheck.__main__ import main\nimport scalecheck.cli.main as m\n"
    )
    code = f"{warns}m.run = lambda: warnings.warn('overflow', RuntimeWarning)\nmain()"
    for options, is_told in (((), False), (("-W", "always"), True)):
        command = [sys.executable, *options, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True)
        assert ("overflow" in done.stderr) == is_told


@pytest.mark.parametrize("arguments", [("inspect", TINY), ("check", f"{TINY}.pt")])
def test_a_command_without_memory_says_so(arguments):
    """From less than the interpreter needs to as much as reading does."""
    for mib in (*range(60, 140, 20), *range(140, 170, 3), *range(170, 400, 20)):
        limit = (mib << 20, mib << 20)
        done = subprocess.run(
            [sys.executable, "-m", "scalecheck", *arguments, "--jobs", "2"],
            preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_AS, limit),
            env={k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            break
        assert done.returncode == 70
        assert "please report" not in done.stderr
        assert "memory" in done.stderr
    assert 100 < mib < 380
