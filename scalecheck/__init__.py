"""The scale of the weights of a model checkpoint, and what an lr is to them.

The functions have the names of the commands: `scalecheck.inspect(path)` is `scalecheck inspect`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from scalecheck.api import check, diff, inspect, simulate, translate
    from scalecheck.checkpoint.open import open_checkpoint
    from scalecheck.errors import CheckpointError, ScalecheckError, UsageError
    from scalecheck.theory.update_rms import update_rms

__all__ = [
    "CheckpointError",
    "ScalecheckError",
    "UsageError",
    "check",
    "diff",
    "inspect",
    "open_checkpoint",
    "simulate",
    "translate",
    "update_rms",
]

_HOME = {
    "CheckpointError": "scalecheck.errors",
    "ScalecheckError": "scalecheck.errors",
    "UsageError": "scalecheck.errors",
    "check": "scalecheck.api",
    "diff": "scalecheck.api",
    "inspect": "scalecheck.api",
    "open_checkpoint": "scalecheck.checkpoint.open",
    "simulate": "scalecheck.api",
    "translate": "scalecheck.api",
    "update_rms": "scalecheck.theory.update_rms",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: `--version` needs none of them."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
