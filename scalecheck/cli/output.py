"""Where a report goes: the terminal, a pipe, or a file that is whole or not there."""

import errno
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from shlex import quote
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Self

from scalecheck import options, registry
from scalecheck.cli.colour import paint
from scalecheck.cli.own_report import is_among, is_own
from scalecheck.errors import Fix, OptionError, UsageError, reason
from scalecheck.report.formatting import inert
from scalecheck.report.report import Layout, Report, pieces, renderers_for

if TYPE_CHECKING:
    from scalecheck.report.checks import Checks

Format = Annotated[
    str,
    options.output(
        "Output format: {choices}.", "FORMAT", choices=partial(renderers_for, "inspect")
    ),
]
Target = Annotated[
    Path | None, options.output("Write to this file instead of the terminal.", "FILE")
]
Verbose = Annotated[
    bool, options.output("Print every note, and all that was skipped, not the first five of each.")
]
Quiet = Annotated[
    bool, options.output("Print only the rows, without headline, totals, notes and progress.")
]


class Output:
    """A place for one report, tried before the long work: a bad path fails in the first second.

    A file is written beside its place and renamed into it, so that a failure leaves what was there.
    Nothing but a report is replaced, and no file that the command reads: paths are easily swapped.
    """

    def __init__(
        self,
        format: str,
        target: Path | None,
        quiet: bool,
        option: str = "output",
        reads: Sequence[Path] = (),
        verbose: bool = False,
    ) -> None:
        self._renderer: ModuleType = registry.load("renderer", format)
        self._target = target
        self._option = option
        self._quiet = quiet
        self._verbose = verbose
        self._reads = reads
        self._draft: Path | None = None

    def __enter__(self) -> Self:
        if self._target is not None:
            try:
                self._make_draft(self._target)
            except OSError as error:
                raise _unwritable(self._option, self._target, error) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._draft is not None:
            self._draft.unlink(missing_ok=True)

    def write(self, report: Report) -> None:
        """Renders the report and puts it in its place. Raises UsageError where that fails."""
        layout = Layout(quiet=self._quiet, verbose=self._verbose)
        if self._target is None:
            layout = on_stdout(layout)
        self._put(pieces(self._renderer, report, layout))

    def write_checks(self, checks: "Checks") -> None:
        """Renders the checks of several checkpoints, as `write` does a report."""
        from scalecheck.report.checks import rendered

        layout = Layout(quiet=self._quiet, verbose=self._verbose)
        layout = on_stdout(layout) if self._target is None else layout
        self._put([rendered(self._renderer, checks, layout)])

    def write_text(self, text: str) -> None:
        """Puts the text in its place, but for commands to the runner of a CI. Raises UsageError
        where that fails."""
        self._put([inert(text)])

    def _put(self, texts: Iterable[str]) -> None:
        if self._target is None:
            try:
                for text in _with_end(texts):
                    sys.stdout.write(text)
                sys.stdout.flush()
            except BrokenPipeError:  # the reader has what it wanted; the exit code is the report's
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        place = self._draft or self._target
        try:
            with place.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                file.writelines(_with_end(texts))
            if self._draft is not None:
                self._draft.replace(os.path.realpath(self._target))
                self._draft = None
        except OSError as error:
            raise OptionError(self._option, reason(error), self._target) from error

    def _make_draft(self, target: Path) -> None:
        """Makes an empty file beside the target, and none where that is a device or a pipe."""
        if target.is_dir():
            raise IsADirectoryError(None, "is a directory")
        if target.exists() and not target.is_file():
            # Not opened to try it: a pipe's reader takes the first close for the end.
            if not os.access(target, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        target = Path(os.path.realpath(target))
        if target.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if target.exists():
            if is_among(target, self._reads):
                raise FileExistsError(None, "is read by this command, and not replaced")
            with target.open("r+b"):  # whether it may be written
                pass
            if not is_own(target):
                problem = "is no report of scalecheck, and not replaced: remove it first"
                raise FileExistsError(None, problem)
        self._draft = target.with_name(f".scalecheck-{os.urandom(8).hex()}.part")
        with self._draft.open("xb"):
            if target.exists():
                shutil.copymode(target, self._draft)


def _unwritable(option: str, target: Path, error: OSError) -> UsageError:
    """The error of a place that cannot be written, with how to make its folder."""
    refusal = OptionError(option, reason(error), target)
    if not isinstance(error, FileNotFoundError) or target.parent.exists():
        return refusal
    before = f"mkdir -p {quote(str(target.parent))}"
    return UsageError(str(refusal), "", Fix(str(target), str(target), before=before))


def _with_end(texts: Iterable[str]) -> Iterator[str]:
    """The texts and a newline behind them, where they are any."""
    is_any = False
    for text in texts:
        is_any = is_any or bool(text)
        yield text
    if is_any:
        yield "\n"


def width() -> int | None:
    """Of standard output where it is a terminal or COLUMNS says one."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size().columns
    return None


def on_stdout(layout: Layout) -> Layout:
    """The layout with the room on standard output, and the colours that it shows."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return replace(
        layout,
        width=width(),
        blocks=encoding == "utf8" and os.environ.get("TERM") != "dumb",
        paint=paint(sys.stdout),
    )
