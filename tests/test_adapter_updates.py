"""What an lr does to a matrix through an adapter, beside real training steps."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from adapter_files import CONFIG, PEFT, noise, product, rms, write, write_base
from command import scalecheck
from torch import nn

import scalecheck as api
from scalecheck.errors import UsageError
from scalecheck.report.formatting import rate

SCALE = 2.0


class Adapted(nn.Module):
    """A frozen linear layer with LoRA."""

    def __init__(self, weight, rank=4):
        super().__init__()
        self.weight = nn.Parameter(weight.clone(), requires_grad=False)
        self.lora_A = nn.Linear(weight.shape[1], rank, bias=False)
        self.lora_B = nn.Linear(rank, weight.shape[0], bias=False)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x):
        return x @ self.weight.T + SCALE * self.lora_B(self.lora_A(x))


def model(seed=0, sizes=((48, 64), (32, 48))):
    torch.manual_seed(seed)
    layers = [Adapted(noise(*size, seed=seed + n, rms=0.1)) for n, size in enumerate(sizes)]
    return nn.Sequential(layers[0], nn.Tanh(), layers[1])


def delta(model):
    """ΔW of each layer."""
    return [
        product(layer.lora_A.weight.detach(), layer.lora_B.weight.detach(), SCALE)
        for layer in model
        if isinstance(layer, Adapted)
    ]


def trained(model, steps, make, **options):
    """The optimizer after these steps, and ΔW before the last one."""
    optimizer = make([(n, p) for n, p in model.named_parameters() if p.requires_grad], **options)
    before = delta(model)
    for step in range(steps):
        before = delta(model)
        x = noise(16, 64, seed=100 + step, rms=1.0)
        (model(x) - noise(16, 32, seed=200, rms=1.0)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return optimizer, before


def saved(tmp_path, model, optimizer=None, config=CONFIG):
    """The folders of the adapter and of its base."""
    own = model.state_dict()
    halves = {
        PEFT.format(name.partition(".lora_")[0], name.partition(".lora_")[2][0]): tensor
        for name, tensor in own.items()
        if "lora_" in name
    }
    folder = write(tmp_path / "adapter", halves, config)
    if optimizer is not None:
        state = optimizer.state_dict()
        for group in state["param_groups"]:
            names = [n.partition(".lora_") for n in group["param_names"]]
            group["param_names"] = [PEFT.format(layer, half[0]) for layer, _, half in names]
        torch.save(state, folder / "optimizer.pt")
    base = {n: t for n, t in own.items() if "lora_" not in n}
    return folder, write_base(tmp_path / "base", base)


OPTIMIZERS = {
    "AdamW": (torch.optim.AdamW, {"lr": 1e-3, "weight_decay": 0.0}),
    "Adam": (torch.optim.Adam, {"lr": 1e-2}),
    "RMSprop": (torch.optim.RMSprop, {"lr": 1e-3, "momentum": 0.9}),
    "SGD": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
}


@pytest.mark.parametrize(("make", "options"), OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_last_step_of_both_halves_is_the_step_of_the_matrix(make, options, steps, tmp_path):
    net = model()
    optimizer, before = trained(net, steps, make, **options)
    folder, base = saved(tmp_path, net, optimizer)
    report = api.translate(folder, base=base)
    rows = {row["name"]: row for row in report.rows}
    assert [*rows] == ["0.weight", "2.weight"]
    for (name, row), was, now in zip(rows.items(), before, delta(net), strict=True):
        assert row["measured"]
        moved = rms(now - was)
        assert row["absolute_update"] == pytest.approx(moved, rel=1e-4)
        weights = net.state_dict()[name]
        assert row["relative_update"] == pytest.approx(moved / rms(weights), rel=1e-4)
        assert row["added_rms"] == pytest.approx(rms(now), rel=1e-6)
        assert row["update_rms"] * row["lr"] == pytest.approx(row["absolute_update"])


def test_first_step_is_lr_alpha_over_the_root_of_3_n_r(tmp_path):
    """ΔW of B = 0 and A by kaiming: lr·alpha/√(3·n·r), with alpha/r the scale."""
    torch.manual_seed(0)
    net = nn.Sequential(Adapted(noise(512, 1024, rms=0.02), rank=8))
    folder, base = saved(tmp_path, net, config={**CONFIG, "r": 8, "lora_alpha": 16})
    [row] = api.translate(folder, base=base, lr=1e-4).rows
    expected = 1e-4 * 16 / math.sqrt(3 * 1024 * 8)
    assert row["absolute_update"] == pytest.approx(expected, rel=0.03)
    assert row["full_lr"] == pytest.approx(row["absolute_update"])
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-4)
    net(noise(64, 1024, seed=7, rms=1.0)).square().mean().backward()
    optimizer.step()
    assert rms(delta(net)[0]) == pytest.approx(row["absolute_update"], rel=0.03)


def test_later_steps_come_from_both_halves_and_both_updates(tmp_path):
    """Random updates of both halves, of the RMS that noise gives Adam."""
    net = model()
    for layer in (net[0], net[2]):
        nn.init.normal_(layer.lora_B.weight, std=0.05)
    folder, base = saved(tmp_path, net)
    report = api.translate(folder, base=base, lr=1e-2)
    halves = {row["name"]: row for row in report.rows_of("factors")}
    for row, layer in zip(report.rows, (net[0], net[2]), strict=True):
        a, b = layer.lora_A.weight.detach().double(), layer.lora_B.weight.detach().double()
        down, up = (
            halves[PEFT.format(row["name"].partition(".")[0], half)]["absolute_update"]
            for half in "AB"
        )
        squares = []
        for seed in range(200):
            da = noise(*a.shape, seed=seed, rms=down).double()
            db = noise(*b.shape, seed=1000 + seed, rms=up).double()
            squares.append(rms(SCALE * ((b + db) @ (a + da) - b @ a)) ** 2)
        assert row["absolute_update"] ** 2 == pytest.approx(sum(squares) / 200, rel=0.03)


def test_full_lr_moves_as_much_in_full(tmp_path):
    """u·full_lr is the step of ΔW, u the RMS of an update of the matrix at lr 1."""
    net = model()
    nn.init.normal_(net[0].lora_B.weight, std=0.05)
    folder, base = saved(tmp_path, net)
    row = api.translate(folder, base=base, lr=1e-3).rows[0]
    [whole] = api.translate(base, lr=row["full_lr"], match="0.weight").rows
    assert whole["absolute_update"] == pytest.approx(row["absolute_update"])


def test_half_that_is_not_trained_does_not_move(tmp_path):
    net = model()
    for layer in (net[0], net[2]):
        layer.lora_A.weight.requires_grad_(False)
    optimizer, before = trained(net, 5, torch.optim.AdamW, lr=1e-3, weight_decay=0.0)
    folder, base = saved(tmp_path, net, optimizer)
    rows = api.translate(folder, base=base).rows
    for row, was, now in zip(rows, before, delta(net), strict=True):
        assert row["absolute_update"] == pytest.approx(rms(now - was), rel=1e-4)


def test_halves_of_different_lrs_have_no_lr_in_common(tmp_path):
    net = model()
    nn.init.normal_(net[0].lora_B.weight, std=0.05)
    folder, base = saved(tmp_path, net)
    row = api.translate(folder, base=base, lr=1e-3, group="*lora_B*:lr=1.6e-2").rows[0]
    assert row["lr"] is None
    assert row["absolute_update"] > 0


def test_halves_alone_have_no_band(tmp_path):
    net = model()
    nn.init.normal_(net[0].lora_B.weight, std=0.05)
    folder, _ = saved(tmp_path, net)
    report = api.translate(folder, lr=1e-3)
    bands = {row["name"]: row["band"] for row in report.rows}
    assert bands == {
        PEFT.format(0, "A"): None,
        PEFT.format(0, "B"): None,
        PEFT.format(2, "A"): None,
        PEFT.format(2, "B"): "before the first step",
    }
    assert "bands" not in report.summary
    assert (
        "The relative update of W is not known without its weights. Pass base MODEL."
        in report.totals
    )
    first, second = report.rows_of("adapted")
    assert first["absolute_update"] > 0
    assert second["added_rms"] == 0


def test_headline_says_the_lr_of_full_fine_tuning(tmp_path):
    folder, base = saved(tmp_path, model())
    report = api.translate(folder, base=base, lr=1e-3)
    first = report.totals.splitlines()[0]
    lr = report.summary["full_lr_median"]
    assert (
        first
        == f"A step moves W like full fine-tuning at lr {rate(lr)} (median of 2 adapted matrices)."
    )


def test_unknown_alpha_leaves_updates_unknown(tmp_path):
    net = model()
    folder, base = saved(tmp_path, net)
    (folder / "adapter_config.json").unlink()
    report = api.translate(folder, base=base, lr=1e-3)
    assert {row["relative_update"] for row in report.rows} == {None}
    assert all(row["reason"].startswith("alpha is not known") for row in report.rows)


def test_tensors_that_are_trained_themselves_are_rows(tmp_path):
    folder, base = saved(tmp_path, model())
    head = {"base_model.model.head.modules_to_save.default.weight": noise(8, 8)}
    halves = {PEFT.format(0, "A"): noise(4, 64), PEFT.format(0, "B"): noise(48, 4)}
    folder = write(tmp_path / "with head", {**halves, **head}, CONFIG)
    names = [row["name"] for row in api.translate(folder, base=base, lr=1e-3).rows]
    assert names == ["0.weight", *head]


def test_optimizer_whose_updates_follow_gradients_has_no_full_lr(tmp_path):
    folder, base = saved(tmp_path, model())
    rows = api.translate(folder, base=base, lr=1e-3, optimizer="sgd", grad_rms=1e-3).rows
    assert {row["full_lr"] for row in rows} == {None}


def test_target_gives_the_lr_of_the_halves(tmp_path):
    net = model()
    folder, base = saved(tmp_path, net)
    [row, _] = api.translate(folder, base=base, lr=1e-3, target=1e-3).rows
    [again, _] = api.translate(folder, base=base, lr=row["target_lr"]).rows
    assert again["relative_update"] == pytest.approx(1e-3)


def test_rows_merge_by_role(tmp_path):
    folder, base = saved(tmp_path, model())
    [row] = api.translate(folder, base=base, lr=1e-3, by="role").rows
    assert row["tensors"] == 2
    assert row["full_lr"] > 0


@pytest.mark.parametrize("by", ["tensor", "layer", "family", "role"])
def test_json_has_the_halves_beside_the_rows(by, tmp_path):
    net = model()
    optimizer, _ = trained(net, 3, torch.optim.AdamW, lr=1e-3)
    folder, base = saved(tmp_path, net, optimizer)
    options = ("--by", by, "--target", "1e-3", "--to", "lion", "--format", "json")
    done = scalecheck("translate", folder, "--base", base, *options)
    found = json.loads(done.out)
    assert [row["name"] for row in found["factors"]] == [
        PEFT.format(layer, half) for layer in (0, 2) for half in "AB"
    ]
    assert all(row["target_lr"] and row["to_lr"] and row["full_lr"] for row in found["rows"])
    assert found["source"]["base"] == str(base)
    assert found["settings"]["base"] == str(base)


def test_emitted_groups_name_the_halves(tmp_path):
    folder, base = saved(tmp_path, model())
    options = ("--lr", "1e-3", "--target", "1e-3", "--emit", "json")
    found = json.loads(scalecheck("translate", folder, "--base", base, *options).out)
    names = [name for group in found["groups"] for name in group["names"]]
    assert sorted(names) == [PEFT.format(layer, half) for layer in (0, 2) for half in "AB"]


def test_other_optimizer_moves_as_far_at_its_lr(tmp_path):
    net = model()
    nn.init.normal_(net[0].lora_B.weight, std=0.05)
    folder, base = saved(tmp_path, net)
    row = api.translate(folder, base=base, lr=1e-5, to="lion").rows[0]
    again = api.translate(folder, base=base, lr=row["to_lr"], optimizer="lion").rows[0]
    assert again["absolute_update"] == pytest.approx(row["absolute_update"], rel=1e-3)


def test_shapes_without_elements_are_no_adapter(tmp_path):
    shapes = ["q.lora_A.weight=4x64", "q.lora_B.weight=48x4"]
    report = api.translate(shape=shapes, assume="torch", lr=1e-3)
    assert report.rows_of("adapted") == []
    with pytest.raises(UsageError, match="base: needs an adapter"):
        api.translate(shape=shapes, assume="torch", lr=1e-3, base=tmp_path)


def test_optimizer_before_its_first_step_tells_the_first(tmp_path):
    net = model()
    folder, base = saved(tmp_path, net)
    told = api.translate(folder, base=base, lr=1e-3).rows
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net.peft_config = {"default": SimpleNamespace(r=4, lora_alpha=8)}
    held = api.translate(net, optimizer, base=net, match="*lora*").rows
    for one, other in zip(held, told, strict=True):
        assert one["absolute_update"] == pytest.approx(other["absolute_update"])
        assert one["full_lr"] == pytest.approx(other["full_lr"])
