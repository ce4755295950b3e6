"""What an inspection comes to, in a few plain sentences, which are about tensors however its rows
are grouped."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from scalecheck.checkpoint.kinds import Kind
from scalecheck.checkpoint.provenance import notes_on
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.dtypes import DTYPES
from scalecheck.measure.counting import NATIVE
from scalecheck.measure.flags import FlaggedStats, in_words, off_family
from scalecheck.measure.sketch import Moments, Sketch
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.report.formatting import listed, nbytes, number, percent, plural, printable

_SET_ASIDE: Mapping[Kind, tuple[str, str]] = {
    "buffer": ("buffer", ""),
    "average": ("average", " of the model"),
    "code": ("quantised weight", ", whose numbers are codes"),
    "piece": ("piece", " of larger tensors"),
    "moment": ("moment", " of an optimizer"),
    "other": ("tensor", " beside the model"),
}


_FAULTS = {
    "nan": "with NaN",
    "inf": "with inf",
    "outlier": "outliers from their families",
    "all_zero": "all zero",
}


class Total:
    """The scale of all the model's parameters together, tied ones counted once."""

    def __init__(self) -> None:
        self.tensors = self.zeros = self.nan = self.inf = 0
        self.moments = Moments()
        self.absmax = 0.0

    def add(self, scale: TensorStats, sketch: Sketch) -> None:
        if not scale.kind.is_parameter:
            return
        self.tensors += 1
        if scale.tied_to is None:
            self.moments += sketch.moments
            self.absmax = max(self.absmax, scale.absmax or 0.0)
            self.zeros += scale.zeros
            self.nan += scale.nan
            self.inf += scale.inf

    def figures(self) -> dict[str, Any]:
        """The totals for programs."""
        everything = Sketch(wide=self.moments, exact=False, low=-self.absmax, high=self.absmax)
        return {
            "parameters": self.moments.count + self.nan + self.inf,
            "tensors": self.tensors,
            "rms": everything.rms,
            "zeros": self.zeros,
            "nan": self.nan,
            "inf": self.inf,
        }


def total_words(figures: Mapping[str, Any]) -> str:
    """The totals in a sentence."""
    tensors = plural(figures["tensors"], "tensor")
    parts = [f"{plural(figures['parameters'], 'parameter')} in {tensors}"]
    parts += [f"rms {number(figures['rms'])}"] if figures["rms"] is not None else []
    parts += [plural(figures["zeros"], "zero")]
    parts += [f"{figures[name]:,} {word}" for name, word in (("nan", "NaN"), ("inf", "inf"))]
    return f"total: {', '.join(parts)}"


def set_aside(tensors: Sequence[Tensor]) -> list[str]:
    """A note on the tensors that are no parameters, kind by kind, with their share of all elements,
    tied ones counted once; none where all are."""
    counts: Counter[Kind] = Counter()
    elements: Counter[Kind] = Counter()
    for tensor in tensors:
        counts[tensor.kind.kind] += 1
        elements[tensor.kind.kind] += tensor.numel if tensor.tied_to is None else 0
    every = max(1, elements.total())
    words = [
        f"{plural(counts[kind], noun)}{of} ({percent(elements[kind] / every)} % of all elements)"
        for kind, (noun, of) in _SET_ASIDE.items()
        if counts[kind]
    ]
    rest = [word.replace(" of all elements)", ")") for word in words[1:]]
    return [f"not counted as parameters: {', '.join([words[0], *rest])}"] if words else []


def flag_figures(tensors: Sequence[FlaggedStats]) -> dict[str, Any]:
    """How many tensors are flagged and for what, and in how many something is wrong."""
    return {
        "measured": len(tensors),
        "flagged": sum(bool(stats.flags) for stats in tensors),
        "flags": dict(Counter(flag for stats in tensors for flag in stats.flags)),
        "faulty": sum(bool(stats.faults) for stats in tensors),
        "faults": dict(Counter(fault for stats in tensors for fault in stats.faults)),
    }


def conclusion(tensors: Sequence[FlaggedStats], figures: Mapping[str, Any]) -> str:
    """Whether something is wrong with a tensor, how many there are of each fault, and of one its
    name."""
    count = plural(len(tensors), "tensor")
    if not tensors:
        return "No tensor was measured."
    if not figures["faults"]:
        return f"Nothing stands out in {count}: no NaN or inf, no outlier, no matrix all zero."
    words = [_fault(fault, n, tensors) for fault, n in figures["faults"].items()]
    verb = "stands" if figures["faulty"] == 1 else "stand"
    return f"{figures['faulty']:,} of {count} {verb} out: {'; '.join(words)}."


def _fault(fault: str, n: int, tensors: Sequence[FlaggedStats]) -> str:
    """One fault: 2 all zero; or where one tensor has it, blocks.3.w is 102× above family."""
    if n > 1:
        return f"{n:,} {_FAULTS[fault]}"
    stats = next(each for each in tensors if fault in each.faults)
    said = {
        "nan": f"has {stats.nan:,} NaN",
        "inf": f"has {stats.inf:,} inf",
        "outlier": f"is {off_family(stats.family_ratio)}",
        "all_zero": "is all zero",
    }
    return f"{printable(stats.name)} {said[fault]}"


def flag_words(figures: Mapping[str, Any]) -> list[str]:
    """A sentence on the flags that are no faults; none where there is none."""
    more = {flag: n - figures["faults"].get(flag, 0) for flag, n in figures["flags"].items()}
    words = [f"{n:,} {in_words(flag)}" for flag, n in more.items() if n]
    return [f"also flagged: {', '.join(words)}"] if words else []


def headline(checkpoint: Checkpoint) -> str:
    dtypes = sorted({tensor.dtype.name for tensor in checkpoint.tensors})
    types = f" of {dtypes[0]}" if len(dtypes) == 1 else ""
    return (
        f"{printable(str(checkpoint.path))}: {checkpoint.format}, "
        f"{plural(len(checkpoint.tensors), 'tensor')}{types}, "
        f"{plural(checkpoint.parameters, 'parameter')}, {nbytes(checkpoint.nbytes)}"
    )


def notes(
    checkpoint: Checkpoint, wanted: Sequence[Tensor], rows: int, top: int | None
) -> list[str]:
    """What the rows leave out, and what stands behind them."""
    notes = set_aside(wanted)
    if len(wanted) < len(checkpoint.tensors):
        notes.append(f"{len(wanted)} of {plural(len(checkpoint.tensors), 'tensor')} selected")
    if top is not None and top < rows:
        notes.append(f"{top} of {rows} rows shown")
    notes += _quantised(wanted)
    notes += notes_on(checkpoint)
    if not NATIVE:
        notes.append("measured by the numpy kernel: this copy of scalecheck has no compiled one")
    return [printable(note) for note in notes]


def _quantised(tensors: Sequence[Tensor]) -> list[str]:
    """A note on the weights whose numbers are those that codes stand for; none where none are."""
    coded = [one for one in tensors if one.dtype.is_float and one.dtype.name not in DTYPES]
    if not coded:
        return []
    counts = Counter(one.dtype.name for one in coded)
    words = listed([f"{n} {name}" for name, n in counts.items()])
    raw = "; --raw shows what is stored" if any(one.parts for one in coded) else ""
    return [
        f"{plural(len(coded), 'quantised weight')}, by the numbers they stand for: {words}{raw}"
    ]
