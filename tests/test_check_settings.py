"""What `scalecheck check` is asked to do: what is wrong is said by its name and place."""

import json
import re
from pathlib import Path

import pytest
from checked import found, noise, refused, report, saved, written
from command import scalecheck

import scalecheck as library
from scalecheck import registry
from scalecheck.optimizers.contract import Gradient, NoFormula, Weights
from scalecheck.report.report import renderers_for

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.mark.parametrize("form", renderers_for("check"))
def test_settings_are_shown_in_every_format_that_has_tables(form):
    done = scalecheck("check", "--show-settings", "--format", form)
    if form == "text" or form in renderers_for("settings"):
        assert (done.code, done.err) == (0, "")
        assert "fail_on" in done.out.replace("\\", "")
    else:
        assert done.code == 2
        assert f"not {form}" in done.err


@pytest.mark.parametrize("form", renderers_for("check"))
def test_statistics_hide_no_finding_from_a_machine(form):
    path = saved({"w.weight": noise(64, 64).fill_(float("nan"))})
    done = scalecheck("check", path, "--statistics", "--format", form)
    assert done.code == (1 if form == "text" else 2)


BEYOND = "1" + 400 * "0"  # TOML's whole numbers have no end in Python


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"[limits.SC201]\nhigh = {BEYOND}", "SC201"),
        (f"[[override]]\nmatch = '*'\nSC106 = {{headroom = {BEYOND}}}", "SC106"),
        (f"[[override]]\nmatch = '*'\nSC105 = {{slack = {BEYOND}}}", "SC105"),
        (f"[optimizer]\nlr = {BEYOND}", "lr"),
        (f"[optimizer]\nlr = 1e-3\neps = {BEYOND}", "eps"),
        (f"[[group]]\nmatch = '*'\nlr = {BEYOND}", "lr"),
        (f"snr = {BEYOND}", "snr"),
        (f"step = {BEYOND}\n[optimizer]\nlr = 1e-3", "step"),
        (f"steps = {BEYOND}\n[optimizer]\nlr = 1e-3", "steps"),
        ("[limits.SC104]\nfactor = 0", "factor"),
        ("[limits.SC104]\nfactor = -1", "factor"),
        ("[limits.SC104]\nsure_factor = 0", "sure_factor"),
        ("[limits.SC106]\nheadroom = 0", "headroom"),
        ("[limits.SC106]\nheadroom = -1", "headroom"),
        ("[[override]]\nmatch = '*'\nSC104 = {factor = 0}", "factor"),
        ("[[override]]\nmatch = '*'\nSC106 = {headroom = 0}", "headroom"),
        ("[optimizer]\nweight_deacy = 0.1", "weight_decay"),
        ("[optimizer]\nlr = 1e-4\nweight_deacy = 0.1", "did you mean weight_decay?"),
        ("[[group]]\nmatch = '*'\nweight_deacy = 0", "weight_decay"),
        ("param_dtype = 'bf61'", "bf16"),
        ("[[override]]\nrole = 'embeding'\nSC206 = {displacement = 9}", "embedding"),
        ("[[exception]]\nrole = 'embeding'\nrules = ['SC206']\nreason = 'x'", "embedding"),
        ("[optimizer]\nlr = true", "lr"),
        ("[optimizer]\nlr = 1e-4\n[[group]]\nmatch='*'\nlr = true", "lr"),
        ("[optimizer]\nlr = 0", "lr"),
        ("init = 'xavierr'", "init"),
        ("serve_dtype = 'fp7'", "serve_dtype"),
        ("bands = [1, 2]", "bands"),
        ("match = ['zz*']", "match"),
    ],
)
def test_a_wrong_value_is_refused_by_its_place_in_the_file(text, said):
    path = saved({f"b.{i}.w.weight": noise(64, 64, seed=i) for i in range(4)})
    written(text)
    line = refused(path, *(() if text.startswith("init") else ("--init", "normal:0.02")))
    assert "scalecheck.toml" in line
    assert said in line


@pytest.mark.parametrize(
    "text", ["[limits.SC201]\nvery_high = inf", "bands = [1e-5, 1e-4, 3e-3, inf]"]
)
def test_an_infinite_limit_is_refused_or_written_as_json(text):
    path = saved({"w.weight": noise(64, 64)})
    written(text)
    done = scalecheck("check", path, "--lr", "1e-4", "--format", "json")
    assert done.code in (0, 2), done.err
    if done.code == 0:
        json.loads(done.out, parse_constant=lambda word: pytest.fail(word))


def test_an_lr_on_the_command_line_goes_before_that_of_emitted_groups():
    path = saved({"a.weight": noise(64, 64), "b.weight": 30 * noise(64, 64)})
    options = ("--lr", "1e-4", "--target", "1e-3", "--emit", "toml", "--output", "scalecheck.toml")
    assert scalecheck("translate", path, *options).code == 0
    assert ("SC201", "a.weight") in found(path, "--lr", "0.5")


def test_a_page_is_shown_whatever_the_configuration():
    written("nonsense = 1")
    assert scalecheck("check", "--explain", "SC101").code == 0


def test_an_option_that_was_given_is_said_by_its_own_name():
    path = saved({"w.weight": noise(64, 64)})
    written("init = 'xavier'\n[optimizer]\nlr = 1e-4\nbeta2 = 0.9")
    assert "scalecheck: --init zavier: " in refused(path, "--init", "zavier")
    assert "scalecheck.toml: optimizer.beta2: " not in refused(path, "--beta2", "2")


def test_groups_keep_what_is_not_given_for_all():
    path = saved({"a.weight": noise(64, 64), "b.weight": noise(64, 64)})
    written("[[group]]\nmatch = 'a*'\nlr = 1e-9\nweight_decay = 0.5\n")
    rows = report("--lr", "1e-4", path)["settings"]["group"]
    assert rows == [{"names": ["a*"], "weight_decay": 0.5}]


def test_entries_that_hold_for_no_tensor_are_said():
    path = saved({"w.weight": noise(64, 64)})
    waiver = "[[exception]]\nmatch = '%s'\nrules = ['SC1']\nreason = 'x'\npath = '%s'\n"
    override = "[[override]]\nmatch = '%s'\nSC106 = {headroom = 9}\n"
    entries = [waiver % ("w*", "*"), waiver % ("zz*", "*"), waiver % ("zz*", "other*")]
    written("".join([*entries, override % "w*", override % "yy*"]))
    assert report(path)["notes"] == [
        "configuration: scalecheck.toml",
        "scalecheck.toml: override[2] holds for none of 1 tensors",
        "scalecheck.toml: exception[2] holds for none of 1 tensors",
    ]


@pytest.mark.parametrize(
    "form", [name for name in renderers_for("check") if name not in ("csv", "concise")]
)
def test_a_configuration_of_a_folder_above_is_said_in_every_report(form, tmp_path, monkeypatch):
    path = Path(saved({"w.weight": noise(64, 64)})).resolve()
    written("fail_on = 'warning'")
    (tmp_path / "below" / "it").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "below" / "it")
    told = "configuration: ../../scalecheck.toml"
    assert told in scalecheck("check", path, "--format", form).out
    assert "scalecheck.toml" not in scalecheck("check", path, "--format", form, "--no-config").out
    assert told.removeprefix("configuration: ") == report(path)["settings"]["config"]


def test_no_config_reads_none_and_takes_none():
    path = saved({"w.weight": noise(64, 64)})
    written("nonsense = 1")
    assert scalecheck("check", path).code == 2
    assert scalecheck("check", path, "--no-config").code == 0
    said = scalecheck("check", path, "--no-config", "--config", "scalecheck.toml")
    assert (said.code, said.err) == (2, "scalecheck: --no-config: takes no --config\n")


@pytest.mark.parametrize(
    ("text", "options", "why"),
    [
        ("fail_on = 'never'", (), "fail_on is never (scalecheck.toml)"),
        ("", ("--fail-on", "never"), "fail_on is never (command line)"),
        ("[severity]\nSC = 'warning'", (), "every severity is warning (scalecheck.toml)"),
        ("[severity]\nSC = 'warning'", ("--fail-on", "warning"), None),
        ("[severity]\nSC1 = 'warning'", (), "every severity is warning (scalecheck.toml)"),
        ("[severity]\nSC102 = 'warning'", (), None),
        (
            "[severity]\nSC1 = 'note'\nSC101 = 'warning'",
            (),
            "every severity is warning or note (scalecheck.toml)",
        ),
        (
            "[severity]\nSC = 'note'",
            ("--fail-on", "warning"),
            "every severity is note (scalecheck.toml)",
        ),
        ("[severity]\nSC = 'note'", ("--fail-on", "note"), None),
        ("fail_on = 'never'", ("--fail-on", "error"), None),
    ],
)
def test_what_keeps_a_check_from_failing_is_said_in_its_last_line(text, options, why):
    path = saved({"w.weight": noise(64, 64) * float("nan")})
    written(text)
    done = scalecheck("check", path, *options)
    assert done.code == (0 if why else 1)
    last = done.out.splitlines()[-1]
    assert last.partition("; this check cannot fail: ")[2] == (why or "")
    assert report(path, *options)["summary"]["cannot_fail"] == why


def test_the_library_takes_a_word_alone_for_one_of_several():
    path = saved({"w.weight": noise(64, 64)})
    judged = library.check(path, select="SC101", match="w*")
    assert [rule.rule for rule in judged.rows_of("rules")] == ["SC101"]


def has_an_expected_update(name):
    """Whether theory tells an update size of it at step 10."""
    try:
        optimizer = registry.load("optimizer", name).Optimizer()
        optimizer.update_rms(Gradient(1e-2), 10, Weights((32, 32)))
    except NoFormula:
        return False
    return True


@pytest.mark.parametrize("name", [*filter(has_an_expected_update, registry.names("optimizer"))])
def test_what_translate_emits_is_what_check_reads(name):
    path = saved({"w.weight": noise(32, 32)})
    options = ("--optimizer", name, "--lr", "1e-3", "--step", "10", "--grad-rms", "1e-2")
    done = scalecheck("translate", path, *options, "--target", "1e-3", "--emit", "toml")
    assert (done.code, done.err) == (0, "")
    written(done.out)
    done = scalecheck("check", path, "--step", "10")
    assert (done.code in (0, 1), done.err) == (True, "")


def test_an_lr_that_only_a_group_gives_is_judged():
    path = saved({"w.weight": noise(32, 32)})
    assert ("SC201", "w.weight") in found(path, "--group", "*:lr=1")


def test_a_null_byte_in_a_path_of_the_file_is_one_line():
    path = saved({"w.weight": noise(2, 2)})
    written('baseline = "a\\u0000b"')
    for more in ((), ("--update-baseline",)):
        said = "scalecheck: scalecheck.toml:1: baseline: holds a null byte\n"
        assert refused(path, *more) == said


@pytest.mark.parametrize("name", ["\U0001f600.weight", "a\x7fb.weight", "ü\\n.weight"])
def test_any_name_is_emitted_as_toml_that_is_read(name):
    path = saved({name: noise(32, 32)})
    done = scalecheck("translate", path, "--lr", "1e-3", "--target", "1e-3", "--emit", "toml")
    written(done.out)
    done = scalecheck("check", path)
    assert (done.code in (0, 1), done.err) == (True, "")


@pytest.mark.parametrize("name", ["scalecheck.toml", "pyproject.toml"])
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# c\nselect = ['XX']", 2),
        ("\n\nfail_on = 'eror'", 3),
        ("match = [\n  'zz*',\n]", 1),
        ("steps = 9\nschedule = 'cosin'", 2),
        ("snr = 0\nsteps = -1", 2),
        ("[optimizer]\nlr = 1e-3\nbeta77 = 0.9", 3),
        ("[optimizer]\nlr = 0", 2),
        ("optimizer.lr = 0", 1),
        ("[severity]\nSC1 = 'error'\nXX = 'error'", 3),
        ("[limits]\n[limits.SC201]\nhigh = 1\n\n'hihg' = 1", 5),
        ("[limits]\nSC101.x = 1", 2),
        ("[[group]]\nmatch = '*'\nlr = 1\n[[group]]\nmatch = 'zz*'\nlr = 1", 4),
        ("[[override]]\nmatch = '*'\nSC201 = { hihg = 1 }", 3),
        ("[[override]]\nmatch = '*'\n[override.SC201]\nhihg = 1", 4),
        ("[[override]]\nrole = 'bias'\nSC1 = {}\n[[override]]\nrole = 'bais'\nSC1 = {}", 5),
        ("# '''\nseverity.XX = 'error'", 2),
        ("[[exception]]\nmatch = '*'\nreason = '''\n[a]\nb = 1'''\nrules = ['SC9']", 6),
    ],
)
def test_a_value_that_does_not_fit_is_said_with_its_line(text, line, name):
    """In pyproject.toml a key of another program has the same name before."""
    if name == "pyproject.toml":
        text = re.sub(r"^\[+(?=\w)(?!a\])", r"\g<0>tool.scalecheck.", text, flags=re.MULTILINE)
        text = f"[tool.ruff]\nselect = []\n[tool.scalecheck]\n{text}"
        line += 3
    Path(name).write_text(text)
    said = refused(saved({"w.weight": noise(8, 8)}), "--config", name)
    assert said.startswith(f"scalecheck: {name}:{line}: ")
