"""The optimizers that a program holds as an optimizer state: settings, steps and moments as they
are at the moment, and names by what the parameters are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.live.arrays import tensor_of, view_of
from scalecheck.checkpoint.live.objects import Optimizer, is_optimizer, unwrapped
from scalecheck.checkpoint.live.trees import optimizer_table, tree_of
from scalecheck.checkpoint.malformed import Malformed, content_of
from scalecheck.checkpoint.optimizer_state import OptimizerState, ParamState, StateLayout
from scalecheck.checkpoint.state_file import opened
from scalecheck.checkpoint.states.open_state import with_tensors
from scalecheck.checkpoint.states.several_states import together
from scalecheck.checkpoint.states.state_names import named
from scalecheck.checkpoint.states.state_places import Place, places
from scalecheck.checkpoint.states.state_reader import StateReader
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.report.formatting import listed, plural


@dataclass(frozen=True)
class LiveState:
    """Optimizers in memory, or their state_dict()s; `path` is what they are called."""

    path: Path
    optimizers: Sequence[Optimizer | Mapping[Any, Any]]

    @classmethod
    def of(cls, *optimizers: Optimizer | Mapping[Any, Any]) -> "LiveState":
        optimizers = (*{id(one): one for one in optimizers}.values(),)
        words = [
            type(unwrapped(one)[0]).__name__ if is_optimizer(one) else "state dict"
            for one in optimizers
        ]
        return cls(Path(" and ".join(dict.fromkeys(words))), optimizers)

    def read(
        self, layout: StateLayout, checkpoint: Checkpoint, names: str | Path | None = None
    ) -> OptimizerState:
        """The state, with the checkpoint's names for its parameters: those of the tensors that are
        the same memory where some are, else as `state_names.named` finds them; names: a file of
        them.

        Raises CheckpointError where it is not understood.
        """
        views = {
            view: tensor.tied_to or tensor.name
            for tensor in checkpoint.tensors
            if (view := view_of(tensor)) is not None
        }
        with content_of(self.path):
            read = [
                self._of_mapping(one, layout)
                if isinstance(one, Mapping)
                else self._of_optimizer(one, layout, views)
                for one in self.optimizers
            ]
        is_same = any(one.name for state in read for one in state.states)
        if is_same and names is None:
            read = [_of_model(state) for state in read]
        found = [(f"optimizers[{number}]", one) for number, one in enumerate(read)]
        state = replace(
            together(found) if len(read) > 1 else read[0],
            tensors=tuple(tensor for one in read for tensor in one.tensors),
            others=tuple(tensor for one in read for tensor in one.others),
            in_memory=True,
        )
        if is_same and names is None:
            count = plural(len(state.states), "parameter")
            note = f"{count} of the optimizer named, as they are the model's own tensors"
            return replace(state, notes=(*state.notes, note))
        if not is_same and checkpoint.in_memory and all(map(is_optimizer, self.optimizers)):
            note = f"{self.path} holds none of the tensors of this {checkpoint.path}"
            state = replace(state, notes=(*state.notes, note))
        return named(state, checkpoint, names)

    def _of_mapping(self, mapping: Mapping[Any, Any], layout: StateLayout) -> OptimizerState:
        root = tree_of(mapping, self.path)
        found = places(root)
        if len(found) != 1:
            raise Malformed(f"holds {plural(len(found), 'optimizer state')}, and has to hold one")
        [place] = found
        with opened(self.path, root) as file:
            reader = StateReader(file, place, layout)
            state = replace(reader.read(), is_inner=place.is_inner)
            return with_tensors(state, file, [reader], ())

    def _of_optimizer(
        self, optimizer: Optimizer, layout: StateLayout, views: Mapping[object, str]
    ) -> OptimizerState:
        """Its state, with the names of parameters that are the model's own."""
        inner, is_led = unwrapped(optimizer)
        table = optimizer_table(inner, self.path)
        params = _distinct([param for group in inner.param_groups for param in group["params"]])
        tensors = [tensor_of("", param, self.path) for param in params]
        with opened(self.path, table) as file:
            reader = StateReader(file, Place("", table), layout)
            state = with_tensors(reader.read(), file, [reader], ())
        kind = type(inner)
        is_torchs = kind.__module__.partition(".optim.")[0] == "torch"
        torch_class = kind.__name__ if is_torchs else ""
        groups = (replace(group, torch_class=torch_class) for group in state.groups)
        states = (_named(one, tensors, views) for one in state.states)
        return replace(state, groups=(*groups,), states=(*states,), is_inner=is_led)


def _named(state: ParamState, tensors: Sequence[Tensor], views: Mapping[object, str]) -> ParamState:
    """The state with the shape of its parameter, and the model's name for it."""
    tensor = tensors[int(state.key)]
    return replace(state, name=views.get(view_of(tensor)), shape=tensor.shape)


def _of_model(state: OptimizerState) -> OptimizerState:
    """The states of the model's own parameters; a note names the others."""
    own = [one for one in state.states if one.name is not None]
    others = [one for one in state.states if one.name is None]
    if not others:
        return state
    labels = listed([one.label for one in others])
    count = f"{len(others)} of {len(state.states)} parameters of the optimizer"
    note = f"{count} are not the model's, and are left out: {labels}"
    return replace(state, states=(*own,), notes=(*state.notes, note))


def _distinct(params: Sequence[Any]) -> list[Any]:
    """Each parameter once, in the order of the numbers that `optimizer_table` gives them."""
    return [*{id(param): param for param in params}.values()]
