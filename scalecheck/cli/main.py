"""argv to exit code: the only place where an error becomes a line on stderr."""

import os
import sys
import traceback
from typing import Annotated, NoReturn, TextIO

import typer

from scalecheck import __version__, api
from scalecheck.cli.check import check
from scalecheck.cli.command import Command
from scalecheck.cli.exit_code import ExitCode
from scalecheck.cli.translate import translate
from scalecheck.errors import CheckpointError, ScalecheckError, reason
from scalecheck.report.formatting import printable, shortened

MAX_MESSAGE = 1000  # characters; a name from a file can have any number


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
    "run, 3 when it could not be read."
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


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="On an error, print the traceback too.")
    ] = False,
) -> None:
    """The scale of a model's weights, and what an lr is to them."""


def run() -> NoReturn:
    """Runs the command line and leaves with its exit code."""
    if sys.stdout is None:  # the caller closed it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 # open to the end
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 # open to the end
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # a TextIOWrapper
    sys.exit(_exit_code())


def _exit_code() -> int:
    try:
        code = int(app(standalone_mode=False) or ExitCode.CLEAN)
        # typer has its own answers to Ctrl-C and to a closed pipe: an exit code without a word.
        return _failed("interrupted", code) if code == ExitCode.INTERRUPTED else code
    except (KeyboardInterrupt, typer.Abort):
        return _failed("interrupted", ExitCode.INTERRUPTED)
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        _discard(sys.stdout)  # the reader has what it wanted
        return ExitCode.CLEAN
    except typer.TyperException as error:
        return _failed(error.format_message(), ExitCode.USAGE)
    except CheckpointError as error:
        return _failed(str(error), ExitCode.UNREADABLE, error.help)
    except ScalecheckError as error:
        return _failed(str(error), ExitCode.USAGE)
    except OSError as error:
        # Files name themselves in their errors; what is left is a full disk behind stdout.
        _discard(sys.stdout)
        return _failed(f"standard output: {reason(error)}", ExitCode.USAGE)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "torch":
            return _failed("this replays torch's optimizers: pip install torch", ExitCode.USAGE)
        words = f"{type(error).__name__}: {error}".strip(": ")
        return _failed(
            f"internal error, please report it with the output of --debug: {words}",
            ExitCode.INTERNAL,
        )


def _failed(message: str, code: int, help: str = "") -> int:
    try:
        if "--debug" in sys.argv[1:]:
            traceback.print_exc()
        if message:  # without arguments typer has printed the help instead
            line = printable(shortened(message, MAX_MESSAGE))
            print(f"scalecheck: {line}", file=sys.stderr)
        if help:
            print(f"  help: {printable(help)}", file=sys.stderr)
    except OSError:
        _discard(sys.stderr)
    return code


def _discard(stream: TextIO) -> None:
    """Lets a stream that cannot be written swallow the rest: the interpreter must not fail on its
    last flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
