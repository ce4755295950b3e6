"""DeepSpeed's checkpoints: a folder of a step, or of the run whose `latest` names one. ZeRO keeps
master weights and moments as flat vectors, parted among the ranks; they are put together here."""

from dataclasses import replace
from pathlib import Path

from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.malformed import content_of
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.checkpoint.zero.files import has_model, is_step, is_universal, latest, step_folder
from scalecheck.checkpoint.zero.run import has_own_model, with_run
from scalecheck.errors import CheckpointError


def recognises(path: Path, head: bytes) -> Evidence:
    """A folder with files of ZeRO's ranks, or of a run whose `latest` names one, or none."""
    if head or not path.is_dir():
        return Evidence.NONE
    if is_step(path) or is_universal(path):
        return Evidence.CONTENT
    if latest(path) is None:
        return Evidence.NONE
    try:
        folder = step_folder(path)
    except CheckpointError:
        return Evidence.NONE if has_own_model(path) else Evidence.CONTENT
    found = is_step(folder) or is_universal(folder) or has_model(folder)
    return Evidence.CONTENT if found else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Lists the tensors of the model, its master weights and its optimizer state.

    Raises CheckpointError where files are damaged or do not fit each other, or where `latest` names
    no folder.
    """
    from scalecheck.checkpoint.formats import directory
    from scalecheck.checkpoint.zero.checkpoint import load_step
    from scalecheck.checkpoint.zero.universal import load_universal

    folder = path if is_step(path) or is_universal(path) else step_folder(path)
    with content_of(folder):
        if is_universal(folder):
            checkpoint = load_universal(folder)
        else:
            checkpoint = load_step(folder) if is_step(folder) else directory.load(folder)
    return with_run(replace(checkpoint, path=path), folder)
