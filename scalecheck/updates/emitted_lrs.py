"""The lr that each tensor of a translation is emitted with: that of its row, to 3 digits, but where
the tensor is too small for its state to tell one, or has no relative update."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

from scalecheck.errors import UsageError
from scalecheck.report.report import Row
from scalecheck.updates.tensor_forecast import TensorForecast

SMALL = 1000  # elements below which the last update of a tensor is mostly the noise of one step
FEW = 3  # tensors of which a median drops the one that is off

ZERO = "zero-initialised: moves by lr, no relative update"
_NOISE = f"below {SMALL:,} elements one step of a state is noise"
POOLED = f"{_NOISE}: the median lr of the family or role"
NOISY = f"{_NOISE}, and there are no others to pool with"
UNTOLD = "no relative update is known: the lr is not that of the target"


@dataclass(frozen=True)
class Emitted:
    """A tensor with its lr, None where nothing tells one yet. remark: what is said of the lr."""

    member: TensorForecast
    lr: float | None
    remark: str = ""

    @property
    def name(self) -> str:
        return self.member.name


def emitted(rows: Sequence[Row]) -> list[Emitted]:
    """The trained tensors of the rows in their order, each with its lr to 3 digits. Raises
    UsageError where that is no positive finite number, and where no tensor tells one."""
    each = [
        _of_row(row, own, len(row["members"]) == 1)
        for row in rows
        for member in row["members"]
        for own in member.trained
    ]
    each = [*_pooled(each)]
    each = [*_filled(each)]
    return [replace(one, lr=_rounded(one)) for one in each]


def _of_row(row: Row, member: TensorForecast, is_alone: bool) -> Emitted:
    """By the row's factor on the tensor's own lr, or where it has none by the row's lr."""
    lr, factor = member.lr, row["target_factor"]
    if lr is None:
        lr, is_aimed = row["target_lr"], row["target_lr"] is not None
    else:
        lr, is_aimed = lr * (1.0 if factor is None else factor), factor is not None
    if not is_aimed:
        return Emitted(member, lr, ZERO if member.rms == 0 else UNTOLD)
    is_noisy = is_alone and member.measured and member.numel < SMALL
    return Emitted(member, lr, NOISY if is_noisy else "")


def _pooled(tensors: Sequence[Emitted]) -> Iterator[Emitted]:
    """Small tensors whose lr one step of a state told, at the median of their kind."""
    families = _lrs(tensors, lambda one: one.member.family)
    roles = _lrs(tensors, lambda one: one.member.role)
    for one in tensors:
        if one.remark != NOISY:
            yield one
            continue
        own, alike = families[one.member.family], roles[one.member.role]
        pool = own if len(own) >= FEW else alike if len(alike) >= FEW else []
        yield replace(one, lr=median(pool), remark=POOLED) if pool else one


def _filled(tensors: Sequence[Emitted]) -> Iterator[Emitted]:
    """Those without any lr at the median of their family, else of their role, else of all."""
    kinds: list[Callable[[Emitted], str]] = [
        lambda one: one.member.family,
        lambda one: one.member.role,
        lambda one: "",
    ]
    pools = [(kind, _lrs(tensors, kind)) for kind in kinds]
    for one in tensors:
        if one.lr is not None:
            yield one
            continue
        found = next((own for kind, pool in pools if (own := pool.get(kind(one)))), None)
        if found is None:
            raise UsageError(f"--emit: no lr is known for {one.name}: --lr gives one")
        yield replace(one, lr=median(found))


def _lrs(tensors: Sequence[Emitted], kind: Callable[[Emitted], str]) -> dict[str, list[float]]:
    """The lrs of the target by a kind of tensors."""
    found: dict[str, list[float]] = {}
    for one in tensors:
        if one.lr is not None and one.remark not in (ZERO, UNTOLD):
            found.setdefault(kind(one), []).append(one.lr)
    return found


def _rounded(one: Emitted) -> float:
    lr = rounded(one.lr or 0.0)
    if not math.isfinite(lr):
        raise UsageError(f"--emit: the lr of {one.name} is not finite")
    if lr <= 0:
        raise UsageError(f"--emit: the lr of {one.name} is 0")
    return lr


def rounded(lr: float) -> float:
    """To 3 significant digits."""
    return float(f"{lr:.2e}")
