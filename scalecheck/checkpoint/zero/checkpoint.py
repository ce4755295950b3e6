"""A step of DeepSpeed's ZeRO as a checkpoint: the model's tensors, the master weights beside them,
and the optimizer state."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.checkpoint.zero.files import MAX_RANK, ZeroFiles, files_of, missing
from scalecheck.checkpoint.zero.model import Model
from scalecheck.checkpoint.zero.parameters import Parameters, Ranks, gathered
from scalecheck.checkpoint.zero.states import ModelFile, RankFile, read_model, read_rank
from scalecheck.report.formatting import listed, plural

_OFFLOADED = "offloaded_tensors"  # where DeepSpeed copies vectors that lay on NVMe
MASTERS_ALONE = "stage 3 keeps no whole 16-bit weights: the master weights are shown"


def load_step(folder: Path) -> Checkpoint:
    """The checkpoint in a folder of ZeRO's files. Raises Malformed, CheckpointError."""
    files = files_of(folder)
    parts = [_Part.of(files, number) for number in _numbers(files)]
    if len(parts) > 1:
        raise Malformed(f"holds {len(parts)} tensor-parallel or pipeline ranks: not read")
    [part] = parts
    model, found = part.model.first, part.found
    rows = part.model.rows(found.masters, files)
    notes = [*found.notes]
    if files.others:
        notes.append(f"beside the checkpoint, not inspected: {listed(files.others)}")
    return Checkpoint(
        folder,
        part.format,
        (*rows.values(), *model.beside),
        non_model=frozenset(tensor.name for tensor in model.beside),
        optimizer=(*found.tensors, *model.optimizer),
        notes=(*notes,),
        in_order=not found.masters.keys() - model.module.keys(),
        layout=(*part.layout,),
        tree=found.tree,
        masters={name: one for name, one in found.masters.items() if rows[name] is not one},
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

    model: Model
    ranks: Ranks
    found: Parameters
    layout: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, files: ZeroFiles, number: int) -> "_Part":
        """Raises Malformed, CheckpointError."""
        models = {r: read_model(path) for (r, n), path in files.models.items() if n == number}
        own = {r: read_rank(path) for (r, n), path in files.optimizers.items() if n == number}
        first = next(iter(models.values()))
        world = _world(own, first)
        ranks = Ranks(files.folder, own, world)
        layout = [MASTERS_ALONE] if files.is_partitioned else []
        if lacks := missing(own, world):
            layout.append(f"{lacks}: their parts of the fp32 weights and moments are in no file")
        if files.is_partitioned and (lacks := missing(models, world)):
            layout.append(f"{lacks}: their model_states.pt, with parts of frozen parameters")
        if first.shapes is None:
            path = first.path.name
            raise Malformed(f"{path} has no param_shapes: what lies in flat vectors is not known")
        is_empty = not any(vector.numel for vector in ranks.first.masters)
        if is_empty and (files.folder / _OFFLOADED).is_dir():
            raise Malformed(f"its fp32 weights lay on NVMe: those in {_OFFLOADED} are not read")
        found = gathered(ranks, first.shapes, files.is_partitioned)
        return cls(Model(models, world, files.is_partitioned), ranks, found, layout)

    @property
    def format(self) -> str:
        stage = self.ranks.first.stage
        if stage is None:
            return "deepspeed-zero3" if self.model.is_partitioned else "deepspeed-bf16"
        return f"deepspeed-zero{stage}"


def _world(own: Mapping[int, RankFile], model: ModelFile) -> int:
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
