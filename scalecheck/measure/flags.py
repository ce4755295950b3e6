"""What stands out in a tensor's scale, as words for programs and as words for people."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from scalecheck.measure.outliers import family_ratios, strays
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.report import formatting
from scalecheck.report.report import Row

_WORDS = {"nan": "NaN", "all_zero": "all zero"}  # the other flags are words as they are


def tensor_rows(scales: Sequence[TensorStats]) -> list[dict[str, Any]]:
    """The fields of each tensor, with `family_ratio` and `flags`, which its siblings decide: the
    tensors of its family that have its shape."""
    siblings: dict[tuple[str, tuple[int, ...]], dict[str, float | None]] = {}
    for scale in scales:
        if scale.role != "buffer":
            siblings.setdefault((scale.family, scale.shape), {})[scale.name] = scale.rms
    ratios = {name: x for rms in siblings.values() for name, x in family_ratios(rms).items()}
    out_of_scale = {name for rms in siblings.values() for name in strays(rms)}
    return [
        {
            **vars(scale),
            "shape": list(scale.shape),
            "family_ratio": ratios.get(scale.name),
            "flags": _flags(scale, scale.name in out_of_scale),
        }
        for scale in scales
    ]


def _flags(scale: TensorStats, is_outlier: bool) -> list[str]:
    flags = {
        "nan": scale.nan > 0,
        "inf": scale.inf > 0,
        "all_zero": scale.role != "buffer" and 0 < scale.numel == scale.zeros,
        "outlier": is_outlier,
        "empty": scale.numel == 0,
        "tied": scale.tied_to is not None,
    }
    return [flag for flag, holds in flags.items() if holds]


def tensor_words(row: Row) -> list[str]:
    """The flags of a tensor with their numbers: 3 NaN, 101.7× family."""
    words = {
        "nan": f"{formatting.count(row['nan'])} NaN",
        "inf": f"{formatting.count(row['inf'])} inf",
        "outlier": f"{formatting.number(row['family_ratio'])}× family",
        "tied": f"tied to {row['tied_to']}",
    }
    return [words.get(flag, _WORDS.get(flag, flag)) for flag in row["flags"]]


def group_words(row: Row) -> list[str]:
    """The flags of a group with the tensors they are of: 1 of 32 all zero."""
    counts: Counter[str] = row["flag_counts"]
    of_all = f" of {row['tensors']}" if row["tensors"] > 1 else ""
    return [f"{n}{of_all} {_WORDS.get(flag, flag)}" for flag, n in counts.items()]


def sentence(rows: Sequence[Row]) -> str:
    """How many tensors are flagged, and for what."""
    counts = Counter(flag for row in rows for flag in row["flags"])
    flagged = sum(bool(row["flags"]) for row in rows)
    words = ", ".join(f"{n} {_WORDS.get(flag, flag)}" for flag, n in counts.items())
    return f"flagged: {flagged} of {len(rows)} ({words})" if flagged else "flagged: none"
