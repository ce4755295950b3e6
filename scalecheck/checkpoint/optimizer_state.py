"""The optimizer state that was saved with a model: its settings, and for each parameter the tensors
that it keeps, read when asked."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from scalecheck.checkpoint.files.folders import Unread
from scalecheck.checkpoint.tensor import Tensor

ParamKey = int | str
Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class ParamGroup:
    """Parameters with common settings: numbers, words, None, and tuples of them such as betas, of a
    table those of its rows.

    `params` are the keys of its parameters, `param_names` their names where they were saved,
    `left_out` its settings that are nothing of that. `torch_class` is torch.optim's class of an
    optimizer that is in memory.
    """

    settings: Mapping[str, Scalar | tuple[Scalar, ...]]
    params: tuple[ParamKey, ...]
    param_names: tuple[str, ...] | None = None
    left_out: tuple[str, ...] = ()
    torch_class: str = ""


class Factored(NamedTuple):
    """The names of a matrix's averages over each row and over each column. keeps_dimensions: the
    dimension that they were taken over is left, of size 1, as torch leaves it."""

    row: str
    column: str
    keeps_dimensions: bool = True


class StateLayout(NamedTuple):
    """Which entries of a state tell the parameter's shape: those that have it, and averages over
    its rows and columns."""

    own_shape: Collection[str]
    factored: Collection[Factored]


@dataclass(frozen=True)
class ParamState:
    """What an optimizer keeps for a parameter: no tensors where it never had a gradient.

    `group` is the number of its group, `step` its own count of steps or else its group's, `shape`
    the parameter's shape where the state tells it: of one rank's piece of it where that is kept.
    `entries` are what the optimizer keeps beside its step, as it names it. `tensors` and `numbers`
    are those and what they consist of, such as `Q[0]` and `exp_avg.codes`; a tensor without
    dimensions that is one number is among the numbers. `saved_name` is the name saved with the
    state, `name` the checkpoint's, None where it is not certain. `left_out` are the entries that
    are neither numbers nor tensors. `place` is that of its optimizer among several of a file.
    """

    key: ParamKey
    group: int
    step: float | None = None
    shape: tuple[int, ...] | None = None
    tensors: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    numbers: Mapping[str, Scalar] = field(default_factory=dict)
    saved_name: str | None = None
    name: str | None = None
    entries: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    place: str = ""

    @property
    def label(self) -> str:
        """Its name, or where that is not certain its key and shape: `state[17] (64, 64)`, of one of
        several optimizers `optimizers[1] state[17] (64, 64)`."""
        if self.name is not None:
            return self.name
        shape = f" {self.shape}" if self.shape is not None else ""
        return f"{self.place} state[{self.key}]{shape}".lstrip()


@dataclass(frozen=True)
class OptimizerState:
    """What a file holds of an optimizer: the states in the order of the groups' params, and notes
    on what was left out and on how names were found. is_inner: it is of an optimizer inside another
    one, which may have changed its updates. unread: why there are no states though one was found,
    in a phrase; the notes say more. The groups are then those that are certain, or none. tensors:
    all of its file but for the rows of the checkpoint; others: those of them that are in no
    parameter's state. unopened: what was not looked into at all. in_memory: no file holds it.
    """

    path: Path
    groups: tuple[ParamGroup, ...]
    states: tuple[ParamState, ...] = field(repr=False)
    notes: tuple[str, ...] = ()
    is_inner: bool = False
    unread: str = ""
    in_memory: bool = False
    tensors: tuple[Tensor, ...] = field(default=(), repr=False)
    others: tuple[Tensor, ...] = field(default=(), repr=False)
    unopened: tuple[Unread, ...] = ()

    @property
    def in_no_state(self) -> tuple[Tensor, ...]:
        """The tensors that no parameter's state has."""
        return self.tensors if self.unread else self.others
