"""Counts what `scalecheck check` finds, at its default settings, in the real checkpoints of the
tests. `python tests/count_findings.py` prints the table; `python tests/count_findings.py FOLDER`
has the counts of the edition in another source tree beside."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from real_checkpoints import real_file

HERE = Path(__file__).parent
FILES = json.loads((HERE / "data" / "checkpoints-truth.json").read_text("utf-8"))["files"]
JUSTIFIED = HERE / "data" / "findings-of-real-checkpoints.json"


def findings(key: str, tree: Path = HERE.parent) -> list[dict[str, str]]:
    """What the edition in a source tree finds in a file, in the order of its report."""
    path = real_file(FILES[key]["package"], FILES[key]["file"])
    command = (sys.executable, "-m", "scalecheck", "check", path, "--format", "json")
    environment = {**os.environ, "PYTHONPATH": str(tree.resolve())}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tree)
    found: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    return found


def counted(rows: list[dict[str, str]]) -> str:
    """How many findings each rule has: SC104 4, SC208 1."""
    counts = Counter(row["rule"] for row in rows)
    return ", ".join(f"{code} {count}" for code, count in sorted(counts.items())) or "none"


def main() -> None:
    trees = [HERE.parent, *map(Path, sys.argv[1:])]
    totals = [0] * len(trees)
    print("file", *(str(tree) for tree in trees), sep=" | ")
    for key in FILES:
        rows = [findings(key, tree) for tree in trees]
        totals = [total + len(own) for total, own in zip(totals, rows, strict=True)]
        print(key, *map(counted, rows), sep=" | ")
    print("total", *totals, sep=" | ")


if __name__ == "__main__":
    main()
