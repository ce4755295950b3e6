"""Colours of a terminal, and the columns that its characters take."""

import re
from pathlib import Path

import numpy as np
import pytest
from command import scalecheck
from safetensors.numpy import save_file

from scalecheck.report.formatting import columns_wide, in_one_notation, shortened

SAMPLES = Path(__file__).parent.parent / "sample_ckpts"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
FILE = SAMPLES / "broken.safetensors"


@pytest.mark.parametrize(
    ("environment", "is_coloured"),
    [
        ({}, False),  # into a pipe
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "0"}, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_the_environment_turns_colours_on_and_off(monkeypatch, environment, is_coloured):
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    plain = scalecheck("inspect", FILE, columns=80).out
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    shown = scalecheck("inspect", FILE, columns=80).out
    assert (COLOUR.search(shown) is not None) == is_coloured
    assert COLOUR.sub("", shown) == plain


def test_a_name_cannot_bring_colours_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("FORCE_COLOR", "1")
    name = "\x1b[31mred\x1b]8;;http://a.b\x1b\\"
    save_file(
        {name: np.ones(3, np.float32), "b": np.ones(4, np.float32)}, tmp_path / "m.safetensors"
    )
    out = scalecheck("inspect", tmp_path / "m.safetensors", columns=120).out
    assert "\\x1b[31mred" in out
    assert "\x1b[31m" not in out
    assert "\x1b]8" not in out


def test_wide_characters_take_two_columns(tmp_path):
    assert [columns_wide(text) for text in ("abc", "重み", "e\u0301", "█▌×")] == [3, 4, 1, 3]
    save_file(
        {"重み.weight": np.ones(3, np.float32), "a.weight": np.full(4, 2, np.float32)},
        tmp_path / "m.safetensors",
    )
    lines = scalecheck("inspect", tmp_path / "m.safetensors", columns=80).out.splitlines()
    ends = [columns_wide(line[: line.index("3")]) for line in lines if line.startswith("重み")]
    ends += [columns_wide(line[: line.index("4")]) for line in lines if line.startswith("a.")]
    assert len(ends) == 2
    assert ends[0] == ends[1]


@pytest.mark.parametrize("width", range(4, 14))
def test_a_shortened_name_fits(width):
    cut = shortened("重みの重みの重み.weight", width)
    assert columns_wide(cut) <= width
    assert "…" in cut


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([4.554e-05, 0.0001695], ["0.00004554", "0.0001695"]),
        ([1e-9, 1.0, 0.0], ["1.000e-09", "1.000e+00", "0"]),
        ([12.87, 0.1269, None, 0], ["12.87", "0.1269", "", "0"]),
        ([9.99996, 9.999], ["10.00", "9.999"]),
        ([float("inf"), 2.0], ["inf", "2.000"]),
    ],
)
def test_a_column_has_one_notation(values, texts):
    assert in_one_notation(values) == texts
