"""A report of inspect read back: what it holds, and what is refused."""

import json
from pathlib import Path

import pytest
from command import scalecheck

from scalecheck.checkpoint.recorded import MAX_NBYTES, is_recorded, recorded
from scalecheck.errors import CheckpointError

SAMPLES = Path(__file__).parent.parent / "sample_ckpts"


@pytest.fixture
def path(tmp_path):
    place = tmp_path / "report.json"
    assert scalecheck(
        "inspect", SAMPLES / "broken.safetensors", "--format", "json", "--output", place
    )
    return place


def test_every_figure_comes_back(path):
    rows = json.loads(path.read_text("utf-8"))["rows"]
    read = recorded(path).rows
    assert list(read) == [row["name"] for row in rows]
    for row in rows:
        scale = read[row["name"]]
        assert list(scale.shape) == row["shape"]
        assert scale.numel == row["numel"]
        for figure in (
            "dtype",
            "rms",
            "std",
            "mean",
            "absmax",
            "min",
            "max",
            "zeros",
            "nan",
            "inf",
        ):
            assert getattr(scale, figure) == row[figure]


def test_the_globs_that_chose_the_tensors_come_back(tmp_path):
    place = tmp_path / "report.json"
    globs = ("--match", "blocks.*", "--match", "tok*", "--exclude", "*.mlp.*")
    options = (*globs, "--format", "json", "--output", place)
    assert scalecheck("inspect", SAMPLES / "tiny-gpt", *options).code == 0
    assert (recorded(place).match, recorded(place).exclude) == (("blocks.*", "tok*"), ("*.mlp.*",))


def test_a_report_is_told_from_a_checkpoint(path):
    assert is_recorded(path)
    assert not is_recorded(SAMPLES / "broken.safetensors")
    assert not is_recorded(SAMPLES / "tiny-gpt")
    assert not is_recorded(SAMPLES / "tiny-gpt-bf16" / "model.safetensors.index.json")


def edited(path, edit):
    report = json.loads(path.read_text("utf-8"))
    edit(report)
    path.write_text(json.dumps(report), "utf-8")
    with pytest.raises(CheckpointError) as refusal:
        recorded(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in refusal.value.problem
    return refusal.value.problem


def put(key, value):
    return lambda report: report["rows"][2].update({key: value})


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (
            lambda r: r.update(schema="scalecheck.diff/1"),
            'is no report of scalecheck: its schema is "scalecheck.diff/1", not ',
        ),
        (lambda r: r.update(schema=None), "is no report of scalecheck: its schema is null, not"),
        (lambda r: r.pop("rows"), "has no rows"),
        (lambda r: r.update(skipped=3), "has no skipped"),
        (lambda r: r["skipped"].append({}), "skipped 1: name is null"),
        (lambda r: r["skipped"].append(r["rows"][0] | {"reason": 3}), "skipped 1: reason is 3"),
        (put("name", 1025 * "x"), "row 3: name is "),
        (lambda r: r["settings"].update(by="layer"), "is not of tensors one by one"),
        (lambda r: r["settings"].update(top=3), "was written with --top"),
        (lambda r: r["settings"].update(columns=["rms"]), "was written with --columns"),
        (lambda r: r["settings"].update(match="x"), "settings: match is no list of globs"),
        (lambda r: r["rows"].append(r["rows"][0]), "row 15: position_ids is there twice"),
        (lambda r: r["rows"].append(3), "row 15: name is nothing"),
        (put("name", 3), "row 3: name is 3"),
        (put("dtype", None), "row 3: dtype is null"),
        (put("shape", 3), "row 3: shape is 3"),
        (put("shape", [-1]), "row 3: shape is a list"),
        (put("shape", [True]), "row 3: shape is a list"),
        (put("shape", [1] * 65), "row 3: shape is a list"),
        (put("rms", "x"), 'row 3: rms is "x"'),
        (put("rms", -1), "row 3: rms is -1"),
        (put("rms", 10**400), "row 3: rms is 1000"),
        (put("mean", True), "row 3: mean is true"),
        (put("zeros", 1.5), "row 3: zeros is 1.5"),
        (put("zeros", -1), "row 3: zeros is -1"),
        (lambda r: r["rows"][2].pop("rms"), "row 3: rms is null"),
    ],
)
def test_what_does_not_fit_is_said_with_its_row(path, edit, said):
    assert edited(path, edit).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is no report of scalecheck: "),
        (b"[]", "is no report of scalecheck: its schema is none, not "),
        (b"{", "is no report of scalecheck: "),
        (b"\xff", "is no report of scalecheck: byte 0 is not UTF-8"),
        (b"[" * 100_000, "is no report of scalecheck: it is nested too deeply"),
        (b'{"a": NaN}', "is no report of scalecheck: NaN is not JSON"),
        (b'{"a": 1, "a": 1}', "is no report of scalecheck: a is there 2 times"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is no report of scalecheck: "),
    ],
)
def test_what_is_no_report_is_refused(tmp_path, text, said):
    place = tmp_path / "x.json"
    place.write_bytes(text)
    with pytest.raises(CheckpointError) as refusal:
        recorded(place)
    assert refusal.value.problem.startswith(said)


def test_a_file_that_is_too_large_is_not_parsed(tmp_path):
    place = tmp_path / "x.json"
    with place.open("wb") as file:
        file.truncate(MAX_NBYTES + 1)
    with pytest.raises(CheckpointError, match="is larger than"):
        recorded(place)
