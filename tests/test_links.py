"""Every link between the pages of the manual leads to a file, and its anchor to a heading. GitHub
and the site each make anchors of headings in their own way, and both have the anchor."""

import re
import unicodedata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
OUTSIDE = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "benchmarks/README.md",
    "sample_ckpts/README.md",
]
PAGES = [*(ROOT / page for page in OUTSIDE), *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6} (.*)$", re.MULTILINE)


def of_github(heading):
    words = re.sub(r"[^\w\- ]", "", heading.lower())
    return words.replace(" ", "-")


def of_the_site(heading):
    """As python-markdown's toc makes it."""
    ascii = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii).strip().lower())


def headings(page):
    fences = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [re.sub(r"[`*]", "", heading) for heading in HEADING.findall(fences)]


def links(page):
    """Each link of a page that leads into the repository, in two parts."""
    for target in LINK.findall(CODE.sub("`code`", page.read_text("utf-8"))):
        if not re.match(r"\w+:", target):
            path, _, anchor = target.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for path, anchor in links(page):
        assert path.exists(), path
        if anchor:
            assert anchor in map(of_github, headings(path)), f"{path.name}#{anchor}"
            assert anchor in map(of_the_site, headings(path)), f"{path.name}#{anchor}"


def test_the_links_are_found():
    """A test of no links would pass."""
    assert sum(1 for page in PAGES for _ in links(page)) > 100


def test_the_site_shows_every_page():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    shown = set(_pages(config["nav"]))
    assert {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} <= shown
    assert shown - {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} == {
        "index.md",
        "contributing.md",
        "changelog.md",
        "security.md",
        "benchmarks.md",
        "samples.md",
    }


def _pages(nav):
    for entry in nav:
        for part in entry.values():
            yield from _pages(part) if isinstance(part, list) else [part]
