"""The settings of an optimizer as the types of its hyperparameters have them: files, the command
line and programs write whole numbers as floats, and flags as 0 and 1."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from numbers import Real
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

_KINDS = {str: "a word", float: "a number", int: "a whole number", bool: "true or false"}


def typed(kind: type, settings: Mapping[str, object]) -> dict[str, Any]:
    """Those of the settings that are fields of a dataclass. Raises ValueError for a value that is
    of another type."""
    hints = get_type_hints(kind)
    names = [each.name for each in fields(kind)]
    return {name: _typed(name, settings[name], hints[name]) for name in names if name in settings}


def _typed(name: str, value: object, hint: Any) -> object:
    if NoneType in get_args(hint):
        if value is None:
            return None
        hint = get_args(hint)[0]
    if get_origin(hint) is tuple:
        return _items(name, value, get_args(hint))
    if hint is str and isinstance(value, str):
        return value
    if hint is float and isinstance(value, Real):
        return value
    if hint is int and isinstance(value, Real) and value == value // 1:
        return math.trunc(value)
    if hint is bool and isinstance(value, Real) and value in (False, True):
        return bool(value)
    raise ValueError(f"{name} {value!r} is not {_KINDS[hint]}")


def _items(name: str, value: object, hints: Sequence[Any]) -> object:
    if ... in hints:
        return value
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != len(hints):
        raise ValueError(f"{name} {value!r} is not {len(hints)} numbers")
    return tuple(_typed(name, item, hint) for item, hint in zip(value, hints, strict=True))
