"""Optimizer states opened with all that is known of their entries, and files that hold some."""

from functools import partial

import torch

from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.states import open_state as opening
from scalecheck.updates.recognition import state_layout

open_state = partial(opening.open_state, layout=state_layout())
find_state = partial(opening.find_state, layout=state_layout())


def adam(shapes, keys=None, **settings):
    """The state dict of AdamW for parameters of these shapes."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(shape)) for shape in shapes])
    for group in optimizer.param_groups:
        group |= {"lr": 1e-5, **settings}
        for place, parameter in enumerate(group["params"]):
            parameter.grad = torch.full_like(parameter, 1e-3 * (1 + place))
    optimizer.step()
    state = optimizer.state_dict()
    if keys is not None:
        state["state"] = dict(zip(keys, state["state"].values(), strict=True))
        state["param_groups"][0]["params"] = [*keys]
    return state


def weights(shapes):
    torch.manual_seed(1)
    return {name: torch.randn(shape) * 0.02 for name, shape in shapes.items()}


MODEL = {"layers.0.w": (32, 32), "layers.1.w": (32, 32), "norm.weight": (32,)}
FIRST, SECOND, NORM = MODEL


def saved(name="run.pt", **parts):
    torch.save({"model": weights(MODEL), **parts}, name)
    return name


def read(path):
    checkpoint = open_checkpoint(path)
    return find_state(checkpoint), checkpoint
