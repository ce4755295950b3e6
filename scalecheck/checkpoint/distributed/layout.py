"""Where the parts of a distributed checkpoint lie: its index, the indexes of ranks that wrote one
each, and the folders in which accelerate keeps a model and its optimizer's state."""

import os
import re
from os.path import isfile, lexists
from pathlib import Path

from scalecheck.checkpoint.distributed.index import Index, merged, read_index
from scalecheck.checkpoint.distributed.names import INDEX, MODEL, OPTIMIZER, RANK_INDEX, SUFFIX
from scalecheck.checkpoint.malformed import content_of
from scalecheck.errors import CheckpointError
from scalecheck.report.formatting import listed, plural

_UNFINISHED = re.compile(r"(?:__\d{1,9})?\.metadata\.tmp")
_MOST = 100  # models of one run; most have one


def index_of(folder: Path) -> Index:
    """The index of a folder. Raises CheckpointError where it has none or a damaged one."""
    if isfile(folder / INDEX):
        return read_index(folder / INDEX)
    names = os.listdir(folder)
    ranks = sorted(int(match[1]) for name in names if (match := RANK_INDEX.fullmatch(name)))
    if ranks:
        with content_of(folder):
            return merged([read_index(folder / f"__{rank}{INDEX}") for rank in ranks])
    files = sorted(name for name in names if name.endswith(SUFFIX))
    begun = [name for name in names if _UNFINISHED.fullmatch(name)]
    has = f"{plural(len(files), 'file')} of ranks ({listed(files)})"
    also = f" and {begun[0]}" if begun else ""
    raise CheckpointError(
        folder,
        f"is a distributed checkpoint that was not finished: {has}{also}, no {INDEX}",
        "the index is written last: name a checkpoint that has one",
    )


def parts_of(path: Path) -> list[list[Path]]:
    """The folders of each model: one, or accelerate's of the model and of its optimizer."""
    own = path.absolute()
    if match := re.fullmatch(rf"{MODEL}(\d{{1,3}})", own.name):
        beside = own.parent / f"{OPTIMIZER}{match[1]}"
        return [[path, beside] if isfile(beside / INDEX) else [path]]
    if not isfile(path / f"{MODEL}0" / INDEX):
        return [[path]]
    models = []
    for number in range(_MOST):
        folders = [path / f"{MODEL}{number}", path / f"{OPTIMIZER}{number}"]
        if not lexists(folders[0]):
            break
        models.append([folder for folder in folders if lexists(folder)])
    return models
