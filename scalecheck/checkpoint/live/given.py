"""What is given in the place of a path from Python, made what commands take."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.live.models import checkpoint_of
from scalecheck.checkpoint.live.objects import is_module, is_optimizer
from scalecheck.checkpoint.live.optimizers import LiveState
from scalecheck.checkpoint.tensor import Checkpoint


def model_of(given: Any) -> Any:
    """The checkpoint of a model in memory; a path and a checkpoint as they are. Raises TypeError
    with what was expected."""
    if isinstance(given, str | Checkpoint):
        return given
    if isinstance(given, os.PathLike):
        return Path(given)
    if is_module(given) or isinstance(given, Mapping):
        return checkpoint_of(given)
    expected = "a path, an nn.Module or a mapping of names to arrays"
    raise TypeError(f"{expected}, not {type(given).__name__}")


def state_of(given: Any) -> Any:
    """The state of an optimizer in memory, of its state_dict(), or of a list of them; a path as it
    is. Raises TypeError with what was expected."""
    if isinstance(given, str | LiveState):
        return given
    if isinstance(given, os.PathLike):
        return Path(given)
    several = given if isinstance(given, list | tuple) else [given]
    if several and all(is_optimizer(one) or isinstance(one, Mapping) for one in several):
        return LiveState.of(*several)
    wrong = next((one for one in several if not is_optimizer(one)), given)
    expected = "a path, a torch Optimizer or a list of them"
    raise TypeError(f"{expected}, not {type(wrong).__name__}")


def is_live_optimizer(given: object) -> bool:
    """Whether it is an optimizer in memory, its state_dict() or a list of them, and no name."""
    several = given if isinstance(given, list | tuple) else [given]
    return any(is_optimizer(one) or isinstance(one, Mapping) for one in several)
