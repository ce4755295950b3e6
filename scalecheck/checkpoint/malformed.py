"""The error of a file's content, for readers that are not told the path of what they read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scalecheck.errors import CheckpointError


class Malformed(Exception):
    """The file says what no writer of checkpoints says; whoever knows the path adds it."""


class NotUnderstood(Malformed):
    """What the file holds is sound, and of a layout that is not read here."""


class NotTorchs(Malformed):
    """A pickle or a zip that another library wrote than torch."""


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
        raise CheckpointError(path, str(error)) from error
