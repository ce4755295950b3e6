"""argv to exit code: the only place where an error becomes a line on stderr."""

import errno
import gc
import os
import signal
import sys
import traceback
from importlib import import_module
from typing import Annotated, Any, NoReturn, TextIO

import typer
from typer.core import TyperGroup

from scalecheck import __version__, api
from scalecheck.cli.check import check
from scalecheck.cli.command import Command, Example
from scalecheck.cli.exit_code import ExitCode
from scalecheck.cli.translate import translate
from scalecheck.errors import CheckpointError, NotAllRead, ScalecheckError, reason
from scalecheck.report.formatting import inert, printable, shortened

MAX_MESSAGE = 1000  # characters; a name from a file can have any number
MAX_PATH = 500  # of these; the problem stands behind it
MAX_WIDTH = 10_000  # characters of a line; a help page fills it with blanks
ALLOCATIONS = 200_000  # between looks for garbage: what is read of a file has no circles
_USED_UP = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_NO_THREAD = "can't start new thread"  # of a RuntimeError

CONTEXT = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    name="scalecheck",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)
_READ = "Exit codes: 0 when it was read, 2 for wrong usage, 3 when it could not be read."
_BOTH_READ = "Exit codes: 0 when both were read, 2 for wrong usage, 3 when one could not be read."
_RUN_READ = (
    "Exit codes: 0 when it was read, 1 when a finding fails by --fail-on, 2 for wrong usage, 3 "
    "when fewer than two checkpoints could be read."
)
_JUDGED = (
    "Exit codes: 0 when nothing fails, 1 when a finding fails, 2 for wrong usage or when no rule "
    "could run, 3 when a checkpoint could not be read; of several checkpoints the largest of these."
)
_REPLAYED = "Exit codes: 0 when every claim holds, 1 when one does not, 2 for wrong usage."
COMMANDS = (
    Command(
        api.inspect,
        _READ,
        (
            Example("scalecheck inspect model.safetensors", "Every tensor, with what stands out"),
            Example(
                "scalecheck inspect model.safetensors --by family", "The same tensor of all blocks"
            ),
            Example(
                "scalecheck inspect model.safetensors --format json --output baseline.json",
                "A baseline for check --baseline",
            ),
        ),
    ),
    Command(
        api.translate,
        _READ,
        (
            Example(
                "scalecheck translate model.safetensors --lr 3e-4 --sort relative_update",
                "Which tensors move fastest at this lr",
            ),
            Example(
                "scalecheck translate model.safetensors --lr 1e-5 --param-dtype bf16",
                "How much of each step pure bf16 rounds away",
            ),
            Example(
                "scalecheck translate model.safetensors --suggest",
                "Which lr published recipes use for such a model",
            ),
        ),
        translate,
    ),
    Command(
        api.diff,
        _BOTH_READ,
        (
            Example(
                "scalecheck diff before.safetensors after.safetensors", "How far each tensor moved"
            ),
            Example(
                "scalecheck diff before.safetensors after.safetensors --by layer --top 5",
                "The five layers that come first",
            ),
            Example(
                "scalecheck diff before.safetensors after.safetensors --lr 3e-4 --steps 1000",
                "The change next to what noise does in 1000 steps",
            ),
        ),
    ),
    Command(
        api.history,
        _RUN_READ,
        (
            Example("scalecheck history runs/gpt", "Every family over the checkpoints of a run"),
            Example(
                "scalecheck history runs/gpt --by tensor --sort exponent --top 10",
                "The ten tensors that move most like drift",
            ),
            Example(
                "scalecheck history --resumed-from old/checkpoint-900 new/checkpoint-1000",
                "Whether a resume kept the moments",
            ),
        ),
    ),
    Command(
        api.check,
        _JUDGED,
        (
            Example("scalecheck check model.safetensors --lr 3e-4", "The checkpoint, at this lr"),
            Example(
                "scalecheck check model.safetensors --select SC1 --fail-on warning",
                "Only the weights; warnings fail too",
            ),
            Example(
                "scalecheck check model.safetensors --baseline baseline.json",
                "What changed since an earlier report",
            ),
        ),
        check,
    ),
    Command(
        api.simulate,
        _REPLAYED,
        (
            Example("scalecheck simulate", "What adam does with gradients 10 times larger"),
            Example("scalecheck simulate --optimizer sgd --k 100", "Another optimizer and factor"),
            Example(
                "scalecheck simulate --optimizer adamw --noise student-t:5",
                "Gradients with heavy tails",
            ),
        ),
        unit="steps",
    ),
)
for command in COMMANDS:
    command.register(app)
REFERENCE = ("init", "rules", "optimizers")
"""Commands of the command line alone, each a module of this folder that is imported when it is
asked for."""


def reference(name: str) -> Command:
    """One of REFERENCE."""
    command: Command = import_module(f"scalecheck.cli.{name}").COMMAND
    return command


class Commands(TyperGroup):
    """The commands, of which those of REFERENCE are made when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *REFERENCE]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in REFERENCE:
            return super().get_command(ctx, cmd_name)
        alone = typer.Typer(add_completion=False, context_settings=CONTEXT)
        reference(cmd_name).register(alone)
        return typer.main.get_command(alone)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"scalecheck {__version__}")
        raise typer.Exit


@app.callback(
    cls=Commands, help="How large your weights are, and how far a learning rate moves them."
)
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_version, is_eager=True
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Print the traceback of an error too.")
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
        return _wrong_usage(error)
    except NotAllRead as error:
        return max(_refused(each, ExitCode.UNREADABLE) for each in error.errors)
    except CheckpointError as error:
        return _refused(error, ExitCode.UNREADABLE)
    except ScalecheckError as error:
        return _refused(error, ExitCode.USAGE)
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


def _wrong_usage(error: typer.TyperException) -> int:
    """Says what is wrong with the command line, and what was perhaps meant."""
    from scalecheck.cli.wrong_words import advice

    found = advice(error, sys.argv[1:]) if hasattr(error, "ctx") else None
    if found is None:
        from scalecheck.cli.command_line import of_command_line

        names = [command.name for command in COMMANDS]
        return _refused(of_command_line(error, sys.argv[1:], names), ExitCode.USAGE)
    return _failed(
        found.problem, ExitCode.USAGE, found.help if len(found.help) < MAX_MESSAGE else ""
    )


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


def _refused(error: ScalecheckError, code: int) -> int:
    from scalecheck.cli.advice import advice

    message = str(error)
    if isinstance(error, CheckpointError):
        message = f"{shortened(str(error.path), MAX_PATH)}: {error.problem}"
    return _failed(message, code, advice(error, sys.argv[1:]))


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
