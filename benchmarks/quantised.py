"""`scalecheck inspect` of FP8 weights with a scale for each block, beside the same bytes of BF16,
each a whole process in turn: medians, and ratios run by run.

    python benchmarks/quantised.py [--gib 1] [--runs 5] [--folder DIR]
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate
from timing import HEAD, HERE, SCALECHECK, in_turn, lines, output


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gib", type=float, default=1, help="size of each file")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, in turn")
    parser.add_argument("--folder", type=Path, help="where the files are made, and removed")
    options = parser.parse_args()
    size = str(int(options.gib * (1 << 30)))
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        called = {}
        for kind in ("BF16", "FP8"):
            path = Path(name) / f"{kind}.safetensors"
            output([sys.executable, str(HERE / "files.py"), str(path), kind, size])
            called[f"{options.gib:g} GiB {kind}"] = [SCALECHECK, "inspect", str(path)]
        print(tabulate(lines(in_turn(called, options.runs)), HEAD, tablefmt="github"))


if __name__ == "__main__":
    main()
