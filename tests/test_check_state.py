"""What `scalecheck check` says of optimizer states."""

import pytest
import torch
from checked import found, noise, report
from command import scalecheck

pytestmark = pytest.mark.usefixtures("elsewhere")


def _trained(make, **plant):
    """A training checkpoint of two steps, with a number put into states of the second weight."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(32, 48), torch.nn.Linear(48, 40))
    optimizer = make(model.parameters())
    for _ in range(2):
        model(noise(16, 32)).square().mean().backward()
        optimizer.step()
    state = optimizer.state_dict()
    for name, number in plant.items():
        entry = state["state"][2]
        if number is None:
            del entry[name]
        elif entry[name].ndim:
            entry[name].view(-1)[3] = number
        else:
            entry[name].fill_(number)
    torch.save({"model": model.state_dict(), "optimizer": state}, "run.pt")
    return "run.pt"


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.RMSprop(p, 1e-4),
        lambda p: torch.optim.RMSprop(p, 1e-4, centered=True, momentum=0.9),
        lambda p: torch.optim.Adadelta(p, 1e-2),
        lambda p: torch.optim.Adagrad(p, 1e-4),
        lambda p: torch.optim.Adamax(p, 1e-4),
        lambda p: torch.optim.NAdam(p, 1e-4),
        lambda p: torch.optim.RAdam(p, 1e-4),
        lambda p: torch.optim.Rprop(p, 1e-4),
        lambda p: torch.optim.Adafactor(p, 1e-4),
        lambda p: torch.optim.ASGD(p, 1e-4),
        lambda p: torch.optim.SGD(p, 1e-4, momentum=0.9),
    ],
)
def test_the_state_of_every_optimizer_of_torch_is_judged_without_an_internal_error(make):
    done = scalecheck("check", _trained(make))
    assert done.code in (0, 1), done.err


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda p: torch.optim.AdamW(p, 1e-4), "exp_avg"),
        (lambda p: torch.optim.AdamW(p, 1e-4), "exp_avg_sq"),
        (lambda p: torch.optim.AdamW(p, 1e-4, amsgrad=True), "max_exp_avg_sq"),
        (lambda p: torch.optim.SGD(p, 1e-4, momentum=0.9), "momentum_buffer"),
        (lambda p: torch.optim.RMSprop(p, 1e-4), "square_avg"),
        (lambda p: torch.optim.Adagrad(p, 1e-4), "sum"),
        (lambda p: torch.optim.Adamax(p, 1e-4), "exp_inf"),
        (lambda p: torch.optim.Adadelta(p, 1e-2), "acc_delta"),
        (lambda p: torch.optim.Adafactor(p, 1e-4), "row_var"),
        (lambda p: torch.optim.Rprop(p, 1e-4), "prev"),
    ],
)
def test_a_number_that_is_not_finite_in_any_state_is_an_error(make, name, number):
    path = _trained(make, **{name: number})
    errors = [row["where"] for row in report(path)["findings"] if row["severity"] == "error"]
    assert errors == ["1.weight"]


@pytest.mark.parametrize("plant", [{"step": None}, {"exp_avg": None}, {"step": 0.0}])
def test_a_second_moment_that_was_not_read_is_not_passed(plant):
    path = _trained(lambda p: torch.optim.AdamW(p, 1e-4), exp_avg_sq=float("nan"), **plant)
    assert "1.weight" in {where for _, where in found(path)}


def test_a_state_of_step_0_is_no_internal_error():
    done = scalecheck("check", _trained(lambda p: torch.optim.AdamW(p, 1e-4), step=0.0))
    assert done.code in (0, 1, 3), done.err


def test_a_group_without_an_lr_leaves_the_others_to_be_judged():
    model = torch.nn.Sequential(torch.nn.Linear(32, 48), torch.nn.Linear(48, 40))
    groups = [{"params": model[0].parameters()}, {"params": model[1].parameters(), "lr": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    model(noise(16, 32)).square().mean().backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "run.pt")
    assert ("SC201", "0.weight") in found("run.pt")


def test_codes_of_a_state_are_not_passed_for_their_factors():
    """As of bitsandbytes, whose maps and block maxima are floats."""
    model = torch.nn.Linear(32, 48)
    kept = {"state1": torch.ones(48, 32).byte(), "qmap1": noise(256), "absmax1": torch.ones(6)}
    state = {0: {"step": 9, "__bnb_optimizer_quant_state__": kept}}
    groups = [{"lr": 1e-3, "betas": (0.9, 0.999), "params": [0]}]
    optimizer = {"state": state, "param_groups": groups}
    torch.save({"model": model.state_dict(), "optimizer": optimizer}, "run.pt")
    said = [row["message"] for row in report("run.pt")["findings"] if row["rule"] == "SC205"]
    assert said == ["1 states hold U8 and were not judged"]


def test_states_of_integers_are_not_passed():
    model = torch.nn.Linear(32, 48)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    model(noise(16, 32)).square().mean().backward()
    optimizer.step()
    state = optimizer.state_dict()
    for entry in state["state"].values():
        entry["exp_avg"] = entry["exp_avg_sq"] = torch.ones_like(entry["exp_avg"]).byte()
    torch.save({"model": model.state_dict(), "optimizer": state}, "run.pt")
    judged = report("run.pt")
    said = [row["message"] for row in judged["findings"] if row["rule"] == "SC205"]
    assert said == ["2 states hold U8 and were not judged"]


def test_a_second_moment_below_zero_is_an_error():
    path = _trained(lambda p: torch.optim.AdamW(p, 1e-4), exp_avg_sq=-1.0)
    (finding,) = (row for row in report(path)["findings"] if row["rule"] == "SC205")
    assert finding["message"] == "exp_avg_sq is negative, down to -1.000"


def test_a_group_of_lr_0_beside_others_is_not_trained():
    model = torch.nn.Sequential(torch.nn.Linear(32, 48), torch.nn.Linear(48, 40))
    groups = [{"params": model[0].parameters()}, {"params": model[1].parameters(), "lr": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4)
    model(noise(16, 32)).square().mean().backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "run.pt")
    said = "2 of 4 tensors are not trained (its group has lr 0). Pass --state none to forecast all."
    assert said in report("run.pt")["notes"]


def test_a_parameter_that_never_had_a_gradient_has_no_update_to_judge():
    """A frozen layer is given to the optimizer as all others are, which keeps nothing for it."""
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 8))
    model[0].requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for seed in range(5):
        optimizer.zero_grad()
        model(noise(8, 8, seed=seed)).square().mean().backward()
        optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "run.pt")
    judged = report("run.pt", "--select", "SC201", code=1)
    assert {row["where"] for row in judged["findings"]} == {"2.weight"}
    words = "2 of 4 tensors are not trained (empty state, because it had no gradient)"
    assert any(note.startswith(words) for note in judged["notes"])


def test_a_rule_that_did_not_run_gives_the_reason_of_its_own_tensors():
    """Of two vectors one is trained: that says nothing of matrices, and there is no embedding."""
    torch.manual_seed(0)
    model = {"a.weight": noise(8, 4), "a.bias": noise(8), "b.bias": noise(8)}
    parameters = [torch.nn.Parameter(model[name]) for name in ("a.weight", "a.bias")]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    torch.save({"model": model, "optimizer": optimizer.state_dict()}, "run.pt")
    reasons = {rule["rule"]: rule["reason"] for rule in report("run.pt")["rules"]}
    assert (
        reasons["SC206"] == "no embeddings with an expected update, past the start of a pretraining"
    )
    assert reasons["SC207"] == "no matrices that weight decay had time for"


@pytest.mark.parametrize(
    ("name", "severity"),
    [("h.0.attn.k_proj.bias", "note"), ("h.0.mlp.bias", "warning"), ("k.bias.net.bias", "warning")],
)
def test_a_bias_of_keys_below_eps_is_a_note(name, severity):
    """Softmax ignores what all keys share, so that its gradient is rounding."""
    parameter = torch.nn.Parameter(noise(64))
    optimizer = torch.optim.AdamW([parameter], lr=1e-4)
    parameter.grad = 1e-12 * torch.ones(64)
    optimizer.step()
    torch.save({"model": {name: parameter.data}, "optimizer": optimizer.state_dict()}, "run.pt")
    assert [f["severity"] for f in report("run.pt", "--select", "SC204")["findings"]] == [severity]
