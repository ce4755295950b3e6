"""Named arrays as JAX programs save them: parameters, an optimizer's state and counts in one tree,
or in one list of names. Which part is which is told by what it holds."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scalecheck.checkpoint.arrays.optax import (
    MAX_DEPTH,
    OPTIMIZERS,
    Names,
    optax_states,
    saved_optimizers,
)
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.tensor import MAX_NAME, Checkpoint, Tensor
from scalecheck.report.formatting import excerpt

MAX_WRAPPERS = 8  # maps around a model; real files have up to three

_MODELS = ("params", "model", "target", "variables", "weights", "state", "train_state", "nets")
"""What training programs call the part that holds the model, the most telling first."""
_COLLECTIONS = frozenset(("batch_stats", "cache", "constants", "buffers", "state", "net_state"))
"""What flax and haiku keep of a model beside its parameters."""
_TRAINERS = re.compile(
    r"(?:global_|train_|num_)?steps?|epoch|(?:dropout_|base_|init_)?rngs?|(?:rng_)?key|seed"
    r"|learning_rate|lr|dynamic_scale|loss_scale|ema\w*|\w*_ema|metrics?|tx|version|config|metadata"
    r"|best\w*|data_\w+|dataloader\w*|iterator\w*|" + OPTIMIZERS
)

_STATES = re.compile(r"optimizers?|optimizer_states?|opt_states?|optim(?:izer)?_state(?:_dict)?")

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Leaf:
    """A tensor or number under the name that it is stored with. path: the keys that lead to it, of
    a flat name its parts."""

    name: str
    node: Tensor | int | float | str | bool | None
    path: Keys = ()


def checkpoint_of(
    path: Path, format: str, leaves: Sequence[Leaf], notes: Sequence[str] = ()
) -> Checkpoint:
    """The checkpoint of some leaves: the model's bare, others under the path to them, optimizer
    states apart. Raises Malformed where two tensors have one name."""
    separator = "." if any(leaf.path for leaf in leaves) else _separator(leaves)
    placed = [leaf if leaf.path else _parted(leaf, separator) for leaf in leaves]
    is_nnx = _is_nnx(placed)
    bare = {leaf.path[:-1] if is_nnx else leaf.path: leaf.node for leaf in placed}
    states = optax_states(bare)
    roots = {state.root for state in states}
    called = _called(placed)
    if not all(_is_under(leaf.path, called) for leaf in placed if isinstance(leaf.node, Tensor)):
        roots |= called
    rest = [leaf for leaf in placed if not _is_under(leaf.path, roots)]
    optimizer = [leaf for leaf in placed if _is_under(leaf.path, roots)]
    rows = [leaf for leaf in rest if isinstance(leaf.node, Tensor)]
    inside = _model_path(rest, bool(roots)) if rows else ()
    named, non_model = _named(rows or optimizer, inside, separator)
    if not named:
        raise Malformed("holds no array")
    if not rows:  # the state is all there is
        non_model = frozenset(tensor.name for tensor in named)
    moments = [_under(leaf.node, leaf.name) for leaf in optimizer if isinstance(leaf.node, Tensor)]
    value = f"{separator}value" if is_nnx else ""
    trained = [one.name for one in named if one.name not in non_model and one.dtype.is_float]
    stored = {name.removesuffix(value): name for name in trained}
    names = Names(stored, inside, separator)
    kept = {path: node for path, node in bare.items() if _is_under(path, roots)}
    may_train = [name for name in trained if _may_train(name.removesuffix(value), separator)]
    return Checkpoint(
        path,
        format,
        (*named,),
        non_model=non_model,
        optimizer=(*moments,) if rows else (),
        notes=(*notes,),
        tree=saved_optimizers(states, kept, names, may_train) or None,
    )


def _is_nnx(leaves: Sequence[Leaf]) -> bool:
    """Whether each array is the `value` of a variable, as in the states of flax.nnx."""
    paths = [leaf.path for leaf in leaves if isinstance(leaf.node, Tensor)]
    return bool(paths) and all(len(path) > 1 and path[-1] == "value" for path in paths)


def _may_train(name: str, separator: str) -> bool:
    """Whether an optimizer may train what is called so: a running statistic it does not."""
    parts = name.split(separator)
    return not _COLLECTIONS.intersection(parts) and parts[-1] not in ("mean", "var")


def _called(leaves: Sequence[Leaf]) -> set[Keys]:
    """The parts of a tree that are called an optimizer's state."""
    found = set()
    for leaf in leaves:
        for depth, part in enumerate(leaf.path[:MAX_WRAPPERS], 1):
            if _STATES.fullmatch(part):
                found.add(leaf.path[:depth])
                break
    return found


def _is_under(path: Keys, roots: Collection[Keys]) -> bool:
    return any(path[:depth] in roots for depth in range(min(len(path), MAX_DEPTH) + 1))


def _separator(leaves: Iterable[Leaf]) -> str:
    """What stands between the parts of flat names: a slash where any has one."""
    return "/" if any("/" in leaf.name for leaf in leaves) else "."


def _parted(leaf: Leaf, separator: str) -> Leaf:
    return replace(leaf, path=(*leaf.name.split(separator),))


def _model_path(leaves: Sequence[Leaf], has_optimizer: bool) -> Keys:
    """The keys that lead to the model: `params` as flax and others call it, and what encloses it,
    as far as all that lies beside it is known to be no part of a model."""
    path: Keys = ()
    for _ in range(MAX_WRAPPERS):
        inner = [leaf for leaf in leaves if leaf.path[: len(path)] == path]
        key = _model_key(inner, len(path), has_optimizer)
        if key is None:
            break
        path = (*path, key)
    return path


def _model_key(leaves: Sequence[Leaf], depth: int, has_optimizer: bool) -> str | None:
    """The key of the model among those at a depth; None where the model lies there itself."""
    weights: dict[str, int] = {}
    for leaf in leaves:
        if len(leaf.path) > depth + 1 and isinstance(leaf.node, Tensor):
            key = leaf.path[depth]
            weights[key] = weights.get(key, 0) + leaf.node.numel
    keys = {leaf.path[depth] for leaf in leaves if len(leaf.path) > depth}
    for word in _MODELS:
        if word not in weights:
            continue
        others = keys - {word}
        is_beside = all(one in _COLLECTIONS or _TRAINERS.fullmatch(one) for one in others)
        if word == "params" and (is_beside or 2 * weights[word] > sum(weights.values())):
            return word
        # another word may be a module's own name: it needs a trainer's beside it
        if is_beside and (others - _COLLECTIONS or (has_optimizer and not depth)):
            return word
    return None


def _named(
    rows: Sequence[Leaf], inside: Keys, separator: str
) -> tuple[list[Tensor], frozenset[str]]:
    """The tensors, those inside the model without the path to it, and the names of those that are
    no part of it. Raises Malformed."""
    depth = len(inside)
    stored = {leaf.name for leaf in rows if leaf.path[:depth] != inside}
    tensors: dict[str, Tensor] = {}
    outside = set()
    for leaf in rows:
        if not isinstance(leaf.node, Tensor):
            continue
        is_inside = leaf.path[:depth] == inside
        name = separator.join(leaf.path[depth:]) if is_inside and depth else leaf.name
        name = leaf.name if name in stored else name
        if name in tensors:
            raise Malformed(f"holds two tensors named {excerpt(name)}")
        if not is_inside and leaf.path[max(0, depth - 1)] not in _COLLECTIONS:
            outside.add(name)
        if is_inside and leaf.path and _TRAINERS.fullmatch(leaf.path[0]) and not leaf.node.shape:
            outside.add(name)
        tensors[name] = _under(leaf.node, name)
    return [*tensors.values()], frozenset(outside)


def _under(node: object, name: str) -> Tensor:
    assert isinstance(node, Tensor)
    if len(name) > MAX_NAME:
        raise Malformed(f"{excerpt(name)}: a name of {len(name)} characters")
    return replace(node, name=name)
