"""The progress bar: what is done, rate and time left, on a terminal, for work of over a second."""

import sys
from time import monotonic
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

PATIENCE = 1.0  # seconds


class Progress:
    """Shows bytes or other units done; nothing before PATIENCE, nor where stderr is no terminal."""

    def __init__(self, quiet: bool, unit: str = "bytes") -> None:
        self._unit = unit
        self._wanted = sys.stderr.isatty() and not quiet
        self._start = monotonic()
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, total: int) -> None:
        """Draws the bar at so many units of all."""
        if self._bar is None and self._wanted and monotonic() - self._start > PATIENCE:
            self._bar = _new_bar(self._unit)
            self._bar.start()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=total)


def _new_bar(unit: str) -> "Bar":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    bytes_done = (DownloadColumn(), TransferSpeedColumn())
    units_done = (MofNCompleteColumn(), TextColumn(unit))
    bar = Progress(
        BarColumn(),
        *(bytes_done if unit == "bytes" else units_done),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    bar.add_task("")
    return bar
