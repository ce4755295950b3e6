"""Every tensor that a file holds is judged: a NaN in it fails `check`, wherever it lies and
whatever holds it."""

import array
import collections
import json
import os
import types

import numpy as np
import pytest
import torch
from command import scalecheck
from safetensors.torch import save_file
from states import adam

pytestmark = pytest.mark.usefixtures("elsewhere")

NAN = float("nan")


class Attributes:
    def __init__(self, **kept):
        self.__dict__.update(kept)


class Slotted:
    __slots__ = ("kept",)

    def __init__(self, kept):
        self.kept = kept


class ByArguments:
    def __init__(self, kept):
        self.kept = kept

    def __reduce__(self):
        return ByArguments, (self.kept,)


class ByKeyword:
    """It is rebuilt by keyword arguments, which protocol 2 has as a functools.partial."""

    def __new__(cls, *, kept=None):
        return object.__new__(cls)

    def __init__(self, *, kept):
        self.kept = kept

    def __getnewargs_ex__(self):
        return (), {"kept": self.kept}

    def __getstate__(self):
        return None


class Pair(collections.namedtuple("Pair", "first second")):
    pass


class Subclass(torch.Tensor):
    pass


class Words(list):
    pass


def with_attribute(holder, kept):
    holder.kept = kept
    return holder


def deeper(kept, levels):
    return deeper([{"x": kept}], levels - 1) if levels else kept


def of_objects(kept):
    objects = np.empty(1, object)
    objects[0] = kept
    return objects


FIELDS = [("a", "f4"), ("b", "i4")]

HOLDERS = {
    "itself": lambda t: t,
    "list": lambda t: [t],
    "tuple": lambda t: (1, t),
    "set": lambda t: {t},
    "frozenset": lambda t: frozenset([t]),
    "dict": lambda t: {"x": t},
    "integer key": lambda t: {7: t},
    "tuple as a key": lambda t: {("a", 2): t},
    "a key itself": lambda t: {t: 1},
    "ten containers": lambda t: deeper(t, 5),
    "ordered dict": lambda t: collections.OrderedDict(x=t),
    "attribute of an ordered dict": lambda t: with_attribute(collections.OrderedDict(), t),
    "defaultdict": lambda t: collections.defaultdict(list, x=[t]),
    "deque": lambda t: collections.deque([t]),
    "named tuple": lambda t: Pair(1, t),
    "list of a class": lambda t: Words([t]),
    "namespace": lambda t: types.SimpleNamespace(x=t),
    "attribute": lambda t: Attributes(x=[t]),
    "slot": Slotted,
    "argument": ByArguments,
    "keyword argument": lambda t: ByKeyword(kept=t),
    "attribute of a tensor": lambda t: with_attribute(torch.ones(2), t),
    "attribute of a parameter": lambda t: with_attribute(torch.nn.Parameter(torch.ones(2)), t),
    "attribute of a module": lambda t: with_attribute(torch.nn.Linear(2, 2), {"x": t}),
    "parameter list": lambda t: torch.nn.ParameterList([torch.nn.Parameter(t)]),
    "array of objects": of_objects,
    "array": lambda t: t.numpy(),
    "array without dimensions": lambda t: np.array(NAN),
    "array of half floats": lambda t: t.half().numpy(),
    "array of long doubles": lambda t: np.array([NAN], np.longdouble),
    "array of complex numbers": lambda t: np.array([NAN + 0j]),
    "array with fields": lambda t: np.array([(NAN, 1)], FIELDS),
    "array of records": lambda t: np.rec.array([(NAN, 1)], FIELDS),
    "masked array": lambda t: np.ma.array([NAN, 1.0]),
    "array of the other byte order": lambda t: np.array([NAN], ">f4"),
    "array of the standard library": lambda t: array.array("d", [NAN]),
    "list of numbers": lambda t: [1.0, NAN],
    "deque of numbers": lambda t: collections.deque([1.0, NAN]),
    "set of numbers": lambda t: {1.0, NAN},
    "storage": lambda t: t.untyped_storage(),
    "parameter": torch.nn.Parameter,
    "tensor of a class": lambda t: t.as_subclass(Subclass),
    "one number": lambda t: torch.tensor(NAN),
    "half": torch.Tensor.half,
    "bfloat16": torch.Tensor.bfloat16,
    "eight bits": lambda t: t.to(torch.float8_e4m3fn),
    "complex": lambda t: t.to(torch.complex64),
    "view": lambda t: t[1],
    "strided": lambda t: t.t()[::2],
    "expanded": lambda t: torch.tensor([NAN]).expand(5),
    "sparse": torch.Tensor.to_sparse,
    "without elements in the file": lambda t: t.to("meta"),
}


def training(**optimizer):
    return {"model": {"w": torch.randn(8, 8)}, "optimizer": adam([(8, 8)]) | optimizer}


def in_state(key, kept):
    return training(state={**adam([(8, 8)])["state"], key: kept})


def in_entry(key, kept):
    state = adam([(8, 8)])["state"]
    return training(state={0: {**state[0], key: kept}})


def in_group(key, kept):
    (group,) = adam([(8, 8)])["param_groups"]
    return training(param_groups=[{**group, key: kept}])


FLAT = {"state.w.exp_avg": torch.ones(8, 8), "param_groups.w.lr": 1e-3}

PLACES = {
    "the model": lambda x: {"w": torch.randn(8, 8), "x": x},
    "beside the model": lambda x: {**training(), "x": x},
    "averages": lambda x: {**training(), "ema": {"w": torch.randn(8, 8), "x": x}},
    "a scheduler": lambda x: {**training(), "lr_scheduler": {"last": [x]}},
    "state[name]": lambda x: in_state("ema", x),
    "state[number]": lambda x: in_state(7, x),
    "an entry": lambda x: in_entry("more", x),
    "a dict of entries": lambda x: in_entry("more", {"x": x}),
    "exp_avg": lambda x: in_entry("exp_avg", x),
    "exp_avg_sq": lambda x: in_entry("exp_avg_sq", x),
    "step": lambda x: in_entry("step", x),
    "a setting": lambda x: in_group("more", x),
    "lr": lambda x: in_group("lr", x),
    "a list of settings": lambda x: in_group("more", [1, {"x": x}]),
    "params": lambda x: in_group("params", [x]),
    "the state dict": lambda x: training(more=x),
    "a state without groups": lambda x: training(param_groups=[], state={0: {"m": x}}),
    "an optimizer of its own layout": lambda x: {**training(), "optimizer": {"m": x}},
    "a flat state": lambda x: {**training(), "optimizer": FLAT | {"state.w.more": x}},
    "a second optimizer": lambda x: {**training(), "optimizers": [in_entry("exp_avg", x)]},
}


IN_OPTIMIZERS = [*PLACES][4:-1]


def numbers():
    return torch.full((4, 4), NAN)


def save(content, path="run.pt", zipped=True, protocol=2):
    torch.save(content, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_a_nan_fails_the_check_wherever_it_lies(place, zipped):
    assert scalecheck("check", save(PLACES[place](torch.ones(4, 4)), zipped=zipped)).code in (0, 1)
    done = scalecheck("check", save(PLACES[place](numbers()), zipped=zipped), "--format", "json")
    rules = {finding["rule"] for finding in json.loads(done.out)["findings"]}
    assert done.code == 1
    assert rules & {"SC101", "SC107", "SC205"}


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("place", ["beside the model", "an entry", "a setting"])
@pytest.mark.parametrize("holder", HOLDERS)
def test_a_nan_fails_the_check_whatever_holds_it(holder, place, protocol):
    path = save(PLACES[place](HOLDERS[holder](numbers())), protocol=protocol)
    assert scalecheck("check", path).code in (1, 3)


@pytest.mark.parametrize("place", IN_OPTIMIZERS)
@pytest.mark.parametrize("is_beside", [True, False])
def test_a_nan_in_the_file_of_a_state_fails_the_check(place, is_beside):
    """As Trainer leaves the file beside the model, or named by --state."""
    save_file({"w": torch.randn(8, 8)}, "model.safetensors")
    save(PLACES[place](numbers())["optimizer"], "optimizer.pt")
    where = (".",) if is_beside else ("model.safetensors", "--state", "optimizer.pt")
    assert scalecheck("check", *where).code in (1, 3)


FORMATS = ("table", "json", "csv", "markdown", "github", "junit", "sarif")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("content", "name"),
    [
        (in_state("ema", numbers()), "optimizer.state.ema"),
        (in_group("lr", numbers()), "optimizer.param_groups.0.lr"),
        (in_entry("exp_avg", numbers().to_sparse()), "optimizer.state.0.exp_avg"),
        (in_entry("step", torch.tensor(NAN)), "optimizer.state.0.step"),
        (in_state("ema", np.array([NAN])), "optimizer.state.ema"),
    ],
    ids=["in no state", "setting", "sparse", "state that is not read", "array"],
)
def test_every_format_names_the_tensor(content, name, form):
    done = scalecheck("check", save(content), "--format", form)
    assert done.code == 1
    assert name in done.out


def test_two_optimizer_files_beside_a_model_are_not_passed_over():
    save_file({"w": torch.randn(8, 8)}, "model.safetensors")
    for name in ("optimizer.pt", "optimizer.bin"):
        save(adam([(8, 8)]), name)
    done = scalecheck("check", ".")
    assert done.code == 1
    assert "not-analysed: not read: holds 2 optimizer states, name one: " in done.out
    assert "\n  optimizer state\n" in done.out


def test_a_tensor_of_no_parameter_can_be_excluded_by_the_name_that_it_is_given():
    path = save(in_state("ema", numbers()))
    assert scalecheck("check", path, "--exclude", "optimizer.state.ema").code == 0


def test_state_none_leaves_an_optimizers_tensors_and_says_so():
    done = scalecheck("check", save(in_state("ema", numbers())), "--state", "none")
    assert done.code == 0
    assert "4 tensors of an optimizer state were not judged" in done.out


def test_a_second_object_in_a_legacy_file_is_said_not_to_be_read():
    with open("run.pt", "wb") as file:
        for kept in (torch.ones(4), numbers()):
            torch.save({"w": kept}, file, _use_new_zipfile_serialization=False)
    nbytes = os.path.getsize("run.pt") - os.path.getsize(save({"w": torch.ones(4)}, "a.pt", False))
    note = f"{nbytes:,} bytes behind the object were not read: save it alone"
    assert note in scalecheck("check", "run.pt").out


def test_the_parameters_in_a_whole_optimizer_are_judged_once():
    model = torch.nn.Linear(4, 4)
    model.weight.data[0] = NAN
    optimizer = torch.optim.AdamW(model.parameters())
    done = scalecheck("check", save({"model": model.state_dict(), "optimizer": optimizer}))
    assert done.out.count("non-finite: 4 of 16 elements are NaN") == 1
