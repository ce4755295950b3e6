"""What a tensor's name and shape say: its layer, its family of siblings, and its role."""

import re

from scalecheck.checkpoint.dtypes import DType

_INDEX = re.compile(r"(?:^|(?<=[./]))\d+(?=[./]|$)")
_BUFFER = re.compile(
    r"(running_mean|running_var|num_batches_tracked|position_ids|inv_freq|freqs_cis|rotary_emb.*"
    r"|relative_position_index|attn_mask|masked_bias|token_type_ids|.*_buffer|.*_cached)$"
)
_EMBEDDING = re.compile(r"(^|[._])(\w*emb|\w*embed|\w*embeddings?|embed_tokens|wte|wpe|tok\w*)[._]")
_NORM = re.compile(r"(norm|(^|[._])(ln|bn|gn)\w*[._]|layernorm|batchnorm)", re.IGNORECASE)
_BIAS = re.compile(r"(^|[._])(bias|beta|b|bias_[ih]h_l\d+\w*|\w+_bias)$")
_LORA = re.compile(r"lora_(?:embedding_)?([ab])|lora_(down|up)", re.IGNORECASE)

ROLES = ("embedding", "matrix", "conv", "norm", "bias", "lora_a", "lora_b", "buffer")

_KERNEL_SIDE = 31  # the widest convolution kernels in use; stacks of matrices are wider


def family(name: str) -> str:
    """The name with every index replaced by N: what the same tensor of each block shares."""
    return _INDEX.sub("N", name)


def layer(name: str) -> str:
    """The module path up to the first index, that included; without one, the name's module."""
    match = _INDEX.search(name)
    if match:
        return name[: match.end()]
    return re.split(r"[./][^./]*$", name)[0]


def indices(name: str) -> tuple[int, ...]:
    """The indices in the name, in order: where the tensor stands in its family."""
    return tuple(int(text) for text in _INDEX.findall(name))


def role(name: str, dtype: DType, shape: tuple[int, ...]) -> str:
    """One of ROLES, by the name where it is telling and by the shape where it is not.

    Integers and bools are buffers. A vector or scalar that is neither a bias nor a buffer is a
    norm: a gain. Three dimensions and more are conv, unless the last is too wide for a kernel.
    """
    if not dtype.is_float or _BUFFER.search(name):
        return "buffer"
    if match := _LORA.search(name):
        return "lora_a" if (match[1] or "").lower() == "a" or match[2] == "down" else "lora_b"
    if _BIAS.search(name) and len(shape) <= 1:
        return "bias"
    if len(shape) <= 1:
        return "norm"
    if _EMBEDDING.search(name) and not _NORM.search(name) and len(shape) == 2:
        return "embedding"
    if len(shape) > 2 and max(shape[2:]) <= _KERNEL_SIDE:
        return "conv"
    return "matrix"
