"""`translate --target`: the lr of a relative update, and the parameter groups that are emitted."""

import json
import statistics
import tomllib

import pytest
import torch
from command import scalecheck
from test_translate_command import INIT, TINY, rows, translated

import scalecheck as api

pytestmark = pytest.mark.usefixtures("in_project_folder")


def of_model(path):
    """An nn.Module with the parameters of a checkpoint."""

    class Model(torch.nn.Module):
        def named_parameters(self, *_, **__):
            yield from self.own.items()

    model = Model()
    parameters = {
        t.name: torch.nn.Parameter(torch.zeros(t.shape)) for t in api.open_checkpoint(path).tensors
    }
    object.__setattr__(model, "own", parameters)
    return model


def emitted_torch(*arguments):
    """The module that --emit torch prints."""
    module = {}
    exec(scalecheck("translate", *arguments, "--emit", "torch").out, module)
    return module


def test_emitted_groups_train_a_model_at_the_target():
    model = of_model(TINY)
    optimizer = emitted_torch(TINY, "--target", "0.1%")["optimizer"](model)
    assert type(optimizer) is torch.optim.AdamW
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    found = rows(TINY, "--target", 1e-3)
    own = {name: groups[id(p)] for name, p in model.own.items()}
    for name, row in found.items():
        assert own[name]["weight_decay"] == row["weight_decay"]
        if row["numel"] >= 1000 or not row["measured"]:
            assert own[name]["lr"] == float(f"{row['target_lr']:.2e}")
    assert optimizer.defaults["betas"] == (0.9, 0.99)


def test_an_lr_is_emitted_once_for_all_tensors_that_are_trained_alike():
    emitted = json.loads(scalecheck("translate", INIT, "--target", "0.1%", "--emit", "json").out)
    settings = [{**group, "names": None} for group in emitted["groups"]]
    assert all(settings.count(one) == 1 for one in settings)
    assert len(settings) < 25
    assert all(float(f"{group['lr']:.2e}") == group["lr"] for group in emitted["groups"])
    assert len(emitted["zero_initialised"]) == 25
    comment = "# zero-initialised: moves by lr, no relative update"
    for form in ("torch", "toml"):
        assert comment in scalecheck("translate", INIT, "--target", "0.1%", "--emit", form).out


@pytest.mark.parametrize("lacking", ["blocks.0.attn.qkv.weight", "ln_f.bias"])
def test_emitted_python_names_what_the_model_lacks(lacking):
    model = of_model(INIT)
    del model.own[lacking]
    with pytest.raises(ValueError, match=rf"lacks 1 of the 52 parameters .*: {lacking}$"):
        emitted_torch(INIT, "--target", "0.1%")["optimizer"](model)


def test_emitted_python_trains_a_tied_parameter_once_and_what_it_does_not_name():
    model = of_model(INIT)
    model.own["head.weight"] = model.own["tok_emb.weight"]
    model.own["new.weight"] = torch.nn.Parameter(torch.zeros(2))
    model.own["still.weight"] = torch.nn.Parameter(torch.zeros(2), requires_grad=False)
    groups = emitted_torch(INIT, "--target", "0.1%")["param_groups"](model)
    ids = [id(p) for group in groups for p in group["params"]]
    assert len(ids) == len(set(ids)) == 53
    assert [id(p) for p in groups[-1]["params"]] == [id(model.own["new.weight"])]
    assert "lr" not in groups[-1]


@pytest.mark.parametrize(
    ("name", "excess", "steps"), [("adamw", 4.361, 37), ("rmsprop", 10.05, 323)]
)
def test_the_emitted_warm_up_holds_the_target_from_the_first_step(name, excess, steps):
    """Replayed on noise: each step moves the weights by the target, within what chance allows."""
    module = emitted_torch(INIT, "--optimizer", name, "--target", "0.1%")
    assert len(module["WARMUP"]) == steps
    assert module["WARMUP"][0] == pytest.approx(1 / excess, abs=5e-4)
    torch.manual_seed(0)
    weights = torch.nn.Parameter(torch.randn(200, 200, dtype=torch.float64))
    own = {name: x for name, x in module["SETTINGS"].items() if name != "weight_decay"}
    u = api.translate(INIT, name, lr=1.0, match=["*0.attn.qkv.weight"]).rows[0]
    own |= {"lr": 1e-3 / u["update_rms_expected"], "weight_decay": 0.0}
    kind = {"adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop}[name]
    optimizer = kind([weights], **own)
    scheduler = module["scheduler"](optimizer)
    for step in range(1, 60):
        before = weights.detach().clone()
        weights.grad = torch.randn_like(weights)
        optimizer.step()
        scheduler.step()
        moved = float((weights.detach() - before).square().mean().sqrt())
        assert moved == pytest.approx(1e-3, rel=0.02), step


def test_groups_for_the_first_step_have_no_warm_up():
    module = emitted_torch(INIT, "--target", "0.1%", "--step", 1)
    assert not {"WARMUP", "scheduler"} & module.keys()
    emitted = scalecheck("translate", INIT, "--target", "0.1%", "--step", 1, "--emit", "json").out
    assert json.loads(emitted)["warmup"] == []


def test_the_lr_of_a_small_tensor_is_that_of_its_family(tmp_path):
    """A state tells one step of few elements: one of them can be far off."""
    model = torch.nn.ModuleList([torch.nn.Linear(64, 64) for _ in range(5)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    torch.manual_seed(0)
    for _ in range(50):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    optimizer.state[model[2].bias]["exp_avg"] /= 100
    torch.save(model.state_dict(), tmp_path / "model.pt")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    arguments = (tmp_path, "--target", "0.1%")
    own = [row["target_lr"] for row in rows(*arguments).values() if row["role"] == "bias"]
    assert max(own) > 30 * statistics.median(own)
    emitted = json.loads(scalecheck("translate", *arguments, "--emit", "json").out)
    lrs = {name: group["lr"] for group in emitted["groups"] for name in group["names"]}
    middle = float(f"{statistics.median(own):.2e}")
    assert [lrs[f"{n}.bias"] for n in range(5)] == [middle] * 5
    assert emitted["pooled"] == [f"{n}.bias" for n in range(5)]
    assert len({lrs[f"{n}.weight"] for n in range(5)}) == 5


@pytest.mark.parametrize("target", ["0.1%", "0.1 %", "0.001", "1e-3"])
@pytest.mark.parametrize("path", [INIT, TINY])
def test_a_target_needs_no_lr(path, target):
    report = translated(path, "--target", target, "--state", "none")
    assert report["summary"]["target"]["relative_update"] == 1e-3
    at_lr = rows(path, "--target", target, "--state", "none", "--lr", 3e-4)
    for row in report["rows"]:
        assert row["lr"] is row["relative_update"] is row["absolute_update"] is None
        assert row["stalled"] is row["nominal_relative_update"] is row["target_factor"] is None
        assert row["target_lr"] == pytest.approx(at_lr[row["name"]]["target_lr"])
    done = scalecheck("translate", path, "--target", target, "--state", "none")
    summary = report["summary"]["target"]
    lrs = [row["target_lr"] for row in report["rows"] if row["role"] == "matrix"]
    assert summary["lr_min"] == min(lrs)
    assert summary["lr_max"] == max(lrs)
    assert summary["lr_median"] == statistics.median(lrs)
    first = done.out.splitlines()[0]
    assert first.startswith("For 0.1 % per step, adamw takes lr ")
    assert "median" in first
    assert "No lr was given, so no relative update is shown." in done.out


def test_a_target_beside_a_state_starts_from_its_lr():
    report = translated(TINY, "--target", "0.1%")
    assert {row["lr"] for row in report["rows"]} == {0.0002}
    assert scalecheck("translate", TINY, "--target", "0.1%").out.startswith("For 0.1 % per step")


def test_a_target_of_a_group_needs_no_lr():
    for by in ("family", "role"):
        with_lr = rows(INIT, "--target", 1e-3, "--lr", 3e-4, "--by", by)
        for name, row in rows(INIT, "--target", 1e-3, "--by", by).items():
            assert row["target_lr"] == pytest.approx(with_lr[name]["target_lr"])


def test_a_target_of_adapted_matrices_needs_no_lr():
    """Their step is the product's, in proportion to the lr but for the product of both updates."""
    asked = ("sample_ckpts/tiny-gpt-lora", "--base", TINY, "--state", "none", "--target", "0.1%")
    with_lr = rows(*asked, "--lr", 1e-9)
    for name, row in rows(*asked).items():
        assert row["relative_update"] is None
        assert row["target_lr"] == pytest.approx(with_lr[name]["target_lr"])


@pytest.mark.parametrize("path", [INIT, TINY])
def test_the_configuration_that_is_emitted_gives_the_target(path):
    """Read back as groups, each tensor of its own lr changes by the target to 3 digits."""
    asked = (path, "--target", "0.1%", "--state", "none")
    emitted = tomllib.loads(scalecheck("translate", *asked, "--emit", "toml").out)
    groups = [
        word
        for group in emitted["group"]
        for name in group["names"]
        for word in ("--group", f"{name}:lr={group['lr']!r}")
    ]
    found = rows(path, "--lr", emitted["optimizer"]["lr"], "--state", "none", *groups)
    moved = [row for row in found.values() if row["relative_update"] is not None]
    assert len(moved) == (27 if path == INIT else 52)
    for row in moved:
        assert row["relative_update"] == pytest.approx(1e-3, rel=5e-3)


def test_a_target_above_the_optimizers_cap_has_no_lr():
    """Adafactor's lr is at most 1/√step."""
    for lr in ((), ("--lr", 1e-2)):
        asked = (INIT, "--optimizer", "adafactor", "--step", 10_000, "--target", 0.1, *lr)
        assert {row["target_lr"] for row in rows(*asked).values()} == {None}


def test_a_target_without_a_size_of_updates_says_what_is_needed():
    done = scalecheck("translate", INIT, "--optimizer", "sgd", "--target", "0.1%")
    assert (done.code, done.out) == (2, "")
    assert "--optimizer sgd: its updates are as large as its gradients: give --grad-rms" in done.err
