"""What the name of a checkpoint says of its place in a run: checkpoint-500, global_step12,
epoch=3-step=900.ckpt, model_000500.safetensors."""

import re
from typing import Literal, NamedTuple

from scalecheck.checkpoint.files.weight_files import are_shards, is_weights, rank_of

Unit = Literal["step", "epoch", "number"]

_DIGITS = r"[-_=]?(\d{1,18})(?!\d)"
_WORDS: tuple[tuple[Unit, re.Pattern[str]], ...] = (
    (
        "step",
        re.compile(
            rf"(?<![a-z])(?:global[-_]?step|steps?|iter(?:ation)?s?|ba){_DIGITS}", re.IGNORECASE
        ),
    ),
    ("step", re.compile(r"checkpoint-(\d{1,18})")),  # as transformers' Trainer counts them
    ("epoch", re.compile(rf"(?<![a-z])ep(?:ochs?)?{_DIGITS}", re.IGNORECASE)),
)
_LAST = re.compile(r".*?(?<!\d)(\d{1,18})\D*")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_SUFFIX = re.compile(r"\.(?:safetensors|bin|pt|pth|pth\.tar|ckpt|msgpack|npz)$")
_RANK_0 = re.compile(r"[-_.]?rank_?0+(?!\d)")


class Place(NamedTuple):
    """The number in a name, what it counts, and the name with a mark for each number in it, which
    the checkpoints of a run share."""

    number: int
    unit: Unit
    pattern: str


def place_of(name: str, is_folder: bool) -> Place | None:
    """The place that a file or a folder of this name has in its run; None where it has no number,
    or that of a shard or of a rank alone."""
    if not is_folder and (not is_weights(name) or are_shards([name])):
        return None
    stem = name if is_folder else _SUFFIX.sub("", name)
    if rank := rank_of(name):
        if rank[1]:
            return None
        stem = _RANK_0.sub("", stem)
        if rank_of(stem):
            return None
    pattern = _NUMBER.sub("#", name)
    for unit, words in _WORDS:
        if match := words.search(stem):
            return Place(int(match[1]), unit, pattern)
    match = _LAST.fullmatch(stem)
    return Place(int(match[1]), "number", pattern) if match else None
