"""Checkpoints on which published recipes start: weights of a recipe's width, initialization or
trained scale, under the names that its kind of model has, and the options of its run."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from scalecheck.optimizers.muon import MATCHED_RMS
from scalecheck.recipes.recipe import Recipe

Weights = dict[str, NDArray[np.float32]]

LAYERS = 2
WIDTH = 1024  # of a model whose width the source does not say
UNKNOWN_INIT = 0.02
TRAINED = {"lm": 0.02, "encoder": 0.05, "speech": 0.05, "vision": 0.03, "diffusion": 0.03}
"""The rms of trained hidden matrices that is assumed where no source gives one."""


class Drawn:
    """Tensors of a given rms from one stream of random numbers."""

    def __init__(self, seed: int, is_trained: bool) -> None:
        self._random = np.random.default_rng(seed)
        self._is_trained = is_trained

    def matrix(self, rms: float, *shape: int) -> NDArray[np.float32]:
        """Normal, of this rms; rows of a trained one differ in scale."""
        drawn = self._random.standard_normal(shape, np.float32)
        if self._is_trained:
            drawn *= self._random.lognormal(0, 0.3, (shape[0], *(1 for _ in shape[1:])))
        return (drawn * (rms / np.sqrt(np.mean(np.square(drawn, dtype=np.float64))))).astype(
            np.float32
        )

    def gain(self, width: int) -> NDArray[np.float32]:
        moved = 0.1 * self._random.standard_normal(width) if self._is_trained else 0.0
        return np.asarray(np.ones(width) + moved, np.float32)


def transformer(width: int, rms: float, out_rms: float, drawn: Drawn) -> Weights:
    """Rows of each matrix are few, their length, which is the fan-in, is the model's."""
    model = {"model.embed_tokens.weight": drawn.matrix(rms, 64, width)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        for name in ("q", "k", "v"):
            model[f"{at}.self_attn.{name}_proj.weight"] = drawn.matrix(rms, 24, width)
        model[f"{at}.self_attn.o_proj.weight"] = drawn.matrix(out_rms, 24, width)
        model[f"{at}.mlp.up_proj.weight"] = drawn.matrix(rms, 48, width)
        model[f"{at}.mlp.down_proj.weight"] = drawn.matrix(out_rms, 24, 2 * width)
        model[f"{at}.input_layernorm.weight"] = drawn.gain(width)
        model[f"{at}.post_attention_layernorm.weight"] = drawn.gain(width)
    return {**model, "model.norm.weight": drawn.gain(width)}


def write(recipe: Recipe, folder: Path) -> list[str]:
    """The checkpoint of a recipe in a folder, and the arguments of `check` for its run."""
    is_start = recipe.phase == "pretrain"
    drawn = Drawn(0, not is_start)
    width = recipe.d_model or recipe.lora_n or WIDTH
    if recipe.is_adapter:
        return [*adapter(recipe, folder, width), *options(recipe)]
    if is_start:
        rms = recipe.init_rms or UNKNOWN_INIT
        out_rms = recipe.residual_init_rms or rms
    else:
        rms = out_rms = recipe.trained_rms or TRAINED[recipe.domain]
    save_file(transformer(width, rms, out_rms, drawn), folder / "model.safetensors")
    return [str(folder / "model.safetensors"), *options(recipe)]


def adapter(recipe: Recipe, folder: Path, width: int) -> list[str]:
    """An adapter before its first step, as PEFT saves it, and the model that it adds to."""
    drawn = Drawn(0, True)
    rms = recipe.trained_rms or TRAINED[recipe.domain]
    save_file(transformer(width, rms, rms, drawn), folder / "base.safetensors")
    rank = recipe.lora_r or 0
    halves: Weights = {}
    for layer in range(LAYERS):
        at = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        bound = 1 / np.sqrt(width)  # torch's kaiming_uniform_(a=√5)
        uniform = np.random.default_rng(layer).uniform(-bound, bound, (rank, width))
        halves[f"{at}.lora_A.weight"] = uniform.astype(np.float32)
        halves[f"{at}.lora_B.weight"] = np.zeros((24, rank), np.float32)
    own = folder / "adapter"
    own.mkdir()
    save_file(halves, own / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": recipe.lora_alpha}
    (own / "adapter_config.json").write_text(json.dumps({**config, "target_modules": ["q_proj"]}))
    return [str(own), "--base", str(folder / "base.safetensors")]


OPTIMIZERS: Mapping[str, str] = {"adafactor_scaled": "adafactor", "rmsprop_eps": "rmsprop"}
"""Names of the atlas that are another optimizer's at settings of its own."""

NOT_HERE = frozenset({"hyperball"})
"""Optimizers that are not among ours."""

WITH_BETAS = frozenset({"adam", "adamw", "lamb", "lion", "sophia"})
WITH_MOMENTUM = frozenset({"muon", "sgd", "lars"})
SCHEDULES = ("constant", "cosine", "linear", "wsd")


def options(recipe: Recipe) -> list[str]:
    """The options that give `check` the run of a recipe."""
    optimizer, lr = OPTIMIZERS.get(recipe.optimizer, recipe.optimizer), recipe.lr
    found = ["--phase", recipe.phase, "--optimizer", optimizer]
    if optimizer == "muon":
        # What its implementation makes of an update, by torch's that aims at an RMS of 0.2.
        found += ["--set", "adjust_lr_fn=match_rms_adamw"]
        lr *= (recipe.update_rms or MATCHED_RMS) / MATCHED_RMS
    found += ["--lr", repr(lr), "--weight-decay", repr(recipe.weight_decay or 0.0)]
    if optimizer in WITH_MOMENTUM:
        found += ["--momentum", repr(recipe.beta1)]
    if optimizer in WITH_BETAS:
        found += ["--beta1", repr(recipe.beta1)]
        found += ["--beta2", repr(recipe.beta2)] if recipe.beta2 else []
    if recipe.steps and recipe.schedule in SCHEDULES and recipe.warmup is not None:
        found += ["--steps", str(recipe.steps), "--warmup", str(recipe.warmup)]
        found += ["--schedule", recipe.schedule]
        if recipe.schedule != "constant":
            found += ["--final", repr((recipe.lr_final or 0.0) / recipe.lr)]
    return found
