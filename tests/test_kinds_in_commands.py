"""Every command goes by what a tensor is: what is no parameter is not counted, not forecast and no
sibling, whatever it is called and however large its numbers are."""

import json
from pathlib import Path

import pytest
import torch
from checked import found, noise, report
from command import scalecheck
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import parametrizations, prune

import scalecheck as api

pytestmark = pytest.mark.usefixtures("elsewhere")

HUGE = 1e9  # one such number would decide every total that counted it
LR = ("--lr", 1e-4)


def model():
    return {f"layers.{i}.up.weight": noise(16, 8, seed=i) for i in range(4)}


def averaged():
    return {f"model_ema.{n.replace('.', '')}": HUGE * w for n, w in model().items()}


# What lies beside a model, and the kind that each of it is.
BESIDE = {
    "latent diffusion's average": ("average", averaged()),
    "an average of the same names": ("average", {f"ema.{n}": HUGE * w for n, w in model().items()}),
    "a list of averages": (
        "average",
        {f"ema.shadow_params.{i}": HUGE * w for i, w in enumerate(model().values())},
    ),
    "codes and factors": (
        "code",
        {
            "q.weight": torch.full((8, 8), 448.0).to(torch.float8_e4m3fn),
            "q.weight_scale_inv": torch.full((3, 1), HUGE),  # of no blocks of 8 rows
        },
    ),
    "codes alone": ("code", {"q.qweight": torch.full((8, 8), 2**30, dtype=torch.int32)}),
    "a schedule": (
        "buffer",
        {"betas": torch.full((1000,), HUGE), "alphas_cumprod": torch.full((1000,), HUGE)},
    ),
    "weights of classes": ("buffer", {"loss.weight": torch.full((5,), HUGE)}),
    "a metric": ("buffer", {"metric.sum_value": torch.tensor(HUGE)}),
    "alpha of LoRA": (
        "buffer",
        {"lora_q.alpha": torch.tensor(HUGE), "lora_q.lora_down.weight": noise(2, 8)},
    ),
    "a flat parameter": ("piece", {"_flat_param": torch.full((512,), HUGE)}),
    "moments": (
        "moment",
        {
            "optimizer.state.w.exp_avg": torch.full((16, 8), HUGE),
            "optimizer.state.w.step": torch.tensor(HUGE),
        },
    ),
}


@pytest.fixture(params=BESIDE)
def beside(request):
    """A file with a model and something beside it: its path, the kind of that, and its names."""
    kind, tensors = BESIDE[request.param]
    save_file(model() | tensors, "m.safetensors")
    own = {name for name in tensors if "lora_down" not in name}
    return "m.safetensors", kind, own, tensors.keys() - own


def test_only_parameters_are_counted(beside):
    path, _, _, also_trained = beside
    report = api.inspect(path)
    assert report.source["parameters"] == 4 * 128 + 16 * len(also_trained)
    assert "rms 0.02" in report.totals or "rms 0.01" in report.totals


def test_what_is_set_aside_says_what_it_is(beside):
    path, kind, own, _ = beside
    report = api.inspect(path)
    kinds = {row["name"]: row["kind"] for row in report.rows}
    codes = {entry["name"] for entry in report.skipped}
    assert {name for name, is_a in kinds.items() if is_a != "parameter"} | codes == own
    assert kind in {*kinds.values(), *(["code"] if codes else [])}
    assert codes == ({"q.weight", "q.qweight"} & own)
    assert any(note.startswith("not counted as parameters") for note in report.notes)


def test_only_parameters_are_forecast_and_the_rest_has_a_reason(beside):
    path, _, own, also_trained = beside
    report = api.translate(path, lr=1e-4)
    assert {row["name"] for row in report.rows} == model().keys() | also_trained
    assert {entry["name"] for entry in report.skipped} == own
    assert all(len(entry["reason"]) > 5 for entry in report.skipped)


def test_what_is_set_aside_is_no_finding_but_for_codes(beside):
    path, kind, own, _ = beside
    rules = found(path, *LR, "--select", "SC1")
    codes = [("SC107", name) for name in sorted(own) if name in ("q.weight", "q.qweight")]
    assert rules == codes
    assert bool(codes) is (kind == "code")


def test_a_merged_row_holds_no_average(beside):
    path, kind, _, _ = beside
    rows = api.inspect(path, by="role").rows
    (matrices,) = [row for row in rows if row["name"] == "matrix"]
    assert kind == "buffer" or matrices["numel"] == 4 * 128
    assert matrices["rms"] < 1


def test_a_change_of_what_is_no_part_of_the_model_is_no_change_of_the_model(beside):
    path, kind, own, _ = beside
    _, tensors = next(each for each in BESIDE.values() if own <= each[1].keys())
    moved = {n: t if t.dtype.itemsize == 1 else 2 * t for n, t in tensors.items() if n in own}
    save_file(model() | tensors | moved, "n.safetensors")
    said = api.diff(path, "n.safetensors").conclusion[0]
    is_unmoved = said.startswith("Nothing changed") or "together by 0 % of their norm" in said
    assert is_unmoved is (kind != "piece")


# ---- codes: no figure of them is one of a weight

CODES = {
    "mxfp4": (torch.uint8, "experts.gate_up_proj_blocks", "experts.gate_up_proj_scales"),
    "quanto": (torch.int8, "q_proj.weight._data", "q_proj.weight._scale"),
    "torchao": (torch.int8, "q_proj._weight_qdata", "q_proj._weight_scale"),
    "torchao's fp8": (torch.float8_e4m3fn, "q_proj._weight_qdata", "q_proj._weight_scale"),
    "fp8 in blocks": (torch.float8_e4m3fn, "q_proj.weight", "q_proj.weight_scale_inv"),
    "bitsandbytes": (torch.uint8, "q_proj.weight", "q_proj.weight.absmax"),
    "gptq": (torch.int32, "q_proj.qweight", "q_proj.scales"),
}


@pytest.fixture(params=CODES)
def quantised(request):
    dtype, name, factor = CODES[request.param]
    codes = torch.arange(64 * 64, dtype=torch.float32).reshape(64, 64) % 127
    before = {f"layers.{i}.{name}": codes.to(dtype) for i in range(3)}
    factors = {f"layers.{i}.{factor}": torch.full((7, 3), 1e-3) for i in range(3)}  # fit none
    save_file(before | factors | {"norm.weight": torch.ones(64)}, "m.safetensors")
    return before.keys()


def test_codes_are_never_passed(quantised):
    judged = report("m.safetensors", *LR, "--init", "torch", code=1)
    assert [(f["rule"], f["where"]) for f in judged["findings"]] == [
        ("SC107", name) for name in sorted(quantised)
    ]


def test_codes_have_no_figures(quantised):
    for done in (api.inspect("m.safetensors"), api.translate("m.safetensors", lr=1e-4)):
        assert not quantised & {row["name"] for row in done.rows}
        assert quantised <= {entry["name"] for entry in done.skipped}


def test_weights_and_codes_of_them_have_no_distance(quantised):
    weights = {name: noise(64, 64) for name in quantised}
    save_file(weights | {"norm.weight": torch.ones(64)}, "before.safetensors")
    rows = api.diff("before.safetensors", "m.safetensors").rows
    of_codes = [row for row in rows if row["name"] in quantised]
    assert {row["status"] for row in of_codes} == {"retyped"}
    assert {row["relative_change"] for row in of_codes} == {None}
    assert {row["rms_after"] for row in of_codes} == {None}


def test_equal_codes_are_identical_and_others_are_changed(quantised):
    assert {r["status"] for r in api.diff("m.safetensors", "m.safetensors").rows} == {"identical"}
    changed = load_file("m.safetensors")
    first = min(quantised)
    changed[first] = changed[first].flip(0).contiguous()
    save_file(changed, "n.safetensors")
    rows = api.diff("m.safetensors", "n.safetensors").rows
    assert {r["name"] for r in rows if r["status"] == "changed"} == {first}


def test_a_file_of_codes_alone_is_no_model_to_forecast(quantised):
    done = scalecheck("translate", "m.safetensors", *LR, "--exclude", "norm*")
    assert done.code == 2
    assert "no optimizer trains any" in done.err


# ---- siblings


def a_stack():
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Linear(32, 32) for _ in range(5)], nn.LayerNorm(32))


def test_positions_are_no_siblings_and_those_that_are_stay_so():
    net = a_stack()
    torch.save(net.state_dict(), "named.pt")
    torch.save([one.detach() for one in net.parameters()], "listed.pt")
    assert found("named.pt") == found("listed.pt") == []
    with torch.no_grad():
        net[2].weight *= 100
    torch.save(net.state_dict(), "named.pt")
    assert found("named.pt") == [("SC104", "2.weight")]


@pytest.mark.parametrize("place", ["ema", "shadow"])
def test_an_average_stays_out_of_its_models_siblings(place):
    state = a_stack().state_dict()
    torch.save({"model": state, place: {n: 1e4 * t for n, t in state.items()}}, "m.pt")
    assert found("m.pt") == []


# ---- zeros that are meant


@pytest.mark.parametrize(
    "name", ["q.lora_B.weight", "q.hada_w2_a", "q.lora_up.weight", "q.lokr_w1", "q.oft_r"]
)
def test_halves_that_libraries_start_at_zero_pass_and_others_do_not(name):
    save_file({name: torch.zeros(32, 4)}, "m.safetensors")
    assert found("m.safetensors", "--select", "SC102") == []
    save_file({"q.weight": torch.zeros(32, 4)}, "m.safetensors")
    assert found("m.safetensors", "--select", "SC102") == [("SC102", "q.weight")]


# ---- wrappers

WRAPPERS = {
    "_orig_mod.": lambda name: f"_orig_mod.{name}",
    "module.": lambda name: f"module.{name}",
    "_checkpoint_wrapped_module.": lambda name: name.replace(
        ".up.", "._checkpoint_wrapped_module.up."
    ),
    "_fsdp_wrapped_module.": lambda name: f"_fsdp_wrapped_module.{name}",
    "base_layer.": lambda name: name.replace(".weight", ".base_layer.weight"),
}


@pytest.fixture(params=WRAPPERS)
def wrapped(request):
    """The model plain and wrapped, in a file each."""
    save_file(model(), "plain.safetensors")
    names = {name: WRAPPERS[request.param](name) for name in model()}
    save_file({names[n]: w for n, w in model().items()}, "wrapped.safetensors")
    return request.param, names


def test_the_same_weights_behind_a_wrapper_are_no_difference_but_a_note(wrapped):
    part, _ = wrapped
    for sides in (("plain", "wrapped"), ("wrapped", "plain")):
        done = api.diff(*(f"{side}.safetensors" for side in sides))
        assert {row["status"] for row in done.rows} == {"identical"}
        assert f"names differ by {part}: 4 tensors are matched without" in done.notes


def test_a_baseline_knows_its_tensors_behind_a_wrapper(wrapped):
    part, names = wrapped
    done = scalecheck("inspect", "plain.safetensors", "--format", "json")
    Path("b.json").write_text(done.out)
    options = ("wrapped.safetensors", "--baseline", "b.json")
    judged = report(*options, code=0)
    assert f"baseline: names differ by {part}: 4 tensors are matched without" in judged["notes"]
    changed = {names[n]: w for n, w in model().items()}
    first = names["layers.0.up.weight"]
    save_file(changed | {first: noise(16, 4)}, "wrapped.safetensors")
    assert found(*options) == [("SC302", first)]


def test_a_state_names_its_parameters_behind_a_wrapper(wrapped):
    _, names = wrapped
    optimizer = torch.optim.AdamW([(n, nn.Parameter(w)) for n, w in model().items()], lr=1e-3)
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad = torch.ones(16, 8)
    optimizer.step()
    state = {names[n]: w for n, w in model().items()}
    torch.save({"model": state, "optimizer": optimizer.state_dict()}, "m.pt")
    done = json.loads(scalecheck("translate", "m.pt", "--format", "json").out)
    assert ("4 of 4 optimizer states are matched to tensors by the names saved with them.") in done[
        "notes"
    ]
    assert all(row["update_rms"] is not None for row in done["rows"])


def test_names_that_a_wrapper_makes_ambiguous_are_not_matched():
    save_file({"w.weight": noise(4, 4)}, "plain.safetensors")
    both = {"module.w.weight": noise(4, 4), "_orig_mod.w.weight": noise(4, 4)}
    save_file(both, "both.safetensors")
    rows = api.diff("plain.safetensors", "both.safetensors").rows
    assert [row["status"] for row in rows] == ["removed", "added", "added"]


def test_ties_behind_a_wrapper_are_counted_once():
    weight = noise(8, 4)
    torch.save({"wte.weight": weight, "head.weight": weight}, "plain.pt")
    moved = weight + 0.01
    torch.save({"module.wte.weight": moved, "module.head.weight": moved}, "wrapped.pt")
    torch.save({"wte.weight": moved, "head.weight": moved}, "unwrapped.pt")
    wrapped, plain = (api.diff("plain.pt", f"{name}wrapped.pt") for name in ("", "un"))
    assert wrapped.totals == plain.totals
    assert wrapped.rows == plain.rows


# ---- states beside an average, a schedule and masks


def test_a_state_is_named_whatever_buffers_and_averages_lie_beside_its_parameters():
    net = nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(8, 6)),
        nn.BatchNorm1d(6, affine=False),
        nn.Linear(6, 4),
    )
    prune.l1_unstructured(net[2], "weight", 0.5)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net(torch.randn(16, 8)).pow(2).mean().backward()
    optimizer.step()
    own = net.state_dict()
    average = {f"model_ema.{name.replace('.', '')}": tensor.clone() for name, tensor in own.items()}
    more = {"betas": torch.rand(1000), "loss.weight": torch.ones(8)}
    state = {"state_dict": own | average | more, "optimizer_states": [optimizer.state_dict()]}
    torch.save(state, "m.ckpt")
    count = sum(1 for _ in net.parameters())
    done = api.translate("m.ckpt")
    assert (
        f"{count} of {count} optimizer states are matched to tensors "
        "by shape and the model's order."
    ) in done.notes
    assert {row["name"] for row in done.rows} == {name for name, _ in net.named_parameters()}


def test_a_layer_has_the_scale_of_its_weights_alone():
    layer = {"block.0.up.weight": noise(16, 8), "block.0.norm.running_var": torch.full((8,), HUGE)}
    torch.save({**layer, "norm.running_var": torch.full((8,), HUGE)}, "m.pt")
    rows = {row["name"]: row for row in api.inspect("m.pt", by="layer").rows}
    weights = layer["block.0.up.weight"].double().square().mean().sqrt().item()
    assert rows["block.0"]["rms"] == pytest.approx(weights)
    assert rows["norm"]["rms"] == pytest.approx(HUGE)
