"""What the files of DeepSpeed's ranks hold: names and shapes, the 16-bit weights, and one flat
vector of master weights, and of each moment, a group of parameters."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from scalecheck.checkpoint.formats import torch
from scalecheck.checkpoint.formats.torch import Unpickled
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.mapped import mapped
from scalecheck.checkpoint.pickle.inert import Placeholder
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.pickle.state_dict import same_view
from scalecheck.checkpoint.pickle.tree import Found, Tree
from scalecheck.checkpoint.state_file import recorded
from scalecheck.checkpoint.tensor import MAX_DIMENSIONS, MAX_NAME, Tensor
from scalecheck.report.formatting import excerpt

Table = Mapping[object, object]
Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
Settings = dict[object, object]

MAX_NUMEL = 1 << 60  # of a tensor; more bytes than any file system holds

_OF_MODULE = frozenset(
    ("module", "param_shapes", "frozen_param_shapes", "frozen_param_fragments", "buffer_names")
)
_MASTERS = ("single_partition_of_fp32_groups", "fp32_flat_groups")  # of stages 1 and 2, of 3
_MARKS = ("params", "moe")  # of a group, which are no settings of its optimizer
_INNER = ("base_optimizer_state", "optimizer_state_dict")


@dataclass(frozen=True)
class ModelFile:
    """A rank's model_states file. module: its tensors by name, in the module's order; shapes: those
    of the parameters that are trained, a group each, None where it has none; frozen: those that are
    not, and this rank's elements of them; tied: names of a parameter that has another one too;
    buffers: names of those in the module; beside: what else it holds, the optimizer's apart."""

    path: Path
    module: Mapping[str, Tensor]
    shapes: tuple[Shapes, ...] | None
    frozen_shapes: Shapes
    frozen: Mapping[str, Tensor]
    tied: Mapping[str, str]
    buffers: frozenset[str]
    beside: tuple[Tensor, ...]
    optimizer: tuple[Tensor, ...]
    world: int | None
    slicing: Table
    degrees: Table


@dataclass(frozen=True)
class Optimizer:
    """The optimizer that ZeRO leads. states: what it keeps for each vector; groups: the settings,
    each with the numbers of its vectors; left_out: entries that are no tensors and no numbers."""

    states: tuple[Mapping[str, object], ...]
    groups: tuple[tuple[Settings, tuple[int, ...]], ...]
    left_out: tuple[str, ...] = ()

    @property
    def steps(self) -> list[object]:
        """The steps that each vector has made, None where it has no count."""
        return [state.get("step") for state in self.states]


@dataclass(frozen=True)
class RankFile:
    """A rank's optim_states file. masters: a flat vector a group of parameters; counts: of how many
    ranks each vector is a part; paddings: of how many elements this rank's vector was cut; gaps:
    elements after each parameter."""

    path: Path
    stage: int | None
    masters: tuple[Tensor, ...]
    optimizer: Optimizer
    counts: tuple[int, ...]
    paddings: tuple[int, ...]
    gaps: tuple[tuple[int, ...], ...]
    slicing: Table


def read_models(paths: Mapping[int, Path]) -> dict[int, ModelFile]:
    """The model_states files of data-parallel ranks: the first, and those that hold a part of
    parameters that are not trained. Raises CheckpointError where one is damaged."""
    ranks = iter(paths.items())
    first = next(ranks)
    found = {first[0]: read_model(first[1])}
    if found[first[0]].frozen_shapes:
        found |= {rank: read_model(path) for rank, path in ranks}
    return found


def read_model(path: Path) -> ModelFile:
    """A model_states file. Raises CheckpointError where it is damaged."""
    with torch.unpickled(path) as file:
        root = file.root
        if not isinstance(root, dict) or "module" not in root:
            raise Malformed("is no model_states file of DeepSpeed: it has no module")
        shapes = root.get("param_shapes")
        if isinstance(shapes, dict):  # before version 0.4 all groups were one
            shapes = [shapes]
        module = _tensors(file, root["module"])
        rest = {key: node for key, node in root.items() if key not in _OF_MODULE}
        found = Tree(rest).tensors(rest)
        read = ModelFile(
            path,
            module,
            tuple(map(_shapes, shapes)) if isinstance(shapes, list) and shapes else None,
            _shapes(root.get("frozen_param_shapes") or {}),
            _tensors(file, root.get("frozen_param_fragments")),
            _ties(root.get("shared_params")),
            frozenset(name for name in _list(root.get("buffer_names")) if type(name) is str),
            _made(file, (one for one in found if not one.is_optimizer)),
            _made(file, (one for one in found if one.is_optimizer)),
            _count(root.get("dp_world_size")),
            _table(root.get("universal_checkpoint_info")),
            _table(root.get("checkpoint_parallel_dimensions")),
        )
        every = (*module.values(), *read.frozen.values(), *read.beside, *read.optimizer)
        torch.check_overlap(tensor for tensor in every if tensor.tied_to is None)
        return read


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a file of a layer or expert. Raises CheckpointError where it is damaged."""
    with torch.unpickled(path) as file:
        tensors = _tensors(file, file.root)
        torch.check_overlap(tensor for tensor in tensors.values() if tensor.tied_to is None)
        return tensors


def read_rank(path: Path) -> RankFile:
    """An optim_states file. Raises CheckpointError where it is damaged."""
    with torch.unpickled(path) as file:
        root = file.root
        held = root.get("optimizer_state_dict") if isinstance(root, dict) else None
        if not isinstance(held, dict):
            raise Malformed("is no optim_states file of DeepSpeed: it has no optimizer_state_dict")
        where = next((key for key in _MASTERS if key in held), "")
        if not where:
            names = [excerpt(str(key), 40) for key in [*held][:3]]
            raise Malformed(f"has no flat fp32 weights of ZeRO; it has {', '.join(names)}")
        masters = [*_vectors(file, held[where], where)]
        inner = next((held[key] for key in _INNER if key in held), None)
        optimizer = _optimizer(file, inner, len(masters))
        if type(step := held.get("base_optimizer_state_step")) in (int, float):
            states = tuple({"step": step, **state} for state in optimizer.states)
            optimizer = replace(optimizer, states=states)
        read = RankFile(
            path,
            _stage(held.get("zero_stage")),
            (*masters,),
            optimizer,
            _counts(held.get("partition_count")),
            _counts(held.get("group_paddings")),
            tuple(map(_counts, _list(held.get("param_alignment_paddings")))),
            _table(held.get("universal_checkpoint_info")),
        )
        flat = [
            one for state in optimizer.states for one in state.values() if isinstance(one, Tensor)
        ]
        torch.check_overlap((*masters, *flat))
        return read


def _optimizer(file: Unpickled, inner: object, count: int | None) -> Optimizer:
    """The optimizer that ZeRO leads, of `count` vectors where that is known. An elastic state is a
    list, without settings. Raises Malformed where it has other vectors."""
    groups: list[tuple[Settings, tuple[int, ...]]] = []
    tables: list[object] = []
    if isinstance(inner, list):
        tables = inner
    for group in _list(_table(inner).get("param_groups")):
        keys = _list(_table(group).get("params"))
        numbers = range(len(tables), len(tables) + len(keys))
        groups.append((_settings(file, _table(group)), (*numbers,)))
        states = _table(_table(inner).get("state"))
        tables += [states.get(key) if type(key) is int else None for key in keys]
    if not groups:
        tables = [*tables, *[None] * ((count or 0) - len(tables))]
        groups = [({}, (number,)) for number in range(len(tables))]
    if count not in (None, len(tables)):
        raise Malformed(f"its groups have {len(tables)} vectors, it holds {count}")
    left_out: list[str] = []
    states_read = [_state(file, one, number, left_out) for number, one in enumerate(tables)]
    return Optimizer((*states_read,), (*groups,), (*left_out,))


def read_optimizer(path: Path) -> Optimizer:
    """The optimizer of a universal checkpoint, whose tensors lie elsewhere. Raises
    CheckpointError."""
    with torch.unpickled(path) as file:
        root = _table(file.root)
        inner = next((root[key] for key in _INNER if key in root), root)
        return _optimizer(file, inner, None)


def _state(
    file: Unpickled, table: object, number: int, left_out: list[str]
) -> Mapping[str, object]:
    """What the optimizer keeps for a vector: tensors, and numbers as they are."""
    state: dict[str, object] = {}
    for key, node in _table(table).items():
        if type(key) is not str or len(key) > MAX_NAME:
            continue
        if isinstance(node, TensorRecord):
            state[key] = file.tensor(f"state[{number}].{key}", node)
        elif node is None or type(node) in (bool, int, float, str):
            state[key] = node
        else:
            left_out.append(f"state[{number}].{excerpt(key, 40)}")
    return state


def _settings(file: Unpickled, group: Table) -> Settings:
    """The settings of a group, its tensors as records of a tree; groups may share some."""

    def made(record: TensorRecord) -> TensorRecord:
        return record if record.made is not None else recorded(file.tensor("a setting", record))

    settings = {name: node for name, node in group.items() if name not in _MARKS}
    mapped(settings, made)
    return settings


def _vectors(file: Unpickled, node: object, where: str) -> Iterable[Tensor]:
    """The flat vectors of a list. Raises Malformed for what is none."""
    records = [node] if isinstance(node, TensorRecord) else node
    if not isinstance(records, (list, tuple)):
        raise Malformed(f"{where} is no list of vectors")
    for number, record in enumerate(records):
        name = f"{where}[{number}]"
        if not isinstance(record, TensorRecord):
            raise Malformed(f"{name} is no tensor")
        yield flat(file.tensor(name, record))


def flat(tensor: Tensor) -> Tensor:
    """A tensor as the vector of its elements. Raises Malformed where these do not lie in order."""
    if len(tensor.shape) == 1 and tensor.strides is None:
        return tensor
    raise Malformed(f"{tensor.name}: has shape {[*tensor.shape]} where a flat vector should be")


def _tensors(file: Unpickled, node: object) -> dict[str, Tensor]:
    """The tensors of a state dict by name, in its order, nested ones by their path."""
    if not isinstance(node, dict):
        return {}
    found = Tree(node).tensors(node)
    return {tensor.name: tensor for tensor in _made(file, found)}


def _made(file: Unpickled, found: Iterable[Found]) -> tuple[Tensor, ...]:
    first: dict[object, str] = {}
    tensors: dict[str, Tensor] = {}
    for one in found:
        name = _name(".".join(one.path))
        if name in tensors:
            raise Malformed(f"holds two tensors named {excerpt(name)}")
        tied_to = name
        if one.record.numel:  # the placeholders of stage 3 are one empty tensor
            tied_to = first.setdefault(same_view(one.record), name)
        tensors[name] = file.tensor(name, one.record, None if tied_to == name else tied_to)
    return (*tensors.values(),)


def _shapes(node: object) -> Shapes:
    """Names and shapes of a group. Raises Malformed where they are none."""
    if not isinstance(node, dict):
        raise Malformed("param_shapes: a group is no dict of names")
    return {_name(name): shape_of(name, shape) for name, shape in node.items()}


def shape_of(name: object, node: object) -> Shape:
    """A shape of the file. Raises Malformed where no tensor has it."""
    shown = excerpt(str(name), 80)
    if not isinstance(node, (tuple, list)) or len(node) > MAX_DIMENSIONS:
        raise Malformed(f"{shown}: has no shape")
    if not all(type(size) is int and 0 <= size <= MAX_NUMEL for size in node):
        raise Malformed(f"{shown}: has a size that is negative, too large or no integer")
    if prod(node) > MAX_NUMEL:
        raise Malformed(f"{shown}: has more than {MAX_NUMEL} elements")
    return (*node,)


def _name(name: object) -> str:
    if type(name) is not str or not name:
        raise Malformed("holds a parameter without a name")
    if len(name) > MAX_NAME:
        raise Malformed(f"holds a tensor with a name of {len(name)} characters")
    return name


def _ties(node: object) -> Mapping[str, str]:
    """Names of a parameter that has another one too."""
    return {a: b for a, b in _table(node).items() if type(a) is str and type(b) is str}


def _stage(node: object) -> int | None:
    """The stage, which is an enumeration or a number."""
    args = node.args if isinstance(node, Placeholder) else node
    stage = args[0] if isinstance(args, tuple) and len(args) == 1 else args
    return stage if type(stage) is int and 0 <= stage <= 3 else None


def _counts(node: object) -> tuple[int, ...]:
    """A count, or one a group. Raises Malformed for a negative one."""
    counts = node if isinstance(node, (list, tuple)) else [] if node is None else [node]
    if not all(type(count) is int and 0 <= count <= MAX_NUMEL for count in counts):
        raise Malformed("has a count of ranks or of padding that is no count")
    return (*counts,)


def _count(node: object) -> int | None:
    return node if type(node) is int and node > 0 else None


def _table(node: object) -> Table:
    return node if isinstance(node, dict) else {}


def _list(node: object) -> list[object]:
    return [*node] if isinstance(node, (list, tuple)) else []
