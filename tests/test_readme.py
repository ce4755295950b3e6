"""The README and the sample checkpoints' README do what they say."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command import scalecheck
from golden import is_alike
from test_floors import FLOORS

from scalecheck import api, registry
from scalecheck.cli.main import COMMANDS
from scalecheck.rules.contract import registered
from scalecheck.rules.judging.policy import resolve

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = ["README.md", "sample_ckpts/README.md"]


def console_blocks(page):
    """Each (command, expected output) of the page's console blocks."""
    text = (ROOT / page).read_text("utf-8")
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def printed(command):
    """What a terminal of 80 columns shows of a command in the project's folder."""
    if not set(command) & set("|;<"):
        done = scalecheck(*shlex.split(command)[1:], columns=80)
        return done.out + done.err
    scripts = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PATH": scripts + os.pathsep + os.environ["PATH"],
        "COLUMNS": "80",
        "PYTHONUTF8": "1",
    }
    done = subprocess.run(
        ["bash", "-c", command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("command", "output"), [pair for page in PAGES for pair in console_blocks(page)]
)
def test_console_block_prints_what_the_manual_shows(command, output, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = printed(command)
    assert is_alike(text, output) if "simulate" in command else text == output


def test_readme_begins_with_the_two_commands():
    first = re.search(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert first[1].splitlines() == [
        "pip install -c constraints.txt . && scalecheck inspect sample_ckpts/tiny-gpt",
        'pip install -c constraints.txt -e ".[dev]" && pytest',
    ]
    assert len(list(console_blocks("README.md"))) >= 3


def test_every_command_has_its_part_of_the_manual():
    for command in COMMANDS:
        assert f"## {command.name}\n" in README
        assert f"(docs/commands.md#{command.name})" in README


def test_the_long_pages_are_those_of_the_code():
    """`python docs/make.py` writes them anew."""
    pages = runpy.run_path(str(ROOT / "docs" / "make.py"))["pages"]()
    for name, text in pages.items():
        assert (ROOT / "docs" / name).read_text("utf-8") == text, name


def test_every_rule_and_column_is_in_the_long_pages():
    commands = (ROOT / "docs" / "commands.md").read_text("utf-8")
    columns = re.findall(r'Column\(\n? *"(\w+)"', _sources())
    assert len(columns) > 100
    for column in columns:
        assert f"| `{column}` |" in commands, column
    for code, entry in registered().items():
        assert f"\n## {code} {entry.name}\n" in (ROOT / "docs" / "rules.md").read_text("utf-8")


def _sources():
    return "\n".join(p.read_text("utf-8") for p in (ROOT / "scalecheck").rglob("*.py"))


def test_the_python_examples_run():
    files, memory = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    printed, told = (
        subprocess.run(
            [sys.executable, "-c", example], cwd=ROOT, capture_output=True, check=True, text=True
        ).stdout.splitlines()
        for example in (files, memory)
    )
    assert printed[0].startswith("ln_f.weight 1.70269")
    assert len(printed) == 1 + 52
    measured, changed = map(float, told[0].split())
    assert measured == pytest.approx(changed, rel=0.02)  # which weight decay is a part of
    assert len(told) == 1 + 4
    assert all(line.endswith("True") for line in told[1:])


def test_the_configuration_in_the_manual_is_one(tmp_path):
    example, _ = re.findall(r"^```toml\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    (tmp_path / "scalecheck.toml").write_text(example, "utf-8")
    settings = api.settings(api.check, {}, api.read_config(tmp_path / "scalecheck.toml"))
    assert settings.lr == 3e-4
    assert "SC206" not in resolve(settings).rules


def test_the_code_layout_is_the_tree():
    """Every folder and module of the package with its floor, the top one first."""
    tree = re.search(r"^scalecheck/\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[1]
    lines = re.findall(r"^(\d) (\w+)(/|\.py) ", tree, re.MULTILINE)
    assert {name: int(floor) for floor, name, _ in lines} == FLOORS
    assert [floor for floor, *_ in lines] == sorted((floor for floor, *_ in lines), reverse=True)
    for _, name, end in lines:
        assert (ROOT / "scalecheck" / f"{name}{end}").exists()


def test_the_families_in_the_manual_are_those_of_the_registry():
    rows = re.findall(r"^\| (\w+) \| `([\w/]+)` \| ([^|]*) \|", README, re.MULTILINE)
    assert {family: f"scalecheck.{folder.replace('/', '.')}" for family, folder, _ in rows} == {
        name: family.package for name, family in registry.FAMILIES.items()
    }
    for family, _, words in rows:
        assert {*re.findall(r"`(\w+)`", words)} == {*registry.asked(family)}
        assert f"`scalecheck.{family}s`" in README
    for group in re.findall(
        r"^\[project.entry-points.\"scalecheck.(\w+)s\"\]", README, re.MULTILINE
    ):
        assert group in registry.FAMILIES
