"""The lrs that give the tensors of a checkpoint the relative updates of another's."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from scalecheck.report.formatting import plural, printable, rate
from scalecheck.report.part import Part
from scalecheck.report.report import Row
from scalecheck.updates.target import towards
from scalecheck.updates.tensor_forecast import TensorForecast


class Others:
    """The relative updates of another checkpoint, by name and by family."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._by_name: dict[str, float] = {}
        families: dict[str, list[float]] = {}
        for there in rows:
            if (relative := there["relative_update"]) is not None:
                self._by_name[there["name"]] = relative
                if there["family"] is not None:  # it is of a group of several
                    families.setdefault(there["family"], []).append(relative)
        self._by_family = {family: median(known) for family, known in families.items()}

    def towards(self, row: Row, members: Sequence[TensorForecast]) -> dict[str, Any]:
        """The fields of LIKE of a row."""
        by, known, key = "name", self._by_name, row["name"]
        if key not in known:
            by, known, key = "family", self._by_family, row["family"]
        relative = known.get(key)
        found = None if relative is None else by
        return {
            "like_relative_update": relative,
            "like_by": found,
            **towards(row, members, relative),
        }


def part(forecasts: Sequence[TensorForecast], others: Others | None, path: object) -> Part:
    """What a translation says of them; nothing without another checkpoint."""
    if others is None:
        return Part()
    known = [(each, lr) for each in forecasts if (lr := _target_lr(each, others)) is not None]
    matrices = [lr for each, lr in known if each.has_band]
    lrs = matrices or [lr for _, lr in known]
    figures = {
        "lr_min": min(lrs, default=None),
        "lr_median": median(lrs) if lrs else None,
        "lr_max": max(lrs, default=None),
        "matrices" if matrices else "tensors": len(lrs),
    }
    where = printable(str(getattr(path, "path", path)))
    if not lrs:
        words = f"No tensor here is like one of {where}, by its name or its family."
        return Part(summary={"like": figures}, conclusion=[words])
    of = plural(len(lrs), "tensor")
    if matrices:
        of = f"{len(lrs)} matrices" if len(lrs) > 1 else "1 matrix"
    low, middle, high = rate(min(lrs)), rate(median(lrs)), rate(max(lrs))
    span = f"lr {low}" if low == high else f"lr {low} to {high} (median {middle})"
    return Part(
        summary={"like": figures},
        conclusion=[f"For the updates of {where}, {of} here take{'s' * (len(lrs) == 1)} {span}."],
    )


def _target_lr(forecast: TensorForecast, others: Others) -> float | None:
    fields = ("name", "family", "relative_update", "lr")
    row = {name: getattr(forecast, name) for name in fields}
    lr: float | None = others.towards(row, [forecast])["target_lr"]
    return lr
