"""What of a model decides which published lrs are near: its width, depth, parameters and kind, each
with the evidence for it, by the names and shapes of its tensors and the config.json beside them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from scalecheck.checkpoint.adapters.pairs import Pair
from scalecheck.checkpoint.evidence.wrappers import bare_name
from scalecheck.checkpoint.naming import HALVES, family, layer
from scalecheck.checkpoint.states.state_names import configuration
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.report.formatting import excerpt

_SHARE = 0.6  # of the matrices, that have a side of the width
_TABLE_SHARE = 0.4  # of them, where the width is that of the table of tokens
_WIDTH_KEYS = ("hidden_size", "n_embd", "d_model", "dim", "n_embed", "embed_dim")
_CONFIG = "config.json"
_COLOURS = 3  # channels that a convolution of an image reads
_MELS = (80, 128)  # of spectrograms


def _parts(words: str) -> re.Pattern[str]:
    """Finds a whole part of a name, or several."""
    return re.compile(rf"(?:^|[./])(?:{words})(?=[./]|$)")


_BLOCK = r"layers?[./]\d+[./]"
_DIFFUSION = _parts(
    r"time_embed(?:ding)?|time_mlp|time_in|t_embedder|timestep_embedder|down_blocks|input_blocks"
    r"|adaLN_modulation|lora_unet_\w+"
)
_SPEECH = _parts(
    r"wav2vec2|hubert|wavlm|pos_conv_embed|masked_spec_embed|feature_extractor[./]conv_layers"
)
_ENCODER = _parts(
    r"token_type_embeddings|\w*bert\w*|electra|embeddings[./]tok_embeddings|q_lin"
    rf"|encoder[./]{_BLOCK}attention|discriminator_predictions"
)
_LM = _parts(
    r"lm_head|ln_f|wte|embed_out|gpt_neox|word_embeddings_layernorm|embed_tokens|rwkv"
    r"|mixer[./](?:A_log|in_proj|x_proj)|(?:mlp|feed_forward)[./](?:gate_proj|gate_up_proj|w1)"
    rf"|{_BLOCK}(?:self_attn|attention)[./](?:q_proj|qkv_proj|query_key_value|wq)"
    r"|h[./]\d+[./]attn"
)
_NO_TOKENS = re.compile(r"pos|relative|mask_token|cls_token|register|token_type|segment|time")
# What config.json calls the class of a model.
_CLASSES: Mapping[str, re.Pattern[str]] = {
    "lm": re.compile(r"CausalLM|LMHeadModel|GPT|^Llama"),
    "encoder": re.compile(r"Bert|BERT|Roberta|Electra|Deberta|MPNet|Longformer"),
    "speech": re.compile(r"Wav2Vec2|Hubert|WavLM|Whisper|Speech|Data2VecAudio"),
    "vision": re.compile(
        r"^(?:ViT|DeiT|Deit|Beit|Swin|ConvNext|Dinov|ResNet|RegNet|EfficientNet|MobileNet|Segformer"
        r"|Pvt|Data2VecVision)|ImageClassification$"
    ),
    "diffusion": re.compile(r"UNet2D|Transformer2D|^DiT|FluxTransformer|SD3Transformer|Diffusion"),
}


@dataclass(frozen=True)
class AdapterTraits:
    """rank, inputs and outputs: of the middle one of its matrices. factor: what B·A is multiplied
    by, alpha/rank for LoRA; None where alpha is not known."""

    rank: int
    inputs: int
    factor: float | None
    alpha: float | None

    @property
    def equivalence(self) -> float | None:
        """The lr of full fine-tuning whose first step is as large, over the adapter's: for LoRA
        alpha/√(3·inputs·rank)."""
        if self.factor is None:
            return None
        return float(abs(self.factor) * (self.rank / (3 * self.inputs)) ** 0.5)


@dataclass(frozen=True)
class Traits:
    """width: d_model, of an adapter the inputs of its matrices; domain: one of DOMAIN_WORDS; each
    None where it is not known, which its evidence says."""

    width: int | None
    width_evidence: str
    depth: int
    parameters: int
    domain: str | None
    domain_evidence: str
    adapter: AdapterTraits | None = None


def traits(checkpoint: Checkpoint, stats: Sequence[TensorStats], pairs: Sequence[Pair]) -> Traits:
    """Of the trained tensors of a checkpoint; pairs: the halves of its adapters."""
    config = {} if checkpoint.in_memory else configuration(checkpoint.path)
    adapter = _adapter(pairs)
    if adapter is None:
        width, width_evidence = _width(stats, config)
    else:
        width = adapter.inputs
        width_evidence = f"Width {width}: the inputs of adapted matrices (median of {len(pairs)})"
    domain, domain_evidence = _domain(stats, config)
    return Traits(
        width,
        width_evidence,
        _depth(stats),
        sum(one.numel for one in stats),
        domain,
        domain_evidence,
        adapter,
    )


def _adapter(pairs: Sequence[Pair]) -> AdapterTraits | None:
    if not pairs:
        return None
    factors = [one.scale.factor for one in pairs if one.scale.factor is not None]
    alphas = [one.scale.alpha for one in pairs if one.scale.alpha is not None]
    rank = round(median(one.rank for one in pairs))
    inputs = round(median(one.shape[1] for one in pairs))
    return AdapterTraits(
        rank,
        inputs,
        median(factors) if factors else None,
        median(alphas) if alphas else None,
    )


def _width(stats: Sequence[TensorStats], config: Mapping[str, Any]) -> tuple[int | None, str]:
    """The size that most matrices have as a side: those of a residual stream read from it or write
    to it. Tables count as matrices, convolutions do not: a model of mostly these has no width, as
    its channels grow from stage to stage."""
    matrices = [
        one
        for one in stats
        if one.role in {"matrix", "embedding"} and len(one.shape) >= 2 and one.role not in HALVES
    ]
    sides = Counter[int]()
    for one in matrices:
        sides.update({*one.shape[-2:]})
    said = next((own for key in _WIDTH_KEYS if isinstance(own := config.get(key), int)), None)
    if not matrices:
        return None, "Width not known: there is no matrix"
    convs = sum(one.role == "conv" for one in stats)
    if convs > len(matrices) and said is None:
        total = convs + len(matrices)
        return None, f"Width not known: {convs} of {total} weights are convolutions"
    most = max(sides.values())
    tables = [one.shape[-1] for one in matrices if _is_of_tokens(one)]
    if len(matrices) == 1 and len(sides) > 1 and said not in sides and not tables:
        rows, columns = matrices[0].shape[-2:]
        return None, f"Width not known: the only matrix, {rows}×{columns}, may have it as either"
    alike = [size for size, n in sides.items() if n == most]
    width = said if said in alike else min(alike)
    if tables and sides[tables[0]] >= _TABLE_SHARE * len(matrices):
        width = tables[0]
    count = sides[width]
    words = f"{count} of {len(matrices)} {'matrix' if len(matrices) == 1 else 'matrices'}"
    if count < _SHARE * len(matrices) and width not in tables:
        return None, f"Width not known: the size {width} is a side of no more than {words}"
    table = ", as has the table of tokens" if width in tables and len(matrices) > 1 else ""
    confirmed = f", and {_CONFIG} says so" if said == width else ""
    return width, f"Width {width}: {words} with a side of it{table}{confirmed}"


def _is_of_tokens(one: TensorStats) -> bool:
    """A table with a row a token."""
    is_table = one.role == "embedding" and len(one.shape) == 2 and one.shape[0] > 1
    return is_table and not _NO_TOKENS.search(one.name)


def _depth(stats: Sequence[TensorStats]) -> int:
    """The blocks of the longest stack; 0 without one."""
    stacks = Counter(family(block) for block in {layer(one.name) for one in stats})
    return max((n for name, n in stacks.items() if re.search(r"(?:^|[./])N$", name)), default=0)


def _domain(stats: Sequence[TensorStats], config: Mapping[str, Any]) -> tuple[str | None, str]:
    """By the class that the configuration names, else by what the model reads, and of one that
    reads tokens by the words of its modules."""
    named = [one for one in config.get("architectures") or () if isinstance(one, str)]
    named += [own] if isinstance(own := config.get("_class_name"), str) else []
    classes = {domain: _first(pattern, named) for domain, pattern in _CLASSES.items()}
    found = {domain: word for domain, word in classes.items() if word}
    if len(found) == 1:
        ((domain, _),) = found.items()
        return domain, f"{_CONFIG} names {excerpt(named[0], 40)}"
    names = [bare_name(one.name) for one in stats]
    for domain, pattern in (("diffusion", _DIFFUSION), ("speech", _SPEECH)):
        if word := _first(pattern, names):
            return domain, _called(word)
    tokens = next((one.name for one in stats if _is_of_tokens(one)), None)
    outputs = {one.shape[0] for one in stats if len(one.shape) > 1}
    image = next((one.name for one in stats if _reads(one, (_COLOURS,), 4)), None)
    mels = [count for count in _MELS if count not in outputs]  # of no layer before
    sound = next((one.name for one in stats if _reads(one, mels, 3)), None)
    if sound is not None:
        return "speech", f"{excerpt(sound, 60)} reads spectrograms"
    if image is not None and tokens is None:
        return "vision", f"{excerpt(image, 60)} reads {_COLOURS} colours"
    if image is not None:
        return None, "Kind of model not known: it reads images and tokens"
    return _of_tokens(names)


def _of_tokens(names: Sequence[str]) -> tuple[str | None, str]:
    """A language model or an encoder."""
    encoder, lm = _first(_ENCODER, names), _first(_LM, names)
    if all(_first(_parts(rf"{word}[./].*\d+"), names) for word in ("encoder", "decoder")):
        return None, "Kind of model not known: it has an encoder and a decoder"
    if encoder:
        return "encoder", _called(encoder)
    if lm:
        return "lm", _called(lm)
    return None, "Kind of model not known: no name or shape tells it, so recipes of all kinds count"


def _called(word: str) -> str:
    return f"a module is called {excerpt(word.strip('./'), 40)}"


def _reads(one: TensorStats, channels: Sequence[int], dimensions: int) -> bool:
    """Whether it is a convolution of so many channels."""
    if one.role != "conv" or len(one.shape) < dimensions or (dimensions == 3 < len(one.shape)):
        return False
    inputs = one.shape[-2] if one.name.endswith("kernel") else one.shape[1]
    return inputs in channels


def _first(pattern: re.Pattern[str], words: Sequence[str]) -> str:
    """The first place where the pattern is found; empty where it is in none."""
    found = (match for word in words if (match := pattern.search(word)))
    match = next(found, None)
    return "" if match is None else match[0]
