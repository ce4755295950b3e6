"""The progress bar: what is done, rate and time left, on a terminal, for work of over a second."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

PATIENCE = 1.0  # seconds


@contextmanager
def progress(quiet: bool, unit: str) -> Iterator[Callable[[int, int], None]]:
    """What shows that so many bytes or other units are done of all; nothing before PATIENCE, nor
    where stderr is no terminal."""
    is_wanted = sys.stderr.isatty() and not quiet
    start = monotonic()
    bar: Progress | None = None

    def show(done: int, total: int) -> None:
        nonlocal bar
        if bar is None and is_wanted and monotonic() - start > PATIENCE:
            bar = _bar(unit)
            bar.start()
        if bar is not None:
            bar.update(bar.task_ids[0], completed=done, total=total)

    try:
        yield show
    finally:
        if bar is not None:
            bar.stop()


def _bar(unit: str) -> "Progress":
    from rich import progress as rich
    from rich.console import Console

    bar = rich.Progress(
        rich.BarColumn(),
        *(
            (rich.DownloadColumn(), rich.TransferSpeedColumn())
            if unit == "bytes"
            else (rich.MofNCompleteColumn(), rich.TextColumn(unit))
        ),
        rich.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    bar.add_task("")
    return bar
