"""Compares every figure of samples of real formats with their truth.

python tests/check_samples.py FOLDER [SAMPLE ...]

FOLDER has truth.json, as its README describes it. One line a sample, and one a figure that differs.
"""

import json
import sys
from pathlib import Path

import scalecheck

EXACT, QUANTISED = 1e-9, 1e-6  # relative
FIGURES = ("rms", "mean", "std", "min", "max", "absmax")
COUNTS = ("numel", "zeros", "nan", "inf")


def differences(folder: Path, name: str, truth: dict) -> tuple[int, list[str]]:
    """How many figures were compared, and a line for each that differs."""
    report = scalecheck.inspect(folder / truth["path"])
    rows = {row["name"]: row for row in report.rows}
    compared, lines = 0, []
    for tensor, wanted in truth["tensors"].items():
        row = rows.get(tensor)
        if row is None:
            lines.append(f"{name}: {tensor} is not there")
            continue
        limit = QUANTISED if wanted.get("parts") or "bit" in wanted["dtype"] else EXACT
        size = wanted["absmax"] or 0.0
        if list(row["shape"]) != list(wanted["shape"]):
            lines.append(f"{name}: {tensor} is {row['shape']}, not {wanted['shape']}")
        for figure in (*FIGURES, *COUNTS):
            ours, theirs = row[figure], wanted.get(figure)
            compared += 1
            if ours == theirs:
                continue
            if figure in COUNTS or ours is None or theirs is None:
                lines.append(f"{name}: {tensor}: {figure} is {ours}, not {theirs}")
                continue
            scale = (wanted["rms"] or size) if figure in ("mean", "std", "rms") else size
            if abs(ours - theirs) > limit * max(abs(theirs), scale):
                lines.append(f"{name}: {tensor}: {figure} is {ours!r}, not {theirs!r}")
    return compared, lines


def main(folder: Path, *names: str) -> int:
    samples = json.loads((folder / "truth.json").read_text())["samples"]
    failed = 0
    for name in names or samples:
        try:
            compared, lines = differences(folder, name, samples[name])
        except Exception as error:  # one line a sample, whatever goes wrong with it
            compared, lines = 0, [f"{name}: {type(error).__name__}: {error}"]
        print(*lines, f"{name}: {compared} figures, {len(lines)} differ", sep="\n")
        failed += bool(lines)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
