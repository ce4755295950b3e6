"""Which optimizer saved a group of an optimizer state, by the whole set of names in it: its
settings and the entries of its states. A set that no program is known to save is not known."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from types import NoneType
from typing import Any, get_args, get_type_hints

from scalecheck import registry
from scalecheck.checkpoint.keys import text_key
from scalecheck.checkpoint.optimizer_state import Factored, ParamGroup, ParamState, StateLayout
from scalecheck.optimizers.contract import (
    TORCH_FLAGS,
    Condition,
    Entry,
    Hyperparameters,
    SavedState,
    Writer,
)
from scalecheck.updates.foreign_states import FOREIGN, Foreign
from scalecheck.updates.without_formula import NOT_KNOWN, WithoutFormula

NEUTRAL = frozenset(
    {
        *TORCH_FLAGS,
        "fused",
        *("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr"),
        *("name", "lr_scale"),
    }
)
"""Settings that change no update: how torch computes, what torch's schedulers note beside the lr,
a user's name of the group, and timm's factor, which the lr holds already. maximize is one of them
where it is off."""

NOT_TOLD_APART = frozenset({"adam", "adamw"})
"""What states of older versions do not tell apart: where weight decay is. Both have one formula."""

OWN_SHAPE_ELSEWHERE = (
    *("ax", "exp_avg_diff", "hessian", "state1", "state2", "z", "exp_avg_var", "exp_avg_slow"),
    *("exp_avg_fast", "grok_exp_avg", "exp_avg_lr", "moment1", "moment2"),
)
"""Entries of the parameter's own shape in the states of optimizers without a formula here."""

NAMED = 12  # of the settings or entries that a note lists


@cache
def saved_states() -> Mapping[str, SavedState]:
    """What the saved state of each optimizer looks like, by its name."""
    return {
        name: registry.load("optimizer", name).Optimizer.state
        for name in registry.names("optimizer")
    }


@cache
def entries_of(*kinds: Entry) -> tuple[str, ...]:
    """The names that the optimizers have for entries of these kinds."""
    named = (_named(state, *kinds) for state in saved_states().values())
    return tuple(dict.fromkeys(name for names in named for name in names))


def _named(state: SavedState, *kinds: Entry) -> list[str]:
    return [name for name, kind in state.every_entry.items() if kind in kinds]


@cache
def state_layout() -> StateLayout:
    """Which entries tell a parameter's shape."""
    own = entries_of(*(kind for kind in Entry if kind.has_own_shape))
    factored = {
        Factored(*pair, keeps_dimensions=state.keeps_dimensions)
        for state in saved_states().values()
        for pair in zip(
            _named(state, Entry.SECOND_MOMENT_ROWS),
            _named(state, Entry.SECOND_MOMENT_COLUMNS),
            strict=True,
        )
    }
    return StateLayout(frozenset({*own, *OWN_SHAPE_ELSEWHERE}), sorted(factored))


@cache
def writers() -> Mapping[str, tuple[Writer, ...]]:
    """The programs that save each optimizer, by its name."""
    found = {}
    for name, state in saved_states().items():
        own = (_own(registry.load("optimizer", name).Optimizer()),) if state.is_distinct else ()
        found[name] = (*own, *state.writers)
    return found


def _own(optimizer: Hyperparameters) -> Writer:
    """What torch.optim's class of an optimizer saves, or the replay of one that torch lacks."""
    state = optimizer.state
    settings = optimizer.torch_settings().keys() | state.fixed.keys()
    return Writer(
        settings=settings - set(state.optional_settings),
        entries=state.entries.keys(),
        optional_settings=settings | set(state.optional_settings),
        optional_entries=state.optional_entries.keys(),
        values=state.fixed,
    )


Kept = frozenset[str]


class Recognised:
    """What a group of a state is recognised as: `name` of an optimizer with a formula, its `names`
    for hyperparameters and those that its program `implies`, or else `foreign`, a state that is
    known by its name, or neither, and `why`; `count` is its setting that counts the steps,
    `of_one_group` are those that its program takes from one group for all. torch_class:
    torch.optim's class of it, where that is known."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        states: Iterable[Collection[str]],
        torch_class: str = "",
    ) -> None:
        kept = {frozenset(entries) for entries in states}
        found = {
            name: writer
            for name, several in writers().items()
            for writer in several
            if _saves(writer, settings, kept)
        }
        found = {name: found[name] for name in _of_class(torch_class, found)} or found
        self.name: str | None = None
        self.names: Mapping[str, str] = {}
        self.implies: Mapping[str, object] = {}
        self.foreign: Foreign | None = None
        self.count = "step"
        self.of_one_group: Collection[str] = ()
        self.is_certain = len(found) == 1
        if self.is_certain or (found and found.keys() <= NOT_TOLD_APART):
            self.name = "adamw" if "adamw" in found else next(iter(found))
            self.names = found[self.name].names
            self.implies = found[self.name].implies
            self.count = found[self.name].count
            self.of_one_group = found[self.name].of_one_group
            return
        self.foreign = next((one for one in FOREIGN if _saves(one.writer, settings, kept)), None)
        if self.foreign is not None:
            self.count = self.foreign.writer.count
            self.why = f"{self.foreign.name}: {self.foreign.why}"
            return
        if torch_class and not found:
            self.why = f"torch.optim.{torch_class} has no formula here"
            return
        entries = sorted({name for one in kept for name in one})
        told = " or ".join(sorted(found))
        self.why = (
            f"optimizer not known{f', {told}' if told else ''} (settings {_listed(settings)}; "
            f"state {_listed(entries)}): --optimizer says which"
        )

    def reject(self, why: str) -> None:
        """Makes it one that is not known."""
        self.name = self.foreign = None
        self.why = f"optimizer not known: {why}"


def _of_class(torch_class: str, names: Iterable[str]) -> list[str]:
    """The optimizers that are torch.optim's of this class."""
    if not torch_class:
        return []
    classes = {name: registry.load("optimizer", name).Optimizer.torch_class for name in names}
    return [name for name, own in classes.items() if own == torch_class]


def _saves(writer: Writer, settings: Mapping[str, Any], kept: Collection[Kept]) -> bool:
    """Whether the program saves a group of these settings with states of these entries."""
    known = {"lr", *writer.settings, *writer.optional_settings}
    own = settings.keys() - {name for name in NEUTRAL - known if _is_neutral(name, settings)}
    entries, every_entry = set(writer.entries), {*writer.entries, *writer.optional_entries}
    return (
        own <= known
        and set(writer.settings) <= own
        and not settings.keys() & set(writer.without)
        and all(_is(settings[name], value) for name, value in writer.values.items() if name in own)
        and all(entries <= one <= every_entry for one in kept if one)
    )


def _is_neutral(name: str, settings: Mapping[str, Any]) -> bool:
    return name != "maximize" or not settings.get(name)


def _is(setting: object, value: object) -> bool:
    """Programs write 0, False and None for what is off."""
    if isinstance(value, Condition):
        return value.holds(setting)
    return bool(setting) == value if isinstance(value, bool) else setting == value


def _listed(names: Iterable[str]) -> str:
    first = [*names]
    more = f" and {len(first) - NAMED} more" if len(first) > NAMED else ""
    return (", ".join(first[:NAMED]) or "none") + more


def kept_by(state: ParamState, group: ParamGroup) -> set[str]:
    """The names of a state's entries; its step is the group's own where that has one."""
    step = {"step"} if state.step is not None and "step" not in group.settings else set()
    return {*state.entries, *step}


def recognised(group: ParamGroup, states: Iterable[ParamState]) -> Recognised:
    """What a group with these states is recognised as."""
    settings = {**group.settings, **dict.fromkeys(group.left_out)}
    found = Recognised(settings, [kept_by(state, group) for state in states], group.torch_class)
    unread = [name for name in group.left_out if name not in {"lr", *NEUTRAL}]
    if unread and (found.name or found.foreign):
        found.reject(
            f"its setting {unread[0]} cannot be read, as it is no number, no word and no short "
            "list of them: --optimizer says which"
        )
    return found


def all_recognised(
    groups: Sequence[ParamGroup], members: Sequence[Iterable[ParamState]]
) -> list[Recognised]:
    """What each group with these states is recognised as: not known where it differs from another
    in what its program takes from one group for all."""
    known = [*map(recognised, groups, members)]
    if not any(one.of_one_group for one in known):
        return known
    sets = [text_key(sorted(group.settings)) for group in groups]
    first: dict[str, Mapping[str, Any]] = {}
    differing: dict[str, set[str]] = defaultdict(set)
    for names, group in zip(sets, groups, strict=True):
        other = first.setdefault(names, group.settings)
        differing[names].update(n for n, value in group.settings.items() if value != other[n])
    for names, one in zip(sets, known, strict=True):
        if unlike := [name for name in one.of_one_group if name in differing[names]]:
            one.reject(f"its groups differ in {unlike[0]}, and it takes that of one group for all")
    return known


def group_settings(group: ParamGroup, of: Recognised) -> dict[str, Any]:
    """The settings of a group under the names of scalecheck's optimizers, and "optimizer": the name
    of the one that it is recognised as, or one without a formula."""
    pairs: dict[str, tuple[str, ...]] = {}
    for state in saved_states().values():
        pairs |= state.pairs
    if of.name is not None:
        pairs |= saved_states()[of.name].pairs
    found: dict[str, Any] = {}
    for name, value in group.settings.items():
        if name in pairs and isinstance(value, tuple):
            found |= dict(zip(pairs[name], value, strict=False))
    for name, value in group.settings.items():
        is_pair = name in pairs and isinstance(value, tuple)
        if isinstance(value, str | int | float | tuple) and not is_pair:
            found[name] = value
        elif value is None:
            found.pop(name, None)
    found |= {here: found[there] for here, there in of.names.items() if there in found}
    if of.name is None and "lr" in of.of_one_group:
        found.pop("lr", None)  # another group's moves its tensors
    if of.name is not None:
        found |= of.implies
        if absent := _absent(of, group.settings, found):
            why = f"optimizer not known: its state is like that of {of.name}, but {absent} is None"
            return found | {"optimizer": WithoutFormula(NOT_KNOWN, why)}
        return found | {"optimizer": of.name}
    decay = found.get("weight_decay", 0.0)
    decay = float(decay) if isinstance(decay, int | float) else 0.0
    foreign = of.foreign
    if foreign is None:
        return found | {"optimizer": WithoutFormula(NOT_KNOWN, of.why, decay)}
    optimizer = foreign.kind.of(foreign.name, of.why, decay, found)
    beta2 = found.get("beta2")
    if foreign.second_moment and isinstance(beta2, float) and 0 <= beta2 < 1:
        optimizer = replace(optimizer, second_moment=foreign.second_moment, beta2=beta2)
    return found | {"optimizer": optimizer}


@cache
def _numbers_of(optimizer: str) -> tuple[str, ...]:
    """The hyperparameters that are always a number or a word."""
    family = registry.load("optimizer", optimizer).Optimizer
    hints = get_type_hints(family)
    names = [field.name for field in fields(family)]
    return tuple(n for n in names if hints[n] is not bool and NoneType not in get_args(hints[n]))


def _absent(of: Recognised, saved: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """A setting that is saved as None where the formula needs a number."""
    for name in _numbers_of(of.name) if of.name is not None else ():
        there = of.names.get(name, name)
        if (there in saved and name not in found) or (name in found and found[name] is None):
            return there
    return None


def counted(state: ParamState, group: ParamGroup, of: Recognised) -> ParamState:
    """The state with the steps that its program counts under another name."""
    count = group.settings.get(of.count)
    if of.count == "step" or state.step is not None or not isinstance(count, int) or count < 0:
        return state
    return replace(state, step=float(count))


def is_guessed(group: ParamGroup, of: Recognised) -> bool:
    """Whether weight decay is in the gradient or beside it is not said, and makes a difference."""
    return of.name == "adamw" and not of.is_certain and bool(group.settings.get("weight_decay"))
