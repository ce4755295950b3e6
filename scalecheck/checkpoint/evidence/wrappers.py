"""Names without what wraps their modules: DDP, FSDP, torch.compile, activation checkpointing, PEFT,
parametrizations and pruning rename a tensor that stays the same."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from scalecheck.report.formatting import excerpt, listed

# What DDP and AveragedModel, torch.compile, FSDP, activation checkpointing, Lightning Fabric,
# fairscale and PEFT put between two parts of a name.
_WRAPPERS = frozenset(
    re.findall(
        r"\w+",
        "module _orig_mod _fsdp_wrapped_module _checkpoint_wrapped_module _forward_module "
        "_fpw_module base_layer original_module",
    )
)
# PEFT keeps one tensor of these for each adapter: lora_A.default.weight.
_ADAPTERS = re.compile(
    r"lora_(?:A|B|E|embedding_A|embedding_B|magnitude_vector)|ia3_l|hada_(?:w[12]_[ab]|t[12])"
    r"|lokr_(?:w[12](?:_[ab])?|t2)|vera_lambda_[bd]|oft_[rR]|boft_[Rs]"
)
# A name without any of these is bare already; most are.
_WRAPPED = re.compile(
    r"module|_orig|base_|_local_tensor|_modules|parametrizations|lora_|ia3_l|hada_|lokr_|vera_|oft_"
)
_WEIGHT_NORM = {"original0": "_g", "original1": "_v"}  # as torch.nn.utils.weight_norm called them


def bare_name(name: str) -> str:
    """The name without wrappers: `module.`, `_orig_mod.`, `base_layer.`, `base_model.model.`,
    `modules_to_save.NAME.`, `parametrizations.weight.original`, the adapter's name after `lora_A`,
    `_orig` of pruning, `_local_tensor` of a DTensor. Never empty unless the name is."""
    if not _WRAPPED.search(name):
        return name
    folder, slash, own = name.rpartition("/")  # of a pipeline, whose modules are each wrapped
    parts = own.split(".")
    if parts[:2] == ["base_model", "model"] and len(parts) > 2:
        parts = parts[2:]
    bare: list[str] = []
    last = len(parts) - 1
    at = 0
    while at <= last:
        part = parts[at]
        left = last - at  # parts after this one
        if left and part in _WRAPPERS:
            pass
        elif left > 1 and part == "modules_to_save":
            at += 1
        elif left == 2 and part == "parametrizations" and parts[last].startswith("original"):
            bare.append(parts[at + 1] + _WEIGHT_NORM.get(parts[last], ""))
            break
        elif part == "_local_tensor" and bare:
            break
        elif left and _ADAPTERS.fullmatch(part) and parts[at + 1] not in ("weight", "bias"):
            bare.append(part)
            at += 1
        else:
            bare.append(part)
        at += 1
    if len(bare[-1]) > len("_orig"):
        bare[-1] = bare[-1].removesuffix("_orig")
    return folder + slash + ".".join(bare)


def bare_names(names: Iterable[str]) -> dict[str, str]:
    """The bare name of each; the name itself where two would be called the same, as PEFT's copy of
    a module and the original are."""
    bare = {name: bare_name(name) for name in names}
    taken = Counter(bare.values())
    return {name: short if taken[short] == 1 else name for name, short in bare.items()}


def matched(before: Collection[str], after: Collection[str]) -> dict[str, str]:
    """The names of `after` that `before` lacks, with the one of `before` for the same tensor: where
    wrappers alone make the difference, and no other tensor could be meant."""
    old = {short: name for name, short in bare_names(before).items() if name not in after}
    new = {name: short for name, short in bare_names(after).items() if name not in before}
    return {name: old[short] for name, short in new.items() if short in old}


def difference(renamed: Mapping[str, str]) -> str:
    """A note on names that were matched: the parts by which they differ."""
    parts: dict[str, None] = {}
    for one, other in renamed.items():
        here, there = Counter(_parts(one)), Counter(_parts(other))
        parts |= dict.fromkeys([*(here - there), *(there - here)])
    shown = listed([excerpt(f"{part}.", 40) for part in parts])
    return f"names differ by {shown}: {len(renamed)} tensors are matched without"


def _parts(name: str) -> list[str]:
    return name.rpartition("/")[2].split(".")
