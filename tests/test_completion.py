"""What a shell is offered, by the environment variables that typer's scripts set."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from command import scalecheck
from safetensors.numpy import save_file

from scalecheck import registry
from scalecheck.cli.main import COMMANDS
from scalecheck.recipes.recipe import PHASES
from scalecheck.rules.contract import registered

SAMPLES = Path(__file__).parent.parent / "sample_ckpts"
TINY = SAMPLES / "tiny-gpt"


def offered(*words):
    """The words that bash is offered for the last of these, which is begun."""
    environment = {
        "_SCALECHECK_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["scalecheck", *map(str, words)]),
        "COMP_CWORD": str(len(words)),
    }
    with mock.patch.dict(os.environ, environment):
        done = scalecheck()
    assert (done.code, done.err) == (0, "")
    return done.out.split()


@pytest.mark.parametrize("option", ["--select", "--ignore"])
def test_rules_are_completed_by_code_and_by_name(option):
    assert offered("check", "x", option, "SC") == [*registered()]
    assert offered("check", "x", option, "sc30") == ["sc301", "sc302"]
    assert offered("check", "x", option, "family") == ["family-outlier"]
    assert offered("check", "x", option, "SC101,SC30") == ["SC101,SC301", "SC101,SC302"]
    assert offered("rules", "SC30") == ["SC301", "SC302"]


@pytest.mark.parametrize("option", ["--match", "--exclude"])
def test_tensors_of_the_path_are_completed(option):
    assert offered("inspect", TINY, option, "blocks.0.attn.o") == [
        "blocks.0.attn.out.bias",
        "blocks.0.attn.out.weight",
    ]
    assert offered("check", TINY, "--lr", "1", option, "ln_f") == ["ln_f.bias", "ln_f.weight"]
    assert offered("diff", TINY, f"{TINY}-init", option, "ln_f.w") == ["ln_f.weight"]


@pytest.mark.parametrize("path", ["no-such-file", SAMPLES / "broken.safetensors", __file__])
def test_a_path_that_cannot_be_read_completes_nothing_and_says_nothing(path):
    assert offered("inspect", path, "--match", "no-such") == []
    assert offered("inspect", "--match", "no-such") == []


def test_names_that_a_shell_or_a_glob_reads_are_not_offered(tmp_path):
    names = ["w.plain", "w.with space", "w.$(true)", "w.[0]", "w.line\nfeed", "w.`x`"]
    save_file({name: np.zeros(2, np.float32) for name in names}, tmp_path / "m.safetensors")
    assert offered("inspect", tmp_path / "m.safetensors", "--match", "w.") == ["w.plain"]


@pytest.mark.parametrize("command", ["inspect", "translate", "diff"])
@pytest.mark.parametrize("option", ["--sort", "--columns"])
def test_columns_are_completed(command, option):
    found = offered(command, "x", option, "n")
    assert "name" in found
    assert "numel" in found
    assert offered(command, "x", "--columns", "name,num") == ["name,numel"]


def test_every_column_that_is_offered_is_one_of_its_table():
    from scalecheck.measure.columns import TENSOR_COLUMNS

    for name in offered("inspect", "x", "--columns", "r"):
        if name in {column.name for column in TENSOR_COLUMNS}:
            assert scalecheck("inspect", TINY, "--columns", name, "--top", "1").code == 0
    assert {column.name for column in TENSOR_COLUMNS} <= {*offered("inspect", "x", "--sort", "")}


def test_choices_are_completed():
    assert offered("translate", "x", "--phase", "") == [*PHASES]
    assert offered("translate", "x", "--optimizer", "") == registry.names("optimizer")
    assert offered("optimizers", "lio") == ["lion"]
    assert offered("inspect", "x", "--format", "") == ["csv", "json", "markdown", "table"]
    assert offered("translate", "x", "--init-dtype", "") == []
    assert offered("translate", "x", "--param-dtype", "") == ["bf16", "fp16", "fp32"]
    assert offered("simulate", "--optimizer", "al") == ["all"]


def test_commands_and_options_are_completed():
    for command in COMMANDS:
        assert command.name in offered(command.name[:-1])
    assert offered("ru") == ["rules"]
    assert offered("inspect", "x", "--qua") == ["--quantiles"]


def test_zsh_and_fish_are_told_what_a_code_means():
    shown = {
        "complete_zsh": '"SC301":"scale-drift"',
        "complete_fish": "SC301\tscale-drift",
    }
    for shell, words in shown.items():
        environment = {
            "_SCALECHECK_COMPLETE": shell,
            "_TYPER_COMPLETE_ARGS": "scalecheck check x --select SC30",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        with mock.patch.dict(os.environ, environment):
            assert words in scalecheck().out


def test_no_reader_and_no_numpy_is_imported_for_what_needs_none():
    code = (
        "import sys\nfrom scalecheck.__main__ import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(*{'numpy', 'torch'}.intersection(sys.modules), file=sys.stderr)"
    )
    for words in ("check x --select SC", "translate x --optimizer ad", "inspect x --form"):
        environment = os.environ | {
            "_SCALECHECK_COMPLETE": "complete_bash",
            "COMP_WORDS": f"scalecheck {words}",
            "COMP_CWORD": str(len(words.split())),
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr.strip() == ""
        assert done.stdout.strip()
