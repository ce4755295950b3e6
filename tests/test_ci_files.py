"""The files by which GitHub's actions and pre-commit run scalecheck."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
STEPS = ACTION["runs"]["steps"]
SCRIPTS = [step for step in STEPS if "run" in step]
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))


def test_the_action_takes_each_input_by_the_environment_or_as_a_setting():
    assert ACTION["runs"]["using"] == "composite"
    used = " ".join(
        value
        for step in STEPS
        for place in ("env", "with")
        for value in map(str, step.get(place, {}).values())
    )
    assert set(re.findall(r"inputs\.([\w-]+)", used)) == set(ACTION["inputs"])
    for step in SCRIPTS:
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"


@pytest.mark.parametrize("step", SCRIPTS, ids=lambda step: step["name"])
def test_a_script_of_the_action_is_bash_and_quotes_every_variable(step):
    subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)
    variables = [*step["env"], "RUNNER_TEMP", "GITHUB_STEP_SUMMARY"]
    for name in variables:
        for before in re.findall(rf"(.)\${name}\b", step["run"]):
            assert before == '"', f"${name} is not quoted"


def test_the_action_installs_its_own_checkout_with_its_constraints():
    (install,) = (step for step in SCRIPTS if "install" in step["run"])
    assert install["env"]["SOURCE"] == "${{ github.action_path }}"
    assert '-c "$SOURCE/constraints.txt" "$SOURCE"' in install["run"]
    assert (ROOT / "constraints.txt").is_file()


def test_the_hook_runs_check_with_the_torch_that_ci_installs():
    assert HOOK["id"] == "scalecheck"
    assert HOOK["entry"] == "scalecheck check"
    assert HOOK["language"] == "python"
    assert HOOK["pass_filenames"] is False
    pins = (ROOT / "constraints.txt").read_text("utf-8").split()
    assert set(HOOK["additional_dependencies"]) <= set(pins)


@pytest.fixture
def job(tmp_path):
    """A job of an action in which scalecheck is installed: what runs its check step."""
    program = tmp_path / "scalecheck" / "bin" / "scalecheck"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m scalecheck "$@"\n')
    program.chmod(0o755)
    (script,) = (step["run"] for step in SCRIPTS if step["name"] == "Check")

    def run(checkpoint, arguments="", sarif_file=""):
        environment = os.environ | {
            "RUNNER_TEMP": str(tmp_path),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
            "CHECKPOINT": checkpoint,
            "ARGS": arguments,
            "SARIF_FILE": sarif_file,
        }
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_the_action_annotates_and_summarizes_and_keeps_the_exit_code(job, tmp_path):
    log = tmp_path / "scalecheck.sarif"
    done = job("sample_ckpts/broken.safetensors", "--select SC101\n--jobs 1", str(log))
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["::error", "::notice"]
    assert (tmp_path / "summary.md").read_text("utf-8").startswith("### ")
    assert len(json.loads(log.read_text("utf-8"))["runs"][0]["results"]) == 2


def test_the_action_checks_a_path_a_line_and_tells_what_it_could_not_read(job, tmp_path):
    log = tmp_path / "scalecheck.sarif"
    paths = "sample_ckpts/broken.safetensors\n\nnone of these.pt\nsample_ckpts/tiny-gpt*\n"
    done = job(paths, sarif_file=str(log))
    assert done.returncode == 3
    assert "::error file=none of these.pt,title=scalecheck::not read: " in done.stdout
    assert "::notice file=sample_ckpts/tiny-gpt-bf16," in done.stdout
    assert (tmp_path / "summary.md").read_text("utf-8").startswith("### 1 of 7 checkpoints failed")
    assert len(json.loads(log.read_text("utf-8"))["runs"][0]["results"]) == 5


def test_the_action_passes_a_clean_checkpoint(job):
    assert job("sample_ckpts/tiny-gpt").returncode == 0


def test_the_action_runs_nothing_that_a_path_says(job, tmp_path):
    done = job(f"$(touch {tmp_path}/ran)")
    assert done.returncode == 3
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "summary.md").exists()
