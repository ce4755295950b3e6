"""What stands out in a tensor's scale, as words for programs and as words for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scalecheck.measure.faults import judged_for_zeros, nan_and_inf
from scalecheck.measure.outliers import family_ratios, strays
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.report import formatting
from scalecheck.report.report import Row

if TYPE_CHECKING:
    from scalecheck.measure.initial_scale import Reference

_WORDS = {"nan": "NaN", "all_zero": "all zero"}  # the other flags are words as they are

Quantiles = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class FlaggedStats(TensorStats):
    """A tensor's statistics beside those of its siblings: the same tensor of the other blocks.

    family_ratio: its rms over the median of theirs. reference: how an initialization starts it.
    """

    family_ratio: float | None = None
    flags: Sequence[str] = ()
    reference: "Reference | None" = None
    quantiles: Quantiles | None = None

    @property
    def faults(self) -> Sequence[str]:
        """The flags that say that something is wrong; not those of an empty tensor and a tied
        one."""
        return [flag for flag in self.flags if flag not in ("empty", "tied")]

    @property
    def flag_counts(self) -> Mapping[str, int]:
        """How many tensors have each flag, as of a group."""
        return dict.fromkeys(self.flags, 1)


def flagged(
    tensors: list[TensorStats],
    siblings: Mapping[str, str],
    references: "Mapping[str, Reference | None]",
    quantiles: Mapping[str, Quantiles],
) -> list[FlaggedStats]:
    """The tensors with what their siblings decide, which share a text of `siblings`; it, references
    and quantiles are by name. Empties the list, which is as large as what is made of it."""
    families: dict[str, dict[str, float | None]] = {}
    for stats in tensors:
        if stats.name in siblings:
            families.setdefault(siblings[stats.name], {})[stats.name] = stats.rms
    ratios = {name: x for rms in families.values() for name, x in family_ratios(rms).items()}
    out_of_scale = {name for rms in families.values() for name in strays(rms)}
    families.clear()
    not_zero = judged_for_zeros(tensors, siblings)
    tensors.reverse()
    found = []
    while tensors:
        stats = tensors.pop()
        found.append(
            FlaggedStats(
                **stats.fields(),
                family_ratio=ratios.get(stats.name),
                flags=_flags(stats, stats.name in not_zero, stats.name in out_of_scale),
                reference=references.get(stats.name),
                quantiles=quantiles.get(stats.name),
            )
        )
    return found


def _flags(stats: TensorStats, is_not_zero: bool, is_outlier: bool) -> tuple[str, ...]:
    """The flags as the rules of `check` judge; is_not_zero: it should not be all zero."""
    nan, inf = nan_and_inf(stats)
    flags = {
        "nan": nan > 0,
        "inf": inf > 0,
        "all_zero": is_not_zero and stats.zeros == stats.numel,
        "outlier": is_outlier,
        "empty": stats.numel == 0,
        "tied": stats.tied_to is not None,
    }
    return tuple(flag for flag, holds in flags.items() if holds)


def tensor_words(row: Row) -> list[str]:
    """The flags of a tensor with their numbers: 3 NaN, 102× above family."""
    words = {
        "nan": f"{formatting.count(row['nan'])} NaN",
        "inf": f"{formatting.count(row['inf'])} inf",
        "outlier": off_family(row["family_ratio"]).replace("its ", ""),
        "tied": f"tied to {row['tied_to']}",
    }
    return [words.get(flag, in_words(flag)) for flag in row["flags"]]


def off_family(ratio: float | None) -> str:
    """How far an rms is off the median of its family: 102× above its family."""
    if not ratio:
        return "off its family" if ratio is None else "0 in its family"
    side = "above" if ratio > 1 else "below"
    return f"{formatting.figure(max(ratio, 1 / ratio))}× {side} its family"


def group_words(row: Row) -> list[str]:
    """The flags of a group with the tensors they are of: 1 of 32 all zero."""
    of_all = f" of {row['tensors']}" if row["tensors"] > 1 else ""
    return [f"{n}{of_all} {in_words(flag)}" for flag, n in row["flag_counts"].items()]


def in_words(flag: str) -> str:
    return _WORDS.get(flag, flag)
