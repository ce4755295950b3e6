"""The names of a state's parameters: the model's own, or none where another one is possible."""

from pathlib import Path

import pytest
import torch
from states import find_state, open_state
from torch import nn
from trained import OPTIMIZERS, Network, steps

from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.states.state_names import named
from scalecheck.errors import CheckpointError

SAMPLES = Path(__file__).parent.parent / "sample_ckpts"


def names_in(path):
    checkpoint = open_checkpoint(path)
    return named(find_state(checkpoint), checkpoint)


def true_names(model, optimizer):
    """The model's name of each parameter in the order of the optimizer's groups."""
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    return [name_of[id(one)] for group in optimizer.param_groups for one in group["params"]]


@pytest.mark.parametrize(
    "kind", [kind for kind in OPTIMIZERS if kind not in ("Adam two groups", "SGD without momentum")]
)
def test_the_parameters_of_a_training_file_are_named_by_order(save, kind):
    """Buffers lie between them, and a tied weight is there under two names."""
    model = Network()
    optimizer = steps(model, OPTIMIZERS[kind](model))
    path = save({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    assert [one.name for one in names_in(path).states] == true_names(model, optimizer)


def test_parameters_of_unknown_shape_are_not_named_where_two_orders_fit(save):
    """Without momentum nothing is kept, and as many could as well be listed by name."""
    model = Network()
    optimizer = OPTIMIZERS["SGD without momentum"](model)
    path = save({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    states = names_in(path).states
    assert [one.label for one in states] == [f"state[{key}]" for key in range(9)]


def test_the_names_of_groups_are_certain_or_absent(save):
    model = Network()
    optimizer = steps(model, OPTIMIZERS["Adam two groups"](model))
    path = save({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    names = [one.name for one in names_in(path).states]
    assert names == ["stem.weight", None, "down.weight"]
    assert [one.label for one in names_in(path).states] == [
        "stem.weight",
        "state[1] (3,)",
        "down.weight",
    ]


def test_frozen_parameters_leave_their_likes_unnamed(save):
    model = Network()
    rest = [p for p in model.parameters() if p is not model.norm.weight]
    optimizer = steps(model, torch.optim.Adam(rest))
    path = save({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    state = names_in(path)
    for one, true in zip(state.states, true_names(model, optimizer), strict=True):
        assert one.name == (None if one.shape == (3,) else true)
    assert state.notes[-1] == (
        "6 of 8 optimizer states are matched to tensors by shape and "
        "the model's order. 2 could belong to more than one tensor."
    )


@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_names_saved_with_the_state_are_used_in_any_order(save, wrapper):
    """An optimizer that was given named_parameters() keeps the names."""
    model = Network()
    pairs = [(wrapper + name, one) for name, one in reversed([*model.named_parameters()])]
    optimizer = steps(model, torch.optim.Adam(pairs))
    path = save({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    state = names_in(path)
    assert [one.name for one in state.states] == true_names(model, optimizer)
    assert [one.saved_name for one in state.states] == [name for name, _ in pairs]
    assert state.notes == (
        ("9 of 9 optimizer states are matched to tensors by the names saved with them."),
    )


def test_keys_that_are_names_name_their_parameters(save):
    """As torch.distributed.checkpoint gathers a state."""
    model = Network()
    truth = steps(model, torch.optim.Adam(model.parameters())).state_dict()
    names = [name for name, _ in model.named_parameters()]
    truth["state"] = {names[key]: entries for key, entries in truth["state"].items()}
    truth["param_groups"][0]["params"] = names[::-1]
    path = save({"model": model.state_dict(), "optimizer": truth})
    assert [one.key for one in open_state(path).states] == names[::-1]
    assert [one.name for one in names_in(path).states] == names[::-1]


def test_a_saved_name_of_another_shape_is_refused(save):
    model = Network()
    optimizer = steps(model, torch.optim.Adam(model.named_parameters()))
    weights = model.state_dict() | {"down.weight": torch.ones(2, 2)}
    path = save({"model": weights, "optimizer": optimizer.state_dict()})
    with pytest.raises(CheckpointError) as raised:
        names_in(path)
    assert raised.value.problem == (
        f"down.weight has a state of shape [3, 5], {path} has it of shape [2, 2]"
    )


def test_a_name_that_two_tensors_of_the_model_bear_is_not_used(save):
    """What a wrapper put before it is not known to belong to it."""
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(layer.named_parameters())
    weights = layer.state_dict() | {"module.weight": torch.ones(2, 2)}
    path = save({"model": weights, "optimizer": optimizer.state_dict()})
    assert [one.name for one in names_in(path).states] == [None, "bias"]


def test_a_parameter_without_a_name_among_others_with_names_gets_none(save):
    """Not even that of a tensor whose name is empty."""
    state = {"state": {}, "param_groups": [{"params": [0, "", "b"]}]}
    path = save({"model": {"": torch.ones(2), "b": torch.ones(2)}, "optimizer": state})
    names = [one.name for one in names_in(path).states]
    assert names == [None, "", "b"]


def test_two_modules_of_one_name_name_nothing(save):
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    groups = [{"params": [*layer.named_parameters()]} for layer in (one, two)]
    optimizer = torch.optim.Adam(groups)
    path = save({"model": one.state_dict(), "optimizer": optimizer.state_dict()})
    assert [one.name for one in names_in(path).states] == [None] * 4


def test_the_state_of_another_model_names_nothing(save):
    model = Network()
    optimizer = steps(model, torch.optim.Adam([*model.parameters()][::-1]))
    path = save({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    state = names_in(path)
    assert {one.name for one in state.states} == {None}
    assert state.notes == (
        (
            "No optimizer state is matched to a tensor: no order of the "
            "model's tensors gives the shapes of the 9 states."
        ),
    )


def test_what_may_belong_to_another_part_of_the_file_is_not_named(save):
    """An optimizer of a generator and of a critic beside it, which has the shape of a bias too."""
    model, critic = Network(), nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.Adam([*model.parameters(), *critic.parameters()])
    for parameter in (*model.parameters(), *critic.parameters()):
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    content = {"model": model.state_dict(), "critic": critic.state_dict()}
    path = save(content | {"optimizer": optimizer.state_dict()})
    named_ones = names_in(path).states
    assert [one.name for one in named_ones] == [name for name, _ in model.named_parameters()] + [
        None
    ]


def test_what_has_no_known_shape_may_belong_to_another_part_of_the_file(save):
    content = {"model": {"b": torch.ones(2, 3), "a": torch.ones(4)}, "critic": torch.ones(1, 3)}
    state = {"state": {1: {"exp_avg": torch.ones(4)}}, "param_groups": [{"params": [0, 1]}]}
    names = [one.name for one in names_in(save(content | {"optimizer": state})).states]
    assert names == [None, "a"]


def test_an_average_of_the_model_beside_it_changes_no_name(save):
    model = Network()
    optimizer = steps(model, torch.optim.Adam(model.parameters()))
    average = {name: one.clone() for name, one in model.state_dict().items()}
    content = {"model": model.state_dict(), "ema": average}
    path = save(content | {"optimizer": optimizer.state_dict()})
    assert [one.name for one in names_in(path).states] == true_names(model, optimizer)


@pytest.mark.parametrize("part", ["critic", "ema_model", "current_model_state"])
def test_a_part_like_the_model_is_a_copy_only_where_its_name_says_so(save, part):
    """A critic of the actor's architecture may be what the optimizer trains."""
    model = Network()
    optimizer = steps(model, torch.optim.Adam(model.parameters()))
    like = {name: one + 1 for name, one in model.state_dict().items()}
    content = {"model": model.state_dict(), part: like}
    path = save(content | {"optimizer": optimizer.state_dict()})
    names = [one.name for one in names_in(path).states]
    assert names == (true_names(model, optimizer) if part != "critic" else [None] * 9)


def test_modules_that_a_trainer_saved_side_by_side_have_no_order(save):
    """It may have listed their parameters in another."""
    parts = {name: nn.Linear(2, 2) for name in ("one", "another")}
    optimizer = torch.optim.Adam([*parts["another"].parameters(), *parts["one"].parameters()])
    for part in parts.values():
        part.weight.grad, part.bias.grad = torch.ones(2, 2), torch.ones(2)
    optimizer.step()
    content = {name: part.state_dict() for name, part in parts.items()}
    path = save({"model": content, "optimizer": optimizer.state_dict()})
    assert [one.name for one in names_in(path).states] == [None] * 4


def test_a_module_that_was_pickled_whole_has_its_order(save):
    model = Network()
    optimizer = steps(model, torch.optim.Adam(model.parameters()))
    path = save({"model": model, "optimizer": optimizer.state_dict()})
    assert [one.name for one in names_in(path).states] == true_names(model, optimizer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_file_in_the_order_of_the_alphabet_keeps_no_order(save, dtype):
    """It was made from a safetensors file, which lists one type after the other."""
    model = nn.ModuleDict({name: nn.Linear(2, 2, bias=False) for name in "cba"})
    model["a"].to(dtype)
    optimizer = torch.optim.Adam(model.parameters())
    content = {name: model.state_dict()[name] for name in ("b.weight", "c.weight", "a.weight")}
    if dtype == torch.float32:
        content = dict(sorted(content.items()))
    path = save({"model": content, "optimizer": optimizer.state_dict()})
    assert [one.name for one in names_in(path).states] == [None, None, None]


BUFFERS = {
    "mask": (torch.arange(16).reshape(4, 4) % 2).float(),
    "attn_mask": torch.ones(4, 4, dtype=torch.bool).tril(),
    "position_ids": torch.arange(16).reshape(4, 4),
    "running_var": torch.ones(4, 4),
    "cos_cached": torch.ones(4, 4),
}
"""Buffers of the shape of the parameters beside them: floats, booleans and whole numbers."""


def one_step(tensors):
    """Adam after a step of these."""
    parameters = [nn.Parameter(tensor) for tensor in tensors]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.Adam(parameters)
    optimizer.step()
    return optimizer.state_dict()


@pytest.mark.parametrize("buffer", BUFFERS)
def test_a_buffer_in_a_sorted_file_takes_no_state_and_no_name(buffer, save):
    names = ["l.0.weight", "l.1.weight", "out.bias"]
    model = {name: torch.randn(4, 4) for name in names}
    optimizer = one_step(model.values())
    found = []
    for content in (model, model | {f"l.1.{buffer}": BUFFERS[buffer]}):
        path = save({"model": dict(sorted(content.items())), "optimizer": optimizer})
        found.append([one.name for one in names_in(path).states])
    assert found[0] == found[1]


def test_a_buffer_behind_the_weight_of_its_module_shows_that_the_order_is_kept(save):
    """The parameters alone are in the order of the alphabet, which a module may have by chance."""
    model = {name: torch.randn(4, 4) for name in ("a.weight", "out.weight", "out.mask")}
    path = save({"model": model, "optimizer": one_step([*model.values()][:2])})
    assert [one.name for one in names_in(path).states] == ["a.weight", "out.weight"]


@pytest.mark.parametrize("beside", ["tiny-gpt.pt", "tiny-gpt"])
def test_the_names_of_a_sample_are_those_its_maker_gave(beside):
    """In its README: the matrices in the order of the model, then all other parameters."""
    order = [one for one in open_checkpoint(SAMPLES / "tiny-gpt.pt").tensors if one.tied_to is None]
    truth = [one.name for one in order if len(one.shape) == 2]
    truth += [one.name for one in order if len(one.shape) == 1]
    state = names_in(SAMPLES / beside)
    names = [one.name for one in state.states]
    if beside == "tiny-gpt.pt":
        assert names == truth
        assert state.notes == (
            ("52 of 52 optimizer states are matched to tensors by shape and the model's order."),
        )
    else:
        assert all(name in (None, true) for name, true in zip(names, truth, strict=True))
        assert names[:18] == truth[:18]
        assert sum(name is not None for name in names) == 26
