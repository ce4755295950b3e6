"""Trains four small networks with many optimizers, and compares each forecast of scalecheck with
what came: the next updates, displacement, equilibrium, what rounds away, rare rows, snr.

    python benchmarks/forecast.py [--steps 1200] [--models A,B] [--optimizers A,B] [--seed 0]
        [--jobs 2] [--short] [--json FILE] [--against FILE]

Forecasts are those of `translate` and `diff` on checkpoints that the runs save. A run of 1,200
steps saves one after 100, 300, 600, 1,000 and 1,200; a shorter one at the same shares of its steps.
All 64 runs take 7.5 minutes of a processor, about 4 minutes on two cores.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from forecast_figures import ALL, Table
from forecast_models import PROBLEMS
from forecast_optimizers import OPTIMIZERS
from forecast_runs import Record, records
from forecast_tables import tables
from forecast_training import Run
from tabulate import tabulate

Kept = dict[str, dict[str, list[float | None]]]


def trained(runs: Sequence[Run], jobs: int) -> Iterator[Record]:
    """The records of all runs, in so many processes; says on stderr how many are done."""
    with get_context("spawn").Pool(jobs, torch.set_num_threads, (1,)) as pool:
        for done, own in enumerate(pool.imap(records, runs, chunksize=1), 1):
            print(f"\r{done} of {len(runs)} runs", end="", file=sys.stderr, flush=True)
            yield from own
    print(file=sys.stderr)


def figures(found: Sequence[Record]) -> Kept:
    """What `--json` keeps of all tables."""
    return {
        table.key: {f"{o} | {m}": values for (o, m), values in table.rows(found).items()}
        for table in tables(found)
    }


def printed(table: Table, found: Sequence[Record], is_short: bool) -> str:
    """A table as Markdown; a short one has all models of an optimizer together."""
    lines = [
        [optimizer, model, *table.cells(values)]
        for (optimizer, model), values in table.rows(found).items()
        if model == ALL or not is_short
    ]
    return _markdown(table, lines)


def changed(table: Table, found: Sequence[Record], before: Mapping[str, Any]) -> str:
    """The rows of a table that are not what they were, as `was → is`."""
    lines = []
    for (optimizer, model), values in table.rows(found).items():
        was = before.get(table.key, {}).get(f"{optimizer} | {model}")
        if was is None or len(was) != len(values):
            continue
        cells = [
            "" if old == new else f"{old or 'none'} → {new or 'none'}"
            for old, new in zip(table.cells(was), table.cells(values), strict=True)
        ]
        if any(cells):
            lines.append([optimizer, model, *cells])
    return _markdown(table, lines)


def _markdown(table: Table, lines: list[list[str]]) -> str:
    if not lines:
        return ""
    drawn = tabulate(lines, table.head, tablefmt="github", disable_numparse=True)
    return f"\n{table.title}\n\n{drawn}"


def _words(allowed: Mapping[str, Any], text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    unknown = [word for word in words if word not in allowed]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(allowed)}")
    return words


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1200, help="steps of each run")
    parser.add_argument(
        "--models", type=lambda text: _words(PROBLEMS, text), default=[*PROBLEMS], metavar="A,B"
    )
    parser.add_argument(
        "--optimizers",
        type=lambda text: _words(OPTIMIZERS, text),
        default=[*OPTIMIZERS],
        metavar="A,B",
    )
    parser.add_argument("--seed", type=int, default=0, help="of initialization and batches")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--short", action="store_true", help="print all models together alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures in a file")
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="print what changed since a kept file alone"
    )
    options = parser.parse_args()
    if options.steps < 12 or options.steps % 12:
        parser.error(f"--steps {options.steps} is no multiple of 12")
    before = json.loads(options.against.read_text("utf-8")) if options.against else None
    settings = {word: vars(options)[word] for word in ("steps", "seed", "models")}
    if before is not None and before["settings"] != settings:
        parser.error(f"{options.against} is of {before['settings']}: give the same")
    if options.json:
        options.json.touch()  # fails before the long work, if at all
    runs = [
        Run(model, optimizer, options.steps, options.seed)
        for model in options.models
        for optimizer in options.optimizers
    ]
    found = [*trained(runs, options.jobs)]
    if options.json:
        kept = {"settings": settings, "tables": figures(found)}
        options.json.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    for table in tables(found):
        if before is None:
            print(printed(table, found, options.short))
        else:
            print(changed(table, found, before["tables"]), end="")


if __name__ == "__main__":
    main()
