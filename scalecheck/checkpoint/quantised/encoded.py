"""The weights of a checkpoint that are stored as codes and factors, in the place of their codes."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache, partial

from scalecheck import registry
from scalecheck.checkpoint.encodings.contract import Candidate, Encoding, NotDecoded
from scalecheck.checkpoint.kinds import TensorKind
from scalecheck.checkpoint.tensor import Checkpoint, Tensor

_TYPES = frozenset(
    ("U8", "I8", "I16", "I32", "U32", "F4", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")
)


def with_encoded(checkpoint: Checkpoint) -> tuple[Checkpoint, Mapping[str, TensorKind]]:
    """The checkpoint with its encoded weights in the place of their codes, and the kind of every
    tensor that holds factors of one. Codes that an encoding knows and cannot decode are unmeasured,
    with the reason."""
    if not any(tensor.dtype.name in _TYPES for tensor in checkpoint.tensors):
        return checkpoint, {}
    tensors = {tensor.name: tensor for tensor in checkpoint.tensors}
    encodings = [registry.load("encoding", name) for name in registry.names("encoding")]
    weights: dict[str, Tensor] = {}
    owner: dict[str, str] = {}
    for candidate in _candidates(checkpoint, tensors):
        found = _weight(candidate, encodings)
        if found is None:
            continue
        weights[candidate.codes.name] = found
        owner |= dict.fromkeys((part for part in found.parts if part in tensors), found.name)
    if not weights:
        return checkpoint, {}
    listed = tuple(weights.get(tensor.name, tensor) for tensor in checkpoint.tensors)
    factors = {
        name: TensorKind("buffer", "buffer", f"quantisation factors of {weight}")
        for name, weight in owner.items()
        if name not in weights
    }
    return replace(checkpoint, tensors=listed), factors


def _candidates(checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> Iterator[Candidate]:
    """Every tensor whose type may be that of codes."""
    from scalecheck.checkpoint.encodings._config import quantisation

    config = cache(quantisation)
    for tensor in checkpoint.tensors:
        is_stored_so = f"{tensor.name}.absmax" in tensors  # codes in the words of any type
        if (tensor.dtype.name in _TYPES or is_stored_so) and tensor.shape and tensor.numel:
            module, dot, word = tensor.name.rpartition(".")
            folder = tensor.source.path.parent
            yield Candidate(
                tensor, module + dot, word, tensors, partial(config, folder), checkpoint.metadata
            )


def _weight(candidate: Candidate, encodings: list[Encoding]) -> Tensor | None:
    """The weight of the one encoding that knows the codes; the codes themselves, unmeasured with
    the reason, where it cannot decode them, or where several know them."""
    found: list[Tensor] = []
    refusals: list[str] = []
    for encoding in encodings:
        try:
            weight = encoding.weight(candidate)
        except NotDecoded as refusal:
            refusals.append(str(refusal))
        else:
            found += [] if weight is None else [weight]
    if len(found) == 1 and not refusals:
        return found[0]
    if len(found) > 1:
        titles = " or ".join(weight.dtype.name for weight in found)
        refusals.append(f"they may be {titles}")
    if not refusals or candidate.codes.unmeasured:
        return None
    reason = f"{candidate.codes.dtype.name} codes that are not decoded: {'; '.join(refusals)}"
    return replace(candidate.codes, unmeasured=reason)
