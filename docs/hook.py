"""What mkdocs builds beside the pages of this folder: the README, which is the first page, and the
other texts of the repository. Links between pages are written for the repository, where they lead
from file to file; on the site they lead to the pages of these files."""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
    "sample_ckpts/README.md": "samples.md",
}
LINK = re.compile(r"(?<=\])\(([^)#\s]+)(#[^)\s]*)?\)")
TO_FILE = re.compile(r"(?<!!)\[([^\]]*)\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Adds the texts outside of this folder."""
    for source, page in OUTSIDE.items():
        text = (ROOT / source).read_text("utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(text: str, page: Any, **_: Any) -> str:
    """Leads the links of a page to the pages of the files that they name. A file without a page
    keeps its words alone."""
    own = page.file.src_uri
    sources = {site: source for source, site in OUTSIDE.items()}
    folder = PurePosixPath(sources.get(own, f"docs/{own}")).parent

    def link(found: re.Match[str]) -> str:
        words, target, anchor = found[1], found[2], found[3] or ""
        path = normpath(str(folder / target))
        if path not in OUTSIDE and not path.startswith("docs/"):
            return words
        site = OUTSIDE.get(path, path.removeprefix("docs/"))
        return f"[{words}]({relpath(site, str(PurePosixPath(own).parent))}{anchor})"

    def image(found: re.Match[str]) -> str:
        path = normpath(str(folder / found[1])).removeprefix("docs/")
        return f"({relpath(path, str(PurePosixPath(own).parent))})"

    text = TO_FILE.sub(link, text)
    return re.sub(r"(?<=\])\((?!\w+:)([^)\s]+\.svg)\)", image, text)
