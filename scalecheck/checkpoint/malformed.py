"""The error of a file's content, for readers that are not told the path of what they read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scalecheck.errors import CheckpointError


class Malformed(Exception):
    """The file says what no writer of checkpoints says; whoever knows the path adds it. help: what
    to do about it."""

    def __init__(self, words: str, help: str = "") -> None:
        super().__init__(words)
        self.help = help


class NotUnderstood(Malformed):
    """What the file holds is sound, and of a layout that is not read here."""


class NotTorchs(Malformed):
    """A pickle or a zip that another library wrote than torch. members: the first of a zip."""

    def __init__(self, words: str, members: Sequence[str] = ()) -> None:
        super().__init__(words)
        self.members = members


class OnlyOptimizer(Malformed):
    """The file holds an optimizer state and no model."""


def never_saved(what: str) -> Malformed:
    """The error of what torch.save never writes, where torch may read other tensors than we do."""
    return Malformed(
        f"{what}, which torch.save never writes: load it in torch and save its state_dict() anew"
    )


@contextmanager
def content_of(path: Path) -> Iterator[None]:
    """Makes a Malformed of the body the CheckpointError of a path."""
    try:
        yield
    except Malformed as error:
        raise CheckpointError(path, str(error), error.help) from error
