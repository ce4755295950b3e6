"""A statement about an optimizer, what was measured of it and what theory expects; and where it
breaks, what in the settings of the experiment explains that."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalecheck.dtypes import BY_TORCH_NAME, FLOAT_TYPES
from scalecheck.laws.replay.experiment import Experiment
from scalecheck.report.formatting import number, setting
from scalecheck.report.report import Column, Row, Table
from scalecheck.theory.precision import rounded, square_limits

NO_REASON = "theory has no reason for this"
CLIPPED = 2.0  # times its expectation that a norm may be
SMALL = 0.05  # of the eps that takes the tolerance of a first update
ROUNDING = 1e-6  # an optimizer of less precision computes in a narrow type
LARGEST = 4.0  # standard deviations that some element of a tensor reaches


@dataclass(frozen=True)
class Claim:
    """measured is within `tolerance` of expected; or above it, where the tolerance is None.

    A contrast shows where a law does not apply: that it breaks is no failure.
    """

    law: str
    claim: str
    optimizer: str
    k: float
    measured: float
    expected: float
    tolerance: float | None
    contrast: bool = False
    reason: str = NO_REASON

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        law: str,
        words: str,
        measured: float,
        expected: float,
        tolerance: float | None,
        reason: str,
    ) -> "Claim":
        """A claim of the experiment's optimizer, at its k."""
        name, k = experiment.name, experiment.k
        return cls(law, words, name, k, measured, expected, tolerance, reason=reason)

    @property
    def holds(self) -> bool:
        if self.tolerance is None:
            # What diverges does not follow: a control may be inf or NaN.
            return not self.measured <= self.expected
        return abs(self.measured - self.expected) <= self.tolerance

    def row(self) -> dict[str, Any]:
        """The fields of COLUMNS; a measurement that is not finite is None."""
        return {
            "law": self.law,
            "claim": self.claim,
            "optimizer": self.optimizer,
            "k": self.k,
            "relation": "above" if self.tolerance is None else "within",
            "measured": self.measured if math.isfinite(self.measured) else None,
            "expected": self.expected,
            "tolerance": self.tolerance,
            "holds": self.holds,
            "contrast": self.contrast,
            "reason": None if self.holds else self.reason,
        }


def _measured(row: Row) -> str:
    return "not finite" if row["measured"] is None else number(row["measured"])


def _expected(row: Row) -> str:
    return ("> " if row["relation"] == "above" else "") + setting(row["expected"])


def verdict(row: Row) -> str:
    """HOLDS, BREAKS, of a contrast DIFFERS; nothing where there was nothing to compare with."""
    if row["holds"] is None:
        return ""
    return "HOLDS" if row["holds"] else "DIFFERS" if row.get("contrast") else "BREAKS"


HOLDS = Column(
    "holds",
    "",
    "sentence",
    "measured is within the tolerance of expected, or above it where the relation is above",
    cell=verdict,
)
COLUMNS = (
    Column("law", "law", "sentence", "which of the laws the claim is about"),
    Column("claim", "claim", "sentence", "what is claimed"),
    Column("optimizer", "optimizer", "text", "whom it is claimed of"),
    Column("k", "k", "number", "the factor of the experiment"),
    Column("relation", "relation", "sentence", "within: |measured − expected| ≤ tolerance; above"),
    Column("measured", "measured", "written", "by replay; null where not finite", cell=_measured),
    Column("expected", "expected", "written", "by theory", cell=_expected),
    Column("tolerance", "tolerance", "setting", "absolute; null where the relation is above"),
    HOLDS,
    Column("contrast", "contrast", "sentence", "no law of the optimizer: to break is no failure"),
    Column("reason", "reason", "sentence", "why it breaks"),
)
SHOWN = [c for c in COLUMNS if c.name in ("claim", "measured", "expected", "tolerance", "holds")]


def broken(claims: Sequence[Claim]) -> list[str]:
    """Why the claims break that are laws of their optimizers, each reason once."""
    reasons = {
        (claim.optimizer, claim.reason): None
        for claim in claims
        if not claim.holds and not claim.contrast
    }
    return [f"{optimizer} BREAKS: {reason}" for optimizer, reason in reasons]


def claims_table(claims: Sequence[Claim], title: str = "", notes: Sequence[str] = ()) -> Table:
    """The claims with what they are judged by, and why those that break do."""
    contrasts = [
        f"As expected, {claim.reason}." for claim in claims if claim.contrast and not claim.holds
    ]
    rows = [claim.row() for claim in claims]
    return Table("claims", COLUMNS, SHOWN, rows, title, [*broken(claims), *contrasts, *notes])


def counts(tables: Iterable[Table]) -> dict[str, int]:
    """How many claims of laws hold and break, and how many contrasts are beside them."""
    rows = claims(tables)
    laws = [row for row in rows if not row["contrast"]]
    hold = sum(row["holds"] for row in laws)
    return {"hold": hold, "break": len(laws) - hold, "contrasts": len(rows) - len(laws)}


def verdict_of(name: str, counted: Mapping[str, int], reasons: Sequence[str]) -> str:
    """Whether all holds, and why what breaks does."""
    hold, breaks = counted["hold"], counted["break"]
    if not hold + breaks:
        return f"{name}: no law to replay."
    if not breaks:
        return f"{name}: all {hold} claims of the laws hold."
    verb = "breaks" if breaks == 1 else "break"
    more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
    return f"{name}: {breaks} of {hold + breaks} claims of the laws {verb}: {reasons[0]}{more}."


def reasons(tables: Iterable[Table]) -> list[str]:
    """Why claims of laws break, each reason once; of several optimizers with the first it is of."""
    rows = claims(tables)
    is_one = len({row["optimizer"] for row in rows if not row["contrast"]}) == 1
    broken = [row for row in rows if not row["holds"] and not row["contrast"]]
    found = {row["reason"]: row["optimizer"] for row in reversed(broken)}
    return [why if is_one else f"{name}, {why}" for why, name in reversed(found.items())]


def times(k: float) -> str:
    """10 times larger, 0.1 times as large."""
    return f"{setting(k)} times {'larger' if k >= 1 else 'as large'}"


def rows_of(tables: Iterable[Table], law: str) -> list[Row]:
    """The claims of a law, contrasts too."""
    return [row for row in claims(tables) if row["law"] == law]


def claims(tables: Iterable[Table]) -> list[Row]:
    return [row for table in tables if table.name == "claims" for row in table.rows]


def reason(
    experiment: Experiment, scales: Mapping[str, float], change: float = 1.0, coscaled: bool = False
) -> str:
    """What theory has against a claim on gradients of these names and scales: all that counts here.

    change: the smallest relative change of the weights that is claimed of. coscaled: eps, clipping
    and decay follow the scale.
    """
    against: list[str] = []
    if not coscaled:
        against += _clipping(experiment, scales)
        if experiment.is_decay_coupled:
            decay = f"weight_decay {setting(experiment.decay)}"
            against.append(f"{decay} joins the gradient (coupled L2) and does not follow its scale")
        against += _eps(experiment, scales)
    against += _storage(experiment, scales)
    rounding = FLOAT_TYPES[BY_TORCH_NAME[experiment.dtype].name].epsilon / 2
    if rounding > experiment.tolerance * change:
        against.append(
            f"{experiment.dtype} rounds a weight by up to {setting(rounding)} of it where a step "
            f"changes it by {setting(change)}"
        )
    if experiment.optimizer.precision > ROUNDING:
        against.append(f"{experiment.name} multiplies matrices in bfloat16")
    return "; ".join(against) or NO_REASON


def _clipping(experiment: Experiment, scales: Mapping[str, float]) -> Iterator[str]:
    """Clipping that acts on all alike leaves gradients of one norm: a fault only where the update
    is to follow the gradient."""
    if experiment.clip is None:
        return
    root = math.sqrt(experiment.size)
    norms = {name: root * experiment.grad_scale * scale for name, scale in scales.items()}
    clipped = [name for name, norm in norms.items() if norm > experiment.clip / CLIPPED]
    alike = all(norm > experiment.clip * CLIPPED for norm in norms.values())
    if clipped and not (alike and experiment.degree == 0):
        yield (
            f"clip {setting(experiment.clip)} cuts the norm of {_listed(clipped)}, "
            f"{_listed(setting(norms[name]) for name in clipped)}"
        )


def _listed(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def _eps(experiment: Experiment, scales: Mapping[str, float]) -> Iterator[str]:
    """An eps of x·rms(g) takes √(0.8·x) of the first update of noise, x of the later ones."""
    optimizer = experiment.optimizer
    # Adafactor's eps1 bounds a mean square.
    eps = getattr(optimizer, "eps", 0.0) or math.sqrt(getattr(optimizer, "eps1", None) or 0.0)
    sizes = {name: experiment.rms(scale) for name, scale in scales.items()}
    small = [name for name, rms in sizes.items() if eps > SMALL * experiment.tolerance**2 * rms]
    if small and experiment.optimizer.precision <= ROUNDING:
        ratios = (f"{setting(eps / sizes[name])} of rms({name})" for name in small)
        yield f"eps {setting(eps)} is {_listed(ratios)}: the smallest gradients move less"


def storage_limits(experiment: Experiment) -> tuple[float, float]:
    """|g| of an element up to which, and above which, the experiment's dtype loses it or the square
    that an average of beta2 keeps of it."""
    dtype = BY_TORCH_NAME[experiment.dtype].name
    kind = FLOAT_TYPES[dtype]
    beta2 = getattr(experiment.optimizer, "beta2", None)
    if beta2 is None:
        return kind.smallest_subnormal / 2, kind.largest
    limits = square_limits(dtype, beta2)
    return limits.vanishing, min(limits.overflowing, kind.largest)


def _storage(experiment: Experiment, scales: Mapping[str, float]) -> Iterator[str]:
    dtype, stored = experiment.dtype, BY_TORCH_NAME[experiment.dtype].name
    kind = FLOAT_TYPES[stored]
    eps = getattr(experiment.optimizer, "eps", 0.0)
    no_eps = bool(eps) and float(rounded(eps, stored)) == 0
    if no_eps:
        yield f"eps {setting(eps)} is 0 in {dtype}"
    beta2 = getattr(experiment.optimizer, "beta2", None)
    kept = "g" if beta2 is None else "(1 − beta2)·g²"
    vanishing, overflowing = storage_limits(experiment)
    sizes = {name: experiment.rms(scale) for name, scale in scales.items()}
    large = {name: rms for name, rms in sizes.items() if rms > overflowing / LARGEST}
    if large:
        rms = _listed(f"rms({name}) is {setting(rms)}" for name, rms in large.items())
        yield f"{kept} overflows {dtype} for |g| above {setting(overflowing)}, and {rms}"
    small = {name: rms for name, rms in sizes.items() if vanishing > experiment.tolerance**2 * rms}
    if small:
        shares = _listed(
            f"{setting(100 * math.erf(vanishing / (math.sqrt(2) * rms)))} % of {name}"
            for name, rms in small.items()
        )
        yield f"{kept} is 0 in {dtype} for |g| up to {setting(vanishing)}: for {shares}"
    frozen = 0.0 if beta2 is None else square_limits(stored, beta2).frozen_share
    if frozen:
        yield (
            f"beta2 {setting(beta2)} times v is v for {setting(100 * frozen)} % of the numbers of "
            f"{dtype}: v cannot decay"
        )
    elif kind.mantissa_bits < FLOAT_TYPES["F32"].mantissa_bits and not (large or small or no_eps):
        error = setting(kind.epsilon / 2)
        yield f"{dtype} rounds each number of the state by up to {error} of it"
