"""The names of what torch.distributed.checkpoint writes, and of the folders in which accelerate
keeps a model and its optimizer's state."""

from os.path import isfile
from pathlib import Path

INDEX, SUFFIX = ".metadata", ".distcp"
MODEL, OPTIMIZER = "pytorch_model_fsdp_", "optimizer_"  # of accelerate, with a number


def is_folder(path: Path) -> bool:
    """Whether a path is a folder of one distributed checkpoint, finished or not."""
    names = (INDEX, f"{INDEX}.tmp", f"__0{INDEX}", f"__0_0{SUFFIX}", f"{MODEL}0/{INDEX}")
    return any(isfile(path / name) for name in names)
