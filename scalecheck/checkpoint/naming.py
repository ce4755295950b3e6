"""What a tensor's name says of its place: its layer and its family; and the words of roles."""

import re
from glob import escape

ROLES = ("embedding", "matrix", "conv", "norm", "bias", "lora_a", "lora_b", "buffer")
MATRICES = frozenset(("matrix", "conv", "lora_a", "lora_b"))
"""The roles of weights that multiply: all but embeddings, norms and biases."""
HALVES = frozenset(("lora_a", "lora_b"))
"""The roles of an adapter's halves, whose product is what adds to a matrix: of one half by itself
no relative update is usual."""
WEIGHTS = MATRICES | {"embedding"}
"""The roles that have rows, each of which a rule can look at."""

# A part of a name that is a number, or the layer in torch's names for recurrent weights.
_BLOCK = re.compile(r"(?:^|(?<=[./]))\d+(?=[./]|$)")
# A layer's variable by its number, as Keras saves it: layers/dense_1/vars/0.
_NUMBERED = re.compile(r"((?:.*/)?([a-z][a-z0-9_]*?)(?:_\d+)?/)vars/(\d)")
_VALUE = re.compile(r"((?:.*[./])?(?:kernel|bias|scale|embedding|mean|var|count))[./]value")
_VARIABLES = (
    (re.compile(r".*dense|.*conv\d?d?\w*|lora\w*"), ("kernel", "bias")),
    (re.compile(r".*embedding"), ("embeddings",)),
    (re.compile(r"batch_normalization"), ("gamma", "beta", "moving_mean", "moving_variance")),
    (re.compile(r".*normalization"), ("gamma", "beta")),
)
_OF_ADAPTER = re.compile(
    r"lora|alpha|dora_s|hada_|lokr_|oft_|ia3_l|vera_l|fourierft|bone_b|miss_b|hra_u"
)
_INDEX = re.compile(_BLOCK.pattern + r"|(?<=_[ih]h_l)\d+(?=_reverse$|$)")


def family(name: str) -> str:
    """The name with every index replaced by N: what the same tensor of each block shares."""
    return _INDEX.sub("N", name)


def family_glob(name: str) -> str:
    """A glob that the names of a family match: blocks.*.w for blocks.3.w."""
    return "*".join(map(escape, _INDEX.split(name)))


def spelled(name: str) -> str:
    """The name with the word of a layer's variable in place of its number, where the layer's class
    tells it: layers/dense_1/kernel of layers/dense_1/vars/0; and of what flax.nnx keeps as the
    `value` of a variable that of the variable."""
    if match := _VALUE.fullmatch(name):
        return match[1]
    if "/vars/" not in name or not (match := _NUMBERED.fullmatch(name)):
        return name
    words = next((words for layer, words in _VARIABLES if layer.fullmatch(match[2])), ())
    number = int(match[3])
    return match[1] + words[number] if number < len(words) else name


def layer(name: str) -> str:
    """The module path up to the first block index, that included; without one, the module."""
    match = _BLOCK.search(name)
    if match:
        return name[: match.end()]
    return name[: max(name.rfind("."), name.rfind("/"))] if re.search(r"[./]", name) else name


def may_be_of_adapter(name: str) -> bool:
    """Whether a name has a word that each name of an adapter's tensors has; few others have one."""
    return bool(_OF_ADAPTER.search(name))


def indices(name: str) -> tuple[int, ...]:
    """The indices in the name, in order: where the tensor stands in its family."""
    return tuple(int(text) for text in _INDEX.findall(name))
