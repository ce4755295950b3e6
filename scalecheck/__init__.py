"""How large the weights of a checkpoint are, and how far a learning rate moves them.

The functions have the names of the commands: `scalecheck.inspect(path)` is `scalecheck inspect`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from scalecheck.api import check, diff, history, inspect, simulate, translate
    from scalecheck.checkpoint.open import open_checkpoint
    from scalecheck.errors import CheckpointError, ScalecheckError, UsageError
    from scalecheck.theory.update_rms import update_rms

__all__ = [
    "CheckpointError",
    "ScalecheckError",
    "UsageError",
    "check",
    "diff",
    "history",
    "inspect",
    "open_checkpoint",
    "simulate",
    "translate",
    "update_rms",
]

_HOMES = {
    "scalecheck.api": {"check", "diff", "history", "inspect", "simulate", "translate"},
    "scalecheck.checkpoint.open": {"open_checkpoint"},
    "scalecheck.errors": {"CheckpointError", "ScalecheckError", "UsageError"},
    "scalecheck.theory.update_rms": {"update_rms"},
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: `--version` needs none of them."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
