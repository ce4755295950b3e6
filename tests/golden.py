"""Whole outputs kept as text in tests/golden; UPDATE_GOLDEN=1 writes them anew, to be read in
review."""

import math
import os
import re
from pathlib import Path

FOLDER = Path(__file__).with_name("golden")
NUMBER = re.compile(r"\b\d+(?:\.\d+)?(?:e[+-]\d+)?\b")
LAST_DIGIT = 1e-3  # of the four that are printed
BFLOAT16 = 1e-2  # Muon's matrix products, which processors round by their own units


def check(name, text, same=str.__eq__):
    """Asserts that the text is the same as the one kept under this name."""
    path = FOLDER / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, "utf-8")
    kept = path.read_text("utf-8")
    assert same(text, kept), text


def is_alike(text, kept, last_digit=LAST_DIGIT):
    """Word for word the same, but for what torch's sums differ in from processor to processor."""
    if NUMBER.sub("", text).split() != NUMBER.sub("", kept).split():
        return False
    return all(
        math.isclose(
            float(one),
            float(other),
            rel_tol=BFLOAT16 if line.startswith("muon") else last_digit,
            abs_tol=1e-9,  # what is expected to be 0 is rounding errors
        )
        for line, shown in zip(text.splitlines(), kept.splitlines(), strict=True)
        for one, other in zip(NUMBER.findall(line), NUMBER.findall(shown), strict=True)
    )
