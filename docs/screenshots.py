"""The screenshots of the manual: an image whose text is a command of scalecheck, such as
`![scalecheck check model](images/check.svg)`, shows what that command prints in colour."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from console_blocks import PAGES, ROOT
from rich.console import Console
from rich.text import Text

COLUMNS = 80
FONT = re.compile(r"\s*@font-face \{[^}]*\}")  # from another host; the reader's own will do
IMAGE = re.compile(r"^!\[(scalecheck [^\]]*)\]\(([^)]*\.svg)\)", re.MULTILINE)


def images() -> Iterator[tuple[Path, str]]:
    """Each image of the manual and the command that it shows."""
    for page in PAGES:
        for command, target in IMAGE.findall(page.read_text("utf-8")):
            yield (page.parent / target).resolve(), command


def screenshot(command: str) -> str:
    """The terminal after a command, as SVG; the same bytes each time."""
    scripts = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PATH": scripts + os.pathsep + os.environ["PATH"],
        "COLUMNS": str(COLUMNS),
        "FORCE_COLOR": "1",
        "PYTHONUTF8": "1",
        "TERM": "xterm-256color",
    }
    environment.pop("NO_COLOR", None)
    done = subprocess.run(
        shlex.split(command), cwd=ROOT, env=environment, capture_output=True, check=False
    )
    if done.returncode > 1:  # 1 is a verdict
        raise RuntimeError(f"{command}: {done.stderr.decode()}")
    console = Console(
        record=True, width=COLUMNS, file=StringIO(), force_terminal=True, color_system="truecolor"
    )
    for line in (f"\x1b[1m$ {command}\x1b[0m", *done.stdout.decode().splitlines()):
        console.print(Text.from_ansi(line), soft_wrap=True)
    return FONT.sub("", console.export_svg(title="scalecheck", unique_id="scalecheck"))
