"""What `translate` says first: a conclusion about tensors, whatever rows are shown, of which every
number is in the summary, the rows, the settings or the source."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from command import scalecheck

from scalecheck import api
from scalecheck.recipes.ranges import ANY, EXTREMES, RANGES

pytestmark = pytest.mark.usefixtures("in_project_folder")

SAMPLES = "sample_ckpts"
TINY = f"{SAMPLES}/tiny-gpt"
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]*[a-z_])")
OPTION = re.compile(r"--[a-z-]+(?: \d\S*)?")

CASES = {
    "state": (f"{SAMPLES}/tiny-gpt.pt", {}),
    "unnamed state": (TINY, {"lr": 3e-6}),
    "cast": (TINY, {"lr": 3e-6, "cast": "bf16"}),
    "narrow": (f"{SAMPLES}/tiny-gpt-bf16", {"lr": 1e-5, "phase": "rl"}),
    "too fast": (f"{SAMPLES}/tiny-gpt-init", {"lr": 5e-2}),
    "no range": (f"{SAMPLES}/tiny-gpt-init", {"lr": 5e-2, "optimizer": "lion"}),
    "relative lr": (f"{SAMPLES}/tiny-gpt-init", {"lr": 1e-3, "optimizer": "lamb"}),
    "bands": (TINY, {"lr": 1e-2, "bands": (1e-5, 1e-4, 3e-3, 1e-2)}),
    "target": (TINY, {"target": 1e-3}),
    "other optimizer": (TINY, {"to": "muon"}),
    "like another": (f"{SAMPLES}/tiny-gpt-init", {"lr": 1e-3, "like": TINY}),
    "schedule": (f"{SAMPLES}/tiny-gpt-init", {"lr": 1e-3, "steps": 100_000, "warmup": 100}),
    "assumed": (TINY, {"lr": 1e-3, "assume": "gpt2"}),
    "adapter": (f"{SAMPLES}/tiny-gpt-lora", {"base": TINY}),
    "adapter alone": (f"{SAMPLES}/tiny-gpt-lora", {}),
}
SHOWN = (
    {"by": "layer"},
    {"by": "family"},
    {"by": "role"},
    {"sort": "rms"},
    {"sort": "name", "top": 1},
    {"top": 3, "reverse": True},
)


def said(report: Any) -> list[str]:
    return [*report.conclusion, report.headline, *report.totals.splitlines(), *report.notes]


@pytest.mark.parametrize("shown", SHOWN, ids=str)
@pytest.mark.parametrize(
    "case", ["unnamed state", "cast", "narrow", "too fast", "bands", "adapter"]
)
def test_grouping_and_sorting_never_change_what_is_said(case, shown):
    path, options = CASES[case]
    plain = api.translate(path, **options)
    report = api.translate(path, **options, **shown)
    hidden = [note for note in said(report) if not note.startswith("not shown: ")]
    assert (hidden, report.tone) == (said(plain), plain.tone)
    assert report.summary == plain.summary


def numbers(value: Any) -> Iterator[float]:
    """Every number of a report as JSON has it, with those in its words and the lengths of lists."""
    if isinstance(value, dict):
        for one in value.values():
            yield from numbers(one)
    elif isinstance(value, list | tuple):
        yield len(value)
        for one in value:
            yield from numbers(one)
    elif isinstance(value, str):
        yield from (float(word.replace(",", "")) for word in NUMBER.findall(value))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def is_among(word: str, known: set[float]) -> bool:
    """Whether a number is one of these, or a share of them in percent, to as many digits."""
    told = float(word.replace(",", ""))
    mantissa = re.sub("e.*", "", word)
    digits = re.sub(r"\D", "", mantissa if "." in mantissa else mantissa.rstrip("0"))
    places = max(len(digits.lstrip("0")), 1)
    return any(
        float(f"{scale * one:.{max(places, 3) - 1}e}") == told
        or float(f"{scale * one:.{places - 1}e}") == told
        for one in known
        for scale in (1, 100)
    )


@pytest.mark.parametrize("case", CASES)
def test_every_number_of_a_sentence_is_in_the_json(case):
    path, options = CASES[case]
    report = api.translate(path, **options)
    fields = json.loads(report.rendered("json"))
    known = {abs(x) for x in numbers({k: v for k, v in fields.items() if k != "notes"})}
    known |= {x for of in (*RANGES, *EXTREMES, ANY) for x in (of.low, of.high, of.recipes)}
    known |= {20, 200, 1000}  # steps ahead and elements that a forecast is of
    sentences = [*report.conclusion, *report.totals.splitlines(), *report.notes]
    for sentence in sentences:
        words = re.sub("|".join(map(re.escape, named(fields))), "", OPTION.sub("", sentence))
        for word in NUMBER.findall(words):
            assert is_among(word, known), (word, sentence)


def named(fields: dict[str, Any]) -> list[str]:
    """The names of the tensors, the longest first."""
    names = {row["name"] for key in ("rows", "factors") for row in fields.get(key, ())}
    return sorted(names, key=len, reverse=True) or ["\0"]


def test_what_rounds_away_is_in_the_first_two_lines_and_its_column_stays():
    done = scalecheck("translate", f"{SAMPLES}/tiny-gpt-bf16", "--lr", 1e-5, columns=80)
    first = " ".join(done.out.splitlines()[:2])
    assert first == (
        "In bf16 at lr 1e-5, 98.6 % of the weights round back to their old value each   step. Keep "
        "fp32 master weights, use stochastic rounding, or raise the lr."
    )
    assert all("unchanged %" in line for line in done.out.splitlines() if line.startswith("name "))


def test_rows_are_the_fastest_first_for_people_and_as_stored_for_machines():
    report = api.translate(f"{SAMPLES}/tiny-gpt-init", lr=1e-3)
    stored = [row["name"] for row in report.rows]
    matrices, others = report.tables
    for table in (matrices, others):
        updates = [row["relative_update"] for row in table.seen]
        known = [update for update in updates if update is not None]
        assert known == sorted(known, reverse=True)
        assert updates[len(known) :] == [None] * (len(updates) - len(known))
    assert stored[0] == "blocks.0.attn.out.weight"
    assert [row["name"] for row in matrices.seen][:2] == [
        "blocks.0.attn.out.weight",
        "blocks.2.mlp.down.weight",
    ]


@pytest.mark.parametrize(
    ("arguments", "headline"),
    [
        (
            ("tiny-gpt.pt", "--lr", "1e-3"),
            "AdamW (optimizer state), lr 1e-3 (--lr), fp32 (stored type), step 1,499 (state)",
        ),
        (
            ("tiny-gpt-init", "--optimizer", "lion", "--lr", "1e-4", "--param-dtype", "bf16"),
            "lion (--optimizer), lr 1e-4 (--lr), bf16 (--param-dtype)",
        ),
        (("tiny-gpt-init", "--target", "0.1%"), "AdamW (default), no lr given, fp32 (stored type)"),
        (
            ("tiny-gpt-init", "--group", "*:lr=1e-3", "--step", "7"),
            "AdamW (default), lr 1e-3 (--group), fp32 (stored type), step 7 (--step)",
        ),
    ],
)
def test_the_headline_says_where_each_setting_came_from(arguments, headline):
    path, *options = arguments
    done = scalecheck("translate", f"{SAMPLES}/{path}", *options, columns=400)
    assert f"{SAMPLES}/{path}: {headline}" in done.out.splitlines()


def test_the_tone_follows_the_worst_place():
    tones = {lr: api.translate(f"{SAMPLES}/tiny-gpt-init", lr=lr).tone for lr in (1e-3, 6e-3, 5e-2)}
    assert tones == {1e-3: "ok", 6e-3: "warning", 5e-2: "error"}
    assert api.translate(f"{SAMPLES}/tiny-gpt-bf16", lr=1e-5, phase="rl").tone == "warning"
    assert api.translate(TINY).tone == ""


def test_reports_from_python_name_keywords():
    report = api.translate(TINY, lr=1e-3)
    assert "Pass phase to judge by one." in report.conclusion[-1]
    assert "--" not in " ".join([*report.conclusion, report.totals, *report.notes])


def test_names_are_marked_by_where_their_update_lies():
    report = api.translate(f"{SAMPLES}/tiny-gpt-init", lr=5e-2)
    matrices, others = report.tables
    marks = {row["name"]: matrices.mark(row, "name") for row in matrices.seen}
    assert marks["blocks.0.attn.out.weight"] == "error"
    assert {others.mark(row, "rms") for row in others.seen} == {""}
    inside = api.translate(f"{SAMPLES}/tiny-gpt-init", lr=1e-3).tables[0]
    strong = [row["name"] for row in inside.seen if inside.mark(row, "name") == "strong"]
    assert strong == ["blocks.0.attn.out.weight", "blocks.3.mlp.up.weight"]


def test_a_small_step_of_half_an_adapter_is_not_judged():
    """As `check` does not judge it: how small a step of A may be depends on its width."""
    path = f"{SAMPLES}/tiny-gpt-lora"
    report = api.translate(path, lr=1e-7)
    assert "below" not in " ".join(report.conclusion)
    assert report.tone not in ("warning", "error")
    assert api.check(path, lr=1e-7, select=("SC201", "SC202")).findings == []
