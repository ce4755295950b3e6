"""What the configuration beside a checkpoint says of its quantisation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.files import strict_json

MAX_NBYTES = 4 << 20  # of a configuration; those of the largest models take some 100 kB
MAX_VALUES = 200_000
MAX_KINDS = 100  # of quantised weights in one checkpoint; the most mixed have some 5
_FILES = ("config.json", "hf_quant_config.json", "quantize_config.json", "quant_config.json")
_KEYS = ("quantization_config", "quantization", "compression_config")
_WEIGHTS = "weights of groups"  # a word of ours, which no configuration has
_OF_WEIGHTS = ("num_bits", "group_size", "block_structure")


def quantisation(folder: Path) -> Mapping[str, Any]:
    """The quantisation that the configuration in a folder names; empty where there is none that
    can be read."""
    for name in _FILES:
        found = _read(folder / name)
        inner = found.get("text_config")  # of a model of several kinds of input
        for one in (found, inner if isinstance(inner, dict) else {}):
            for key in _KEYS:
                if isinstance(one.get(key), dict):
                    return _condensed(one[key])
        if found and name.startswith("quant"):
            return _condensed(found)
    return {}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = strict_json.text_of(path, MAX_NBYTES)
        found = None if text is None else strict_json.parsed(text, MAX_VALUES)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def integer(config: Mapping[str, Any], *keys: str) -> int | None:
    """The first of these keys that is a count."""
    for key in keys:
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31:
            return value
    return None


def pair(value: object) -> tuple[int, int] | None:
    """Two counts of a list."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return None
    first, second = (integer({"": one}, "") for one in value)
    return None if first is None or second is None else (first, second)


def said(config: Mapping[str, Any], key: str) -> Sequence[Any]:
    """What the groups of compressed-tensors say of their weights."""
    values = [one.get(key) for one in config.get(_WEIGHTS, ())]
    return [value for value in values if value is not None]


def blocks(config: Mapping[str, Any]) -> Sequence[tuple[int, int]]:
    """The rows and columns of the blocks that the configuration says of any of its weights."""
    sizes = [integer({"": size}, "") for size in said(config, "group_size")]
    found = [config.get("weight_block_size"), *said(config, "block_structure")]
    found += [(1, size) for size in sizes if size is not None]
    return [*dict.fromkeys(block for one in found if (block := pair(one)) is not None)]


def _condensed(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """It, with what its groups say of their weights, each once. No groups where there are more
    kinds of weights than any quantiser writes."""
    groups = found.get("config_groups")
    every = groups.values() if isinstance(groups, dict) else ()
    weights = [
        w for one in every if isinstance(one, dict) and isinstance(w := one.get("weights"), dict)
    ]
    kinds = {repr([w.get(key) for key in _OF_WEIGHTS]): w for w in weights}
    return {**found, _WEIGHTS: [*kinds.values()] if len(kinds) <= MAX_KINDS else []}
