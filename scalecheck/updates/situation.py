"""What a run is for and what of it was said, as far as published ranges ask: its phase, with the
evidence; whether it has a warm-up; which matrices an initialization scaled down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scalecheck.checkpoint.naming import HALVES
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.measure.initial_signs import scaled_residuals, signs_of_initialization
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.recipes.recipe import Phase
from scalecheck.settings import DEFAULT, Settings
from scalecheck.theory.schedule import Schedule

_LEAST_ROWS = 2  # times its width that a table of tokens has in rows


@dataclass(frozen=True)
class Situation:
    """The run that a checkpoint is at the start of.

    phase: None where it is not known. evidence: what says it. residuals: the matrices that an
    initialization scaled down by depth. width: of a language model, by its table of tokens; None
    where there is none. is_step_asked: the forecast is of a step that was asked about. plan: the
    schedule that was given. has_no_warmup: that was said, or a schedule was given without one.
    is_peak: the lr was given, so that it is not the end of a schedule. has_base: the base of an
    adapter was given, so that its matrices are judged and its halves are not. is_adapter: there are
    halves of one, by their names.
    """

    phase: Phase | None = None
    evidence: str = ""
    residuals: frozenset[str] = frozenset()
    width: int | None = None
    is_step_asked: bool = False
    plan: Schedule | None = None
    has_no_warmup: bool = False
    is_peak: bool = False
    has_base: bool = False
    is_adapter: bool = False

    @property
    def is_phase_found(self) -> bool:
        """The weights say it, and not --phase."""
        return self.phase is not None and not self.evidence.startswith("--phase")

    @property
    def warmup(self) -> int | None:
        """Its steps; None where nothing was said of it."""
        if self.plan is not None:
            return self.plan.warmup
        return 0 if self.has_no_warmup else None


def situation(
    settings: Settings,
    plan: Schedule | None,
    stats: Sequence[TensorStats],
    tensors: Mapping[str, Tensor] | None,
) -> Situation:
    """By the settings, and by the tensors where these do not say the phase; tensors: by their
    names, None where they are those of an initialization, which has no elements yet. Raises
    CheckpointError."""
    phase: Phase | None = settings.phase
    evidence = f"--phase {phase}" if phase else ""
    if phase is None and tensors is None:
        given = "--shape" if settings.assume is None else f"--assume {settings.assume}"
        phase, evidence = "pretrain", given
    elif phase is None and tensors is not None:
        signs = signs_of_initialization(stats, tensors)
        phase, evidence = ("pretrain", signs) if signs else (None, "")
    is_said = settings.sources["warmup"] != DEFAULT and settings.warmup == 0
    return Situation(
        phase,
        evidence,
        scaled_residuals(stats),
        _width(stats),
        settings.step is not None,
        plan,
        is_said or (plan is not None and plan.warmup == 0),
        settings.lr is not None,
        settings.base is not None,
        any(one.role in HALVES for one in stats),
    )


def _width(stats: Sequence[TensorStats]) -> int | None:
    """The columns of the largest table with far more rows, of a model without convolutions."""
    if any(one.role == "conv" for one in stats):
        return None
    tables = [one for one in stats if one.role == "embedding" and len(one.shape) == 2]
    tables = [one for one in tables if one.shape[0] >= _LEAST_ROWS * one.shape[1]]
    return max(tables, key=lambda one: one.shape[0]).shape[1] if tables else None
