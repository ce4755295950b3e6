"""Whole outputs kept as text. `UPDATE_GOLDEN=1 pytest` writes them anew, to be read in review."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"


def check(name, text):
    """Asserts that the text is the one kept under this name."""
    path = FOLDER / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")
