"""What --output and --update-baseline may replace: a report, and no file that is read."""

import json
import os
import shutil
from pathlib import Path

import pytest
from command import scalecheck

from scalecheck.report.report import renderers_for
from scalecheck.toml import OWN_MARK

TINY, BEFORE = (
    Path(__file__).parents[1] / "sample_ckpts" / f"tiny-gpt{end}" for end in ("", ".pt")
)
COMMANDS = {
    "inspect": [
        ("inspect", TINY),
        ("inspect", TINY, "--by", "layer"),
        ("inspect", TINY, "--quantiles"),
    ],
    "translate": [
        ("translate", TINY),
        ("translate", TINY, "--lr", 1, "--scale-by", 2, "--steps", 9),
        ("translate", "--assume", "gpt2", "--shape", "w=4x4", "--lr", 1),
    ],
    "diff": [("diff", TINY, BEFORE), ("diff", TINY, BEFORE, "--lr", 1, "--steps", 9)],
    "history": [("history", TINY, BEFORE), ("history", TINY, BEFORE, "--by", "layer")],
    "check": [("check", TINY), ("check", TINY.parent / "broken.safetensors", "--lr", "1e-3")],
    "simulate": [("simulate", "--steps", 20, "--size", 64, "--sweep")],
}
REFERENCE = [
    (*arguments, "--format", form)
    for arguments in (("rules",), ("rules", "SC104", "SC2"), ("optimizers",), ("optimizers", "sgd"))
    for form in renderers_for(arguments[0])
]
REPORTS = [
    (*arguments, "--format", form, *quiet)
    for command, every in COMMANDS.items()
    for arguments in every
    for form in renderers_for(command)
    for quiet in ((), ("--quiet",))
]
REPORTS += REFERENCE
REPORTS += [
    ("check", TINY, "--statistics"),
    ("check", "--show-settings"),
    ("check", "--explain", "SC101"),
    ("inspect", TINY, "--columns", "name,rms"),
    ("translate", TINY, "--lr", 1, "--target", "1e-3", "--emit", "torch"),
    ("translate", TINY, "--lr", 1, "--target", "1e-3", "--emit", "json"),
    ("translate", TINY, "--lr", 1, "--target", "1e-3", "--emit", "toml"),
]
FOREIGN = {
    "training log": "step,lr\n1,0.1\n",
    "a list of names": "name\nKim\n",
    "diary": "My diary\n\nI saw in 3 tensors; 4 rules run\n",
    "failed training": "training: failed: NaN in 3 tensors\nmy own log\n",
    "notes with a table": "some notes\nname  step\n----  ----\nx 1\n",
    "a page that quotes": "# Run\n\n```\nname  rms  std\n----  ---  ---\na     1.0  1.0\n```\n",
    "a session": "$ scalecheck inspect m\nname  rms  std\n----  ---  ---\na     1.0  1.0\n",
    "notes": "remember the milk\n",
    "one word": "kept",
    "README.md": "# scalecheck\n\n| step | loss |\n|------|------|\n| 1 | 2.5 |\n",
    "pip list": "Package    Version\n---------- -------\nscalecheck 0.1.0\n",
    "a table": "host   load\n-----  ----\na      1\n",
    "scalecheck.toml": "fail_on = 'never'\n",
    "groups": "[optimizer]\nname = 'adamw'\nlr = 0.1\n",
    "groups after another line": f"\n# {OWN_MARK}\n[optimizer]\nlr = 0.1\n",
    "groups with a table that was added": f"# {OWN_MARK}\n[optimizer]\nlr = 1\n[severity]\n",
    "train.py": '"""Trains."""\nimport torch\n',
    "scores.csv": "name,score\na,1\n",
    "config.json": '{"model_type": "gpt2"}',
    "schema.json": '{"schema": "other/1"}',
    "index": '{"weight_map": {}}',
    "other.sarif": json.dumps(
        {"$schema": "https://x/sarif-2.1.0.json", "version": "2.1.0", "runs": []}
    ),
    "junit.xml": '<?xml version="1.0"?>\n<testsuites><testsuite name="x"/></testsuites>',
    "space": "\n",
    "binary": "PK\x03\x04\0\0",
}
KEPT = "is no report of scalecheck, and not replaced: remove it first"
READ = "is read by this command, and not replaced"


@pytest.mark.parametrize(
    "arguments", REPORTS, ids=lambda a: "-".join(map(str, a)).replace("/", ".")
)
def test_every_report_may_be_replaced(arguments, tmp_path):
    """By another, whichever command and format it is of."""
    place = tmp_path / "report"
    for _ in range(2):
        done = scalecheck(*arguments, "--output", place)
        assert (done.code in (0, 1), done.out, done.err) == (True, "", "")
    assert scalecheck("inspect", TINY, "--output", place).code == 0
    assert place.read_text() == scalecheck("inspect", TINY).out


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_nothing_but_a_report_is_replaced(text, tmp_path):
    place = tmp_path / "place"
    place.write_text(text)
    (tmp_path / "link").symlink_to(place)
    for target in (place, tmp_path / "link"):
        done = scalecheck("inspect", TINY, "--output", target)
        assert (done.code, done.out) == (2, "")
        assert done.err == f"scalecheck: --output {target}: {KEPT}\n"
        assert scalecheck("check", TINY, "--baseline", target, "--update-baseline").code == 2
    assert place.read_text() == text


@pytest.fixture
def read(tmp_path, monkeypatch):
    """A folder with a file for everything that a command reads, each of which could be replaced."""
    monkeypatch.chdir(tmp_path)
    report = scalecheck("inspect", TINY, "--format", "json").out
    for name in ("before", "after", "baseline"):
        Path(name).write_text(report)
    Path("state").write_text("")
    Path("scalecheck.toml").write_text("")
    Path("configured.toml").write_text("baseline = 'baseline'\nstate = 'state'\n")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("before", ("diff", "before", "after")),
        ("after", ("diff", "before", "after")),
        ("baseline", ("check", TINY, "--baseline", "baseline")),
        ("baseline", ("check", TINY, "--config", "configured.toml")),
        ("scalecheck.toml", ("check", TINY)),
        ("scalecheck.toml", ("check", TINY, "--show-settings")),
        ("configured.toml", ("check", TINY, "--config", "configured.toml")),
        ("state", ("check", TINY, "--state", "state")),
        ("state", ("check", TINY, "--config", "configured.toml")),
        ("state", ("translate", TINY, "--state", "state")),
        ("before", ("translate", TINY, "--lr", 1, "--like", "before")),
        ("before", ("inspect", "before")),
    ],
)
def test_a_file_that_is_read_is_not_replaced(file, arguments, read):
    before = {path.name: path.read_bytes() for path in read.iterdir()}
    os.link(file, "hard")
    os.symlink(file, "soft")
    for target in (file, f"./{file}", str(read / file), "hard", "soft"):
        done = scalecheck(*arguments, "--output", target)
        assert (done.code, done.out, done.err) == (
            2,
            "",
            f"scalecheck: --output {Path(target)}: {READ}\n",
        )
    for name, content in before.items():
        assert (read / name).read_bytes() == content


@pytest.mark.parametrize("target", ["scalecheck.toml", "state", "model.safetensors"])
def test_a_baseline_does_not_take_the_place_of_what_is_read(target, read):
    shutil.copy(TINY / "model.safetensors", "model.safetensors")
    before = Path(target).read_bytes()
    options = ("--state", "state", "--baseline", target, "--update-baseline")
    assert scalecheck("check", "model.safetensors", *options).code == 2
    assert Path(target).read_bytes() == before


def test_a_baseline_takes_the_place_of_a_baseline_only(tmp_path):
    place, options = tmp_path / "b.json", ("--baseline", tmp_path / "b.json", "--update-baseline")
    for _ in range(2):
        assert scalecheck("check", TINY, *options).code == 0
    assert scalecheck("check", TINY, "--format", "json", "--output", place).code == 0
    done = scalecheck("check", TINY, *options)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert '"scalecheck.check/1"' in place.read_text()
