"""Optimizers that a program holds: their groups, lrs and moments, with names by what their
parameters are."""

import copy
from types import SimpleNamespace

import pytest
import torch
from test_live import Net, step
from torch import nn

import scalecheck

MEASURED = ("Adam", "AdamW", "Adamax", "RAdam", "Rprop")  # whose state holds the last update
EXPECTED = ("Adafactor", "Adagrad", "Muon", "NAdam", "RMSprop")
LR = 1e-3


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def matrices():
    torch.manual_seed(1)
    layers = nn.Linear(16, 24, bias=False), nn.Tanh(), nn.Linear(24, 16, bias=False)
    return nn.Sequential(*layers).double()


def train(model, optimizer, steps=6):
    """The weights before the last step."""
    for _ in range(steps):
        before = copy.deepcopy(model.state_dict())
        x = torch.randn(32, 16).double()
        optimizer.zero_grad()
        (model(x) - x).pow(2).mean().backward()
        optimizer.step()
    return before


def rms(tensor):
    return tensor.double().pow(2).mean().sqrt().item()


@pytest.mark.parametrize("name", MEASURED)
def test_the_measured_update_is_the_change_of_the_weights(name):
    model = matrices()
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=LR)
    for group in optimizer.param_groups:
        group |= {"weight_decay": 0.0} if "weight_decay" in group else {}
    before = train(model, optimizer)
    report = scalecheck.translate(model, optimizer)
    for tensor, weights in model.state_dict().items():
        change = rms(weights - before[tensor])
        assert report[tensor]["measured"]
        assert report[tensor]["absolute_update"] == pytest.approx(change, rel=1e-9)
        relative = change / rms(weights)
        assert report[tensor]["relative_update"] == pytest.approx(relative, rel=1e-9)


@pytest.mark.parametrize("name", [*MEASURED, *EXPECTED, "Adadelta", "SGD"])
@pytest.mark.parametrize("steps", [0, 3])
def test_every_optimizer_is_known_by_its_class_before_and_after_steps(name, steps):
    model = matrices()
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=LR)
    if steps:
        train(model, optimizer, steps)
    report = scalecheck.translate(model, optimizer)
    assert {row["optimizer"] for row in report} == {name.lower()}
    assert {row["lr"] for row in report} == {LR}


@pytest.mark.parametrize("name", ["ASGD", "LBFGS", "SparseAdam"])
def test_an_optimizer_without_formula_is_said_to_be_none(name):
    model = matrices()
    report = scalecheck.translate(model, getattr(torch.optim, name)(model.parameters(), lr=LR))
    assert {row["reason"] for row in report} == {f"torch.optim.{name} has no formula here"}


def test_the_groups_say_the_settings_of_each_tensor(net):
    decayed = [p for name, p in net.named_parameters() if p.ndim > 1 and name != "embed.weight"]
    other = [net.embed.weight, *(p for p in net.parameters() if p.ndim == 1)]
    groups = [
        {"params": decayed, "lr": torch.tensor(0.02), "weight_decay": 0.3},
        {"params": other, "lr": 0.01, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.8, 0.9))
    report = scalecheck.translate(net, optimizer)
    assert report["layers.0.weight"]["lr"] == pytest.approx(0.02)
    assert report["layers.0.weight"]["weight_decay"] == 0.3
    assert report["embed.weight"]["lr"] == 0.01
    assert report["embed.weight"]["weight_decay"] == 0.0
    assert any(note.startswith("The lr is the optimizer's.") for note in report.notes)


def test_names_are_certain_though_all_shapes_are_the_same():
    model = nn.Sequential(*(nn.Linear(8, 8, bias=False) for _ in range(4)))
    order = [model[2].weight, model[0].weight, model[3].weight, model[1].weight]
    optimizer = torch.optim.Adam([{"params": [p], "lr": 0.1 + n} for n, p in enumerate(order)])
    report = scalecheck.translate(model, optimizer)
    lrs = {row["name"]: round(row["lr"] - 0.1) for row in report}
    assert lrs == {"2.weight": 0, "0.weight": 1, "3.weight": 2, "1.weight": 3}
    assert scalecheck.translate(model.state_dict(), optimizer).rows == report.rows


def test_frozen_parameters_and_buffers_are_not_trained(net):
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR)  # it holds the frozen one too
    step(net, optimizer)
    report = scalecheck.translate(net, optimizer)
    reasons = {one["name"]: one["reason"] for one in report.skipped}
    assert reasons["fixed"] == "requires_grad is False: not trained"
    assert reasons["angles"].startswith("a buffer")
    assert reasons["head.weight"] == "tied to embed.weight"
    trained = {name for name, p in net.named_parameters() if p.requires_grad}
    assert {row["name"] for row in report} == trained
    assert all(row["measured"] for row in report)


def test_a_parameter_that_no_group_has_is_not_trained(net):
    optimizer = torch.optim.AdamW(net.layers.parameters(), lr=LR)
    report = scalecheck.translate(net, optimizer)
    reasons = {one["name"]: one["reason"] for one in report.skipped}
    assert reasons["embed.weight"] == "not among the optimizer's parameters: not trained"
    assert len(report) == 4


def test_parameters_of_another_model_are_left_out_and_named(net):
    beside = nn.Linear(3, 5, bias=False)
    optimizer = torch.optim.SGD([*net.parameters(), *beside.parameters()], lr=LR, momentum=0.9)
    step(net, optimizer)
    beside.weight.grad = torch.ones(5, 3)
    optimizer.step()
    report = scalecheck.translate(net, optimizer)
    (note,) = (note for note in report.notes if "not the model's" in note)
    assert note.startswith("1 of 9 parameters of the optimizer are not the model's")
    assert "(5, 3)" in note


def test_an_optimizer_of_a_copy_of_the_model_is_named_by_order_and_a_note_says_so(net):
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR)
    step(net, optimizer)
    report = scalecheck.translate(copy.deepcopy(net), optimizer)
    assert "AdamW holds none of the tensors of this Net" in report.notes
    assert report.rows == scalecheck.translate(net, optimizer).rows


def test_several_optimizers_train_one_model(net):
    hidden = [p for name, p in net.named_parameters() if name.startswith("layers") and p.ndim == 2]
    rest = [p for p in net.parameters() if not any(p is one for one in hidden)]
    muon, adam = torch.optim.Muon(hidden, lr=0.02), torch.optim.AdamW(rest, lr=LR)
    report = scalecheck.translate(net, [muon, adam])
    assert report["layers.1.weight"]["optimizer"] == "muon"
    assert (report["layers.1.weight"]["lr"], report["embed.weight"]["lr"]) == (0.02, LR)
    assert report["embed.weight"]["optimizer"] == "adamw"
    assert report.source["state"] == "Muon and AdamW"


@pytest.mark.parametrize("name", ["optimizer", "_optimizer"])
def test_an_optimizer_inside_that_of_a_trainer_is_read(net, name):
    class Wrapper:
        """As accelerate's and Lightning's."""

        __module__ = "accelerate.optimizer"

        def __init__(self, inner):
            setattr(self, name, inner)
            self.param_groups, self.state = inner.param_groups, inner.state

        def step(self):
            """Of the wrapper."""

    optimizer = torch.optim.AdamW(net.parameters(), lr=LR)
    step(net, optimizer)
    wrapped = scalecheck.translate(net, Wrapper(optimizer))
    assert wrapped.rows == scalecheck.translate(net, optimizer).rows
    assert wrapped.source["state"] == "AdamW"


def test_an_optimizer_that_another_leads_is_not_taken_for_it(net):
    class Lookahead(torch.optim.Optimizer):
        """Moves weights between the steps of the optimizer that it leads."""

        def __init__(self, inner):
            self.optimizer, self.state = inner, inner.state
            self.param_groups = inner.param_groups

    report = scalecheck.translate(net, Lookahead(torch.optim.AdamW(net.parameters(), lr=LR)))
    assert {row["relative_update"] for row in report} == {None}
    assert all("inside that of another" in row["reason"] for row in report)


def test_an_optimizer_stands_for_a_file_of_its_state(net, tmp_path):
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR)
    step(net, optimizer)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    torch.save(net.state_dict(), tmp_path / "net.pt")
    rows = scalecheck.translate(net, optimizer).rows
    assert scalecheck.translate(net, state=optimizer).rows == rows
    assert scalecheck.translate(net, optimizer.state_dict()).rows == rows
    assert scalecheck.translate(net, state=optimizer.state_dict()).rows == rows
    assert scalecheck.translate(net, state=tmp_path / "optimizer.pt").rows == rows
    of_file = scalecheck.translate(tmp_path / "net.pt", optimizer)
    assert {row["name"]: row["update_rms"] for row in of_file if row["measured"]} == {
        row["name"]: row["update_rms"] for row in rows
    }


def test_what_is_given_goes_before_the_optimizer(net):
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR)
    assert {row["lr"] for row in scalecheck.translate(net, optimizer, lr=0.5)} == {0.5}
    rows = scalecheck.translate(net, "sgd", state=optimizer, grad_rms=1.0)
    assert {row["optimizer"] for row in rows} == {"sgd"}


def test_a_check_judges_the_optimizer(net):
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.3)
    step(net, optimizer)
    optimizer.state[net.embed.weight]["exp_avg_sq"][0, 0] = float("nan")
    optimizer.state["average"] = {"of losses": torch.tensor([1.0, float("inf")])}
    found = {(one["rule"], one["where"]) for one in scalecheck.check(net, optimizer)}
    assert ("SC101", "state.average.of losses") in found
    assert ("SC201", "layers.0.weight") in found
    assert ("SC205", "embed.weight") in found


def test_a_partition_of_zero_3_is_a_piece_of_the_size_of_the_whole():
    """As DeepSpeed leaves a parameter between steps: empty, its partition beside it."""
    model = nn.Linear(8, 8, bias=False)
    model.weight.data = torch.empty(0)
    model.weight.ds_tensor = torch.arange(16.0)
    model.weight.ds_shape = (8, 8)
    report = scalecheck.inspect(model)
    assert report["weight"]["kind"] == "piece"
    assert report["weight"]["rms"] == pytest.approx(rms(torch.arange(16.0)))
    assert any("25 % of a parameter of ZeRO 3 of 8×8" in note for note in report.notes)


def test_what_fsdp_leaves_of_a_parameter_is_a_piece_of_its_shape():
    """As FullyShardedDataParallel leaves it with use_orig_params: flat, or empty."""
    model = nn.Sequential(nn.Linear(8, 8))
    flat = nn.Parameter(torch.arange(48.0))
    flat._params, flat._shapes = [model[0].weight, model[0].bias], [(8, 8), (8,)]
    model[0].weight.data, model[0].bias.data = flat.data[:48], flat.data[48:]
    model._handle = SimpleNamespace(flat_param=flat)
    report = scalecheck.inspect(model)
    assert {row["name"]: row["kind"] for row in report} == {"0.weight": "piece", "0.bias": "piece"}
    assert any("75 % of a parameter of FSDP of 8×8" in note for note in report.notes)


def test_the_parts_of_a_distributed_tensor_are_pieces_of_the_size_of_the_whole():
    """Two ranks of which this process is the first; nothing is sent between them."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_module, distribute_tensor
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    try:
        mesh = init_device_mesh("cpu", (2,))

        def shard(_, module, mesh):
            for name, own in [*module.named_parameters(recurse=False)]:
                part = distribute_tensor(own.detach(), mesh, [Shard(0)])
                module.register_parameter(name, nn.Parameter(part))

        model = distribute_module(nn.Linear(6, 8), mesh, shard)
        report = scalecheck.inspect(model)
        assert report["weight"]["kind"] == "piece"
        assert report["weight"]["shape"] == [4, 6]
        assert report["weight"]["rms"] == pytest.approx(rms(model.weight.to_local()))
        assert any("50 % of a DTensor of 8×6" in note for note in report.notes)
        optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
        assert {row["lr"] for row in scalecheck.translate(model, optimizer)} == {LR}
    finally:
        dist.destroy_process_group()
