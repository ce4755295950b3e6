"""The names of what torch.distributed.checkpoint writes, and of the folders in which accelerate
keeps a model and its optimizer's state."""

import re
from os.path import isfile
from pathlib import Path

INDEX, SUFFIX = ".metadata", ".distcp"
MODEL, OPTIMIZER = "pytorch_model_fsdp_", "optimizer_"  # of accelerate, with a number


RANK_INDEX = re.compile(r"__(\d{1,9})\.metadata")
_CLASSES = (
    b"torch.distributed.checkpoint",
    b"torch.distributed._shard.checkpoint",  # in torch 1.12 and 1.13
    b"megatron.core.dist_checkpointing",
)
_FIRST = 96  # bytes of an index, which name its class


def is_index(head: bytes) -> bool:
    """Whether a file that starts so is an index: a pickle of such a class."""
    return head[:1] == b"\x80" and any(name in head[:_FIRST] for name in _CLASSES)


def is_index_name(name: str) -> bool:
    """Whether a file of this name beside those of ranks is the index, or that of one rank."""
    return name == INDEX or bool(RANK_INDEX.fullmatch(name))


def is_of_rank(path: Path) -> bool:
    """Whether a file lies beside an index whose items are in such files."""
    beside = (path.parent / name for name in (INDEX, f"__0{INDEX}"))
    return path.suffix == SUFFIX and any(map(isfile, beside))


def is_folder(path: Path) -> bool:
    """Whether a path is a folder of one distributed checkpoint, finished or not. A file of another
    program may be called as the index is."""
    if isfile(path / f"__0_0{SUFFIX}") or isfile(path / f"__0{INDEX}"):
        return True
    if isfile(path / f"{MODEL}0" / INDEX) or isfile(path / f"{INDEX}.tmp"):
        return True
    try:
        with (path / INDEX).open("rb") as file:
            return is_index(file.read(_FIRST))
    except OSError:
        return False
