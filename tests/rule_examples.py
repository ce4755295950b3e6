"""The checkpoints of the rules' examples, written as training code writes them."""

import json
import math
import shlex

import torch
from command import scalecheck
from safetensors.torch import save_file


def noise(*shape):
    """Normal numbers of rms 0.02, other ones at every call."""
    values = torch.randn(*shape, generator=noise.generator, dtype=torch.float64)
    return (0.02 * values / values.square().mean().sqrt()).float()


def arguments(example, folder):
    """Writes the example's files and gives the arguments of `scalecheck check` for them."""
    noise.generator = torch.Generator().manual_seed(7)
    model, baseline, state = {}, {}, {}
    scope = {
        "model": model,
        "baseline": baseline,
        "state": state,
        "noise": noise,
        "zeros": torch.zeros,
        "ones": torch.ones,
        "nan": math.nan,
        "inf": math.inf,
        "bf16": torch.Tensor.bfloat16,
        "fp16": torch.Tensor.half,
    }
    exec(example.lines, scope)
    folder.mkdir(parents=True)
    path = folder / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in model.items()}, path)
    options = shlex.split(example.options)
    if state:
        torch.save(_adamw(state), folder / "optimizer.pt")
        path = folder
    if baseline:
        save_file(baseline, folder / "before.safetensors")
        report = folder / "baseline.json"
        before = folder / "before.safetensors"
        done = scalecheck("inspect", before, "--format", "json", "--output", report)
        assert done.code == 0
        assert json.loads(report.read_text("utf-8"))["schema"] == "scalecheck.inspect/1"
        options += ["--baseline", str(report)]
    return [str(path), *options]


def _adamw(state):
    """The state dict of torch.optim.AdamW after 1000 steps."""
    group = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}
    group |= {"amsgrad": False, "maximize": False, "foreach": None, "capturable": False}
    group |= {"differentiable": False, "fused": None, "decoupled_weight_decay": True}
    group |= {"params": [*range(len(state))], "param_names": [*state]}
    entries = {
        number: {"step": torch.tensor(1000.0), "exp_avg": mean, "exp_avg_sq": square}
        for number, (mean, square) in enumerate(state.values())
    }
    return {"state": entries, "param_groups": [group]}
