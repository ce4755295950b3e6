"""Tensor-parallel slices in the files consolidated.NN.pth of Llama are put together where names and
sizes say for certain how each tensor was cut."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import scalecheck as api

pytestmark = pytest.mark.usefixtures("elsewhere")

DIM, HEADS, FFN, VOCAB = 16, 8, 24, 40
PARAMS = {"dim": DIM, "n_layers": 2, "n_heads": HEADS, "norm_eps": 1e-5, "vocab_size": -1}


def model(kv=HEADS, head=DIM // HEADS):
    """Each tensor of a model with the axis along which Llama cuts it, None for none."""
    torch.manual_seed(3)
    found = {"tok_embeddings.weight": (torch.randn(VOCAB, DIM), 1)}
    for layer in range(2):
        at = f"layers.{layer}."
        found |= {
            f"{at}attention.wq.weight": (torch.randn(HEADS * head, DIM), 0),
            f"{at}attention.wk.weight": (torch.randn(kv * head, DIM), 0),
            f"{at}attention.wv.weight": (torch.randn(kv * head, DIM), 0),
            f"{at}attention.wo.weight": (torch.randn(DIM, HEADS * head), 1),
            f"{at}feed_forward.w1.weight": (torch.randn(FFN, DIM), 0),
            f"{at}feed_forward.w2.weight": (torch.randn(DIM, FFN), 1),
            f"{at}feed_forward.w3.weight": (torch.randn(FFN, DIM), 0),
            f"{at}attention_norm.weight": (torch.rand(DIM), None),
            f"{at}ffn_norm.weight": (torch.rand(DIM), None),
        }
    found |= {"norm.weight": (torch.rand(DIM), None), "output.weight": (torch.randn(VOCAB, DIM), 0)}
    return found


def saved(tensors, ranks, params=PARAMS, skip=()):
    for rank in {*range(ranks)} - {*skip}:
        part = {
            name: one if axis is None else one.chunk(ranks, axis)[rank].clone()
            for name, (one, axis) in tensors.items()
        }
        torch.save(part, f"consolidated.{rank:02}.pth")
    if params is not None:
        Path("params.json").write_text(json.dumps(params))


def opened():
    return {tensor.name: tensor for tensor in api.open_checkpoint(".").tensors}


@pytest.mark.parametrize("ranks", [2, 4, 8])
@pytest.mark.parametrize("params", [PARAMS, None])
def test_slices_are_put_together(ranks, params):
    tensors = model()
    saved(tensors, ranks, params)
    found = opened()
    assert found.keys() == tensors.keys()
    for name, (whole, _) in tensors.items():
        np.testing.assert_array_equal(found[name].words(), whole.numpy())
        assert found[name].kind.is_parameter
        assert found[name].kind.kind == "parameter"


def test_embeddings_cut_along_the_vocabulary_and_shared_key_heads():
    tensors = model(kv=4)
    tensors["tok_embeddings.weight"] = (tensors["tok_embeddings.weight"][0], 0)
    saved(tensors, 2, PARAMS | {"n_kv_heads": 4, "vocab_size": VOCAB})
    found = opened()
    for name, (whole, _) in tensors.items():
        np.testing.assert_array_equal(found[name].words(), whole.numpy())


def test_heads_wider_than_the_model():
    tensors = model(head=4)
    saved(tensors, 2, PARAMS | {"head_dim": 4})
    assert opened()["layers.0.attention.wo.weight"].shape == (DIM, HEADS * 4)


def test_a_missing_slice_is_named_with_what_it_takes_along():
    saved(model(), 4, skip=[2])
    found = opened()
    assert "of 256 elements are in no file" in found["layers.0.attention.wq.weight"].unmeasured
    assert found["norm.weight"].unmeasured is None
    notes = "\n".join(api.inspect(".").notes)
    assert "1 rank of 4 is missing (2): not complete without: tok_embeddings.weight" in notes


def as_slices():
    found = opened()
    return found and all(t.kind.kind == "piece" for n, t in found.items() if "rank" in n)


@pytest.mark.parametrize(
    "params",
    [
        PARAMS | {"dim": 32},
        PARAMS | {"vocab_size": VOCAB + 1},
        PARAMS | {"n_kv_heads": 4},
        PARAMS | {"head_dim": 4},
        PARAMS | {"head_dim": "4"},
        ["no", "object"],
    ],
)
def test_sizes_that_do_not_fit_leave_slices(params):
    saved(model(), 2, params)
    assert "rank0/layers.0.attention.wq.weight" in opened()
    assert as_slices()


def test_a_name_that_is_not_known_leaves_slices():
    saved(model() | {"layers.0.feed_forward.gate.weight": (torch.ones(8, DIM), None)}, 2)
    assert "rank1/norm.weight" in opened()
    assert as_slices()


def test_gains_that_differ_are_of_no_one_model():
    saved(model(), 2, None)
    part = torch.load("consolidated.01.pth")
    part["norm.weight"] += 1
    torch.save(part, "consolidated.01.pth")
    assert "rank0/layers.0.attention.wq.weight" in opened()


def test_a_gain_that_differs_beside_params_stays_with_its_rank():
    saved(model(), 2)
    part = torch.load("consolidated.01.pth")
    part["layers.1.ffn_norm.weight"] += 1
    torch.save(part, "consolidated.01.pth")
    found = opened()
    assert found["layers.0.attention.wq.weight"].kind.kind == "parameter"
    assert found["rank1/layers.1.ffn_norm.weight"].kind.kind == "piece"
