"""What one tensor feels under an lr, and the same of several tensors together."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scalecheck.measure.groups import common
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.report.report import Row
from scalecheck.updates.bands import ROLES, Bands
from scalecheck.updates.forecast import Forecast
from scalecheck.updates.training import Training

POOLED = ("grad_rms", "drift", "random_walk", "to_update")  # in mean square over elements
MEANT = ("eps_share", "eps_near_share")
ADDED = ("v_zeros", "v_not_finite", "m_not_finite")


@dataclass(frozen=True)
class TensorForecast:
    """A tensor with its training: what theory expects of a step, and what a saved state says.

    measured: the forecast with the update of the state instead. stalled: share of the elements
    that the update does not move. decay_pull: share of itself that weight decay takes a step.
    rare_row: displacement that one gradient brings a row which had none for long, relative.
    more: further fields, of an optimizer state, of a schedule and of what is asked back.
    """

    scale: TensorStats
    training: Training
    expected: Forecast
    measured: Forecast | None = None
    stalled: float | None = None
    decay_pull: float | None = None
    rare_row: float | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def update(self) -> Forecast:
        """The measured one where there is one."""
        return self.measured or self.expected

    @property
    def is_finite(self) -> bool:
        return self.scale.nan == 0 and self.scale.inf == 0 and self.scale.rms is not None

    @property
    def is_matrix(self) -> bool:
        return self.scale.role in ROLES

    @property
    def relative_update(self) -> float | None:
        return self.update.relative_update if self.is_finite else None

    def band(self, bands: Bands) -> str | None:
        """Its band, or why it has none; None too for what the bands are not about."""
        if not self.is_finite:
            return "not finite" if self.scale.numel else "empty"
        if self.scale.rms == 0:
            return "zero-init"
        if self.relative_update is None or not self.is_matrix:
            return None
        return bands.of(self.relative_update)

    def row(self, bands: Bands) -> dict[str, Any]:
        """The fields of columns.COLUMNS, and those of `more`."""
        scale, finite = self.scale, self.is_finite
        return {
            "name": scale.name,
            "dtype": scale.dtype,
            "shape": list(scale.shape),
            "role": scale.role,
            "layer": scale.layer,
            "family": scale.family,
            "tensors": 1,
            "numel": scale.numel,
            "rms": scale.rms,
            "optimizer": self.training.name,
            "lr": self.training.lr,
            "weight_decay": self.training.weight_decay,
            "update_rms": self.update.update_rms,
            "update_rms_expected": self.expected.update_rms,
            "measured": self.measured is not None,
            "absolute_update": self.update.absolute_update,
            "relative_update": self.relative_update,
            "relative_update_min": self.relative_update,
            "relative_update_max": self.relative_update,
            "nominal_relative_update": self.expected.nominal_relative_update if finite else None,
            "band": self.band(bands),
            "decay_pull": self.decay_pull,
            "stalled": self.stalled,
            "rare_row_update": self.rare_row if finite else None,
            "reason": self.update.reason or None,
            "members": [(scale.name, self.training)],
            **self.more,
        }


def merged(key: str, lines: Sequence[TensorForecast], bands: Bands) -> dict[str, Any]:
    """The fields of several tensors: sizes as of all their elements together, settings where they
    are the same for all, else None."""
    if len(lines) == 1:
        return {**lines[0].row(bands), "name": key}
    rows = [line.row(bands) for line in lines]
    known = [row for row in rows if row["relative_update"] is not None]
    rms, update, lr = (_pooled(known, name) for name in ("rms", "absolute_update", "lr"))
    relative = update / rms if update is not None and rms else None
    matrices = all(line.is_matrix for line in lines)
    spread = [row["relative_update"] for row in known]
    row = {name: common(row[name] for row in rows) for name in rows[0]}
    row |= {
        "name": key,
        "members": [(line.scale.name, line.training) for line in lines],
        "dtype": ", ".join(dict.fromkeys(row["dtype"] for row in rows)),
        "tensors": len(rows),
        "numel": sum(row["numel"] for row in rows),
        "rms": _pooled(rows, "rms"),
        "update_rms": _pooled(known, "update_rms"),
        "update_rms_expected": _pooled(known, "update_rms_expected"),
        "measured": all(row["measured"] for row in rows),
        "absolute_update": update,
        "relative_update": relative,
        "relative_update_min": min(spread, default=None),
        "relative_update_max": max(spread, default=None),
        "nominal_relative_update": lr / rms if lr is not None and rms else None,
        "band": bands.of(relative) if matrices and relative is not None else None,
        "stalled": _mean(rows, "stalled"),
        "rare_row_update": max(
            (row["rare_row_update"] for row in rows if row["rare_row_update"] is not None),
            default=None,
        ),
    }
    pooled = {name: _pooled(rows, name) for name in POOLED if name in row}
    meant = {name: _mean(rows, name) for name in MEANT if name in row}
    added = {name: sum(row[name] or 0 for row in rows) for name in ADDED if name in row}
    return row | pooled | meant | added


def _weighted(rows: Iterable[Row], name: str) -> list[tuple[float, float]]:
    """A field of the rows that have it, each with its share of their elements."""
    known = [(row["numel"], row[name]) for row in rows if row[name] is not None and row["numel"]]
    total: int = sum(n for n, _ in known)
    return [(n / total, x) for n, x in known]


def _pooled(rows: Iterable[Row], name: str) -> float | None:
    """The root mean square over the elements."""
    known = _weighted(rows, name)
    return math.hypot(*(math.sqrt(share) * x for share, x in known)) if known else None


def _mean(rows: Iterable[Row], name: str) -> float | None:
    known = _weighted(rows, name)
    return math.fsum(share * x for share, x in known) if known else None
