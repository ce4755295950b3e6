"""The manual does what it says: README, CONTRIBUTING, the pages of docs, the samples' README."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import console_blocks
import pytest
import screenshots
from command import scalecheck
from golden import is_alike
from test_floors import FLOORS

from scalecheck import api, registry
from scalecheck.cli.main import COMMANDS, REFERENCE, reference
from scalecheck.recipes.recipe import failures, load
from scalecheck.rules.contract import registered
from scalecheck.rules.judging.policy import resolve

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
BLOCKS = dict.fromkeys(  # once, however many pages show it
    pair
    for page in console_blocks.PAGES
    for pair in console_blocks.commands(page.read_text("utf-8"))
)
QUESTIONS = [
    "Which layers move fastest?",
    "Will pure bf16 move at all?",
    "Which lr?",
    "Is something broken?",
    "What do larger gradients do?",
    "How do I use it in CI?",
]


def printed(command):
    """What a terminal of 80 columns shows of a command in the project's folder."""
    if set(command) & set("|;<>&"):
        return console_blocks.printed(command)
    done = scalecheck(*shlex.split(command)[1:], columns=80)
    return done.out + done.err


@pytest.mark.parametrize(("command", "output"), BLOCKS)
def test_console_block_prints_what_the_manual_shows(command, output, monkeypatch):
    """`python docs/make.py` writes every block anew."""
    monkeypatch.chdir(ROOT)
    text = printed(command)
    assert is_alike(text, output) if "simulate" in command else text == output


@pytest.mark.parametrize(("path", "command"), dict.fromkeys(screenshots.images()))
def test_a_screenshot_shows_what_its_command_prints(path, command):
    """`python docs/make.py` writes every screenshot anew."""
    assert path.read_text("utf-8") == screenshots.screenshot(command)


def test_readme_begins_with_the_two_commands():
    first = re.search(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert first[1].splitlines() == [
        "pip install -c constraints.txt . && scalecheck inspect sample_ckpts/tiny-gpt",
        'pip install -c constraints.txt -e ".[dev]" && pytest',
    ]


def test_the_readme_answers_six_questions_in_200_lines():
    assert len(README.splitlines()) <= 200
    assert screenshots.IMAGE.search(README)
    assert re.findall(r"^### (.*\?)$", README, re.MULTILINE) == QUESTIONS
    for question in QUESTIONS:
        answer = README.partition(f"### {question}\n")[2].partition("\n##")[0]
        assert list(console_blocks.commands(answer)), question


def test_the_counts_of_the_manual_are_those_of_the_code():
    method, check = (DOCS / name for name in ("method.md", "commands/check.md"))
    recipes = sum(recipe.verified for recipe in load())
    for page in (README, method.read_text("utf-8")):
        assert f"{recipes} recipes" in page
        assert f"{len(failures())} failures" in page
    for page in (README, check.read_text("utf-8")):
        assert re.search(rf"\b{len(registered())} (\[rules\]|rules)", page)


def test_every_command_has_a_page_that_the_readme_links():
    for command in (*COMMANDS, *map(reference, REFERENCE)):
        page = (DOCS / "commands" / f"{command.name}.md").read_text("utf-8")
        assert page.startswith(f"# {command.name}\n")
        assert list(console_blocks.commands(page))
        assert f"(docs/commands/{command.name}.md)" in README


def test_the_pages_of_the_code_are_those_of_the_code():
    """`python docs/make.py` writes them anew."""
    pages = runpy.run_path(str(DOCS / "make.py"))["pages"]()
    for name, text in pages.items():
        page = (DOCS / name).read_text("utf-8")
        assert console_blocks.without_output(page) == console_blocks.without_output(text), name


def test_every_rule_and_column_is_in_the_manual():
    commands = "\n".join(page.read_text("utf-8") for page in (DOCS / "commands").glob("*.md"))
    columns = re.findall(r'Column\(\n? *"(\w+)"', _sources())
    assert len(columns) > 100
    for column in columns:
        assert f"| `{column}` |" in commands, column
    for code, entry in registered().items():
        assert f"\n## {code} {entry.name}\n" in (DOCS / "rules.md").read_text("utf-8")


def _sources():
    return "\n".join(p.read_text("utf-8") for p in (ROOT / "scalecheck").rglob("*.py"))


def _examples(page):
    """What each Python example of a page prints, as lines."""
    text = (ROOT / page).read_text("utf-8")
    for example in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield subprocess.run(
            [sys.executable, "-c", example], cwd=ROOT, capture_output=True, check=True, text=True
        ).stdout.splitlines()


def test_the_python_examples_run():
    memory, files = _examples("docs/python-api.md")
    assert files[0].startswith("ln_f.weight 1.70269")
    assert len(files) == 1 + 52
    measured, changed = map(float, memory[0].split())
    assert measured == pytest.approx(changed, rel=0.02)  # which weight decay is a part of
    assert len(memory) == 1 + 4
    assert all(line.endswith("True") for line in memory[1:])


def test_the_python_example_of_the_readme_runs():
    (told,) = _examples("README.md")
    assert 0 < float(told[0]) < 1
    assert told[1] == "False"


def test_the_configuration_in_the_manual_is_one(tmp_path):
    page = (DOCS / "configuration.md").read_text("utf-8")
    (example,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "scalecheck.toml").write_text(example, "utf-8")
    settings = api.settings(api.check, {}, api.read_config(tmp_path / "scalecheck.toml"))
    assert settings.lr == 3e-4
    assert "SC206" not in resolve(settings).rules


def test_the_code_layout_is_the_tree():
    """Every folder and module of the package with its floor, the top one first."""
    tree = re.search(r"^scalecheck/\n(.*?)^```$", CONTRIBUTING, re.MULTILINE | re.DOTALL)[1]
    lines = re.findall(r"^(\d) (\w+)(/|\.py) ", tree, re.MULTILINE)
    assert {name: int(floor) for floor, name, _ in lines} == FLOORS
    assert [floor for floor, *_ in lines] == sorted((floor for floor, *_ in lines), reverse=True)
    for _, name, end in lines:
        assert (ROOT / "scalecheck" / f"{name}{end}").exists()


def test_the_families_in_the_manual_are_those_of_the_registry():
    rows = re.findall(r"^\| (\w+) \| `([\w/]+)` \| ([^|]*) \|", CONTRIBUTING, re.MULTILINE)
    assert {family: f"scalecheck.{folder.replace('/', '.')}" for family, folder, _ in rows} == {
        name: family.package for name, family in registry.FAMILIES.items()
    }
    for family, _, words in rows:
        assert {*re.findall(r"`(\w+)`", words)} == {*registry.asked(family)}
        assert f"`scalecheck.{family}s`" in CONTRIBUTING
        assert re.search(rf"^### An? {family}$", CONTRIBUTING, re.MULTILINE)
    for group in re.findall(
        r"^\[project.entry-points.\"scalecheck.(\w+)s\"\]", CONTRIBUTING, re.MULTILINE
    ):
        assert group in registry.FAMILIES


def _refused():
    """The names in the manual's table of files that are not read, and what each is said to be."""
    page = (DOCS / "formats.md").read_text("utf-8")
    table = page.partition("\n## Recognised and not read\n")[2]
    for names, what in re.findall(r"^\| (`m\.[^|]*) \| ([^|]+) \|", table, re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", names):
            yield name, what


@pytest.mark.parametrize(("name", "what"), [*_refused()])
def test_a_file_is_refused_as_what_the_manual_says(name, what, tmp_path):
    path = tmp_path / name
    if name.endswith("/"):
        path.mkdir()
    else:
        is_pickle = path.suffix in (".pkl", ".pickle")
        path.write_bytes(b"\x80\x04K\x01." if is_pickle else b"words\n")
    done = scalecheck("inspect", path)
    assert done.code == 3
    assert f"is {what}" in done.err
