"""What a tensor's name and shape say: its layer, its family of siblings, and its role."""

import math
import re

from scalecheck.dtypes import DType

ROLES = ("embedding", "matrix", "conv", "norm", "bias", "lora_a", "lora_b", "buffer")

# A part of a name that is a number, or the layer in torch's names for recurrent weights.
_BLOCK = re.compile(r"(?:^|(?<=[./]))\d+(?=[./]|$)")
_INDEX = re.compile(_BLOCK.pattern + r"|(?<=_[ih]h_l)\d+(?=_reverse$|$)")

# By the last part of the name: statistics, tables, masks and quantisation scales, none of which an
# optimizer updates.
_BUFFERS = re.compile(
    r"running_mean|running_var|num_batches_tracked|position_ids|token_type_ids|\w+_buffer"
    r"|inv_freq|freqs|freqs_cis|freqs_cos|freqs_sin|cos_cached|sin_cached"
    r"|masked_bias|mask|attn_mask|causal_mask|tril|relative_position_index|weight_u"
    r"|scales|qzeros|g_idx|weight_scale|weight_scale_inv|input_scale|output_scale"
)
_LORA = re.compile(r"(?:lora_|lora_embedding_|lora\.)(a|b|down|up)(?=[._]|$)", re.IGNORECASE)

# By the words of the part that names the module, or the parameter itself where it is bare.
_EMBEDDINGS = frozenset(
    re.findall(r"\w+", "emb embd embed embeds embedding embeddings token tokens wte wpe shared")
)
_LAYERS = frozenset(
    ("proj", "projection", "linear", "dense", "mapping", "conv", "norm", "layernorm", "ln")
)

_NORM = re.compile(r"(?:.*_)?(?:rms|layer|batch|group)?_?norm\d*|ln(?:_\w+)?", re.IGNORECASE)
_KERNEL_SIDE = 31  # the widest convolution kernels in use; stacks of matrices are wider


def family(name: str) -> str:
    """The name with every index replaced by N: what the same tensor of each block shares."""
    return _INDEX.sub("N", name)


def layer(name: str) -> str:
    """The module path up to the first block index, that included; without one, the module."""
    match = _BLOCK.search(name)
    if match:
        return name[: match.end()]
    return name[: max(name.rfind("."), name.rfind("/"))] if re.search(r"[./]", name) else name


def indices(name: str) -> tuple[int, ...]:
    """The indices in the name, in order: where the tensor stands in its family."""
    return tuple(int(text) for text in _INDEX.findall(name))


def role(name: str, dtype: DType, shape: tuple[int, ...]) -> str:
    """One of ROLES, by the name where it is telling and by the shape where it is not.

    Integers and bools are buffers. A vector or scalar that is none of the others is a norm: a gain;
    so is one with empty dimensions around it, and a stack of them in a module named so. Three
    dimensions and more are conv if the name says so or the kernel is small, else a stack of
    matrices.
    """
    *path, parameter = [part for part in re.split(r"[./]", name) if not part.isdigit()] or [name]
    module = path[-1] if path and parameter.startswith("weight") else parameter
    if not dtype.is_float or _is_buffer(path, parameter, shape):
        return "buffer"
    if match := _LORA.search(name):
        return "lora_a" if match[1].lower() in {"a", "down"} else "lora_b"
    if parameter in {"bias", "beta", "b"} or parameter.startswith("bias_"):
        return "bias"
    if parameter.endswith("_bias") and len(shape) <= 2:
        return "bias"
    if _is_embedding(module, is_bare=module == parameter, dimensions=len(shape)):
        return "embedding"
    if len(shape) <= 1 or parameter == "weight_g":
        return "norm"
    if len(shape) == 2 and _NORM.fullmatch(module):
        return "norm"
    if len(shape) > 2 and max(shape) == math.prod(shape) and module == parameter:
        return "norm"
    if len(shape) > 2 and ("conv" in module or max(shape[2:]) <= _KERNEL_SIDE):
        return "conv"
    return "matrix"


def _is_buffer(path: list[str], parameter: str, shape: tuple[int, ...]) -> bool:
    if _BUFFERS.fullmatch(parameter) or "rotary_emb" in path:
        return True
    return (
        (parameter == "bias" and len(shape) == 4)  # GPT-2 keeps its causal mask under this name
        or (parameter == "weight_v" and len(shape) == 1)  # a vector of spectral normalisation
        or (parameter == "alpha" and not shape and "lora" in "".join(path))
    )


def _is_embedding(module: str, *, is_bare: bool, dimensions: int) -> bool:
    words = set(module.lower().split("_"))
    if words & _LAYERS:
        return False
    return (is_bare or dimensions == 2) and (
        bool(words & _EMBEDDINGS) or module == "relative_attention_bias"
    )
