"""What a renderer is: a file in this folder, which turns a report into text."""

from typing import Protocol

from scalecheck.report.report import Layout, Report


class Renderer(Protocol):
    """What a module of this folder has."""

    def render(self, report: Report, layout: Layout = ..., /) -> str:
        """The report as text that fits the layout."""
        ...
