"""The names of an optimizer state's parameters as a user gives them in a file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from scalecheck.checkpoint.evidence.wrappers import bare_name, bare_names
from scalecheck.checkpoint.files.strict_json import parsed, text_of
from scalecheck.checkpoint.optimizer_state import ParamState
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.errors import OptionError, reason
from scalecheck.report.formatting import excerpt, plural

MAX_NBYTES = 1 << 28  # a name has some 50 bytes


def given_names(
    path: str | Path, states: Sequence[ParamState], checkpoint: Checkpoint
) -> dict[int, str]:
    """The checkpoint's name of each state by its place, as the file says: one name a line or a JSON
    list, in the order of the optimizer's params, or a JSON object of names by their keys, which may
    leave some out. Wrappers may have changed names in either.

    Raises OptionError for a file that is none of them, and for the first name that the checkpoint
    lacks, that stands twice, or whose tensor has another shape than the state.
    """
    names = _read(Path(path))
    if isinstance(names, Mapping):
        places = {str(one.key): place for place, one in enumerate(states)}
        if lacking := [key for key in names if key not in places]:
            problem = f"the optimizer has no parameter {excerpt(lacking[0], 40)}"
            raise OptionError("param_names", f"{problem}; it has {len(states)}", path)
        asked = {places[key]: name for key, name in names.items()}
    else:
        if len(names) != len(states):
            problem = f"{plural(len(names), 'name')} for {plural(len(states), 'parameter')}"
            raise OptionError("param_names", f"{problem} of the optimizer", path)
        asked = dict(enumerate(names))
    tensors = {tensor.name: tensor for tensor in checkpoint.tensors}
    short = {bare: tensors[name] for name, bare in bare_names(tensors).items()}
    found: dict[int, str] = {}
    taken: set[str] = set()
    for place, name in asked.items():
        tensor = tensors.get(name) or short.get(bare_name(name))
        found[place] = _checked(path, name, tensor, states[place])
        if found[place] in taken:
            raise OptionError("param_names", f"{excerpt(name)} stands there twice", path)
        taken.add(found[place])
    return found


def _checked(path: str | Path, name: str, tensor: Tensor | None, state: ParamState) -> str:
    """The name of the tensor, of tied ones the first."""
    if tensor is None:
        problem = f"{excerpt(name)}: the checkpoint has no such tensor"
        raise OptionError("param_names", problem, path)
    if state.shape not in (None, tensor.shape):
        problem = f"{excerpt(name)} has shape {[*tensor.shape]}, {state.label} another"
        raise OptionError("param_names", problem, path)
    return tensor.tied_to or tensor.name


def _read(path: Path) -> Sequence[str] | Mapping[str, str]:
    """The names in the file, in order or by key."""
    try:
        text = text_of(path, MAX_NBYTES)
    except OSError as error:
        raise OptionError("param_names", reason(error), path) from error
    if text is None:
        raise OptionError("param_names", f"has more than {MAX_NBYTES} bytes", path)
    try:
        if not text.lstrip().startswith((b"[", b"{")):
            return [line for line in map(str.strip, text.decode().splitlines()) if line]
        names = parsed(text)
    except UnicodeDecodeError as error:
        problem = f"byte {error.start} is not UTF-8"
        raise OptionError("param_names", problem, path) from error
    except ValueError as error:
        raise OptionError("param_names", f"is no JSON: {error}", path) from error
    items = [*names.values()] if isinstance(names, dict) else names
    if wrong := [item for item in items if not isinstance(item, str)]:
        problem = f"{excerpt(json.dumps(wrong[0]), 40)} is no name"
        raise OptionError("param_names", problem, path)
    found: Sequence[str] | Mapping[str, str] = names
    return found
