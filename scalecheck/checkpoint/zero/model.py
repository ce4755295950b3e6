"""The model's tensors of a DeepSpeed checkpoint, in the order of its module: as its own files have
them, or where stage 3 left nothing there, as the ranks hold them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.checkpoint.zero.files import ZeroFiles
from scalecheck.checkpoint.zero.partitions import Place, RankVectors, Vector
from scalecheck.checkpoint.zero.states import ModelFile, flat, read_tensors
from scalecheck.report.formatting import excerpt


@dataclass(frozen=True)
class Model:
    """The model_states files of `world` data-parallel ranks by their numbers; of stages 1 and 2 the
    first alone has one."""

    files: Mapping[int, ModelFile]
    world: int
    is_partitioned: bool

    @property
    def first(self) -> ModelFile:
        return next(iter(self.files.values()))

    def rows(
        self, masters: Mapping[str, Tensor], others: ZeroFiles, slice_number: int = 0
    ) -> dict[str, Tensor]:
        """Every tensor by its name; masters: the weights that the optimizer moves, which stand for
        those that the files have no elements of. The layers and experts are those of a
        tensor-parallel rank. Raises Malformed where shapes do not agree."""
        first = self.first
        rows: dict[str, Tensor] = {}
        for name, tensor in first.module.items():
            is_placeholder = self.is_partitioned and not tensor.numel
            if is_placeholder and name in masters:
                rows[name] = masters[name]
            elif is_placeholder and name in first.frozen_shapes:
                rows[name] = self._frozen(name)
            else:
                rows[name] = tensor
        for (layer, number), path in others.layers.items():
            if number != slice_number:
                continue
            rows |= {f"{layer}.{name}": tensor for name, tensor in read_tensors(path).items()}
        for (_, _, number), path in others.experts.items():
            rows |= read_tensors(path) if number == slice_number else {}
        for name in first.frozen_shapes:
            if name not in rows:
                rows[name] = self._frozen(name)
        for name, tensor in masters.items():
            row = rows.setdefault(name, tensor)
            if row.shape != tensor.shape:
                shapes = f"{[*row.shape]} in the module and {[*tensor.shape]} in param_shapes"
                raise Malformed(f"{excerpt(name)}: has shape {shapes}")
        for name, original in first.tied.items():
            if original in rows and (name not in rows or not rows[name].numel):
                rows[name] = replace(rows[original], name=name, tied_to=original)
        return rows

    def _frozen(self, name: str) -> Tensor:
        """A parameter that is not trained, of which each rank of stage 3 has an equal part."""
        shape = self.first.frozen_shapes[name]
        held = {rank: one.frozen[name] for rank, one in self.files.items() if name in one.frozen}
        if not held:
            raise Malformed(f"{excerpt(name)}: is in no rank's frozen_param_fragments")
        each = -(-prod(shape) // self.world) if self.is_partitioned else prod(shape)
        for rank, fragment in held.items():
            if fragment.numel != each:
                has = f"rank {rank} has {fragment.numel} elements of {excerpt(name)}"
                raise Malformed(f"{has}, of {[*shape]} it should have {each}")
        if not self.is_partitioned:
            return replace(next(iter(held.values())), shape=shape)
        vectors = {rank: Vector((flat(fragment),)) for rank, fragment in held.items()}
        path = self.first.path.parent
        return RankVectors.of(path, vectors, self.world).tensor(name, shape, Place(0, each))
