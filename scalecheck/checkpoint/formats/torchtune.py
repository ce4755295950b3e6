"""The output folder of torchtune: a folder of the model for each epoch, and beside them the state
of the recipe with the optimizer."""

import re
from dataclasses import replace
from pathlib import Path

from scalecheck.checkpoint.files.folders import Unread
from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import CheckpointError

_STATE = Path("recipe_state", "recipe_state.pt")
_EPOCH = re.compile(r"epoch_(\d{1,9})")
_RUN = "epochs_run"


def recognises(path: Path, head: bytes) -> Evidence:
    """A folder with a recipe's state and an epoch's folder."""
    if head or not (path / _STATE).is_file():
        return Evidence.NONE
    return Evidence.CONTENT if _epochs(path) else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Lists the tensors of the model of the last epoch. The optimizer state is taken for its own
    where the recipe's state is of this epoch and of no other one. Raises CheckpointError."""
    from scalecheck.checkpoint.formats import directory

    epochs = _epochs(path)
    last = max(epochs)
    checkpoint = directory.load(epochs[last])
    run = _epochs_run(path / _STATE)
    # counted before or after the folder was named: recipes differ
    fitting = [number for number in epochs if run is not None and number in (run - 1, run)]
    layout = [*checkpoint.layout, f"read of {epochs[last].name}, the last of {len(epochs)}"]
    states = {}
    if fitting == [last]:
        states = {0: path / _STATE}
    else:
        said = "does not say of which epoch it is" if run is None else f"is of {_RUN} {run}"
        layout.append(f"{_STATE} is not read, as it {said}: --state {path / _STATE}")
    others = [Unread(path, epochs[number].name) for number in sorted(epochs) if number != last]
    return replace(
        checkpoint,
        path=path,
        layout=(*layout,),
        unread=(*others, *checkpoint.unread),
        state_files=states,
    )


def _epochs(path: Path) -> dict[int, Path]:
    """The folders of epochs by their numbers."""
    try:
        found = [(match, one) for one in path.iterdir() if (match := _EPOCH.fullmatch(one.name))]
        return {int(match[1]): one for match, one in found if one.is_dir()}
    except OSError:
        return {}


def _epochs_run(path: Path) -> int | None:
    """How many epochs were run when a recipe's state was saved; None where it does not say."""
    from scalecheck.checkpoint.formats import torch

    try:
        with torch.unpickled(path) as file:
            run = file.root.get(_RUN) if isinstance(file.root, dict) else None
    except CheckpointError:
        return None
    return run if type(run) is int else None
