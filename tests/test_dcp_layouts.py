"""What folders of torch.distributed.checkpoint hold beside plain tensors: files without elements,
dicts that were empty, copies of the model, objects of a trainer."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from dcp_files import Folder
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex
from torch.distributed.checkpoint.state_dict import get_state_dict

import scalecheck as api
from scalecheck import open_checkpoint

pytestmark = [
    pytest.mark.usefixtures("elsewhere"),
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled"),  # as no_dist asks for
]


def save(state):
    dcp.save(state, checkpoint_id="run", no_dist=True)
    return Path("run")


def write(folder):
    Path("run").mkdir()
    folder.write(Path("run"))
    return Path("run")


def test_an_optimizer_that_keeps_nothing_tells_its_lr():
    """torch leaves out its `state`, an empty dict."""
    model = torch.nn.Linear(5, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    model(torch.ones(5)).sum().backward()
    optimizer.step()
    own, state = get_state_dict(model, optimizer)
    report = api.translate(save({"model": own, "optim": state}))
    assert [row["lr"] for row in report.rows] == [0.05, 0.05]
    assert (
        "2 of 2 optimizer states are matched to tensors by the names saved with them."
    ) in report.notes


def test_an_optimizer_state_is_noted_once():
    state = {"state": {"w": {"exp_avg": torch.ones(2, 2)}}, "param_groups": [{"params": ["w"]}]}
    notes = api.inspect(save({"model": {"w": torch.ones(2, 2)}, "optim": state})).notes
    assert [note for note in notes if "optimizer state" in note] == [
        "It also holds an optimizer state of 1 tensor, which is not inspected."
    ]


def test_files_of_ranks_without_elements_are_not_said_to_be_left_out():
    folder = Folder()
    folder.add(("w",), torch.ones(1))
    nothing = torch.Size((1,))
    folder.entries["w"].chunks.append(ChunkStorageMetadata(nothing, torch.Size((0,))))
    folder.put(MetadataIndex("w", nothing, 1), 1, torch.ones(0))
    folder.data |= {"__2_0.distcp": b"", "__3_0.distcp": b"of another save"}
    notes = api.inspect(write(folder)).notes
    assert notes == ["not read, as the index does not name them: __3_0.distcp"]


def test_an_object_of_tensors_is_not_said_to_be_left_out():
    path = save({"model": {"pair": (torch.ones(2), torch.ones(3))}, "epoch": 3})
    report = api.inspect(path)
    assert [row["name"] for row in report.rows] == ["pair.0", "pair.1"]
    assert report.notes == ["beside the tensors, not inspected: epoch (1 value)"]


def test_lightnings_counters_are_no_weights():
    path = save({"model": {"w": torch.ones(2, 2)}})
    torch.save({"epoch": 3}, path / "meta.pt")
    assert api.inspect(path).notes == ["beside the model, not inspected: meta.pt"]


def test_a_copy_of_the_model_is_not_tied_to_it():
    model = {"emb.weight": torch.randn(5, 4), "b": torch.ones(3)}
    state = {"state": {"emb.weight": {"exp_avg": torch.randn(5, 4)}}, "param_groups": []}
    both = model | {"head.weight": model["emb.weight"]}
    found = open_checkpoint(save({"model": both, "ema": both, "optimizer": state})).tensors
    assert {one.name: one.tied_to for one in found if one.tied_to} == {"head.weight": "emb.weight"}


def test_numbers_inside_objects_are_named_and_hinder_nothing():
    model = torch.nn.Linear(5, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model(torch.ones(5)).sum().backward()
    optimizer.step()
    own, state = get_state_dict(model, optimizer)
    loader = {"seen": np.arange(100.0), "keyed": {torch.ones(3): 1}}
    path = save({"model": own, "optim": state, "loader": loader, "whole": [optimizer]})
    report = api.translate(path, "adam", state=f"{path}::optim")
    assert [row["update_rms"] for row in report.rows] == pytest.approx([1.0, 1.0], rel=1e-4)
    reasons = {one["name"]: one["reason"] for one in api.inspect(path).skipped}
    assert reasons["loader.seen"] == "a numpy array in the pickle: save it as a tensor"
