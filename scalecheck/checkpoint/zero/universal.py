"""DeepSpeed's universal checkpoints: a folder for each parameter, with a file for its master
weights, one for each moment and one for its steps."""

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path

from scalecheck.checkpoint.formats import torch
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.state_file import recorded
from scalecheck.checkpoint.tensor import MAX_NAME, Checkpoint, Tensor
from scalecheck.checkpoint.zero.files import files_of
from scalecheck.checkpoint.zero.parameters import tensors_of
from scalecheck.checkpoint.zero.states import Settings, groups_of, read_model
from scalecheck.report.formatting import excerpt, listed

_FP32 = "fp32"
_OPTIMIZER = "optimizer_state.pt"
MAX_PARAMETERS = 1 << 20
MAX_ENTRIES = 64  # files of one parameter; Adam's has four


def load_universal(folder: Path) -> Checkpoint:
    """The checkpoint in a folder with `zero/`. Raises Malformed, CheckpointError."""
    files = files_of(folder)
    if not files.models:
        raise Malformed("has no *_model_states.pt, which holds the names and shapes")
    model = read_model(next(iter(files.models.values())))
    shapes = {name: tensor.shape for name, tensor in model.module.items()}
    for group in model.shapes or ():
        shapes |= group
    rows: dict[str, Tensor] = {}
    states: dict[str, dict[str, object]] = {}
    for name in _names(folder / "zero", [*shapes]):
        entries = _entries(folder / "zero" / name)
        for key, entry in entries.items():
            if isinstance(entry, Tensor):
                entries[key] = _shaped(name, entry, shapes.get(name), f"{name}.{key}")
        master = entries.pop(_FP32, None)
        if isinstance(master, Tensor):
            rows[name] = replace(master, name=name)
        if entries:
            states[name] = {
                key: recorded(one) if isinstance(one, Tensor) else one
                for key, one in entries.items()
            }
    if not rows:
        raise Malformed("has no fp32.pt in the folders of zero/")
    rounded = {}
    for name, tensor in model.module.items():
        if name not in rows:
            rows[name] = tensor
        elif tensor.shape == rows[name].shape and tensor.dtype != rows[name].dtype:
            rounded[name] = tensor
    lacking = [n for group in model.shapes or () for n in group if n not in states]
    notes = []
    if lacking:
        notes.append(f"no optimizer state in zero/ of {listed(lacking)}")
    if files.others and (others := [name for name in files.others if name != "zero"]):
        notes.append(f"beside the checkpoint, not inspected: {listed(others)}")
    groups = _groups(folder / "zero" / _OPTIMIZER, model.shapes, [*states])
    tree = {"optimizer": {"state": states, "param_groups": groups}}
    order = [name for name in model.module if name in rows]
    return Checkpoint(
        folder,
        "deepspeed-universal",
        (*(rows[n] for n in dict.fromkeys((*order, *rows))), *model.beside),
        non_model=frozenset(tensor.name for tensor in model.beside),
        optimizer=(*tensors_of(states), *model.optimizer),
        notes=(*notes,),
        in_order=len(order) == len(rows),
        tree=tree if states else None,
        rounded=rounded,
    )


def _names(folder: Path, known: list[str]) -> list[str]:
    """The parameters that have a folder, in the model's order."""
    there = {entry.name for entry in folder.iterdir() if entry.is_dir()}
    if len(there) > MAX_PARAMETERS:
        raise Malformed(f"zero/ has {len(there)} folders, the limit is {MAX_PARAMETERS}")
    return [*dict.fromkeys((*(name for name in known if name in there), *sorted(there)))]


def _entries(folder: Path) -> dict[str, object]:
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
                found[key] = tensor
            elif type(held) in (int, float):
                found[key] = held
            else:
                raise Malformed(f"{excerpt(name)}: holds no tensor and no number")
    return found


def _shaped(name: str, tensor: Tensor, shape: tuple[int, ...] | None, shown: str) -> Tensor:
    """A tensor of a file, in the shape of its parameter where it is flat, as of stage 3."""
    if len(shown) > MAX_NAME:
        raise Malformed(f"holds a tensor with a name of {len(shown)} characters")
    tensor = replace(tensor, name=shown)
    if shape is None or tensor.shape == shape or not tensor.shape:
        return tensor
    if len(tensor.shape) == 1 and tensor.numel == prod(shape) and tensor.strides is None:
        return replace(tensor, shape=shape)
    if shape == (0,):  # a placeholder of stage 3
        return tensor
    shapes = f"{[*tensor.shape]} in {shown.rpartition('.')[2]}.pt and {[*shape]} in the model"
    raise Malformed(f"{excerpt(name)}: has shape {shapes}")


def _groups(
    path: Path, shapes: tuple[Mapping[str, object], ...] | None, names: list[str]
) -> list[Settings]:
    """The groups of the optimizer, each with the names of its parameters; one without settings
    where it is not certain which are whose."""
    if path.is_file():
        groups = groups_of(path)
        vectors = [[n for n in group if n in names] for group in shapes or ()]
        if sum(len(own) for _, own in groups) == len(vectors):
            return [
                {**settings, "params": [n for number in own for n in vectors[number]]}
                for settings, own in groups
            ]
        if len(groups) == 1:
            return [{**groups[0][0], "params": names}]
    return [{"params": names}]
