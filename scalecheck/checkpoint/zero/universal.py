"""DeepSpeed's universal checkpoints: a folder for each parameter, with a file for its master
weights, one for each moment and one for its steps."""

from dataclasses import replace
from math import prod
from pathlib import Path

from scalecheck.checkpoint.formats import torch
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.state_file import recorded
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.checkpoint.zero.files import files_of
from scalecheck.checkpoint.zero.model import Model
from scalecheck.checkpoint.zero.parameters import tensors_of
from scalecheck.checkpoint.zero.states import Settings, Shapes, read_models, read_optimizer
from scalecheck.report.formatting import excerpt, listed

_FP32 = "fp32"
_OPTIMIZER = "optimizer_state.pt"
MAX_PARAMETERS = 1 << 20
MAX_ENTRIES = 64  # files of one parameter; Adam's has four


def load_universal(folder: Path) -> Checkpoint:
    """The checkpoint in a folder with `zero/`. Raises Malformed, CheckpointError."""
    files = files_of(folder)
    paths = {rank: path for (rank, number), path in files.models.items() if not number}
    if not paths:
        raise Malformed("has no *_model_states.pt, which holds the names and shapes")
    models = read_models(paths)
    first = next(iter(models.values()))
    shapes = {name: tensor.shape for name, tensor in first.module.items() if tensor.numel}
    for group in first.shapes or ():
        shapes |= group
    masters: dict[str, Tensor] = {}
    states: dict[str, dict[str, object]] = {}
    for name in _names(folder / "zero", [*shapes]):
        entries = _entries(folder / "zero" / name, shapes.get(name))
        if isinstance(master := entries.pop(_FP32, None), Tensor):
            masters[name] = replace(master, name=name)
        if entries:
            states[name] = {k: _kept(f"{name}.{k}", entry) for k, entry in entries.items()}
    if not masters:
        raise Malformed("has no fp32.pt in the folders of zero/")
    model = Model(models, first.world or max(models) + 1, files.is_partitioned)
    rows = {**model.rows(masters, files), **masters}
    for name, original in first.tied.items():
        if name in rows and original in rows:
            rows[name] = replace(rows[original], name=name, tied_to=original)
    lacking = [name for group in first.shapes or () for name in group if name not in states]
    others = [name for name in files.others if name != "zero"]
    notes = [f"no optimizer state in zero/ of {listed(lacking)}"] if lacking else []
    notes += [f"beside the checkpoint, not inspected: {listed(others)}"] if others else []
    return Checkpoint(
        folder,
        "deepspeed-universal",
        (*rows.values(), *first.beside),
        non_model=frozenset(tensor.name for tensor in first.beside),
        optimizer=(*tensors_of(states), *first.optimizer),
        notes=(*notes,),
        in_order=not masters.keys() - first.module.keys(),
        tree=_tree(folder / "zero" / _OPTIMIZER, first.shapes, states) if states else None,
        rounded={
            name: tensor
            for name, tensor in first.module.items()
            if name in masters and tensor.numel and tensor.dtype != masters[name].dtype
        },
    )


def _kept(name: str, entry: object) -> object:
    """An entry of a state as a tree has it."""
    return recorded(replace(entry, name=name)) if isinstance(entry, Tensor) else entry


def _names(folder: Path, known: list[str]) -> list[str]:
    """The parameters that have a folder, in the model's order."""
    there = {entry.name for entry in folder.iterdir() if entry.is_dir()}
    if len(there) > MAX_PARAMETERS:
        raise Malformed(f"zero/ has {len(there)} folders, the limit is {MAX_PARAMETERS}")
    return [*dict.fromkeys((*(name for name in known if name in there), *sorted(there)))]


def _entries(folder: Path, shape: tuple[int, ...] | None) -> dict[str, object]:
    """What a parameter's files hold, tensors and numbers, by the names of the files."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".pt"))
    if len(names) > MAX_ENTRIES:
        raise Malformed(f"zero/{excerpt(folder.name)} has {len(names)} files")
    found: dict[str, object] = {}
    for name in names:
        with torch.unpickled(folder / name) as file:
            root = file.root
            held = root.get("param") if isinstance(root, dict) else root
            key = name.removesuffix(".pt")
            if isinstance(held, TensorRecord):
                tensor = file.tensor(key, held)
                torch.check_overlap([tensor])
                found[key] = _shaped(tensor, shape)
            elif isinstance(held, (int, float)):
                found[key] = held
            else:
                raise Malformed("holds no tensor and no number")
    return found


def _shaped(tensor: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    """A tensor of a file, in the shape of its parameter where it is flat, as of stage 3."""
    if shape is None or tensor.shape in (shape, ()):
        return tensor
    if len(tensor.shape) == 1 and tensor.numel == prod(shape) and tensor.strides is None:
        return replace(tensor, shape=shape)
    raise Malformed(f"has shape {[*tensor.shape]}, its parameter {[*shape]}")


def _tree(
    path: Path, shapes: tuple[Shapes, ...] | None, states: dict[str, dict[str, object]]
) -> object:
    """The tree of an optimizer state: its groups by the file that keeps them, one without settings
    where it is not certain which parameters are whose."""
    groups: list[Settings] = [{"params": [*states]}]
    if path.is_file():
        saved = read_optimizer(path)
        vectors = [[name for name in group if name in states] for group in shapes or ()]
        if len(saved.steps) == len(vectors):
            groups = [
                {**settings, "params": [name for number in own for name in vectors[number]]}
                for settings, own in saved.groups
            ]
            for names, step in zip(vectors, saved.steps, strict=True):
                for name in names:
                    states[name].setdefault("step", _kept("step", step))
        elif len(saved.groups) == 1:
            groups = [{**saved.groups[0][0], "params": [*states]}]
    return {"optimizer": {"state": states, "param_groups": groups}}
