"""`scalecheck inspect` beside the naive loop and a bare read, in turn on a file in the page cache.
Checks first that both give the same numbers; prints medians, and ratios pair by pair.

    python benchmarks/inspect_speed.py [--gib 1] [--runs 5] [--folder DIR]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tabulate import tabulate

HERE = Path(__file__).parent
OURS = [str(Path(sys.executable).with_name("scalecheck")), "inspect"]
NAIVE = [sys.executable, str(HERE / "naive.py")]


def timed(command: list[str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak resident MB of a whole process."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command} exited {child.returncode}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def output(command: list[str]) -> str:
    """What a command prints."""
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


def check_same(path: Path) -> None:
    """Leaves with a message unless the naive loop agrees, to the rounding of its float32 sums."""
    naive = json.loads(output([*NAIVE, str(path)]))
    for row in json.loads(output([*OURS, str(path), "--format", "json"]))["rows"]:
        for name, figure in zip(("rms", "std", "mean", "absmax"), naive[row["name"]], strict=True):
            if abs(row[name] - figure) > 1e-4 * row["rms"]:
                raise SystemExit(f"{row['name']}: {name} {row[name]} here, {figure} in float32")


def compare(path: Path, runs: int) -> list[str]:
    """The cells of one line of the table."""
    check_same(path)
    pairs = [(timed([*OURS, str(path)]), timed([*NAIVE, str(path)])) for _ in range(runs)]
    passes = json.loads(output([sys.executable, str(HERE / "throughput.py"), str(path), str(runs)]))
    gigabytes = path.stat().st_size / 1e9
    return [
        f"{median(ours[0] for ours, _ in pairs):.2f}",
        f"{median(naive[0] for _, naive in pairs):.2f}",
        f"{median(naive[0] / ours[0] for ours, naive in pairs):.1f}",
        f"{median(naive[1] / ours[1] for ours, naive in pairs):.1f}",
        f"{median(ours[2] for ours, _ in pairs):.0f}",
        f"{median(naive[2] for _, naive in pairs):.0f}",
        f"{median(gigabytes / own for _, own in passes):.2f}",
        f"{median(gigabytes / read for read, _ in passes):.2f}",
        f"{median(read / own for read, own in passes):.2f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gib", type=float, default=1, help="size of the big files")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, in turn")
    parser.add_argument("--folder", type=Path, help="where the files are made, and removed")
    arguments = parser.parse_args()
    size = str(int(arguments.gib * (1 << 30)))
    files = {
        f"{arguments.gib:g} GiB BF16": ["BF16", size],
        f"{arguments.gib:g} GiB F32": ["F32", size],
        "10,000 tensors of 64": ["small", "10000"],
        "5 tensors of 64": ["small", "5"],
    }
    rows = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder, "model.safetensors")
        for label, kind in files.items():
            # Written by another process: the peak memory of a child counts its parent's.
            output([sys.executable, str(HERE / "files.py"), str(path), *kind])
            rows.append([label, *compare(path, arguments.runs)])
    heads = [
        "file",
        "ours s",
        "naive s",
        "naive/ours",
        "CPU naive/ours",
        "ours MB",
        "naive MB",
        "pass GB/s",
        "read GB/s",
        "pass/read",
    ]
    print(tabulate(rows, heads, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
