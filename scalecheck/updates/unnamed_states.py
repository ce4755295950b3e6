"""The optimizer states that are not certain to be a tensor's: each by itself, and what those of one
shape say together of the tensors that they are of."""

from statistics import median
from typing import Any

from scalecheck.checkpoint.optimizer_state import ParamState
from scalecheck.updates.saved_state import States
from scalecheck.updates.state_statistics import StateStatistics, figures
from scalecheck.updates.training import Trainings


class UnnamedStates:
    """Their figures, each read once."""

    def __init__(self, trainings: Trainings, states: States) -> None:
        self._trainings = trainings
        self._states = states
        self._read: dict[str, StateStatistics] = {}
        self._medians: dict[tuple[int, ...], float | None] = {}

    def row(self, state: ParamState) -> dict[str, Any]:
        """The row of one."""
        training = self._trainings.of("", self._states.of_group(state))
        lr = 0.0 if self._states.is_still(state) else None
        saved = vars(self._figures(state))
        return {
            **saved,
            "state_reason": saved["reason"] or None,
            "name": state.label,
            "shape": None if state.shape is None else [*state.shape],
            "lr": training.lr if training.is_lr_known else lr,
            "weight_decay": training.weight_decay,
        }

    def update_rms(self, shape: tuple[int, ...]) -> float | None:
        """The median RMS of the last updates of those of this shape, or of what is about as large;
        None where none tells it."""
        if shape not in self._medians:
            alike = [one for one in self._states.unnamed if one.shape == shape]
            told = [self._figures(one) for one in alike if one.saved_name is None]
            updates = [
                one.update_rms_near if one.update_rms is None else one.update_rms for one in told
            ]
            known = [update for update in updates if update is not None]
            self._medians[shape] = median(known) if known else None
        return self._medians[shape]

    def _figures(self, state: ParamState) -> StateStatistics:
        if state.label not in self._read:
            training = self._trainings.of("", self._states.of_group(state))
            self._read[state.label] = figures(state, training.optimizer, training.lr)
        return self._read[state.label]
