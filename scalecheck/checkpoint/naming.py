"""What a tensor's name says of its place: its layer and its family; and the words of roles."""

import re

ROLES = ("embedding", "matrix", "conv", "norm", "bias", "lora_a", "lora_b", "buffer")
MATRICES = frozenset(("matrix", "conv", "lora_a", "lora_b"))
"""The roles of which the bands of a relative update speak."""
WEIGHTS = MATRICES | {"embedding"}
"""The roles that have rows, each of which a rule can look at."""

# A part of a name that is a number, or the layer in torch's names for recurrent weights.
_BLOCK = re.compile(r"(?:^|(?<=[./]))\d+(?=[./]|$)")
_INDEX = re.compile(_BLOCK.pattern + r"|(?<=_[ih]h_l)\d+(?=_reverse$|$)")


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
