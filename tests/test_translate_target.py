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


@pytest.mark.parametrize("saved", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("own", ["", "module.", "_orig_mod."])
def test_emitted_python_finds_parameters_whatever_wraps_the_model(own, saved, tmp_path):
    """A checkpoint of a wrapped model, and a model that is not wrapped yet, or the reverse."""
    torch.manual_seed(0)
    state = {f"{saved}a.{n}.weight": torch.randn(40, 40) for n in range(3)}
    torch.save(state, tmp_path / "model.pt")
    module = emitted_torch(tmp_path, "--target", "0.1%")
    model = of_model(tmp_path)
    parameters = {f"{own}a.{n}.weight": torch.nn.Parameter(torch.zeros(40, 40)) for n in range(3)}
    object.__setattr__(model, "own", parameters)
    groups = module["optimizer"](model).param_groups
    trained = [id(p) for group in groups for p in group["params"]]
    assert sorted(trained) == sorted(map(id, parameters.values()))
    assert all("lr" in group for group in groups)
    del parameters[f"{own}a.1.weight"]
    with pytest.raises(ValueError, match=r"lacks 1 of the 3 parameters .*: .*a\.1\.weight$"):
        module["optimizer"](model)


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
    assert module["WARMUP"][-1] == (steps + 1, 1.0)
    assert module["WARMUP"][0] == (1, pytest.approx(1 / excess, abs=5e-4))
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


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (("--optimizer", "adamw"), 37),
        (("--optimizer", "nadam"), 796),
        (("--optimizer", "nadam", "--step", "steady"), 23_067),
        (("--optimizer", "rmsprop", "--set", "alpha=0.9999", "--step", "steady"), 32_000),
        (("--optimizer", "rmsprop", "--set", "alpha=0.999999", "--step", "steady"), 3_200_000),
        (("--optimizer", "rmsprop", "--momentum", "0.9"), 323),
        (("--optimizer", "adamax"), 170),
        (("--optimizer", "adagrad", "--step", 50_000), 48_000),
        (("--optimizer", "radam", "--grad-rms", 100), 5),
    ],
)
def test_the_points_of_a_warm_up_of_any_length_follow_theory(options, steps):
    """Within 2 % at every step, and few; a linear warm-up of the length that is told is below."""
    module = emitted_torch(INIT, *options, "--target", "0.1%")
    points, warmup = module["WARMUP"], module["warmup"]
    assert points[-1][0] == pytest.approx(steps, rel=0.05, abs=1)
    assert len(points) < 15
    asked = (INIT, "--match", "*0.attn.qkv.weight", *options)
    [later] = rows(*asked, "--lr", 1e-4).values()
    emitted = json.loads(scalecheck("translate", *asked, "--target", "0.1%", "--emit", "json").out)
    shown = [word for word in options if word != "--step" and word != options[-1]]
    shown = shown if "--step" in options else options
    for step in [1, 2, 3, 4, 5, 6, 9, 20, 33, 150, 420, 1700, 9000, 30_000, 2_000_000]:
        if step > emitted["warmup_points"][-1][0]:
            break
        [row] = rows(*asked[:3], *shown, "--step", step, "--lr", 1e-4).values()
        excess = row["update_rms_expected"] / later["update_rms_expected"]
        assert warmup(step) == pytest.approx(min(1.0, 1 / excess), rel=0.021), step
        assert step / emitted["warmup_linear"] <= 1.021 * warmup(step)


def test_json_lists_the_multiples_of_the_first_thousand_steps():
    asked = (INIT, "--target", "0.1%", "--emit", "json")
    short = json.loads(scalecheck("translate", *asked).out)
    assert len(short["warmup"]) == short["warmup_points"][-1][0] - 1 == 37
    assert short["warmup_linear"] == 38
    long = ("--optimizer", "rmsprop", "--set", "alpha=0.9999", "--step", "steady")
    emitted = json.loads(scalecheck("translate", *asked, *long).out)
    assert len(emitted["warmup"]) == 1000
    assert emitted["warmup_points"][-1][0] > 30_000
    assert any("warmup lists the first 1,000 steps" in note for note in emitted["notes"])


def test_first_steps_that_are_as_large_as_gradients_are_said_to_be_unknown():
    """RAdam's first five steps are those of SGD."""
    asked = (INIT, "--optimizer", "radam", "--target", "0.1%", "--emit", "json")
    notes = json.loads(scalecheck("translate", *asked).out)["notes"]
    said = "the size of the first 5 steps of a fresh optimizer is not known (its updates are as "
    assert f"{said}large as its gradients: give --grad-rms)" in notes
    assert "the lrs are for step 1,000: updates grow to 1.55 times the target after it" in notes
    known = json.loads(scalecheck("translate", *asked, "--grad-rms", 100).out)
    assert not any("not known" in note for note in known["notes"])
    assert [step for step, _ in known["warmup_points"]] == [1, 5, 6]


def test_an_lr_below_an_optimizers_cap_needs_no_warm_up():
    """Adafactor takes at most 1/√step for its lr, which these lrs are below at every step."""
    asked = (INIT, "--optimizer", "adafactor", "--step", 10_000, "--target", "0.1%")
    assert json.loads(scalecheck("translate", *asked, "--emit", "json").out)["warmup"] == []


def test_the_target_can_be_asked_for_the_steady_state():
    asked = (INIT, "--target", "0.1%", "--step", "steady")
    lrs, limit = (
        {name: row["target_lr"] for name, row in rows(*each).items()} for each in (asked, asked[:3])
    )
    assert lrs == limit
    assert json.loads(scalecheck("translate", *asked, "--emit", "json").out)["groups"]


@pytest.mark.parametrize(
    ("options", "warmup"),
    [
        (("--steps", 2000, "--schedule", "cosine", "--final", 0.1), 38),
        (("--steps", 2000, "--warmup", 100), 100),
        (("--steps", 20), 19),
        (("--step", 1), None),
        (("--step", "steady", "--snr", 0.5, "--grad-rms", 1e-3), None),
    ],
)
def test_an_emitted_configuration_holds_the_run_that_was_asked_for(options, warmup, tmp_path):
    """With a linear warm-up that is long enough; check reads it."""
    path = tmp_path / "scalecheck.toml"
    done = scalecheck("translate", INIT, "--target", "0.1%", *options, "--emit", "toml")
    path.write_text(done.out)
    emitted = tomllib.loads(done.out)
    given = {k[2:].replace("-", "_"): v for k, v in zip(options[::2], options[1::2], strict=True)}
    kept = {key: emitted.get(key) for key in given if key != "warmup"}
    assert kept == {key: value for key, value in given.items() if key != "warmup"}
    assert emitted.get("warmup") == warmup
    report = json.loads(scalecheck("check", INIT, "--config", path, "--format", "json").out)
    assert report["settings"]["warmup"] == (warmup or 0)
    assert ("add `steps = N`" in done.out.replace("\n# ", " ")) == ("steady" in options)


def test_torchs_muon_gets_the_matrices_and_says_what_else_there_is():
    model = of_model(INIT)
    module = emitted_torch(INIT, "--optimizer", "muon", "--target", "0.1%")
    optimizer = module["optimizer"](model)
    assert type(optimizer) is torch.optim.Muon
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(trained) == sum(p.ndim == 2 for p in model.own.values()) < len(model.own)
    done = scalecheck(
        "translate", INIT, "--optimizer", "muon", "--target", "0.1%", "--emit", "torch"
    )
    left = len(model.own) - len(trained)
    assert (
        f"# torch.optim.Muon trains matrices only; {left} tensors of other shapes need" in done.out
    )
    asked = (INIT, "--optimizer", "muon", "--target", "0.1%", "--match", "*.bias")
    done = scalecheck("translate", *asked, "--emit", "torch")
    assert done.code == 2


def test_emitted_python_can_leave_the_other_parameters_to_another_optimizer():
    module = emitted_torch(INIT, "--target", "0.1%", "--match", "*.attn.*.weight")
    model = of_model(INIT)
    assert sum(len(g["params"]) for g in module["optimizer"](model).param_groups) == 52
    own = module["optimizer"](model, rest=False).param_groups
    assert sum(len(group["params"]) for group in own) == 8


def test_groups_for_the_first_step_have_no_warm_up():
    module = emitted_torch(INIT, "--target", "0.1%", "--step", 1)
    assert not {"WARMUP", "scheduler"} & module.keys()
    emitted = scalecheck("translate", INIT, "--target", "0.1%", "--step", 1, "--emit", "json").out
    assert json.loads(emitted)["warmup"] == []


def test_the_lr_of_a_small_tensor_is_that_of_its_family(tmp_path):
    """A state tells one step of few elements: one of them can be far off."""
    torch.manual_seed(0)
    model = torch.nn.ModuleList([torch.nn.Linear(64, 64) for _ in range(5)])
    with torch.no_grad():
        for n in range(5):
            model[n].weight.mul_(1 + n)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
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
