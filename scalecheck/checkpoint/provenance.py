"""What a report says of the checkpoint that it is about, and of what it left out."""

from typing import Any

from scalecheck.checkpoint.tensor import Checkpoint, Tensor


def source(checkpoint: Checkpoint) -> dict[str, Any]:
    """The checkpoint as the machine formats record it."""
    return {
        "path": str(checkpoint.path),
        "format": checkpoint.format,
        "tensors": len(checkpoint.tensors),
        "parameters": checkpoint.parameters,
        "nbytes": checkpoint.nbytes,
    }


def skipped(tensor: Tensor, reason: str | None) -> dict[str, Any]:
    """A tensor that was not analysed, and why."""
    return {
        "name": tensor.name,
        "dtype": tensor.dtype.name,
        "shape": list(tensor.shape),
        "reason": reason,
    }
