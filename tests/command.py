"""The command line, called in this process as the console script calls it."""

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from unittest import mock

from scalecheck.cli.main import run


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def problem(self):
        """The line of error; behind it stands at most one of help."""
        line, *help = self.err.splitlines()
        assert [one[:8] for one in help] in ([], ["  help: "]), self.err
        return line


def scalecheck(*arguments, columns=None, encoding="utf-8"):
    """Runs `scalecheck arguments…`, in a terminal of so many columns where given."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding, newline="") for _ in range(2))
    environment = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
    if columns is not None:
        environment["COLUMNS"] = str(columns)
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(sys, "argv", ["scalecheck", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = 0
        try:
            run()
        except SystemExit as leaving:
            code = leaving.code
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode(encoding))
    return Done(code, *texts)
