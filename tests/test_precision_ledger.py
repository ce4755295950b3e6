"""What rounding leaves of a step, beside real steps of torch."""

import json
import math

import numpy as np
import pytest
import torch
from command import scalecheck
from safetensors.torch import load_file, save_file

from scalecheck.report.formatting import rate

pytestmark = pytest.mark.usefixtures("in_project_folder")

PURE = "sample_ckpts/tiny-gpt-bf16"
SHARES = ("moves_pure", "moves_cast", "moves_stochastic")
LR = 3e-6


def ledger(path, *arguments):
    """The rows by name and the summary's figures."""
    done = scalecheck("translate", path, "--cast", "bf16", *arguments, "--format", "json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    return {row["name"]: row for row in report["rows"]}, report["summary"]["precision"]


def stochastically(numbers, generator):
    """float32 numbers in bfloat16, rounded up as often as they are near the value above."""
    words = numbers.view(torch.int32)
    bits = torch.randint(0, 1 << 16, words.shape, dtype=torch.int32, generator=generator)
    return ((words + bits) & -(1 << 16)).view(torch.float32).bfloat16()


def four_sigma(share, numel):
    return 4 * math.sqrt(share * (1 - share) / numel) + 1e-12


@pytest.mark.parametrize("lr", [3e-6, 1e-4, 3e-3])
def test_each_share_is_what_torch_rounds(tmp_path, lr):
    """Normal weights and updates: in place, in a cast of float32 weights, and stochastically."""
    generator = torch.Generator().manual_seed(0)
    masters = 0.028 * torch.randn(400, 1000, generator=generator)
    update = lr * 0.2294 * torch.randn(masters.shape, generator=generator)
    stored = masters.bfloat16()
    save_file({"a.weight": masters}, tmp_path / "model.safetensors")
    (row,) = ledger(tmp_path, "--lr", lr)[0].values()
    moved = {
        "moves_pure": stored.clone().add_(update.bfloat16()) != stored,
        "moves_cast": (masters - update).bfloat16() != stored,
        "moves_stochastic": stochastically(stored.float() - update, generator) != stored,
    }
    for name, changed in moved.items():
        share = float(changed.double().mean())
        # An update in bfloat16 is itself rounded, by at most 0.4 %.
        assert row[name] == pytest.approx(share, rel=4e-3, abs=four_sigma(share, stored.numel()))


def test_one_percent_of_a_cast_changes_at_the_lr_of_pulse(tmp_path):
    """About 99 % of bfloat16 weights do not change in a step at lr 3e-6 (arXiv 2602.03839)."""
    torch.manual_seed(0)
    weights = torch.randn(1000, 1000) * 0.019 / 0.6745  # of median |w| 0.019
    save_file({"a.weight": weights.bfloat16()}, tmp_path / "model.safetensors")
    (row,), _ = (lambda found: ([*found[0].values()], found[1]))(ledger(tmp_path, "--lr", LR))
    assert row["moves_cast"] == pytest.approx(0.0185, rel=0.01)
    assert 0.98 < 1 - row["moves_cast"] < 0.99 < 1 - row["moves_pure"]


def test_the_ledger_of_a_bfloat16_run_is_a_real_step(tmp_path):
    """AdamW on gradients of noise, in bfloat16 and without foreach: what its steps change."""
    torch.manual_seed(0)
    names, before = zip(
        *sorted(load_file(f"{PURE}/model-00001-of-00002.safetensors").items()), strict=True
    )
    weights = [torch.nn.Parameter(each.clone()) for each in before]
    optimizer = torch.optim.AdamW(weights, LR, betas=(0.9, 0.95), weight_decay=0.1, foreach=False)
    changed = total = 0
    for step in range(60):
        was = [each.detach().clone() for each in weights]
        for each in weights:
            each.grad = torch.randn(each.shape, dtype=each.dtype)
        optimizer.step()
        if step >= 40:
            changed += sum(int((a != b).sum()) for a, b in zip(was, weights, strict=True))
            total += sum(each.numel() for each in weights)
    save_file(dict(zip(names, before, strict=True)), tmp_path / "model.safetensors")
    _, figures = ledger(tmp_path, "--lr", LR, "--beta2", 0.95, "--weight-decay", 0.1)
    # Steps share their momentum: some ten of them are independent of one another.
    assert figures["moves_pure"] == pytest.approx(changed / total, rel=0.03)
    assert figures["decay_acts"] == 0


def test_a_named_state_counts_the_elements_of_its_own_step(tmp_path):
    """The last step of AdamW in bfloat16: which weights it changed, and which it did not."""
    torch.manual_seed(0)
    weights = {
        "a.weight": torch.nn.Parameter((0.02 * torch.randn(300, 400)).bfloat16()),
        "b.norm.weight": torch.nn.Parameter(torch.ones(400).bfloat16()),
    }
    scale = {n: torch.exp(2 * torch.randn(each.shape)) for n, each in weights.items()}
    optimizer = torch.optim.AdamW(weights.values(), 1e-4, weight_decay=0.0, foreach=False)
    for _ in range(5):
        was = {name: each.detach().clone() for name, each in weights.items()}
        for name, each in weights.items():
            each.grad = (scale[name] * torch.randn(each.shape)).bfloat16()
        optimizer.step()
    save_file({n: each.detach() for n, each in weights.items()}, tmp_path / "model.safetensors")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    rows, figures = ledger(tmp_path)
    for name, row in rows.items():
        share = float((was[name] != weights[name]).double().mean())
        assert row["stalled_measured"]
        assert row["moves_pure"] == pytest.approx(share, abs=0.01)
        assert row["stalled"] == 1 - row["moves_pure"]
    assert rows["b.norm.weight"]["stalled"] == 1
    assert (figures["still_tensors"], figures["first_still"]) == (1, "b.norm.weight")


def test_a_state_says_more_than_the_rms_of_its_update(tmp_path):
    """Of 64 elements 60 never had a gradient: 60 of 64 do not move, however far the others do."""
    weight = torch.nn.Parameter(torch.full((8, 8), 0.5))
    optimizer = torch.optim.AdamW([weight], 1e-3)
    weight.grad = torch.zeros(8, 8)
    weight.grad[0, :4] = 1.0
    optimizer.step()
    save_file({"a.weight": weight.detach()}, tmp_path / "model.safetensors")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    (row,) = ledger(tmp_path)[0].values()
    assert row["stalled"] == 60 / 64
    (theory,) = ledger(tmp_path, "--state", "none", "--lr", 1e-3)[0].values()
    assert theory["stalled"] < 0.01


@pytest.mark.parametrize(
    ("made", "lr"),
    [
        (torch.optim.AdamW, 1e-8),
        (lambda weights, lr: torch.optim.SGD(weights, lr, momentum=0.9), 1e-6),
    ],
    ids=["adamw", "sgd"],
)
def test_elements_of_float32_are_counted_as_torch_leaves_them(tmp_path, made, lr):
    """Gradients of many scales, as of rare features: one RMS stands for none of them."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter(0.02 * torch.randn(200, 300))
    scale = torch.exp(4 * torch.randn(200, 300))
    optimizer = made([weight], lr)
    for group in optimizer.param_groups:
        group["weight_decay"] = 0.0
    for step in range(30):
        was = weight.detach().clone()
        rare = torch.rand(200, 300) < (1.0 if step < 3 else 0.2)
        weight.grad = scale * torch.randn(200, 300) * rare
        optimizer.step()
    save_file({"a.weight": weight.detach()}, tmp_path / "model.safetensors")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    (row,) = ledger(tmp_path)[0].values()
    assert row["stalled_measured"]
    assert row["stalled"] == pytest.approx(float((was == weight).double().mean()), abs=2e-3)
    assert 0.02 < row["stalled"] < 0.98


@pytest.mark.parametrize("named", [True, False])
def test_half_of_the_elements_move_at_the_lr_that_is_told(tmp_path, named):
    torch.manual_seed(0)
    weight = torch.nn.Parameter(0.02 * torch.randn(200, 200))
    optimizer = torch.optim.AdamW([weight], 1e-4)
    for _ in range(3):
        weight.grad = torch.randn(200, 200)
        optimizer.step()
    save_file({"a.weight": weight.detach()}, tmp_path / "model.safetensors")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    state = () if named else ("--state", "none")
    (row,) = ledger(tmp_path, "--lr", 1e-4, *state)[0].values()
    (again,) = ledger(tmp_path, "--lr", row["half_moves_lr"], *state)[0].values()
    assert again["moves_pure"] == pytest.approx(0.5, abs=2e-3)


@pytest.mark.parametrize(("lr", "moved"), [(6e-4, 0.0), (3e-2, 0.75)])
def test_gains_at_one_do_not_move_below_half_a_gap(tmp_path, lr, moved):
    """1 is a power of two: the gap above it is 2^-7, below it 2^-8."""
    save_file({"a.norm.weight": torch.ones(768)}, tmp_path / "model.safetensors")
    (row,) = ledger(tmp_path, "--lr", lr)[0].values()
    assert row["moves_pure"] == pytest.approx(moved, abs=0.1)
    assert bool(row["moves_pure"]) == bool(moved)


@pytest.mark.parametrize("lr", [1e-3, 5e-3, 2e-2])
@pytest.mark.parametrize("start", [1.0, -0.5, 0.75, 0.1])
def test_a_cast_of_gains_of_one_number_changes_where_torchs_does(tmp_path, start, lr):
    """They do not lie anywhere between two values, and below a power of two the next is nearer."""
    generator = torch.Generator().manual_seed(0)
    masters = torch.full((200_000,), start)
    update = lr * 0.2293 * torch.randn(masters.shape, generator=generator)
    share = float(((masters - update).bfloat16() != masters.bfloat16()).double().mean())
    for dtype in (torch.float32, torch.bfloat16):
        save_file({"norm.weight": masters.to(dtype)}, tmp_path / "model.safetensors")
        (row,) = ledger(tmp_path, "--lr", lr)[0].values()
        assert row["moves_cast"] == pytest.approx(share, abs=four_sigma(share, 200_000) + 1e-6)


@pytest.mark.parametrize(("decay", "share"), [(0.1, 0.0), (3.0, 0.515), (4.0, 1.0)])
def test_decay_acts_from_half_a_gap_of_the_weight_on(tmp_path, decay, share):
    """lr 1e-3: 3e-3 of a weight is half a gap of those whose mantissa is above 1.3."""
    torch.manual_seed(0)
    weights = (0.02 * torch.randn(500, 500)).bfloat16()
    save_file({"a.weight": weights}, tmp_path / "model.safetensors")
    _, figures = ledger(tmp_path, "--lr", 1e-3, "--weight-decay", decay)
    real = float((weights.clone().mul_(1 - 1e-3 * decay) != weights).double().mean())
    assert figures["decay_acts"] == pytest.approx(real, abs=2e-3)
    assert figures["decay_needed"] == 2**-9


def test_sentences_say_the_figures_of_the_summary(tmp_path):
    arguments = ("translate", PURE, "--lr", LR, "--weight-decay", 0.1, "--cast", "bf16")
    said = " ".join(scalecheck(*arguments, "--verbose").out.split())
    _, figures = ledger(PURE, "--lr", LR, "--weight-decay", 0.1)
    for name in SHARES:
        assert f"{100 * figures[name]:.3g} % of the" in said
    assert f"half of them would at lr {rate(figures['half_moves_lr'])}" in said
    assert "Weight decay alone changes no weight in pure bf16" in said
    assert f"{figures['still_tensors']} of {figures['tensors']} tensors do not move" in said


def test_one_tensor_one_type_and_a_decay_above_one_read_well(tmp_path):
    """One of two tensors that does not move, an fp8 cast, lr·decay of 1,000 %."""
    tensors = {"a.weight": torch.full((40, 40), 0.02), "b.weight": torch.full((40, 40), 100.0)}
    save_file(tensors, tmp_path / "model.safetensors")
    arguments = ("--lr", 1e-1, "--weight-decay", 100, "--cast", "fp8", "--verbose")
    said = " ".join(scalecheck("translate", tmp_path, *arguments).out.split())
    assert "1 of 2 tensors does not move in pure fp8, b.weight: at least 99.9 % of it" in said
    assert "In an fp8 cast of fp32 master weights" in said
    assert "Little rounds away in fp32: at most " in said
    assert "lr·decay is at most 1,000 % per step" in said


def test_a_type_that_is_none_is_refused():
    done = scalecheck("translate", PURE, "--lr", LR, "--cast", "bf17")
    assert done.code == 2
    assert "--cast bf17" in done.err


@pytest.mark.parametrize(("cast", "dtype"), [("fp16", torch.float16), ("fp8", torch.float8_e4m3fn)])
def test_other_types_round_as_torch_does(tmp_path, cast, dtype):
    torch.manual_seed(0)
    weights = torch.randn(400, 500)
    update = 1e-2 * 0.2294 * torch.randn(400, 500)
    save_file({"a.weight": weights}, tmp_path / "model.safetensors")
    done = scalecheck("translate", tmp_path, "--lr", 1e-2, "--cast", cast, "--format", "json")
    (row,) = json.loads(done.out)["rows"]
    stored = weights.to(dtype).float()
    for name, other in (("moves_pure", stored - update), ("moves_cast", weights - update)):
        share = float((other.to(dtype).float() != stored).double().mean())
        assert row[name] == pytest.approx(share, rel=0.01, abs=four_sigma(share, 200_000))


def test_a_group_moves_as_all_its_elements_together(tmp_path):
    torch.manual_seed(0)
    tensors = {"a.weight": torch.randn(100, 100), "b.weight": 0.01 * torch.randn(300, 100)}
    save_file(tensors, tmp_path / "model.safetensors")
    rows, figures = ledger(tmp_path, "--lr", 1e-3)
    group = ledger(tmp_path, "--lr", 1e-3, "--by", "role")[0]["matrix"]
    for name in SHARES:
        together = (rows["a.weight"][name] + 3 * rows["b.weight"][name]) / 4
        assert group[name] == pytest.approx(together) == figures[name]
    lrs = [row["half_moves_lr"] for row in rows.values()]
    assert min(lrs) < group["half_moves_lr"] == figures["half_moves_lr"] < max(lrs)
    assert np.isfinite(lrs).all()


def findings(path, lr, *arguments):
    """Severity and value of SC203 by tensor, in weights that are trained in bfloat16."""
    arguments = ("--lr", lr, "--param-dtype", "bf16", "--select", "SC203", *arguments)
    done = scalecheck("check", path, *arguments, "--format", "json")
    rows = json.loads(done.out)["findings"]
    return {row["where"]: (row["severity"], row["value"]) for row in rows}


@pytest.mark.parametrize(
    ("lr", "moved", "severity"),
    [
        (2e-5, 0.054, "warning"),
        (6e-6, 0.016, "warning"),
        (1e-6, 0.0027, "warning"),
        (1e-7, 0.0003, "error"),
        (3e-4, 0.53, None),
    ],
)
def test_published_pure_bfloat16_runs_are_a_warning_and_what_stands_still_is_an_error(
    tmp_path, lr, moved, severity
):
    """torchtune publishes 2e-5, Nemotron Omni was repaired at 6e-6; weights of rms 0.02."""
    torch.manual_seed(0)
    tensors = {"a.weight": 0.02 * torch.randn(400, 500), "norm.weight": torch.ones(768)}
    save_file({n: x.bfloat16() for n, x in tensors.items()}, tmp_path / "model.safetensors")
    found = findings(tmp_path, lr)
    assert found.pop("norm.weight") == ("warning", 1.0)
    if severity is None:
        assert found == {}
    else:
        assert found["a.weight"] == (severity, pytest.approx(1 - moved, abs=0.002))


def test_a_check_counts_the_elements_of_a_named_state(tmp_path):
    weight = torch.nn.Parameter(torch.full((8, 8), 0.5).bfloat16())
    optimizer = torch.optim.AdamW([weight], 1e-2)
    weight.grad = torch.zeros(8, 8).bfloat16()
    weight.grad[:3] = 1.0
    optimizer.step()
    save_file({"a.weight": weight.detach()}, tmp_path / "model.safetensors")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    done = scalecheck("check", tmp_path, "--select", "SC203", "--format", "json")
    (row,) = json.loads(done.out)["findings"]
    assert row["value"] == 40 / 64
    assert "by the optimizer state" in row["message"]
