"""Optimizer states opened with all that is known of their entries."""

from functools import partial

from scalecheck.checkpoint import optimizer_state
from scalecheck.updates.recognition import state_layout

open_state = partial(optimizer_state.open_state, layout=state_layout())
find_state = partial(optimizer_state.find_state, layout=state_layout())
