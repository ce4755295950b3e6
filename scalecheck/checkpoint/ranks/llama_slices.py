"""How the tensor-parallel slices of Llama's own files were cut, consolidated.00.pth and so on: by
the names of its tensors, where all are known and their sizes fit the width of the model."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scalecheck.checkpoint.files.strict_json import parsed, text_of
from scalecheck.checkpoint.ranks.files import are_equal
from scalecheck.checkpoint.share import Share
from scalecheck.checkpoint.tensor import Checkpoint, Tensor

_MAX_PARAMS_NBYTES = 1 << 20
Shape = tuple[int, ...]

_FILE = re.compile(r"consolidated\.\d{2,6}\.pth")
_LAYER = r"layers\.\d+\."
_KNOWN = re.compile(
    rf"(?:{_LAYER}attention\.|{_LAYER}feed_forward\.|)(?P<cut>w[qkvo]|w[123]|tok_embeddings|output)"
    rf"\.weight|(?P<alike>{_LAYER}(?:attention_norm|ffn_norm)\.weight|norm\.weight|rope\.freqs)"
)
_COLUMNS = ("wo", "w2")  # matrices whose rows are the model's width, and whose columns are cut
_NORM, _QUERY = "norm.weight", "layers.0.attention.wq.weight"


def with_shares(path: Path, parts: Mapping[int, Checkpoint]) -> dict[int, Checkpoint] | None:
    """The slices of some ranks, each tensor with its place in the whole; None where a name is not
    known, or a size does not fit.

    Matrices that read the model's width are cut along their rows, those that write it along their
    columns; an embedding along either, as its width or the vocabulary of params.json says.
    """
    if not all(_FILE.fullmatch(part.path.name) for part in parts.values()):
        return None
    first = next(iter(parts.values()))
    shapes = {tensor.name: tensor.shape for tensor in first.tensors}
    if {_NORM, _QUERY} - shapes.keys() or len(shapes[_NORM]) != 1 or len(shapes[_QUERY]) != 2:
        return None
    for part in parts.values():
        if part.optimizer or {t.name: t.shape for t in part.tensors} != shapes:
            return None
    model = _Model.of(path, shapes[_NORM][0], shapes[_QUERY][0])
    if model is None or max(parts) >= model.ranks:
        return None
    if not model.params and not _have_one(_NORM, [*parts.values()]):
        return None
    try:
        axes = {name: model.axis(name, shape) for name, shape in shapes.items()}
    except LookupError:
        return None
    return {
        rank: replace(part, tensors=(*(_placed(t, axes, rank, model.ranks) for t in part.tensors),))
        for rank, part in parts.items()
    }


@dataclass(frozen=True)
class _Model:
    """The sizes by which slices are told: the width, how many ranks, and what params.json says."""

    width: int
    ranks: int
    params: Mapping[str, object]

    @classmethod
    def of(cls, path: Path, width: int, queries: int) -> "_Model | None":
        """By the rows that a slice has of the queries' matrix. None where they do not fit."""
        params = _params(path)
        if params is None or params.get("dim", width) != width:
            return None
        rows = width
        if "head_dim" in params:
            heads, size = params.get("n_heads"), params["head_dim"]
            if type(heads) is not int or type(size) is not int:
                return None
            rows = heads * size
        if not 0 < queries < rows or rows % queries:
            return None
        return cls(width, rows // queries, params)

    def axis(self, name: str, shape: Shape) -> int | None:
        """Along which axis a tensor is cut, None for what each rank has whole. Raises LookupError
        where that is not certain."""
        known = _KNOWN.fullmatch(name)
        if known is None:
            raise LookupError(name)
        if known["alike"]:
            return None
        word = known["cut"]
        if len(shape) != 2:
            raise LookupError(name)
        if word in _COLUMNS:
            axis = 1
        elif word == "tok_embeddings" and shape[1] * self.ranks == self.width:
            return 1
        else:
            axis = 0
        whole = shape[axis] * self.ranks
        if shape[1 - axis] != self.width or not self._fits(word, whole):
            raise LookupError(name)
        return axis

    def _fits(self, word: str, whole: int) -> bool:
        """Whether the size of a whole matrix is what params.json says, where it does: key and value
        heads can be fewer than ranks, and each rank then has them all."""
        if word in ("tok_embeddings", "output"):
            said = self.params.get("vocab_size")
            if type(said) is int and said > 0:
                return said == whole
            return word == "output"  # an embedding of full width may be whole in each rank
        heads, kept = self.params.get("n_heads"), self.params.get("n_kv_heads")
        if word not in ("wk", "wv"):
            return True
        if type(heads) is not int or heads < 1 or self.width % heads:
            return whole == self.width  # without heads of their own, which nothing says
        size = self.params.get("head_dim", self.width // heads)
        count = heads if kept is None else kept
        return type(count) is int and type(size) is int and whole == count * size


def _have_one(name: str, parts: Sequence[Checkpoint]) -> bool:
    """Whether all ranks have the same bits of a tensor, as slices of one model do of its gain."""
    first, *others = (next(t for t in part.tensors if t.name == name) for part in parts)
    return all(are_equal(first, other) for other in others)


def _placed(tensor: Tensor, axes: Mapping[str, int | None], rank: int, ranks: int) -> Tensor:
    """A slice with its place in the whole."""
    axis = axes[tensor.name]
    if axis is None:
        return tensor
    whole = tuple(n * ranks if a == axis else n for a, n in enumerate(tensor.shape))
    ranges = tuple(((rank * n if a == axis else 0, n),) for a, n in enumerate(tensor.shape))
    return replace(tensor, share=Share(whole, ranges, ranks=ranks))


def _params(path: Path) -> dict[str, object] | None:
    """What params.json says, nothing where there is none. None where it cannot be read."""
    file = path / "params.json"
    if not file.is_file():
        return {}
    try:
        text = text_of(file, _MAX_PARAMS_NBYTES)
        params = parsed(text) if text else None
    except (OSError, ValueError):
        return None
    return params if isinstance(params, dict) else None
