"""What lies around a DeepSpeed step in the folder of its run: other steps, and the model that a
trainer saved beside it."""

from dataclasses import replace
from os.path import isdir
from pathlib import Path

from scalecheck.checkpoint.files.folders import Unread, folders_in
from scalecheck.checkpoint.files.weight_files import SUFFIXES, chosen
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.checkpoint.zero.checkpoint import MASTERS_ALONE
from scalecheck.checkpoint.zero.files import latest
from scalecheck.errors import ScalecheckError
from scalecheck.report.formatting import excerpt, listed

_OWN = ("zero", "offloaded_tensors")  # folders of a step itself


def has_own_model(path: Path) -> bool:
    """Whether a trainer saved the model itself into the folder of the run."""
    try:
        return chosen(path, _files(path)) is not None
    except ScalecheckError:
        return True


def with_run(checkpoint: Checkpoint, step: Path) -> Checkpoint:
    """The checkpoint of a step by the folder that was asked for: with the folders there that are
    not read, and the model there in place of that of the ranks."""
    path = checkpoint.path
    unread = [Unread(path, name) for name in _others(path, step)]
    if step == path:
        return replace(checkpoint, unread=(*checkpoint.unread, *unread))
    name = (latest(path) or ("", ""))[1]
    note = f"`{name}` names {step.name}, which is read"
    if not has_own_model(path):
        beside = sorted(name for name in _files(path) if Path(name).suffix in SUFFIXES)
        notes = (
            [f"beside the model, not inspected: {listed([excerpt(name, 80) for name in beside])}"]
            if beside
            else []
        )
        return replace(
            checkpoint,
            notes=(*checkpoint.notes, *notes),
            layout=(note, *checkpoint.layout),
            unread=(*checkpoint.unread, *unread),
        )
    from scalecheck.checkpoint.formats import directory

    model = directory.load(path)
    trained = {tensor.name: tensor for tensor in checkpoint.tensors} | {**checkpoint.masters}
    masters = {
        tensor.name: master
        for tensor in model.tensors
        if (master := trained.get(tensor.name)) is not None
        and master.shape == tensor.shape
        and master.dtype != tensor.dtype
    }
    notes = [one for one in checkpoint.layout if one != MASTERS_ALONE]
    what = "the optimizer state and the master weights"
    return replace(
        model,
        format=f"{model.format}, {checkpoint.format}",
        optimizer=checkpoint.optimizer,
        notes=(*model.notes, *checkpoint.notes),
        layout=(*model.layout, f"{note}: {what}", *notes),
        unread=tuple(one for one in model.unread if one.name.partition("/")[0] != step.name),
        tree=checkpoint.tree,
        masters=masters,
    )


def _files(path: Path) -> list[str]:
    return [entry.name for entry in path.iterdir() if not entry.is_dir()]


def _others(path: Path, step: Path) -> list[str]:
    """The folders beside a step's files, or beside its folder, that hold checkpoints."""
    names = sorted(entry.name for entry in path.iterdir() if isdir(entry))
    beside = (n for n in names if n not in (*_OWN, step.name) and not n.startswith("."))
    return [name for name in beside if folders_in(path / name).holding]
