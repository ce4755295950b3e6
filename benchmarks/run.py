"""scalecheck beside its peers and a bare read, each a whole process in turn, on files made for it.
Checks first that all give the same numbers; prints medians, and ratios run by run.

    python benchmarks/run.py [--peers BIN] [--gib 1] [--runs 3] [--folder DIR]

BIN is the bin folder of an environment with sft-cli and model-clinic; without it the naive torch
loop and the bare read stand alone.
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate
from timing import HEAD, HERE, SCALECHECK, in_turn, lines, output

Figures = dict[str, dict[str, float]]


def commands(job: str, paths: list[Path], peers: Path | None) -> dict[str, list[str]]:
    """What each tool is called with, ours first. sft and model-xray read single files only."""
    files = [str(path) for path in paths]
    parts = [
        str(p) for f in paths for p in (sorted(f.glob("*.safetensors")) if f.is_dir() else [f])
    ]
    found = {f"scalecheck {job}": [SCALECHECK, job, *files, "--format", "json"]}
    if job == "inspect":
        found["naive torch"] = [sys.executable, str(HERE / "naive.py"), *parts]
    if peers and len(parts) == len(files):
        sft = str(peers / "sft")
        if job == "inspect":
            found["sft stat"] = [sft, "stat", *files, "--json"]
            found["model-xray"] = [str(peers / "model-xray"), *files]
        else:
            found["sft diff --delta"] = [sft, "diff", *files, "--delta", "--json"]
    return found | {"bare read": [sys.executable, str(HERE / "read.py"), *parts]}


def figures(tool: str, command: list[str], folder: Path) -> Figures | None:
    """What a tool says of each tensor, under our names; None for a bare read."""
    if tool.startswith("scalecheck"):
        rows = json.loads(output(command))["rows"]
        return {row["name"]: row for row in rows}
    if tool == "naive torch":
        names = ("rms", "std", "mean", "absmax")
        told = json.loads(output(command))
        return {name: dict(zip(names, known, strict=True)) for name, known in told.items()}
    if tool == "sft stat":
        return {row["name"]: row for row in json.loads(output(command))}
    if tool == "model-xray":
        output([*command, "--export", str(folder / "xray.json")])
        told = json.loads((folder / "xray.json").read_text())["params"]
        return {row["name"]: {"mean": row["mean"], "max": row["max"]} for row in told}
    if tool == "sft diff --delta":
        told = json.loads(output(command))
        rows = next(value for value in told.values() if isinstance(value, dict) and value)
        return {
            name: {"relative_change": row["rel_l2"], "cosine": row["cosine_sim"]}
            for name, row in rows.items()
        }
    return None


def check_same(told: dict[str, Figures | None]) -> None:
    """Leaves with a message unless all agree, to the rounding of float32 sums."""
    (_, ours), *others = told.items()
    for tool, theirs in others:
        for name, row in (theirs or {}).items():
            size = ours[name].get("rms") or 1.0
            for figure, value in row.items():
                own = ours[name].get(figure)
                if isinstance(own, float) and not math.isclose(
                    own, value, rel_tol=2e-3, abs_tol=2e-3 * size
                ):
                    raise SystemExit(f"{name}: {figure} {own} here, {value} by {tool}")


def made(kind: list[str], path: Path) -> None:
    """Written by another process: the peak memory of a child counts its parent's."""
    output([sys.executable, str(HERE / "files.py"), str(path), *kind])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", type=Path, help="bin folder with sft and model-xray")
    parser.add_argument("--gib", type=float, default=1, help="size of the big files")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, in turn")
    parser.add_argument("--folder", type=Path, help="where the files are made, and removed")
    options = parser.parse_args()
    size = int(options.gib * (1 << 30))
    cases = [
        ("inspect", f"{options.gib:g} GiB BF16", [["BF16", str(size)]]),
        ("inspect", f"{options.gib:g} GiB F32", [["F32", str(size)]]),
        ("inspect", f"{4 * options.gib:g} GiB BF16", [["BF16", str(4 * size)]]),
        ("inspect", f"64 shards, {options.gib:g} GiB BF16", [["shards", str(size)]]),
        ("inspect", "10,000 tensors of 64", [["small", "10000"]]),
        ("inspect", "5 tensors of 64", [["small", "5"]]),
        ("diff", f"2 × {options.gib:g} GiB BF16", [["BF16", str(size)], ["moved", str(size)]]),
    ]
    table = []
    for job, label, kinds in cases:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            folder = Path(name)
            if shutil.disk_usage(folder).free < 12 * size:
                print(f"{label}: left out, the disk has no room for it")
                continue
            paths = []
            for number, kind in enumerate(kinds):
                paths.append(folder / f"{number}.safetensors")
                made(kind, paths[-1])
            tools = commands(job, paths, options.peers)
            check_same({tool: figures(tool, called, folder) for tool, called in tools.items()})
            table += [[label, *line] for line in lines(in_turn(tools, options.runs))]
    print(tabulate(table, ["file", *HEAD], tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
