"""Many layers: gradients of very different scale, as in a deep network, move all layers alike under
an optimizer that normalises them; what remains different is the scale of the weights."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from scalecheck.laws.replay.claim import Claim, claims_table, reason
from scalecheck.laws.replay.experiment import Experiment
from scalecheck.laws.replay.gradients import rms
from scalecheck.laws.replay.replay import HeldReplay, Replayed
from scalecheck.optimizers.sgd import Optimizer as Sgd
from scalecheck.report.formatting import figure, finite, setting
from scalecheck.report.report import Column, Table

LAW = "many layers"
ORDER = 5
STEPS = 100
SCALES = (1e-4, 1e-2, 1.0, 100.0)
WEIGHTS = (0.01, 0.1, 1.0, 10.0)  # RMS of each layer's, where they differ

COLUMNS = (
    Column("layer", "layer", "count", "its number"),
    Column("grad_rms", "gradient rms", "setting", "RMS of its gradients, whatever --grad-scale is"),
    Column("update_rms", "update", "measured", "RMS of its update at lr 1, replayed to step 100"),
    Column("update_rms_sgd", "under sgd", "measured", "the same under SGD"),
    Column("relative_equal", "change, w 1", "measured", "lr·update/rms(w) for weights of RMS 1"),
    Column("weight_rms", "weight rms", "setting", "the weights of the last column"),
    Column("relative_different", "change", "measured", "lr·update/rms(w) for those weights"),
)


def tables(experiment: Experiment, run: Replayed) -> Iterator[Table]:
    """The layers, then what is claimed of them."""
    rows = layers(experiment)
    title = "5  Many layers: what one lr is to layers whose gradients differ in scale"
    yield Table("layers", COLUMNS, COLUMNS, rows, title)
    yield claims_table([*claims(experiment, rows)], notes=_sentences(experiment, rows))


def answer(experiment: Experiment, tables: Sequence[Table]) -> str:
    """Nothing more than the laws of gradient and weight scale say."""
    return ""


def layers(experiment: Experiment) -> list[dict[str, Any]]:
    """A row a layer; the layers are given the same gradients but for their scale."""
    rows = []
    experiment = replace(experiment, grad_scale=1.0)
    for place, (scale, weight_rms) in enumerate(zip(SCALES, WEIGHTS, strict=True), 1):
        size, sgd_size = (
            _last_rms(experiment, HeldReplay(experiment, scale, o)) for o in (None, Sgd())
        )
        relative = finite(experiment.lr * size)
        weighs = 1.0 if experiment.optimizer.relative_lr else weight_rms
        rows.append(
            {
                "layer": place,
                "grad_rms": scale,
                "update_rms": finite(size),
                "update_rms_sgd": finite(sgd_size),
                "relative_equal": relative,
                "weight_rms": weight_rms,
                "relative_different": None if relative is None else relative / weighs,
            }
        )
    return rows


def claims(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> Iterator[Claim]:
    """The law where there is one, and one contrast."""
    name, ratio = experiment.name, _ratio(rows, "update_rms")
    if experiment.degree is not None:
        words = "largest layer update over smallest"
        expected = (max(SCALES) / min(SCALES)) ** experiment.degree
        scales = {f"layer {n}": scale for n, scale in enumerate(SCALES, 1)}
        why = reason(replace(experiment, grad_scale=1.0), scales)
        allowed = experiment.sizes_deviate * expected
        yield Claim.of(experiment, LAW, words, ratio, expected, allowed, why)
    words = "contrast: the same update in all"
    why = "it has no law" if experiment.refusal else f"{name}'s updates scale with its gradients"
    if experiment.degree == 0:
        words, why = "contrast: the same under sgd", "SGD's updates scale with its gradients"
        name, ratio = "sgd", _ratio(rows, "update_rms_sgd")
    yield Claim(LAW, words, name, experiment.k, ratio, 1.0, experiment.tolerance, True, why)


def _ratio(rows: Sequence[Mapping[str, Any]], field: str) -> float:
    sizes = [row[field] for row in rows]
    return math.inf if None in sizes or 0 in sizes else max(sizes) / min(sizes)


def _last_rms(experiment: Experiment, held: HeldReplay) -> float:
    steps = zip(range(STEPS), experiment.stream(), strict=False)
    return [rms(held.update(gradient)) for _, gradient in steps][-1]


def _sentences(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What one lr is to the layers."""
    equal = [row["relative_equal"] for row in rows]
    different = [row["relative_different"] for row in rows]
    if None in (*equal, *different):
        return []
    lr = setting(experiment.lr)

    def span(changes: Sequence[float]) -> str:
        low, high = figure(100 * min(changes)), figure(100 * max(changes))
        return low if low == high else f"{low} to {high}"

    return [
        f"At lr {lr} layers of equal weight scale change by {span(equal)} % per step, layers of "
        f"different weight scale by {span(different)} %."
    ]
