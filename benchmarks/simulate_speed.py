"""`scalecheck simulate` beside the least that any replay by torch takes: importing torch and making
an optimizer. Whole processes in turn; medians, and ratios pair by pair.

    python benchmarks/simulate_speed.py [--runs 5]
"""

import argparse
import sys
from pathlib import Path
from statistics import median

from inspect_speed import timed
from tabulate import tabulate

OURS = [str(Path(sys.executable).with_name("scalecheck")), "simulate"]
FLOOR = [sys.executable, "-c", "import torch; torch.optim.Adam([torch.zeros(4)])"]
COMMANDS = {"simulate": OURS, "simulate --optimizer all": [*OURS, "--optimizer", "all"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="runs of each, in turn")
    runs = parser.parse_args().runs
    table = []
    for name, command in COMMANDS.items():
        pairs = [(timed(command), timed(FLOOR)) for _ in range(runs)]
        table.append(
            [
                name,
                f"{median(ours[0] for ours, _ in pairs):.2f}",
                f"{median(floor[0] for _, floor in pairs):.2f}",
                f"{median(ours[0] / floor[0] for ours, floor in pairs):.1f}",
                f"{median(ours[2] for ours, _ in pairs):.0f}",
            ]
        )
    head = ["command", "ours s", "torch alone s", "ours/torch", "ours MB"]
    print(tabulate(table, head, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
