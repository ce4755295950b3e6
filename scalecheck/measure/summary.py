"""What an inspection comes to, in a few plain sentences, which are about tensors however its rows
are grouped."""

from collections import Counter
from collections.abc import Mapping, Sequence

from scalecheck.checkpoint.kinds import Kind
from scalecheck.checkpoint.provenance import notes_on
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.dtypes import DTYPES
from scalecheck.measure.counting import NATIVE
from scalecheck.measure.flags import FlaggedStats, in_words
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

    def sentence(self) -> str:
        """The totals in words."""
        numel = self.moments.count + self.nan + self.inf
        all_of_them = Sketch(wide=self.moments, exact=False, low=-self.absmax, high=self.absmax)
        rms = number(all_of_them.rms)
        parts = [f"{plural(numel, 'parameter')} in {plural(self.tensors, 'tensor')}"]
        parts += [f"rms {rms}"] if rms else []
        parts += [plural(self.zeros, "zero"), f"{self.nan:,} NaN", f"{self.inf:,} inf"]
        return "total: " + ", ".join(parts)


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


def flagged_words(tensors: Sequence[FlaggedStats]) -> str:
    """How many tensors are flagged, and for what."""
    counts = Counter(flag for stats in tensors for flag in stats.flags)
    flagged = sum(bool(stats.flags) for stats in tensors)
    words = ", ".join(f"{n} {in_words(flag)}" for flag, n in counts.items())
    return f"flagged: {flagged} of {len(tensors)} ({words})" if flagged else "flagged: none"


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
