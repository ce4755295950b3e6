"""What an object of a program is: a tensor, an array, a module, an optimizer. torch is never
imported for it: who has an object of torch's has imported torch."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeGuard

import numpy as np

_INNER = ("optimizer", "_optimizer", "base_optimizer")  # where optimizers keep one that they lead
_TRAINERS = ("accelerate", "deepspeed", "lightning", "lightning_fabric", "pytorch_lightning")


class Module(Protocol):
    """An nn.Module, as far as it is looked at."""

    def named_modules(
        self, memo: Any = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]: ...

    def state_dict(self) -> Mapping[str, Any]: ...


class Optimizer(Protocol):
    """A torch Optimizer, as far as it is looked at."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...

    def state_dict(self) -> Mapping[str, Any]: ...


def torch() -> Any:
    """The torch that the program has imported; None where it has not."""
    return sys.modules.get("torch")


def is_tensor(value: object) -> bool:
    """A torch tensor, of whatever class."""
    return torch() is not None and isinstance(value, torch().Tensor)


def is_module(value: object) -> TypeGuard[Module]:
    """An nn.Module."""
    return torch() is not None and isinstance(value, torch().nn.Module)


def is_optimizer(value: object) -> TypeGuard[Optimizer]:
    """A torch Optimizer, or what has its groups and states, as those of other libraries."""
    groups, state = getattr(value, "param_groups", None), getattr(value, "state", None)
    return isinstance(groups, list) and isinstance(state, Mapping) and hasattr(value, "step")


def unwrapped(optimizer: Optimizer) -> tuple[Optimizer, bool]:
    """The optimizer inside another one, and whether that may change its updates, as Lookahead and
    SAM do; those of training libraries hand the step on."""
    for name in _INNER:
        inner = getattr(optimizer, name, None)
        if inner is not optimizer and is_optimizer(inner):
            found, is_led = unwrapped(inner)
            library = type(optimizer).__module__.partition(".")[0]
            return found, is_led or library not in _TRAINERS
    return optimizer, False


def parts_of(value: Any) -> list[str] | None:
    """The names of the tensors that a tensor of a class of its own is made of, as quantised ones
    are; None of a plain one, and of a DTensor and a nested one, which are read by themselves."""
    if hasattr(value, "_local_tensor") or not hasattr(value, "__tensor_flatten__"):
        return None
    if value.is_nested:
        return None
    names, _ = value.__tensor_flatten__()
    return [*names]


def is_array(value: object) -> bool:
    """An array that is no torch tensor: numpy's own, and those that numpy can make one of, as of
    JAX, MLX and TensorFlow. Single numbers of numpy are none."""
    if isinstance(value, np.ndarray):
        return True
    if isinstance(value, np.generic | type) or is_tensor(value):
        return False
    is_convertible = hasattr(value, "__array__") or hasattr(value, "__dlpack__")
    return is_convertible and hasattr(value, "shape") and hasattr(value, "dtype")
