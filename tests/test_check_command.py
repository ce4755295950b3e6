"""`scalecheck check`: what it finds, what it says it did not judge, and what it exits with."""

import json
import re
from pathlib import Path

import pytest
import torch
from checked import found, noise, report, rule, saved
from command import scalecheck
from hostile import sound
from real_checkpoints import real_file

import scalecheck as library
from scalecheck.rules.contract import registered

SAMPLES = Path(__file__).parent.parent / "sample_ckpts"
TINY = SAMPLES / "tiny-gpt"


pytestmark = pytest.mark.usefixtures("elsewhere")


def test_the_trained_sample_is_clean():
    judged = report(TINY, code=0)
    assert judged["findings"] == []
    assert {row["rule"] for row in judged["rules"] if row["status"] == "not run"} == {
        *("SC105", "SC110", "SC111", "SC202", "SC207", "SC209", "SC301", "SC302")
    }


def test_the_broken_sample_has_what_was_planted_and_nothing_else():
    judged = report(SAMPLES / "broken.safetensors", code=1)
    assert [(f["rule"], f["where"]) for f in judged["findings"]] == [
        ("SC101", "blocks.1.attn.q.weight"),
        ("SC104", "blocks.3.mlp.up.weight"),
        ("SC101", "blocks.4.attn.out.weight"),
        ("SC102", "blocks.5.mlp.down.weight"),
        ("SC103", "tok_emb.weight"),
    ]
    assert "7, 19, 20, 33, 47" in judged["findings"][-1]["message"]


@pytest.mark.parametrize(
    "name", ["tiny-gpt-init/model.safetensors", "tiny-gpt-bf16", "tiny-gpt.pt"]
)
def test_the_other_samples_are_clean(name):
    assert found(SAMPLES / name) == []


def test_the_untrained_sample_is_as_gpt2_starts():
    path = SAMPLES / "tiny-gpt-init/model.safetensors"
    judged = report(path, "--init", "gpt2", code=0)
    assert rule(judged, "SC105")["status"] == "passed"
    assert {row[0] for row in found(path, "--init", "kaiming")} == {"SC105"}


# What peers get wrong: a NaN in BF16 called healthy, FP8 swallowed, a truncated file without NaN.


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_a_nan_in_a_narrow_type_is_found(dtype):
    weight = noise(64, 64)
    weight[5, 6] = float("nan")
    path = saved({"w.weight": weight.to(dtype)})
    assert ("SC101", "w.weight") in found(path)


def test_the_inf_of_a_mask_a_schedule_and_an_observer_is_meant():
    inf = float("inf")
    path = saved(
        {
            "w.weight": noise(64, 64),
            "attn.attn_mask": torch.full((8, 8), -inf).triu(1),
            "betas": noise(1000),
            "sqrt_recip_alphas_cumprod": torch.full((1000,), inf),
            "w.observer.min_val": torch.full((), inf),
            "w.observer.max_val": torch.full((), -inf),
            "bn.running_var": torch.full((8,), inf),
        }
    )
    assert found(path, "--select", "SC101") == [("SC101", "bn.running_var")]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_no_clean_file(share):
    whole = (SAMPLES / "broken.safetensors").read_bytes()
    Path("cut.safetensors").write_bytes(whole[: int(share * len(whole))])
    done = scalecheck("check", "cut.safetensors")
    assert (done.code, done.out) == (3, "")
    assert done.problem.startswith("scalecheck: cut.safetensors: is truncated: ")


def test_what_was_not_measured_is_an_error():
    path = saved({"w.weight": noise(64, 64), "w.phase": noise(8) * 1j})
    assert found(path) == [("SC107", "w.phase")]


def test_the_summary_has_the_numbers_of_each_group_of_findings():
    weights = {f"blocks.{n}.w": noise(8, 8, seed=n) for n in range(4)}
    weights["blocks.1.w"][:2] = float("nan")
    weights["blocks.2.w"][0, 0] = float("inf")
    weights["blocks.3.w"][0] = 0
    summary = report(saved(weights))["summary"]
    assert summary["groups"] == [
        {"rule": "SC101", "severity": "error", "findings": 2, "least": 1, "most": 16},
        {"rule": "SC103", "severity": "warning", "findings": 1, "least": 1, "most": 1},
    ]


# Settings.


def test_only_errors_fail_unless_asked_otherwise():
    weight = noise(64, 64)
    weight[3] = 0
    path = saved({"w.weight": weight})
    assert report(path, code=0)["summary"]["warnings"] == 1
    assert report(path, "--fail-on", "warning", code=1)["summary"]["failed"] is True
    assert report(SAMPLES / "broken.safetensors", "--fail-on", "never", code=0)["summary"]["errors"]


def test_rules_are_selected_by_code_beginning_and_name():
    def run(*options):
        return [row["rule"] for row in report(TINY, *options)["rules"]]

    assert run() == [*registered()]
    assert run("--select", "SC101,dead-rows") == ["SC101", "SC103"]
    assert run("--select", "sc10", "--ignore", "SC101,all-zero") == [*registered()][2:9]
    assert run("--select", "SC3,non-finite") == ["SC101", "SC301", "SC302"]


def test_an_unknown_rule_is_refused_with_the_nearest():
    done = scalecheck("check", TINY, "--select", "SC112")
    assert done.code == 2
    assert done.problem == "scalecheck: --select SC112: not known; did you mean SC111?"


def test_the_command_line_goes_before_the_configuration():
    Path("scalecheck.toml").write_text(
        "[optimizer]\nlr = 1\nname = 'lion'\nweight_decay = 0.5\nbeta1 = 0.8\n"
    )
    settings = report(TINY, "--state", "none", "--lr", "1e-3", "--weight-decay", "0.1")["settings"]
    assert (settings["lr"], settings["optimizer"]) == (1e-3, "lion")
    assert settings["hyperparameters"] == {"weight_decay": 0.1, "beta1": 0.8}


def test_the_configuration_goes_before_the_state():
    Path("scalecheck.toml").write_text("[optimizer]\nlr = 1.0\n")
    assert {row[0] for row in found(TINY)} >= {"SC201"}


def test_a_configuration_is_found_above_and_can_be_named(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    Path("pyproject.toml").write_text("[tool.scalecheck]\nselect = ['SC101']\n")
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert [row["rule"] for row in report(TINY)["rules"]] == ["SC101"]
    Path("other.toml").write_text("select = ['SC102']\n")
    assert [row["rule"] for row in report(TINY, "--config", "other.toml")["rules"]] == ["SC102"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limits.XX999]\nx = 1", "limits.XX999: is no rule; there are SC101, "),
        ("[limits.SC201]\nhihg = 1", "limits.SC201.hihg: not known; did you mean high?"),
        ("[limits.SC101]\nx = 1", "limits.SC101.x: the rule has no limits"),
        ("[[override]]\nmatch = '*'\nSC201 = {hihg = 1}", "override.SC201.hihg: not known; did"),
        ("[severity]\nXX999 = 'error'", "severity XX999: not known; there are SC101, "),
        ("select = ['XX']", "select XX: not known; there are SC101, "),
        ("fail_on = 'errors'", "fail_on errors: not known; did you mean error?"),
        ("[[exception]]\nmatch='*'\nrules=['SC9']\nreason='x'", "exception.rules SC9: not known"),
        ("[[group]]\nmatch='zzz*'\nlr=1", "group[1]: matches none of 52 tensors"),
        ("[[group]]\nmatch='*'\nlr=-1", "group[1]: lr -1.0: must be a positive number"),
        (
            "[[override]]\nrole='matrx'\nSC201={high=1}",
            "role matrx: not known; did you mean matrix",
        ),
        ("snr = -1", "snr -1: must be a finite number from 0 up"),
        ("final = 2", "final 2: must be a number from 0 to 1"),
        ("recursive = 1", "recursive: is true or false"),
        ("[optimizer]\nname='adamm'", "optimizer.name adamm: not known; did you mean adam?"),
    ],
)
def test_a_wrong_configuration_is_one_line_and_exit_2(text, said):
    Path("scalecheck.toml").write_text(text)
    done = scalecheck("check", TINY)
    assert (done.code, done.out) == (2, "")
    assert f": {said}" in done.err
    assert re.match(r"scalecheck: scalecheck.toml:\d+: ", done.err)
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("name='adamw'\nbeta1=2", "adamw: beta1 2 is outside [0, 1)"),
        ("name='adamw'\namsgrad=3", "adamw: amsgrad 3 is not true or false"),
        ("name='adamw'\nbeta1='a'", "adamw: beta1 'a' is not a number"),
        ("name='muon'\nns_steps=1.5", "muon: ns_steps 1.5 is not a whole number"),
        ("name='muon'\nns_coefficients=[1, 2]", "muon: ns_coefficients (1, 2) is not 3 numbers"),
        ("name='muon'\nadjust_lr_fn=1", "muon: adjust_lr_fn 1 is not a word"),
    ],
)
@pytest.mark.parametrize("lr", ["", "lr = 1e-3\n"])
def test_a_configured_hyperparameter_outside_its_domain_is_exit_2(setting, said, lr):
    Path("scalecheck.toml").write_text(f"[optimizer]\n{lr}{setting}\n")
    done = scalecheck("check", TINY, "--state", "none")
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1


def test_a_whole_number_of_a_configured_group_is_one():
    group = "[[group]]\nmatch = '*'\nns_steps = 3\n"
    Path("scalecheck.toml").write_text(f"[optimizer]\nname = 'muon'\nlr = 1e-3\n{group}")
    assert scalecheck("check", TINY, "--state", "none").code in (0, 1)


def test_a_configured_flag_is_true_or_false():
    Path("scalecheck.toml").write_text("recursive = true\n")
    assert report(TINY)["settings"]["recursive"] is True


def test_a_waiver_moves_findings_to_the_ignored_with_its_reason():
    Path("scalecheck.toml").write_text(
        "[[exception]]\npath = '*.safetensors'\nmatch = 'tok_*'\nrules = ['SC103']\n"
        "reason = 'padding'\n"
    )
    judged = report(SAMPLES / "broken.safetensors")
    assert "SC103" not in {row["rule"] for row in judged["findings"]}
    assert [(row["rule"], row["where"], row["reason"]) for row in judged["ignored"]] == [
        ("SC103", "tok_emb.weight", "padding")
    ]
    assert judged["summary"]["ignored"] == 1


@pytest.mark.parametrize("where", ["path = '*.pt'", "match = 'blocks.*'", "role = 'matrix'"])
def test_a_waiver_of_other_tensors_or_files_does_not_count(where):
    Path("scalecheck.toml").write_text(f"[[exception]]\n{where}\nrules = ['SC103']\nreason = 'x'\n")
    assert ("SC103", "tok_emb.weight") in found(SAMPLES / "broken.safetensors")


def test_a_severity_is_overridden():
    Path("scalecheck.toml").write_text("[severity]\ndead-rows = 'error'\nSC101 = 'warning'\n")
    judged = report(SAMPLES / "broken.safetensors")
    assert {row["rule"]: row["severity"] for row in judged["findings"]} == {
        "SC101": "warning",
        "SC102": "error",
        "SC103": "error",
        "SC104": "error",
    }


def test_limits_are_set_for_all_and_for_some():
    path = saved({"a.weight": noise(64, 64), "emb.weight": noise(64, 64)})
    lr = ("--lr", "2e-4", "--select", "SC201")
    assert found(path, *lr) == []
    Path("scalecheck.toml").write_text("[limits.SC201]\nhigh = 1e-3\n")
    assert found(path, *lr) == [("SC201", "a.weight")]
    Path("scalecheck.toml").write_text(
        "[limits.SC201]\nhigh = 1e-3\n[[override]]\nmatch = 'a.*'\nSC201 = {high = 1}\n"
        "[[override]]\nrole = 'embedding'\nSC201 = {high = 2e-3}\n"
    )
    assert found(path, *lr) == [("SC201", "emb.weight")]


def test_bands_are_the_limits_of_both_update_rules():
    path = saved({"w.weight": noise(64, 64)})
    assert found(path, "--lr", "1e-4") == []
    assert found(path, "--lr", "1e-4", "--bands", "1e-6,1e-5,1e-4,1e-3") == [("SC201", "w.weight")]
    assert found(path, "--lr", "1e-4", "--bands", "1e-3,1e-2,1e-1,1") == [("SC202", "w.weight")]
    Path("scalecheck.toml").write_text("[limits.SC201]\nhigh = 1e-9\n")
    assert found(path, "--lr", "1e-4", "--bands", "1e-5,1e-4,3e-3,1e-2") == []


def test_emitted_groups_are_a_configuration():
    path = saved({"a.weight": noise(64, 64), "b.weight": 30 * noise(64, 64)})
    assert {row[0] for row in found(path, "--lr", "1e-4", "--phase", "pretrain")} == {
        *("SC111", "SC202")
    }
    options = ("--lr", "1e-4", "--target", "1e-3", "--emit", "toml", "--output", "scalecheck.toml")
    assert scalecheck("translate", path, *options).code == 0
    judged = report(path, code=0)
    assert judged["findings"] == []
    assert rule(judged, "SC202")["status"] == "passed"
    assert judged["settings"]["config"].endswith("scalecheck.toml")


def test_every_setting_is_shown_with_its_source():
    Path("scalecheck.toml").write_text("init = 'gpt2'\n[limits.SC104]\nfactor = 9\n")
    done = scalecheck("check", "--show-settings", "--lr", "3e-4")
    lines = {line.split()[0]: line.split()[1:] for line in done.out.splitlines() if line.split()}
    assert lines["lr"] == ["0.0003", "command", "line"]
    assert lines["init"][0] == "gpt2"
    assert lines["init"][1].endswith("scalecheck.toml")
    assert lines["fail_on"] == ["error", "default"]
    assert lines["limits.SC104.factor"][0] == "9"
    assert lines["limits.SC104.factor"][1].endswith("scalecheck.toml")
    assert lines["limits.SC201.high"] == ["published", "ranges", "default"]


# The state, and what lies at hand.


def test_an_lr_of_zero_leaves_the_state_to_be_judged():
    _training(0.0, torch.ones(64, 64) * float("inf"))
    judged = report("run")
    assert [(row["rule"], row["where"]) for row in judged["findings"]] == [("SC205", "w.weight")]
    assert "the lr of the optimizer state is 0: pass --lr" in rule(judged, "SC201")["reason"]


def test_of_a_state_of_no_known_optimizer_only_the_numbers_are_judged():
    Path("run").mkdir()
    saved({"w.weight": noise(64, 64)}, "run/model.safetensors")
    group = {"lr": 1e-3, "params": [0], "param_names": ["w.weight"]}
    state = {"state": {0: {"what": noise(64, 64)}}, "param_groups": [group]}
    torch.save(state, "run/optimizer.pt")
    judged = report("run")
    assert rule(judged, "SC205")["status"] == "passed"
    for code in ("SC201", "SC204"):
        assert rule(judged, code)["status"] == "not run"
        said = "optimizer not known (settings lr; state what): --optimizer says which"
        assert rule(judged, code)["reason"] == said


def test_a_state_in_bfloat16_with_a_long_memory_is_found():
    _training(1e-4, torch.full((64, 64), 1e-6).bfloat16())
    (finding,) = report("run")["findings"]
    assert finding["rule"] == "SC205"
    assert finding["message"] == "v in BF16 cannot decay by beta2 0.999: it rounds back"


def _training(lr, square):
    Path("run").mkdir()
    saved({"w.weight": noise(64, 64)}, "run/model.safetensors")
    group = {"lr": lr, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False}
    group |= {"params": [0], "param_names": ["w.weight"], "decoupled_weight_decay": True}
    entry = {"step": torch.tensor(100.0), "exp_avg": noise(64, 64) * 1e-3, "exp_avg_sq": square}
    torch.save({"state": {0: entry}, "param_groups": [group]}, "run/optimizer.pt")


def test_updates_as_large_as_gradients_leave_update_rules_not_run():
    judged = report(TINY, "--state", "none", "--optimizer", "sgd", "--lr", "0.1")
    assert rule(judged, "SC201") | {"status": "not run"} == rule(judged, "SC201")
    assert "give --grad-rms" in rule(judged, "SC201")["reason"]


def test_a_serving_type_that_cannot_hold_a_weight_is_an_error():
    weight = noise(64, 64)
    weight[0, 0] = 1000
    path = saved({"w.weight": weight})
    assert found(path) == []
    (finding,) = report(path, "--serve-dtype", "fp8", code=1)["findings"]
    assert finding["rule"] == "SC106"
    assert "does not fit F8_E4M3" in finding["message"]
    done = scalecheck("check", path, "--serve-dtype", "fp9")
    assert (done.code, done.problem.count("--serve-dtype fp9")) == (2, 1)


def test_fp8_with_scale_factors_may_use_its_whole_range_and_is_not_judged():
    weight = (noise(64, 64) * 2e4).clamp(-448, 448).to(torch.float8_e4m3fn)
    assert found(saved({"w.weight": weight})) == [("SC106", "w.weight")]
    assert found(saved({"w.weight": weight, "w.weight_scale": torch.ones(1)})) == []
    unfit = saved({"w.weight": weight, "w.weight_scale": torch.ones(7)})
    assert found(unfit) == [("SC107", "w.weight")]


# Baselines.


def test_a_baseline_is_written_alike_to_the_byte_and_agrees_with_itself():
    update = ("check", TINY, "--baseline", "good.json", "--update-baseline")
    assert scalecheck(*update).code == 0
    first = Path("good.json").read_bytes()
    assert scalecheck(*update, "--jobs", "1").code == 0
    assert Path("good.json").read_bytes() == first
    judged = report(TINY, "--baseline", "good.json", code=0)
    assert rule(judged, "SC301")["status"] == rule(judged, "SC302")["status"] == "passed"


def test_what_changed_since_the_baseline_is_found():
    before = {"a": noise(8, 8), "b": noise(8, 8), "c": noise(8, 8), "d": noise(8, 8)}
    saved(before)
    options = ("model.safetensors", "--baseline", "good.json")
    assert scalecheck("check", *options, "--update-baseline").code == 0
    after = {"a": before["a"], "b": before["b"].bfloat16(), "d": before["d"] * 3}
    saved(after | {"e": noise(8, 8)})
    judged = report(*options, code=1)
    assert [(f["rule"], f["where"], f["message"]) for f in judged["findings"]] == [
        ("SC302", "b", "retyped from F32 to BF16"),
        ("SC302", "c", "removed: it was F32 8×8"),
        ("SC301", "d", judged["findings"][2]["message"]),
        ("SC302", "e", "added: F32 8×8"),
    ]
    assert "is 3 times the baseline's" in judged["findings"][2]["message"]
    Path("scalecheck.toml").write_text(
        "[limits.SC301]\nrms = 9\nstd = 9\nabsmax = 9\nmean = 9\nzeros = 1\n"
    )
    assert "SC301" not in {row[0] for row in found(*options)}


def test_a_baseline_of_some_tensors_speaks_of_those_only():
    options = (TINY, "--baseline", "good.json")
    assert scalecheck("check", *options, "--match", "*.attn.*", "--update-baseline").code == 0
    assert found(*options) == []


def test_updating_a_baseline_without_a_file_is_refused():
    done = scalecheck("check", TINY, "--update-baseline")
    assert (done.code, done.err) == (
        2,
        "scalecheck: --update-baseline: needs --baseline, the file to write\n",
    )


# The face.


def test_the_library_judges_as_the_command_does():
    judged = library.check(SAMPLES / "broken.safetensors")
    assert judged.summary["failed"] is True
    assert json.loads(judged.rendered("json")) == report(SAMPLES / "broken.safetensors")


def test_statistics_count_findings_by_rule():
    done = scalecheck("check", SAMPLES / "broken.safetensors", "--statistics")
    assert done.code == 1
    first, *lines = done.out.splitlines()
    assert first.endswith("broken.safetensors: failed: 4 errors, 1 warning in 14 tensors")
    assert [line.split()[:3] for line in lines if " SC" in line] == [
        ["2", "SC101", "non-finite"],
        ["1", "SC102", "all-zero"],
        ["1", "SC103", "dead-rows"],
        ["1", "SC104", "family-outlier"],
    ]
    clean = scalecheck("check", TINY, "--statistics").out
    assert clean == f"{TINY}: passed: no findings in 52 tensors\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "PATH: the checkpoint is missing"),
        ((TINY, "--fail-on", "x"), "--fail-on x: not known; there are error, warning, note, never"),
        ((TINY, "--lr", "-1"), "--lr -1: must be a positive number"),
        ((TINY, "--init", "xavierr"), "--init xavierr: not known; did you mean xavier?"),
        ((TINY, "--explain", "SC1"), "--explain SC1: stands for SC101, SC102, SC103, …"),
        ((TINY, "--format", "xml"), "--format xml: not known; there are concise, csv, github, …"),
        ((TINY, "--bands", "1,2"), "--bands 1,2: must be four rising numbers, such as …"),
        ((TINY, "--bands", "a"), "--bands a: must be four rising numbers, such as …"),
        ((TINY, "--step", "0"), "--step 0: must be `steady` or a whole number from 1 up"),
        ((TINY, "--match", "zzz"), "--match zzz: matches none of 52 tensors"),
        ((TINY, "--group", "zzz:lr=1"), "--group zzz: matches none of 52 tensors"),
        (
            (TINY, "--schedule", "cosine"),
            "--schedule, --warmup and --final: need --steps, the steps of the run",
        ),
        ((TINY, "--snr", "nan"), "--snr nan: must be a finite number from 0 up"),
        ((TINY, "--snr", "-1"), "--snr -1: must be a finite number from 0 up"),
        ((TINY, "--final", "2"), "--final 2: must be a number from 0 to 1"),
        ((TINY, "--grad-rms", "-1"), "--grad-rms -1: must be a positive number"),
        ((TINY, "--jobs", "0"), "--jobs 0: must be 1 to 256 threads"),
        ((TINY, "--config", "none.toml"), "none.toml: no such file or directory"),
        ((TINY, "--select", "SC1", "--ignore", "SC"), "--ignore: leaves no rule to run"),
        (
            (TINY, "--statistics", "--format", "sarif"),
            "--statistics: takes --format text, not sarif",
        ),
        (("--show-settings", "--format", "github"), "--show-settings: takes --format text, …"),
        (
            (TINY, "--baseline", "no/x.json", "--update-baseline"),
            "--baseline no/x.json: no such file or directory",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments, said):
    done = scalecheck("check", *arguments)
    line = done.problem.removeprefix("scalecheck: ")
    assert (done.code, done.out) == (2, "")
    assert line == said or (said.endswith("…") and line.startswith(said[:-1]))


def test_a_baseline_that_is_not_there_is_exit_3():
    done = scalecheck("check", TINY, "--baseline", "none.json")
    assert (done.code, done.out) == (3, "")
    assert done.err == "scalecheck: none.json: no such file or directory\n"


def test_no_error_on_files_that_others_trained():
    """But for CHGNet's layer that was never trained; see the manual."""
    truth = json.loads((Path(__file__).parent / "data/checkpoints-truth.json").read_text())
    errors = {}
    for key, file in truth["files"].items():
        judged = report(real_file(file["package"], file["file"]))
        errors[key] = {f["where"] for f in judged["findings"] if f["severity"] == "error"}
    untrained = {name for names in errors.values() for name in names}
    assert all(name.startswith("angle_layers.2.") for name in untrained), errors
    assert all(names == set() for key, names in errors.items() if not key.startswith("chgnet"))


def test_tens_of_thousands_of_tensors_are_judged(tmp_path):
    """Each is compared with its family, not with each other: that would take a minute."""
    path = sound(tmp_path / "model.safetensors", *(f"blocks.{n}.w" for n in range(30_000)))
    judged = report(path, code=0)
    assert judged["summary"]["tensors"] == 30_000


def test_states_that_a_selection_leaves_unjudged_are_said():
    notes = report(TINY, "--match", "*.weight")["notes"]
    assert "26 states are of no certain tensor and were not judged" in notes
    assert not any("not judged" in note for note in report(TINY)["notes"])


OPTIMIZERS = ("Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "SGD", "Adagrad", "Adadelta")


@pytest.mark.parametrize("name", [*OPTIMIZERS, "Adafactor", "Rprop", "ASGD"])
def test_the_state_of_every_optimizer_is_judged_or_said_not_to_be(name):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 4))
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=1e-5)
    for seed in range(20):
        optimizer.zero_grad()
        model(noise(8, 16, seed=seed)).square().mean().backward()
        optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "run.pt")
    judged = report("run.pt", code=0)
    for row in judged["rules"]:
        assert (row["status"] == "not run") == bool(row["reason"])
    has_state = name != "SGD"  # without momentum
    assert (rule(judged, "SC205")["status"] == "passed") == has_state


def test_a_stray_is_an_error_from_the_sure_factor_on():
    for factor, severity in ((10, "warning"), (30, "error")):
        tensors = {f"blocks.{n}.w": noise(16, 16, seed=n) for n in range(6)}
        tensors["blocks.3.w"] *= factor
        (finding,) = report(saved(tensors))["findings"]
        assert (finding["rule"], finding["severity"]) == ("SC104", severity)


@pytest.mark.parametrize(
    "text",
    [
        f"[limits.SC201]\nhigh = 1{400 * '0'}",
        f"[optimizer]\nlr = 1{400 * '0'}",
        f"[[group]]\nmatch = '*'\nlr = 1{400 * '0'}",
        f"snr = 1{400 * '0'}",
        f"steps = 1{400 * '0'}\n[optimizer]\nlr = 1e-3",
        "[limits.SC201]\nvery_high = inf",
        "bands = [1e-5, 1e-4, 3e-3, inf]",
        "[limits.SC106]\nheadroom = 0",
        "[limits.SC104]\nfactor = 0",
        "[[override]]\nmatch = '*'\nSC104 = {factor = -1}",
    ],
)
def test_a_number_outside_its_domain_is_a_wrong_configuration(text):
    Path("scalecheck.toml").write_text(text)
    done = scalecheck("check", TINY)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "scalecheck.toml" in done.err


def test_numbers_that_came_to_be_nan_are_a_drift_from_the_baseline():
    weight = noise(8, 8)
    options = (saved({"w": weight}), "--baseline", "good.json")
    assert scalecheck("check", *options, "--update-baseline").code == 0
    weight[3] = float("nan")
    saved({"w": weight})
    (finding,) = report(*options, "--select", "SC301", code=1)["findings"]
    assert finding["message"] == "8 elements are NaN or inf, 0 in the baseline"
