"""argv to exit code: the only place where an error becomes a line on stderr."""

import os
import sys
import traceback
from enum import IntEnum
from typing import Annotated, NoReturn

import typer

from scalecheck import __version__
from scalecheck.cli.inspect import inspect
from scalecheck.errors import CheckpointError, ScalecheckError
from scalecheck.report.figures import text


class ExitCode(IntEnum):
    CLEAN = 0
    FINDINGS = 1
    USAGE = 2
    UNREADABLE = 3
    INTERNAL = 70  # EX_SOFTWARE of sysexits.h
    INTERRUPTED = 130


app = typer.Typer(
    name="scalecheck",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(inspect)


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
    """The scale of every tensor of a checkpoint, and what a learning rate means for it."""


def run() -> NoReturn:
    """Runs the command line and leaves with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # a TextIOWrapper
    sys.exit(_exit_code())


def _exit_code() -> int:
    try:
        return int(app(standalone_mode=False) or ExitCode.CLEAN)
    except (KeyboardInterrupt, typer.Abort):
        return _failed("interrupted", ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader has what it wanted; the interpreter must not fail on its last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.CLEAN
    except typer.TyperException as error:
        return _failed(error.format_message(), ExitCode.USAGE)
    except CheckpointError as error:
        return _failed(str(error), ExitCode.UNREADABLE)
    except ScalecheckError as error:
        return _failed(str(error), ExitCode.USAGE)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".strip(": ")
        return _failed(
            f"internal error, please report it with the output of --debug: {reason}",
            ExitCode.INTERNAL,
        )


def _failed(message: str, code: ExitCode) -> ExitCode:
    if "--debug" in sys.argv[1:]:
        traceback.print_exc()
    print(f"scalecheck: {text(message)}", file=sys.stderr)
    return code
