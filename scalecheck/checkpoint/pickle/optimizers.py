"""Which containers of a pickle are an optimizer's state: told by what they hold, or by the name
that trainers give them."""

import re
from itertools import islice

from scalecheck.checkpoint.pickle.contents import CONTAINERS, tables_of
from scalecheck.checkpoint.pickle.records import TensorRecord

Table = dict[object, object]

_OPTIMIZER = re.compile(r"(?:(?:.*_)?[oO]ptim|.*[a-z0-9]Optim)(?:izer)?s?(?:[_A-Z0-9].*)?")
_OPT = re.compile(r"(?:.*_)?opts?(?:_.*)?")
_MOMENTS = frozenset(("exp_avg", "exp_avg_sq", "momentum_buffer", "square_avg", "acc_delta"))
FLAT_STATE, FLAT_GROUPS = "state.", "param_groups."
_HOLDERS = (TensorRecord, *CONTAINERS)
_FIRST = 4  # entries of a container that are looked at for moments, and levels of containers


def optimizer_table(node: object) -> Table | None:
    """The `state` and `param_groups` of an optimizer's state dict, or of a whole one that was
    pickled; None of anything else."""
    both = (table for table in tables_of(node) if "state" in table and "param_groups" in table)
    return next(both, None)


def flat_table(node: object) -> Table | None:
    """A state dict flattened by torch.distributed.checkpoint, whose keys are `state.NAME.exp_avg`
    and `param_groups.NAME.lr`; None of anything else."""
    if not isinstance(node, dict):
        return None
    tensors = all(_is_flat(key) for key, item in node.items() if isinstance(item, _HOLDERS))
    has_groups = any(type(key) is str and key.startswith(FLAT_GROUPS) for key in node)
    return node if tensors and has_groups else None


def flat_tables_beside(node: object) -> dict[str, Table]:
    """The flattened state dicts among the tensors of a model, as torch.distributed.checkpoint
    flattens a whole run: by what comes before `state.` and `param_groups.` in their keys."""
    if not isinstance(node, dict):
        return {}
    keys = [key for key in node if type(key) is str]
    starts = (key.partition(f".{FLAT_GROUPS}") for key in keys)
    places = dict.fromkeys(start for start, dot, _ in starts if dot)
    tables: dict[str, Table] = {
        start: {k[len(start) + 1 :]: node[k] for k in keys if k.startswith(f"{start}.")}
        for start in islice(places, _FIRST)
    }
    return {start: table for start, table in tables.items() if flat_table(table)}


def _is_flat(key: object) -> bool:
    return type(key) is str and key.startswith((FLAT_STATE, FLAT_GROUPS)) and key.count(".") > 1


def is_named_optimizer(part: str | None, node: object) -> bool:
    """Whether a container is an optimizer's by what trainers call it, as some lay out its state in
    their own way: optimizer, optim_state, optimizer_D. What is called opt holds moments too: it may
    be a model's name."""
    if part is None or not isinstance(node, CONTAINERS):
        return False
    return bool(_OPTIMIZER.fullmatch(part)) or (bool(_OPT.fullmatch(part)) and _has_moments(node))


def _has_moments(node: object, deeper: int = _FIRST) -> bool:
    """Whether the first entries of a container, or of those in it, are named as moments."""
    if not deeper or not isinstance(node, (dict, list, tuple)):
        return False
    items = islice(node.items() if isinstance(node, dict) else enumerate(node), _FIRST)
    return any(
        (type(key) is str and key.rpartition(".")[2] in _MOMENTS) or _has_moments(item, deeper - 1)
        for key, item in items
    )
