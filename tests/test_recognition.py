"""An optimizer is recognised by the whole set of names that its state holds."""

import itertools

import pytest
import torch

import scalecheck as api
from scalecheck.optimizers.contract import TORCH_FLAGS, Condition
from scalecheck.updates.foreign_states import FOREIGN
from scalecheck.updates.recognition import NEUTRAL, Recognised, writers
from scalecheck.updates.without_formula import WithoutFormula

ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
MOMENTS = {"step", "exp_avg", "exp_avg_sq"}


def saved(folder, groups, states):
    """A file of one matrix a state, with the optimizer state of its groups."""
    model = {f"layers.{number}.w": torch.ones(8, 8 + number) for number in range(len(states))}
    state = {
        number: {name: torch.full((8, 8 + number), 1e-3) for name in names - {"step"}}
        | ({"step": torch.tensor(5.0)} if "step" in names else {})
        for number, names in enumerate(states)
    }
    run = {"model": model, "optimizer": {"state": state, "param_groups": groups}}
    torch.save(run, folder / "run.pt")
    return folder / "run.pt"


@pytest.mark.parametrize("further", ["d0", "correct", "r", "final_lr", "rectify", "trust"])
def test_a_setting_that_adam_does_not_have_leaves_it_unknown(further):
    assert Recognised(ADAM, [MOMENTS]).name == "adamw"
    found = Recognised(ADAM | {further: 1.0}, [MOMENTS])
    assert found.name is None
    assert found.why == (
        f"optimizer not known (settings lr, betas, eps, weight_decay, {further}; "
        "state exp_avg, exp_avg_sq, step): --optimizer says which"
    )


@pytest.mark.parametrize("entry", ["s", "exp_avg_slow", "previous_grad", "kahan_comp"])
def test_an_entry_that_adam_does_not_have_leaves_it_unknown(entry):
    assert Recognised(ADAM, [MOMENTS, MOMENTS | {entry}]).name is None


@pytest.mark.parametrize("lacking", sorted(MOMENTS))
def test_an_entry_that_adam_needs_and_that_lacks_leaves_it_unknown(lacking):
    assert Recognised(ADAM, [MOMENTS - {lacking}]).name is None


def test_settings_that_change_no_update_hide_no_optimizer():
    torchs = ADAM | {"amsgrad": False, "decoupled_weight_decay": True}
    for name in NEUTRAL:
        assert Recognised(torchs | {name: None}, [MOMENTS]).name == "adamw"


def test_maximize_counts_where_an_optimizer_is_not_known_to_have_it():
    assert Recognised(ADAM | {"maximize": False}, [MOMENTS]).name == "adamw"
    assert Recognised(ADAM | {"maximize": True}, [MOMENTS]).name is None
    assert Recognised(ADAM | {"maximize": True, "amsgrad": False}, [MOMENTS]).name == "adamw"


PRODIGY = {
    "lr": 1.0,
    "betas": (0.9, 0.999),
    "eps": 1e-8,
    "weight_decay": 0.0,
    "d": 0.1,
    "d0": 0.1,
    "d_max": 0.1,
    "d_coef": 1.0,
    "growth_rate": float("inf"),
    "d_numerator": 0.0,
    "d_hat": 0.0,
}
PROGRAMS = {
    "prodigyopt": ({"use_bias_correction": False, "k": 5}, {"step"}),
    "pytorch_optimizer": ({"bias_correction": False, "step": 6}, set()),
}


def prodigy(folder, program, **others):
    """The rows of a run of two groups, of which the second has other settings."""
    settings, entries = PROGRAMS[program]
    groups = [PRODIGY | settings | {"params": [0]}, PRODIGY | settings | others | {"params": [1]}]
    kept = {"exp_avg", "exp_avg_sq", "s", "p0"} | entries
    return api.translate(saved(folder, groups, [kept, kept])).rows


@pytest.mark.parametrize("program", PROGRAMS)
def test_groups_of_prodigy_may_differ_in_what_each_has_for_itself(tmp_path, program):
    rows = prodigy(tmp_path, program, weight_decay=0.1)
    assert [(row["optimizer"], row["measured"]) for row in rows] == [("prodigy", True)] * 2


@pytest.mark.parametrize(
    ("program", "name", "other"),
    [
        ("prodigyopt", "use_bias_correction", True),
        ("prodigyopt", "k", 3),
        ("prodigyopt", "growth_rate", 1.02),
        ("pytorch_optimizer", "bias_correction", True),
        ("pytorch_optimizer", "lr", 0.5),
        ("pytorch_optimizer", "lr", 0.0),
        ("pytorch_optimizer", "d0", 0.2),
    ],
)
def test_groups_that_differ_in_what_prodigy_takes_from_one_are_not_known(
    tmp_path, program, name, other
):
    rows = prodigy(tmp_path, program, **{name: other})
    assert [(row["optimizer"], row["measured"]) for row in rows] == [("not known", False)] * 2


@pytest.mark.parametrize("lacking", [{"eps": None}, {"betas": (0.9, None)}])
def test_a_setting_that_is_none_where_the_formula_needs_a_number_is_not_known(tmp_path, lacking):
    """pytorch_optimizer's eps None is another formula."""
    rows = prodigy(tmp_path, "pytorch_optimizer", **lacking)
    assert [row["measured"] for row in rows] == ["eps" in lacking, False]
    assert rows[1]["optimizer"] == "not known"


def test_no_two_optimizers_are_recognised_by_the_same_names():
    """Each program's own names, all or only those required, are of one optimizer."""
    for name, several in writers().items():
        for writer, whole in itertools.product(several, (False, True)):
            settings = {*writer.settings, *(writer.optional_settings if whole else ())}
            entries = {*writer.entries, *(writer.optional_entries if whole else ())}
            group = dict.fromkeys(settings, 1.0)
            group |= {
                one: value.example if isinstance(value, Condition) else value
                for one, value in writer.values.items()
                if one in settings
            }
            found = Recognised(group, [entries])
            alike = {"adam", "adamw"} if name in ("adam", "adamw") else {name}
            assert found.name in alike, (name, writer, found.name)


WRITERS = [(name, writer) for name, several in writers().items() for writer in several]


def written(writer):
    """The settings and entries that a program always writes."""
    return dict.fromkeys(writer.settings, 1.0) | {
        one: value.example if isinstance(value, Condition) else value
        for one, value in writer.values.items()
        if one in writer.settings
    }, {*writer.entries}


@pytest.mark.parametrize(("name", "writer"), WRITERS)
def test_a_name_that_no_program_writes_hides_its_optimizer(name, writer):
    group, entries = written(writer)
    for found in (
        Recognised(group | {"unheard_of": 1.0}, [entries]),
        Recognised(group, [entries, entries | {"unheard_of"}]),
    ):
        assert found.name is None
        assert found.foreign is None


@pytest.mark.parametrize(
    ("name", "writer", "flag"), [(*one, flag) for one in WRITERS for flag in one[1].values]
)
def test_a_flag_that_changes_the_formula_hides_its_optimizer(name, writer, flag):
    group, entries = written(writer)
    value = writer.values[flag]
    other = not value if isinstance(value, bool) else "another"
    assert Recognised(group | {flag: other}, [entries]).name != name


@pytest.mark.parametrize(
    "foreign", [one for one in FOREIGN if one.kind is WithoutFormula], ids=lambda one: one.name
)
def test_a_state_without_a_formula_is_named_and_has_no_update(foreign, tmp_path):
    writer = foreign.writer
    group = {"lr": 1e-3, **dict.fromkeys(writer.settings, 1), **writer.values, "params": [0]}
    path = saved(tmp_path, [group], [{*writer.entries}])
    [row] = api.translate(path).rows
    assert row["optimizer"] == foreign.name
    assert row["reason"] == f"{foreign.name}: {foreign.why}"
    assert row["update_rms"] is row["relative_update"] is row["nominal_relative_update"] is None


@pytest.mark.parametrize(("mode", "held"), [(True, "y, where"), (False, "x, the averages")])
def test_a_schedule_free_state_says_which_weights_are_saved(mode, held, tmp_path):
    settings = {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.0, "warmup_steps": 0}
    settings |= {"r": 0.0, "weight_sum": 1.0, "lr_max": 1e-3, "weight_lr_power": 2.0}
    group = settings | {"lr": 1e-3, "k": 5, "train_mode": mode, "scheduled_lr": 0.0, "params": [0]}
    [row] = api.translate(saved(tmp_path, [group], [{"z", "exp_avg_sq"}])).rows
    assert row["optimizer"] == "schedule-free AdamW"
    assert f"saved weights are {held}" in row["reason"]
    assert row["step"] == 5
    assert row["grad_rms"] == pytest.approx((1e-3 / (1 - 0.99**5)) ** 0.5, rel=1e-6)
    assert row["update_rms"] is None


def test_groups_are_recognised_one_by_one(tmp_path):
    muon = {"lr": 0.02, "momentum": 0.95, "weight_decay": 0.0, "use_muon": True, "params": [0]}
    adam = ADAM | {"use_muon": False, "params": [1]}
    path = saved(tmp_path, [muon, adam], [{"momentum_buffer"}, MOMENTS])
    rows = api.translate(path).rows
    assert [row["optimizer"] for row in rows] == ["muon", "adamw"]
    assert [row["measured"] for row in rows] == [False, True]


def test_of_a_group_that_is_not_known_only_the_others_are_judged(tmp_path):
    unknown = ADAM | {"what": 1, "params": [0]}
    known = ADAM | {"lr": 100.0, "params": [1]}
    path = saved(tmp_path, [unknown, known], [MOMENTS, MOMENTS])
    judged = api.check(path, select=["SC201"])
    assert [finding.where for finding in judged.findings] == ["layers.1.w"]
    assert any(note.startswith("no update is judged of 1 tensors") for note in judged.notes)
    named = api.check(path, select=["SC201"], optimizer="adamw", lr=100.0)
    assert len(named.findings) == 2


def test_a_group_that_is_not_certain_has_no_default_optimizer(tmp_path):
    """Two groups of one shape and different optimizers: which trains the tensor is not known."""
    muon = {"lr": 0.02, "momentum": 0.95, "weight_decay": 0.0, "use_muon": True, "params": [0]}
    adam = ADAM | {"lr": 0.02, "use_muon": False, "params": [1]}
    model = {"a": torch.ones(8, 8), "b": torch.ones(8, 8), "c": torch.ones(8, 8)}
    state = {
        0: {"momentum_buffer": torch.ones(8, 8)},
        1: {"step": torch.tensor(1.0), "exp_avg": torch.ones(8, 8), "exp_avg_sq": torch.ones(8, 8)},
    }
    run = {"model": model, "optimizer": {"state": state, "param_groups": [muon, adam]}}
    torch.save(run, tmp_path / "run.pt")
    rows = api.translate(tmp_path / "run.pt").rows
    assert {row["optimizer"] for row in rows} == {"not known"}


def row_of(folder, optimizer):
    torch.save({"model": {"w": torch.ones(8, 8)}, "optimizer": optimizer}, folder / "run.pt")
    [row] = api.translate(folder / "run.pt").rows
    return row


def adam_state():
    one = {"exp_avg": torch.ones(8, 8), "exp_avg_sq": torch.ones(8, 8)}
    group = ADAM | {"params": [0]}
    return {"state": {0: one | {"step": torch.tensor(5.0)}}, "param_groups": [group]}


@pytest.mark.parametrize(
    "around",
    [
        lambda inner: {"base": inner, "alpha": 0.5},
        lambda inner: {"base_optimizer": inner},
        lambda inner: {**inner, "base_optimizer": {"rho": 0.05}},
    ],
)
def test_the_state_of_an_optimizer_inside_another_one_has_no_update(around, tmp_path):
    assert row_of(tmp_path, adam_state())["optimizer"] == "adamw"
    assert row_of(tmp_path, {"adam": adam_state()})["optimizer"] == "adamw"
    row = row_of(tmp_path, around(adam_state()))
    assert row["optimizer"] == "not known"
    assert row["relative_update"] is None
    assert "inside that of another" in row["reason"]


def test_what_is_neither_number_nor_tensor_counts_as_a_name(tmp_path):
    of_state, of_group = adam_state(), adam_state()
    of_state["state"][0]["projector"] = [1, 2]
    of_group["param_groups"][0]["rank"] = {"all": 8}
    assert "projector" in row_of(tmp_path, of_state)["reason"]
    assert "rank" in row_of(tmp_path, of_group)["reason"]


def test_torch_flags_are_neutral():
    assert set(TORCH_FLAGS) <= NEUTRAL
