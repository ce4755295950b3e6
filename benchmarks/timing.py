"""Whole processes, timed one after the other."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
AS_INSTALLED = {key: word for key, word in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
SCALECHECK = str(Path(sys.executable).with_name("scalecheck"))


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds, and peak resident MB."""

    wall: float
    cpu: float
    megabytes: float


def timed(command: list[str]) -> Cost:
    """The cost of a whole process. Leaves with a message where it fails."""
    start = time.perf_counter()
    child = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=AS_INSTALLED
    )
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 1):  # 1: a judge that found something
        raise SystemExit(f"{' '.join(command)} exited {child.returncode}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6)


def output(command: list[str]) -> str:
    """What a command prints."""
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


def in_turn(commands: dict[str, list[str]], runs: int) -> dict[str, list[Cost]]:
    """Every command's costs, each run once before any is run again."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            costs[name].append(timed(command))
    return costs


def lines(costs: dict[str, list[Cost]]) -> list[list[str]]:
    """A line for each command: medians, and the ratio of walls to the first's, run by run."""
    (_, first), *_ = costs.items()
    return [
        [
            name,
            f"{median(cost.wall for cost in own):.2f}",
            f"{median(cost.wall / ours.wall for cost, ours in zip(own, first, strict=True)):.1f}",
            f"{median(cost.cpu for cost in own):.2f}",
            f"{median(cost.megabytes for cost in own):.0f}",
        ]
        for name, own in costs.items()
    ]


HEAD = ["tool", "wall s", "× ours", "CPU s", "peak MB"]
