"""`scalecheck simulate` as a user meets it."""

import csv
import io
import json
import math
import subprocess
from functools import cache, partial

import golden
import pytest
from command import scalecheck
from process import on_terminal, shown

import scalecheck as api
from scalecheck import registry

LAWS = ["gradient scale", "update size", "weight scale", "reparameterization", "many layers"]
SHORT = ("--steps", 60, "--size", 1024)
TINY = ("--steps", 5, "--size", 32)


@cache
def simulated(*arguments):
    """Exit code and JSON report."""
    done = scalecheck("simulate", *arguments, "--format", "json")
    assert done.err == ""
    return done.code, json.loads(done.out)


def broken(report):
    return [row for row in report["claims"] if not row["holds"] and not row["contrast"]]


def test_the_laws_of_adam_are_as_reviewed():
    """At 80 columns they are in the README."""
    done = scalecheck("simulate", "--k", 10, columns=160)
    assert (done.code, done.err) == (0, "")
    golden.check("simulate-adam-160.txt", done.out, golden.is_alike)


def test_the_laws_of_sgd_are_as_reviewed():
    done = scalecheck("simulate", "--optimizer", "sgd", "--k", 10, columns=80)
    assert done.code == 0
    golden.check("simulate-sgd-80.txt", done.out, golden.is_alike)


@pytest.mark.parametrize("format", ["csv", "markdown"])
def test_other_formats_are_as_reviewed(format):
    done = scalecheck("simulate", *SHORT, "--optimizer", "adamw", "--format", format)
    assert done.code == 0
    digits = 1e-5 if format == "csv" else golden.LAST_DIGIT
    golden.check(f"simulate-adamw.{format}", done.out, partial(golden.is_alike, last_digit=digits))


def test_every_claim_has_the_fields_of_the_contract():
    code, report = simulated("--k", 10)
    assert (code, report["schema"]) == (0, "scalecheck.simulate/1")
    assert list(dict.fromkeys(row["law"] for row in report["claims"])) == LAWS
    for row in report["claims"]:
        assert {"claim", "optimizer", "k", "expected", "measured", "tolerance", "holds"} <= set(row)
        if row["relation"] == "within":
            is_near = abs(row["measured"] - row["expected"]) <= row["tolerance"]
        else:
            is_near = row["measured"] > row["expected"]
        assert row["holds"] == is_near
        assert (row["reason"] is None) == row["holds"]
    assert [row["step"] for row in report["replay"]] == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    assert all(row["holds"] for row in report["replay"])
    assert {"step", "update_rms_replayed", "update_rms_expected"} <= set(report["replay"][0])


def test_the_four_cases_change_as_the_idea_says():
    _, report = simulated("--k", 10)
    assert [(row["weight_rms"], row["lr"]) for row in report["cases"]] == [
        (1.0, 1e-3),
        (10.0, 1e-2),
        (10.0, 1e-3),
        (1.0, 1e-4),
    ]
    assert [row["nominal"] for row in report["cases"]] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])
    assert [row["first"] for row in report["cases"]] == pytest.approx(
        [1e-3, 1e-3, 1e-4, 1e-4], rel=1e-6
    )


def test_layers_are_moved_alike_and_by_sgd_a_million_times_apart():
    _, report = simulated("--k", 10)
    own, sgd = ([row[key] for row in report["layers"]] for key in ("update_rms", "update_rms_sgd"))
    assert max(own) / min(own) == pytest.approx(1, abs=1e-3)
    assert max(sgd) / min(sgd) == pytest.approx(1e6)


@pytest.mark.parametrize(
    ("arguments", "laws", "reason"),
    [
        (["--k", 1e-9], {"gradient scale"}, "eps 1e-08 is 10 of rms(k·g)"),
        (["--eps", 1e-3, "--k", 1e-3], {"gradient scale", "many layers"}, "eps 0.001"),
        (["--weight-decay", 0.1], {"gradient scale", "update size", "many layers"}, "coupled L2"),
        (["--clip", 0.01, "--optimizer", "sgd"], {"gradient scale"}, "clip 0.01"),
        (["--clip", 0.01, "--grad-scale", 1e-4], {"gradient scale"}, "clip 0.01"),
        (["--dtype", "float16"], {"gradient scale", "update size"}, "in float16 for |g| up to"),
        (["--dtype", "bfloat16", "--lr", 1e-5], {"weight scale"}, "bfloat16 rounds a weight"),
        (["--dtype", "bfloat16"], {"update size"}, "v cannot decay"),
    ],
)
def test_a_law_that_breaks_has_its_reason_and_fails_the_command(arguments, laws, reason):
    code, report = simulated(*arguments)
    assert code == 1
    found = broken(report)
    assert laws <= {row["law"] for row in found}
    assert any(reason in row["reason"] for row in found), [row["reason"] for row in found]
    assert not any("no reason" in row["reason"] for row in found)


@pytest.mark.parametrize("optimizer", registry.names("optimizer"))
def test_the_laws_of_every_optimizer_hold_at_another_k(optimizer):
    # Their own eps of 1e-6 counts beside gradients 50 times smaller, as the law says.
    eps = ("--eps", 1e-8) if optimizer in ("adamw_hf", "adopt") else ()
    code, report = simulated("--optimizer", optimizer, "--k", 0.02, *eps, *SHORT)
    assert (code, broken(report)) == (0, [])


def test_all_optimizers_have_a_row_each():
    code, report = simulated("--optimizer", "all", *SHORT)
    assert code == 0
    rows = {row["optimizer"]: row for row in report["optimizers"]}
    assert list(rows) == registry.names("optimizer")
    assert {name: row["p"] for name, row in rows.items() if row["p"] != 1} == {
        "adabelief": None,
        "adadelta": None,
        "adafactor": 0,
        "adafactor_hf": 0,
        "adapnm": None,
        "dadapt_adagrad": None,
        "lamb": 0,
        "lars": 0,
        "padam": None,
        "radam": None,
        "sgd": 2,
        "sgdw": 2,
        "sophia": None,
        "yogi": None,
    }
    for row in rows.values():
        if row["p"] is not None:
            assert row["deviation"] < (2e-2 if row["optimizer"] == "muon" else 1e-9)
            assert row["deviation_wrong_p"] > 1e-2
    assert rows["sgd"]["same_updates"] == pytest.approx(9)


def test_a_setting_reaches_all_optimizers_that_have_it():
    _, report = simulated("--optimizer", "all", "--beta1", 0.0, *SHORT)
    rows = {row["optimizer"]: row for row in report["optimizers"]}
    assert rows["adam"]["update_rms_noise"] == pytest.approx(1, rel=0.05)
    assert rows["lion"]["update_rms_noise"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "regions"),
    [
        ([], ["eps shoulder", "plateau"]),
        (["--optimizer", "sgd"], ["proportional"]),
        (["--dtype", "float16", "--beta2", 0.99], ["underflow cliff", "plateau", "overflow"]),
    ],
)
def test_a_sweep_marks_what_rules_the_update(arguments, regions):
    _, report = simulated("--sweep", *arguments)
    rows = report["sweep"]
    assert [row["k"] for row in rows] == pytest.approx([10.0**e for e in range(-12, 13)])
    assert list(dict.fromkeys(row["region"] for row in rows)) == regions


def test_a_sweep_is_drawn_as_reviewed():
    done = scalecheck("simulate", "--sweep", columns=80)
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 80
    golden.check("simulate-sweep-80.txt", done.out, golden.is_alike)


@pytest.mark.parametrize("columns", [80, 100, 160])
@pytest.mark.parametrize("arguments", [[], ["--optimizer", "sgd"], ["--dtype", "float16"]])
def test_no_line_is_wider_than_the_terminal(arguments, columns):
    done = scalecheck("simulate", *arguments, *TINY, columns=columns)
    assert max(map(len, done.out.splitlines())) <= columns


def test_a_stream_without_unicode_gets_none():
    done = scalecheck("simulate", *TINY, encoding="ascii")
    assert done.out.isascii()
    assert "\\" not in done.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--optimizer", "admw"], "--optimizer admw: not known; did you mean adamw?"),
        (["--beta1", 1.5], "--optimizer adam: beta1 1.5 is outside [0, 1)"),
        (["--beta2", "nan"], "--optimizer adam: beta2 nan is outside [0, 1)"),
        (["--eps", -1], "--optimizer adam: eps -1.0 is not a finite number from 0 up"),
        (["--momentum", 0.9], "--optimizer adam: has no momentum; it has beta1, beta2, eps, "),
        (["--steps", 0], "--steps 0: a number from 1 to 10000000"),
        (["--size", 0], "--size 0: a number from 1 to 10000000"),
        (["--k", 0], "--k 0.0: a number from 1e-100 to 1e+100"),
        (["--k", -1], "--k -1.0: a number from 1e-100 to 1e+100"),
        (["--k", 1], "--k 1: shows nothing; a factor other than 1"),
        (["--k", "nan"], "--k nan: a number from 1e-100 to 1e+100"),
        (["--lr", 0], "--lr 0.0: a number from 1e-100 to 1e+100"),
        (["--clip", 0], "--clip 0.0: a number from 1e-100 to 1e+100"),
        (["--seed", -1], "--seed -1: a number from 0 up"),
        (["--snr", "inf"], "--snr inf: a finite number"),
        (["--tolerance", 0], "--tolerance 0.0: a number between 0 and 1"),
        (["--noise", "sparse"], "--noise sparse: needs its density, such as sparse:0.01"),
        (["--noise", "sparse:2"], "--noise sparse:2: density 2.0 is outside (0, 1]"),
        (
            ["--noise", "ar1:x"],
            "--noise ar1:x: needs its correlation from step to step, such as ar1:0.9",
        ),
        (["--noise", "gaussian:1"], "--noise gaussian:1: gaussian takes no parameter"),
        (["--noise", "pink"], "--noise pink: not known; there are gaussian, student-t, "),
        (["--dtype", "float8"], "--dtype float8: not known; did you mean float"),
        (["--sweep", "--optimizer", "all"], "--sweep: of one optimizer, not of all"),
    ],
)
def test_wrong_usage_is_one_line(arguments, words):
    done = scalecheck("simulate", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"scalecheck: {words}")
    assert done.err.count("\n") == 1


def test_python_has_the_report_and_the_expected_update():
    report = api.simulate("adamw", k=3.0, steps=20, size=256, eps=1e-6, amsgrad=False)
    assert report.kind == "simulate"
    assert "reparameterization" in {row["law"] for row in report.rows}
    assert api.update_rms(0.9, 0.999) == pytest.approx(0.2293, abs=5e-5)
    with pytest.raises(api.UsageError, match="unknown_setting"):
        api.simulate("adam", unknown_setting=1)


def test_the_same_seed_gives_the_same_bytes():
    first, second = (scalecheck("simulate", *TINY, "--format", "json").out for _ in range(2))
    assert first == second
    other = scalecheck("simulate", *TINY, "--format", "json", "--seed", 1).out
    assert json.loads(other)["replay"] != json.loads(first)["replay"]


def test_csv_has_the_claims():
    done = scalecheck("simulate", *TINY, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert rows[0]["law"] == "gradient scale"
    assert all(math.isfinite(float(row["measured"])) for row in rows)


def test_a_terminal_shows_progress_past_a_second():
    arguments = ("simulate", "--steps", 8000, "--size", 16)
    with on_terminal(*arguments, stdout=subprocess.DEVNULL) as (_, end):
        assert b"steps" in shown(end, until=b"/8000")


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_a_short_sweep_knows_the_plateau(steps):
    code, report = simulated("--sweep", "--steps", steps)
    assert code == 0
    assert {row["region"] for row in report["sweep"] if 0.1 <= row["k"] <= 10} == {"plateau"}


def test_weights_that_their_type_rounds_to_zero_break_a_law():
    done = scalecheck("simulate", "--dtype", "float16", "--k", 1e-10, "--steps", 5)
    assert (done.code, done.err) == (1, "")
