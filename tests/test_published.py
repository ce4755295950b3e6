"""What `check` and `translate` say of updates beside published ones."""

import json

import pytest
import torch
from command import scalecheck
from test_phase import BLOCKS, WIDTH, gpt, noise, saved, trained

from scalecheck import api
from scalecheck.recipes.placement import Placement
from scalecheck.recipes.ranges import published
from scalecheck.report.formatting import rate

HIDDEN = {f"h.{block}.{name}.weight" for block in range(BLOCKS) for name in ("attn.qkv", "mlp.fc")}
OUT = {f"h.{block}.{name}.weight" for block in range(BLOCKS) for name in ("attn.proj", "mlp.out")}


@pytest.fixture
def new(tmp_path):
    return saved(tmp_path / "new.safetensors", gpt())


@pytest.fixture
def old(tmp_path):
    return saved(tmp_path / "old.safetensors", {"w.weight": noise(64, 64)})


def found(path, **options):
    """The rule, severity and tensor of each finding."""
    report = api.check(path, **{"select": ["SC201", "SC202"], **options})
    return {(finding.rule, finding.severity, finding.where) for finding in report.findings}


@pytest.mark.parametrize(
    ("value", "severity"),
    [
        *((1e-3, ""), (0.05, ""), (0.0501, "note"), (0.1, "note"), (0.101, "error")),
        *((9e-4, "note"), (5e-4, "note"), (4.9e-4, "warning"), (1e-9, "warning"), (0.0, "warning")),
    ],
)
def test_severity_at_the_start_of_a_pretraining(value, severity):
    of = published("start", "pretrain", "adam")
    assert Placement(value, of).severity == severity


@pytest.mark.parametrize(
    ("quantity", "phase", "inside", "noted", "warned", "error"),
    [
        ("residual_start", "pretrain", 0.12, 0.19, None, 0.21),
        ("warm", "pretrain", 0.02, 0.039, 0.09, 0.11),
        ("equilibrium", "pretrain", 5e-3, 9.9e-3, 0.5, None),
        ("start", "finetune", 0.016, 0.019, None, 0.021),
        ("start", "preference", 3e-4, 6e-4, 0.019, 0.021),
        ("start", "rl", 3e-4, 6e-4, 0.019, 0.021),
        ("start", None, 0.05, 0.09, None, 0.11),
    ],
)
def test_each_quantity_has_its_own_limits(quantity, phase, inside, noted, warned, error):
    of = published(quantity, phase, "adam")
    expected = {inside: "", noted: "note", warned: "warning", error: "error"}
    for value, severity in expected.items():
        assert value is None or Placement(value, of).severity == severity


def test_a_pretraining_at_a_published_lr_is_silent(new):
    assert found(new, lr=1e-3) == set()
    assert found(new, lr=1e-3, steps=10_000, warmup=500, weight_decay=0.1) == set()


def test_residual_outputs_and_hidden_matrices_are_judged_by_their_own_ranges(new):
    """At lr 8e-3 hidden matrices change by 9 %, residual outputs by 26 %."""
    expected = {("SC201", "note", name) for name in HIDDEN}
    assert found(new, lr=8e-3) == expected | {("SC201", "error", name) for name in OUT}
    expected = {("SC202", "warning", name) for name in HIDDEN}
    assert found(new, lr=2e-5) == expected | {("SC202", "note", name) for name in OUT}


def test_a_message_says_the_number_the_range_and_how_many_recipes(new):
    report = api.check(new, lr=8e-3, select="SC201")
    message = next(f.message for f in report.findings if f.where == "h.0.attn.proj.weight")
    number, _, rest = message.partition(" % per step")
    assert float(number.removeprefix("changes by ")) == pytest.approx(26, rel=0.05)
    assert rest == (
        " at lr 0.008; published pretrainings start residual outputs at 0.1 to 12 % (37 recipes)"
    )


@pytest.mark.parametrize(
    ("phase", "lr", "expected"),
    [
        ("pretrain", 1e-3, ""),
        ("resume", 1e-3, "SC201 note"),
        ("resume", 4e-4, ""),
        ("resume", 1e-5, "SC202 note"),
        ("finetune", 1e-3, ""),
        ("finetune", 2e-5, ""),
        ("finetune", 3e-3, "SC201 error"),
        ("preference", 2e-5, ""),
        ("preference", 1e-3, "SC201 warning"),
        ("preference", 1e-8, "SC202 warning"),
        ("rl", 4e-5, "SC201 note"),
        ("rl", 5e-2, "SC201 error"),
        (None, 1e-3, ""),
        (None, 1e-6, ""),
        (None, 6e-3, "SC201 note"),
        (None, 1e-2, "SC201 error"),
        (None, 1e-8, "SC202 warning"),
    ],
)
def test_the_phase_decides_the_range(old, phase, lr, expected):
    """u/rms is 11.5, so that lr 1e-3 changes the matrix by 1.15 %."""
    assert {f"{rule} {severity}" for rule, severity, _ in found(old, lr=lr, phase=phase)} == (
        {expected} - {""}
    )


@pytest.mark.parametrize(
    ("optimizer", "options", "expected"),
    [
        ("lion", {"lr": 1e-4}, None),
        ("signsgd", {"lr": 1e-4}, None),
        ("lamb", {"lr": 6e-3}, ""),
        ("lamb", {"lr": 5e-2}, "SC201 note"),
        ("lamb", {"lr": 1e-5}, "SC202 warning"),
        ("muon", {"lr": 0.01}, ""),
        ("muon", {"lr": 0.1}, "SC201 warning"),
        ("adafactor", {"lr": 1e-2}, ""),
    ],
)
def test_other_families_have_ranges_of_their_own_or_none(old, optimizer, options, expected):
    report = api.check(
        old, optimizer, phase="pretrain", select=["SC101", "SC201", "SC202"], **options
    )
    said = {f"{finding.rule} {finding.severity}" for finding in report.findings}
    assert said == ({expected} - {"", None})
    status = {rule.rule: rule.status for rule in report.rows_of("rules")}["SC202"]
    note = (
        f"Too few recipes are published for {optimizer} in pretraining to give a range. Only "
        "updates above 12 % per step, more than any recipe has, are judged."
    )
    assert (status == "not run") == (expected is None) == (note in report.notes)


def test_a_decayed_run_of_sgd_is_judged_by_where_it_settles(old):
    options = {"phase": "pretrain", "grad_rms": 1e-3, "momentum": 0.9, "steps": 10**6}
    assert found(old, optimizer="sgd", lr=0.1, weight_decay=1e-4, **options) == set()
    report = api.check(old, "sgd", lr=1.0, weight_decay=0.1, select="SC201", **options)
    assert "settles at 32.4 % per step under weight decay" in report.findings[0].message


def test_the_end_of_warmup_has_a_range_of_its_own(old):
    """Noise makes weights larger on the way: a short warm-up leaves 4.5 %, a long one 1.3 %."""
    short = found(old, lr=4e-3, phase="pretrain", steps=10_000, warmup=10)
    assert short == {("SC201", "warning", "w.weight")}
    assert found(old, lr=4e-3, phase="pretrain", steps=10_000, warmup=500) == set()


def test_the_equilibrium_is_judged_where_the_run_comes_to_it(old):
    options = {"lr": 1e-3, "phase": "pretrain", "weight_decay": 5.0, "warmup": 10}
    assert found(old, steps=100, **options) == set()
    report = api.check(old, steps=10_000, select="SC201", **options)
    assert "settles at 2.34 % per step under weight decay" in report.findings[0].message


def test_too_small_is_an_error_only_where_a_whole_run_moves_nothing(old):
    options = {"lr": 1e-9, "phase": "rl"}
    assert found(old, **options) == {("SC202", "warning", "w.weight")}
    assert found(old, steps=1000, **options) == {("SC202", "error", "w.weight")}
    report = api.check(old, steps=1000, select="SC202", **options)
    assert report.findings[0].message == (
        "the whole run changes it by at most 0.00503 % at lr 1e-09"
    )


def test_own_limits_go_before_published_ranges(old, tmp_path):
    bands = {"lr": 1e-3, "phase": "pretrain", "bands": (1e-5, 1e-4, 3e-3, 1e-2)}
    assert found(old, **bands) == {("SC201", "error", "w.weight")}
    config = tmp_path / "scalecheck.toml"
    config.write_text("[limits.SC201]\nhigh = 1e-3\nvery_high = 1\n", "utf-8")
    assert found(old, lr=1e-3, config=config) == {("SC201", "warning", "w.weight")}
    config.write_text("[[override]]\nmatch = 'w.*'\nSC201 = { high = 1e-3 }\n", "utf-8")
    assert found(old, lr=1e-3, config=config) == {("SC201", "error", "w.weight")}


def test_a_step_that_is_asked_about_changes_no_verdict(old):
    """The first step of Adam is 4 times what published numbers count."""
    assert found(old, lr=3e-3, phase="pretrain", step=1) == set()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"warmup": 0}, "warning"),
        ({"steps": 1000}, "warning"),
        ({"steps": 1000, "warmup": 200}, None),
        ({"steps": 1000, "warmup": 1}, "warning"),
        ({}, "not run"),
    ],
    ids=str,
)
def test_a_pretraining_without_warmup_is_noted_where_that_is_said(new, options, expected):
    report = api.check(new, lr=1e-3, select=["SC101", "SC209"], **options)
    status = {rule.rule: rule.status for rule in report.rows_of("rules")}["SC209"]
    assert status == {"warning": "failed", None: "passed"}.get(expected, expected)
    assert [finding.severity for finding in report.findings] == (
        ["warning"] if expected == "warning" else []
    )


def test_no_warmup_is_a_note_at_a_small_lr_and_nothing_in_a_fine_tuning(new):
    options = {"warmup": 0, "select": ["SC101", "SC209"]}
    assert [f.severity for f in api.check(new, lr=1.5e-5, **options).findings] == ["note"]
    assert api.check(new, lr=1e-6, **options).findings == []
    assert api.check(new, lr=1e-3, phase="finetune", **options).findings == []


def test_an_initialization_far_larger_than_published_is_found_however_it_is_stored(tmp_path):
    large = {"h.0.w.weight": noise(2048, 512, std=0.08), "h.1.w.weight": noise(512, 2048, std=0.08)}
    path = saved(tmp_path / "m.safetensors", large)
    report = api.check(path, phase="pretrain", select="SC111")
    assert [finding.where for finding in report.findings] == [*large]
    assert {finding.severity for finding in report.findings} == {"warning"}
    assert "a gain of 1.81" in report.findings[0].message
    part = {"wte.weight": noise(8192, 2048, std=1), "h.0.w.weight": noise(16, 2048, std=0.04)}
    report = api.check(saved(tmp_path / "p.safetensors", part), phase="pretrain", select="SC111")
    assert [finding.where for finding in report.findings] == ["h.0.w.weight"]
    usual = saved(tmp_path / "n.safetensors", {"w.weight": noise(512, 2048)})
    assert api.check(usual, phase="pretrain", select="SC111").findings == []
    resumed = api.check(path, phase="resume", select=["SC101", "SC111"])
    assert resumed.findings == []


def translated(path, *options):
    done = scalecheck("translate", path, *options, "--format", "json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_rows_have_their_place_and_its_range(new):
    rows = {row["name"]: row for row in translated(new, "--lr", "8e-3")["rows"]}
    fields = ("published", "published_quantity", "published_low", "published_high", "band")
    assert [rows["h.0.attn.qkv.weight"][name] for name in fields] == [
        *("above", "start", 1e-3, 0.05, "very high")
    ]
    assert [rows["h.0.attn.proj.weight"][name] for name in fields] == [
        *("above", "residual_start", 1e-3, 0.12, "very high")
    ]
    assert [rows["h.0.ln_1.weight"][name] for name in fields] == [None] * 5
    by_role = translated(new, "--lr", "8e-3", "--by", "role")["rows"]
    assert {row["name"]: row["published"] for row in by_role}["matrix"] == "above"


def test_the_lrs_that_are_said_bring_every_step_inside(new):
    report = translated(new, "--lr", "8e-3")
    low, high = (report["summary"][f"published_lr_{end}"] for end in ("min", "max"))
    for lr in (low * 1.001, high * 0.999):
        rows = translated(new, "--lr", str(lr))["rows"]
        assert {row["published"] for row in rows} == {"inside", None}
    for lr in (low * 0.999, high * 1.001):
        rows = translated(new, "--lr", str(lr))["rows"]
        assert {row["published"] for row in rows} > {"inside", None}
    text = " ".join(scalecheck("translate", new, "--lr", "8e-3").out.split())
    assert f"All matrices are inside for lr {rate(low)} to {rate(high)}." in text


def test_without_a_phase_the_number_is_set_beside_each(tmp_path):
    path = saved(tmp_path / "old.safetensors", trained(gpt()))
    text = scalecheck("translate", path, "--lr", "4e-5", columns=400).out
    assert (
        " % per step (median of 16 matrices) is inside published mid-run pretraining (0.02 "
        "to 0.8 %) and fine-tuning (0.0005 to 1.6 %), above published preference tuning (0.00005 "
        "to 0.03 %) and RL (0.00005 to 0.03 %), below published pretraining (0.1 to 5 %). Pass "
        "--phase to judge by one."
    ) in " ".join(text.split())
    said = api.check(path, lr=2e-5).notes
    assert any(note.startswith("The phase of the run is not known: ") for note in said)


def test_a_language_models_lr_is_set_beside_its_width(new):
    summary = translated(new, "--lr", "1e-3")["summary"]
    assert (summary["width"], summary["width_lr"]) == (WIDTH, pytest.approx(1e-3 * WIDTH**0.5))
    text = scalecheck("translate", new, "--lr", "1e-3", columns=200).out
    assert "lr·√width = 0.008 at width 64: inside the published range of language models" in text
    tuned = translated(new, "--lr", "1e-3", "--phase", "finetune")["summary"]
    assert (tuned["width"], tuned["width_lr"]) == (None, None)


def test_bands_that_are_given_are_said_in_place_of_what_is_published(new):
    text = scalecheck("translate", new, "--lr", "1e-3", "--bands", "1e-5,1e-4,3e-3,1e-2").out
    assert "16 of 16 matrices are outside 0.01 to 0.3 % per step; all are inside for lr " in text
    assert "published" not in text
    assert "Bands of the relative update of a matrix: frozen, from 1e-05 low" in text


def test_weights_with_few_inputs_are_not_too_slow(tmp_path):
    """Torch starts a convolution of one channel 10 times larger than a hidden matrix."""
    kernel = torch.nn.Conv1d(256, 256, 4, groups=256).weight.detach()
    model = {"mixer.conv1d.weight": kernel, "mixer.in_proj.weight": noise(64, 64)}
    path = saved(tmp_path / "few.safetensors", model)
    assert not found(path, lr=3e-4, phase="pretrain")
    names = {name for _, _, name in found(path, lr=0.5, phase="pretrain")}
    assert names == {*model}
    alone = saved(tmp_path / "alone.safetensors", {"mixer.conv1d.weight": kernel})
    slow, fast = (api.translate(alone, lr=lr, phase="pretrain") for lr in (3e-4, 0.1))
    assert "No range is published" not in str(slow)
    assert "All matrices are inside for lr up to 0.06" in " ".join(fast.conclusion)


def test_where_an_optimizer_has_no_range_only_what_no_recipe_has_is_judged(new):
    options = {"optimizer": "lion", "phase": "pretrain"}
    assert not found(new, lr=1e-9, **options)
    assert not found(new, lr=2e-4, **options)
    severities = {severity for _, severity, _ in found(new, lr=0.1, **options)}
    assert severities == {"error"}
    report = api.check(new, select=["SC201"], lr=0.5, **options)
    said = {finding.message for finding in report.findings if finding.where == "h.0.mlp.fc.weight"}
    (message,) = said
    assert message.startswith("changes by 2,")
    assert "published recipes of any phase and optimizer change matrices by at most 12 %" in message
    assert any("Only updates above 12 % per step" in note for note in report.notes)


def test_an_eps_as_large_as_gradients_leaves_the_step_unknown(new):
    options = {"lr": 0.05, "phase": "pretrain", "select": ["SC101", "SC201"]}
    assert {severity for _, severity, _ in found(new, optimizer="adamax", **options)} == {"error"}
    assert not found(new, optimizer="adamax", eps=1e-3, **options)
    assert not found(new, optimizer="rmsprop", **options)
    notes = api.check(new, "rmsprop", **options).notes
    assert any(note.endswith("to give a range. Its updates are not judged.") for note in notes)


def test_residual_outputs_of_an_optimizer_with_a_range_have_none_of_all(new):
    """Published runs with Muon start them at 0, so that nothing is known of larger ones."""
    names = {name for _, _, name in found(new, optimizer="muon", lr=0.1, phase="pretrain")}
    assert names
    assert not names & OUT
    notes = api.check(new, "muon", lr=0.01, phase="pretrain").notes
    assert not any("No range is published" in note for note in notes)
