"""Two models without a tensor in common are said to be so, and a check that could not judge
anything is no pass."""

import json

import pytest
import torch
from checked import noise, refused, report, saved
from command import scalecheck
from safetensors.torch import save_file

from scalecheck.rules.contract import registered

pytestmark = pytest.mark.usefixtures("elsewhere")

PLAIN = {f"layers.{i}.up.weight": noise(8, 4, seed=i) for i in range(4)}
WRAPPERS = (
    "module.",
    "_orig_mod.",
    "module._orig_mod.",
    "_fsdp_wrapped_module.",
    "_forward_module.",
    "base_model.model.",
)
INSIDE = ("_checkpoint_wrapped_module", "base_layer", "original_module", "modules_to_save.default")


def renamed(prefix, tensors=PLAIN):
    return {prefix + name: tensor.clone() for name, tensor in tensors.items()}


def baseline_of(tensors):
    path = saved({name: tensor.clone() for name, tensor in tensors.items()}, "before.safetensors")
    assert scalecheck("check", path, "--baseline", "good.json", "--update-baseline").code == 0
    return "--baseline", "good.json"


def first_line(before, after):
    save_file({n: t.clone() for n, t in before.items()}, "a.safetensors")
    save_file({n: t.clone() for n, t in after.items()}, "b.safetensors")
    done = scalecheck("diff", "a.safetensors", "b.safetensors")
    assert (done.code, done.err) == (0, "")
    return done.out.splitlines()[0]


OTHER = {f"h.{i}.q": noise(4, 4, seed=i) for i in range(6)}


def test_diff_says_first_that_no_tensor_is_shared():
    assert first_line(PLAIN, OTHER) == (
        "Nothing is compared: no tensor is shared: 4 tensors before, 6 after."
    )
    done = scalecheck("diff", "a.safetensors", "b.safetensors", "--format", "json")
    summary = json.loads(done.out)["summary"]
    assert [summary[name] for name in ("tensors_before", "tensors_after", "shared")] == [4, 6, 0]
    assert summary["statuses"] == {"added": 6, "removed": 4}
    assert summary["relative_change"] is None


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("", "model.", "4 names differ only by the prefix `model.`, not before"),
        ("net.model.", "", "4 names differ only by the prefix `net.model.`, not after"),
        ("a.", "b.c.", "4 names differ by a prefix only: `a.` became `b.c.`"),
    ],
)
def test_a_prefix_that_makes_all_names_differ_is_named(before, after, said):
    line = first_line(renamed(before), renamed(after))
    assert line == (f"Nothing is compared: no tensor is shared: 4 tensors before, 4 after; {said}.")


def test_ends_of_names_with_other_shapes_are_no_other_prefix():
    other = {f"model.{name}": noise(3, 3) for name in PLAIN}
    assert first_line(PLAIN, other).endswith("4 tensors before, 4 after.")


def test_one_shared_tensor_is_enough_to_compare():
    line = first_line(PLAIN, OTHER | {"layers.0.up.weight": noise(8, 4)})
    assert line.startswith("1 of 10 tensors changed, 6 were added, 3 were removed: ")


@pytest.mark.parametrize("rule", ["SC301", "SC302"])
def test_a_baseline_of_another_model_fails_each_of_its_rules(rule):
    options = baseline_of(OTHER)
    judged = report(saved(PLAIN), *options, "--select", rule, code=1)
    first = judged["findings"][0]
    assert (first["rule"], first["where"], first["severity"]) == (rule, "", "error")
    assert first["message"].startswith("no tensor is shared: 6 tensors in the baseline, 4 in the")


def test_a_baseline_with_one_tensor_in_common_is_of_the_same_model():
    options = baseline_of(OTHER | {"layers.0.up.weight": PLAIN["layers.0.up.weight"]})
    judged = report(saved(PLAIN), *options, "--select", "SC3", code=1)
    assert {f["rule"] for f in judged["findings"]} == {"SC302"}
    assert "" not in {f["where"] for f in judged["findings"]}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_on_one_side_is_no_difference_and_said(wrapper):
    options = baseline_of(PLAIN)
    judged = report(saved(renamed(wrapper)), *options, "--select", "SC3", code=0)
    assert any(note.startswith("baseline: names differ by ") for note in judged["notes"])
    done = scalecheck("diff", "before.safetensors", "model.safetensors")
    assert "Nothing changed: 4 tensors with 128 elements are identical." in done.out
    assert "names differ by " in done.out


@pytest.mark.parametrize("part", INSIDE)
def test_a_wrapper_inside_of_a_name_is_no_difference_and_said(part):
    wrapped = {name.replace("up.", f"up.{part}."): tensor for name, tensor in PLAIN.items()}
    options = baseline_of(wrapped)
    judged = report(saved(PLAIN), *options, "--select", "SC3", code=0)
    assert any("names differ by " in note for note in judged["notes"])


def test_a_parametrization_on_one_side_is_no_difference():
    wrapped = {n.replace("weight", "parametrizations.weight.original"): t for n, t in PLAIN.items()}
    report(saved(wrapped), *baseline_of(PLAIN), "--select", "SC3", code=0)


# ---- a check in which no rule could run


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--select", "SC301"), "SC301 (needs --baseline)"),
        (("--select", "SC3"), "SC301, SC302 (needs --baseline)"),
        (("--select", "SC201"), "SC201 (needs --lr or an optimizer state)"),
        (("--select", "SC105,SC301"), "SC105 (needs --init); SC301 (needs --baseline)"),
    ],
)
def test_a_check_in_which_no_rule_could_run_is_no_pass(options, why):
    line = refused(saved(PLAIN), *options)
    start = "scalecheck: model.safetensors: nothing was checked, as no rule could run: "
    assert line == f"{start}{why}\n"


@pytest.mark.parametrize("form", ["json", "sarif", "github", "junit"])
def test_no_format_makes_a_pass_of_it(form):
    done = scalecheck("check", saved(PLAIN), "--select", "SC301", "--format", form)
    assert (done.code, done.out) == (2, "")


def test_a_rule_that_could_not_run_beside_one_that_did_is_said_to_be_not_run():
    judged = report(saved(PLAIN), "--select", "SC101,SC301", code=0)
    statuses = {row["rule"]: (row["status"], row["reason"]) for row in judged["rules"]}
    assert statuses == {"SC101": ("passed", ""), "SC301": ("not run", "needs --baseline")}


def test_an_update_that_is_not_known_is_no_pass_of_the_rules_on_updates():
    """The state is one that no program is known to save."""
    state = {0: {"step": 20, "exp_avg_sq": torch.ones(16, 8), "other": torch.ones(16, 8)}}
    groups = [{"lr": 1e-3, "scale_of_it": True, "params": [0]}]
    run = {"model": {"w": noise(16, 8)}, "optimizer": {"state": state, "param_groups": groups}}
    torch.save(run, "run.pt")
    assert "SC201 (optimizer not known" in refused("run.pt", "--select", "SC201")
    assert report("run.pt", "--select", "SC1,SC201", code=0)["summary"]["rules_run"] > 3


def test_a_rule_on_weights_that_finds_none_of_its_kind_is_not_run_and_exits_0():
    judged = report(saved({"w.weight": noise(8, 4)}), "--select", "SC104", code=0)
    assert [(r["status"], r["reason"]) for r in judged["rules"]] == [
        ("not run", "no families of three tensors")
    ]


@pytest.mark.parametrize("code", registered())
@pytest.mark.parametrize("shape", [(8, 4), (8,), (0, 4)])
def test_a_rule_that_did_not_run_alone_is_no_pass_that_looks_like_one(code, shape):
    """It is refused, or the last line says that nothing was judged."""
    done = scalecheck("check", saved({"w.weight": noise(*shape)}), "--select", code)
    has_run = " 1 rule run\n" in done.out
    assert has_run or done.code == 2 or "\nnothing was judged in 1 tensor; " in done.out


def test_a_rule_on_weights_of_which_some_were_not_measured_is_no_pass():
    tensors = {"w.qweight": torch.ones(8, 4, dtype=torch.int32), "w.scales": torch.ones(1, 4)}
    assert "SC102 (no matrices" in refused(saved(tensors), "--select", "SC102")
