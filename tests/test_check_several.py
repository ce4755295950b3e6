"""`scalecheck check A B C`: several checkpoints, the folder of a run, and patterns."""

import csv
import io
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from check_readers import SARIF
from checked import noise, saved
from command import scalecheck

from scalecheck.report.report import renderers_for

NAN = float("nan")

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def three():
    """A clean checkpoint, one with a NaN, and one that is not there."""
    weight = noise(64, 64)
    clean = saved({"w.weight": weight}, "clean.safetensors")
    return clean, saved({"w.weight": weight * NAN}, "nan.safetensors"), "gone.safetensors"


def run_of(*steps, under="run"):
    """A folder with a checkpoint a step, that of step 10 broken."""
    for step in steps:
        Path(f"{under}/checkpoint-{step}").mkdir(parents=True)
        factor = NAN if step == 10 else 1
        saved({"w.weight": factor * noise(64, 64)}, f"{under}/checkpoint-{step}/model.safetensors")
    return under


def lines(*arguments):
    return scalecheck("check", *arguments, "--format", "concise").out.splitlines()


def test_each_is_judged_and_the_last_line_sums_up(three):
    clean, broken, _ = three
    done = scalecheck("check", clean, broken)
    first, *_, last = done.out.splitlines()
    assert first == last == "1 of 2 checkpoints failed: 1 error in 2 tensors"
    assert "clean.safetensors: passed: no findings in 1 tensor\n" in done.out
    assert "nan.safetensors: failed: 1 error in 1 tensor\n\nerror[SC101]" in done.out
    assert (done.code, done.err) == (1, "")


@pytest.mark.parametrize(
    ("places", "code"),
    [((0, 0), 0), ((0, 1), 1), ((1, 0), 1), ((2, 1), 3), ((0, 2), 3), ((2, 2), 3)],
)
def test_the_exit_code_is_the_worst(three, places, code):
    names = dict.fromkeys(three[place] for place in places)
    if len(names) == 1:
        other = f"other-{three[places[0]]}"
        if places[0] != 2:
            shutil.copy(three[places[0]], other)
        names[other] = None
    assert scalecheck("check", *names).code == code


def test_one_that_cannot_be_read_is_said_and_the_others_are_checked(three):
    clean, broken, gone = three
    done = scalecheck("check", gone, clean, "none.pt", broken)
    said = [line for line in done.err.splitlines() if not line.startswith("  help: ")]
    assert said == [
        "scalecheck: gone.safetensors: no such file or directory",
        "scalecheck: none.pt: no such file or directory",
    ]
    assert "gone.safetensors: not read: no such file or directory" in done.out
    assert done.out.splitlines()[0] == (
        "1 of 4 checkpoints failed, 2 could not be read: 1 error in 2 tensors"
    )


def test_wrong_usage_stops_at_once(three):
    done = scalecheck("check", *three, "--match", "zzz")
    assert (done.code, done.out) == (2, "")
    assert done.problem.startswith("scalecheck: --match zzz: matches none of ")


def test_a_baseline_that_is_not_there_is_one_error(three):
    done = scalecheck("check", *three[:2], "--baseline", "none.json")
    assert (done.code, done.out) == (3, "")
    assert done.err == "scalecheck: none.json: no such file or directory\n"


def test_a_baseline_is_of_one_checkpoint(three):
    done = scalecheck("check", *three, "--baseline", "good.json", "--update-baseline")
    assert (done.code, done.err) == (2, "scalecheck: --update-baseline: takes one PATH, not 3\n")


def test_the_folder_of_a_run_is_its_checkpoints_in_the_order_of_steps():
    done = scalecheck("check", run_of(9, 10, 100))
    paths = [line.split(":")[0] for line in done.out.splitlines() if "checkpoint-" in line]
    assert [Path(path).name for path in paths[:3]] == [f"checkpoint-{n}" for n in (9, 10, 100)]
    assert "run is a run of 3 checkpoints: checkpoint-9, checkpoint-10, checkpoint-100" in done.out
    assert done.code == 1


def test_a_folder_with_a_model_of_its_own_is_one_checkpoint():
    run = run_of(10, 20)
    saved({"w.weight": noise(64, 64)}, f"{run}/model.safetensors")
    assert [line.split(":")[0] for line in lines(run)] == ["run"]
    assert scalecheck("check", run, "--recursive").code == 1


def test_folders_that_are_no_steps_of_one_run_are_refused_as_before():
    for name in ("unet", "vae"):
        Path(f"pipe/{name}").mkdir(parents=True)
        saved({"w.weight": noise(8, 8)}, f"pipe/{name}/model.safetensors")
    done = scalecheck("check", "pipe")
    assert (done.code, done.out) == (3, "")
    assert "2 of its folders do: unet, vae" in done.err


def test_a_run_with_one_checkpoint_is_checked_when_named():
    assert scalecheck("check", run_of(20)).code == 3
    assert scalecheck("check", "run/checkpoint-20").code == 0


def test_a_pattern_that_no_shell_expanded_is_expanded_in_the_order_of_numbers():
    run_of(9, 10, 100)
    assert [*dict.fromkeys(line.split(":")[0] for line in lines("run/checkpoint-*"))][:3] == [
        f"run/checkpoint-{n}" for n in (9, 10, 100)
    ]
    assert lines("run/checkpoint-9*") == lines("run/checkpoint-9")


def test_a_file_whose_name_is_a_pattern_is_itself():
    saved({"w.weight": noise(8, 8)}, "model[1].safetensors")
    saved({"w.weight": noise(8, 8)}, "model1.safetensors")
    assert lines("model[1].safetensors")[0].startswith("model[1].safetensors: ")


def test_a_pattern_that_matches_nothing_is_said_as_it_is():
    assert scalecheck("check", "x*.pt").err == "scalecheck: x*.pt: no such file or directory\n"


def test_a_path_that_is_given_twice_is_checked_once(three):
    assert scalecheck("check", three[0], three[0]).out == scalecheck("check", three[0]).out


def test_json_of_several_holds_each_report_as_it_is_alone(three):
    clean, broken, gone = three
    whole = json.loads(scalecheck("check", clean, broken, gone, "--format", "json").out)
    assert [*whole] == ["schema", "version", "summary", "unread", "notes", "reports"]
    assert whole["schema"] == "scalecheck.checks/1"
    assert whole["unread"] == [{"path": gone, "problem": "no such file or directory"}]
    assert whole["summary"] == {
        "checkpoints": 3,
        "checkpoints_failed": 1,
        "checkpoints_not_read": 1,
        "errors": 1,
        "warnings": 0,
        "notes": 0,
        "ignored": 0,
        "tensors": 2,
        "failed": True,
    }
    alone = [json.loads(scalecheck("check", one, "--format", "json").out) for one in three[:2]]
    assert whole["reports"] == alone


def test_sarif_of_several_is_one_run_with_each_path(three):
    log = json.loads(scalecheck("check", *three, "--format", "sarif").out)
    SARIF.validate(log)
    (run,) = log["runs"]
    (result,) = run["results"]
    place = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place["uri"] == "nan.safetensors"
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is False
    (unread,) = [n for n in invocation["toolExecutionNotifications"] if n["level"] == "error"]
    assert unread["message"]["text"] == "gone.safetensors: not read: no such file or directory"


def test_junit_of_several_has_a_suite_for_each(three):
    root = ElementTree.fromstring(scalecheck("check", *three, "--format", "junit").out)
    counts = {suite.get("name"): (suite.get("failures"), suite.get("errors")) for suite in root}
    assert counts == {three[0]: ("0", "0"), three[1]: ("1", "0"), three[2]: ("0", "1")}


def test_csv_of_several_has_the_path_of_each_finding(three):
    text = scalecheck("check", *three, "--format", "csv").out
    assert [(row["path"], row["rule"]) for row in csv.DictReader(io.StringIO(text))] == [
        (three[1], "SC101"),
        (three[2], ""),
    ]


def test_github_and_markdown_of_several_tell_what_could_not_be_read(three):
    commands = scalecheck("check", *three, "--format", "github").out.splitlines()
    assert commands[-1] == (
        "::error file=gone.safetensors,title=scalecheck::not read: no such file or directory"
    )
    text = scalecheck("check", *three, "--format", "markdown").out
    assert text.startswith("### 1 of 3 checkpoints failed, 1 could not be read: 1 error in 2 ")
    assert "### `gone.safetensors`: not read\n\nno such file or directory\n" in text


@pytest.mark.parametrize("form", renderers_for("check"))
def test_every_format_of_several_is_written_and_replaced(form, three):
    for _ in range(2):
        done = scalecheck("check", *three[:2], "--format", form, "--output", "report")
        assert (done.code, done.out, done.err) == (1, "", "")
    out = scalecheck("check", *three[:2], "--format", form).out
    assert Path("report").read_text("utf-8") == out
    assert scalecheck("check", *three[:2], "--output", "report", "--quiet").code == 1
    assert scalecheck("check", *three[:2], "--output", "report").code == 1
    quiet = scalecheck("check", *three[:2], "--format", form, "--quiet").out
    assert "nan.safetensors" in quiet or form == "table"


def test_statistics_count_the_findings_of_all(three):
    _, broken, _ = three
    shutil.copy(broken, "again.safetensors")
    done = scalecheck("check", broken, "again.safetensors", "--statistics")
    rows = [line.split()[:3] for line in done.out.splitlines() if " SC" in line]
    assert rows == [["2", "SC101", "non-finite"]]
    assert done.out.startswith("2 of 2 checkpoints failed: 2 errors in 2 tensors\n")


def test_clean_checkpoints_are_a_line_each():
    run_of(1, 2, 3)
    shown = scalecheck("check", "run", "--quiet")
    assert (shown.code, shown.out) == (0, "")
    text = scalecheck("check", "run").out
    assert text.split("\n\n")[1].count("\n") == 2
