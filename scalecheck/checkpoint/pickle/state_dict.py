"""Which tensors of an unpickled file are the model's, which its optimizer's, and which are their
names. Told by content: trainers agree neither on the names of the parts nor on their nesting."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scalecheck.checkpoint.keys import text_key
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pickle.contents import (
    Child,
    Path,
    is_module,
    is_named,
    is_script,
    part_of,
)
from scalecheck.checkpoint.pickle.inert import Placeholder
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.pickle.tree import Found, Tree
from scalecheck.checkpoint.tensor import MAX_NAME
from scalecheck.report.formatting import excerpt

MAX_WRAPPERS = 8  # dicts around a model; real files have up to three
MAX_COPIES = 16  # of a model in one file; real files have a handful

CUSTOMARY = (
    "model",
    "state_dict",
    "model_state_dict",
    "model_state",
    "module",
    "net",
    "network",
    "params",
    "weights",
    "generator",
)
"""What trainers call the model's part, the most telling first."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The tensors of a file by their names, in the order of the file; `non_model` names the rows
    that are not the model's, and `in_order` says that its rows are one state dict or module.
    has_weights: some rows lie outside of optimizers' states."""

    rows: Sequence[tuple[str, TensorRecord]]
    non_model: frozenset[str]
    optimizer: Sequence[tuple[str, TensorRecord]]
    in_order: bool
    has_weights: bool


def parts(tree: Tree) -> Parts:
    """Names every tensor: the model's bare, others by where they lie. Raises Malformed where two
    tensors have one name."""
    found = _without_repeats(tree.tensors(tree.root))
    rows = [one for one in found if not one.is_optimizer]
    model, node = _model(tree)
    inside = [one.path[: len(model)] == model for one in rows]
    bare = [
        one.path[len(model) :] if is_model else one.path
        for one, is_model in zip(rows, inside, strict=True)
    ]
    taken = Counter(bare)
    named = _named(
        (path if taken[path] == 1 else one.path, one.record)
        for path, one in zip(bare, rows, strict=True)
    )
    return Parts(
        named,
        frozenset(name for (name, _), is_model in zip(named, inside, strict=True) if not is_model),
        _named((one.path, one.record) for one in found if one.is_optimizer),
        _is_in_order(tree, node),
        not all(one.is_beside for one in rows),
    )


def described(root: object) -> str:
    """What a tree without tensors is, in a few words."""
    if isinstance(root, Placeholder):
        return f"holds an instance of {root}, no tensor"
    if not isinstance(root, (dict, list, tuple)):
        return f"holds no tensor: {'None' if root is None else f'a {type(root).__name__}'}"
    first = [part_of(key, place) for place, key in zip(range(3), root, strict=False)]
    names = ", ".join([excerpt(name, 40) for name in first] + ["…"] * (len(root) > 3))
    count = "1 entry" if len(root) == 1 else f"{len(root)} entries"
    named = f" ({names})" if isinstance(root, dict) and root else ""
    return f"holds no tensor: a {type(root).__name__} of {count}{named}"


def same_view(record: TensorRecord) -> object:
    """What is equal for two tensors that are the same view of the same storage. It is text, since a
    file can choose tuples of numbers whose hashes collide."""
    if record.storage is None:
        return record
    start = record.storage.start + record.offset
    return repr((record.storage.key, record.dtype, start, record.shape, record.strides))


def _without_repeats(found: list[Found]) -> list[Found]:
    """A module's plain attributes often hold its parameters once more, as an LSTM's list of its
    weights does; these are no names of its state dict. Those that hold other tensors are kept."""
    views = {same_view(one.record) for one in found if not one.is_alias}
    kept = []
    for one in found:
        if one.is_alias and same_view(one.record) in views:
            continue
        views.add(same_view(one.record))
        kept.append(one)
    return kept


def _named(tensors: Iterable[tuple[Path, TensorRecord]]) -> list[tuple[str, TensorRecord]]:
    named = {}
    for path, record in tensors:
        name = ".".join(path) if path else "tensor"
        if len(name) > MAX_NAME:
            raise Malformed(f"holds a tensor with a name of {len(name)} characters")
        if name in named:
            raise Malformed(f"holds two tensors named {excerpt(name)}")
        named[name] = record
    return list(named.items())


def _model(tree: Tree) -> tuple[Path, object]:
    """The model's part and the path to it: inward as long as one part of a container is clearly
    it."""
    node = tree.root
    path: Path = ()
    for _ in range(MAX_WRAPPERS):
        inner = _inner(tree, node)
        if inner is None or inner.part is None:
            break
        node, path = inner.node, (*path, inner.part)
    return path, node


def _is_in_order(tree: Tree, model: object) -> bool:
    """Whether it is as nn.Module.state_dict lists it, flat and so of one module, or a module. The
    parts of a nest may belong to several modules, and lie in whatever order a trainer chose."""
    rows = (child.node for child in tree.children(model) if tree.held(child.node).rows)
    is_flat = isinstance(model, dict) and all(isinstance(node, TensorRecord) for node in rows)
    return is_flat or is_module(model)


def _inner(tree: Tree, node: object) -> Child | None:
    """The part of a container that is the model's, None where the container is it."""
    children = tree.children(node)
    if is_module(node) or is_script(node) or any("." in (child.part or "") for child in children):
        return None  # these are no trainer's keys but a module's own names
    inside = [
        child
        for child in children
        if not isinstance(child.node, TensorRecord)
        and tree.held(child.node).rows
        and not tree.holds_optimizer(child)
    ]
    elements = sum(tree.held(child.node).elements for child in inside)
    if 2 * elements <= tree.held(node).elements:
        return None
    if len(inside) > 1:
        inside = _most_telling(tree, inside)
    return inside[0] if inside and is_named(inside[0].node) else None


def _most_telling(tree: Tree, inside: list[Child]) -> list[Child]:
    """The children by their keys: one of several copies of a model, or the only customary one."""
    customary = sorted(
        (child for child in inside if child.part in CUSTOMARY),
        key=lambda child: CUSTOMARY.index(child.part or ""),
    )
    if copies := _copies(tree, inside, bool(customary)):
        return customary or copies
    return customary if len(customary) == 1 else []


def _copies(tree: Tree, inside: list[Child], undotted: bool) -> list[Child]:
    """Those parts whose tensors another part repeats by name and shape, as a moving average repeats
    the model's. Names without a dot tell only beside a customary key: they may as well be two
    layers of one model."""
    if len(inside) > MAX_COPIES:
        return []
    names = [
        {
            (".".join(one.path), text_key(one.record.shape))
            for one in tree.tensors(child.node)
            if not one.is_optimizer and (undotted or len(one.path) > 1 or "." in one.path[0])
        }
        for child in inside
    ]
    return [
        child
        for child, own in zip(inside, names, strict=True)
        if any(
            own and other and own is not other and (own <= other or own >= other) for other in names
        )
    ]
