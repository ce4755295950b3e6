"""Kinds of input that are easily taken for others, drawn with many numbers, names and depths: what
is right is computed here, in float64."""

import random

import pytest
import torch
from checked import found, report
from safetensors.torch import save_file

import scalecheck as api

pytestmark = pytest.mark.usefixtures("elsewhere")

SEEDS = range(4)


def rms(x):
    return float(x.double().square().mean().sqrt())


# ---- optimizers that keep exp_avg and exp_avg_sq, and are not AdamW


class Drawn:
    """A run of some matrices: their moments after some steps, at settings drawn by a seed."""

    def __init__(self, seed):
        draw = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.draw, self.steps = draw, draw.randint(3, 40)
        self.b1, self.b2 = draw.choice([0.8, 0.9, 0.95]), draw.choice([0.95, 0.99, 0.999])
        self.lr = 10 ** draw.uniform(-5, -2)
        shape = draw.choice([(48, 32), (16, 80), (33, 65)])
        prefix = draw.choice(["", "model.layers.", "net.module.h."])
        names = [f"{prefix}{i}.proj.weight" for i in range(draw.randint(2, 4))]
        self.weights = {n: self.normal(shape) * draw.uniform(0.01, 0.2) for n in names}
        self.moments = {name: self._moments(shape) for name in names}

    def normal(self, shape):
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def _moments(self, shape):
        m, v = torch.zeros(shape).double(), torch.zeros(shape).double()
        for _ in range(self.steps):
            gradient = 10 ** self.draw.uniform(-5, -2) * self.normal(shape)
            m = self.b1 * m + (1 - self.b1) * gradient
            v = self.b2 * v + (1 - self.b2) * gradient.square()
        return m, v

    @property
    def corrected(self):
        """m̂ / (√v̂ + eps) of each."""
        one, two = 1 - self.b1**self.steps, 1 - self.b2**self.steps
        return {n: (m / one) / ((v / two).sqrt() + 1e-8) for n, (m, v) in self.moments.items()}

    def saved(self, group, entry, kept=None):
        """The run's file; entry: what the optimizer keeps of each, from m and v."""
        group = {"betas": (self.b1, self.b2), "eps": 1e-8, "weight_decay": 0.0, **group}
        state = {
            i: {"step": self.steps, **entry(m, v)} for i, (m, v) in enumerate(self.moments.values())
        }
        whole = {"state": state, "param_groups": [{**group, "params": [*range(len(state))]}]}
        model = {name: w.float() for name, w in self.weights.items()}
        places = self.draw.choice([("model", "optimizer"), ("state_dict", "optimizer_states")])
        torch.save({places[0]: model, places[1]: [whole] if "_" in places[1] else whole}, "run.pt")
        return {row["name"]: row for row in api.translate("run.pt").rows}


def adam(m, v):
    return {"exp_avg": m, "exp_avg_sq": v}


@pytest.fixture(params=SEEDS)
def drawn(request):
    return Drawn(request.param)


def close(rows, weights, right, name):
    for tensor, weight in weights.items():
        row = rows[tensor]
        assert row["optimizer"] == name
        assert row["relative_update"] == pytest.approx(right[tensor] / rms(weight), rel=1e-5)


def test_an_optimizer_without_bias_correction_is_read_so(drawn):
    rows = drawn.saved({"lr": drawn.lr, "correct_bias": False}, adam)
    right = {n: drawn.lr * rms(m / (v.sqrt() + 1e-8)) for n, (m, v) in drawn.moments.items()}
    close(rows, drawn.weights, right, "adamw_hf")


def test_lamb_moves_a_matrix_by_lr_of_itself(drawn):
    group = {"bias_correction": True, "grad_averaging": True, "max_grad_norm": 1.0}
    rows = drawn.saved({"lr": drawn.lr, **group}, adam)
    close(rows, drawn.weights, {n: drawn.lr * rms(w) for n, w in drawn.weights.items()}, "lamb")


def test_prodigy_moves_by_its_d(drawn):
    d = 10 ** drawn.draw.uniform(-6, -3)
    group = {"lr": 1.0, "d": d, "d0": 1e-6, "d_max": d, "d_numerator": 0.1, "d_coef": 1.0}
    group |= {"growth_rate": float("inf"), "use_bias_correction": False, "k": drawn.steps}

    def entry(m, v):
        zeros = torch.zeros(m.shape)
        return {"exp_avg": d * m, "exp_avg_sq": d * d * v, "s": zeros, "p0": zeros}

    right = {
        n: d * rms(d * m / ((d * d * v).sqrt() + d * 1e-8)) for n, (m, v) in drawn.moments.items()
    }
    close(drawn.saved(group, entry), drawn.weights, right, "prodigy")


def test_plain_adamw_stays_what_it_is(drawn):
    flags = dict.fromkeys(("amsgrad", "maximize", "capturable", "differentiable"), False)
    group = {"lr": drawn.lr, **flags, "foreach": None, "fused": None}
    right = {n: drawn.lr * rms(u) for n, u in drawn.corrected.items()}
    close(drawn.saved(group, adam), drawn.weights, right, "adamw")


@pytest.mark.parametrize("more", ["trust", "hessian_power", "use_foo", "d_scale"])
def test_a_setting_that_no_program_saves_has_no_update_and_no_finding(drawn, more):
    rows = drawn.saved({"lr": drawn.lr, more: 0.5}, adam)
    assert {row["optimizer"] for row in rows.values()} == {"not known"}
    assert {(row["relative_update"], row["update_rms"]) for row in rows.values()} == {(None, None)}
    assert found("run.pt", "--select", "SC101,SC107,SC2") == []


# ---- buffers and averages beside a model


@pytest.fixture(params=SEEDS)
def beside(request):
    """A model of a drawn depth, and what lies beside it with numbers that would decide a total."""
    draw = random.Random(request.param)
    generator = torch.Generator().manual_seed(request.param)
    prefix = draw.choice(["", "model.", "net.encoder."])
    width = draw.choice([8, 24])
    model = {
        f"{prefix}blocks.{i}.fc.{word}": 0.1 * torch.randn(shape, generator=generator)
        for i in range(draw.randint(3, 6))
        for word, shape in (("weight", (width, width)), ("bias", (width,)))
    }
    huge = 10 ** draw.uniform(3, 12)
    others = {
        "loss_fn.weight": torch.full((7,), huge),
        f"{prefix}metric.sum_value": torch.tensor(huge),
        f"{prefix}blocks.0.bn.running_var": torch.full((width,), huge),
        f"{prefix}blocks.0.bn.num_batches_tracked": torch.tensor(5),
        "alphas_cumprod": torch.full((500,), huge),
        "sqrt_recip_alphas_cumprod": torch.full((500,), huge),
        "lora_q.alpha": torch.tensor(huge),
        f"{prefix}blocks.1.fc.k_scale": torch.tensor(huge),
    }
    return model, others, huge


def test_totals_are_of_the_parameters_alone(beside):
    model, others, _ = beside
    save_file(model | others, "m.safetensors")
    seen = api.inspect("m.safetensors")
    assert seen.source["parameters"] == sum(w.numel() for w in model.values())
    assert {r["name"] for r in seen.rows if r["kind"] == "parameter"} == model.keys()
    every = torch.cat([w.flatten() for w in model.values()])
    assert f"rms {rms(every):.4g}" in seen.totals
    assert {r["name"] for r in api.translate("m.safetensors", lr=1e-4).rows} == model.keys()
    assert found("m.safetensors", "--select", "SC1", "--lr", "1e-4") == []


@pytest.mark.parametrize("place", ["model_ema.", "ema_model.", "ema.shadow."])
def test_an_average_of_the_model_is_no_part_of_it(beside, place):
    model, _, huge = beside
    copies = {place + name: huge * w for name, w in model.items()}
    save_file(model | copies, "m.safetensors")
    seen = api.inspect("m.safetensors")
    assert seen.source["parameters"] == sum(w.numel() for w in model.values())
    assert {r["name"] for r in seen.rows if r["kind"] == "average"} == copies.keys()
    assert report("m.safetensors", "--select", "SC1", code=0)["findings"] == []


# ---- fp8 whose scale lies in another tensor


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("codes", "factor"),
    [
        ("weight", "weight_scale_inv"),
        ("weight", "scale_weight"),
        ("_weight_qdata", "_weight_scale"),
        ("weight.qdata", "weight.scale"),
        ("kernel", "kernel_scale"),
    ],
)
def test_scaled_fp8_has_the_scale_of_its_weights(seed, codes, factor):
    """Neither near the limit of its type, nor as small a relative update as codes have."""
    draw = random.Random(seed)
    place = draw.choice(["up.", "layers.{}.mlp.up.", "0.blocks.{}.fc."])
    tensors, weights, before = {}, {}, {}
    name = "kernel" if codes == "kernel" else "weight"
    for i in range(draw.choice([3, 5])):
        weight = 0.02 * torch.randn(draw.choice([16, 64]), 32)
        scale = weight.abs().max() / 448
        module = place.format(i)
        tensors[module + codes] = (weight / scale).to(torch.float8_e4m3fn)
        tensors[module + factor] = scale.reshape(1, 1)
        weights[module + name] = tensors[module + codes].double() * scale.double()
        before[module + name] = weight
    save_file(tensors, "m.safetensors")
    save_file(before, "before.safetensors")
    assert report("m.safetensors", "--lr", "1e-4", code=0)["findings"] == []
    rows = {row["name"]: row for row in api.inspect("m.safetensors").rows}
    for name, weight in weights.items():
        assert rows[name]["rms"] == pytest.approx(rms(weight), rel=1e-12)
        assert rows[name]["dtype"] == "FP8 per tensor"
    for row in api.translate("m.safetensors", lr=1e-4).rows:
        expected = 1e-4 * row["update_rms_expected"] / rms(weights[row["name"]])
        assert row["relative_update"] == pytest.approx(expected, rel=1e-12)
    for row in api.diff("before.safetensors", "m.safetensors", match=[*weights]).rows:
        weight, old = weights[row["name"]], before[row["name"]].double()
        assert row["relative_change"] == pytest.approx(rms(weight - old) / rms(old), rel=1e-9)
