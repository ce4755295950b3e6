"""Gains and biases that no step has moved are found where something shows that the model was
trained; fresh, frozen and converted models pass."""

import pytest
import torch
from checked import found, noise, report, rule, saved
from torch import nn

pytestmark = pytest.mark.usefixtures("elsewhere")

ONLY = ("--select", "SC109")


class RMSNorm(nn.Module):
    """Of gains, or of (1 + w) as Gemma has it."""

    def __init__(self, width, start=1.0):
        super().__init__()
        self.weight, self.start = nn.Parameter(torch.full((width,), start)), start

    def forward(self, x):
        return (
            x
            * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
            * (1 - self.start + self.weight)
        )


class Block(nn.Module):
    def __init__(self, width, start=1.0):
        super().__init__()
        self.input_layernorm = RMSNorm(width, start)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(self.input_layernorm(x))))


def run(dtype=torch.float32, steps=20, start=1.0, trained=lambda name: True, width=16):
    """A saved run of three blocks: their file, and the names of their gains."""
    torch.manual_seed(3)
    model = nn.Sequential(*(Block(width, start) for _ in range(3))).to(dtype)
    weights = [w for name, w in model.named_parameters() if trained(name)]
    optimizer = torch.optim.AdamW(weights, lr=1e-4, weight_decay=0.0)
    for step in range(steps):
        optimizer.zero_grad()
        x = noise(8, width, seed=step).to(dtype)
        (model(x) - 1).float().square().mean().backward()
        optimizer.step()
    state = {"optimizer": optimizer.state_dict()} if steps else {}
    torch.save({"model": model.state_dict(), **state}, "run.pt")
    return "run.pt", [n for n in model.state_dict() if "norm" in n]


def test_gains_that_bfloat16_held_at_one_are_found():
    path, gains = run(torch.bfloat16)
    assert found(path, *ONLY) == [("SC109", name) for name in gains]
    for row in report(path, *ONLY)["findings"]:
        assert row["severity"] == "warning"
        assert row["message"].startswith("all 16 elements are exactly 1, although the")
        assert "step 20; in bfloat16 small updates round away: keep norms" in row["message"]


def test_the_same_run_in_float32_passes():
    path, _ = run()
    assert found(path, *ONLY) == []
    assert rule(report(path, *ONLY, code=0), "SC109")["status"] == "passed"


@pytest.mark.parametrize("steps", [0, 1])
def test_a_model_at_its_start_is_not_judged(steps):
    path, _ = run(torch.bfloat16, steps=steps)
    judged = report(path, "--select", "SC1", code=0)
    assert judged["findings"] == []
    assert rule(judged, "SC109")["status"] == "not run"


def test_gains_around_one_that_stayed_at_zero_are_found():
    path, gains = run(trained=lambda name: "norm" not in name, start=0.0)
    whole = torch.load("run.pt")
    moments = {"step": torch.tensor(20.0), "exp_avg": noise(16), "exp_avg_sq": noise(16).square()}
    group = whole["optimizer"]["param_groups"][0]
    names = [n for n in whole["model"] if "norm" not in n] + gains
    group["params"] = [*range(len(names))]
    group["param_names"] = names
    more = range(len(names) - len(gains), len(names))
    whole["optimizer"]["state"] |= dict.fromkeys(more, moments)
    torch.save(whole, "run.pt")
    assert found(path, *ONLY) == [("SC109", name) for name in gains]


def test_what_the_optimizer_does_not_hold_is_frozen_and_passes():
    path, gains = run(trained=lambda name: "up.weight" in name or "down.weight" in name)
    state = torch.load(path)["model"]
    assert all((state[name] == 1).all() for name in gains)
    assert found(path, *ONLY) == []


def test_a_bias_that_the_optimizer_holds_and_no_step_moved_is_found():
    model = {"a.weight": noise(8, 8), "a.bias": torch.zeros(8), "b.weight": noise(8, 8)}
    entry = {"step": torch.tensor(500.0), "exp_avg": torch.zeros(8), "exp_avg_sq": torch.zeros(8)}
    matrix = {"step": torch.tensor(500.0), "exp_avg": noise(8, 8), "exp_avg_sq": noise(8, 8) ** 2}
    group = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False}
    for state in ({0: matrix, 1: entry, 2: matrix}, {0: matrix, 2: matrix}):
        groups = [{**group, "params": [0, 1, 2], "param_names": [*model]}]
        torch.save({"model": model, "optimizer": {"state": state, "param_groups": groups}}, "r.pt")
        assert found("r.pt", *ONLY) == [("SC109", "a.bias")]


def test_where_a_state_can_be_of_two_tensors_neither_is_judged():
    """A bias of the second block is frozen: the next state is its or that of the third norm."""
    path, gains = run(torch.bfloat16, trained=lambda name: name != "1.down.bias")
    assert [where for _, where in found(path, *ONLY)] == gains[:2]


# ---- without an optimizer state


def blocks(count=4, word="norm", **own):
    """Blocks with a norm that was trained; own: other gains, by the number of the block."""
    tensors = {}
    for i in range(count):
        tensors[f"layers.{i}.{word}.weight"] = 1 + noise(32, seed=i)
        tensors[f"layers.{i}.{word}.bias"] = noise(32, seed=10 + i)
        tensors[f"layers.{i}.up.weight"] = noise(32, 32, seed=20 + i)
    return tensors


def grown(rows, columns, seed):
    """A matrix that was trained: noise, and a direction of twice its largest singular value."""
    matrix, side = noise(rows, columns, seed=seed), torch.Generator().manual_seed(seed)
    u, v = (
        torch.nn.functional.normalize(torch.randn(n, generator=side), dim=0)
        for n in (rows, columns)
    )
    return matrix + 2 * torch.linalg.matrix_norm(matrix, 2) * torch.outer(u, v)


@pytest.mark.parametrize("word", ["norm", "input_layernorm", "ln_1", "attn.q_norm", "bn2"])
def test_a_norm_whose_key_was_missing_is_found_among_others(word):
    tensors = blocks(word=word)
    tensors[f"layers.2.{word}.weight"] = torch.ones(32)
    tensors[f"layers.2.{word}.bias"] = torch.zeros(32)
    assert found(saved(tensors), *ONLY) == [
        ("SC109", f"layers.2.{word}.bias"),
        ("SC109", f"layers.2.{word}.weight"),
    ]


@pytest.mark.parametrize(
    "gain", ["norm.weight", "final_layernorm.weight", "ln_f.gamma", "blocks.3.rms_norm.scale"]
)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_matrices_that_were_trained_show_that_no_gain_was(gain, value):
    gains = {gain: torch.full((64,), value), "0." + gain: torch.full((64,), value)}
    trained = {f"layers.{i}.up.weight": grown(64, 64, i) for i in range(6)}
    assert {where for _, where in found(saved(trained | gains), *ONLY)} == gains.keys()
    fresh = {f"layers.{i}.up.weight": noise(64, 64, seed=i) for i in range(6)}
    report(saved(fresh | gains), "--select", "SC101,SC109", code=0)
    assert found(saved(fresh | gains), *ONLY) == []


STARTS = {
    "normal": nn.init.normal_,
    "uniform": nn.init.kaiming_uniform_,
    "truncated": nn.init.trunc_normal_,
    "orthogonal": nn.init.orthogonal_,
    "xavier": nn.init.xavier_normal_,
    "zeros": nn.init.zeros_,
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("shape", [(16, 16), (64, 256), (300, 40), (32, 16, 3)])
def test_no_usual_start_looks_trained(start, shape):
    torch.manual_seed(11)
    tensors = {f"layers.{i}.up.weight": STARTS[start](torch.empty(shape)) for i in range(8)}
    tensors |= {f"layers.{i}.norm.weight": torch.ones(32) for i in range(8)}
    tensors |= {f"layers.{i}.up.bias": torch.zeros(32) for i in range(8)}
    assert found(saved(tensors), *ONLY) == []


def test_layers_that_start_at_other_scales_do_not_look_trained():
    """As residual projections do, and queries, keys and values fused into one matrix."""
    tensors = {f"h.{i}.down.weight": noise(64, 64, seed=i) / (i + 1) ** 0.5 for i in range(6)}
    for i in range(6):
        parts = [noise(64, 64, seed=3 * i + n) * scale for n, scale in enumerate((1, 4, 9))]
        tensors[f"h.{i}.qkv.weight"] = torch.cat(parts)
        tensors[f"h.{i}.norm.weight"] = torch.ones(64)
    assert found(saved(tensors), *ONLY) == []


PASSING = {
    "a BatchNorm that a converter filled with ones": {
        "bn.weight": torch.ones(64),
        "bn.bias": noise(64),
        "bn.running_mean": noise(64),
        "bn.running_var": torch.ones(64),
    },
    "layer scale": {"blocks.0.ls1.gamma": torch.ones(64), "blocks.1.ls1.gamma": torch.ones(64)},
    "a residual norm that starts at zero": {
        "norm1.weight": 1 + noise(64),
        "norm2.weight": 1 + noise(64),
        "norm3.weight": torch.zeros(64),
    },
    "no gain": {"head.bias": noise(64)},
    "a bias without siblings": {"pooler.dense.bias": torch.zeros(64)},
    "a skip of Mamba": {"mixer.D": torch.ones(64)},
    "halves of LoRA": {f"{i}.q.lora_B.weight": torch.zeros(64, 4) for i in range(6)},
}


@pytest.mark.parametrize("what", PASSING)
def test_what_has_another_reason_to_be_constant_passes(what):
    tensors = {f"layers.{i}.up.weight": grown(64, 64, i) for i in range(6)} | PASSING[what]
    assert found(saved(tensors), *ONLY) == []


def test_batch_norms_that_start_at_random_do_not_show_training():
    """As transformers' MobileViT has them."""
    tensors = {f"layers.{i}.norm.weight": torch.ones(32) for i in range(3)}
    for i in range(6):
        tensors[f"stem.{i}.normalization.weight"] = noise(32, seed=i)
        tensors[f"stem.{i}.normalization.running_mean"] = torch.zeros(32)
        tensors[f"stem.{i}.convolution.weight"] = noise(32, 32, seed=10 + i)
    report(saved(tensors), "--select", "SC101,SC109", code=0)
    assert found(saved(tensors), *ONLY) == []


def test_codes_say_nothing_of_training():
    codes = {f"layers.{i}.up.qweight": torch.ones(64, 64, dtype=torch.int32) for i in range(4)}
    scales = {f"layers.{i}.up.scales": torch.ones(1, 64) for i in range(4)}
    gains = {f"layers.{i}.norm.weight": torch.ones(64) for i in range(4)}
    judged = report(saved(codes | scales | gains), "--select", "SC1", code=1)
    assert {row["rule"] for row in judged["findings"]} == {"SC107"}


def test_numbers_at_the_ends_of_their_type_are_no_internal_error():
    tensors = {f"layers.{i}.up.weight": 1e307 * noise(32, 32, seed=i).double() for i in range(3)}
    tensors |= {f"layers.{i}.norm.weight": torch.ones(32) for i in range(3)}
    tensors["layers.1.up.weight"] = torch.full((32, 32), 5e-324, dtype=torch.float64)
    assert found(saved(tensors), *ONLY) == []
