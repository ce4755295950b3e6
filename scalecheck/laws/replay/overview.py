"""Every optimizer of the family in a row each: what it does with the scales of gradient and
weights."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from scalecheck.laws import gradient_scale, reparameterization, update_size
from scalecheck.laws.replay.claim import COLUMNS as CLAIMS
from scalecheck.laws.replay.claim import HOLDS, Claim, broken
from scalecheck.laws.replay.experiment import Experiment
from scalecheck.laws.replay.replay import replayed
from scalecheck.laws.replay.second_seed import Decided, decided
from scalecheck.report.formatting import finite
from scalecheck.report.report import Column, Row, Table

COLUMNS = (
    Column("optimizer", "optimizer", "text", "its name"),
    Column(
        "p", "p", "count", "lr' = k^p·lr trains weights k times larger alike; null: no such law"
    ),
    Column("deviation", "at p", "number", "outputs of the twin network: largest deviation at p"),
    Column("deviation_wrong_p", "at p ± 1", "number", "the smaller deviation at p − 1 and p + 1"),
    Column(
        "same_updates", "k·g", "number", "largest deviation of the updates of k·g from those of g"
    ),
    Column("update_rms_noise", "noise", "number", "update RMS at lr 1 for noise without a mean"),
    Column("update_rms_constant", "constant", "number", "update RMS for a constant gradient"),
    replace(HOLDS, help="gradient scale, limits of the update size and p are as theory has them"),
)


Seen = tuple[dict[str, Any], list[Claim]]


def tables(
    experiments: Sequence[Experiment], tick: Callable[[], None]
) -> tuple[list[Table], list[Decided[Seen]]]:
    """A row an optimizer, and below them what breaks and who has no law; all their claims; and at
    which seed each was decided. tick: called after each optimizer."""
    seen = []
    for experiment in experiments:
        seen.append(decided(experiment, _seen))
        tick()
    rows = [each.found[0] for each in seen]
    claims = [claim for each in seen for claim in each.found[1]]
    refusals = [f"no p: {one.name}: {one.refusal}" for one in experiments if one.refusal]
    return [
        Table("optimizers", COLUMNS, COLUMNS, rows, notes=[*broken(claims), *refusals]),
        Table("claims", CLAIMS, (), [claim.row() for claim in claims]),
    ], seen


def _seen(experiment: Experiment) -> tuple[Seen, list[Row]]:
    """The row of an optimizer and its claims, and the rows of these."""
    run, law = replayed(experiment), experiment.law
    twins = reparameterization.claims(experiment) if law else []
    at_p, *wrong = (claim.measured for claim in twins) if twins else (None, None)
    claims = [*gradient_scale.claims(experiment, run), *update_size.claims(experiment, run)]
    claims += twins
    laws = [claim for claim in claims if not claim.contrast]
    row = {
        "optimizer": experiment.name,
        "p": law.lr_exponent if law else None,
        "deviation": finite(at_p),
        "deviation_wrong_p": finite(min(filter(None, wrong), default=None)),
        "same_updates": finite(run.alike),
        "update_rms_noise": finite(run.noise.rms),
        "update_rms_constant": finite(run.constant.rms),
        "holds": all(claim.holds for claim in laws) if laws else None,
    }
    return (row, claims), [claim.row() for claim in claims]
