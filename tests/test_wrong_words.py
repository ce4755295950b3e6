"""Options and commands that are not known, in the words of the field and of other programs."""

import shlex
from pathlib import Path

import pytest
from command import scalecheck

from scalecheck.cli.main import COMMANDS
from scalecheck.cli.wrong_words import SPELLINGS

SAMPLE = Path(__file__).parent.parent / "sample_ckpts" / "tiny-gpt"
FLAGS = {option.usage.split()[0] for one in COMMANDS for option in one.options.values()}


def told(line):
    """The problem and the command line that would work."""
    done = scalecheck(*shlex.split(line))
    assert (done.code, done.out) == (2, "")
    problem, _, help = done.err.partition("\n  help: ")
    return problem.removeprefix("scalecheck: "), help.strip()


@pytest.mark.parametrize(
    ("line", "works"),
    [
        ("translate x --learning-rate 3e-4", "translate x --lr 3e-4"),
        ("translate x --learning_rate=3e-4", "translate x --lr=3e-4"),
        ("translate x -lr 3e-4", "translate x --lr 3e-4"),
        ("translate x --LR 3e-4", "translate x --lr 3e-4"),
        (
            "check x --optim adamw_torch --wd 0.1",
            "check x --optimizer adamw_torch --weight-decay 0.1",
        ),
        ("translate x --weight_decay 0.1", "translate x --weight-decay 0.1"),
        ("translate x --betas 0.9,0.95 --top 3", "translate x --beta1 0.9 --beta2 0.95 --top 3"),
        ("translate x --betas 0.9 0.95 --top 3", "translate x --beta1 0.9 --beta2 0.95 --top 3"),
        ("translate x '--betas=(0.9, 0.95)'", "translate x --beta1 0.9 --beta2 0.95"),
        ("translate x --adam-epsilon 1e-6", "translate x --eps 1e-6"),
        ("translate x --alpha 0.95 --lr 1", "translate x --set alpha=0.95 --lr 1"),
        ("translate x --nesterov", "translate x --set nesterov=true"),
        ("translate x --bf16", "translate x --param-dtype bf16"),
        ("translate x --max-steps 100", "translate x --steps 100"),
        ("inspect x --json", "inspect x --format json"),
        ("inspect x -o out.txt", "inspect x --output out.txt"),
        ("simulate --dtyp float32", "simulate --dtype float32"),
        ("inspect x --debug", "--debug inspect x"),
        ("--lr 1 translate x", "translate x --lr 1"),
        ("rules --frmat json", "rules --format json"),
        ("inspct x", "inspect x"),
        ("compare a b", "diff a b"),
    ],
)
def test_the_command_line_that_was_meant_is_said(line, works):
    problem, help = told(line)
    assert help == f"scalecheck {works}"
    assert "did you mean" in problem or "stands" in problem


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("translate x --learning-rate 1", "--learning-rate: no such option; did you mean --lr?"),
        ("inspect x --zzz", "--zzz: no such option of inspect"),
        ("inspect x --lr 1", "--lr: no option of inspect; --lr is one of translate, diff, …"),
        ("inspect x --learning-rate 1", "--learning-rate: no option of inspect; --lr is one of …"),
        ("zzz", "zzz: no such command; there are inspect, translate, diff, history, check, …"),
        ("--zzz", "--zzz: no such option"),
        (f"inspect x --{'z' * 200}", f"--{'z' * 200}: no such option of inspect"),
    ],
)
def test_what_is_wrong_comes_first(line, problem):
    said, _ = told(line)
    assert said.strip().startswith(problem.rstrip("…"))


def test_a_path_without_a_command_is_inspected():
    problem, help = told(shlex.quote(str(SAMPLE)))
    assert problem.startswith(f"{SAMPLE}: is not a command; the command stands first: inspect, ")
    assert scalecheck(*shlex.split(help)[1:]).code == 0


def test_every_spelling_stands_for_an_option_and_is_none_of_another():
    assert SPELLINGS.keys() <= FLAGS
    words = [word for words in SPELLINGS.values() for word in words.split()]
    assert len(words) == len({*words})
    for flag, others in SPELLINGS.items():
        for word in others.split():
            for command in COMMANDS:
                flags = {option.usage.split()[0] for option in command.options.values()}
                assert not {flag, f"--{word}"} <= flags, (command.name, flag, word)


def test_a_command_line_of_any_length_is_answered_in_short():
    done = scalecheck("translate", "x" * 5000, "--learning-rate", "1")
    assert done.err == "scalecheck: --learning-rate: no such option; did you mean --lr?\n"
