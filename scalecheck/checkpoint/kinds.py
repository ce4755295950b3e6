"""What each tensor of a checkpoint is, decided once for all commands from its name, type and shape
and from what lies beside it. No element is read."""

import re
import sys
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Literal

from scalecheck.checkpoint.evidence.buffers import Buffers
from scalecheck.checkpoint.evidence.copies import averages, counter
from scalecheck.checkpoint.evidence.inventory import Described, Entry, Inventory
from scalecheck.checkpoint.evidence.roles import is_zero_at_first, parameter_role
from scalecheck.checkpoint.evidence.wrappers import bare_names
from scalecheck.checkpoint.naming import family
from scalecheck.checkpoint.quantised.members import Quantised

Kind = Literal["parameter", "buffer", "average", "code", "piece", "moment", "other"]

FLAT = "a flat parameter of FSDP: many tensors in one vector"
_FLAT = re.compile(r"_?flat_param(?:_\d+)?")
_SHARD = re.compile(r".\.0\.\d+\.tensor$")  # of the list that comes first in its pickle
_OPTIMIZERS = re.compile(
    r"optimizers?|optimizer_states?|opt_states?|optim(?:izer)?_state(?:_dict)?"
)
_MOMENTS = frozenset(
    re.findall(
        r"\w+",
        "exp_avg exp_avg_sq max_exp_avg_sq exp_avg_diff exp_inf momentum_buffer square_avg "
        "grad_avg acc_delta exp_avg_sq_row exp_avg_sq_col",
    )
)
_TRAINERS = frozenset(("learning_rate", "global_step", "epoch"))
_LARGEST_LAYER = 64  # tensors of a module that tell what kind of module it is


@dataclass(frozen=True)
class TensorKind:
    """What a tensor is.

    role: one of naming.ROLES; an average has that of what it repeats, a piece that of the whole,
    and what holds no weights is "buffer". evidence: one short sentence. is_certain: False where a
    float tensor counts as a parameter only because nothing marks it as anything else.
    is_zero_at_first: a library starts it at zero, so that all zeros are no fault. is_flat: many
    tensors in one vector, of which no scale can be told.
    """

    kind: Kind
    role: str
    evidence: str
    is_certain: bool = True
    is_zero_at_first: bool = False
    is_flat: bool = False

    @property
    def is_parameter(self) -> bool:
        return self.kind == "parameter"

    @property
    def is_weight(self) -> bool:
        """It is a parameter, or one rank's piece of one, which is trained as the whole is."""
        return self.kind in ("parameter", "piece")

    @property
    def may_be_infinite(self) -> bool:
        """It is a mask, a noise schedule or a range that was seen, which start at or hold inf."""
        return self.kind == "buffer" and self.evidence.endswith(("mask", "noise schedule", "seen"))

    @property
    def reason(self) -> str:
        """What it is, and why: for where it is set aside."""
        what = WORDS[self.kind]
        return f"{what} ({self.evidence})" if what else self.evidence


LONE = TensorKind("other", "buffer", "looked at alone, which does not tell what it is")
WORDS: Mapping[Kind, str] = {
    "parameter": "a parameter",
    "buffer": "a buffer",
    "average": "an average of the model",
    "code": "",
    "piece": "a piece of a larger tensor",
    "moment": "of an optimizer's state",
    "other": "",
}


def kinds(
    tensors: Iterable[Described],
    *,
    pieces: Mapping[str, str] | None = None,
    trained: Set[str] = frozenset(),
    declared: Mapping[str, str] | None = None,
    non_model: Set[str] = frozenset(),
) -> dict[str, TensorKind]:
    """The kind of each tensor by its name, in the order given; linear in their number.

    pieces: the tensors that a reader knows to be pieces of larger ones, with the reason. trained:
    those that their file says are trained. declared: those that their module says to be a
    "parameter" or a "buffer". non_model: the tensors that a reader found beside the
    model.
    """
    inventory = Inventory(tensors)
    quantised, buffers = Quantised(inventory), Buffers(inventory)
    copies = averages(inventory)

    def kind_of(entry: Entry) -> TensorKind:
        if evidence := quantised.codes.get(entry.name):
            return TensorKind("code", "buffer", evidence)
        says = (declared or {}).get(entry.name)
        if says is None and (evidence := _moment(entry, inventory)):
            return TensorKind("moment", "buffer", evidence)
        if says == "parameter" and entry.dtype.kind == "integer":
            return TensorKind("code", "buffer", f"codes: an nn.Parameter of {entry.dtype.name}")
        if not _may_be_trained(entry):
            evidence = quantised.factor(entry)
            return TensorKind("buffer", "buffer", evidence or f"its type {entry.dtype.name}")
        is_told = entry.name in trained or says == "parameter"
        if not is_told and (
            evidence := quantised.factor(entry)
            or counter(entry, inventory)
            or buffers.evidence(entry)
            or (says and "a buffer of the module")
        ):
            return TensorKind("buffer", "buffer", evidence)
        if evidence := copies.get(entry.name):
            return _weight("average", entry, evidence)
        if entry.word in _TRAINERS and entry.numel <= 1:
            return TensorKind("other", "buffer", "its name: a trainer's number")
        role, evidence = parameter_role(entry.name, entry.shape, inventory.module(entry).members)
        if entry.name in non_model:
            return _weight("other", entry, "beside the model")
        if is_told:
            requires = "requires a" if entry.name in trained else "requires no"
            evidence = evidence or f"an nn.Parameter that {requires} gradient"
        is_zero = is_zero_at_first(entry.name, role)
        piece = (pieces or {}).get(entry.name)
        if piece == FLAT or _is_flat(entry):
            return TensorKind("piece", role, FLAT, is_flat=True)
        if piece := piece or _piece(entry):
            return TensorKind("piece", role, piece, is_zero_at_first=is_zero)
        return TensorKind(
            "parameter",
            role,
            evidence or f"a float tensor that nothing marks as a buffer, of {entry.numel} elements",
            evidence is not None,
            is_zero,
        )

    shared: dict[TensorKind, TensorKind] = {}  # a model has few
    found = ((name, kind_of(entry)) for name, entry in inventory.entries.items())
    return {name: shared.setdefault(kind, kind) for name, kind in found}


def _weight(kind: Kind, entry: Entry, evidence: str) -> TensorKind:
    return TensorKind(kind, parameter_role(entry.name, entry.shape)[0], evidence)


def _piece(entry: Entry) -> str | None:
    """Why a tensor of one rank's file is a piece of what the model has."""
    if entry.word == "_local_tensor":
        return "the local part of a DTensor"
    if _SHARD.search(entry.name):
        return "a shard of a ShardedTensor"
    return None


def _is_flat(entry: Entry) -> bool:
    return len(entry.shape) == 1 and any(map(_FLAT.fullmatch, (*entry.path, entry.word)))


def _may_be_trained(entry: Entry) -> bool:
    """Floats and complex numbers, as those of a Fourier layer."""
    return entry.dtype.is_float or (entry.dtype.kind == "other" and entry.dtype.bits >= 64)


def _moment(entry: Entry, inventory: Inventory) -> str | None:
    if any(_OPTIMIZERS.fullmatch(part) for part in entry.path):
        return "its name: inside an optimizer's state"
    if entry.word in _MOMENTS and (
        entry.module in inventory.entries or inventory.module(entry).has("step")
    ):
        return "its name beside what it is a moment of"
    is_pair = inventory.module(entry).members.keys() == {"m", "v"}
    if is_pair and inventory.inside("").has("learning_rate"):
        return "`m` and `v` beside a `learning_rate`: moments of MLX"
    return None


def family_keys(tensors: Iterable[Described], kinds: Mapping[str, TensorKind]) -> dict[str, str]:
    """The weights by names, each with a text that its siblings share: the family of its bare name,
    its shape, and what its module consists of, so that a LayerNorm's bias is no sibling of a
    Linear's at another place of one nn.Sequential."""
    entries = {t.name: Entry(t) for t in tensors}
    bare = bare_names(entries)
    layers: dict[str, list[Entry]] = {}
    for name, entry in entries.items():
        kind = kinds[name]
        if kind.is_weight or entry.word.startswith("running_"):
            layers.setdefault(_module(bare[name]), []).append(entry)
    consists: dict[str, str] = {}
    keys = {}
    for members in layers.values():
        is_list = [entry.word.isdigit() for entry in members]
        text = (
            ""
            if any(is_list) or len(members) > _LARGEST_LAYER
            else " ".join(
                sorted(f"{bare[one.name].rpartition('.')[2]}:{len(one.shape)}" for one in members)
            )
        )
        layer = consists.setdefault(text, str(len(consists)))
        is_mixed = all(is_list) and len({str(one.shape) for one in members}) > 1
        places = _places(members) if is_mixed else [""] * len(members)
        for entry, around in zip(members, places, strict=True):
            if not kinds[entry.name].is_weight:
                continue
            key = f"{family(bare[entry.name])} {entry.shape} {layer} {around}"
            keys[entry.name] = sys.intern(key)
    return {name: keys[name] for name in entries if name in keys}


def _places(members: list[Entry]) -> list[str]:
    """What says of each entry of a list of mixed tensors which part of a module it is. Of a vector
    its place between two matrices, and their shapes: a Linear's bias comes first, the gain and bias
    of a norm later. Of a matrix the dimensions beside it."""
    matrices = [place for place, entry in enumerate(members) if not entry.is_vector]
    ends = [-1, *matrices, len(members)]
    texts = []
    at = 1  # of the first end that is not before the entry
    for place, entry in enumerate(members):
        at += ends[at] < place
        beside = (ends[at - 1], ends[at]) if entry.is_vector else (place - 1, place + 1)
        around = [members[one].shape if 0 <= one < len(members) else () for one in beside]
        if entry.is_vector:
            texts.append(f"{place - beside[0]} of {beside[1] - beside[0]} {around}")
        else:
            texts.append(f"{len(around[0]) or 1} {len(around[1])}")
    return texts


def _module(name: str) -> str:
    return name[: max(name.rfind("."), name.rfind("/"), 0)]
