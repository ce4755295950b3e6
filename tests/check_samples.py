"""Compares what is read of sample checkpoints with the truths beside them, and prints a line each.

python tests/check_samples.py FOLDER [NAME …]: FOLDER holds truth.json and the samples; those whose
names start with a NAME, or all. Exits with 1 where a figure is off or a sample cannot be read.
"""

import json
import re
import sys
from pathlib import Path

import scalecheck

FIGURES = ("rms", "mean", "std", "min", "max", "absmax")
COUNTS = ("zeros", "nan", "inf")
EXACT, QUANTISED = 1e-9, 1e-6


def off(found, true, scale=0.0):
    """Relative difference of two figures; a mean is measured by the RMS around it."""
    if found is None or true is None:
        return 0.0 if found is None and true is None else float("inf")
    return abs(found - true) / max(abs(true), scale, 1e-300)


def row_of(rows, name, truth):
    """The row of a tensor: by its name, or the name in the file, or its end below a wrapper."""
    found = rows.get(name) or rows.get(truth.get("stored", name))
    ends = [rows[own] for own in rows if own.endswith((f".{name}", f"/{name}"))]
    return found or (ends[0] if len(ends) == 1 else None)


def tensors(path, sample, bound):
    """What is wrong with the tensors of a model, and how many there are."""
    rows = {row["name"]: row for row in scalecheck.inspect(path).rows}
    wrong, count = [], 0
    for name, truth in sample.get("tensors", {}).items():
        if truth.get("role") in ("optimizer", "other"):
            continue
        count += 1
        row = row_of(rows, name, truth)
        if row is None:
            wrong.append(f"{name}: no row")
            continue
        if list(row["shape"]) != list(truth["shape"]):
            wrong.append(f"{name}: shape {row['shape']}, truth {truth['shape']}")
        for figure in FIGURES:
            if (by := off(row[figure], truth[figure], truth["rms"] or 0.0)) > bound:
                wrong.append(f"{name}: {figure} {row[figure]}, truth {truth[figure]} ({by:.1e})")
        for figure in COUNTS:
            if figure in truth and row[figure] != truth[figure]:
                wrong.append(f"{name}: {figure} {row[figure]}, truth {truth[figure]}")
    return wrong, count


def updates(path, sample, bound):
    """The same of the updates by the optimizer's state, and whether the optimizer and its settings
    were given, as the file does not keep them."""
    truths = {n: t for n, t in sample.get("optimizer", {}).items() if t.get("update_rms")}
    if not truths:
        return [], 0, False
    rows, given = scalecheck.translate(path).rows, {}
    if all(row["update_rms"] is None for row in rows):
        one = next(iter(truths.values()))
        given = {"beta1": one["betas"][0], "beta2": one["betas"][1], "eps": one["eps"]}
        given |= {"optimizer": "adamw", "lr": one.get("lr", 1e-3)}
        rows = scalecheck.translate(path, **given).rows
    named = {row["name"]: row for row in rows}
    found = {n: row_of(named, n, sample["tensors"].get(n, {})) for n in truths}
    if not any(found.values()):  # other names in the truth: by their updates, in order
        ordered = sorted(rows, key=lambda row: row["update_rms"] or 0.0)
        names = sorted(truths, key=lambda n: truths[n]["update_rms"])
        found = dict(zip(names, ordered, strict=False))
    wrong = []
    for name, truth in truths.items():
        is_coded = "stored_bits" in truth or truth.get("stored", "Tensor") != "Tensor"
        for figure in ("update_rms", "lr"):
            own = found.get(name) and found[name][figure]
            most = QUANTISED if is_coded else bound
            if truth.get(figure) is not None and off(own, truth[figure]) > most:
                wrong.append(f"{name}: {figure} {own}, truth {truth[figure]}")
    return wrong, len(truths), bool(given)


def main(folder, *wanted):
    failed = False
    for name, sample in json.loads((folder / "truth.json").read_text("utf-8"))["samples"].items():
        if wanted and not name.startswith(wanted):
            continue
        bound = QUANTISED if sample["section"].startswith("quant") else EXACT
        try:
            path = folder / sample["path"]
            if below := re.match(r"truth is of (\S+)\.", sample["note"]):
                path /= below[1]
            wrong, count = tensors(path, sample, bound)
            wrong_updates, updated, is_given = updates(path, sample, bound)
        except scalecheck.ScalecheckError as error:
            failed = True
            print(f"{name}: not read: {error}")
            continue
        wrong += wrong_updates
        failed |= bool(wrong)
        said = f"{len(wrong)} wrong, such as {wrong[0]}" if wrong else "right"
        said += ", the optimizer's settings given" if is_given else ""
        print(f"{name}: {count} tensors, {updated} updates: {said}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
