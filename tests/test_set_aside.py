"""What counts as a parameter of the model and what is set aside: networks beside the model, tensors
that their file calls trained, and the note on what is not counted."""

import pytest
import torch
from checked import found, noise
from safetensors.torch import save_file
from torch import nn

import scalecheck as api

pytestmark = pytest.mark.usefixtures("elsewhere")

MODEL = {f"layers.{i}.up.weight": noise(16, 8, seed=i) for i in range(4)}


def beside(key, tensors, file="m.pt"):
    torch.save({"state_dict": MODEL, key: tensors}, file)
    return file


@pytest.mark.parametrize("key", ["discriminator", "loss_fn", "critic_net"])
@pytest.mark.parametrize(
    ("tensor", "rules"),
    [
        (torch.zeros(8, 8), []),
        (torch.ones(8, 8), []),
        (torch.full((8, 8), 60000.0).half(), []),
        (torch.full((8, 8), float("nan")), ["SC101"]),
        (torch.full((8, 8), float("inf")), ["SC101"]),
    ],
)
def test_a_network_beside_the_model_is_judged_for_nan_and_inf_alone(key, tensor, rules):
    path = beside(key, {"net.weight": tensor})
    kinds = {row["name"]: row["kind"] for row in api.inspect(path).rows}
    assert kinds[f"{key}.net.weight"] == "other"
    assert found(path, "--select", "SC1") == [(rule, f"{key}.net.weight") for rule in rules]


@pytest.mark.parametrize("tensor", [torch.zeros(16, 8), torch.ones(16, 8)])
def test_the_same_in_the_model_is_a_finding(tensor):
    torch.save({"state_dict": MODEL | {"net.weight": tensor}}, "m.pt")
    assert found("m.pt", "--select", "SC1") != []


class Normalizer(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(4, 4)
        for name in ("x_mean", "x_std"):
            self.register_parameter(name, nn.Parameter(torch.rand(4)))
            self.register_buffer(name.replace("x", "y"), torch.rand(4))


@pytest.mark.parametrize("deeper", [False, True])
@pytest.mark.parametrize("is_module", [False, True])
def test_a_pair_of_statistics_that_is_trained_is_of_parameters(is_module, deeper):
    model = nn.Sequential(Normalizer()) if deeper else Normalizer()
    torch.save(model if is_module else model.state_dict(keep_vars=True), "m.pt")
    kinds = {t.name.rpartition(".")[2]: t.kind for t in api.open_checkpoint("m.pt").tensors}
    assert {name: kinds[name].kind for name in kinds if "_" in name} == {
        **dict.fromkeys(("x_mean", "x_std"), "parameter"),
        **dict.fromkeys(("y_mean", "y_std"), "buffer"),
    }
    assert kinds["x_mean"].evidence == "an nn.Parameter that requires a gradient"


def test_a_frozen_pair_of_statistics_is_known_by_its_names_alone():
    model = Normalizer().requires_grad_(False)
    torch.save(model.state_dict(keep_vars=True), "m.pt")
    kinds = {t.name: t.kind.kind for t in api.open_checkpoint("m.pt").tensors}
    assert {kinds[name] for name in ("x_mean", "x_std", "y_mean", "y_std")} == {"buffer"}


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"mask": torch.ones(512, dtype=torch.bool)}, "1 buffer (50.00 % of all elements)"),
        (
            {"ids": torch.arange(128), **{f"ema.{n}": w.clone() for n, w in MODEL.items()}},
            "1 buffer (11.11 % of all elements), 4 averages of the model (44.44 %)",
        ),
    ],
)
def test_inspect_counts_what_is_set_aside(tensors, words):
    save_file(MODEL | tensors, "m.safetensors")
    assert f"not counted as parameters: {words}" in api.inspect("m.safetensors").notes


def test_a_tied_tensor_is_counted_once_among_all_elements():
    w = noise(16, 8)
    torch.save({"a.weight": w, "b.weight": w, "ids": torch.arange(128)}, "m.pt")
    (note,) = (n for n in api.inspect("m.pt").notes if n.startswith("not counted"))
    assert note == "not counted as parameters: 1 buffer (50.00 % of all elements)"


def test_nothing_is_said_where_all_are_parameters():
    save_file(MODEL, "m.safetensors")
    assert api.inspect("m.safetensors").notes == []


def test_the_kinds_of_a_selection_are_counted_of_it():
    save_file(MODEL | {"mask": torch.ones(512, dtype=torch.bool)}, "m.safetensors")
    notes = api.inspect("m.safetensors", match="layers.*").notes
    assert not any("not counted" in note for note in notes)
