"""argv to exit code: the only place where an error becomes a line on stderr."""

import errno
import gc
import os
import signal
import sys
import traceback
from typing import Annotated, NoReturn, TextIO

import typer

from scalecheck import __version__, api
from scalecheck.cli.check import check
from scalecheck.cli.command import Command
from scalecheck.cli.exit_code import ExitCode
from scalecheck.cli.translate import translate
from scalecheck.errors import CheckpointError, NotAllRead, ScalecheckError, reason
from scalecheck.report.formatting import inert, printable, shortened

MAX_MESSAGE = 1000  # characters; a name from a file can have any number
MAX_WIDTH = 10_000  # characters of a line; a help page fills it with blanks
ALLOCATIONS = 50_000  # between looks for garbage: what is read of a file has no circles
_USED_UP = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_NO_THREAD = "can't start new thread"  # of a RuntimeError

app = typer.Typer(
    name="scalecheck",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_READ = "Exits 0 when it was read, 2 for wrong usage, 3 when it could not be read."
_BOTH_READ = "Exits 0 when both were read, 2 for wrong usage, 3 when one could not be read."
_JUDGED = (
    "Exits 0 without findings that fail, 1 with some, 2 for wrong usage or where no rule could "
    "run, 3 when a checkpoint could not be read; of several checkpoints with the largest of these."
)
_REPLAYED = "Exits 0 when every law holds, 1 when one breaks, 2 for wrong usage."
COMMANDS = (
    Command(api.inspect, _READ),
    Command(api.translate, _READ, translate),
    Command(api.diff, _BOTH_READ),
    Command(api.check, _JUDGED, check),
    Command(api.simulate, _REPLAYED, unit="steps"),
)
for command in COMMANDS:
    command.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"scalecheck {__version__}")
        raise typer.Exit


@app.callback(help="The scale of a model's weights, and what an lr is to them.")
def main(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="On an error, print the traceback too.")
    ] = False,
) -> None:
    """Takes the options that stand before a command."""


def run() -> NoReturn:
    """Runs the command line and leaves with its exit code."""
    if sys.stdout is None:  # the caller closed it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 # open to the end
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 # open to the end
    gc.set_threshold(ALLOCATIONS)
    _bound_width()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # a TextIOWrapper
    sys.exit(_exit_code())


def _bound_width() -> None:
    """Takes from the environment a width that is none, and limits one that is too large."""
    for name in ("COLUMNS", "LINES", "TERMINAL_WIDTH"):
        word = os.environ.get(name)
        if word is None:
            continue
        if not (word.isascii() and word.isdecimal() and word.strip("0")):
            del os.environ[name]
        elif len(word.lstrip("0")) >= len(str(MAX_WIDTH)):
            os.environ[name] = str(MAX_WIDTH)


def _exit_code() -> int:
    try:
        code = int(app(standalone_mode=False) or ExitCode.CLEAN)
        # typer has its own answers to Ctrl-C and to a closed pipe: an exit code without a word.
        return _failed("interrupted", code) if code == ExitCode.INTERRUPTED else code
    except (KeyboardInterrupt, typer.Abort):
        return _failed("interrupted", ExitCode.INTERRUPTED)
    except SystemExit as error:
        if error.code == 128 + getattr(signal, "SIGXCPU", 24):
            return _failed("no more processor time; raise the limit (ulimit -t)", error.code)
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        _discard(sys.stdout)  # the reader has what it wanted
        return ExitCode.CLEAN
    except typer.TyperException as error:
        return _failed(error.format_message(), ExitCode.USAGE)
    except NotAllRead as error:
        return max(_failed(str(each), ExitCode.UNREADABLE, each.help) for each in error.errors)
    except CheckpointError as error:
        return _failed(str(error), ExitCode.UNREADABLE, error.help)
    except ScalecheckError as error:
        return _failed(str(error), ExitCode.USAGE)
    except OSError as error:
        if error.errno is None or error.errno in _USED_UP:
            return _unexpected(error)
        # Files name themselves in their errors; what is left is a full disk behind stdout.
        _discard(sys.stdout)
        return _failed(f"standard output: {reason(error)}", ExitCode.USAGE)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "torch":
            return _failed("this replays torch's optimizers: pip install torch", ExitCode.USAGE)
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    """Tells what the system is to blame for from what is to be reported."""
    words = f"{type(error).__name__}: {error}".strip(": ")
    is_used_up = getattr(error, "errno", None) in _USED_UP or str(error) == _NO_THREAD
    # An extension that finds no memory may fail without saying so, which is a SystemError.
    if is_used_up or isinstance(error, MemoryError | SystemError):
        problem = "no more memory, threads or files; raise the limit (ulimit -a) or pass --jobs 1"
    elif isinstance(error, ImportError | OSError):  # an OSError for a library that a module loads
        problem = "cannot import what it needs; free memory, or install it anew"
    else:
        problem = "internal error, please report it with the output of --debug"
    return _failed(f"{problem}: {words}", ExitCode.INTERNAL)


def _failed(message: str, code: int, help: str = "") -> int:
    try:
        if "--debug" in sys.argv[1:]:
            print(inert(traceback.format_exc()), file=sys.stderr)
        if message:  # without arguments typer has printed the help instead
            print(printable(f"scalecheck: {shortened(message, MAX_MESSAGE)}"), file=sys.stderr)
        if help:
            print(printable(f"  help: {help}"), file=sys.stderr)
    except OSError:
        _discard(sys.stderr)
    return code


def _discard(stream: TextIO) -> None:
    """Lets a stream that cannot be written swallow the rest: the interpreter must not fail on its
    last flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
