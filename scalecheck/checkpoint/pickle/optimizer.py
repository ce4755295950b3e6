"""The optimizer states in an unpickled file: found by content wherever a trainer keeps them, and
read as groups of settings and what is kept for each parameter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeGuard, TypeVar

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pickle.contents import (
    Child,
    Path,
    RepeatBudget,
    contents_of,
    optimizer_table,
    path_of,
    walk,
)
from scalecheck.checkpoint.pickle.inert import Key
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.pickle.tree import MAX_DEPTH, MAX_TENSORS
from scalecheck.checkpoint.tensor import MAX_NAME
from scalecheck.report.formatting import excerpt

MAX_ENTRIES = MAX_TENSORS  # of all groups and states; Adam has four for each parameter
MAX_SETTINGS = 1000  # of a group, which each of its parameters has; torch's have some 15
MAX_ITEMS = 16  # of a setting; betas are two or three

ParamKey = int | str
Scalar = bool | int | float | str | None
Kept = Scalar | TensorRecord
Setting = Kept | tuple[Kept, ...]
Table = dict[object, object]


SettingT = TypeVar("SettingT", covariant=True)


@dataclass(frozen=True)
class ParamGroup(Generic[SettingT]):
    """Parameters with common settings: numbers, words, None, and tuples of them such as betas.

    `params` are the keys of its parameters, `param_names` their names where they were saved,
    `left_out` its settings that are nothing of that.
    """

    settings: Mapping[str, SettingT]
    params: tuple[ParamKey, ...]
    param_names: tuple[str, ...] | None = None
    left_out: tuple[str, ...] = ()


GroupRecord = ParamGroup[Setting]


@dataclass(frozen=True, slots=True)
class StateRecord:
    """What is kept for a parameter; `left_out` names what is neither a scalar nor a tensor."""

    entries: Mapping[str, Kept]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OptimizerRecord:
    """A state dict of an optimizer; `left_out` names the settings that are neither numbers, words
    nor tuples of them."""

    groups: tuple[GroupRecord, ...]
    states: Mapping[ParamKey, StateRecord]
    left_out: tuple[str, ...]


def places(root: object) -> list[tuple[Path, Table]]:
    """Every `state` and `param_groups` that lie side by side, with the path to them, in the order
    of the file; what is held twice counts once."""
    found: list[tuple[Path, Table]] = []
    seen: set[int] = set()
    again = RepeatBudget()

    def visit(trail: Sequence[Child]) -> bool:
        node = trail[-1].node
        if isinstance(node, TensorRecord) or id(node) in seen:
            return False
        seen.add(id(node))
        if table := optimizer_table(node):
            found.append((path_of(trail), table))
            return False
        return len(trail) <= MAX_DEPTH

    walk(root, lambda node: contents_of(node, again), visit)
    return found


def read(table: Table) -> OptimizerRecord:
    """The optimizer state in a table of `state` and `param_groups`. Raises Malformed."""
    groups, states = table["param_groups"], table["state"]
    if not isinstance(groups, (list, tuple)) or not groups:
        raise Malformed("param_groups is no list of groups")
    if not isinstance(states, dict):
        raise Malformed("state is no dict")
    _check_size([*groups, *states.values()])
    left_out: dict[str, None] = {}
    read_groups = tuple(_group(number, group, left_out) for number, group in enumerate(groups))
    known: set[ParamKey] = set()
    for key in (key for group in read_groups for key in group.params):
        if key in known:
            raise Malformed(f"param_groups have parameter {_in_words(key)} more than once")
        known.add(key)
    read_states: dict[ParamKey, StateRecord] = {}
    for key, state in states.items():
        if not isinstance(key, (int, str)) or key not in known:
            raise Malformed(
                f"state.{_in_words(key)} is of a parameter that is in none of its groups"
            )
        read_states[key] = _state(key, state)
    return OptimizerRecord(read_groups, read_states, (*left_out,))


def _check_size(tables: list[object]) -> None:
    """Before any is read: a file can hold one large table a million times."""
    size = len(tables)
    for table in tables:
        if isinstance(table, dict):
            params = table.get("params")
            size += len(table) + (len(params) if isinstance(params, (list, tuple)) else 0)
        if size > MAX_ENTRIES:
            raise Malformed(f"its groups and states have more than {MAX_ENTRIES} entries")


def _group(number: int, group: object, left_out: dict[str, None]) -> GroupRecord:
    where = f"param_groups.{number}"
    if not isinstance(group, dict):
        raise Malformed(f"{where} is no dict of settings")
    if len(group) > MAX_SETTINGS:
        raise Malformed(f"{where} has {len(group)} settings, the limit is {MAX_SETTINGS}")
    params, names = group.get("params"), group.get("param_names")
    if not isinstance(params, (list, tuple)):
        raise Malformed(f"{where} has no list of params")
    if any(isinstance(key, TensorRecord) for key in params):
        raise Malformed("is a whole optimizer and not its state_dict(): no parameter has a key")
    settings: dict[str, Setting] = {}
    lacking: list[str] = []
    for name, setting in group.items():
        if name in ("params", "param_names"):
            continue
        if _is_text(name) and _is_setting(setting):
            settings[name] = (*setting,) if isinstance(setting, list) else setting
        else:
            lacking.append(_in_words(name))
            left_out[f"{where}.{lacking[-1]}"] = None
    return GroupRecord(
        settings,
        tuple(_param_key(key, where) for key in params),
        None if names is None else _param_names(names, len(params), where),
        (*lacking,),
    )


def _param_key(key: object, where: str) -> ParamKey:
    if _is_text(key) or (type(key) is int and abs(key) < 1 << 60):
        return key
    words = _in_words(key)
    raise Malformed(f"{where} has a parameter by {words}, neither a name nor an integer below 2^60")


def _param_names(names: object, count: int, where: str) -> tuple[str, ...]:
    if isinstance(names, (list, tuple)) and len(names) == count:
        texts = [name for name in names if _is_text(name)]
        if len(texts) == count:
            return (*texts,)
    raise Malformed(f"{where} has param_names that are not a name for each of its {count} params")


def _state(key: ParamKey, state: object) -> StateRecord:
    if not isinstance(state, dict):
        raise Malformed(f"state.{_in_words(key)} is no dict")
    entries: dict[str, Kept] = {}
    left_out = []
    for name, entry in state.items():
        if _is_text(name) and (isinstance(entry, TensorRecord) or _is_scalar(entry)):
            entries[name] = entry
        else:
            left_out.append(_in_words(name))
    return StateRecord(entries, (*left_out,))


def _is_setting(setting: object) -> TypeGuard[Setting | list[Kept]]:
    if isinstance(setting, (list, tuple)):
        return len(setting) <= MAX_ITEMS and all(map(_is_kept_whole, setting))
    return _is_kept_whole(setting)


def _is_kept_whole(setting: object) -> TypeGuard[Kept]:
    if isinstance(setting, TensorRecord):
        return setting.numel == 1
    return _is_scalar(setting)


def _is_scalar(value: object) -> TypeGuard[Scalar]:
    if type(value) is int:
        return abs(value) < 1 << 63
    return value is None or type(value) in (bool, float) or _is_text(value)


def _is_text(value: object) -> TypeGuard[str]:
    """Text that can be printed, which a lone surrogate cannot."""
    if type(value) is not str or len(value) > MAX_NAME:
        return False
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _in_words(key: object) -> str:
    """A key of the file in a message."""
    if isinstance(key, Key):
        key = key.original
    if isinstance(key, str):
        return excerpt(key, 40)
    if isinstance(key, int) and key.bit_length() > 64:
        return f"an integer of {key.bit_length()} bits"
    if isinstance(key, (int, float)):
        return str(key)
    return f"a {type(key).__name__}"
