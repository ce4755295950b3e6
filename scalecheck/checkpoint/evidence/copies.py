"""Averages of a model inside its own state dict: tensors that repeat others by name and shape."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from scalecheck.checkpoint.evidence.inventory import REMEMBERED, Entry, Inventory, words
from scalecheck.checkpoint.evidence.wrappers import bare_name
from scalecheck.report.formatting import excerpt

# Words of a part of a name that say average. Only a part that repeats other tensors is one: MEGA
# has layers called ema, and a file may hold nothing but the average.
_AVERAGES = frozenset(("ema", "averaged", "average", "avg", "swa", "shadow", "polyak"))
_POOLED = frozenset(("pool", "pooled", "pooling", "pooler"))  # of which an average is no copy
_LISTS = frozenset(
    ("shadow_params", "collected_params", "temp_stored_params", "shadow_variables", "ema_params")
)
# A network that follows another says so in its name, and the other has the same name but for this
# word: DINO, BYOL, I-JEPA, TD3. `_m` and `_k` say it in models with a queue of keys: ALBEF, MoCo.
_FOLLOWERS = frozenset(("teacher", "target", "momentum"))
_LEADERS = ("", "student", "online", "base", "query", "main", "q")
_LEAST_SHARE = 0.9  # of a part's tensors that repeat another's; an average may lack a frozen few
_DECAY = re.compile(r".*_[01]\.\d+")  # of an average called by its decay: `ema_0.9999`
_SEPARATOR = re.compile(r"[./]")
_MAX_CUTS = 6  # leading parts by which the name of an original may be longer
_COUNTERS = frozenset(
    ("decay", "num_updates", "n_averaged", "ema_decay", "optimization_step", "initted", "step")
)


@dataclass
class _Part:
    """The tensors under one prefix. alternatives: prefixes under which the originals of a follower
    would lie; empty for an average, whose originals may lie anywhere."""

    name: str
    alternatives: tuple[str, ...] = ()
    entries: list[tuple[Entry, Sequence[str]]] = field(default_factory=list)


def averages(inventory: Inventory) -> dict[str, str]:
    """The tensors of averages, with the evidence; their counters are not among them."""
    parts, originals = _split(inventory)
    if not parts:
        return {}
    at_ends = _by_ends(originals)
    shapes = {str(entry.shape) for entry in originals}
    found: dict[str, str] = {}
    for part in parts.values():
        copied = {}
        compared = 0
        for entry, rest in part.entries:
            if entry.numel <= 1 or not entry.dtype.is_float:
                continue
            compared += 1
            if original := _original(part, entry, rest, inventory, at_ends, shapes):
                copied[entry.name] = original
        if len(copied) < max(_LEAST_SHARE * compared, 2 if part.alternatives else 1):
            continue
        inside = f"inside `{excerpt(part.name, 60)}`"
        for entry, _ in part.entries:
            if entry.name in copied:
                of = f"repeats `{excerpt(copied[entry.name], 80)}`"
                found[entry.name] = f"{inside} it {of} by name and shape"
            elif entry.word not in _COUNTERS:
                found[entry.name] = f"{inside}, which repeats other tensors"
    return found


def counter(entry: Entry, inventory: Inventory) -> str | None:
    """Why a number is a count or rate of an average."""
    if entry.numel > 1 or entry.word not in _COUNTERS:
        return None
    members = inventory.module(entry).members
    if len(members.keys() & _COUNTERS) > 1 or entry.word == "n_averaged":
        return "a count or rate of a moving average, beside others"
    if any(words(part) & _AVERAGES for part in entry.path):
        return f"a count or rate of the moving average `{excerpt(entry.owner, 60)}`"
    return None


def _split(inventory: Inventory) -> tuple[dict[str, _Part], list[Entry]]:
    """The parts that may be averages by their names, and all other tensors."""
    has_queue = any(
        word.endswith("queue") for m in inventory.modules.values() for word in m.members
    )
    parts: dict[str, _Part] = {}
    originals = []
    for entry in inventory.entries.values():
        place, alternatives = _mark(entry, inventory, has_queue)
        if place is None:
            originals.append(entry)
            continue
        # every part is one character and its separator longer
        end = sum(map(len, entry.path[: place + 1])) + place
        name = entry.name[:end]
        part = parts.setdefault(name, _Part(name, alternatives))
        part.entries.append((entry, (*entry.path[place + 1 :], entry.word)))
    return parts, originals


def _mark(
    entry: Entry, inventory: Inventory, has_queue: bool
) -> tuple[int | None, tuple[str, ...]]:
    """The place of the part of its path that says copy, the last of several in a row, and for a
    follower the prefixes of its originals."""
    path = entry.path
    listed = next((place for place, part in enumerate(path) if part in _LISTS), None)
    if listed is not None:
        return listed, ()
    start = 0  # of the part in the name
    for place, part in enumerate(path):
        said = words(part)
        if said & _AVERAGES and not said & _POOLED:
            while place + 1 < len(path) and words(path[place + 1]) & _AVERAGES:
                place += 1  # as in `ema.shadow`
            if place + 1 < len(path) and _DECAY.fullmatch(f"{path[place]}.{path[place + 1]}"):
                place += 1
            return place, ()
        if part == "module":
            above = entry.name[: max(0, start - 1)]
            if inventory.inside(above).has("n_averaged"):
                return place, ()
        if names := _leaders(part, has_queue):
            return place, tuple(entry.name[:start] + name for name in names)
        start += len(part) + 1
    return None, ()


@lru_cache(REMEMBERED)
def _leaders(part: str, has_queue: bool) -> tuple[str, ...]:
    """What the network is called that one of this name follows; empty for one that follows none."""
    own = part.split("_")
    follower = next((word for word in own if word.lower() in _FOLLOWERS), None)
    if follower is None and has_queue and own[-1] in ("m", "k") and len(own) > 1:
        follower = own[-1]
    if follower is None:
        return ()
    at = own.index(follower)
    names = ("_".join(filter(None, (*own[:at], one, *own[at + 1 :]))) for one in _LEADERS)
    return tuple(name for name in names if name)


def _by_ends(originals: Sequence[Entry]) -> dict[str, str]:
    """Names by their last parts, without separators as latent diffusion's average has them, and
    shape; the key is text, as a file could choose numbers whose hashes collide."""
    ends: dict[str, str] = {}
    for entry in originals:
        for name in dict.fromkeys((entry.name, bare_name(entry.name))):
            for end in _ends(_SEPARATOR.split(name)):
                ends.setdefault(f"{end} {entry.shape}", entry.name)
    return ends


def _ends(parts: Sequence[str]) -> Iterator[str]:
    for cut in range(min(_MAX_CUTS, len(parts))):
        yield "".join(parts[cut:])


def _original(
    part: _Part,
    entry: Entry,
    rest: Sequence[str],
    inventory: Inventory,
    at_ends: dict[str, str],
    shapes: set[str],
) -> str | None:
    """The name of what a tensor repeats; of an entry of a list, which has no name, the shape."""
    if part.alternatives:
        names = (name + entry.name[len(part.name) :] for name in part.alternatives)
        return next(
            (
                n
                for n in names
                if n in inventory.entries
                and n != entry.name
                and inventory.entries[n].shape == entry.shape
            ),
            None,
        )
    if all(one.isdigit() for one in rest):
        return f"{entry.shape}" if str(entry.shape) in shapes else None
    stored = ".".join(rest)
    ends = (name.replace(".", "") for name in (stored, bare_name(stored)))
    found = (at_ends.get(f"{end} {entry.shape}") for end in ends)
    return next(filter(None, found), None)
