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
NOT_SHOWN = re.compile(r"(\d+) optimizer states (?:have no row|are not of the shapes)")


@pytest.mark.parametrize("format", ["table", "csv", "markdown", "json"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_entry_has_a_row_or_is_counted(format, options, tmp_path):
    for seed in range(8):
        (tmp_path / str(seed)).mkdir()
        layout = Layout(seed, tmp_path / str(seed))
        whole = json.loads(scalecheck("translate", layout.path, "--format", "json").out)
        named = layout.entries - len(whole.get("states", ()))
        done = scalecheck("translate", layout.path, *options, "--format", format)
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
            assert " is not known: --weight-decay or --param-names says it" in done.err
        else:
            counted = re.findall(r"(\d+) optimizer states? whose tensor is not certain", done.out)
            assert counted == ([str(len(states))] if states else [])
