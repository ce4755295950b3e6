"""Libraries that a format needs and that are not installed with this program."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from scalecheck.errors import CheckpointError


def library(name: str, path: Path, needed_for: str) -> ModuleType:
    """A library of the extra `formats`. Raises CheckpointError where it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise CheckpointError(
            path,
            f"{needed_for} needs the library {name.partition('.')[0]} ({error})",
            "pip install 'scalecheck[formats]'",
        ) from error
