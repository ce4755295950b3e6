"""A step of DeepSpeed's ZeRO as a checkpoint: the model's tensors, the master weights beside them,
and the optimizer state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.checkpoint.zero.files import MAX_RANK, ZeroFiles, files_of, missing
from scalecheck.checkpoint.zero.model import Model
from scalecheck.checkpoint.zero.parameters import Parameters, Ranks, gathered
from scalecheck.checkpoint.zero.slices import Part, Slicing, merged
from scalecheck.checkpoint.zero.states import ModelFile, RankFile, Table, read_models, read_rank
from scalecheck.report.formatting import listed, plural

_OFFLOADED = "offloaded_tensors"  # where DeepSpeed copies vectors that lay on NVMe
MASTERS_ALONE = "ZeRO stage 3 saves no whole 16-bit weights, so the master weights are shown."


def load_step(folder: Path) -> Checkpoint:
    """The checkpoint in a folder of ZeRO's files. Raises Malformed, CheckpointError."""
    files = files_of(folder)
    loaded = {number: _Loaded.of(files, number) for number in _numbers(files)}
    first = next(iter(loaded.values()))
    slicing = Slicing(first.slicing, _tensor_parallel([*loaded.values()]))
    parts = [
        Part(number, one.rows(files, number % slicing.ranks), one.model.first.buffers, one.found)
        for number, one in loaded.items()
    ]
    rows, found = parts[0].rows, parts[0].found
    layout = [*dict.fromkeys(note for one in loaded.values() for note in one.layout)]
    if len(parts) > 1:
        rows, found = merged(parts, slicing, folder)
        layout.append(_how_merged(parts, slicing))
    others = f"beside the checkpoint, not inspected: {listed(files.others)}"
    model = first.model.first
    return Checkpoint(
        folder,
        first.format,
        (*rows.values(), *model.beside),
        non_model=frozenset(tensor.name for tensor in model.beside),
        optimizer=(*found.tensors, *model.optimizer),
        notes=(others,) if files.others else (),
        in_order=len(parts) == 1 and not found.masters.keys() - model.module.keys(),
        layout=(*layout, *found.notes),
        tree=found.tree,
        masters={name: one for name, one in found.masters.items() if rows[name] is not one},
    )


def _tensor_parallel(loaded: Sequence["_Loaded"]) -> int:
    """How many tensor-parallel ranks there are: as the checkpoint says, else as many as hold the
    same names. Raises Malformed where the files are not of so many."""
    count = len(loaded)
    degrees = loaded[0].model.first.degrees
    said = degrees.get("tp_degree")
    if type(said) is not int:
        names = [one.found.masters.keys() for one in loaded]
        return sum(own == names[0] for own in names) or 1
    if said < 1 or count % said:
        raise Malformed(f"says that it has {said} tensor-parallel ranks, and has {count} mp_rank_")
    return said


def _how_merged(parts: Sequence[Part], slicing: Slicing) -> str:
    """A note on how the tensors of tensor-parallel and pipeline ranks were read."""
    stages = plural(-(-len(parts) // slicing.ranks), "pipeline stage")
    if slicing.ranks == 1:
        return f"read of {stages}"
    words = f"read of {plural(slicing.ranks, 'tensor-parallel rank')} in {stages}"
    if slicing.is_known:
        return f"{words}: slices put together as its universal_checkpoint_info says"
    return f"{words}: slices, as it does not say how they were cut, named mp_rank_NN/NAME"


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
class _Loaded:
    """The files of one tensor-parallel or pipeline rank, read and put together."""

    model: Model
    ranks: Ranks
    found: Parameters
    slicing: Table
    layout: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, files: ZeroFiles, number: int) -> "_Loaded":
        """Raises Malformed, CheckpointError."""
        paths = {rank: path for (rank, n), path in files.models.items() if n == number}
        models = read_models(paths)
        own = {r: read_rank(path) for (r, n), path in files.optimizers.items() if n == number}
        first = next(iter(models.values()))
        world = _world(own, first)
        ranks = Ranks(files.folder, own, world)
        layout = [MASTERS_ALONE] if files.is_partitioned else []
        if first.shapes is None:
            path = first.path.name
            raise Malformed(f"{path} has no param_shapes: what lies in flat vectors is not known")
        is_empty = not any(vector.numel for vector in ranks.first.masters)
        if is_empty and (files.folder / _OFFLOADED).is_dir():
            raise Malformed(f"its fp32 weights lay on NVMe: those in {_OFFLOADED} are not read")
        found = gathered(ranks, first.shapes, files.is_partitioned)
        if lacks := missing(own, world):
            lacking = [name for name, master in found.masters.items() if master.unmeasured]
            of = f"{len(lacking)} of {plural(len(found.masters), 'tensor')}"
            what = f"{of} lack elements of their master weights and moments"
            layout.append(f"{lacks}: {what}{': ' if lacking else ''}{listed(lacking)}")
        if first.frozen_shapes and files.is_partitioned and (lacks := missing(models, world)):
            layout.append(f"{lacks}, of the model_states.pt with their parts of frozen parameters")
        slicing = first.slicing or ranks.first.slicing
        return cls(Model(models, world, files.is_partitioned), ranks, found, slicing, layout)

    def rows(self, files: ZeroFiles, slice_number: int) -> dict[str, Tensor]:
        """The model's tensors."""
        return self.model.rows(self.found.masters, files, slice_number)

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
