"""Runs that are trained in the test: a small network, saved every few steps as trainers do."""

import json

import numpy as np
import torch
from torch import nn

STEPS = (20, 40, 60, 80, 100, 120, 140, 160)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 4)
    )


def trained(save, steps=STEPS, lr=1e-2, weight_decay=0.1, fall_at=None):
    """Trains with AdamW on noise and hands model, optimizer and the log to `save` at each of the
    steps; from `fall_at` on the lr is a tenth. Gives the weights of each step in float64."""
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=weight_decay)
    generator = torch.Generator().manual_seed(1)
    log, weights = [], {}
    for step in range(1, steps[-1] + 1):
        for group in optimizer.param_groups:
            group["lr"] = lr / 10 if fall_at is not None and step > fall_at else lr
        x = torch.randn(16, 16, generator=generator)
        y = torch.randn(16, 4, generator=generator)
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()
        log.append({"step": step, "learning_rate": optimizer.param_groups[0]["lr"]})
        if step in steps:
            weights[step] = {
                name: tensor.detach().numpy().astype(np.float64)
                for name, tensor in model.state_dict().items()
            }
            save(step, model, optimizer, log)
    return weights


def trainer_folder(root, *, with_state=True, with_log=True):
    """Saves as transformers' Trainer does."""

    def save(step, model, optimizer, log):
        folder = root / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        if with_state:
            torch.save(optimizer.state_dict(), folder / "optimizer.pt")
        if with_log:
            state = {"global_step": step, "max_steps": 200, "log_history": log}
            (folder / "trainer_state.json").write_text(json.dumps(state), "utf-8")

    return save
