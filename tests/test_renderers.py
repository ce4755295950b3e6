"""Every renderer, whatever it is called: it keeps the contract, shows all that a report holds, and
what a file says never breaks out of its place. A parser that knows nothing of how a format was
written reads the findings back, where there is one."""

import csv
import inspect
import io
import json
import os
import re
from collections import Counter
from dataclasses import replace

import golden
import pytest
from check_readers import READERS, put_in
from check_reports import DEAD, IGNORED_DEAD, INF, NAN, OFF, WHOLE, report, reviewed
from hypothesis import given
from hypothesis import strategies as st

from scalecheck import registry
from scalecheck.report.formatting import printable
from scalecheck.report.renderers.contract import Renderer
from scalecheck.report.report import Column, Layout, Report, Table, renderers_for
from scalecheck.rules.judging.manual import statistics

RENDERERS = registry.names("renderer")
KINDS = ("inspect", "translate", "diff", "simulate", "settings", "statistics", "check")
# A report of tables is the same to a renderer, whichever command made it.
RENDERED = [
    (name, kind) for kind in ("inspect", "statistics", "check") for name in renderers_for(kind)
]
GOLDEN = sorted(path.suffix[1:] for path in golden.FOLDER.glob("check.*"))

HOSTILE = {
    "newlines": "w\r\n::error file=a::b\nx",
    "workflow command": "::stop-commands::pause",
    "bars": r"a|b\|c||",
    "address": "https://example.org/a_b @octocat #12 :tada: www.example.org me@example.org",
    "percent": "%0A%25%3A%2C 100%",
    "cdata": "]]><failure/><![CDATA[",
    "markup": "<&\"'> <b>&lt;",
    "controls": "".join(map(chr, range(32))) + "\x7f\x85",
    "escapes": "\x1b[31mred\x1b]0;title\x07",
    "bytes that are no UTF-8": os.fsdecode(b"w\xff\xfe"),
    "surrogates": "\udfff\ud800",
    "direction": "a\u202eb\u2066c\ufeff\ufffe\uffff",
    "markdown": "`a` ``b`` **c** _d_ [e](f) ~g~ #h",
    "a link": "[x](javascript:alert(1))",
    "placeholders": "{0} {{1}} }{",
    "long": "block." * 333 + "ww",
    "letters": "重み.größe.ŵ",
    "spaces": " w ",
    "backslashes": r"\n\\ \u1234 c:\x",
    "formula": "=1+1",
}


def tables(kind, *names, words="every tensor"):
    """A report of tables: a row a name, with a column of each unit that a figure can have."""
    columns = [
        Column("name", "name", "text", ""),
        Column("rms", "rms", "number", ""),
        Column("numel", "numel", "count", ""),
        Column("share", "share %", "percent", ""),
        Column("shape", "shape", "shape", ""),
        Column("flags", "flags", "words", ""),
        Column("bar", "bar", "bar", ""),
        Column("reason", "reason", "sentence", ""),
    ]
    figures = {
        "rms": 0.0625,
        "bar": 0.0625,
        "numel": 48,
        "share": 0.25,
        "shape": [4, 12],
        "flags": ["zeros"],
    }
    rows = [{"name": name, "reason": words, **figures} for name in names]
    rows[0] |= {"rms": None, "bar": None, "share": None, "shape": None, "flags": []}
    return Report(
        kind,
        [Table("rows", columns, columns, rows)],
        {"path": "runs/tiny-gpt"},
        {},
        skipped=[{"name": names[-1], "dtype": "I64", "shape": [3], "reason": words}],
        headline="runs/tiny-gpt: safetensors",
    )


def sample(kind, words="w"):
    """A report of the kind; the words stand wherever a file can put some."""
    if kind not in ("check", "statistics"):
        return tables(kind, "w", words, words=words)
    hostile = replace(DEAD, where=words, group=words, message=f"in {words}.")
    checked = report(
        hostile,
        WHOLE,
        NAN,
        path=words if words.isascii() else "runs/tiny-gpt",
        ignored=[(hostile, words)],
        not_run={"SC105": words},
        skipped=[{"name": words, "dtype": "I64", "reason": words}],
        notes=[words],
    )
    return checked if kind == "check" else statistics([checked])


def controls(text):
    text.encode("utf-8")
    return [c for c in text if not c.isprintable()]


@pytest.mark.parametrize("name", RENDERERS)
def test_a_renderer_keeps_the_contract(name):
    module = registry.load("renderer", name)
    assert isinstance(module, Renderer)
    assert module.__doc__
    for function in ("renders", "render"):
        own = inspect.signature(getattr(module, function))
        _, *agreed = inspect.signature(getattr(Renderer, function)).parameters.values()
        assert [*own.parameters.values()] == agreed
    assert any(module.renders(kind) for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RENDERERS)
def test_a_report_takes_the_formats_that_render_it_and_no_other(name, kind):
    if name in renderers_for(kind):
        assert sample(kind).rendered(name)
    else:
        with pytest.raises(KeyError, match=f"no renderer of {kind} is called {name}: csv, "):
            sample(kind).rendered(name)


@pytest.mark.parametrize("kind", KINDS)
def test_every_report_shows_itself_in_a_terminal_and_a_notebook(kind):
    own = "text" if kind == "check" else "table"
    assert str(sample(kind)) == sample(kind).rendered(own)
    assert sample(kind)._repr_markdown_() == sample(kind).rendered("markdown")


@pytest.mark.parametrize("name", renderers_for("check"))
def test_every_finding_is_in_what_is_rendered(name):
    text = report(NAN, DEAD).rendered(name)
    for finding in (NAN, DEAD):
        for words in (finding.rule, finding.where, finding.message):
            assert words in text


@pytest.mark.parametrize(("name", "kind"), [pair for pair in RENDERED if pair[1] == "inspect"])
def test_every_row_is_in_what_is_rendered(name, kind):
    text = tables(kind, "a.weight", "b.weight").rendered(name)
    for words in ("a.weight", "b.weight", "every tensor", "0.06250" * (name != "json"), "48"):
        assert words.rstrip("0") in text


@pytest.mark.parametrize(("name", "kind"), RENDERED)
def test_the_same_report_is_the_same_bytes(name, kind):
    assert sample(kind).rendered(name) == sample(kind).rendered(name)


@pytest.mark.parametrize("is_quiet", [False, True])
@pytest.mark.parametrize(("name", "kind"), RENDERED)
@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_words_of_a_file_stay_in_their_place(name, kind, words, is_quiet):
    """The text has the lines, and the tabs if it has some, that it has with a name of one letter,
    and no other control character; no line but GitHub's own is a command in the log of a CI."""
    module, layout = registry.load("renderer", name), Layout(quiet=is_quiet)
    text = module.render(sample(kind, words), layout)
    assert controls(text) == controls(module.render(sample(kind), layout))
    lines = text.split("\n")
    commands = [line for line in lines if line.startswith(("::", "##["))]
    assert len(commands) == (len(lines) if name == "github" else 0)


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_rows_are_read_back_from_json_and_csv(words):
    made = tables("inspect", "a.weight", words)
    assert [row["name"] for row in json.loads(made.rendered("json"))["rows"]] == ["a.weight", words]
    first, second, skipped = csv.DictReader(io.StringIO(made.rendered("csv")))
    in_cell = printable(f"'{words}" if words[0] in "=+-@" else words)  # no formula in a spreadsheet
    assert (second["name"], second["rms"], second["shape"]) == (in_cell, "0.0625", "4x12")
    assert (first["name"], first["rms"], first["shape"]) == ("a.weight", "", "")
    assert (skipped["name"], skipped["flags"]) == (in_cell, "skipped: every tensor")


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_findings_are_read_back_from_csv(words):
    made = report(replace(DEAD, where=words), WHOLE, ignored=[(NAN, "known")])
    dead, whole = csv.DictReader(io.StringIO(made.rendered("csv")))
    assert dead == {
        "rule": "SC102",
        "severity": "warning",
        "where": printable(f"'{words}" if words[0] in "=+-@" else words),
        "group": DEAD.group,
        "message": DEAD.message,
        "value": repr(5 / 48),
        "limit": repr(1 / 48),
    }
    assert (whole["rule"], whole["where"], whole["value"]) == ("SC401", "", "")


def test_csv_without_findings_is_the_names_of_the_fields():
    assert report().rendered("csv") == "rule,severity,where,group,message,value,limit"


def assert_read_back(format, *findings, path="runs/tiny-gpt", ignored=(), **more):
    text = report(*findings, path=path, ignored=ignored, **more).rendered(format)
    assert {*controls(text)} <= {"\n"}
    read = READERS[format](text, path)
    expected = put_in(*findings)
    if format in ("junit", "text", "github"):  # by rule, or rule and family
        assert Counter(read) == Counter(expected)
    else:
        assert read == expected


@pytest.mark.parametrize("format", READERS)
@pytest.mark.parametrize("fail_on", ["error", "warning", "note", "never"])
@pytest.mark.parametrize(
    "findings",
    [
        (),
        (NAN,),
        (OFF,),
        (WHOLE,),
        (WHOLE, NAN, OFF, INF, DEAD),
        (NAN, NAN),
        (replace(DEAD, value=0.5, limit=None), replace(DEAD, value=None, limit=0.5)),
        (replace(WHOLE, severity="warning"),),
        (NAN, replace(DEAD, severity="note")),
    ],
    ids=str,
)
def test_code_severity_tensor_and_message_are_read_back(format, findings, fail_on):
    ignored = [(IGNORED_DEAD, "padding")]
    assert_read_back(format, *findings, fail_on=fail_on)
    assert_read_back(format, *findings, fail_on=fail_on, ignored=ignored)


@pytest.mark.parametrize("format", READERS)
@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_hostile_words_are_read_back_and_stay_on_their_line(format, words):
    hostile = replace(DEAD, where=words, group=words)
    assert_read_back(format, hostile, WHOLE)
    assert_read_back(
        format,
        replace(NAN, message=f"in {words}."),
        ignored=[(hostile, words)],
        not_run={"SC105": words},
        skipped=[{"name": words, "dtype": "I64", "reason": words}],
        notes=[words],
    )


LINKS = [
    "https://a.example",
    "www.a.example",
    "@octocat",
    "o/r#1",
    "GH-1",
    "a@b.example",
    ":x:",
    "$x$",
]


@pytest.mark.parametrize("words", LINKS)
def test_markdown_links_and_mentions_nothing_that_a_file_names(words):
    """GitHub looks for links, mentions and emojis outside of code spans, whatever is escaped."""
    for kind in ("inspect", "check"):
        text = sample(kind, f"a {words}|{words} `{words}`").rendered("markdown")
        assert words in text
        assert words not in re.sub(r"(?<!\\)(`+)(?!`).*?(?<!`)\1(?!`)", "", text)


@pytest.mark.parametrize("format", READERS)
@pytest.mark.parametrize(
    "path", ["/a/b.pt", "a:b,c=d/100%::e", "a b/é&<>\"'", "w\r\n\x1b[1m", os.fsdecode(b"\xff/w")]
)
def test_a_hostile_path_is_read_back(format, path):
    assert_read_back(format, NAN, DEAD, path=path)


@pytest.mark.parametrize("format", READERS)
@given(st.text(min_size=1, max_size=40))
def test_any_name_is_read_back(format, name):
    assert_read_back(format, replace(NAN, where=name, group=name), replace(DEAD, where=name))


@pytest.mark.parametrize("format", GOLDEN)
def test_a_reviewed_check_reads_as_it_did(format):
    golden.check(f"check.{format}", reviewed().rendered(format) + "\n")
