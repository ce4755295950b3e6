"""One training run: every update recorded in float64, and what scalecheck says of the checkpoints
that it leaves, beside what came."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from forecast_optimizers import options_of
from forecast_training import Run, Training
from torch import Tensor

import scalecheck

NEXT = (1 / 1200, 1 / 60, 1 / 6)  # shares of the run that a forecast of updates is for
WALKS = (1 / 240, 1 / 60, 1 / 6)  # and a displacement
SHORT = 1 / 60  # before a moment: another checkpoint
TINY_LR = 1e-4  # of the lr, at which weights of 32 bits round an update away too
FORGOTTEN = 3.0  # Σ lr·weight_decay, from which little of the initialization is left

Rows = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Record:
    """One forecast beside what came: of a tensor, said after `moment` steps of a run about the next
    `horizon`. real is None where nothing came of it, said where nothing was said."""

    table: str
    model: str
    optimizer: str
    tensor: str
    numel: int
    moment: int
    horizon: int
    said: float | None
    real: float | None


def records(run: Run) -> list[Record]:
    """Trains, asks scalecheck about every checkpoint, and compares."""
    training = Training(run)
    moments, short = run.moments, run.parts([SHORT])[0]
    kept = {m + n for m in (0, *moments) for n in (0, *run.parts(WALKS))}
    saved = {0, *moments, *(m - short for m in moments), run.steps}
    snrs = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(run.steps + 1):
            if number:
                training.step(number, number - 1 in moments)
            if number in kept | saved:
                training.keep(number)
            if number in saved:
                training.save(folder / f"{number}.pt")
            if number in moments:
                training.save(folder / f"tiny-{number}.pt", TINY_LR)
                training.save(folder / f"unnamed-{number}.pt", named=False)
                snrs[number] = training.snr(run.seed + number)
        return [*_compared(training, folder, snrs)]


def _compared(
    training: Training, folder: Path, snrs: Mapping[int, Mapping[str, float]]
) -> Iterator[Record]:
    """Every record of a run whose checkpoints are in a folder, by the step they are of."""
    run, rows = training.run, {}
    for moment in run.moments:
        path = folder / f"{moment}.pt"
        walks = {n: _told(path, steps=n, param_dtype="bf16") for n in run.parts(WALKS)}
        rows[moment] = own = next(iter(walks.values()))
        yield from _updates(training, moment, own)
        yield from _forecast(training, "unnamed", moment, _told(folder / f"unnamed-{moment}.pt"))
        for horizon, told in walks.items():
            yield from _walk(training, "noise", moment, horizon, told)
        yield from _rounding(training, moment, "bf16", own)
        yield from _rounding(training, moment, "fp32", _told(folder / f"tiny-{moment}.pt"))
        yield from _persistence(training, moment, own, snrs[moment])
        yield from _continued(training, moment, folder)
    options = options_of(training.optimizers)
    if options is not None:
        yield from _stateless(training, folder, options)
    yield from _from_two_checkpoints(training, folder)
    yield from _equilibrium(training, _told(folder / f"{run.steps}.pt", steps=run.steps))
    yield from _rare_rows(training, rows)


def _stateless(training: Training, folder: Path, options: Mapping[str, Any]) -> Iterator[Record]:
    """What is said of weights without an optimizer state, but with the optimizer and its lr."""
    run = training.run
    with suppress(scalecheck.UsageError):  # SGD's updates follow a gradient that is not known
        for moment in run.moments:
            told = _told(folder / f"{moment}.pt", state="none", steps=run.steps, **options)
            yield from _forecast(training, "stateless", moment, told)
        for horizon in run.parts(WALKS):
            told = _told(folder / "0.pt", state="none", steps=horizon, **options)
            yield from _walk(training, "noise at first", 0, horizon, told)


def _told(path: Path, **options: Any) -> Rows:
    """The rows of `translate`, by tensor."""
    return {row["name"]: row for row in scalecheck.translate(path, jobs=1, **options).rows}


def _record(
    training: Training,
    table: str,
    tensor: str,
    moment: int,
    horizon: int,
    *,
    said: float | None,
    real: float | None,
) -> Record:
    run, numel = training.run, training.sizes[training.names.index(tensor)]
    return Record(table, run.model, run.optimizer, tensor, numel, moment, horizon, said, real)


def _updates(training: Training, moment: int, rows: Rows) -> Iterator[Record]:
    """The RMS of an update over the next steps: as theory says it, the last one measured, the
    geometric mean of both, and what scalecheck expects of the next 20 steps."""
    for place, name in enumerate(training.names):
        row = rows[name]
        used = row["update_rms"] if row["measured"] else row["update_rms_next"]
        size = row["absolute_update"] / used if used else 0.0  # of an update of RMS 1
        words = {"theory": "expected", "measured": "measured", "next": "next"}
        told = {table: size * (row[f"update_rms_{word}"] or 0.0) for table, word in words.items()}
        told["both"] = (told["theory"] * told["measured"]) ** 0.5
        for horizon in training.run.parts(NEXT):
            real = _rms_over(training, place, moment, horizon)
            for table, update in told.items():
                yield _record(
                    training, table, name, moment, horizon, said=update or None, real=real
                )


def _rms_over(training: Training, place: int, moment: int, horizon: int) -> float:
    own = [training.rms[n][place] for n in range(moment + 1, moment + horizon + 1)]
    return (sum(rms * rms for rms in own) / horizon) ** 0.5


def _forecast(training: Training, table: str, moment: int, rows: Rows) -> Iterator[Record]:
    """The same of the forecast that translate prints, over fewer steps."""
    horizon = training.run.parts(NEXT[:2])[-1]
    for place, name in enumerate(training.names):
        real = _rms_over(training, place, moment, horizon)
        said = rows[name]["absolute_update"]
        yield _record(training, table, name, moment, horizon, said=said, real=real)


def _walk(
    training: Training, table: str, moment: int, horizon: int, rows: Rows
) -> Iterator[Record]:
    """How far the tensor goes, over its rms, beside noise and drift."""
    before = training.of(training.weights[moment])
    after = training.of(training.weights[moment + horizon])
    for name in training.names:
        real = _over(_rms(after[name] - before[name]), _rms(before[name]))
        for kind, word in ((table, "random_walk"), (f"{table}: drift", "drift")):
            said = rows[name][word]
            yield _record(training, kind, name, moment, horizon, said=said, real=real)


def _rounding(training: Training, moment: int, dtype: str, rows: Rows) -> Iterator[Record]:
    """The share of elements that the next update leaves as they are in this type."""
    update = training.of(training.updates[moment + 1])
    before = training.of(training.weights[moment])
    for name in training.names:
        kind, factor = (torch.bfloat16, 1.0) if dtype == "bf16" else (torch.float32, TINY_LR)
        stored = before[name].to(kind)
        moved = (stored.double() + factor * update[name]).to(kind)
        real = float((moved == stored).double().mean())
        said = rows[name]["stalled"]
        yield _record(training, f"stalled {dtype}", name, moment, 1, said=said, real=real)


def _persistence(
    training: Training, moment: int, rows: Rows, snr: Mapping[str, float]
) -> Iterator[Record]:
    """The state's snr, 0 at the noise floor, beside that of the gradients of many batches."""
    for name in training.names:
        row = rows[name]
        said = 0.0 if row.get("at_noise_floor") else row.get("snr")
        yield _record(training, "snr", name, moment, 1, said=said, real=snr[name])


def _continued(training: Training, moment: int, folder: Path) -> Iterator[Record]:
    """What diff says of as many steps as lie between two checkpoints, and of ten times as many."""
    short = training.run.parts([SHORT])[0]
    rows = _changes(folder, moment - short, moment)
    before = training.of(training.weights[moment])
    for times, word in ((1, "next_change"), (10, "next_change_10")):
        if moment + times * short not in training.weights:
            continue
        after = training.of(training.weights[moment + times * short])
        for name in training.names:
            real = _over(_rms(after[name] - before[name]), _rms(before[name]))
            said = rows[name][word]
            yield _record(training, "continued", name, moment, times * short, said=said, real=real)


def _from_two_checkpoints(training: Training, folder: Path) -> Iterator[Record]:
    """The same over steps of any number, × √(steps/steps)."""
    ends = [*training.run.moments, training.run.steps]
    for begin, middle in combinations(ends[:-1], 2):
        rows = _changes(folder, begin, middle)
        before = training.of(training.weights[middle])
        for end in ends[ends.index(middle) + 1 :]:
            after = training.of(training.weights[end])
            factor = ((end - middle) / (middle - begin)) ** 0.5
            for name in training.names:
                change = rows[name]["next_change"]
                said = None if change is None else factor * change
                real = _over(_rms(after[name] - before[name]), _rms(before[name]))
                yield _record(training, "two", name, middle, end - middle, said=said, real=real)


def _changes(folder: Path, begin: int, end: int) -> Rows:
    """The rows of `diff` between two checkpoints, by tensor."""
    before, after = (folder / f"{number}.pt" for number in (begin, end))
    report = scalecheck.diff(before, after, steps=end - begin, jobs=1)
    return {row["name"]: row for row in report.rows}


def _equilibrium(training: Training, rows: Rows) -> Iterator[Record]:
    """The rms at the end beside that which the updates and weight decay hold, where the run is long
    enough to reach it."""
    run = training.run
    for name in training.names:
        row = rows[name]
        if run.steps * (row["decay_pull"] or 0.0) >= FORGOTTEN:
            said, real = row["equilibrium_rms"], row["rms"]
            yield _record(training, "equilibrium", name, run.steps, 0, said=said, real=real)


def _rare_rows(training: Training, rows: Mapping[int, Rows]) -> Iterator[Record]:
    """How far one batch moves a row of the embedding that none had for long, and none has for a
    while then, over the rms of all rows."""
    run, name = training.run, training.problem.embedding
    if name is None:
        return
    absence, tail = run.moments[0], max(1, run.steps // 24)
    last: dict[int, int] = {}
    for step in range(1, run.steps - tail + 1):
        later = set().union(*(training.rows[n] for n in range(step + 1, step + tail + 1)))
        for row in sorted(training.rows[step]):
            begin, last[row] = last.get(row, 0), step
            if step - begin <= absence or row in later:
                continue
            moved = training.embeddings[step + tail][row] - training.embeddings[step - 1][row]
            moment = max(m for m in run.moments if m < step)
            told = rows[moment][name]
            said, real = told["rare_row_update"], _over(_rms(moved.double()), told["rms"])
            yield _record(training, "rare rows", name, moment, tail, said=said, real=real)


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def _over(a: float, b: float) -> float | None:
    return a / b if b else None
