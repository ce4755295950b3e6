"""A step of DeepSpeed's ZeRO as a checkpoint: the model's tensors, the master weights beside them,
and the optimizer state."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.checkpoint.zero.files import MAX_RANK, ZeroFiles, files_of, missing
from scalecheck.checkpoint.zero.parameters import Parameters, Ranks, gathered
from scalecheck.checkpoint.zero.partitions import Place, RankVectors, Vector
from scalecheck.checkpoint.zero.states import (
    ModelFile,
    RankFile,
    flat,
    read_model,
    read_rank,
    read_tensors,
)
from scalecheck.report.formatting import excerpt, listed, plural

_OFFLOADED = "offloaded_tensors"  # where DeepSpeed copies vectors that lay on NVMe


def load_step(folder: Path) -> Checkpoint:
    """The checkpoint in a folder of ZeRO's files. Raises Malformed, CheckpointError."""
    files = files_of(folder)
    parts = [_Part.of(files, number) for number in _numbers(files)]
    if len(parts) > 1:
        raise Malformed(f"holds {len(parts)} tensor-parallel or pipeline ranks: not read")
    [part] = parts
    rows = _rows(part, files)
    notes = [*part.found.notes]
    if files.others:
        notes.append(f"beside the checkpoint, not inspected: {listed(files.others)}")
    return Checkpoint(
        folder,
        part.format,
        (*rows.values(), *part.model.beside),
        non_model=frozenset(tensor.name for tensor in part.model.beside),
        optimizer=(*part.found.tensors, *part.model.optimizer),
        notes=(*notes,),
        in_order=not part.found.masters.keys() - part.model.module.keys(),
        layout=(*part.layout,),
        masters={n: t for n, t in part.found.masters.items() if rows[n] is not t},
        tree=part.found.tree,
    )


def _numbers(files: ZeroFiles) -> list[int]:
    """The tensor-parallel or pipeline ranks, `mp_rank_NN`. Raises Malformed where one lacks its
    names and shapes, or its vectors."""
    models = {number for _, number in files.models}
    optimizers = {number for _, number in files.optimizers}
    if not models:
        raise Malformed("has no *_model_states.pt, which holds the names and shapes")
    if not optimizers:
        raise Malformed("has no *_optim_states.pt, which hold the fp32 weights")
    for number in sorted(models ^ optimizers):
        kind = "optim" if number in models else "model"
        raise Malformed(f"has no *mp_rank_{number:02}_{kind}_states.pt")
    return sorted(models)


@dataclass
class _Part:
    """The files of one tensor-parallel or pipeline rank, read and put together."""

    model: ModelFile
    models: Mapping[int, ModelFile]
    ranks: Ranks
    is_partitioned: bool
    found: Parameters
    layout: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, files: ZeroFiles, number: int) -> "_Part":
        """Raises Malformed, CheckpointError."""
        models = {r: read_model(path) for (r, n), path in files.models.items() if n == number}
        own = {r: read_rank(path) for (r, n), path in files.optimizers.items() if n == number}
        model = next(iter(models.values()))
        world = _world(own, model, files.folder)
        ranks = Ranks(files.folder, own, world)
        layout = []
        if lacks := missing(own, world):
            layout.append(f"{lacks}: their parts of the fp32 weights and moments are in no file")
        if files.is_partitioned and (lacks := missing(models, world)):
            layout.append(f"{lacks}: their model_states.pt, with parts of frozen parameters")
        shapes = model.shapes or _shapes_of_slices(ranks, model)
        if not sum(vector.numel for vector in ranks.first.masters) and (
            (files.folder / _OFFLOADED).is_dir()
        ):
            raise Malformed(f"its fp32 weights lay on NVMe: those in {_OFFLOADED} are not read")
        found = gathered(ranks, shapes, files.is_partitioned)
        return cls(model, models, ranks, files.is_partitioned, found, layout)

    @property
    def format(self) -> str:
        stage = self.ranks.first.stage
        if stage is None:
            return "deepspeed-bf16" if not self.is_partitioned else "deepspeed-zero3"
        return f"deepspeed-zero{stage}"


def _world(own: Mapping[int, RankFile], model: ModelFile, folder: Path) -> int:
    """Of how many data-parallel ranks the vectors are parts. Raises Malformed where the files do
    not agree, or are of more ranks."""
    counts = {rank: max(file.counts, default=0) for rank, file in own.items()}
    first, world = next(iter(counts.items()))
    for rank, count in counts.items():
        if count != world:
            raise Malformed(f"rank {rank} is one of {count} ranks, rank {first} one of {world}")
    world = world or model.world or max(own) + 1
    if world > MAX_RANK:
        raise Malformed(f"says that it has {world} ranks, the limit is {MAX_RANK}")
    if (last := max(own)) >= world:
        raise Malformed(f"has a file of rank {last}, and says that it has {plural(world, 'rank')}")
    return world


def _shapes_of_slices(ranks: Ranks, model: ModelFile) -> list[dict[str, tuple[int, ...]]]:
    """The names and shapes where the model's file has none: those of the parameters that ranks say
    they have elements of, in the order of their vectors. Raises Malformed."""
    groups: list[dict[str, tuple[int, ...]]] = []
    for number in range(len(ranks.first.masters)):
        names: dict[str, tuple[int, ...]] = {}
        for _, file in sorted(ranks.files.items()):
            own = file.slices[number] if number < len(file.slices) else {}
            for name in sorted(own, key=lambda name: own[name][1]):
                if name not in model.module:
                    raise Malformed(f"has no shape of {excerpt(name)}")
                names[name] = model.module[name].shape
        groups.append(names)
    if not any(groups):
        raise Malformed("has no param_shapes: the names in its flat vectors are not known")
    return groups


def _rows(part: _Part, files: ZeroFiles) -> dict[str, Tensor]:
    """The model's tensors in its order: as its own file has them, where this holds them."""
    model, masters = part.model, part.found.masters
    rows: dict[str, Tensor] = {}
    for name, tensor in model.module.items():
        is_placeholder = part.is_partitioned and not tensor.numel
        if not (is_placeholder and (name in masters or name in model.frozen_shapes)):
            rows[name] = tensor
        elif name in masters:
            rows[name] = masters[name]
        else:
            rows[name] = _frozen(part, name)
    for (layer, _), path in files.layers.items():
        rows |= {f"{layer}.{name}": tensor for name, tensor in read_tensors(path).items()}
    for path in files.experts.values():
        rows |= read_tensors(path)
    for name in model.frozen_shapes:
        if name not in rows:
            rows[name] = _frozen(part, name)
    for name, tensor in masters.items():
        row = rows.setdefault(name, tensor)
        if row.shape != tensor.shape:
            shapes = f"{[*row.shape]} in the module and {[*tensor.shape]} in param_shapes"
            raise Malformed(f"{excerpt(name)}: has shape {shapes}")
    for name, first in model.tied.items():
        if first in rows and (name not in rows or not rows[name].numel):
            rows[name] = replace(rows[first], name=name, tied_to=first)
    return rows


def _frozen(part: _Part, name: str) -> Tensor:
    """A parameter that is not trained, of which each rank of stage 3 has an equal part."""
    shape = part.model.frozen_shapes[name]
    held = {rank: one.frozen[name] for rank, one in part.models.items() if name in one.frozen}
    if not held:
        raise Malformed(f"{excerpt(name)}: is in no rank's frozen_param_fragments")
    if not part.is_partitioned:
        tensor = next(iter(held.values()))
        if tensor.shape != shape:
            shapes = f"{[*tensor.shape]} and {[*shape]} in frozen_param_shapes"
            raise Malformed(f"{excerpt(name)}: has shape {shapes}")
        return tensor
    world = part.ranks.world
    each = -(-prod(shape) // world)
    for rank, fragment in held.items():
        if fragment.numel != each:
            of = f"rank {rank} has {fragment.numel} elements of {excerpt(name)}"
            raise Malformed(f"{of}, a part of {[*shape]} among {world} has {each}")
    vectors = {rank: Vector((flat(fragment),)) for rank, fragment in held.items()}
    return RankVectors.of(part.model.path, vectors, world).tensor(name, shape, Place(0, each))
