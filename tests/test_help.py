"""The help pages: panels, examples that run, and lines that fit."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from command import scalecheck

from scalecheck import registry
from scalecheck.cli.main import COMMANDS, REFERENCE, reference

SAMPLES = Path(__file__).parent.parent / "sample_ckpts"
EVERY = [*COMMANDS, *map(reference, REFERENCE)]
PANELS = ("Arguments", "Options", "Run", "Optimizer", "Selection", "Output")

every_command = pytest.mark.parametrize("command", EVERY, ids=lambda command: command.name)


def page(*words, columns):
    done = scalecheck(*words, "--help", columns=columns)
    assert (done.code, done.err) == (0, "")
    return done.out


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files that the examples name."""
    for name, source in (
        ("model", SAMPLES / "tiny-gpt"),
        ("before", SAMPLES / "tiny-gpt-init"),
        ("after", SAMPLES / "tiny-gpt"),
    ):
        shutil.copy(source / "model.safetensors", tmp_path / f"{name}.safetensors")
    monkeypatch.chdir(tmp_path)
    Path("ci").mkdir()
    for place, source in (
        ("runs/gpt/checkpoint-100", "before"),
        ("runs/gpt/checkpoint-200", "after"),
        ("old/checkpoint-900", "before"),
        ("new/checkpoint-1000", "after"),
    ):
        Path(place).mkdir(parents=True)
        shutil.copy(f"{source}.safetensors", f"{place}/model.safetensors")
    done = scalecheck("inspect", "model.safetensors", "--format", "json")
    Path("baseline.json").write_text(done.out, "utf-8")


def test_the_first_line_says_what_the_tool_is_for():
    lines = [line.strip() for line in page(columns=80).splitlines() if line.strip()]
    assert lines[1] == "How large your weights are, and how far a learning rate moves them."
    for command in EVERY:
        assert re.search(rf"^│ {command.name} ", page(columns=80), re.MULTILINE)


@every_command
@pytest.mark.parametrize("columns", [80, 160])
def test_a_page_has_the_same_panels_in_every_command_and_fits(command, columns):
    text = page(command.name, columns=columns)
    titles = re.findall(r"^╭─ (\w[\w ]*\w) ─", text, re.MULTILINE)
    assert titles == [name for name in PANELS if name in titles]
    assert max(map(len, text.splitlines())) <= columns
    for example in command.examples:
        assert f"  {example.line}\n" in re.sub(" +\n", "\n", text)
        assert f"  # {example.shows}\n" in re.sub(" +\n", "\n", text)
    assert " ".join(command.exits.split()) in " ".join(text.split())


@every_command
def test_three_examples_run(command, folder):
    assert len(command.examples) == 3
    for example in command.examples:
        program, *words = shlex.split(example.line)
        assert (program, words[0]) == ("scalecheck", command.name)
        done = scalecheck(*words)
        assert done.code in (0, 1), done.err
        assert done.err == ""
        Path("scalecheck.toml").unlink(missing_ok=True)


@every_command
def test_every_option_says_in_sentences_what_happens(command):
    for option in command.options.values():
        words = option.description
        assert words[0].isupper()
        assert words.endswith((".", "`."))
        assert len(words) <= 240, option.usage


@every_command
def test_no_list_of_choices_fills_a_page(command):
    known = registry.names("optimizer")
    for option in command.options.values():
        named = [word for word in re.findall(r"\w+", option.description) if word in known]
        assert len(named) <= 11
        if len(named) > 3:
            assert "`scalecheck optimizers` lists all" in option.description
