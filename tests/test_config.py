"""scalecheck.toml: what it may say, and what is said where it is wrong."""

import re
from contextlib import suppress
from fnmatch import fnmatchcase
from glob import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from process import at_most

from scalecheck import config, toml
from scalecheck.api import read_config
from scalecheck.errors import UsageError
from scalecheck.globs import Globs, literal

WHOLE = """
select = ["SC1", "SC201"]
ignore = ["dead-rows"]
fail_on = "warning"
init = "gpt2"
baseline = "good.json"
bands = [1e-6, 1e-5, 1e-3, 1e-2]
steps = 1000
schedule = "cosine"

[optimizer]
name = "lion"
lr = 1e-4
weight_decay = 0.1

[[group]]
names = ["head.weight"]
lr = 1e-3

[[group]]
match = "*.bias"
weight_decay = 0

[severity]
SC103 = "error"

[limits.SC201]
high = 2e-3

[[override]]
role = "embedding"
SC201 = { high = 1e-2 }

[[exception]]
path = "*.pt"
match = "lora_*"
rules = ["SC102"]
reason = "starts at zero"
"""


def written(folder, text, name="scalecheck.toml"):
    path = folder / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def refused(folder, text, name="scalecheck.toml"):
    """What is said of a file, without its path and line."""
    path = written(folder, text, name)
    with pytest.raises(UsageError) as refusal:
        read_config(path)
    assert "\n" not in str(refusal.value)
    place, problem = re.fullmatch(r"([^:]+(?::\d+){0,2}): (.*)", str(refusal.value)).groups()
    assert place.partition(":")[0] == str(path)
    return problem


def test_every_part_is_read(tmp_path):
    found = read_config(written(tmp_path, WHOLE))
    assert found.settings["select"] == ["SC1", "SC201"]
    assert found.settings["bands"] == [1e-6, 1e-5, 1e-3, 1e-2]
    assert found.optimizer == {"name": "lion", "lr": 1e-4, "weight_decay": 0.1}
    assert [(group.globs, group.settings) for group in found.groups] == [
        (("head.weight",), {"lr": 1e-3}),
        (("*.bias",), {"weight_decay": 0}),
    ]
    assert found.severity == {"SC103": "error"}
    assert found.limits == {"SC201": {"high": 2e-3}}
    (override,) = found.overrides
    assert override.where.holds("wte.weight", "embedding")
    assert not override.where.holds("w.weight", "matrix")
    (waiver,) = found.waivers
    assert (waiver.path, waiver.rules, waiver.reason) == ("*.pt", ["SC102"], "starts at zero")


def test_paths_are_relative_to_the_file_that_names_them(tmp_path):
    found = read_config(written(tmp_path, 'baseline = "a/good.json"\nstate = "none"'))
    assert found.settings == {"baseline": str(tmp_path / "a/good.json"), "state": "none"}


def test_pyproject_has_it_in_its_tool_table(tmp_path):
    text = "[tool.scalecheck]\nfail_on = 'never'\n[tool.scalecheck.optimizer]\nlr = 1"
    found = read_config(written(tmp_path, text, "pyproject.toml"))
    assert (found.settings, found.optimizer) == ({"fail_on": "never"}, {"lr": 1})


def test_the_nearest_file_above_is_found(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    top = written(tmp_path, "[tool.scalecheck]", "pyproject.toml")
    assert config.find(inner) == top
    written(tmp_path / "a", "[tool.other]", "pyproject.toml")
    assert config.find(inner) == top
    middle = written(tmp_path / "a", "")
    assert config.find(inner) == middle
    assert config.find(tmp_path) == top


REFUSED = {
    "fail-on = 'never'": "fail-on is not known; did you mean fail_on?",
    "limit = 3": "limit is not known; did you mean limits?",
    "zzz = 3": "zzz is not known; there are select, ignore, fail_on, …",
    "select = 'SC1'": "select: is a list",
    "select = [1]": "select: holds 1, not a word",
    "snr = true": "snr: is a number",
    "bands = [nan, 1]": "bands: holds nan, not a number",
    "steps = 1.5": "steps: is a whole number",
    "optimizer = 3": "optimizer: is a table",
    "[optimizer]\nlr = 'x'": "optimizer.lr: is a number",
    "[optimizer]\nlr = true": "optimizer.lr: is a number",
    "[optimizer]\nname = 3": "optimizer.name: is a word",
    "[group]\nlr = 1": "group: is a list",
    "[[group]]\nlr = 1": "group[1]: needs names = [...] or match = GLOB, one of them",
    "[[group]]\nmatch = '*'\nnames = []": "group[1]: needs names = [...] or match = GLOB, …",
    "[[group]]\nmatch = '*'": "group[1]: has no setting such as lr = 1e-4",
    "[[group]]\nmatch = '*'\nlr = 'x'": "group[1].lr: is a number",
    "[[group]]\nmatch = '*'\nlr = true": "group[1].lr: is a number",
    "[severity]\nSC101 = 'fatal'": "severity.SC101: is error, warning or note",
    "[limits]\nSC101 = 3": "limits.SC101: is a table of limits",
    "[limits.SC201]\nhigh = 'x'": "limits.SC201.high: is a number",
    "[[override]]\nSC201 = {high = 1}": "override[1]: needs match or role",
    "[[override]]\nmatch = '*'": "override[1]: has no limits such as SC201 = { high = 1e-2 }",
    "[[exception]]\nrules = ['SC1']": "exception[1]: needs reason",
    "[[exception]]\nrules = ['SC1']\nreason = 'x'": "exception[1]: needs path, match or role; …",
    "[[exception]]\nmatch = '*'\nreason = 'x'": "exception[1]: needs rules",
    "[[exception]]\nmatc = '*'": "exception[1]: matc is not known; did you mean match?",
    "a = ": "is not TOML: …",
    "a" + ".a" * 5000 + " = 1": "a key has 5001 parts, at most 10",
    "[a" + "  . 'b'" * 20 + "]": "a key has 21 parts, at most 10",
    "a = [" + "{a.b = 1}, " * 60_000 + "]": "there are 50001 dots outside of quotes, at most 50000",
    "a = " + "[" * 5000: "brackets are 101 deep, at most 100",
    "a = " + "{a = " * 5000: "brackets are 101 deep, at most 100",
    "snr = 1" + "0" * 900_000: "a word has 900001 characters, at most 1000",
    "steps = 0x" + "f" * 900_000: "a word has 900002 characters, at most 1000",
    "match = ['" + "*a" * 520 + "']": "match: a glob of 1040 characters, of at most 1024",
    "exclude = [" + "'a*b'," * 1001 + "]": "exclude: more than 1000 globs with a wildcard, …",
    "exclude = ['" + "a" * 1000 + "*'" + (",'" + "a" * 1000 + "*'") * 70 + "]": "exclude: more …",
    "[[override]]\nrole = 'norm'\nSC201 = {high = 1}\n" * 1001: "override[1001]: one of 1001, …",
    "[[exception]]\nmatch = 'a'\nrules = ['SC']\nreason = 'b'\n" * 1001: "exception[1001]: one …",
    "\ud800": "byte 0 is not UTF-8",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:30])
def test_what_does_not_fit_is_said_with_its_place(text, tmp_path):
    said, expected = refused(tmp_path, text), REFUSED[text]
    assert said == expected or (expected.endswith("…") and said.startswith(expected[:-1]))


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UsageError, match="no such file or directory"):
        read_config(tmp_path / "none.toml")


def test_a_pyproject_without_the_table_is_refused_where_it_was_asked_for(tmp_path):
    said = refused(tmp_path, "[tool.other]", "pyproject.toml")
    assert said == "has no table [tool.scalecheck]"


def test_a_file_too_large_to_be_written_by_hand_is_refused(tmp_path):
    said = refused(tmp_path, "#" * (toml.MAX_NBYTES + 1))
    assert said == f"is larger than {toml.MAX_NBYTES} bytes"


LINES = {
    "\n# c\nsnr = 'x'": 3,
    "steps = 1\nzzz = 1": 2,
    "[optimizer]\nname = 'adam'\nlr = 'x'": 3,
    "[[group]]\nmatch = '*'\nlr = 1\n\n[[group]]\nmatch = '*'\nlr = 'x'": 7,
    "[[override]]\nmatch = 'a'\nSC201 = {high = 1}\n[[override]]\nmatch = 'a'": 4,
    "[limits.SC201]\nhigh = 1\nvery_high = 'x'": 3,
    "limits = {SC201 = {high = 'x'}}": 1,
    "[severity]\n\nSC1 = 'x'": 3,
    "snr = 1\nsnr = 1\n": 2,
    'a = """\n\n"""\nb.b.b.b.b.b.b.b.b.b.b = 1': 4,
}


@pytest.mark.parametrize("text", LINES)
@pytest.mark.parametrize("name", ["scalecheck.toml", "pyproject.toml"])
def test_what_is_wrong_is_said_with_its_line(text, name, tmp_path):
    if name == "pyproject.toml":
        if not text.startswith("["):
            text, moved = f"[tool.scalecheck]\n{text}", 1
        else:
            text, moved = re.sub(r"^(\[+)", r"\1tool.scalecheck.", text, flags=re.M), 0
    else:
        moved = 0
    with pytest.raises(UsageError) as refusal:
        read_config(written(tmp_path, text, name))
    plain = text.replace("tool.scalecheck.", "").removeprefix("[tool.scalecheck]\n")
    assert f"{name}:{LINES[plain] + moved}:" in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "[]" * 500_000,
        "a\n" * 500_000,
        '"""' * 333_333,
        '\\"""' * 250_000,
        "'''\"\"\"" * 150_000,
        "#\n" * 500_000,
        "[[a]]\n" * 170_000,
        "a = [" + "{a = 1}," * 120_000 + "]",
        'a = "' + "\\u0041" * 170_000 + '"',
        "[[group]]\nmatch = '*'\nlr = 1\n" * 30_000,
        "select = [" + "'SC'," * 200_000 + "]",
    ],
    ids=lambda text: text[:12],
)
def test_a_megabyte_of_anything_is_read_or_refused_soon(text, tmp_path):
    with at_most(10), suppress(UsageError):
        read_config(written(tmp_path, text))


def test_quoted_dots_and_a_group_a_tensor_are_no_cost(tmp_path):
    """As `translate --emit toml` writes them for a large model."""
    name = ".".join(["model", *"abcdefghijkl"])
    group = f"[[group]]\nnames = ['{name}']\nlr = 0.001\n" * 10_000
    assert len(read_config(written(tmp_path, f"# {name}\n{group}")).groups) == 10_000


@given(st.text("ab*?[]!-", max_size=8), st.text("ab*?[]!-", max_size=4))
def test_a_glob_matches_what_it_does_in_the_standard_library(glob, name):
    assert Globs([glob]).hold(name) == fnmatchcase(name, glob)
    if (only := literal(glob)) is not None:
        assert Globs([glob]).names == {only}
        assert (name == only) == fnmatchcase(name, glob)
    assert literal(escape(name)) == name
