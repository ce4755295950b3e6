"""Saved optimizer states against torch: settings, steps and tensors as torch.load has them, and
what they say of an update."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from real_checkpoints import real_file
from states import find_state, open_state
from torch import nn
from trained import OPTIMIZERS, Network, steps

from scalecheck.checkpoint.aligned import aligned
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.states.state_names import named
from scalecheck.errors import CheckpointError

SAMPLES = Path(__file__).parent.parent / "sample_ckpts"
CHGNET = "chgnet/pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar"


def plain(entry):
    """A setting as torch has it, its tensors as numbers."""
    if isinstance(entry, torch.Tensor):
        return entry.item()
    return tuple(map(plain, entry)) if isinstance(entry, tuple | list) else entry


def assert_as_torch(state, truth):
    """The same settings, keys, steps, numbers and tensors as in a state dict of torch."""
    assert [group.params for group in state.groups] == [
        tuple(group["params"]) for group in truth["param_groups"]
    ]
    for group, true in zip(state.groups, truth["param_groups"], strict=True):
        kept = {name: plain(entry) for name, entry in true.items() if "param" not in name}
        assert group.settings == kept
    order = [(n, key) for n, g in enumerate(truth["param_groups"]) for key in g["params"]]
    assert [(one.group, one.key) for one in state.states] == order
    for one in state.states:
        entries = dict(truth["state"].get(one.key, {}))
        step = entries.pop("step", None)
        assert one.step == (None if step is None else float(step))
        assert {*one.tensors, *one.numbers} == {*entries}
        for name, number in one.numbers.items():
            assert number == plain(entries[name])
        for name, tensor in one.tensors.items():
            assert np.array_equal(tensor.array(), entries[name].double().numpy(), equal_nan=True)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_the_state_of_every_optimizer_of_torch_is_what_torch_loads(save, kind):
    model = Network()
    path = save(steps(model, OPTIMIZERS[kind](model)).state_dict())
    state = open_state(path)
    assert_as_torch(state, torch.load(path))
    shapes = [
        tuple(p.shape) for group in OPTIMIZERS[kind](model).param_groups for p in group["params"]
    ]
    expected = [None] * len(shapes) if kind == "SGD without momentum" else shapes
    assert [one.shape for one in state.states] == expected


def test_no_optimizer_of_torch_is_untried():
    """LBFGS and SparseAdam have tests of their own."""
    classes = {
        name
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)
    }
    assert classes - {*OPTIMIZERS} == {"Optimizer", "LBFGS", "SparseAdam"}


def test_the_averages_of_a_sparse_embedding_are_read(save):
    model = nn.Embedding(5, 3, sparse=True)
    optimizer = torch.optim.SparseAdam(model.parameters())
    model(torch.tensor([0, 4])).square().sum().backward()
    optimizer.step()
    path = save(optimizer.state_dict())
    assert_as_torch(open_state(path), torch.load(path))


def test_a_state_of_half_precision_and_64_bit_steps_is_read(save):
    model = Network().to(torch.bfloat16)
    truth = steps(model, torch.optim.Adam(model.parameters()), dtype=torch.bfloat16).state_dict()
    for key, entries in truth["state"].items():
        entries["step"] = 3 if key % 2 else torch.tensor([3])
    path = save(truth)
    assert {one.step for one in open_state(path).states} == {3.0}
    assert_as_torch(open_state(path), truth)


def test_the_history_of_lbfgs_is_read_item_by_item(save):
    """Its vectors run through all parameters, and lie with the first one."""
    model = Network()
    truth = steps(model, torch.optim.LBFGS(model.parameters())).state_dict()
    state = open_state(save(truth))
    assert state.notes == ("8 of 9 parameters have no optimizer state",)
    assert {one.shape for one in state.states} == {None}
    assert {one.step for one in state.states} == {None}
    first = state.states[0]
    assert {*first.entries} == {*truth["state"][0]}
    history = truth["state"][0]["old_dirs"]
    assert {n for n in first.tensors if "old_dirs" in n} == {
        f"old_dirs[{place}]" for place in range(len(history))
    }
    assert np.array_equal(first.tensors["old_dirs[1]"].array(), history[1].double().numpy())


def test_a_group_counts_the_steps_of_parameters_that_do_not(save):
    state = {0: {"exp_avg": torch.ones(2)}, 1: {"step": 5, "exp_avg": torch.ones(2)}}
    path = save({"state": state, "param_groups": [{"step": 9, "params": [0, 1]}]})
    assert [one.step for one in open_state(path).states] == [9.0, 5.0]


@pytest.mark.parametrize("first", [torch.zeros(4, 1, 1), torch.zeros(4, 7, 3)])
def test_the_averages_of_adafactor_in_transformers_tell_a_shape(save, first):
    """They lack the dimension that they were taken over."""
    entries = {"exp_avg_sq_row": first.mean(-1), "exp_avg_sq_col": first.mean(-2), "RMS": 0.5}
    path = save({"state": {0: {"step": 2, **entries}}, "param_groups": [{"params": [0]}]})
    (one,) = open_state(path).states
    assert (one.shape, one.numbers) == (tuple(first.shape), {"RMS": 0.5})


@pytest.mark.parametrize(
    "shapes",
    [
        {"row_var": (2, 5, 1), "col_var": (3, 1, 4)},
        {"row_var": (2, 5), "col_var": (1, 5)},
        {"exp_avg_sq_row": (2, 5), "exp_avg_sq_col": (3, 4)},
        {"exp_avg_sq_row": (2, 5)},
    ],
)
def test_averages_that_fit_no_parameter_tell_no_shape(save, shapes):
    entries = {name: torch.ones(shape) for name, shape in shapes.items()}
    (one,) = open_state(save({"state": {0: entries}, "param_groups": [{"params": [0]}]})).states
    assert one.shape is None


def test_a_tensor_without_dimensions_beside_others_is_a_number(save):
    """Only where nothing else is kept it is of a parameter without dimensions."""
    groups = [{"params": [0, 1]}]
    state = {0: {"exp_avg": torch.ones(2), "sum": torch.tensor(5.0)}, 1: {"sum": torch.tensor(5.0)}}
    one, other = open_state(save({"state": state, "param_groups": groups})).states
    assert (one.shape, one.numbers, [*one.tensors]) == ((2,), {"sum": 5.0}, ["exp_avg"])
    assert (other.shape, other.numbers, [*other.tensors]) == ((), {}, ["sum"])


def test_averages_beside_an_object_tell_no_shape(save):
    """As of a low-rank optimizer, which keeps its projection as an object."""
    projector = {"rank": 2, "ortho_matrix": torch.ones(4, 3)}
    entries = {"exp_avg": torch.ones(2, 3), "projector": projector}
    (one,) = open_state(save({"state": {0: entries}, "param_groups": [{"params": [0]}]})).states
    assert one.shape is None
    assert one.entries == ("exp_avg", "projector")
    assert {*one.tensors} == {"exp_avg", "projector.ortho_matrix"}
    assert one.numbers == {"projector.rank": 2}


@pytest.mark.parametrize(
    "setting",
    [{"a": 1}, [0.0] * 17, (0.0,) * 17, (0.0, [0.0]), torch.ones(2), 1 << 64, "n" * 2000],
    ids=["dict", "list", "tuple", "nested", "tensor", "integer", "text"],
)
def test_a_setting_that_is_no_number_word_or_tuple_is_left_out(save, setting):
    group = {"params": [0], "lr": 0.1, "rates": [0.1, 0.2], "more": setting}
    state = open_state(save({"state": {}, "param_groups": [group]}))
    assert state.groups[0].settings == {"lr": 0.1, "rates": (0.1, 0.2)}
    assert state.notes[0] == "left out of the optimizer state: param_groups.0.more"


def test_a_table_is_kept_row_after_row_up_to_a_limit(save):
    group = {"params": [0], "buffer": [[None, 1, 0.5]] * 10, "large": [[0.0] * 13] * 5}
    state = open_state(save({"state": {}, "param_groups": [group]}))
    assert state.groups[0].settings == {"buffer": (None, 1, 0.5) * 10}
    assert state.notes[0] == "left out of the optimizer state: param_groups.0.large"


# Where a state lies.


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: {"optimizer": state},
        lambda state: {"optimizer_states": [state], "loops": {"epoch": 3}},
        lambda state: [{"anything": (state,)}],
        lambda state: {"a": state, "b": state},
    ],
    ids=["alone", "under its name", "as Lightning", "anywhere", "twice the same"],
)
def test_the_state_is_found_wherever_it_lies(save, wrapped):
    model = Network()
    truth = steps(model, torch.optim.Adam(model.parameters())).state_dict()
    assert_as_torch(open_state(save(wrapped(truth))), truth)


def test_a_training_file_gives_its_state_by_path_and_by_checkpoint(save):
    """And so does the folder that holds nothing else."""
    model = Network()
    truth = steps(model, torch.optim.Adam(model.parameters())).state_dict()
    file = save({"model": model.state_dict(), "optimizer": truth}, "last.ckpt")
    for path in (file, file.parent):
        assert_as_torch(open_state(path), truth)
        assert_as_torch(find_state(open_checkpoint(path)), truth)


@pytest.mark.parametrize("path", ["tiny-gpt", "tiny-gpt/model.safetensors"])
def test_a_state_beside_a_model_is_found_from_the_model_and_from_its_folder(path):
    truth = torch.load(SAMPLES / "tiny-gpt/optimizer.pt")
    assert_as_torch(open_state(SAMPLES / path), truth)
    assert_as_torch(find_state(open_checkpoint(SAMPLES / path)), truth)


@pytest.mark.parametrize("path", ["tiny-gpt-init", "tiny-gpt-bf16", "broken.safetensors"])
def test_a_checkpoint_without_a_state_has_none(path):
    checkpoint = open_checkpoint(SAMPLES / path)
    assert find_state(checkpoint) is None
    problem = f"has no optimizer state and holds {len(checkpoint.tensors)} tensors"
    with pytest.raises(CheckpointError, match=f"{path}: {problem}"):
        open_state(SAMPLES / path)


def test_a_file_beside_another_file_of_its_folder_is_not_its_state(tmp_path):
    """Only files that a trainer names so belong together."""
    torch.save({"state": {}, "param_groups": [{"params": []}]}, tmp_path / "optimizer.pt")
    torch.save({"w": torch.ones(2)}, tmp_path / "other.pt")
    torch.save({"w": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    assert find_state(open_checkpoint(tmp_path / "other.pt")) is None
    assert find_state(open_checkpoint(tmp_path / "pytorch_model.bin")) is not None


def test_shards_of_torch_are_looked_into_for_no_state(tmp_path):
    for number in (1, 2):
        part = {f"w.{number}": torch.ones(2)}
        torch.save(part, tmp_path / f"pytorch_model-0000{number}-of-00002.bin")
    assert find_state(open_checkpoint(tmp_path)) is None


@pytest.mark.parametrize("name", ["pytorch_model.bin", "."])
def test_the_state_beside_a_model_goes_before_one_within_it(tmp_path, name):
    for file, lr in (("pytorch_model.bin", 1), ("optimizer.pt", 2)):
        state = {"state": {}, "param_groups": [{"lr": lr, "params": []}]}
        torch.save({"model": {"w": torch.ones(2)}, "optimizer": state}, tmp_path / file)
    found = find_state(open_checkpoint(tmp_path / name))
    assert found == open_state(tmp_path / name)
    assert found.groups[0].settings == {"lr": 2}


def test_a_missing_model_has_no_state_beside_it(tmp_path):
    torch.save({"state": {}, "param_groups": [{"params": []}]}, tmp_path / "optimizer.pt")
    with pytest.raises(CheckpointError, match="no such file"):
        open_state(tmp_path / "model.safetensors")


def test_reading_a_state_imports_no_torch():
    code = (
        "import sys; from scalecheck.checkpoint.states.open_state import open_state;"
        "from scalecheck.updates.recognition import state_layout;"
        "from scalecheck.checkpoint.states.state_names import named;"
        "from scalecheck.checkpoint.open import open_checkpoint;"
        f"samples = {str(SAMPLES)!r};"
        "state = open_state(samples + '/tiny-gpt', state_layout());"
        "named(state, open_checkpoint(samples + '/tiny-gpt.pt')); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# What the numbers mean.


def adam_updates(one, settings):
    """m̂ / (√v̂ + eps) of a parameter, a block at a time, with the other tensors' blocks."""
    beta1, beta2 = settings["betas"]
    for average, square in aligned([one.tensors["exp_avg"], one.tensors["exp_avg_sq"]]):
        corrected = np.sqrt(square / (1 - beta2**one.step))
        yield average / (1 - beta1**one.step) / (corrected + settings["eps"])


def test_the_state_of_a_sample_holds_the_update_between_two_checkpoints():
    """After step t, m̂ / (√v̂ + eps) is the update that step t applied. The
    names come from shapes and order alone: a wrong one would show here."""
    before = {one.name: one for one in open_checkpoint(SAMPLES / "tiny-gpt.pt").tensors}
    after = {one.name: one for one in open_checkpoint(SAMPLES / "tiny-gpt").tensors}
    state = named(open_state(SAMPLES / "tiny-gpt"), open_checkpoint(SAMPLES / "tiny-gpt.pt"))
    lr = 0.0002000024369382586  # applied at step 1500, as the sample's README tells
    for one in state.states:
        settings = state.groups[one.group].settings
        weights, moved = [], []
        for old, new in aligned([before[one.name], after[one.name]]):
            weights.append(old)
            moved.append(new - old)
        update = np.concatenate([*adam_updates(one, settings)])
        update += settings["weight_decay"] * np.concatenate(weights)
        assert np.abs(np.concatenate(moved) + lr * update).max() < 6e-8


def test_the_update_of_chgnet_is_near_the_noise_floor():
    """After 996,744 steps its RMS is a fifth of the learning rate, where a rule of thumb says 1."""
    checkpoint = open_checkpoint(real_file("chgnet", CHGNET))
    state = find_state(checkpoint)
    large = [one for one in state.states if one.shape and np.prod(one.shape) >= 64]
    rms = []
    for one in large:
        update = np.concatenate([*adam_updates(one, state.groups[one.group].settings)])
        rms.append(np.sqrt(np.mean(update**2)))
    assert max(one.step for one in large) == 996_744
    assert np.median(rms) == pytest.approx(0.205, abs=5e-4)
    assert (min(rms), max(rms)) == pytest.approx((0.079, 0.261), abs=5e-4)


@pytest.mark.parametrize(
    "file",
    [
        "chgnet/pretrained/0.2.0/chgnet_0.2.0_e30f77s348m32.pth.tar",
        CHGNET,
        "chgnet/pretrained/r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
    ],
)
def test_a_real_state_is_what_torch_loads_and_wholly_named(file):
    """Its storages are tagged with a device that is absent, and its model is not in the order of
    the alphabet."""
    path = real_file("chgnet", file)
    truth = torch.load(path, map_location="cpu", weights_only=True)
    checkpoint = open_checkpoint(path)
    state = find_state(checkpoint)
    assert_as_torch(state, truth["optimizer"])
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    parameters = [name for name in truth["model"]["state_dict"] if not name.endswith(buffers)]
    assert [one.name for one in named(state, checkpoint).states] == parameters
