"""Published training recipes and failures as they are stored in data/: what was read where."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

Phase = Literal["pretrain", "resume", "finetune", "preference", "rl"]
PHASES: tuple[Phase, ...] = get_args(Phase)
"""What a run is for: from an initialization; on with a pretraining, as an annealing is; supervised
fine-tuning; preference tuning, as DPO is; reinforcement learning. Each has a file in data/."""

PHASE_WORDS: Mapping[Phase, str] = {
    "pretrain": "pretraining",
    "resume": "mid-run pretraining",
    "finetune": "fine-tuning",
    "preference": "preference tuning",
    "rl": "RL",
}

DOMAINS = ("lm", "encoder", "speech", "vision", "diffusion")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a published model was trained; None where its source does not say.

    domain: one of DOMAINS. params, d_model, n_layers: of the model. lr: the largest, lr_final: the
    last. warmup, steps: optimizer steps; warmup_share: the same as a share of all. decay_share: the
    part of a wsd schedule that falls. weight_decay: as torch.optim.AdamW counts it, lr·weight_decay
    a step. update_rms: of a Muon update at lr 1, by element. lars_eta: LARS's trust coefficient.
    init_rms: of a hidden matrix as it starts; residual_init_rms: of the smallest projection into
    the residual stream, where these are scaled; init_assumed: neither is in the source.
    trained_rms: assumed of a trained hidden matrix. lora_n: the inputs of the matrix that an
    adapter adds to.
    source: a repository's file, a model card or a paper. seen: `primary`, `transcription` of a
    paper's table, or `memory`, which is not verified. not_seen: the fields of a verified recipe
    that are not in its source.
    """

    name: str
    domain: str
    phase: Phase
    optimizer: str
    lr: float
    beta1: float
    source: str
    seen: str
    verified: bool
    params: int | None = None
    d_model: int | None = None
    n_layers: int | None = None
    lr_final: float | None = None
    schedule: str | None = None
    decay_share: float | None = None
    warmup: int | None = None
    warmup_share: float | None = None
    steps: int | None = None
    batch: int | None = None
    batch_tokens: int | None = None
    beta2: float | None = None
    eps: float | None = None
    weight_decay: float | None = None
    clip: float | None = None
    update_rms: float | None = None
    lars_eta: float | None = None
    initialization: str | None = None
    init_rms: float | None = None
    residual_init_rms: float | None = None
    init_assumed: bool = False
    trained_rms: float | None = None
    lora_r: int | None = None
    lora_alpha: float | None = None
    lora_n: int | None = None
    lora_targets: str | None = None
    dtype: str | None = None
    not_seen: tuple[str, ...] = ()
    note: str | None = None

    @property
    def is_adapter(self) -> bool:
        """It trains LoRA's halves in place of the matrices."""
        return self.lora_r is not None

    @property
    def start_rms(self) -> float | None:
        """RMS of a hidden matrix before the first step."""
        return self.init_rms or self.trained_rms

    @property
    def origin(self) -> str:
        """The repository or the paper; recipes that share one are no independent witnesses."""
        return self.source.partition(" ")[0].partition("@")[0].partition("#")[0]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A published run that failed.

    what: what happened. cause: what its authors found. rms: of the weights. update_over_lr: the
    relative update at lr 1 that was measured. Others as in Recipe.
    """

    name: str
    what: str
    cause: str
    source: str
    verified: bool
    optimizer: str | None = None
    lr: float | None = None
    beta1: float | None = None
    beta2: float | None = None
    d_model: int | None = None
    rms: float | None = None
    update_over_lr: float | None = None
    lora_r: int | None = None
    lora_alpha: float | None = None
    lora_n: int | None = None
    dtype: str | None = None


@cache
def load() -> tuple[Recipe, ...]:
    """Every recipe, by phases."""
    return tuple(
        Recipe(phase=phase, **entry) for phase in PHASES for entry in _entries(phase, "recipe")
    )


@cache
def failures() -> tuple[Failure, ...]:
    return tuple(Failure(**entry) for entry in _entries("failures", "failure"))


def _entries(name: str, key: str) -> list[dict[str, Any]]:
    import tomllib  # imported here, as most commands read no recipes
    from importlib import resources

    text = resources.files("scalecheck.recipes").joinpath(f"data/{name}.toml").read_text("utf-8")
    return [
        {field: tuple(x) if isinstance(x, list) else x for field, x in entry.items()}
        for entry in tomllib.loads(text)[key]
    ]
