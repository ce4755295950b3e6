"""The README and the sample checkpoints' README do what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from scalecheck.analysis.init_ratio import COLUMNS as INIT_COLUMNS
from scalecheck.analysis.inspect import GROUP_COLUMNS, TENSOR_COLUMNS
from scalecheck.analysis.laws import claim, layers, overview, sweep, update_size, weight_scale
from scalecheck.analysis.translation import assumed, backward, columns, scaled
from scalecheck.cli.main import app

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "sample_ckpts/README.md"]


def console_blocks(page):
    """Each (command, expected output) of the page's console blocks."""
    text = (ROOT / page).read_text("utf-8")
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def printed(command):
    """What a shell in the project's folder shows in a terminal of 80 columns."""
    scripts = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PATH": scripts + os.pathsep + os.environ["PATH"],
        "COLUMNS": "80",
        "PYTHONUTF8": "1",
    }
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
    )
    return done.stdout.decode()


def steady(output):
    """The output without what is rounding error, which differs from processor to processor."""
    return re.sub(r"\b\d\.\d{3}e-1\d\b", "rounding ", output)


@pytest.mark.parametrize(
    ("command", "output"), [pair for page in PAGES for pair in console_blocks(page)]
)
def test_console_block_prints_what_the_manual_shows(command, output):
    assert steady(printed(command)) == steady(output)


def test_readme_begins_with_the_two_commands():
    text = (ROOT / "README.md").read_text("utf-8")
    first = re.search(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert first[1].splitlines() == [
        "pip install -c constraints.txt . && scalecheck inspect sample_ckpts/tiny-gpt",
        'pip install -c constraints.txt -e ".[dev]" && pytest',
    ]
    assert len(list(console_blocks("README.md"))) >= 3


def test_every_option_and_column_is_in_the_manual():
    text = (ROOT / "README.md").read_text("utf-8")
    for name, command in typer.main.get_command(app).commands.items():
        assert f"## {name}\n" in text
        for option in (word for parameter in command.params for word in parameter.opts):
            assert not option.startswith("--") or f"| `{option}" in text, option
    simulated = (claim, update_size, weight_scale, layers, overview)
    laws = (column for law in simulated for column in law.COLUMNS)
    asked = (*columns.SAVED, *columns.LATE, *backward.LIKE, *backward.TO, *assumed.COLUMNS)
    translated = (*columns.COLUMNS, *asked, *scaled.COLUMNS)
    inspected = (*TENSOR_COLUMNS, *GROUP_COLUMNS, *INIT_COLUMNS)
    for column in (*inspected, *laws, *sweep.FIELDS, *translated):
        assert f"| `{column.name}` | {column.help.replace('|', '&#124;')} |" in text, column.name


def test_the_python_example_runs():
    text = (ROOT / "README.md").read_text("utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=ROOT, capture_output=True, check=True, text=True
    )
    assert done.stdout.splitlines()[0].startswith("ln_f.weight 1.70269")
    assert len(done.stdout.splitlines()) == 1 + 52
