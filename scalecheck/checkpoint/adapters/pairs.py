"""The adapters among a checkpoint's tensors: pairs of matrices whose product is added to a matrix
of the model, ΔW = scale·B·A, found by the names of PEFT, kohya, diffusers, torchtune and MLX."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from scalecheck.checkpoint.adapters.scale import Scale, Scales
from scalecheck.checkpoint.boxes import row_major_steps
from scalecheck.checkpoint.evidence.wrappers import bare_name
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.report.formatting import listed

MAX_RANK = 1024  # a Gram matrix of both halves and their updates then takes 32 MiB

# model.q_proj.lora_A.weight, lora_unet_q.lora_down.weight, to_q.lora.down.weight,
# processor.to_q_lora.down.weight, q_proj.lora_linear_layer.down.weight, q_proj.lora_a
_HALF = re.compile(
    r"(?P<module>.+?)(?:\.lora_(?:linear_layer\.|conv2d_layer\.|embedding_)?|\.lora\.|_lora\.)"
    r"(?P<half>A|B|a|b|down|up)(?:\.weight)?"
)
_NAMED = re.compile(r"\.lora_(?:embedding_)?[AB]\.(?!weight$|bias$)([^.]+)")  # PEFT's adapter
_BESIDE = re.compile(
    r"(?P<module>.+)\.(?P<word>alpha|dora_scale|lora_magnitude_vector|lora_mid|lora_E)(?:\.weight)?"
)
_OTHER = re.compile(
    r"(?P<module>.+?)\.(?P<word>hada(?=_[wt]\d)|lokr(?=_[wt]\d)|b?oft(?=_(?:blocks|diag|[rRs]\b))"
    r"|ia3(?=_l\b)|vera_lambda(?=_[bd]\b)|randlora(?=_(?:lambda|gamma))|(?:bone|miss)(?=_block)"
    r"|fourierft(?=_spectrum)|hra(?=_u\b))_\w+(?:\.weight)?"
)
# A name without any of these is of no adapter; most are.
_SIGNS = re.compile(r"lora|alpha|dora_s|hada_|lokr_|oft_|ia3_l|_lambda|_block|fourierft|hra_u")
_WORDS = {
    "hada": "LoHa",
    "lokr": "LoKr",
    "boft": "BOFT",
    "oft": "OFT",
    "ia3": "IA3",
    "vera_lambda": "VeRA",
    "randlora": "RandLoRA",
    "bone": "Bone",
    "miss": "MiSS",
    "fourierft": "FourierFT",
    "hra": "HRA",
    "lora_mid": "LoRA in Tucker's form (lora_mid)",
    "lora_E": "AdaLoRA",
}


@dataclass(frozen=True, eq=False)
class Pair:
    """Two halves of the product that an adapter adds to a matrix.

    name: the adapted module's, without wrappers, and in brackets the adapter's where there are
    several. halves: A and B as they are stored, axes: the dimension of each that is the rank.
    is_dora: a magnitude rescales the sum of the matrix and the product.
    """

    name: str
    module: str
    halves: tuple[Tensor, Tensor]
    axes: tuple[int, int]
    scale: Scale
    is_dora: bool = False

    @property
    def rank(self) -> int:
        return self.halves[0].shape[self.axes[0]]

    @property
    def shape(self) -> tuple[int, int]:
        """The sizes of the product: outputs and inputs, of a convolution with its kernel."""
        inputs, outputs = (half.numel // self.rank for half in self.halves)
        return outputs, inputs

    @property
    def down(self) -> Tensor:
        """A with its rank first."""
        return self.rank_first(self.halves[0], 0)

    @property
    def up(self) -> Tensor:
        """B with its rank first."""
        return self.rank_first(self.halves[1], 1)

    def rank_first(self, tensor: Tensor, half: int) -> Tensor:
        """A tensor of the shape of a half, as its average of gradients is, with the rank first."""
        axis = self.axes[half]
        steps = row_major_steps(tensor.shape) if tensor.strides is None else tensor.strides
        order = [axis, *(n for n in range(len(tensor.shape)) if n != axis)]
        shape, strides = tuple(tensor.shape[n] for n in order), tuple(steps[n] for n in order)
        return replace(tensor, shape=shape, strides=strides)


@dataclass(frozen=True)
class Adapters:
    """others: modules with an adapter whose product is not computed, and why; owned: the names of
    the tensors that they have."""

    pairs: Sequence[Pair] = ()
    others: Mapping[str, str] = field(default_factory=dict)
    owned: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    notes: Sequence[str] = ()

    def of(self, wanted: Iterable[Tensor]) -> "Adapters":
        """Those whose halves are among the tensors wanted, and the others that have some there."""
        names = {tensor.name for tensor in wanted}
        pairs = [pair for pair in self.pairs if names.issuperset(t.name for t in pair.halves)]
        others = {
            name: why
            for name, why in self.others.items()
            if not names.isdisjoint(self.owned.get(name, ()))
        }
        return replace(self, pairs=pairs, others=others)


@dataclass
class _Parts:
    """What was found of one adapter of a module."""

    down: list[Tensor] = field(default_factory=list)
    up: list[Tensor] = field(default_factory=list)
    beside: dict[str, Tensor] = field(default_factory=dict)
    is_rank_last: bool = False


def adapters(checkpoint: Checkpoint) -> Adapters:
    """The adapters of a checkpoint; no element but alpha is read. Raises CheckpointError where
    alpha cannot be read."""
    found: dict[tuple[str, str], _Parts] = {}
    beside: dict[str, dict[str, Tensor]] = {}
    others: dict[str, str] = {}
    owned: dict[str, list[str]] = {}
    for tensor in checkpoint.tensors:
        if not _SIGNS.search(tensor.name):
            continue
        bare = bare_name(tensor.name)
        if match := _HALF.fullmatch(bare):
            if tensor.kind.is_weight:
                parts = found.setdefault((match["module"], _adapter(tensor.name)), _Parts())
                is_down = match["half"] in ("A", "a", "down")
                (parts.down if is_down else parts.up).append(tensor)
                # MLX multiplies x·a·b, and saves no `.weight`
                parts.is_rank_last |= match["half"] in ("a", "b") and not bare.endswith("weight")
        elif match := _BESIDE.fullmatch(bare):
            beside.setdefault(match["module"], {})[match["word"]] = tensor
        elif match := _OTHER.fullmatch(bare):
            name = _module(match["module"])
            others[name] = f"{_WORDS[match['word']]}: not computed"
            owned.setdefault(name, []).append(tensor.name)
    several = {name for _, name in found if name}
    scales = Scales(checkpoint)
    pairs = []
    for (module, adapter), parts in found.items():
        parts.beside = beside.get(module, {})
        name = _module(module)
        label = f"{name} [{adapter}]" if len(several) > 1 and adapter else name
        paired = _paired(label, name, parts, scales)
        if isinstance(paired, Pair):
            pairs.append(paired)
        else:
            others[label] = paired
            owned.setdefault(label, []).extend(half.name for half in (*parts.down, *parts.up))
    return Adapters(pairs, others, owned, [*_dora(pairs), *scales.notes])


def _adapter(name: str) -> str:
    """PEFT's name of the adapter that a half is of; empty without one."""
    match = _NAMED.search(name)
    return match[1] if match else ""


def _module(name: str) -> str:
    """The adapted module's name: neither diffusers' attention processors are part of it, nor the
    word of its weight, which llama.cpp keeps."""
    return name.replace(".processor.", ".").removesuffix(".weight")


def _paired(name: str, module: str, parts: _Parts, scales: Scales) -> Pair | str:
    """The pair of the halves that were found; else why there is none."""
    halves = [*parts.down, *parts.up]
    if len(parts.down) != 1 or len(parts.up) != 1:
        if len(halves) == 1:
            return f"{halves[0].name} is there without its other half"
        return f"has {len(parts.down)} halves A and {len(parts.up)} halves B"
    for tensor in halves:
        if tensor.unmeasured is not None or not tensor.dtype.is_float:
            return f"{tensor.name}: {tensor.unmeasured or f'is of type {tensor.dtype.name}'}"
        if tensor.kind.kind == "piece":
            return f"{tensor.name} is {tensor.kind.evidence}"
    if word := next((word for word in ("lora_mid", "lora_E") if word in parts.beside), None):
        return f"{_WORDS[word]}: not computed"
    down, up = halves
    axes = _rank_axes(down, up, parts.is_rank_last)
    if axes is None:
        shapes = " and ".join("×".join(map(str, tensor.shape)) or "scalar" for tensor in halves)
        return f"its halves {shapes} have no rank in common"
    rank = down.shape[axes[0]]
    if rank > MAX_RANK:
        return f"its rank is {rank}, the limit is {MAX_RANK}"
    scale = scales.of(module, rank, down, parts.beside.get("alpha"))
    is_dora = scale.is_dora or bool({"dora_scale", "lora_magnitude_vector"} & parts.beside.keys())
    return Pair(name, module, (down, up), axes, scale, is_dora)


def _rank_axes(down: Tensor, up: Tensor, is_rank_last: bool) -> tuple[int, int] | None:
    """The dimensions of A and B that are the rank; None where they have none in common."""
    a, b = down.shape, up.shape
    if len(a) < 2 or len(b) < 2 or math.prod(b[2:]) != 1 or not down.numel or not up.numel:
        return None
    is_first, is_last = a[0] == b[1], len(a) == len(b) == 2 and a[1] == b[0]
    # of a square matrix both fit: the rank is the smaller size
    is_last = is_last and (not is_first or (is_rank_last and a[1] <= a[0]))
    if is_last:
        return 1, 0
    return (0, 1) if is_first else None


def _dora(pairs: Sequence[Pair]) -> Iterator[str]:
    if count := sum(pair.is_dora for pair in pairs):
        yield (
            f"{count} of {len(pairs)} adapted matrices are DoRA's: a magnitude rescales W + ΔW, "
            "which the figures of ΔW leave out"
        )


def without_pairs(found: Adapters) -> str:
    """Why a checkpoint has no pair, for where one is asked for."""
    if not found.others:
        return "has no adapter: no LoRA halves such as NAME.lora_A.weight and NAME.lora_B.weight"
    words = listed([f"{name}: {why}" for name, why in found.others.items()])
    return f"has no adapter whose product is computed ({words})"
