"""Models in memory whose tensors are not there, or are held in a way of their own."""

import pytest
import torch

import scalecheck
from scalecheck import CheckpointError, open_checkpoint
from scalecheck.checkpoint.live.models import checkpoint_of


def trained():
    model = torch.nn.Linear(6, 5)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model(torch.ones(6)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_memory_that_was_freed_is_said_to_be():
    """As FSDP frees that of the parameters between two uses."""
    model, optimizer = trained()
    model.weight.untyped_storage().resize_(0)
    [skipped] = scalecheck.inspect(model).skipped
    assert skipped["name"] == "weight"
    assert skipped["reason"] == "its memory was freed: its storage has 0 bytes"
    optimizer.state[model.bias]["exp_avg"].untyped_storage().resize_(0)
    assert scalecheck.translate(model, optimizer)["bias"]["update_rms"] is None


def test_memory_that_is_freed_before_it_is_read_is_an_error():
    model, _ = trained()
    checkpoint = checkpoint_of(model)
    model.weight.untyped_storage().resize_(0)
    with pytest.raises(CheckpointError, match="Linear: the memory of one of its tensors was freed"):
        scalecheck.inspect(checkpoint)


def test_an_optimizer_that_is_given_twice_counts_once():
    model, optimizer = trained()
    report = scalecheck.translate(model, [optimizer, optimizer])
    assert report["weight"]["update_rms"] == pytest.approx(1, rel=1e-4)
    assert any(note.startswith("2 parameters of the optimizer named") for note in report.notes)


class Packed(torch.nn.Module):
    """Codes that are no parameter, as torch.ao keeps them."""

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        destination[f"{prefix}packed"] = (torch.ones(8, 8, dtype=torch.int8), torch.ones(8))


def test_codes_of_a_module_without_parameters_are_named():
    report = scalecheck.inspect(torch.nn.Sequential(Packed(), torch.nn.Linear(2, 2)))
    assert [one["name"] for one in report.skipped] == ["0.packed.0"]
    assert [row["name"] for row in report.rows] == ["0.packed.1", "1.weight", "1.bias"]


def test_the_state_of_random_numbers_is_no_weight(tmp_path):
    state = {"model": {"w.weight": torch.ones(4, 4)}, "rng": {"cpu": torch.get_rng_state()}}
    torch.save(state, tmp_path / "a.pt")
    [_, random] = open_checkpoint(tmp_path / "a.pt").tensors
    assert random.kind.kind == "buffer"
