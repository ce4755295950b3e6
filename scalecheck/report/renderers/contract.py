"""What a renderer is: a file of this folder that writes reports as text of the format it is named
after."""

from typing import Protocol, runtime_checkable

from scalecheck.report.report import UNBOUNDED, Layout, Report


@runtime_checkable
class Renderer(Protocol):
    """The functions of a renderer's module.

    In the text of a renderer every line that the runner of a CI would take for a command is
    escaped. A module whose text is for a program, or holds commands of its own, has a function
    `inert` of the text that escapes the others in its place. One whose text grows with the number
    of tensors may have a function `pieces` of the arguments of `render` that yields the same text,
    whole lines at a time. One of checks may have a function `several` of the checks of several
    checkpoints (`report.checks`), which are otherwise shown one below the other.
    """

    def renders(self, kind: str) -> bool:
        """Whether it writes reports of this kind: "inspect", "check" and the other commands,
        "settings" and "statistics" of a check."""

    def render(self, report: Report, layout: Layout = UNBOUNDED) -> str:
        """The report as text without a newline at its end; what names and other words of a file
        hold never breaks out of their place in it."""
