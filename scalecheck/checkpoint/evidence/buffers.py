"""Buffers of floats: what a module keeps beside its parameters, told by names, shapes and the
tensors beside them."""

import re
from collections.abc import Sequence
from functools import lru_cache

from scalecheck.checkpoint.evidence.inventory import REMEMBERED, Entry, Inventory, words
from scalecheck.report.formatting import excerpt

# By the word alone: no library trains a tensor of such a name.
_BY_WORD = tuple(
    (re.compile(pattern), evidence)
    for pattern, evidence in (
        (r"running_\w+|moving_(?:mean|var|variance)|num_batches_tracked", "a running statistic"),
        (r"position_ids|token_type_ids|queue_ptr", "positions or counts"),
        (
            r"(?:\w+_)?inv_freqs?|rope_freqs|freq_bands|freqs_(?:cis|cos|sin)|(?:cos|sin)_cached?"
            r"|cos_sin_cache|rope_cache|alibi|alibi_slopes|relative_position_index|relative_coords_table"
            r"|slope_rate|(?:query|key|diagonal)_decay|pos_idx_to_embed|n(?:um)?_points_scale"
            r"|positional_encoding_gaussian_matrix|\w*sinusoid\w*",
            "a table of positions",
        ),
        (r"(?:inited|initialized|initted)", "a flag"),
        (
            r"e_score_correction_bias|expert_bias|balancing_biases",
            "a balance of experts that no gradient reaches",
        ),
        (
            r"masked_bias|mask|tril|triu|(?:attn|attention|causal|padding|key_padding|pad|src|tgt"
            r"|future|band|local|window|output)_mask",
            "a mask",
        ),
        (r"\w+_buffer|_float_tensor", "that of a buffer"),
        (
            r"(?:alphas_cumprod|sqrt_\w*alphas_cumprod|log_one_minus_alphas_cumprod"
            r"|sqrt_\w*alphas_cumprod_minus_one|alphas_cumprod_(?:prev|next)"
            r"|posterior_(?:variance|log_variance_clipped|mean_coef[12])|lvlb_weights|ddim_\w+)",
            "a noise schedule",
        ),
        (
            r"(?:hann_|hamming_|stft_)?window|mel_basis|(?:mel_)?fb|(?:mel_)?filterbank"
            r"|resample_filter|noise_const|w_avg|mel_filters?|(?:forward|inverse)_basis"
            r"|window_sum",
            "a constant of signal processing",
        ),
        (r"anchor_grid|pixel_mean|pixel_std", "a constant of detection"),
        (r"atomic_energies|r_max", "a constant of an interatomic potential"),
        (r"(?:\w+_)?cluster_size|cum_samples", "counts"),
        (r"sigma_data", "the deviation of data"),
    )
)
_SCHEDULE = re.compile(
    r"betas|alphas|gammas|sigmas|log_sigmas|timesteps|t_steps|noise_levels|snr|alpha_bars?|alphas_bar|\w*alphas?_bar\w*"
    r"|\w*one_minus_\w+|p2_loss_weight|loss_weights?|sqrt_\w+|log_\w+|posterior_\w+|\w*cumprod\w*"
)
_SCHEDULES = (
    "betas",
    "alphas_cumprod",
    "alphas",
    "sigmas",
    "log_sigmas",
    "alphas_bar",
    "timesteps",
)
_LEAST_SCHEDULE = 50  # steps of a schedule that stands alone; SMPL's betas are 10 shape parameters


_LOSSES = frozenset(
    ("loss", "losses", "criterion", "criterions", "criteria", "objective", "lossfn")
)
_LOSS_MODULES = _LOSSES | {"ce", "bce", "nll", "crossentropy", "focal"}
_CLASS_WEIGHTS = re.compile(r"weight|(?:pos|class|empty|ce|label)_weights?")
_METRICS = frozenset(
    re.findall(
        r"\w+",
        "metric metrics meter meters acc accuracy top1 top5 auroc auc auprc f1 f1score fbeta "
        "precision recall specificity iou miou jaccard dice psnr ssim fid kid lpips mae mse rmse "
        "perplexity bleu rouge wer cer confmat statscores calibration spearman pearson r2score "
        "cohen kappa",
    )
)
_METRIC_STATES = re.compile(
    r"(?:sum|mean|max|min)_value(?:_\d+)?|confmat|sum_squared_error|sum_abs_error"
    r"|n_observations|num_obs|(?:real|fake)_features_\w+|sum_squared_obs|sum_obs"
)
# A trained number that losses and metric learning keep: CLIP, SigLIP, uncertainty weighting.
_TRAINED = re.compile(
    r"logit_\w+|temperature|temp|tau|t_prime|t|b|log_\w+|logvar|bias|gamma|beta|scale"
)
_ROTARY = re.compile(r"freq|cos|sin|cache")
_PARAMETRIZED = re.compile(r"parametrizations\.[^.]+\.\d+$")
_PAIRS = (
    ("cos", "sin", "a table of rotary embedding"),
    ("action_scale", "action_bias", "the range of an action"),
    ("angle", "decay", "a table of positions"),
    ("mean", "scale", "statistics of data"),
    ("std_bias", "std_scale", "statistics of data"),
)
_CODEBOOKS = (("embed", "embed_avg", "cluster_size"), ("embed_sum", "cluster_usage"))
_RANGE = re.compile(r"(\w+_)(?:min|max)")
_LAST_PART_OF_MEAN = re.compile(r"(.*_)?mean")
_RADIAL = frozenset(("rbf", "radial", "distance", "smearing", "gaussian", "expansion"))
_COUNTS = frozenset(("count", "n", "num", "num_samples"))
_ADAPTERS = frozenset(("lora", "lycoris", "loha", "lokr", "locon", "dora", "glora"))
_ADAPTER_PART = re.compile(r"(?:lora|hada|lokr|oft|boft|glora|ia3|locon)_\w+|lora|dora_scale")
_FROZEN_PROJECTIONS = re.compile(r"(vera|randlora)_[AB]")


class Buffers:
    """What has to be known of the whole list before one tensor is judged."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._with_matrices: set[str] = set()  # losses and metrics that have some below them
        self._adapted: set[str] = set()  # modules that an adapter belongs to
        self._projections: set[str] = set()  # "vera" where its trained vectors are there
        for entry in inventory.entries.values():
            if _is_weight(entry):
                for kinds in (_LOSSES, _METRICS):
                    if (at := _place(entry.path, kinds)) is not None:
                        self._with_matrices.add(".".join(entry.path[: at + 1]))
            for place, part in enumerate((*entry.path, entry.word)):
                if _is_adapter(part):
                    self._adapted.add(".".join(entry.path[:place]))
                    self._projections.add(part.split("_")[0])
                    break
                if part.startswith(("vera_lambda", "randlora_lambda")):
                    self._projections.add(part.split("_")[0])

    def evidence(self, entry: Entry) -> str | None:
        """Why a float tensor is a buffer; None where nothing says so."""
        word = entry.word
        if what := _by_word(word):
            return f"its name: {what}"
        if "rotary_emb" in entry.path and _ROTARY.search(word):
            return "its name inside `rotary_emb`: a table of rotary embedding"
        return (
            self._of_shape(entry)
            or self._beside(entry)
            or self._schedule(entry)
            or self._loss_or_metric(entry)
            or self._adapter(entry)
        )

    def _of_shape(self, entry: Entry) -> str | None:
        word, shape = entry.word, entry.shape
        is_square = len(shape) >= 2 and shape[-1] == shape[-2] and max(shape[:-2], default=1) == 1
        if word == "bias" and len(shape) == 4 and is_square and shape[-1] > 1:
            return "a bias of shape (1, 1, n, n): a causal mask"
        if word.endswith("_mask") and len(shape) > 1 and shape[-1] == shape[-2]:
            return "its name, and as many rows as columns: a mask"
        if word == "version" and entry.numel == 1:
            return "its name: the version of a module"
        if word == "filter" and len(shape) == 3 and shape[:2] == (1, 1):
            return "its name and shape (1, 1, n): the filter of a resampler"
        if word == "kernel" and (len(shape) == 1 or entry.owner == "blur"):
            return "its name and shape: the kernel of a filter"
        if word == "anchors" and shape[-1:] == (2,):
            return "its name, and pairs: the anchors of a detector"
        if word == "freqs" and (len(shape) != 3 or shape[0] != 2):  # that of RoPE-Mixed is trained
            return "its name: a table of positions"
        is_table = word in {"pe", "pos_table"} and len(shape) == 3 and 1 in shape
        if is_table and "pos" in entry.owner.lower():
            return f"`{word}` in a module of positions: a table of sinusoidal positions"
        if entry.owner == "cell_anchors" and shape[-1:] == (4,):
            return "boxes in `cell_anchors`: the anchors of a detector"
        if word in {"offset", "offsets", "widths"} and words(entry.owner) & _RADIAL:
            return f"`{word}` in a module of distances: the centres of a radial basis"
        if word == "pos_embed" and entry.owner == "pos_embed":
            return "`pos_embed` inside the module of that name: a table of sinusoidal positions"
        return None

    def _beside(self, entry: Entry) -> str | None:
        """By another tensor of its module."""
        word, shape, module = entry.word, entry.shape, self._inventory.module(entry)
        if word.endswith("_mask"):
            base = word.removesuffix("_mask")
            if module.has(f"{base}_orig", shape) or module.has(base, shape):
                return f"a mask of the shape of `{excerpt(base, 40)}` beside it: pruning"
        if self._is_spectral(entry):
            return "a vector of spectral normalisation, by its name and what lies beside it"
        if word == "base" and _PARAMETRIZED.search(entry.module):
            return "its name inside a parametrization: what an orthogonal weight starts from"
        if all(module.has(one, shape) for one in ("mean", "var", "scale")):
            return "a running statistic" if word in ("mean", "var") else None
        for first, second, what in _PAIRS:
            if word in (first, second) and module.has(first, shape) and module.has(second, shape):
                return f"`{first}` and `{second}` of one shape: {what}"
        if match := _RANGE.fullmatch(word):
            ends = (match[1] + "min", match[1] + "max")
            if len(shape) <= 1 and all(module.has(end, shape) for end in ends):
                return f"{_both(ends)}: a range that was seen"
        if normaliser := self._normaliser(entry):
            return normaliser
        if entry.numel <= 1 and module.has("r_max"):
            return "one number beside `r_max`: a constant of an interatomic potential"
        if entry.numel <= 1 and word == "scale_factor" and module.has("alphas_cumprod"):
            return "one number beside a noise schedule: the scale of latents"
        if word in {"shift", "scale"} and entry.owner == "scale_shift" and not module.has_matrix:
            return "inside `scale_shift`: the mean and deviation of energies"
        if word.endswith("queue") and module.has_pointer:
            return "a queue beside its pointer"
        if any(word in book and all(map(module.has, book)) for book in _CODEBOOKS):
            return "averages and counts in its module: a codebook that no gradient reaches"
        if word in ("shift", "scale") and entry.owner == "scaling_layer":
            return "inside `scaling_layer`: the mean and deviation of inputs"
        return None

    def _is_spectral(self, entry: Entry) -> bool:
        word, module = entry.word, self._inventory.module(entry)
        if word in ("_u", "_v"):
            return bool(_PARAMETRIZED.search(entry.module))
        if re.fullmatch(r"(?:u|sv)\d", word):  # BigGAN's
            return module.has("u0") and module.has("sv0")
        base = word.removesuffix("_u").removesuffix("_v")
        if base == word or not entry.is_vector:
            return False
        originals = (f"{base}_orig", f"{base}_bar", *(("weight",) if base == "weight" else ()))
        return any(map(module.has, originals))

    def _normaliser(self, entry: Entry) -> str | None:
        """Mean and deviation of data, which lie side by side in one shape and are no table."""
        module = self._inventory.module(entry)
        if entry.word in _COUNTS and entry.numel <= 1 and module.has("mean"):
            return "one number beside `mean`: a count of observations"
        for spread in ("std", "var", "variance", "stddev", "invstd"):
            if entry.word == spread or entry.word.endswith(f"_{spread}"):
                stem = entry.word.removesuffix(spread)
            elif match := _LAST_PART_OF_MEAN.fullmatch(entry.word):
                stem = match[1] or ""
            else:
                continue
            pair = f"{stem}mean", stem + spread
            if stem.startswith(("weight", "bias", "kernel")) or not entry.is_vector:
                continue
            if all(module.has(one, entry.shape) for one in pair):
                return f"{_both(pair)} of one shape: statistics"
        return None

    def _schedule(self, entry: Entry) -> str | None:
        """A vector with an entry for each step of diffusion."""
        if not _SCHEDULE.fullmatch(entry.word) or len(entry.shape) != 1 or entry.numel < 2:
            return None
        module = self._inventory.module(entry)
        if entry.word == "betas" and module.has("means", entry.shape):  # of a trained radial basis
            return None
        others = (one for one in _SCHEDULES if one != entry.word)
        if anchor := next((one for one in others if module.has(one, entry.shape)), None):
            return f"its name, and as long as `{anchor}` beside it: a noise schedule"
        if entry.word in _SCHEDULES and entry.numel >= _LEAST_SCHEDULE:
            return "its name and length: a noise schedule"
        return None

    def _loss_or_metric(self, entry: Entry) -> str | None:
        word, module = entry.word, self._inventory.module(entry)
        if len(entry.shape) <= 1 and re.fullmatch(r"(?:pos|class|empty)_weights?", word):
            return "its name: weights of classes"
        if _METRIC_STATES.fullmatch(word):
            return "its name: the state of a metric"
        if module.has(word.replace("weight", "mean_value"), entry.shape) and "weight" in word:
            return "beside `mean_value`: the state of a metric"
        if module.is_tally and not _TRAINED.fullmatch(word):
            return "single numbers alone, and one of them counts: the state of a metric"
        if word == "center" and self._is_bare(entry, _LOSSES):
            return "the centre of a loss that has no matrix"
        if len(entry.shape) > 1 or "bias" in module.members or module.has_matrix:
            return None
        is_loss = _is_called(entry.owner, _LOSS_MODULES) or self._is_bare(entry, _LOSSES)
        is_alpha = word == "alpha" and entry.numel > 1  # of a focal loss
        if is_loss and (is_alpha or _CLASS_WEIGHTS.fullmatch(word)):
            return "a vector in a loss that has no matrix: weights of classes"
        is_trained = word.startswith("weight") or _TRAINED.fullmatch(word)
        if not is_trained and self._is_bare(entry, _METRICS):
            return "in a metric that has no matrix: its state"
        return None

    def _is_bare(self, entry: Entry, kinds: frozenset[str]) -> bool:
        """Whether it lies below a module called so that has no matrix anywhere."""
        at = _place(entry.path, kinds)
        return at is not None and ".".join(entry.path[: at + 1]) not in self._with_matrices

    def _is_adapted(self, entry: Entry) -> bool:
        return ".".join(entry.path) in self._adapted or any(
            words(part) & _ADAPTERS for part in entry.path
        )

    def _adapter(self, entry: Entry) -> str | None:
        word = entry.word
        if word == "alpha" and entry.numel <= 1 and self._is_adapted(entry):
            return "one number beside an adapter: LoRA's alpha"
        if word == "ranknum" or "ranknum" in entry.path:
            return "the rank of AdaLoRA"
        for part in (*entry.path[-1:], word):
            match = _FROZEN_PROJECTIONS.fullmatch(part)
            if match and match[1] in self._projections:
                return f"the shared projection of {match[1]}, which is not trained"
        if word.startswith("boft_P") or entry.owner.startswith("boft_P"):
            return "the permutation of BOFT"
        return None


@lru_cache(REMEMBERED)
def _is_adapter(part: str) -> bool:
    return _ADAPTER_PART.fullmatch(part) is not None


@lru_cache(REMEMBERED)
def _by_word(word: str) -> str | None:
    return next((what for pattern, what in _BY_WORD if pattern.fullmatch(word)), None)


def _place(path: Sequence[str], kinds: frozenset[str]) -> int | None:
    """The first part of a path that is called so."""
    return next((place for place, part in enumerate(path) if _is_called(part, kinds)), None)


@lru_cache(REMEMBERED)
def _is_called(part: str, kinds: frozenset[str]) -> bool:
    said = words(part)
    return bool(said & kinds) or ("loss" in kinds and part.lower().endswith("loss"))


def _both(words: tuple[str, str]) -> str:
    return " and ".join(f"`{excerpt(word, 40)}`" for word in words)


def _is_weight(entry: Entry) -> bool:
    return entry.is_wide_float and not entry.is_vector and not _METRIC_STATES.fullmatch(entry.word)
