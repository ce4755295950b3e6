"""No word of a file is a command to what keeps a log: the runners of CIs, and who listens to them.

What each of them takes for one is written here as their sources or manuals have it.
"""

import ast
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from command import scalecheck
from safetensors.numpy import save_file

import scalecheck as library
from scalecheck.report.formatting import inert
from scalecheck.report.report import renderers_for

ACTIVE = {
    "GitHub": r"^\s*::",  # ActionCommand.TryParseV2 trims the line
    "GitHub, first form": r"##\[",  # ActionCommand.TryParse looks anywhere
    "Azure": r"##(vso)?\[",
    "TeamCity": r"##teamcity\[",
    "GitLab": r"section_(start|end):",
    "Travis": r"travis_(fold|time):",
    "Buildkite": r"^(---|\+\+\+|~~~|\^\^\^ \+\+\+)(?![- ]*$)",  # a table's rule has no title
    "buildbots": r"^\s*@@@",
    "Nix": r"^\s*@nix ",
    "CTest": r"</?(Dart|CTest)\w+",
    "a terminal": r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]",
}
NAMES = (
    "::error title=spoofed::all is well",
    "  ::add-mask::a",
    "\u2003::warning::x",
    "w\n::error::x",
    "w\r::error::x",
    "\u200b::notice::x",
    "x ##[add-mask]secret",
    "#\u00ad#[group]x",
    "#\ufe0f#[group]x",
    "###[error]x",
    "a##vso[task.setvariable variable=PATH]/tmp",
    "##VSO[task.complete result=Succeeded;]ok",
    "##teamcity[buildStatus status='SUCCESS' text='ok']",
    "section_start:1560896352:a[collapsed=true]\r\x1b[0Kb",
    "x section_end:1:a",
    "travis_fold:start:a",
    "--- title",
    "+++ title",
    "~~~ title",
    "^^^ +++",
    "---",
    "@@@STEP_FAILURE@@@",
    '@nix {"action":"setPhase"}',
    '<CTestMeasurementFile type="file" name="x">/etc/passwd</CTestMeasurementFile>',
    '<DartMeasurement name="x" type="numeric/double">1</DartMeasurement>',
    "\x1b]0;title\x07",
    "a\u202eb",
    # Wrapped, a line begins with what stood in its middle.
    f"{'a' * 50} ::error::b {'c' * 50} ::error::d {'e' * 60} +++ f {'g' * 50} ::error::",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint with such names, its twin, a configuration, and paths of such words."""
    folder = tmp_path_factory.mktemp("##[group]x")
    weights = {name: np.full((8, 8), np.nan if i % 2 else i, "f4") for i, name in enumerate(NAMES)}
    save_file(weights, folder / "model.safetensors", metadata={"::error::x": "##vso[task.x]"})
    save_file(weights | {"w ##[b]": np.ones((8, 8), "f4")}, folder / "::error::x.safetensors")
    entries = "".join(
        f"[[exception]]\nmatch = {json.dumps(f'{name[:8]}*')}\nrules = ['SC101']\n"
        f"reason = {json.dumps(name.replace(chr(0x7F), ''))}\n"
        for name in NAMES
    )
    (folder / "scalecheck.toml").write_text(entries, "utf-8")
    return folder


def active(text, mine="(?!)"):
    """The lines that somebody takes for a command, but for those that begin with mine."""
    return [
        (runner, line)
        for line in re.split(r"\r\n|\r|\n", text)
        for runner, command in ACTIVE.items()
        if re.search(command, re.sub(f"^{mine}", "", line), re.IGNORECASE)
    ]


def commands(folder):
    """Every command in every format of its reports, and what fails."""
    one, other = folder / "model.safetensors", folder / "::error::x.safetensors"
    asked = {
        "inspect": [("inspect", one)],
        "translate": [
            ("translate", one, "--lr", "1e-3"),
            ("translate", one, "--lr", 1, "--by", "role"),
        ],
        "diff": [("diff", one, other), ("diff", other, one)],
        "history": [("history", one, other), ("history", one, other, "--by", "tensor")],
        "check": [
            ("check", one),
            ("check", other, "--lr", "1e-3", "--config", folder / "scalecheck.toml"),
        ],
        "simulate": [("simulate", "--steps", 20, "--size", 64)],
    }
    for command, every in asked.items():
        for arguments in every:
            for form in renderers_for(command):
                yield (*arguments, "--format", form)
                yield (*arguments, "--format", form, "--quiet")
    yield ("check", one, "--statistics")
    yield ("check", one, "--show-settings", "--config", folder / "scalecheck.toml")
    for form in ("torch", "json", "toml"):
        yield ("translate", other, "--lr", "1e-3", "--target", "1e-3", "--emit", form)
    for name in NAMES:
        if "\0" not in name:
            yield ("--debug", "inspect", one, "--match", name)
            yield ("inspect", folder / name.replace("/", ""))
            yield ("inspect", one, "--sort", name)
            yield ("check", one, "--select", name)
            yield ("inspect", one, name)
            yield (name,)


@pytest.mark.parametrize("columns", [None, 40])
def test_no_line_of_any_command_is_a_command_to_a_runner(folder, columns, elsewhere):
    count = 0
    for arguments in commands(folder):
        done = scalecheck(*arguments, columns=columns)
        mine = "::(error|warning|notice) file=[^:]*::" if "github" in arguments else "(?!)"
        assert not active(done.out, mine), arguments
        assert not active(done.err), arguments
        assert done.out or done.err
        count += 1
    assert count > 200


def test_github_gets_a_command_for_each_kind_of_finding(folder, elsewhere):
    path = folder / "model.safetensors"
    commands = scalecheck("check", path, "--format", "github").out.splitlines()
    heads = [line.split(" ")[0] for line in commands]
    assert {*heads[:-1]} == {"::error", "::warning"}
    assert heads[-1] == "::notice"
    assert len(heads) < len(NAMES) / 3


def test_a_file_has_what_the_terminal_has(folder, tmp_path):
    """What is written to a file is shown by another program, or is the log: /dev/stdout."""
    path = folder / "model.safetensors"
    assert scalecheck("inspect", path, "--output", tmp_path / "report").code == 0
    assert (tmp_path / "report").read_text() == scalecheck("inspect", path).out
    report = library.inspect(path)
    assert not active(str(report) + report._repr_markdown_())


def test_strings_of_a_language_hold_what_they_held(folder, elsewhere):
    path = folder / "model.safetensors"
    rows = json.loads(scalecheck("inspect", path, "--format", "json").out)["rows"]
    assert {row["name"] for row in rows} == {*NAMES}
    emitted = {
        form: scalecheck("translate", path, "--lr", 1, "--target", "1e-3", "--emit", form).out
        for form in ("json", "toml", "torch")
    }
    of_torch = {}
    exec(emitted["torch"], of_torch)
    for groups in (
        json.loads(emitted["json"])["groups"],
        tomllib.loads(emitted["toml"])["group"],
        of_torch["GROUPS"],
    ):
        assert {name for group in groups for name in group["names"]} == {*NAMES}


@pytest.mark.parametrize("name", NAMES[:-1])
def test_what_is_escaped_is_seen_and_escaped_once(name):
    assert inert(f"{name} x") != f"{name} x"
    assert inert(inert(name)) == inert(name)


def test_everything_that_is_printed_is_escaped_where_it_is_printed():
    """No other place prints, and what is printed there is ours or is escaped."""
    package = Path(library.__file__).parent
    printed = []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            words = ast.unparse(node) if isinstance(node, ast.Call) else ""
            if re.match(r"print\(|sys\.std\w+\.write\(|traceback\.print|warnings\.warn", words):
                printed.append((str(path.relative_to(package)), words.partition(", file=")[0]))
    assert sorted(printed) == [
        ("__main__.py", "print('scalecheck: interrupted'"),
        ("__main__.py", "print(f'scalecheck: {problem}: {words}'"),
        ("cli/main.py", "print(f'scalecheck {__version__}')"),
        ("cli/main.py", "print(inert(traceback.format_exc())"),
        ("cli/main.py", "print(printable(f'  help: {help}')"),
        ("cli/main.py", "print(printable(f'scalecheck: {shortened(message, MAX_MESSAGE)}')"),
        ("cli/output.py", "sys.stdout.write(text)"),
    ]
