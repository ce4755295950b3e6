"""What a law is: a file in this folder, which replays an optimizer and claims what should hold."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from scalecheck.laws.replay.experiment import Experiment
from scalecheck.laws.replay.replay import Replayed
from scalecheck.report.report import Table


class Law(Protocol):
    """What a module of this folder has.

    ORDER: its place among the laws that `simulate` shows; None for what only an option shows.
    """

    ORDER: int | None

    def tables(self, experiment: Experiment, run: Replayed) -> Iterator[Table]:
        """What was replayed, and a table "claims" of what is claimed of it. `run` is the replay
        that all laws share: the experiment's gradients, as they are and k times larger."""
        ...

    def answer(self, experiment: Experiment, tables: Sequence[Table]) -> str:
        """What the tables come to, in one sentence with the numbers that carry it; empty where the
        answer of another law says it."""
        ...
