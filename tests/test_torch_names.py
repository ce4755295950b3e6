"""Which tensors of a torch file are the model's, which the optimizer's, and under which names."""

import argparse
from collections import OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest
import torch
from torch import nn

from scalecheck.checkpoint.formats.torch import load
from scalecheck.checkpoint.open import with_kinds
from scalecheck.errors import CheckpointError


@pytest.fixture
def checkpoint(save):
    """Saves an object with torch and lists it."""
    return lambda obj: load(save(obj))


@pytest.fixture
def names(checkpoint):
    return lambda obj: [tensor.name for tensor in checkpoint(obj).tensors]


@pytest.fixture
def refusal(checkpoint):
    """What is said of an object that is refused."""

    def said(obj):
        with pytest.raises(CheckpointError) as raised:
            checkpoint(obj)
        return raised.value.problem

    return said


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def trained():
    """A network and its Adam after one step."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


STATE = list(network().state_dict())


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: dict(state),
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {"state_dict": state, "args": {"hidden": 4}}, "lr": 0.1},
        lambda state: {"anything": {"at all": state}},
        lambda state: [state, {"epoch": 3}],
        lambda state: (state, None, "text"),
        lambda state: list(state.items()),
        lambda state: {"weights": [*state.items()], "step": 1},
        lambda state: argparse.Namespace(net=state, epoch=1),
        lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": [{"lr": 1}]}},
    ],
)
def test_the_models_part_is_found_wherever_it_lies(names, wrapped):
    assert names(wrapped(network().state_dict())) == STATE


def test_names_are_kept_as_stored(names):
    state = {f"module.{name}": tensor for name, tensor in network().state_dict().items()}
    assert names({"state_dict": state}) == [f"module.{name}" for name in STATE]


def test_a_bare_tensor_is_named_tensor(names):
    assert names(torch.ones(2)) == ["tensor"]


def test_a_list_of_tensors_is_named_by_place(names):
    assert names([torch.ones(2), torch.ones(3)]) == ["0", "1"]


def test_an_empty_name_is_a_name(names):
    assert names({"": torch.ones(2), "b": torch.ones(1)}) == ["", "b"]


def test_pairs_that_repeat_a_name_are_a_list(names):
    log = [("loss", torch.ones(1)), ("loss", torch.ones(1))]
    assert names({"net": network().state_dict(), "log": log}) == [*STATE, "log.0.1", "log.1.1"]


def test_two_parts_of_one_model_keep_their_prefixes(names):
    parts = {"encoder": network().state_dict(), "decoder": nn.Linear(2, 2).state_dict()}
    assert names(parts) == [
        *(f"encoder.{name}" for name in STATE),
        "decoder.weight",
        "decoder.bias",
    ]


def test_two_layers_of_one_shape_are_no_copies_of_a_model(names):
    layers = {"first": nn.Linear(2, 2).state_dict(), "second": nn.Linear(2, 2).state_dict()}
    assert names(layers) == ["first.weight", "first.bias", "second.weight", "second.bias"]


@pytest.mark.parametrize("order", [("model", "ema"), ("ema", "model")])
def test_of_two_copies_the_customary_key_is_the_model(names, order):
    listed = names({part: network().state_dict() for part in order})
    expected = {"model": STATE, "ema": [f"ema.{name}" for name in STATE]}
    assert listed == [name for part in order for name in expected[part]]


def test_of_copies_without_a_customary_key_the_first_is_the_model(names):
    listed = names({"g": network().state_dict(), "g_ema": network().state_dict()})
    assert listed == [*STATE, *(f"g_ema.{name}" for name in STATE)]


def test_a_moving_average_of_the_parameters_alone_is_a_copy(names):
    average = dict(network().named_parameters())
    listed = names({"average": average, "raw": network().state_dict()})
    assert listed == [*average, *(f"raw.{name}" for name in STATE)]


def test_the_only_customary_key_is_the_model(names):
    parts = {"net": network().state_dict(), "extra": {"queue": torch.ones(1000, 3)}}
    assert names(parts) == [*STATE, "extra.queue"]


@pytest.mark.parametrize(
    ("state", "listed"),
    [
        ({"0.packed": (torch.ones(9, 9), torch.ones(9)), "1.n": 3}, ["0.packed.0", "0.packed.1"]),
        ({"0.scale": torch.ones(1), "0.extra": {"a": torch.ones(9)}}, ["0.scale", "0.extra.a"]),
        ({"w": torch.ones(9), "extra": {"scale": torch.ones(8)}}, ["w", "extra.scale"]),
        ({"weights": [torch.ones(2), torch.ones(3)]}, ["weights.0", "weights.1"]),
    ],
    ids=["quantised", "extra state", "small part", "list"],
)
def test_a_state_dict_with_containers_in_it_is_its_own_part(names, state, listed):
    """torch's quantised modules and get_extra_state put tuples and dicts between the tensors."""
    assert names(state) == listed


def test_tensors_beside_the_model_are_rows_under_their_place(names):
    model, optimizer = trained()
    training = {
        "epoch": 7,
        "rng": torch.get_rng_state(),
        "state_dict": model.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "hyper_parameters": {"alpha": torch.tensor(0.5), "config": argparse.Namespace(a=1)},
    }
    assert names(training) == ["rng", *STATE, "hyper_parameters.alpha"]


def test_a_name_taken_by_the_model_is_told_by_its_whole_path(names):
    state = {"rng": torch.ones(50), "w": torch.ones(50)}
    assert names({"state_dict": state, "rng": torch.ones(2)}) == ["state_dict.rng", "w", "rng"]


def test_two_tensors_of_one_whole_path_are_refused(refusal):
    assert refusal({0: torch.ones(1), "0": torch.ones(1)}) == "holds two tensors named 0"


@pytest.mark.parametrize("key", ["optimizer", "optim_g", "whatever"])
def test_optimizer_state_is_told_by_its_content(checkpoint, key):
    model, optimizer = trained()
    listed = checkpoint({"model": model.state_dict(), key: optimizer.state_dict()})
    assert [tensor.name for tensor in listed.tensors] == STATE
    names = [tensor.name for tensor in listed.optimizer]
    assert names == [
        f"{key}.state.{place}.{part}"
        for place in range(4)
        for part in ("step", "exp_avg", "exp_avg_sq")
    ]
    assert listed.optimizer[0].shape == ()
    moments = optimizer.state_dict()["state"][3]["exp_avg_sq"]
    assert np.array_equal(listed.optimizer[-1].words(), moments.numpy())


def test_optimizers_in_a_list_are_found(checkpoint):
    model, optimizer = trained()
    states = [optimizer.state_dict(), torch.optim.SGD(model.parameters()).state_dict()]
    listed = checkpoint({"state_dict": model.state_dict(), "optimizer_states": states})
    assert len(listed.optimizer) == 12
    assert listed.optimizer[1].name == "optimizer_states.0.state.0.exp_avg"


def test_a_whole_pickled_optimizer_is_no_row(checkpoint):
    model, optimizer = trained()
    listed = checkpoint({"model": model.state_dict(), "optimizer": optimizer})
    assert [tensor.name for tensor in listed.tensors] == STATE
    assert listed.notes == ("read as inert data: torch.optim.adam.Adam",)
    assert len(listed.optimizer) == 16


def test_optimizer_state_in_a_layout_of_its_own_goes_by_its_key(checkpoint):
    """As DeepSpeed partitions it, without param_groups."""
    partition = {"single_partition_of_fp32_groups": [torch.ones(8)], "zero_stage": 1}
    listed = checkpoint({"module": {"w": torch.ones(2)}, "optimizer_state_dict": partition})
    partition = "optimizer_state_dict.single_partition_of_fp32_groups.0"
    assert [tensor.name for tensor in listed.tensors] == ["w", partition]
    assert listed.non_model == {partition}
    assert with_kinds(listed).parameters == 2


def test_what_lies_in_an_optimizers_state_and_is_not_read_with_it_is_a_row(checkpoint):
    table = {"state": {0: {"m": torch.ones(2)}}, "param_groups": [{"params": [0]}]}
    listed = checkpoint({"model": {"w": torch.ones(2)}, "trained": {**table, "x": torch.ones(2)}})
    assert [tensor.name for tensor in listed.tensors] == ["w", "trained.x"]
    assert [tensor.name for tensor in listed.optimizer] == ["trained.state.0.m"]


def test_an_average_of_the_model_is_listed_and_not_counted(checkpoint):
    weights = {"blocks.0.weight": torch.ones(3, 3), "blocks.1.weight": torch.ones(3, 3)}
    average = {name: torch.ones(3, 3) for name in weights}
    listed = checkpoint({"model": weights, "ema": average, "best": torch.tensor(0.5)})
    assert listed.non_model == {"ema.blocks.0.weight", "ema.blocks.1.weight", "best"}
    assert with_kinds(listed).parameters == 18


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))
        self.recurrent = nn.LSTM(2, 2)
        self.layers = nn.ModuleList([nn.Linear(2, 2), nn.BatchNorm1d(2)])
        self.twice = self.layers[0]
        self.list = nn.ParameterList([torch.ones(3)])
        self.buffer = nn.Buffer(torch.ones(1))
        self.attributes = [self.layers, {"again": self.scale}]


def test_a_whole_pickled_module_has_the_names_of_its_state_dict(checkpoint):
    """An LSTM's list of flat weights and other attributes repeat parameters and add no row."""
    module = Nested()
    listed = checkpoint(module)
    assert [tensor.name for tensor in listed.tensors] == list(module.state_dict())
    ties = {tensor.name: tensor.tied_to for tensor in listed.tensors if tensor.tied_to}
    assert ties == {"twice.weight": "layers.0.weight", "twice.bias": "layers.0.bias"}
    (note,) = listed.notes
    assert note.startswith("read as inert data: test_torch_names.Nested, torch.nn.modules.")
    assert note.endswith(" and 1 more")


def test_a_module_of_one_child_keeps_the_childs_name(names):
    assert names(nn.Sequential(nn.Linear(1, 1))) == ["0.weight", "0.bias"]


def test_a_tensor_that_is_a_plain_attribute_of_a_module_is_a_row(names):
    module = nn.Linear(1, 1)
    module.anchors = torch.ones(3)
    assert names(module) == ["weight", "bias", "anchors"]


class Configuration:
    def __init__(self):
        self.hidden = 4


Pair = namedtuple("Pair", "a b")


class Slotted:
    __slots__ = ("tensor",)


def test_foreign_objects_are_set_aside_by_name(checkpoint):
    beside = {"args": argparse.Namespace(lr=1), "config": Configuration(), "best": np.float64(0.5)}
    assert checkpoint({"state_dict": network().state_dict(), **beside}).notes == (
        "set aside, not run: argparse.Namespace, test_torch_names.Configuration",
    )


def test_tensors_in_foreign_objects_are_rows(checkpoint):
    slotted = Slotted()
    slotted.tensor = torch.ones(1)
    objects = {
        "model": network().state_dict(),
        "pair": Pair(torch.ones(2), torch.ones(3)),
        "space": argparse.Namespace(alpha=torch.ones(4)),
        "slotted": slotted,
        "default": defaultdict(list, seen=[torch.ones(5)]),
    }
    listed = checkpoint(objects)
    beside = ["pair.0", "pair.1", "space.alpha", "slotted.tensor", "default.seen.0"]
    assert [tensor.name for tensor in listed.tensors] == STATE + beside


def test_keys_that_are_no_text_have_names(names):
    """Tuples are paths, as flax has them; objects go by their place."""
    keys = [("dense", "kernel"), None, 1.5, True, b"raw", Configuration(), 1 << 70, 2, -1]
    assert names({key: torch.ones(1) for key in keys}) == [
        *("dense.kernel", "None", "1.5", "True", "raw", "#5", "#6", "2", "-1")
    ]


def test_many_classes_are_counted_after_the_fifth(checkpoint):
    classes = [type(f"C{n}", (), {}) for n in range(7)]
    for one in classes:
        globals()[one.__name__] = one
    listed = checkpoint({"w": torch.ones(1), "classes": classes})
    assert listed.notes == (
        "set aside, not run: test_torch_names.C0, test_torch_names.C1, test_torch_names.C2,"
        " test_torch_names.C3, test_torch_names.C4 and 2 more",
    )


def test_a_plain_file_has_no_note(checkpoint):
    everything = {"model": network().state_dict(), "seen": {1, 2}, "od": OrderedDict(a=[1.5, None])}
    assert checkpoint(everything).notes == ()


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (
            {"lr": 0.1, "epochs": 3, "seed": 1, "more": 0},
            "holds no tensor: a dict of 4 entries (lr, epochs, seed, …)",
        ),
        ({"a": [1, 2]}, "holds no tensor: a dict of 1 entry (a)"),
        ({}, "holds no tensor: a dict of 0 entries"),
        ([1, "two"], "holds no tensor: a list of 2 entries"),
        (None, "holds no tensor: None"),
        (3.5, "holds no tensor: a float"),
        (argparse.Namespace(lr=1), "holds an instance of argparse.Namespace, no tensor"),
    ],
    ids=str,
)
def test_a_file_without_a_tensor_is_refused_by_what_it_holds(refusal, held, said):
    assert refusal(held) == said


def test_an_optimizer_alone_is_refused_as_one(refusal):
    _, optimizer = trained()
    said = "holds an optimizer state of 12 tensors and no model weights"
    assert refusal(optimizer.state_dict()) == said
    assert refusal({"optimizer": optimizer.state_dict(), "epoch": 1}) == said


def test_what_holds_itself_is_walked_once(names):
    circle = {"w": torch.ones(2)}
    circle["self"] = circle
    circle["list"] = [circle, {"inside": circle, "v": torch.ones(1)}]
    assert names(circle) == ["w", "list.1.v"]


def test_modules_that_name_each_other_list_each_tensor(checkpoint):
    module = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    module[0].__dict__["parent"] = module
    module[1].__dict__["peers"] = [module[0]]
    module[0].__dict__["peers"] = [module[1]]
    assert {tensor.name for tensor in checkpoint(module).tensors} == set(module.state_dict())
