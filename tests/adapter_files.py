"""Adapters and base models as files, and ΔW formed whole, for tests."""

import json
import math

import torch
from safetensors.torch import save_file

PEFT = "base_model.model.{}.lora_{}.weight"
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}


def noise(*shape, seed=0, rms=0.02):
    """Normal numbers of this RMS."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * rms


def write(folder, tensors, config=None, metadata=None, name="adapter_model.safetensors"):
    """A folder with a file of these tensors, and an adapter_config.json where one is given."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({n: t.contiguous().clone() for n, t in tensors.items()}, folder / name, metadata)
    if config is not None:
        text = config if isinstance(config, str) else json.dumps(config)
        (folder / "adapter_config.json").write_text(text, "utf-8")
    return folder


def write_base(folder, tensors):
    """A folder with a model."""
    return write(folder, tensors, name="model.safetensors")


def lora(rows=48, columns=64, rank=4, seed=0):
    """A of (rank, columns) and B of (rows, rank)."""
    return noise(rank, columns, seed=seed, rms=0.1), noise(rows, rank, seed=seed + 1)


def product(a, b, scale):
    """scale·B·A in float64."""
    return scale * (b.double() @ a.double())


def rms(tensor):
    """In float64."""
    return math.sqrt(tensor.double().square().mean().item())
