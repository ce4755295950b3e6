"""A command line in a process of its own, the line that refuses a file, and limits to run under.

Time is limited here and nowhere else: by what a processor spends, which a busy machine leaves as it
is. The clock only ends a test that waits for something that never happens.
"""

import ctypes
import os
import pty
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from contextlib import contextmanager

import pytest
from command import Done

from scalecheck.errors import CheckpointError
from scalecheck.report.formatting import printable

CPU_SECONDS = 60  # for one test: several times what the longest takes
WAITS_FOR_EVER = 600  # seconds by the clock: a test that works has long reached its limit


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
    with process:
        try:
            out, err = process.communicate()
        except BaseException:  # the test's limit: nothing runs on
            process.kill()
            raise
    return Done(process.returncode, out or "", err or "")


@contextmanager
def on_terminal(*arguments, before="", **streams):
    """The same with a terminal of 80 columns: the process, and the other end of its terminal."""
    end, terminal = pty.openpty()
    reached = (  # by Ctrl-C, also where the tests run in the background of a shell
        "import fcntl, signal, termios; fcntl.ioctl(2, termios.TIOCSCTTY, 0)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)"
    )
    with program(
        *arguments,
        before=f"{reached}\n{before}",
        start_new_session=True,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
        **{**dict.fromkeys(("stdin", "stdout", "stderr"), terminal), **streams},
    ) as process:
        os.close(terminal)
        try:
            yield process, end
        finally:
            process.kill()
            os.close(end)


def shown(end, until=None):
    """What a terminal shows until it says so, or until nobody writes to it any more."""
    said = b""
    while until is None or until not in said:
        try:
            said += os.read(end, 4096)
        except OSError:  # how Linux says that nobody does
            break
    return said


def limited(kind, nbytes, *arguments):
    """What a process leaves behind that may have so many bytes of a resource."""
    limit = f"import resource; resource.setrlimit(resource.{kind}, ({nbytes}, {nbytes}))"
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # each would have a stack and a buffer
    return finished(program(*arguments, before=limit, env=one_thread))


def cost_of(*arguments):
    """What a command leaves behind, the seconds that it takes of a processor, and the bytes of its
    memory that were in use at once."""
    peak = (
        "print(*[line for line in open('/proc/self/status') if 'VmHWM' in line], file=sys.stderr)"
    )
    before = f"import atexit, sys; atexit.register(lambda: {peak})"
    seconds = cpu_seconds(resource.RUSAGE_CHILDREN)
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = finished(program(*arguments, before=before, env=one_thread))
    seconds = cpu_seconds(resource.RUSAGE_CHILDREN) - seconds
    err, _, kibibytes = done.err.strip().rpartition("VmHWM:")
    return Done(done.code, done.out, err), seconds, int(kibibytes.split()[0]) << 10


def is_refusal(done, path, problem):
    """Exit code 3, no report, and one line that names the file and says what is wrong with it,
    perhaps with one of help; a problem that ends with … is only the start of what is said."""
    start = f"scalecheck: {printable(str(path))}: {problem.removesuffix('…')}"
    line, _, help = done.err.removesuffix("\n").partition("\n  help: ")
    return (
        (done.code, done.out) == (3, "")
        and (line + help).isprintable()
        and (line.startswith(start) if problem.endswith("…") else line == start)
    )


def cpu_seconds(who=resource.RUSAGE_SELF):
    """What processors have spent on this process, or on its children that have ended."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def at_most(seconds):
    """Fails work of this process or its children that took more of a processor."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    before = sum(map(cpu_seconds, kinds))
    yield
    spent = sum(map(cpu_seconds, kinds)) - before
    assert spent < seconds, f"took {spent:.1f} s of a processor, not {seconds}"


def problem_of(read, path):
    """What is said of a path that is refused: one short line."""
    with pytest.raises(CheckpointError) as raised:
        read(path)
    assert len(raised.value.problem) < 400
    assert raised.value.problem.isprintable()
    return raised.value.problem


@contextmanager
def bounded(nbytes, seconds=10):
    """Fails what takes more than so many seconds of a processor, or allocates more than this at
    a time."""
    tracemalloc.start()
    try:
        with at_most(seconds):
            yield
        assert tracemalloc.get_traced_memory()[1] < nbytes
    finally:
        tracemalloc.stop()


def cpu_seconds_of(call):
    """What a call takes of a processor, by as many calls as a tenth of a second has room for."""
    start, calls = time.process_time(), 0
    while (spent := time.process_time() - start) < 0.1:
        call()
        calls += 1
    return spent / calls


@contextmanager
def time_limit():
    """Fails a test that works for longer than CPU_SECONDS, or that waits for ever."""
    limits = {
        signal.SIGPROF: (signal.ITIMER_PROF, CPU_SECONDS),
        signal.SIGALRM: (signal.ITIMER_REAL, WAITS_FOR_EVER),
    }

    def stop(number, _):
        timer, seconds = limits[number]
        kind = "of a processor" if timer == signal.ITIMER_PROF else "by the clock"
        pytest.fail(f"takes longer than {seconds} s {kind}")

    before = {number: signal.signal(number, stop) for number in limits}
    try:
        for timer, seconds in limits.values():
            signal.setitimer(timer, seconds)
        with at_most(CPU_SECONDS):
            yield
    finally:
        for number, (timer, _) in limits.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


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
