"""The matrices of a base model that an adapter adds to, found by name and shape. Names with dots,
as PEFT and diffusers have them, and kohya's with underscores in their place."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from scalecheck.checkpoint.adapters.pairs import Pair
from scalecheck.checkpoint.evidence.wrappers import bare_name
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.report.formatting import listed

MAX_NEAR = 64  # matrices whose names end like an adapted module's, among which one is sought
_MAX_DROPPED = 8  # parts that an adapter's names may have before the base's: model.language_model.

# Of kohya's stems the part of a pipeline, by its folder.
_PARTS = {
    "unet": "unet",
    "transformer": "transformer",
    "te": "text_encoder",
    "te1": "text_encoder",
    "te2": "text_encoder_2",
    "te3": "text_encoder_3",
    "prior_unet": "unet",
}
_STEM = re.compile(rf"(?:lora|lycoris)_(?:({'|'.join(_PARTS)})_)?(\w+)")


@dataclass(frozen=True)
class Unmatched:
    """Why an adapted module has no matrix in the base."""

    reason: str


class Base:
    """The tensors of a base model by the names of their modules."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._dotted = _Names()
        self._joined = _Names()
        for tensor in checkpoint.tensors:
            if tensor.kind.is_weight or tensor.unmeasured is not None:
                module = bare_name(tensor.name).removesuffix(".weight").replace("/", ".")
                self._dotted.add(module, ".", tensor)
                self._joined.add(module.replace(".", "_"), "_", tensor)

    def matrix(self, pair: Pair) -> Tensor | Unmatched:
        """The tensor that the pair's product is added to. It is that of the same name; else the
        only one of a fitting shape whose name ends like the module's, or the other way round."""
        stem = _STEM.fullmatch(pair.module)
        if stem and "." not in pair.module:
            part, name = _PARTS.get(stem[1] or "", ""), stem[2]
            names, separator = self._joined, "_"
            tries = [f"{part}_{name}", name] if part else [name]
        else:
            names, separator, tries = self._dotted, ".", [pair.module]
            if pair.module.endswith(".to_out"):  # diffusers' processors call to_out.0 so
                tries.append(f"{pair.module}.0")
        misfits: list[Tensor] = []
        for candidates in names.near(tries, separator):
            fitting = [tensor for tensor in candidates if _fits(tensor, pair)]
            if len(fitting) == 1:
                return _measurable(fitting[0])
            if fitting:
                several = listed([tensor.name for tensor in fitting])
                return Unmatched(f"several matrices of the base could be meant: {several}")
            misfits += candidates
        if misfits:
            sizes = "×".join(map(str, misfits[0].shape)) or "scalar"
            own = "×".join(map(str, pair.shape))
            return Unmatched(f"{misfits[0].name} of the base is {sizes}, the adapter's is {own}")
        return Unmatched("the base has no matrix of this name")


def _fits(tensor: Tensor, pair: Pair) -> bool:
    """Whether the product has the tensor's sizes, either way round: Conv1D and embeddings keep
    inputs first."""
    if len(tensor.shape) < 2:
        return False
    first, rest = tensor.shape[0], tensor.numel // max(1, tensor.shape[0])
    return pair.shape == (first, rest) or (len(tensor.shape) == 2 and pair.shape == (rest, first))


def _measurable(tensor: Tensor) -> Tensor | Unmatched:
    if tensor.unmeasured is not None:
        return Unmatched(f"{tensor.name} of the base is not measured: {tensor.unmeasured}")
    return tensor


class _Names:
    """Tensors by name, and by the ends of names."""

    def __init__(self) -> None:
        self._by_name: dict[str, list[Tensor]] = {}
        self._reversed: list[tuple[str, str]] = []
        self._is_sorted = False

    def add(self, name: str, separator: str, tensor: Tensor) -> None:
        if name not in self._by_name:
            self._reversed.append(((separator + name)[::-1], name))
            self._is_sorted = False
        self._by_name.setdefault(name, []).append(tensor)

    def near(self, tries: Sequence[str], separator: str) -> list[list[Tensor]]:
        """The tensors that a name can mean, the likeliest first: of the name, of names that end
        with it, and of those that it ends with."""
        found = [self._by_name.get(name, []) for name in tries]
        found += [self._ending(separator + name) for name in tries]
        for rest in tries:
            for _ in range(_MAX_DROPPED):
                _, there, rest = rest.partition(separator)
                if not there:
                    break
                found.append(self._by_name.get(rest, []))
        return [candidates for candidates in found if candidates]

    def _ending(self, end: str) -> list[Tensor]:
        if not self._is_sorted:
            self._reversed.sort()
            self._is_sorted = True
        start = end[::-1]
        at = bisect_left(self._reversed, (start, ""))
        found: list[Tensor] = []
        for reversed_name, name in self._reversed[at : at + MAX_NEAR]:
            if not reversed_name.startswith(start):
                break
            found += self._by_name[name]
        return found
