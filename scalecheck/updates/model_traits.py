"""What of a model decides which published lrs are near: its width, depth, parameters and kind, each
with the evidence for it, by the names and shapes of its tensors and the config.json beside them."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from scalecheck.checkpoint.adapters import Pair
from scalecheck.checkpoint.naming import HALVES, family, layer
from scalecheck.checkpoint.state_names import configuration
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.checkpoint.wrappers import bare_name
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.recipes.near import DOMAIN_WORDS
from scalecheck.report.formatting import excerpt, plural

_SHARE = 0.6  # of the matrices, that have a side of the width
_WIDTH_KEYS = ("hidden_size", "n_embd", "d_model", "dim", "n_embed", "embed_dim")
_CONFIG = "config.json"

# The words of modules that one kind of model has, as parts of a name.
_SIGNS: Mapping[str, re.Pattern[str]] = {
    "lm": re.compile(
        r"(?:^|[./])(?:lm_head|ln_f|wte|embed_out|gpt_neox|word_embeddings_layernorm"
        r"|layers[./]\d+[./](?:self_attn|attention|mlp|feed_forward)[./](?:gate_proj|up_proj|w1|wq"
        r"|q_proj|query_key_value|qkv_proj|gate_up_proj)|model[./]embed_tokens|tok_embeddings)"
        r"(?=[./]|$)"
    ),
    "encoder": re.compile(
        r"(?:^|[./])(?:token_type_embeddings|bert|roberta|distilbert|electra|deberta|albert"
        r"|encoder[./]layer[./]\d+[./]attention[./]self|discriminator_predictions)(?=[./]|$)"
    ),
    "speech": re.compile(
        r"(?:^|[./])(?:wav2vec2|hubert|wavlm|data2vec_audio|pos_conv_embed|masked_spec_embed"
        r"|feature_extractor[./]conv_layers|encoder[./]conv1|mel_filters)(?=[./]|$)"
    ),
    "vision": re.compile(
        r"(?:^|[./])(?:patch_embed|patch_embeddings|patch_embedding|conv_proj|vit|stem|layer1"
        r"|downsample_layers|cls_token[./]?)(?=[./]|$)"
    ),
    "diffusion": re.compile(
        r"(?:^|[./])(?:time_embed|time_embedding|time_mlp|t_embedder|timestep_embedder|time_in"
        r"|down_blocks|input_blocks|adaLN_modulation|lora_unet_\w+)(?=[./]|$)"
    ),
}
# What config.json calls the class of a model.
_CLASSES: Mapping[str, re.Pattern[str]] = {
    "lm": re.compile(r"CausalLM|LMHeadModel|GPT|^Llama"),
    "encoder": re.compile(r"Bert|Roberta|Electra|Deberta|Albert|MPNet|XLM|ModernBert"),
    "speech": re.compile(r"Wav2Vec2|Hubert|WavLM|Whisper|Speech|Data2VecAudio"),
    "vision": re.compile(r"ViT|ImageClassification|ConvNext|Swin|Dinov2|Beit|ResNet"),
    "diffusion": re.compile(r"UNet2D|Transformer2D|DiT|FluxTransformer|SD3Transformer|Diffusion"),
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
        width_evidence = f"the adapted matrices have {width:,} inputs (median of {len(pairs)})"
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
    to it. Tables count as matrices, convolutions do not."""
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
        return None, "width not known: there is no matrix"
    most = max(sides.values())
    tables = [one.shape[-1] for one in matrices if one.role == "embedding"]
    alike = [size for size, n in sides.items() if n == most]
    width = said if said in alike else tables[0] if tables and tables[0] in alike else min(alike)
    words = f"{most} of {plural(len(matrices), 'matrix').replace('matrixs', 'matrices')}"
    if most < _SHARE * len(matrices):
        return None, f"width not known: the size {width} is a side of no more than {words}"
    confirmed = f", and {_CONFIG} says so" if said == width else ""
    return width, f"{words} have a side of {width}{confirmed}"


def _depth(stats: Sequence[TensorStats]) -> int:
    """The blocks of the longest stack; 0 without one."""
    stacks = Counter(family(block) for block in {layer(one.name) for one in stats})
    return max((n for name, n in stacks.items() if re.search(r"(?:^|[./])N$", name)), default=0)


def _domain(stats: Sequence[TensorStats], config: Mapping[str, Any]) -> tuple[str | None, str]:
    """By the class that the configuration names, else by the words of modules."""
    named = [one for one in config.get("architectures") or () if isinstance(one, str)]
    named += [own for key in ("_class_name",) if isinstance(own := config.get(key), str)]
    of_class = {domain: _first(pattern, named) for domain, pattern in _CLASSES.items()}
    found = {domain: word for domain, word in of_class.items() if word}
    if len(found) == 1:
        ((domain, word),) = found.items()
        return domain, f"{_CONFIG} names {excerpt(word, 40)}"
    names = [bare_name(one.name) for one in stats]
    signs = {domain: _first(pattern, names, part=True) for domain, pattern in _SIGNS.items()}
    found = {domain: word for domain, word in signs.items() if word}
    if any(one.role == "embedding" for one in stats) and "vision" in found and len(found) == 1:
        return None, "kind not known: it has a table of tokens and the modules of a vision model"
    if len(found) == 1:
        ((domain, word),) = found.items()
        return domain, f"a module called {excerpt(word.strip('./'), 40)}"
    if found:
        kinds = ", ".join(
            f"{word.strip('./')} of {DOMAIN_WORDS[own]}" for own, word in found.items()
        )
        return None, f"kind not known: it has {excerpt(kinds)}"
    return None, "kind not known: no name tells it, so that recipes of all kinds count"


def _first(pattern: re.Pattern[str], words: Sequence[str], part: bool = False) -> str:
    """The first word that the pattern is found in, or its part; empty for none."""
    matches: Iterator[tuple[str, re.Match[str]]] = (
        (word, match) for word in words if (match := pattern.search(word))
    )
    word, match = next(matches, ("", None))
    return match[0] if part and match else word
