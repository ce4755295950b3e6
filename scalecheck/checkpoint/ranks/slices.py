"""Slices: the files of tensor-parallel ranks, in each of which every tensor is a part of a larger
one of the same name. Told by the names of the files beside, and by what params.json says."""

import os
from dataclasses import replace
from pathlib import Path

from scalecheck.checkpoint.files.strict_json import parsed, text_of
from scalecheck.checkpoint.files.weight_files import slice_of
from scalecheck.checkpoint.tensor import Checkpoint

_MAX_PARAMS_NBYTES = 1 << 20
_QUERY = "layers.0.attention.wq.weight"  # as Llama's and Mistral's own files call it
_EVIDENCE = "each tensor is a part of a larger one"


def sliced(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """The checkpoint of a file, its tensors marked as pieces where the file is one rank's of
    several."""
    path = path.absolute()
    words = _slice(path.name, path.parent) or _slice(path.parent.name, path.parent.parent)
    if not words and slice_of(path.name):
        words = _share(checkpoint, path)
    if not words:
        return checkpoint
    tensors = (replace(tensor, piece=tensor.piece or words) for tensor in checkpoint.tensors)
    return replace(checkpoint, tensors=(*tensors,))


def _slice(name: str, folder: Path) -> str:
    """Which slice a file or folder of this name is, by what lies beside it."""
    own = slice_of(name)
    if own is None:
        return ""
    try:
        others = {one for beside in os.listdir(folder) if (one := slice_of(beside))}
    except OSError:
        return ""
    count = len({number for alike, number in others if alike == own[0]})
    return f"slice {own[1]} of {count}: {_EVIDENCE}" if count > 1 else ""


def _share(checkpoint: Checkpoint, path: Path) -> str:
    """That a file is a slice, by the width in its params.json and the rows of a query's matrix."""
    rows = next((t.shape[0] for t in checkpoint.tensors if t.name == _QUERY and t.shape), 0)
    try:
        text = text_of(path.parent / "params.json", _MAX_PARAMS_NBYTES)
        params = parsed(text) if text else None
    except (OSError, ValueError):
        return ""
    dim = params.get("dim") if isinstance(params, dict) and "head_dim" not in params else None
    if type(dim) is not int or not 0 < rows < dim or dim % rows:
        return ""
    return f"one of {dim // rows} slices: {_EVIDENCE}, as dim is {dim} and {_QUERY} has {rows} rows"
