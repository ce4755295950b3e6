"""Moonlight's Muon keeps AdamW's averages for what is no matrix, in the same group."""

import pytest
import torch

import scalecheck as api

LR, DECAY, BETAS, EPS, STEPS = 1e-3, 0.1, (0.9, 0.95), 1e-8, 7


def test_the_adamw_inside_is_read_and_muon_says_why_not(tmp_path):
    torch.manual_seed(0)
    model = {"up.weight": torch.randn(12, 8), "emb.weight": torch.randn(30, 8)}
    model = {name: tensor.double() for name, tensor in model.items()}
    before, m, v = model["emb.weight"], torch.zeros(30, 8), torch.zeros(30, 8)
    weight = before
    for step in range(1, STEPS + 1):  # as its authors' code has it
        before, gradient = weight, torch.randn(30, 8).double()
        m = BETAS[0] * m + (1 - BETAS[0]) * gradient
        v = BETAS[1] * v + (1 - BETAS[1]) * gradient**2
        scale = (1 - BETAS[0] ** step) / (1 - BETAS[1] ** step) ** 0.5
        weight = before * (1 - LR * DECAY) - LR / scale * m / (v.sqrt() + EPS)
    model["emb.weight"] = weight
    state = {
        0: {"use_muon": True, "momentum_buffer": torch.randn(12, 8)},
        1: {"use_muon": False, "step": STEPS, "moment1": m, "moment2": v},
    }
    group = {"lr": LR, "wd": DECAY, "momentum": 0.95, "nesterov": True, "ns_steps": 5}
    group |= {"adamw_betas": BETAS, "adamw_eps": EPS, "params": [0, 1]}
    path = tmp_path / "run.pt"
    torch.save({"model": model, "optimizer": {"state": state, "param_groups": [group]}}, path)
    rows = {row["name"]: row for row in api.translate(path).rows}
    moved = (weight - before * (1 - LR * DECAY)).square().mean().sqrt()
    assert rows["emb.weight"]["absolute_update"] == pytest.approx(float(moved))
    assert rows["emb.weight"]["weight_decay"] == DECAY
    assert not rows["up.weight"]["measured"]
    assert "nesterov" in rows["up.weight"]["reason"]
