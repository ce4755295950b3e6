"""A command line in a process of its own, the line that refuses a file, and limits to run under."""

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from command import Done

from scalecheck.report.formatting import printable

SECONDS = 60  # for one test, on a machine with others; what waits for ever is a failure


def program(*arguments, before="", **streams):
    """Starts a process that runs `scalecheck arguments…` after some statements."""
    code = f"{before}\nfrom scalecheck.cli.main import run\nrun()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        text=True,
        errors="surrogateescape",
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )


def finished(process):
    """What a process left behind, when it has ended."""
    out, err = process.communicate(timeout=SECONDS)
    return Done(process.returncode, out or "", err or "")


def limited(resource, nbytes, *arguments):
    """What a process leaves behind that may have so many bytes of a resource."""
    limit = f"import resource; resource.setrlimit(resource.{resource}, ({nbytes}, {nbytes}))"
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # each would have a stack and a buffer
    return finished(program(*arguments, before=limit, env=one_thread))


def is_refusal(done, path, problem):
    """Exit code 3, no report, and one line that names the file and says what is wrong with it; a
    problem that ends with … is only the start of what is said."""
    start = f"scalecheck: {printable(str(path))}: {problem.removesuffix('…')}"
    line = done.err.removesuffix("\n")
    return (
        (done.code, done.out) == (3, "")
        and line.isprintable()
        and (line.startswith(start) if problem.endswith("…") else line == start)
    )


@contextmanager
def time_limit():
    """Fails what takes longer, even where it waits for a file."""

    def stop(*_):
        pytest.fail(f"takes longer than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def permissions_that_count():
    """Root reads what it may not, unless this thread gives up the two capabilities for it."""
    if os.geteuid():
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of the call, this thread
    all_of_them = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then the next 32
    assert libc.capget(header, all_of_them) == 0
    fewer = type(all_of_them)(*all_of_them)
    fewer[0] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    assert libc.capset(header, fewer) == 0
    try:
        yield
    finally:
        assert libc.capset(header, all_of_them) == 0
