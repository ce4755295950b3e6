"""Tests limit what a processor spends and wait for events, so that a busy machine fails none."""

import ast
import signal
from itertools import count
from pathlib import Path

import process
import pytest

HERE = Path(__file__).parent
CLOCKS = {"sleep", "perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "timeit"}
CLOCKS |= {"alarm", "setitimer"}


def clocks(source):
    """The lines that read a clock, sleep, or wait for so long."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case (
                ast.keyword(arg="timeout")
                | ast.Call(func=ast.Attribute(attr="wait"), args=[_, *_])
                | ast.Attribute(value=ast.Name(id="time"), attr="time" | "time_ns")
            ):
                yield node.lineno
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.alias(name=word):
                if word in CLOCKS:
                    yield node.lineno


def test_no_test_goes_by_the_clock():
    """Only process.py does: it ends what waits for ever."""
    found = {path.name: [*clocks(path.read_text("utf-8"))] for path in HERE.glob("*.py")}
    assert [name for name, lines in found.items() if lines] == ["process.py"]


@pytest.mark.parametrize(
    "line",
    [
        "subprocess.run(command, timeout=60)",
        "process.wait(60)",
        "time.sleep(1)",
        "start = time.time()",
        "from time import monotonic",
        "import timeit",
    ],
)
def test_a_line_that_goes_by_the_clock_is_found(line):
    assert [*clocks(line)] == [1]
    assert [*clocks("process.wait()\nsend(time_limit)")] == []


def test_work_that_takes_too_long_of_a_processor_fails():
    with pytest.raises(AssertionError, match=r"s of a processor, not 0\.01"), process.at_most(0.01):
        sum(range(10**7))


def test_every_test_is_under_both_limits():
    assert 0 < signal.getitimer(signal.ITIMER_PROF)[0] < process.CPU_SECONDS + 1
    assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < process.WAITS_FOR_EVER + 1


def test_a_test_that_never_ends_is_stopped(monkeypatch):
    monkeypatch.setattr(process, "CPU_SECONDS", 0.1)
    said = r"longer than 0\.1 s of a processor"
    with pytest.raises(pytest.fail.Exception, match=said), process.time_limit():
        all(True for _ in count())
