"""What the configuration beside a checkpoint says of its quantisation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scalecheck.checkpoint import strict_json

MAX_NBYTES = 4 << 20  # of a configuration; those of the largest models take some 100 kB
MAX_VALUES = 200_000
_FILES = ("config.json", "hf_quant_config.json", "quantize_config.json", "quant_config.json")
_KEYS = ("quantization_config", "quantization", "compression_config")


def quantisation(folder: Path) -> Mapping[str, Any]:
    """The quantisation that the configuration in a folder names; empty where there is none that
    can be read."""
    for name in _FILES:
        found = _read(folder / name)
        for key in _KEYS:
            if isinstance(found.get(key), dict):
                return {**found[key]}
        if found and name.startswith("quant"):
            return found
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


def weights_of_groups(config: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What compressed-tensors says of the weights of each of its groups."""
    groups = config.get("config_groups")
    found = groups.values() if isinstance(groups, dict) else ()
    each = (one.get("weights") for one in found if isinstance(one, dict))
    return [one for one in each if isinstance(one, dict)]


def agreed(config: Mapping[str, Any], key: str) -> Any:
    """What all groups of compressed-tensors say alike; None where they do not."""
    values = [one.get(key) for one in weights_of_groups(config)]
    return values[0] if values and all(value == values[0] for value in values) else None
