"""What a report says of the checkpoint that it is about, and of what it left out."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from scalecheck.checkpoint.files.folders import Unread
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.report.formatting import plural

if TYPE_CHECKING:
    from scalecheck.checkpoint.recorded import Recorded, RecordedStats


def source(checkpoint: "Checkpoint | Recorded") -> dict[str, Any]:
    """A checkpoint, or a report in its place, as the machine formats record it."""
    if isinstance(checkpoint, Checkpoint):
        return {
            "path": str(checkpoint.path),
            "format": checkpoint.format,
            "tensors": len(checkpoint.tensors),
            "parameters": checkpoint.parameters,
            "nbytes": checkpoint.nbytes,
        }
    return {
        "path": str(checkpoint.path),
        "format": "report",
        "tensors": len(checkpoint.every),
        "parameters": checkpoint.source.get("parameters"),
        "nbytes": checkpoint.source.get("nbytes"),
    }


def notes_on(checkpoint: Checkpoint) -> list[str]:
    """What was set aside while a checkpoint was read, and which of its files were."""
    notes = [*checkpoint.notes]
    if checkpoint.optimizer:
        held = plural(len(checkpoint.optimizer), "tensor")
        notes.append(f"It also holds an optimizer state of {held}, which is not inspected.")
    if checkpoint.not_understood:
        notes.append(f"optimizer state not read: {checkpoint.not_understood}")
    return [*notes, *checkpoint.layout]


def skipped(tensor: "Tensor | RecordedStats", reason: str | None) -> dict[str, Any]:
    """A tensor that was not analysed, and why."""
    return {
        "name": tensor.name,
        "dtype": tensor.dtype.name if isinstance(tensor, Tensor) else tensor.dtype,
        "shape": list(tensor.shape),
        "reason": reason,
    }


def not_read(folders: Iterable[Unread], command: str) -> list[dict[str, Any]]:
    """The folders that were not read, and what to type to have a command read them."""
    return [
        {"name": folder.name, "dtype": None, "shape": None, "reason": folder.reason(command)}
        for folder in folders
    ]
