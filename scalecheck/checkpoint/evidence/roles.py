"""What a parameter is to its module: embedding, matrix, convolution, gain, bias, half of an
adapter. Told by the module that owns the name, wrappers taken off, and by the shape."""

import math
import re
from collections.abc import Container

from scalecheck.checkpoint.evidence.wrappers import bare_name
from scalecheck.checkpoint.naming import spelled

_SEPARATOR = re.compile(r"[./]")
_LORA = re.compile(r"(?:lora_|lora_embedding_|lora\.)(a|b|down|up)(?=[._]|$)", re.IGNORECASE)
# LoHa and LoKr multiply `_a` [out, rank] by `_b` [rank, in]: `_a` is LoRA's B.
_LYCORIS = re.compile(r"(?:hada|lokr)_w[12]_([ab])(?=[._]|$)")
# What starts at zero, so that the adapter starts as nothing: LoRA's B, OFT's rotations; of LoHa and
# LoKr PEFT zeroes w2_b, w1 or w1_a, and LyCORIS w2_a, w2 or w2_b, or with use_scalar w1 or w1_a; of
# LoRA's embeddings PEFT zeroes A.
_ZERO_AT_FIRST = re.compile(
    r"(?:^|[._])(?:hada_(?:w1_a|w2_[ab])|lokr_(?:w[12]|w1_a|w2_b)|oft_(?:blocks|diag|[rR])|boft_R"
    r"|lora_embedding_A|(?:bone|miss)_block|vera_lambda_b|randlora_lambda|diff(?:_b)?)(?=\.|$)"
)

# By the words of the part that names the module, or the parameter itself where it is bare.
_EMBEDDINGS = frozenset(
    re.findall(r"\w+", "emb embd embed embeds embedding embeddings token tokens wte wpe shared")
)
_LAYERS = frozenset(
    ("proj", "projection", "linear", "dense", "mapping", "conv", "norm", "layernorm", "ln")
)
_NORM = re.compile(r"(?:.*_)?(?:rms|layer|batch|group)?_?norm\d*|ln(?:_\w+)?|grn", re.IGNORECASE)
_EXPERTS = re.compile(r"(?:^|_)(?:experts?|moe)(?:_|$)|bilinear|^b?oft_", re.IGNORECASE)
_KERNEL_SIDE = 31  # the widest convolution kernels in use; stacks of matrices are wider

# What libraries call the gain of a norm or of a layer. A vector of another name may be trained too.
_GAINS = re.compile(
    r"weight\w*|gamma\w*|scale|gain|g|ls\d?|layer_scale\w*|\w+_scale|scale_factor|logit_\w+|temp"
    r"|\w*temperature|tau|log_\w+|\w*lambda\w*|ia3_l|lora_magnitude_vector|lora_E|alpha\w*|\w*gate\w*"
    r"|D|A_log|dt_bias|\w*norm\w*|time_\w+|frequencies"
)


def is_zero_at_first(name: str, role: str) -> bool:
    """Whether a library starts the tensor at zero, so that the adapter starts as nothing."""
    return role == "lora_b" or bool(_ZERO_AT_FIRST.search(bare_name(name)))


def parameter_role(
    name: str, shape: tuple[int, ...], beside: Container[str] = ()
) -> tuple[str, str | None]:
    """One of naming.ROLES but buffer, and the evidence, None where nothing but the shape says it.

    beside: the words of its module's tensors. A weight with a bias is no table.
    """
    bare = bare_name(spelled(name))
    *path, word = [part for part in _SEPARATOR.split(bare) if not part.isdigit()] or [bare]
    is_weight = word.startswith(("weight", "kernel"))
    module = path[-1] if path and is_weight else word
    is_bare = module == word
    is_vector = max(shape, default=1) >= math.prod(shape)
    by_name = f"its name `{module[:60]}`"
    if match := _LORA.search(bare):
        return ("lora_a" if match[1].lower() in {"a", "down"} else "lora_b"), "a half of LoRA"
    if match := _LYCORIS.search(bare):
        return ("lora_a" if match[1] == "b" else "lora_b"), "a half of LoHa or LoKr"
    if word in {"bias", "beta", "b"} or word.startswith("bias_"):
        return "bias", f"its name `{word}`"
    if word.endswith("_bias") and len(shape) <= 2:
        return "bias", f"its name `{word[:60]}`"
    is_linear = is_weight and "bias" in beside
    if not is_linear and _is_embedding(module, is_bare=is_bare, dimensions=len(shape)):
        return "embedding", by_name
    if len(shape) <= 1:
        known = _GAINS.fullmatch(word)
        return "norm", f"a vector called `{word[:60]}`" if known else None
    if word == "weight_g" or (is_vector and is_bare):
        return "norm", "a vector with empty dimensions"
    if (len(shape) == 2 or is_vector) and _NORM.fullmatch(module):
        return "norm", by_name
    if word in {"A_log", "A_logs"}:
        return "norm", f"its name `{word}`: decays of a state space model"
    if len(shape) > 2 and _is_convolution(path, module, word, shape):
        return "conv", f"{len(shape)} dimensions, and a kernel's size"
    return "matrix", f"{len(shape)} dimensions"


def _is_embedding(module: str, *, is_bare: bool, dimensions: int) -> bool:
    words = set(module.lower().split("_"))
    if words & _LAYERS:
        return False
    return (is_bare or dimensions == 2) and (
        bool(words & _EMBEDDINGS) or module == "relative_attention_bias"
    )


def _is_convolution(path: list[str], module: str, word: str, shape: tuple[int, ...]) -> bool:
    """Else a stack of matrices, as of experts: these have no kernel, whatever their last size."""
    if "conv" in module.lower():
        return True
    if any(_EXPERTS.search(part) for part in path) or _EXPERTS.search(module):
        return False
    if word == "kernel" and len(shape) == 3:
        return False  # as of a DenseGeneral's heads: a kernel of one dimension is in a conv module
    if word.startswith(("weight", "kernel")):
        return len(shape) > 3 or shape[-1] <= _KERNEL_SIDE
    return len(shape) > 3 and max(shape[2:]) <= _KERNEL_SIDE
