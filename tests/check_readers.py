"""Readers of what a check is rendered to, by parsers that know nothing of how it was written."""

import html
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

import jsonschema

from scalecheck.report.finding import Finding
from scalecheck.report.formatting import printable as visible

SCHEMA = Path(__file__).parent / "schemas" / "sarif-schema-2.1.0.json"
SARIF = jsonschema.Draft4Validator(json.loads(SCHEMA.read_text("utf-8")))


@dataclass(frozen=True)
class Read:
    """A finding as a format gives it back. `told` has the tensor's name before the message where
    the format does not say where the one ends."""

    rule: str
    severity: str
    told: str


def put_in(*findings):
    """The findings as every format should give them back."""
    return [Read(f.rule, f.severity, told(f)) for f in findings]


def told(finding):
    where = f"{finding.where}: " if finding.where else ""
    return visible(f"{where}{finding.message}")


LINE = re.compile(
    r"(?P<where>(?:.*?: )??)(?P<severity>error|warning|note)\[(?P<rule>SC\d{3})\] [a-z-]+: "
    r"(?P<message>.*)"
)


def read_line(line):
    """A finding of the concise format, the path taken off."""
    found = LINE.fullmatch(line)
    return Read(found["rule"], found["severity"], found["where"] + found["message"])


def read_concise(text, path):
    begin = f"{visible(path)}: "
    lines = text.split("\n")
    assert all(line.startswith(begin) for line in lines)
    return [read_line(line.removeprefix(begin)) for line in lines[:-1]]


def read_group(rule, severity, head, lines):
    """The findings of a group: one with its message in the head, or each on a line."""
    if not re.fullmatch("[0-9]+ tensors", head):
        return [Read(rule, severity, ": ".join([*lines, head]))]
    return [Read(rule, severity, line) for line in lines]


def read_text(text, path):
    verdict, *groups, _ = text.split("\n\n")
    assert verdict.startswith(f"{visible(path)}: ")
    read = []
    for group in groups:
        head, *lines = group.split("\n")
        found = LINE.fullmatch(head)
        assert lines[-1].startswith("  help: ")
        names = [line.removeprefix("  ") for line in lines[:-1]]
        read += read_group(found["rule"], found["severity"], found["message"], names)
    return read


def read_github(text, path):
    """As the runner reads it: properties to the next two colons, then what was escaped."""
    read = []
    for line in text.split("\n"):
        command, properties, message = re.fullmatch(r"::(\w+) (.*?)::(.*)", line).groups()
        fields = dict(pair.split("=", 1) for pair in properties.split(","))
        fields = {name: percent(value, ":,\r\n%") for name, value in fields.items()}
        assert fields["file"] == visible(path)
        assert set(fields) == {"file", "title"}
        if fields["title"] != "scalecheck":  # its own notice with the conclusion
            rule = re.fullmatch(r"(?:error|warning|note)\[(SC\d{3})\] [a-z-]+", fields["title"])[1]
            severity = {"notice": "note"}.get(command, command)
            head, *lines = percent(message, "\r\n%").split("\n")
            assert lines[-1].startswith("help: ")
            read += read_group(rule, severity, head, lines[:-1])
    return read


def percent(words, escaped):
    for sign in escaped:  # the percent sign last, as the runner has it
        words = words.replace(f"%{ord(sign):02X}", sign)
    return words


def read_junit(text, path):
    (suite,) = ElementTree.fromstring(text.encode())
    assert suite.get("name") == visible(path)
    read = []
    for case in suite.findall("testcase"):
        for kind in ("failure", "system-out"):
            for line in (case.findtext(kind) or "").strip("\n").split("\n"):
                if line and not line.startswith("ignored: "):
                    found = read_line(line)
                    assert case.get("classname") == f"scalecheck.{found.rule}"
                    read.append(found)
    return read


def read_sarif(text, path):
    log = json.loads(text)
    SARIF.validate(log)
    read = []
    for result in log["runs"][0]["results"]:
        (location,) = result["locations"]
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"(file://)?[\w/.~%-]+", uri, re.ASCII)
        assert unquote_to_bytes(uri.removeprefix("file://")) == os.fsencode(path)
        message = result["message"]["text"].replace("\\](", "](")
        message = message.replace("{{", "{").replace("}}", "}")
        for tensor in location.get("logicalLocations", []):
            assert message.startswith(f"{tensor['fullyQualifiedName']}: ")
        if not result["suppressions"]:
            read.append(Read(result["ruleId"], result["level"], message))
    return read


def read_markdown(text, path):
    assert f"# {span(visible(path))}: " in text
    table = re.search(r"^\| +rule \|.*\n\|[-|]+\n((?:\|.*\n?)*)", text, re.MULTILINE)
    read = []
    for line in table[1].splitlines() if "<summary>findings: " in text else []:
        cells = [cell.strip(" ").replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)]
        assert len(cells) == 6
        rule, severity, where, message = cells[1:5]
        where, message = unspan(where).replace(r"\x7c", "|"), unescape(message)
        read.append(Read(rule, severity, f"{where}: {message}" if where else message))
    return read


def unescape(markdown):
    """What Markdown without any markup but code spans shows."""
    return re.sub(
        r"\\([!-/:-@\[-`{-~])|(&#?\w+;)|((`+).*?(?<!`)\4(?!`))",
        lambda found: found[1] or (unspan(found[3]) if found[3] else html.unescape(found[2])),
        markdown,
    )


def span(words):
    """The code span of words without backticks."""
    assert "`" not in words
    return f"`{words}`"


def unspan(markdown):
    """What a code span shows."""
    if not markdown:
        return ""
    fence, words = re.fullmatch(r"(`+)((?:.*[^`])?)\1", markdown).groups()
    assert fence not in re.findall("`+", words)
    if words.strip(" ") and words[0] == words[-1] == " ":
        return words[1:-1]
    return words


def read_json(text, path):
    report = json.loads(text)
    assert report["source"]["path"] == path
    return [Read(row["rule"], row["severity"], told(Finding(**row))) for row in report["findings"]]


READERS = {
    "concise": read_concise,
    "text": read_text,
    "github": read_github,
    "junit": read_junit,
    "sarif": read_sarif,
    "markdown": read_markdown,
    "json": read_json,
}
