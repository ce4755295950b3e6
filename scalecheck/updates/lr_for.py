"""Which lr gives a relative update that is wanted: one that is named, that of another checkpoint,
or that of another optimizer."""

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from scalecheck.measure.groups import mean_square
from scalecheck.report.report import Column, Row
from scalecheck.updates.columns import absolute_update

TARGET = (
    Column("target_lr", "lr for it", "number", "the lr of the relative update asked for"),
    Column("target_factor", "× lr", "number", "over the lr it has"),
)
LIKE = (
    Column("like_relative_update", "there", "number", "relative update of the other's tensor", 2),
    Column("like_by", "matched by", "text", "name, or family where the other has no such name", 3),
    *TARGET,
)
TO = (
    Column(
        "to_update",
        "its update",
        "number",
        "RMS of Δw at lr 1 of the other optimizer",
        merge=mean_square("to_update"),
    ),
    Column(
        "to_lr",
        "its lr",
        "number",
        "the other optimizer's lr of the same Δw",
        get=lambda each: _over(each.absolute_update, each.to_update),
        merge=lambda each: _over(absolute_update(each), mean_square("to_update")(each)),
    ),
)

Fields = dict[str, Any]


def towards(row: Row, relative_update: float | None) -> Fields:
    """The fields of TARGET of a row, whose update is in proportion to its lr."""
    own = row["relative_update"]
    if relative_update is None or not own:
        return {"target_lr": None, "target_factor": None}
    factor = relative_update / own
    return {
        "target_lr": None if row["lr"] is None else row["lr"] * factor,
        "target_factor": factor,
    }


class Others:
    """The relative updates of another checkpoint, by name and by family."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._by_name: dict[str, float] = {}
        families: dict[str, list[float]] = {}
        for row in rows:
            if (relative := row["relative_update"]) is not None:
                self._by_name[row["name"]] = relative
                if row["family"] is not None:  # it is of a group of several
                    families.setdefault(row["family"], []).append(relative)
        self._by_family = {family: median(known) for family, known in families.items()}

    def towards(self, row: Row) -> Fields:
        """The fields of LIKE of a row."""
        by, relative = self._of(row["name"], row["family"])
        return {"like_relative_update": relative, "like_by": by, **towards(row, relative)}

    def _of(self, name: str, family: str | None) -> tuple[str | None, float | None]:
        """How the tensor was found, and its relative update."""
        if name in self._by_name:
            return "name", self._by_name[name]
        if family is not None and family in self._by_family:
            return "family", self._by_family[family]
        return None, None


def _over(a: float | None, b: float | None) -> float | None:
    return a / b if a is not None and b else None
