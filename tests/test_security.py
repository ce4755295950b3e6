"""SECURITY.md: every promise has a test, and every bound is the one in the code."""

import re
from pathlib import Path

from oracle import IN_TESTS
from outcomes import SHARES

from scalecheck import config, toml
from scalecheck.checkpoint import recorded, tensor
from scalecheck.cli import main

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "SECURITY.md").read_text("utf-8")


def test_every_promise_names_a_test_that_is_there():
    promises = PAGE.partition("## What is promised")[2].partition("## Bounds")[0]
    rows = [row for row in promises.splitlines() if row.startswith("| ")][1:]
    for row in rows:
        named = re.findall(r"`(tests/\w+\.py)`", row.split("|")[2])
        assert named, row
        for path in named:
            assert "def test_" in (ROOT / path).read_text("utf-8"), path


def test_bounds_are_those_of_the_code():
    for number, words in (
        (toml.MAX_NBYTES >> 20, "{} MiB; keys"),
        (toml.MAX_PARTS, "keys of {} parts"),
        (toml.MAX_DEPTH, "{} brackets deep"),
        (toml.MAX_WORD, "{} characters a bare word"),
        (config.MAX_ENTRIES, "{} overrides, exceptions"),
        (config.MAX_GLOBS, "{} overrides, exceptions and globs"),
        (tensor.MAX_NAME, "name of a tensor | {} characters"),
        (recorded.MAX_NBYTES >> 20, "report that is read | {} MiB"),
        (main.MAX_MESSAGE, "message on stderr | {} characters"),
    ):
        assert words.format(number) in PAGE
    assert f"{main.MAX_WIDTH:,} characters" in PAGE


def test_sizes_of_the_fuzz_are_those_of_the_tests():
    limits = (ROOT / "README.md").read_text("utf-8").partition("\n## Limits\n")[2]
    words = f"the tests read {sum(SHARES.values()):,} damaged files and compare {IN_TESTS} with"
    assert words in limits.partition("\n## ")[0]
    assert f"{IN_TESTS} damaged files are compared" in PAGE
