"""Every optimizer of the family in a row each: what it does with the scales of gradient and
weights."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from scalecheck.laws import gradient_scale, reparameterization, update_size
from scalecheck.laws.replay.claim import COLUMNS as CLAIMS
from scalecheck.laws.replay.claim import HOLDS, Claim, broken
from scalecheck.laws.replay.experiment import Experiment
from scalecheck.laws.replay.replay import replayed
from scalecheck.report.formatting import finite
from scalecheck.report.report import Column, Table

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


def tables(experiments: Sequence[Experiment]) -> Iterator[Table]:
    """A row an optimizer, and below them what breaks and who has no law; and all their claims."""
    rows: list[dict[str, Any]] = []
    claims: list[Claim] = []
    for experiment in experiments:
        run, law = replayed(experiment), experiment.law
        twins = reparameterization.claims(experiment) if law else []
        at_p, *wrong = (claim.measured for claim in twins) if twins else (None, None)
        found = [*gradient_scale.claims(experiment, run), *update_size.claims(experiment, run)]
        found += twins
        laws = [claim for claim in found if not claim.contrast]
        rows.append(
            {
                "optimizer": experiment.name,
                "p": law.lr_exponent if law else None,
                "deviation": finite(at_p),
                "deviation_wrong_p": finite(min(filter(None, wrong), default=None)),
                "same_updates": finite(run.alike),
                "update_rms_noise": finite(run.noise.rms),
                "update_rms_constant": finite(run.constant.rms),
                "holds": all(claim.holds for claim in laws) if laws else None,
            }
        )
        claims += found
    refusals = [f"no p: {one.name}: {one.refusal}" for one in experiments if one.refusal]
    yield Table("optimizers", COLUMNS, COLUMNS, rows, notes=[*broken(claims), *refusals])
    yield Table("claims", CLAIMS, (), [claim.row() for claim in claims])
