"""What an optimizer keeps in lists, dicts and objects: each tensor and number has a name, and
nothing is made of what the file names."""

import numpy as np
import pytest
import torch
from opcodes import text, torch_zip
from process import bounded, problem_of
from states import open_state

from scalecheck.checkpoint.states.state_entries import MAX_ENTRIES


class Quantised(torch.Tensor):
    """Codes that stand for a tensor of another shape, as low-bit optimizers keep averages."""

    @staticmethod
    def __new__(cls, codes, shape, **_):
        return torch.Tensor._make_wrapper_subclass(cls, shape, dtype=torch.float32)

    def __init__(self, codes, shape, **kept):
        self.codes = codes
        self.__dict__ |= kept

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise AssertionError("it is saved without a look at its elements")


class Projector:
    def __init__(self, **kept):
        self.__dict__ |= kept


class Slotted:
    __slots__ = ("basis", "rank")

    def __init__(self, basis, rank):
        self.basis, self.rank = basis, rank


@pytest.fixture
def read(save):
    """The state of the one parameter with these entries."""

    def of(**entries):
        state = open_state(save({"state": {0: entries}, "param_groups": [{"params": [0]}]}))
        return state.states[0]

    return of


def test_what_bitsandbytes_wraps_is_read_as_if_it_were_not(read):
    moments = {"state1": torch.ones(2, 3), "state2": torch.ones(2, 3), "absmax1": torch.ones(1)}
    wrapped = read(step=9, __bnb_optimizer_quant_state__=moments)
    assert (wrapped.entries, wrapped.shape, wrapped.step) == ((*moments,), (2, 3), 9.0)
    assert {*wrapped.tensors} == {*moments}


def test_an_entry_beside_a_wrapper_goes_before_one_within_it(read):
    one = read(state1=torch.ones(2), __bnb_optimizer_quant_state__={"state1": torch.zeros(2)})
    assert one.tensors["state1"].array().tolist() == [1, 1]
    assert one.left_out == ("state1",)


def test_a_dict_of_another_program_gives_its_name_to_what_it_holds(read):
    """Its averages tell the parameter's shape as they do outside."""
    one = read(adam={"exp_avg": torch.ones(2, 3), "count": 4}, step=torch.tensor(3.0))
    assert (one.entries, one.shape) == (("adam",), (2, 3))
    assert ([*one.tensors], one.numbers) == (["adam.exp_avg"], {"adam.count": 4})


@pytest.mark.parametrize("keys", [(0.0, 0.9), (0, 1), ("a", "b"), (True, False)])
def test_keys_of_any_kind_name_what_a_dict_holds(read, keys):
    one = read(momentum_buffer={key: torch.ones(2) for key in keys})
    assert [*one.tensors] == [f"momentum_buffer.{key}" for key in keys]


def test_lists_are_read_item_by_item(read):
    one = read(exp_avg=torch.ones(2, 3), Q=[torch.ones(2, 2), torch.ones(3, 3)], GG=[[], ()])
    assert [*one.tensors] == ["exp_avg", "Q[0]", "Q[1]"]
    assert (one.entries, one.shape) == (("exp_avg", "Q", "GG"), (2, 3))
    assert one.left_out == ()


def test_codes_of_a_tensor_subclass_are_read_and_its_own_shape_is_the_parameters(read):
    codes = torch.arange(3, dtype=torch.uint8)
    average = Quantised(codes, (2, 3), scale=torch.ones(1), signed=True)
    one = read(exp_avg=average)
    assert (one.entries, one.shape) == (("exp_avg",), (2, 3))
    assert np.array_equal(one.tensors["exp_avg.codes"].words(), codes.numpy())
    assert ([*one.tensors], one.numbers) == (
        ["exp_avg.codes", "exp_avg.scale"],
        {"exp_avg.signed": True},
    )


class Sharded(Quantised):
    """A tensor of which this rank has a part, as DTensor keeps it."""


@pytest.mark.parametrize("is_quantised", [False, True])
def test_the_local_part_of_a_distributed_tensor_goes_by_the_entrys_name(read, is_quantised):
    """Its shape is the local one, as that of the model's tensor in the same file is."""
    codes = torch.arange(6, dtype=torch.uint8)
    local = Quantised(codes, (2, 3), signed=True) if is_quantised else torch.ones(2, 3)
    one = read(exp_avg=Sharded(torch.ones(1), (4, 3), _local_tensor=local, _spec={"mesh": 2}))
    assert (one.entries, one.shape) == (("exp_avg",), (2, 3))
    assert [*one.tensors] == ["exp_avg.codes" if is_quantised else "exp_avg"]


@pytest.mark.parametrize("kind", [Projector, Slotted])
def test_the_attributes_of_an_object_are_read(read, kind):
    one = read(exp_avg=torch.ones(2, 3), projector=kind(basis=torch.ones(4, 2), rank=2))
    assert (one.entries, one.shape) == (("exp_avg", "projector"), None)
    assert [*one.tensors] == ["exp_avg", "projector.basis"]
    assert one.numbers == {"projector.rank": 2}


def test_what_is_neither_a_tensor_nor_a_number_is_left_out(read):
    one = read(hook=torch.relu, deep=[[[[[1]]]]], more={"a": 1j, "b": 2})
    assert one.entries == ("hook", "deep", "more")
    assert one.left_out == ("hook", "deep[0][0][0][0]", "more.a")
    assert one.numbers == {"more.b": 2}


def of_lists(tmp_path, count):
    """A state of a list of lists, which are all one list of a thousand."""
    lists = b"](](" + b"N" * 1000 + b"eq\x00" + b"h\x00" * (count - 1) + b"e"
    state = b"}K\x00}" + text("Q") + lists + b"ss"
    groups = b"]}" + text("params") + b"]K\x00asa"
    content = b"\x80\x02}(" + text("state") + state + text("param_groups") + groups + b"u."
    return torch_zip(tmp_path / "optimizer.pt", content)


def test_a_list_that_is_there_too_often_is_refused(tmp_path):
    assert len(open_state(of_lists(tmp_path, 8)).states[0].numbers) == 8 * 1000
    with bounded(512 << 20, seconds=20):
        said = problem_of(open_state, of_lists(tmp_path, 2000))
    assert said == f"its states have more than {MAX_ENTRIES} entries"
