"""Our commands beside the least that each could take: `simulate` beside importing torch and making
an optimizer; `translate` and `check` beside `inspect` of the same file. Whole processes in turn.

    python benchmarks/commands_speed.py [--gib 1] [--runs 3] [--folder DIR]
"""

import argparse
import sys
import tempfile
from pathlib import Path

from run import made
from tabulate import tabulate
from timing import HEAD, SCALECHECK, in_turn, lines

FLOOR = [sys.executable, "-c", "import torch; torch.optim.Adam([torch.zeros(4)])"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gib", type=float, default=1, help="size of the big file")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, in turn")
    parser.add_argument("--folder", type=Path, help="where the files are made, and removed")
    options = parser.parse_args()
    simulated = {
        "torch alone": FLOOR,
        "simulate": [SCALECHECK, "simulate"],
        "simulate --optimizer all": [SCALECHECK, "simulate", "--optimizer", "all"],
    }
    table = [["", *line] for line in lines(in_turn(simulated, options.runs))]
    size = str(int(options.gib * (1 << 30)))
    for label, kind in (
        (f"{options.gib:g} GiB BF16", ["BF16", size]),
        ("10,000", ["small", "10000"]),
    ):
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            path = Path(name, "model.safetensors")
            made(kind, path)
            read = {
                "inspect": [SCALECHECK, "inspect", str(path)],
                "translate": [SCALECHECK, "translate", str(path), "--lr", "1e-3"],
                "check": [SCALECHECK, "check", str(path), "--lr", "1e-3"],
            }
            table += [[label, *line] for line in lines(in_turn(read, options.runs))]
    head = ["file", *HEAD]
    head[3] = "× the first"
    print(tabulate(table, head, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
