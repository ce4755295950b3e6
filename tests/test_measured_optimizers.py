"""Every optimizer that was tried is read right, or said to be not known: the recorded table."""

import json

from measure_optimizers import RESULT

RESULTS = json.loads(RESULT.read_text("utf-8"))


def test_no_optimizer_is_measured_wrongly():
    """A measured update is within 1 % of what the last step did."""
    wrong = {name: one["worst"] for name, one in RESULTS.items() if (one.get("worst") or 0) > 0.01}
    assert wrong == {}


def test_what_is_not_known_has_no_measured_update():
    for name, one in RESULTS.items():
        if one.get("optimizers") == ["not known"]:
            assert one["measured"] == 0, name


def test_what_is_read_is_recorded():
    """The table holds more than a hundred optimizers, and some of them are measured."""
    measured = {name for name, one in RESULTS.items() if one.get("measured")}
    assert len(RESULTS) > 100
    assert {"pytorch_optimizer.adamw", "prodigyopt.Prodigy", "torch.optim.Adamax"} <= measured
