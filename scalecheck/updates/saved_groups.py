"""The parameter groups of a saved optimizer state: the lr of each, and which of their states are
empty."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scalecheck.checkpoint.optimizer_state import ParamState
from scalecheck.report.formatting import listed, plural, setting
from scalecheck.updates.recognition import Recognised, saved_states


class GroupLrs(NamedTuple):
    """The settings of each group with the lr that its training had. still: the numbers of groups
    that do not move, note: what was put in the place of an lr."""

    settings: Sequence[Mapping[str, Any]]
    still: frozenset[int]
    note: str


def with_lrs(groups: Sequence[Mapping[str, Any]]) -> GroupLrs:
    """Where the lr is 0, that before the schedule: initial_lr, which torch's schedulers note. A
    group of lr 0 without one is still if others move."""
    stopped = [number for number, group in enumerate(groups) if group.get("lr") == 0]
    started = dict.fromkeys(n for n in stopped if is_lr(groups[n].get("initial_lr")))
    settings = [
        {**group, "lr": group["initial_lr"]} if number in started else group
        for number, group in enumerate(groups)
    ]
    still = frozenset(stopped).difference(started)
    if not any(is_lr(group.get("lr")) for group in settings):
        still = frozenset()
    lrs = listed([*dict.fromkeys(setting(settings[number]["lr"]) for number in started)])
    whose = "" if len(started) == len(groups) else f" of {plural(len(started), 'group')}"
    note = f"the lr{whose} is 0, as a schedule that has ended leaves it: initial_lr {lrs} is used"
    return GroupLrs(settings, still, note if started else "")


def is_lr(lr: object) -> bool:
    """Whether it is a positive number."""
    return isinstance(lr, int | float) and not isinstance(lr, bool) and 0 < lr < math.inf


def empty_states(states: Sequence[ParamState], known: Sequence[Recognised]) -> set[int]:
    """The places of states that hold nothing though their optimizer keeps something for each
    parameter that had a gradient: as it does where it is known to, or did for others of the
    group. known: what each group is recognised as."""
    filled = {one.group for one in states if not _is_bare(one)}
    kept = {
        number
        for number, group in enumerate(known)
        if group.name is not None
        and (number in filled or (filled and saved_states()[group.name].entries))
    }
    return {place for place, one in enumerate(states) if _is_bare(one) and one.group in kept}


def _is_bare(state: ParamState) -> bool:
    return not (state.tensors or state.numbers or state.left_out)
