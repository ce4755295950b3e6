"""The console blocks of the manual: each command in them is run, in the project's folder, and what
a terminal of 80 columns shows of it stands below it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "sample_ckpts" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a page's console blocks, with the output below it."""
    for block in BLOCK.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


@cache
def printed(command: str) -> str:
    """What a command line of bash prints, on stdout and stderr together."""
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
        check=False,
    )
    return done.stdout.decode()


def rewritten(text: str) -> str:
    """The page with every console block as its commands print it."""

    def block(found: re.Match[str]) -> str:
        parts = (f"$ {command}\n{printed(command)}" for command, _ in commands(found[0]))
        return f"```console\n{''.join(parts)}```"

    return BLOCK.sub(block, text)


def without_output(text: str) -> str:
    """The page with its commands alone in the console blocks."""
    return BLOCK.sub(lambda block: "".join(f"$ {one}\n" for one, _ in commands(block[0])), text)
