"""HDF5 and Keras files: every way in which a dataset lies in its file, and Keras's states."""

import json
import zipfile

import h5py
import numpy as np
import pytest
import torch
from command import scalecheck
from library_files import hdf5_file, keras_file

from scalecheck.checkpoint.arrays.keras_state import _only_place
from scalecheck.checkpoint.files.hdf5_file import Hdf5Place, _Stretch
from scalecheck.checkpoint.open import open_checkpoint, open_part
from scalecheck.checkpoint.source import FileSource
from scalecheck.errors import CheckpointError

RANDOM = np.random.default_rng(7)


def read(path):
    return {tensor.name: tensor for tensor in open_part(path).tensors}


TYPES = ["<f2", "<f4", "<f8", ">f4", ">f8", "<i2", ">i4", "<i8", "u1", "i1", "<u4", "?"]
WAYS = {
    "in place": {},
    "in chunks": {"chunks": (7, 3)},
    "compressed": {"chunks": (5, 9), "compression": "gzip", "shuffle": True},
    "checked": {"chunks": (20, 20), "fletcher32": True},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("kind", TYPES)
def test_numbers_are_the_librarys(tmp_path, kind, way):
    numbers = (9 * RANDOM.standard_normal((40, 30))).astype(kind)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_dataset("a/w", data=numbers, **way)
    tensor = read(tmp_path / "m.h5")["a/w"]
    np.testing.assert_array_equal(tensor.array(), numbers.astype(np.float64))
    part = np.concatenate([block.copy() for block in tensor.blocks(11, 1003)])
    expected = numbers.ravel()[11:1003].astype(np.float64)
    np.testing.assert_array_equal(tensor.dtype.decode(part), expected)


def test_an_address_beyond_any_file_holds_nothing(tmp_path):
    path = tmp_path / "m.h5"
    path.write_bytes(hdf5_file({"w": torch.ones(3)}))
    source = FileSource.of(path)
    with _Stretch(Hdf5Place(source, 0, source.nbytes)) as stretch:
        for place in (source.nbytes, 1 << 63, 1 << 64):
            stretch.seek(place)
            assert stretch.readinto(bytearray(8)) == 0


def test_links_are_ties_or_named_and_never_followed_out(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["w"] = np.ones(3, np.float32)
    layout = h5py.VirtualLayout((3,), np.float32)
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "w", (3,))
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["w"] = np.arange(3, dtype=np.float32)
        file["hard"] = file["w"]
        file["soft"] = h5py.SoftLink("/w")
        file["nowhere"] = h5py.SoftLink("/none")
        file["out"] = h5py.ExternalLink("other.h5", "/w")
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("apart", (3,), "<f4", external=[("raw", 0, 12)])
        group = file.create_group("group")
        group["up"] = file["/"]
    tensors = read(tmp_path / "m.h5")
    ties = {name: tensor.tied_to for name, tensor in tensors.items() if tensor.tied_to}
    assert ties == {"soft": "hard", "w": "hard"}
    reasons = {name: t.unmeasured for name, t in tensors.items() if t.unmeasured}
    assert {*reasons} == {"nowhere", "out", "virtual", "apart"}
    assert reasons["out"] == "is a link to other.h5, and links are not followed"
    assert "raw, and links are not followed" in reasons["apart"]
    done = scalecheck("check", tmp_path / "m.h5")
    assert done.code == 1
    assert "error[SC107] not-analysed: 4 tensors, not measured" in done.out


def test_what_is_no_number_is_named(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["words"] = ["a", "b"]
        file["pairs"] = np.zeros(3, [("a", "<f4"), ("b", "<i4")])
        file["empty"] = h5py.Empty("f4")
        file["opaque"] = np.zeros(3, "V2")
        file["w"] = np.ones((2, 3), np.float32)
        file["none"] = np.ones((0, 3), np.float32)
        file["one"] = np.float32(2.5)
    tensors = read(tmp_path / "m.h5")
    assert {n for n, t in tensors.items() if t.unmeasured} == {"words", "pairs", "empty", "opaque"}
    assert tensors["one"].array() == 2.5
    assert tensors["none"].shape == (0, 3)


@pytest.mark.parametrize("position", [8, 40, 96, 300, 700])
def test_a_damaged_file_is_refused_or_named_in_one_line(tmp_path, position):
    content = bytearray(hdf5_file({"a.w": torch.ones(30, 40)}, chunks=True, compression="gzip"))
    content[position : position + 40] = bytes([255]) * 40
    (tmp_path / "m.h5").write_bytes(content)
    done = scalecheck("inspect", tmp_path / "m.h5")
    assert done.code in (0, 3)
    assert len(done.err.splitlines()) == (1 if done.code else 0)


LAYERS = (("tok", "embedding"), ("up", "dense"), ("down", "dense_1"))
SHAPES = {"embedding": [(7, 4)], "dense": [(4, 8), (8,)], "dense_1": [(8, 4), (4,)]}


def trained(steps=3, beta1=0.8, beta2=0.95, eps=1e-3, lr=0.01, decay=0.1):
    """Keras's AdamW by its formula, in float64: the weights before and after the last step, and the
    variables of its state in Keras's order."""
    names = [f"layers/{name}/vars/{n}" for _, name in LAYERS for n in range(len(SHAPES[name]))]
    shapes = [shape for _, name in LAYERS for shape in SHAPES[name]]
    weights = [RANDOM.standard_normal(shape) for shape in shapes]
    m, v = ([np.zeros(shape) for shape in shapes] for _ in range(2))
    for step in range(1, steps + 1):
        before = [w.copy() for w in weights]
        alpha = lr * np.sqrt(1 - beta2**step) / (1 - beta1**step)
        for place, w in enumerate(weights):
            g = 0.01 * RANDOM.standard_normal(w.shape)
            m[place] = beta1 * m[place] + (1 - beta1) * g
            v[place] = beta2 * v[place] + (1 - beta2) * g * g
            weights[place] = w * (1 - lr * decay) - alpha * m[place] / (np.sqrt(v[place]) + eps)
    variables = [np.int32(steps), np.float64(lr)]
    variables += [one for pair in zip(m, v, strict=True) for one in pair]
    updates = {
        name: np.sqrt(np.mean(((b * (1 - lr * decay) - w) / lr) ** 2))
        for name, b, w in zip(names, before, weights, strict=True)
    }
    config = {
        "class_name": "AdamW",
        "config": {"beta_1": beta1, "beta_2": beta2, "epsilon": eps, "weight_decay": decay},
    }
    return dict(zip(names, weights, strict=True)), variables, config, updates


def weights_file(path, weights, variables):
    with h5py.File(path, "w") as file:
        for name, numbers in weights.items():
            file[name] = numbers
        for name, folder in LAYERS:
            file[f"layers/{folder}/vars"].attrs["name"] = name
        for number, numbers in enumerate(variables):
            file[f"optimizer/vars/{number}"] = numbers
    return path.read_bytes()


def model_config(optimizer, layers=LAYERS):
    inside = [{"class_name": "Any", "config": {"name": name}} for name, _ in layers]
    return {"config": {"layers": inside}, "compile_config": {"optimizer": optimizer}}


def translated(path):
    done = scalecheck("translate", path, "--format", "json")
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)


def test_a_state_by_numbers_is_measured_as_keras_moved_the_weights(tmp_path):
    weights, variables, optimizer, updates = trained()
    content = weights_file(tmp_path / "w.h5", weights, variables)
    (tmp_path / "m.keras").write_bytes(keras_file(content, model_config(optimizer)))
    rows = {row["name"]: row for row in translated(tmp_path / "m.keras")["rows"]}
    for name, update in updates.items():
        assert rows[name]["update_rms"] == pytest.approx(update, rel=1e-9)
        assert (rows[name]["optimizer"], rows[name]["step"]) == ("adamw", 3)
    roles = {name: row["role"] for name, row in rows.items()}
    assert roles["layers/embedding/vars/0"] == "embedding"
    assert roles["layers/dense_1/vars/1"] == "bias"


def test_a_state_by_names_is_measured_too(tmp_path):
    weights, variables, optimizer, updates = trained()
    dense = ["kernel", "bias"]
    words = {"embedding": ["embeddings"], "dense": dense, "dense_1": dense}
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["training_config"] = json.dumps({"optimizer_config": optimizer})
        state = file.create_group("optimizer_weights/adam_w")
        state["iteration"], state["learning_rate"] = variables[:2]
        rest, names = variables[2:], {}
        for place, name in enumerate(weights):
            _, folder, _, number = name.split("/")
            layer = {place: layer for layer, place in LAYERS}[folder]
            word = words[folder][int(number)]
            names[name] = f"model_weights/{layer}/{layer}/{word}"
            file[names[name]] = weights[name]
            state[f"{layer}_{word}_momentum"] = rest[2 * place]
            state[f"{layer}_{word}_velocity"] = rest[2 * place + 1]
    rows = {row["name"]: row for row in translated(tmp_path / "m.h5")["rows"]}
    for name, update in updates.items():
        assert rows[names[name]]["update_rms"] == pytest.approx(update, rel=1e-9)


def unread(folder, optimizer, variables=None, layers=LAYERS):
    """The note on a state that is not understood."""
    weights, saved, *_ = trained()
    content = weights_file(folder / "w.h5", weights, variables or saved)
    config = model_config(optimizer, layers)
    (folder / "m.keras").write_bytes(keras_file(content, config))
    checkpoint = open_checkpoint(folder / "m.keras")
    assert checkpoint.tree is None
    assert len(checkpoint.optimizer) == len(variables or saved)
    return checkpoint.not_understood


def test_what_is_not_certain_of_a_state_is_said(tmp_path):
    *_, optimizer, _ = trained()
    settings = optimizer["config"]
    assert unread(tmp_path, None) == "the file does not keep the settings of its optimizer"
    assert unread(tmp_path, {**optimizer, "class_name": "Ftrl"}) == "Keras's Ftrl is not known here"
    amsgrad = {**optimizer, "config": {**settings, "amsgrad": True}}
    assert unread(tmp_path, amsgrad) == "amsgrad is on, which is not known here"
    whose = "which of its tensors is of which weight does not follow from the file"
    assert unread(tmp_path, optimizer, layers=LAYERS[:2]) == whose
    assert unread(tmp_path, optimizer, layers=(LAYERS[0], LAYERS[2], LAYERS[1])) == whose
    _, variables, *_ = trained()
    assert unread(tmp_path, optimizer, variables[:-1]) == whose
    words = {**optimizer, "config": {**settings, "beta_1": "high"}}
    assert unread(tmp_path, words) == "its settings are not numbers that stay the same"


def test_a_row_of_shapes_has_one_place_or_none():
    a, b = (4, 4), (4,)
    assert _only_place([a, b], [a, b]) == [0, 1]
    assert _only_place([a, b, a], [a, b, a]) == [0, 1, 2]
    assert _only_place([a, b], [a, b, b]) is None
    assert _only_place([b], [a, b]) == [1]
    assert _only_place([b, a], [a, b]) is None


def test_an_archive_without_weights_or_compressed_says_so(tmp_path):
    content = hdf5_file({"a.w": torch.ones(3, 4)})
    path = tmp_path / "m.keras"
    path.write_bytes(keras_file(content, {}, zipfile.ZIP_DEFLATED))
    with pytest.raises(CheckpointError, match=r"has model\.weights\.h5 compressed"):
        open_checkpoint(path)
    path.write_bytes(keras_file(b"", {}))
    with pytest.raises(CheckpointError, match="is damaged"):
        open_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
    with pytest.raises(CheckpointError, match=r"a Keras archive without model\.weights\.h5"):
        open_checkpoint(path)


def test_what_no_optimizer_trains_takes_no_place_in_a_state(tmp_path):
    """Batch norm's running statistics and a dropout's seed lie among the weights."""
    weights, variables, optimizer, updates = trained()
    weights_file(tmp_path / "w.h5", weights, variables)
    with h5py.File(tmp_path / "w.h5", "a") as file:
        folder = "layers/batch_normalization/vars"
        for number in range(4):
            file[f"{folder}/{number}"] = np.full(4, 1.0 + number)
        file[folder].attrs["name"] = "bn"
        file["layers/dropout/seed_generator/vars/0"] = np.array([1, 2], "u4")
        for number in range(4):  # the moments of gamma and beta
            file[f"optimizer/vars/{len(variables) + number}"] = np.full(4, 1e-3)
    content = (tmp_path / "w.h5").read_bytes()
    layers = (*LAYERS, ("bn", "batch_normalization"))
    (tmp_path / "m.keras").write_bytes(keras_file(content, model_config(optimizer, layers)))
    rows = {row["name"]: row for row in translated(tmp_path / "m.keras")["rows"]}
    assert {name: rows[name]["update_rms"] for name in updates} == pytest.approx(updates, rel=1e-9)
    assert rows["layers/batch_normalization/vars/1"]["step"] == 3
    assert "layers/batch_normalization/vars/2" not in rows


def test_a_file_of_tf_keras_is_read_by_its_paths(tmp_path):
    """`dense/kernel:0` of TensorFlow's variables, and `Adam/dense/kernel/m:0` of its state."""
    weights, variables, optimizer, updates = trained(decay=0.0)
    settings = {**optimizer["config"], "learning_rate": 0.01, "decay": 0.0}
    config = {"class_name": "Adam", "config": settings}
    names = {}
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["training_config"] = json.dumps({"optimizer_config": config})
        file["optimizer_weights/Adam/iter:0"] = np.int64(3)
        for place, name in enumerate(weights):
            own = f"l{place}/{'bias' if weights[name].ndim == 1 else 'kernel'}"
            names[name] = f"model_weights/l{place}/{own}"
            file[f"{names[name]}:0"] = weights[name]
            for word, numbers in zip("mv", variables[2 + 2 * place : 4 + 2 * place], strict=True):
                file[f"optimizer_weights/Adam/{own}/{word}:0"] = numbers
        file["model_weights/bn/bn/moving_mean:0"] = np.ones(4, "f4")
    rows = {row["name"]: row for row in translated(tmp_path / "m.h5")["rows"]}
    assert {*rows} == {*names.values()}
    for name, update in updates.items():
        assert rows[names[name]]["update_rms"] == pytest.approx(update, rel=1e-9)
    with h5py.File(tmp_path / "m.h5", "a") as file:
        del file["optimizer_weights/Adam/l1/kernel/v:0"]
    assert open_checkpoint(tmp_path / "m.h5").not_understood.startswith("which of its tensors")
