"""flax's MessagePack: arrays are found where they lie, the parts of a training state are told
apart, and what is damaged is refused with its numbers."""

import struct

import msgpack
import numpy as np
import pytest
from array_files import adam_tree, flax_extension, flax_file, nested
from process import bounded, problem_of

import scalecheck
from scalecheck.checkpoint.formats import msgpack as format
from scalecheck.checkpoint.open import open_checkpoint

W = np.arange(6, dtype="f4").reshape(2, 3)


def written(tmp_path, root):
    path = tmp_path / "flax_model.msgpack"
    path.write_bytes(root if isinstance(root, bytes) else flax_file(root))
    return path


def tensors(path):
    return {tensor.name: tensor for tensor in open_checkpoint(path).tensors}


def problem(path):
    return problem_of(format.load, path)


def train_state():
    """As flax's TrainState serialises, its optimizer a chain behind a clip."""
    tree = adam_tree()
    moved = {
        name.replace("opt/0/", "opt_state/1/0/"): array
        for name, array in tree.items()
        if name != "step"
    }
    root = nested(moved)
    root["opt_state"] |= {"0": {}}
    root["opt_state"]["1"] |= {"1": {}, "2": {"count": np.array(30, "i4")}}
    return {"step": 30, **root}


def test_arrays_have_the_names_that_lead_to_them(tmp_path):
    path = written(tmp_path, {"block": {"0": {"kernel": W}}, "head": {"bias": W[0]}})
    found = tensors(path)
    assert [*found] == ["block.0.kernel", "head.bias"]
    assert np.array_equal(found["block.0.kernel"].array(), W)


@pytest.mark.parametrize(
    ("name", "bits", "values"),
    [
        ("bfloat16", np.array([0x3F80, 0xC000], "u2"), [1, -2]),
        ("float8_e4m3fn", np.array([0x38, 0xC0], "u1"), [1, -2]),
        ("float8_e5m2", np.array([0x3C, 0xC0], "u1"), [1, -2]),
        ("float16", np.array([1, -2], "f2"), [1, -2]),
        ("bool", np.array([True, False]), [1, 0]),
        ("int64", np.array([3, -4]), [3, -4]),
    ],
)
def test_types_are_told_by_their_names(tmp_path, name, bits, values):
    path = written(tmp_path, {"w": flax_extension(bits, name=name)})
    assert tensors(path)["w"].array().tolist() == values


@pytest.mark.parametrize("name", ["int4", "float8_e3m4", "float4_e2m1fn", "complex64"])
def test_types_that_are_not_measured_have_a_reason(tmp_path, name):
    bits = np.zeros(4, "c8" if name == "complex64" else "u1")
    found = tensors(written(tmp_path, {"w": W, "codes": flax_extension(bits, name=name)}))
    assert found["codes"].unmeasured
    assert found["codes"].numel == 4


def test_numbers_of_numpy_and_complex_ones_are_arrays(tmp_path):
    path = written(
        tmp_path,
        {
            "w": W,
            "scale": flax_extension(np.array(2.5, "f4"), kind=3),
            "phase": msgpack.packb(msgpack.ExtType(2, msgpack.packb((1.0, 2.0)))),
        },
    )
    found = tensors(path)
    assert found["scale"].array() == 2.5
    assert found["phase"].unmeasured == "complex numbers have no single scale"


@pytest.mark.parametrize("kind", ["f4", "f2"])
def test_chunks_are_one_array(tmp_path, kind):
    """As flax cuts what is longer than a gibibyte."""
    whole = np.arange(10, dtype=kind).reshape(5, 2)
    chunks = {str(n): part for n, part in enumerate(np.split(whole.ravel(), [4, 8]))}
    path = written(
        tmp_path,
        {
            "w": {
                "__msgpack_chunked_array__": True,
                "shape": {"0": 5, "1": 2},
                "chunks": chunks,
            },
            "b": W,
        },
    )
    found = tensors(path)
    assert found["w"].shape == (5, 2)
    assert np.array_equal(found["w"].array(), whole)


def test_a_training_state_is_a_model_and_its_optimizers(tmp_path):
    path = written(tmp_path, train_state())
    checkpoint = open_checkpoint(path)
    assert {t.name for t in checkpoint.tensors} == {"up.kernel", "up.bias", "ln.scale"}
    assert {t.name for t in checkpoint.optimizer} == {
        f"opt_state.1.0.{word}.{name}"
        for word in ("mu", "nu")
        for name in ("up.kernel", "up.bias", "ln.scale")
    } | {"opt_state.1.0.count", "opt_state.1.2.count"}
    told = {"optimizer": "adamw", "lr": 1e-3, "beta1": 0.9, "beta2": 0.98, "eps": 1e-8}
    rows = {row["name"]: row for row in scalecheck.translate(path, **told).rows}
    mu, nu = (adam_tree()[f"opt/0/{word}/up/kernel"].astype(float) for word in ("mu", "nu"))
    update = mu / (1 - 0.9**30) / (np.sqrt(nu / (1 - 0.98**30)) + 1e-8)
    measured = rows["up.kernel"]["update_rms"]
    assert measured == pytest.approx(np.sqrt(np.mean(update**2)), rel=1e-9)


def test_states_of_several_labels_are_read_together(tmp_path):
    """As optax.multi_transform keeps them: what another label trains is an empty map."""
    flat = adam_tree()
    inner = {}
    for label, own in (("decay", ["up/kernel"]), ("plain", ["up/bias", "ln/scale"])):
        state = {f"{w}/{name}": flat[f"opt/0/{w}/{name}"] for w in ("mu", "nu") for name in own}
        masked = {f"{w}/{name}": {} for w in ("mu", "nu") for name in ("up/other",)}
        tree = nested(state | masked)
        inner[label] = {"inner_state": {"0": {"count": np.array(7, "i4"), **tree}, "1": {}}}
    params = nested({n.removeprefix("params/"): a for n, a in flat.items() if "params" in n})
    root = {"step": 7, "params": params, "opt_state": {"inner_states": inner}}
    path = written(tmp_path, root)
    told = {"optimizer": "adamw", "lr": 1e-3}
    rows = scalecheck.translate(path, **told).rows
    assert {row["name"]: row["step"] for row in rows} == {
        "up.kernel": 7, "up.bias": 7, "ln.scale": 7,
    }  # fmt: skip
    assert all(row["update_rms"] for row in rows)


def test_settings_that_were_injected_are_the_groups(tmp_path):
    """As optax.inject_hyperparams keeps them beside the state."""
    root = train_state()
    hyperparams = {"learning_rate": 3e-4, "b1": 0.9, "b2": 0.98, "eps": 1e-8, "weight_decay": 0.1}
    arrays = {name: np.array(number, "f4") for name, number in hyperparams.items()}
    inner = root["opt_state"]["1"]
    root["opt_state"] = {"count": 30, "hyperparams": arrays, "inner_state": inner}
    [first, *_] = scalecheck.translate(written(tmp_path, root), optimizer="adamw").rows
    assert first["lr"] == pytest.approx(3e-4)
    assert first["update_rms"] is not None


def test_what_lies_beside_the_parameters_keeps_its_path(tmp_path):
    root = {
        "params": {"bn": {"scale": W[0]}, "up": {"kernel": W}},
        "batch_stats": {"bn": {"mean": W[0], "var": W[1]}},
        "ema_params": {"bn": {"scale": W[0]}, "up": {"kernel": W}},
    }
    found = tensors(written(tmp_path, root))
    kinds = {name: tensor.kind.kind for name, tensor in found.items()}
    assert kinds == {
        "bn.scale": "parameter", "up.kernel": "parameter",
        "batch_stats.bn.mean": "buffer", "batch_stats.bn.var": "buffer",
        "ema_params.bn.scale": "average", "ema_params.up.kernel": "average",
    }  # fmt: skip


def test_a_module_of_a_telling_name_keeps_it(tmp_path):
    """As transformers' flax models have: `model` beside `lm_head`."""
    path = written(tmp_path, {"model": {"up": {"kernel": W}}, "lm_head": {"kernel": W}})
    assert [*tensors(path)] == ["model.up.kernel", "lm_head.kernel"]


def test_a_lone_state_is_listed_as_what_it_is(tmp_path):
    root = nested({n.removeprefix("opt/"): a for n, a in adam_tree().items() if "opt/" in n})
    found = tensors(written(tmp_path, root))
    assert "0.mu.up.kernel" in found
    assert not any(tensor.kind.is_parameter for tensor in found.values())


def ext(shape, dtype, data, kind=1):
    return msgpack.packb(msgpack.ExtType(kind, msgpack.packb((shape, dtype, data))))


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ({"w": ext((2, 3), "float32", bytes(23))}, "w: F32 [2, 3] needs 24 bytes, not 23"),
        ({"w": ext((-2, 3), "float32", b"")}, "has a damaged array at byte 6: no shape of whole"),
        ({"w": ext((1,) * 65, "float32", bytes(4))}, "has a damaged array at byte 6: 65 dimen"),
        ({"w": ext(3, "float32", b"")}, "has a damaged array at byte 6: no shape"),
        ({"w": ext((1,), 7, bytes(4))}, "has a damaged array at byte 6: no shape of whole"),
        ({"w": ext((1,), "float32", "four")}, "has a damaged array at byte 5: no bytes"),
        ({"w": msgpack.packb(msgpack.ExtType(1, b"\x93"))}, "has a damaged array at byte 5: is tr"),
        (flax_file({"w": W})[:-1], "is truncated: "),
        (flax_file({"w": W}) + b"\xc0", "has 1 bytes behind its MessagePack, of "),
        (b"\x82\xa1w\xc0\xa1w\xc0", "has a map with two entries named w"),
        (b"\x81\xc0\xc0", "has a map with a key that is no text, before byte 2"),
        (b"\x81\xa1w\xc1", "has no MessagePack at byte 3: 0xc1"),
        (b"\xdf" + struct.pack(">I", 1 << 31), "is truncated: 2147483648 entries at byte 5"),
        (b"\x81\xa1w" * 1000 + b"\xc0", "has maps more than 200 deep"),
        (b"\x81\xa2w\xff\xc0", "has a text that is no UTF-8 before byte 4"),
        ({"w": 1}, "holds no array"),
        ({"w" * 1025: W}, "has a map with a key that is no text"),
        ({"a" * 1000: {"b" * 1000: W}}, "aaaa"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, root, said):
    assert problem(written(tmp_path, root)).startswith(said)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"shape": {"0": 7}, "chunks": {"0": W.ravel()}}, "w: chunks of 6 elements are of shape"),
        ({"shape": {"0": 6}, "chunks": {"1": W.ravel()}}, "w: chunk 0 of 1 is no flat array"),
        ({"shape": {"0": 6}, "chunks": {"0": W}}, "w: chunk 0 of 1 is no flat array"),
        ({"shape": {"0": 6}, "chunks": {}}, "w: is cut into chunks and has no shape, or no chunk"),
        (
            {"shape": {"0": 6}, "chunks": {"0": W[0], "1": W[1].astype("f2")}},
            "w: has pieces of F32 and F16",
        ),
    ],
)
def test_damaged_chunks_are_refused(tmp_path, node, said):
    path = written(tmp_path, {"w": {"__msgpack_chunked_array__": True, **node}})
    assert problem(path).startswith(said)


def test_many_entries_are_refused_before_they_take_memory(tmp_path):
    path = written(tmp_path, b"\x81\xa1w\xdd" + struct.pack(">I", 1 << 20) + b"\xc0" * (1 << 20))
    with bounded(32 << 20):
        assert problem(path) == "has more than 400000 entries"


def of_parts(tmp_path, opt_state):
    """A model of two parameters and an optimizer's state of any kind."""
    root = {"params": {"up": {"kernel": W, "bias": W[0]}}, "opt_state": opt_state}
    return written(tmp_path, root)


def test_a_parameter_without_moments_may_be_trained(tmp_path):
    """As by a label of multi_transform that has no momentum."""
    both = {"mu": {"up": {"kernel": W, "bias": {}}}, "nu": {"up": {"kernel": W**2, "bias": {}}}}
    path = of_parts(tmp_path, {"0": {"count": np.array(3, "i4"), **both}})
    report = scalecheck.translate(path, lr=1e-3, optimizer="adamw")
    rows = {row["name"]: row for row in report.rows}
    assert rows["up.kernel"]["update_rms"] is not None
    assert rows["up.bias"]["update_rms"] is None
    assert "1 of 2 parameters have no optimizer state" in report.notes
    assert not any("not trained" in note for note in report.notes)


@pytest.mark.parametrize(
    "entries",
    [
        {"mu": None, "nu": None, "nu_max": None},  # amsgrad, whose maximum is of corrected averages
        {"v_row": None, "v_col": None, "v": None},  # adafactor
        {"nu": None},  # rmsprop
        {"mu": None, "ns_coeffs": np.ones(3, "f4")},  # muon
    ],
)
def test_entries_of_other_optimizers_are_kept_under_their_words(tmp_path, entries):
    moments = {"up": {"kernel": W, "bias": W[0]}}
    state = {word: moments if value is None else value for word, value in entries.items()}
    path = of_parts(tmp_path, {"0": {"count": np.array(3, "i4"), **state}})
    checkpoint = open_checkpoint(path)
    assert {tensor.name for tensor in checkpoint.tensors} == {"up.kernel", "up.bias"}
    assert "opt_state.0.count" in {tensor.name for tensor in checkpoint.optimizer}
    report = scalecheck.translate(path, lr=1e-3)
    assert all(row["update_rms"] is None for row in report.rows)
    words = ", ".join(sorted(word for word, value in entries.items() if value is None))
    said = f"optimizer not known (saved by optax; state {words}): optimizer says which"
    assert any(said in note for note in report.notes)
    assert (
        "2 of 2 optimizer states are matched to tensors by the names saved with them."
    ) in report.notes


def test_what_the_options_leave_out_is_said_to_be_a_default(tmp_path):
    path = written(tmp_path, train_state())
    notes = scalecheck.translate(path, lr=1e-3, optimizer="adamw").notes
    assert any(
        "settings that are not given are that optimizer's defaults" in note for note in notes
    )


def test_variables_of_nnx_have_their_moments(tmp_path):
    """Each array is the `value` of a variable there."""
    moments = {"up": {"kernel": {"value": W}, "bias": {"value": W[0]}}}
    adam = {"count": {"value": np.array(3, "i4")}, "mu": moments, "nu": moments}
    root = {
        "model": moments,
        "optimizer": {"opt_state": {"0": adam}, "step": {"value": np.array(3)}},
    }
    path = written(tmp_path, root)
    found = {tensor.name: tensor.role for tensor in open_checkpoint(path).tensors}
    assert found == {"up.kernel.value": "matrix", "up.bias.value": "bias"}
    rows = scalecheck.translate(path, lr=1e-3, optimizer="adamw").rows
    assert [row["step"] for row in rows] == [3, 3]


def test_a_batch_norm_of_nnx_has_two_statistics_and_two_parameters(tmp_path):
    norm = dict.fromkeys(("scale", "bias", "mean", "var"), W[0])
    found = tensors(written(tmp_path, {"bn": norm, "up": {"kernel": W}}))
    kinds = {name: tensor.kind.kind for name, tensor in found.items()}
    assert kinds["bn.mean"] == kinds["bn.var"] == "buffer"
    assert kinds["bn.scale"] == kinds["bn.bias"] == "parameter"


def test_a_state_is_named_once_by_inspect_and_not_by_what_reads_it(tmp_path):
    path = written(tmp_path, train_state())
    said = "not inspected"
    assert sum(said in note for note in scalecheck.inspect(path).notes) == 1
    assert not any(said in note for note in scalecheck.check(path).notes)
