"""What is said of tensors of which some are frozen, and that no entry of a state disappears."""

import csv
import io
import json
import random
import re

import pytest
import torch
from command import scalecheck
from safetensors.torch import save_file

import scalecheck as api

SHAPES = ((8, 8), (8,), (4, 8), (8, 4), (4,))


class Layout:
    """A training run drawn from a seed: which tensors of a model are trained, in which groups, how
    it was saved, and what is true of it."""

    def __init__(self, seed, folder):
        draw = random.Random(seed)
        torch.manual_seed(seed)
        names = [
            f"{part}.{i}.{word}"
            for part in draw.sample(("stem", "layers", "head", "blocks"), 3)
            for i in range(draw.randint(1, 3))
            for word in ("w", "b")
        ]
        self.tensors = {name: torch.randn(draw.choice(SHAPES)) for name in names}
        share = draw.choice((0.3, 0.7, 1.0))
        self.trained = [name for name in names if draw.random() < share] or names[-1:]
        parameters = {name: torch.nn.Parameter(self.tensors[name]) for name in self.trained}
        idle = draw.sample(self.trained, draw.choice((0, 0, 1)) if len(self.trained) > 2 else 0)
        cut = draw.choice((len(self.trained), len(self.trained) // 2)) or 1
        groups = [self.trained[:cut], self.trained[cut:]]
        decays = draw.choice(((0.1, 0.1), (0.1, 0.0)))
        optimizer = torch.optim.AdamW(
            [
                {"params": [parameters[name] for name in group], "weight_decay": decay}
                for group, decay in zip(groups, decays, strict=True)
                if group
            ],
            lr=1e-3,
        )
        for step in range(2):
            for name, one in parameters.items():
                if name not in idle:
                    one.grad = torch.randn(one.shape) * (1 + step)
            optimizer.step()
        state = optimizer.state_dict()
        self.entries = len(self.trained)
        self.updates = {
            name: update(state["state"][place])
            for place, name in enumerate(self.trained)
            if name not in idle
        }
        self.decays = {
            name: decay for group, decay in zip(groups, decays, strict=True) for name in group
        }
        tensors = {name: parameters.get(name, one).detach() for name, one in self.tensors.items()}
        if draw.random() < 0.5:
            tensors |= {"norm.running_mean": torch.randn(8), "norm.weight": tensors[names[0]]}
        self.path = folder / "run"
        self.path.mkdir()
        if draw.random() < 0.5:
            save_file(
                {name: one.clone() for name, one in tensors.items()}, self.path / "m.safetensors"
            )
            torch.save(state, self.path / "optimizer.pt")
        else:
            self.path /= "run.pt"
            torch.save({"model": tensors, "optimizer": state}, self.path)


def update(state):
    """The RMS of AdamW's last update, in float64."""
    step = int(state["step"])
    m = state["exp_avg"].double() / (1 - 0.9**step)
    v = state["exp_avg_sq"].double() / (1 - 0.999**step)
    return float((m / (v.sqrt() + 1e-8)).square().mean().sqrt())


@pytest.fixture(params=range(40))
def layout(request, tmp_path):
    return Layout(request.param, tmp_path)


def test_no_frozen_tensor_has_an_update(layout):
    report = api.translate(layout.path, by="tensor")
    skipped = {entry["name"] for entry in report.skipped}
    rows = {row["name"]: row for row in report.rows}
    for name in layout.tensors:
        if name in rows and rows[name]["relative_update"] is not None:
            assert name in layout.updates
            if rows[name]["measured"]:
                assert rows[name]["update_rms"] == pytest.approx(layout.updates[name], rel=1e-6)
            assert rows[name]["weight_decay"] in (None, layout.decays[name])
        elif name in rows:
            assert rows[name]["reason"]
        else:
            assert name in skipped
            assert name not in layout.updates


OPTIONS = (
    (),
    ("--by", "layer"),
    ("--by", "role"),
    ("--top", 2),
    ("--sort", "update_rms"),
    ("--sort", "rms", "--reverse"),
    ("--columns", "name,rms,update_rms"),
    ("--match", "*.w"),
    ("--exclude", "*.0.*"),
)
STATE = re.compile(r"state\[\d+\]")
NOT_SHOWN = re.compile(r"not shown: (\d+) optimizer states? (?:whose|of other)")


@pytest.mark.parametrize("format", ["table", "csv", "markdown", "json"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_entry_has_a_row_or_is_counted(format, options, tmp_path):
    for seed in range(8):
        (tmp_path / str(seed)).mkdir()
        layout = Layout(seed, tmp_path / str(seed))
        whole = json.loads(scalecheck("translate", layout.path, "--format", "json").out)
        named = layout.entries - len(whole.get("states", ()))
        done = scalecheck("translate", layout.path, *options, "--format", format, "--verbose")
        if done.code == 2:
            assert "no optimizer trains any of the" in done.err
            continue
        if format == "json":
            found = json.loads(done.out)
            shown, notes = len(found.get("states", ())), "\n".join(found["notes"])
        elif format == "csv":
            lines = csv.DictReader(io.StringIO(done.out))
            shown, notes = sum(bool(STATE.match(line.get("name", ""))) for line in lines), ""
        else:
            shown, notes = len(STATE.findall(done.out)), " ".join(done.out.split())
        counted = sum(map(int, NOT_SHOWN.findall(notes)))
        assert named + shown + (counted if format != "json" else 0) == layout.entries


@pytest.mark.parametrize("form", ["torch", "json", "toml"])
def test_emitted_groups_count_the_entries_of_no_certain_tensor(form, tmp_path):
    for seed in range(8):
        (tmp_path / str(seed)).mkdir()
        layout = Layout(seed, tmp_path / str(seed))
        states = api.translate(layout.path).rows_of("states")
        done = scalecheck("translate", layout.path, "--target", 1e-3, "--emit", form)
        if done.code:
            assert (done.code, done.err.count("\n")) == (2, 1)
            assert " is not known. Pass --weight-decay or --param-names." in done.err
        else:
            counted = re.findall(r"(\d+) optimizer states? whose tensor is not certain", done.out)
            assert counted == ([str(len(states))] if states else [])


def frozen(folder, tensors, trained, make=torch.optim.AdamW, idle=(), **more):
    """A file of these tensors after steps of the trained ones, those of `idle` without gradients;
    `more` lies beside them."""
    torch.manual_seed(0)
    model = {name: torch.nn.Parameter(torch.randn(shape)) for name, shape in tensors.items()}
    optimizer = make([model[name] for name in trained], lr=1e-3)
    for name in {*trained} - {*idle}:
        model[name].grad = torch.randn(model[name].shape)
    optimizer.step()
    content = {name: one.detach() for name, one in model.items()}
    torch.save({"model": content, "optimizer": optimizer.state_dict(), **more}, folder / "run.pt")
    return folder / "run.pt"


LAYERS = {f"layers.{i}.w": (8, 8) for i in range(6)}


def moving(path):
    return [r["name"] for r in api.translate(path).rows if r["relative_update"] is not None]


def test_how_many_are_trained_is_said_and_no_rule_judges_their_updates(tmp_path):
    path = frozen(tmp_path, LAYERS | {"head.w": (3, 8)}, ["layers.4.w", "layers.5.w", "head.w"])
    said = "2 of 6 tensors of shape 8×8 are trained, and it is not certain which"
    report = api.translate(path)
    assert {row["reason"] for row in report.rows} == {said, None}
    assert f"{said}, so 6 have no update. Pass param_names to name them." in report.notes
    assert moving(path) == ["head.w"]
    judged = api.check(path, lr=10.0)
    of_updates = [one.where for one in judged.findings if one.rule.startswith("SC2")]
    assert of_updates
    assert {*of_updates} <= {"head.w"}
    assert f"{said}, so 6 have no update. Pass param_names to name them." in judged.notes


def test_names_that_are_given_say_which_are_trained(tmp_path):
    path = frozen(tmp_path, LAYERS, ["layers.4.w", "layers.5.w"])
    (tmp_path / "names").write_text("layers.4.w\nlayers.5.w")
    report = api.translate(path, param_names=tmp_path / "names")
    assert [row["name"] for row in report.rows if row["measured"]] == ["layers.4.w", "layers.5.w"]
    assert len(report.rows) == 2
    assert (
        "4 of 6 tensors are not trained (no state). Pass state='none' to forecast all."
    ) in report.notes


@pytest.mark.parametrize(
    ("tensors", "trained"),
    [
        ({"a.emb": (9, 4), "m.w": (4, 4), "b.head": (9, 4)}, ["m.w", "b.head"]),
        ({"l.base": (8, 8), "l.lora_A": (2, 8), "l.lora_B": (8, 2)}, ["l.lora_A", "l.lora_B"]),
    ],
)
def test_order_and_shapes_that_leave_no_choice_say_which_are_trained(tensors, trained, tmp_path):
    path = frozen(tmp_path, tensors, trained)
    assert moving(path) == trained
    assert {entry["name"] for entry in api.translate(path).skipped} == {*tensors} - {*trained}


def test_a_tensor_to_which_no_order_leads_is_not_trained(tmp_path):
    """Of four alike one is trained, after the only other one: it is the third or the fourth."""
    tensors = {"e.w": (4, 4), "d.w": (4, 4), "m.w": (4, 3), "y.w": (4, 4), "z.w": (4, 4)}
    path = frozen(tmp_path, tensors, ["m.w", "y.w"])
    assert {entry["name"] for entry in api.translate(path).skipped} == {"e.w", "d.w"}
    assert moving(path) == ["m.w"]


def test_a_parameter_that_had_no_gradient_is_not_trained(tmp_path):
    tensors = {f"{i}.{word}": (4,) * n for i in range(3) for word, n in (("w", 2), ("b", 1))}
    path = frozen(tmp_path, tensors, [*tensors], idle=["1.w"])
    (entry,) = api.translate(path).skipped
    assert entry["name"] == "1.w"
    assert entry["reason"] == "empty state, because it had no gradient: not trained"


@pytest.mark.parametrize("count", [6, 4])
def test_an_optimizer_that_keeps_nothing_trains_as_many_as_its_groups_have(count, tmp_path):
    path = frozen(tmp_path, LAYERS, [*LAYERS][:count], torch.optim.SGD)
    reasons = {row["reason"] for row in api.translate(path, grad_rms=1.0).rows}
    doubt = f"{count} of 6 tensors are trained, and it is not certain which"
    assert reasons == ({None} if count == 6 else {doubt})


def test_buffers_and_tied_tensors_are_no_candidates(tmp_path):
    """Neither a running mean nor a second name of a weight could have the state."""
    path = frozen(
        tmp_path, {"emb.weight": (9, 4), "norm.weight": (4,)}, ["emb.weight", "norm.weight"]
    )
    run = torch.load(path)
    run["model"] |= {"norm.running_mean": torch.ones(4), "norm.running_var": torch.ones(4)}
    run["model"]["head.weight"] = run["model"]["emb.weight"]
    torch.save(run, path)
    assert moving(path) == ["emb.weight", "norm.weight"]
    assert all(row["measured"] for row in api.translate(path).rows)


def test_a_state_of_another_module_trains_none_of_the_model(tmp_path):
    """It is of the critic beside it; the weights are judged all the same."""
    path = frozen(tmp_path, {"critic.w": (3, 3)}, ["critic.w"])
    run = torch.load(path)
    content = {"model": {"l.w": torch.full((8, 8), torch.nan)}, "critic": run["model"]}
    torch.save(content | {"optimizer": run["optimizer"]}, path)
    done = scalecheck("translate", path)
    assert done.code == 2
    assert "tensors: no state: not trained" in done.err
    assert "; --state none forecasts all" in done.err
    judged = api.check(path)
    assert [(one.rule, one.where) for one in judged.findings] == [("SC101", "l.w")]
