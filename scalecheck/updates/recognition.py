"""Which optimizer saved a state, and what its entries are, as the optimizers' own files say."""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from scalecheck import registry
from scalecheck.checkpoint.optimizer_state import Factored, ParamGroup, StateLayout
from scalecheck.optimizers.contract import Entry, SavedState

ORDER = (
    *("muon", "sgd", "rmsprop", "adagrad", "adadelta", "adafactor", "nadam", "rprop"),
    *("adamax", "lion", "radam", "adamw", "adam"),
)
"""A state that shows the evidence of several is taken for the first of these."""

UNKNOWN_OPTIMIZERS = {
    "ax": "torch.optim.ASGD",
    "exp_avg_diff": "Adan",
    "hessian": "Sophia",
    "state1": "bitsandbytes",
    "state2": "bitsandbytes",
    "z": "schedule-free optimizers",
}
"""Entries of the parameter's own shape in the states of optimizers without a formula here."""

TRANSFORMERS_ADAFACTOR = Factored("exp_avg_sq_row", "exp_avg_sq_col", keeps_dimensions=False)


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
    named = (state.every_entry.items() for state in saved_states().values())
    return tuple(dict.fromkeys(name for items in named for name, kind in items if kind in kinds))


@cache
def state_layout() -> StateLayout:
    """Which entries tell a parameter's shape."""
    own = entries_of(*(kind for kind in Entry if kind.has_own_shape))
    rows, columns = entries_of(Entry.SECOND_MOMENT_ROWS), entries_of(Entry.SECOND_MOMENT_COLUMNS)
    factored = [Factored(*pair) for pair in zip(rows, columns, strict=True)]
    return StateLayout(frozenset({*own, *UNKNOWN_OPTIMIZERS}), (*factored, TRANSFORMERS_ADAFACTOR))


def recognised(settings: Mapping[str, Any], entries: Collection[str]) -> str | None:
    """The optimizer that writes a group with these settings and states with these entries; None
    where none is known to."""
    states = saved_states()
    for name in (*ORDER, *sorted(states.keys() - set(ORDER))):
        state = states[name]
        as_fixed = all(
            bool(settings.get(each, fixed)) == fixed for each, fixed in state.fixed.items()
        )
        if as_fixed and any(one.holds(settings, entries) for one in state.evidence):
            return name
    return None


def group_settings(group: ParamGroup, entries: Collection[str]) -> dict[str, Any]:
    """The settings of a group under the names of scalecheck's optimizers, and "optimizer", the one
    that it is recognised as; None where it is not."""
    pairs: dict[str, tuple[str, str]] = {}
    for state in saved_states().values():
        pairs |= state.pairs
    found: dict[str, Any] = {}
    for name, value in group.settings.items():
        if name in pairs and isinstance(value, tuple):
            found |= dict(zip(pairs[name], value, strict=False))
        elif isinstance(value, str | int | float):
            found[name] = value
    return found | {"optimizer": recognised(group.settings, entries)}


def is_guessed(group: ParamGroup, entries: Collection[str]) -> bool:
    """Whether weight decay is in the gradient or beside it is not said, and makes a difference."""
    told = "decoupled_weight_decay" in group.settings
    is_decayed = bool(group.settings.get("weight_decay"))
    return not told and is_decayed and recognised(group.settings, entries) == "adamw"
