"""Optimizer states opened with all that is known of their entries."""

from functools import partial

from scalecheck.checkpoint import open_state as opening
from scalecheck.updates.recognition import state_layout

open_state = partial(opening.open_state, layout=state_layout())
find_state = partial(opening.find_state, layout=state_layout())
