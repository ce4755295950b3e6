"""Where one number lies among published ones, how severe that is, and in which words."""

from dataclasses import dataclass
from typing import Literal

from scalecheck.recipes.ranges import NOTED, Place, Range
from scalecheck.recipes.recipe import PHASES

Severity = Literal["", "note", "warning", "error"]

_ROUNDING = 1e-9
_RUNS = {
    "pretrain": "pretrainings",
    "resume": "pretrainings",
    "finetune": "fine-tunings",
    "preference": "preference tunings",
    "rl": "RL runs",
}
_VERBS = {
    "start": "change matrices by",
    "residual_start": "start residual outputs at",
    "warm": "are there at",
    "mid": "are in mid-run at",
    "equilibrium": "settle at",
    "adapter_half": "change A by",
    "lr_equivalent": "move W as full fine-tuning does at lr",
}
NUMBERS = frozenset(("lr_equivalent", "width_lr", "gain"))  # no shares


@dataclass(frozen=True, slots=True)
class Placement:
    """A value beside the range of the same quantity."""

    value: float
    range: Range

    @property
    def place(self) -> Place:
        return self.range.place(self.value)

    @property
    def severity(self) -> Severity:
        """Empty inside; a note to NOTED times outside, a warning beyond; an error only where no
        published recipe comes near."""
        if self.place == "inside":
            return ""
        if self.place == "above" and self.value > (self.range.error or self.value):
            return "error"
        is_near = self.range.times_outside(self.value) <= NOTED * (1 + _ROUNDING)
        return "note" if is_near else "warning"

    @property
    def limit(self) -> float:
        """What the severity is told by: an end of the range, or its error."""
        if self.severity == "error":
            return self.range.error or self.range.high
        return self.range.low if self.place == "below" else self.range.high

    @property
    def published(self) -> str:
        """Published pretrainings start residual outputs at 0.1 to 12 % (37 recipes)."""
        of = self.range
        verb = _VERBS.get(of.quantity, "have")
        if of.quantity == "start" and of.phases == ("pretrain",):
            verb = "start hidden matrices at"
        most = "" if of.low else "at most "
        return f"published {runs(of)} {verb} {most}{span(of)} ({of.recipes} recipes)"


def runs(of: Range) -> str:
    """What the recipes of a range are, in the plural."""
    words = " and ".join(dict.fromkeys(_RUNS[phase] for phase in of.phases))
    if of.is_adapter:
        return "LoRA runs" if len(of.phases) > 2 else f"LoRA {words}"
    if of.quantity == "residual_start":  # of the others no recipe tells
        return _RUNS["pretrain"]
    if of.phases == PHASES:
        return "recipes of any phase" + ("" if of.family else " and optimizer")
    return words


def span(of: Range) -> str:
    """0.1 to 5 %; of a number that is no share the number."""
    if of.quantity in NUMBERS:
        return f"{of.low:.3g} to {of.high:.3g}"
    return f"{percent(of.low)} to {percent(of.high)} %" if of.low else f"{percent(of.high)} %"


def a_step(share: float) -> str:
    """A relative update for people: 0.689 % per step."""
    return f"{percent(share)} % per step"


def percent(share: float) -> str:
    """Three digits of a percentage, in fixed notation from 0.00001 on."""
    x = 100 * share
    if x >= 1000:
        return f"{x:,.0f}"
    return f"{x:.7f}".rstrip("0") if 1e-5 <= x < 1e-4 else f"{x:.3g}"
