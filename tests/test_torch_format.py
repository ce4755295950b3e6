"""The torch reader against torch itself: the same words, shapes and views, from every container."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from real_checkpoints import real_file

from scalecheck.checkpoint.formats.torch import load, recognises
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.dtypes import BY_TORCH_NAME, DTYPES
from scalecheck.errors import CheckpointError


def raw(tensor):
    """torch's bytes of a tensor in row-major order."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def assert_same(tensor, truth):
    assert tensor.unmeasured is None
    assert tensor.shape == tuple(truth.shape)
    words = np.ascontiguousarray(tensor.words())
    assert words.tobytes() == raw(truth)
    blocks = [block.copy().reshape(-1) for block in tensor.blocks()]
    joined = np.concatenate(blocks) if blocks else words.reshape(-1)
    unsigned = f"u{words.itemsize}"
    assert np.array_equal(np.sort(joined.view(unsigned)), np.sort(words.reshape(-1).view(unsigned)))


def leaves(node, path=()):
    """The tensors of what torch.load gives, by their whole paths."""
    if isinstance(node, torch.Tensor):
        return {".".join(path): node}
    entries = node.items() if isinstance(node, dict) else enumerate(node)
    found = {}
    for key, child in entries:
        if isinstance(child, dict | list | tuple | torch.Tensor):
            found |= leaves(child, (*path, str(key)))
    return found


def test_every_measured_type_keeps_torchs_words(save):
    numbers = torch.arange(-8, 8, dtype=torch.float32).reshape(4, 4)
    tensors = {
        name: numbers.abs().to(getattr(torch, name)) if name[0] == "u" else numbers.to(kind)
        for name, ours in BY_TORCH_NAME.items()
        if ours.words is not None and (kind := getattr(torch, name))
    }
    checkpoint = load(save(tensors))
    assert [tensor.name for tensor in checkpoint.tensors] == list(tensors)
    for tensor in checkpoint.tensors:
        assert tensor.dtype is BY_TORCH_NAME[tensor.name]
        assert_same(tensor, tensors[tensor.name])


def test_every_dtype_that_torch_saves_is_listed(save):
    """One that is not measured is listed with the reason."""
    saved = torch.storage._dtype_to_storage_type_map().keys() | torch.storage._new_dtypes()
    tensors = {
        str(dtype): torch.zeros(16, dtype=torch.uint8).view(dtype)
        for dtype in sorted(saved, key=str)
        if "torch.q" not in str(dtype)
    }
    checkpoint = load(save(tensors))
    assert [tensor.name for tensor in checkpoint.tensors] == list(tensors)
    assert checkpoint.notes == ()
    for tensor in checkpoint.tensors:
        assert (tensor.dtype.words is None) == (tensor.unmeasured is not None)
        assert tensor.nbytes == 16


def test_elements_packed_two_to_a_byte_are_counted_as_safetensors_counts_them(save):
    packed = torch.zeros(3, 4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    (tensor,) = load(save({"w": packed})).tensors
    assert (tensor.dtype.name, tensor.shape, tensor.nbytes) == ("F4", (3, 8), 12)


def test_both_containers_hold_the_same_tensors(tmp_path):
    model = torch.nn.Sequential(torch.nn.LSTM(3, 4), torch.nn.BatchNorm1d(4))
    checkpoints = []
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pt"
        torch.save(model.state_dict(), path, _use_new_zipfile_serialization=zipped)
        checkpoints.append(load(path))
    assert [one.format for one in checkpoints] == ["torch-zip", "torch-legacy"]
    for ours, theirs in zip(*(one.tensors for one in checkpoints), strict=True):
        assert (ours.name, ours.dtype, ours.shape) == (theirs.name, theirs.dtype, theirs.shape)
        assert np.array_equal(ours.words(), theirs.words())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_binary_pickle_protocol_is_read(tmp_path, container, protocol):
    truth = {"a": torch.arange(3), "b": torch.ones(2, 2), "more": {1: "x", (1, 2): [None, 1.5]}}
    path = tmp_path / "model.pt"
    zipped = container == "torch-zip"
    torch.save(truth, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    for tensor in load(path).tensors:
        assert_same(tensor, truth[tensor.name])


def test_a_file_is_recognised_by_its_first_bytes(save):
    assert recognises(Path("no-suffix"), save({"w": torch.ones(2)}).read_bytes()[:512])


@pytest.mark.parametrize(
    "head",
    [b"", b"{}", b"GGUF", (0x0280).to_bytes(8, "little") + b'{"w":', b"version https://git-lfs"],
    ids=["nothing", "json", "gguf", "safetensors", "lfs"],
)
def test_other_files_are_not_recognised(head):
    """A safetensors header of 0x280 bytes starts like a pickle of protocol 2."""
    assert not recognises(Path("model.pt"), head)


VIEWS = {
    "whole": lambda t: t,
    "transposed": lambda t: t.T,
    "permuted": lambda t: t.reshape(2, 3, 4).permute(2, 0, 1),
    "rows": lambda t: t[1:3],
    "columns": lambda t: t[:, 1:4],
    "every second column": lambda t: t[:, ::2],
    "every second row and third column": lambda t: t[::2, ::3],
    "transposed with gaps": lambda t: t[1:, ::3].T,
    "diagonal": lambda t: t.diagonal(),
    "one element": lambda t: t[2, 3],
    "one column": lambda t: t[:, 2:3],
    "dimensions of one": lambda t: t[:, None, 1:3, None],
    "one row transposed": lambda t: t[1:2].T,
    "one element expanded to itself": lambda t: t[2:3, 3:4].expand(1, 1),
    "no element": lambda t: t[4:],
    "no element and a stride of 0": lambda t: t[:, 6:].expand(4, 0),
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_reads_as_torch_reads_it(save, view):
    truth = VIEWS[view](torch.arange(24, dtype=torch.float32).reshape(4, 6))
    (tensor,) = load(save({"w": truth})).tensors
    assert_same(tensor, truth)
    assert (tensor.strides is None) == truth.is_contiguous()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_chain_of_views_reads_as_torch_reads_it(save, data):
    truth = torch.arange(120, dtype=torch.int16).reshape(5, 4, 3, 2)
    for _ in range(data.draw(st.integers(0, 5))):
        step = data.draw(st.sampled_from(["slice", "select", "swap", "unsqueeze"]))
        axis = data.draw(st.integers(0, max(0, truth.dim() - 1)))
        if step == "unsqueeze":
            truth = truth.unsqueeze(axis)
        elif truth.dim() and step == "swap":
            truth = truth.transpose(0, axis)
        elif truth.dim() and step == "select" and truth.shape[axis]:
            truth = truth.select(axis, data.draw(st.integers(0, truth.shape[axis] - 1)))
        elif truth.dim():
            index = [slice(None)] * truth.dim()
            first = data.draw(st.integers(0, truth.shape[axis]))
            index[axis] = slice(first, None, data.draw(st.integers(1, 3)))
            truth = truth[tuple(index)]
    (tensor,) = load(save({"w": truth})).tensors
    assert_same(tensor, truth)


@pytest.mark.parametrize(
    ("view", "numel"),
    [
        (torch.arange(4.0).expand(3, 4), 4),
        (torch.ones(1).expand(1000, 1000, 1000), 1),
        (torch.arange(6.0).unfold(0, 3, 1), 6),
        (torch.arange(8.0).as_strided((2, 2, 2), (1, 1, 5)), 8),
    ],
    ids=["rows", "a billion elements", "sliding windows", "as many elements as it spans"],
)
def test_a_view_that_repeats_elements_is_listed_and_not_measured(save, view, numel):
    (tensor,) = load(save({"w": view})).tensors
    assert tensor.shape == tuple(view.shape)
    reason = f"an expanded view: {view.numel()} elements over a storage of {numel}"
    assert tensor.unmeasured == reason


def test_a_lazily_negated_view_is_not_measured(save):
    """Its words have the wrong sign: torch keeps the sign as a bit beside them."""
    negated = torch.complex(torch.ones(2), torch.ones(2)).conj().imag
    assert negated.is_neg()
    (tensor,) = load(save({"w": negated})).tensors
    assert tensor.unmeasured == "a lazily negated view"


def test_tensors_of_the_same_view_are_tied_to_the_first_name(save):
    weight = torch.arange(6.0).reshape(2, 3)
    tensors = {
        "a": weight,
        "b": weight[:1],
        "c": weight.T,
        "d": weight.view(2, 3),
        "e": weight.clone(),
    }
    ties = {tensor.name: tensor.tied_to for tensor in load(save(tensors)).tensors}
    assert ties == {"a": None, "b": None, "c": None, "d": "a", "e": None}


def test_the_flat_weights_of_an_lstm_are_not_ties(save):
    lstm = torch.nn.LSTM(3, 4, num_layers=2)
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in lstm.parameters()])
    views, start = {}, 0
    for name, parameter in lstm.named_parameters():
        views[name] = flat[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    checkpoint = load(save(views))
    assert len(checkpoint.tensors) == 8
    for tensor in checkpoint.tensors:
        assert tensor.tied_to is None
        assert_same(tensor, lstm.get_parameter(tensor.name))


class Subclass(torch.Tensor):
    pass


def test_parameters_buffers_and_subclasses_read_as_their_tensor(save):
    numbers = torch.arange(3.0)
    attributed = torch.nn.Parameter(numbers.clone())
    attributed.purpose = "a state beside the data"
    tensors = {
        "parameter": torch.nn.Parameter(numbers.clone()),
        "attributed": attributed,
        "buffer": torch.nn.Buffer(numbers.clone()),
        "subclass": numbers.clone().as_subclass(Subclass),
    }
    checkpoint = load(save(tensors))
    assert len(checkpoint.tensors) == 4
    for tensor in checkpoint.tensors:
        assert_same(tensor, numbers)


@pytest.mark.filterwarnings("ignore:.*quant.*", "ignore:.*beta state", "ignore:.*prototype stage")
def test_tensors_without_plain_elements_are_listed_with_the_reason(tmp_path):
    tensors = {
        "per tensor": torch.quantize_per_tensor(torch.ones(3, 2), 0.1, 0, torch.qint8),
        "per channel": torch.quantize_per_channel(
            torch.ones(3, 2), torch.ones(3), torch.zeros(3), 0, torch.quint8
        ),
        "coo": torch.eye(3).to_sparse(),
        "csr": torch.eye(3, dtype=torch.float64).to_sparse_csr(),
        "meta": torch.ones(3, 2, device="meta", dtype=torch.bfloat16),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "complex": torch.ones(2, dtype=torch.complex64),
    }
    path = tmp_path / "model.pt"
    torch.save(tensors, path)
    checkpoint = load(path)
    listed = {t.name: (t.dtype.name, t.shape, t.unmeasured) for t in checkpoint.tensors}
    assert listed == {
        "per tensor": ("qint8", (3, 2), "a quantised tensor"),
        "per channel": ("quint8", (3, 2), "a quantised tensor"),
        "coo": ("F32", (3, 3), "a sparse tensor"),
        "csr": ("F64", (3, 3), "a sparse tensor"),
        "meta": ("BF16", (3, 2), "a meta tensor without data"),
        "nested": ("F32", (5,), "a nested tensor"),
        "complex": ("C64", (2,), DTYPES["C64"].unmeasured),
    }
    assert checkpoint.notes == ()
    with pytest.raises(CheckpointError, match="coo: a sparse tensor"):
        checkpoint.tensors[2].words()


class KeptAsNumpy:
    """Pickles as a tensor of a device that torch saves by way of numpy."""

    def __reduce__(self):
        array = np.ones((2, 3), np.float32)
        return torch._utils._rebuild_device_tensor_from_numpy, (
            array,
            torch.float32,
            "xla:0",
            False,
        )


def test_a_tensor_kept_as_a_numpy_array_has_its_shape(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"w": KeptAsNumpy()}, path)
    (tensor,) = load(path).tensors
    assert (tensor.shape, tensor.unmeasured) == ((2, 3), "a tensor kept as a numpy array")


def test_a_storage_in_a_compressed_member_is_not_measured(tmp_path):
    plain, packed = tmp_path / "plain.pt", tmp_path / "packed.pt"
    torch.save({"w": torch.zeros(100)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w") as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member), zipfile.ZIP_DEFLATED)
    (tensor,) = load(packed).tensors
    assert (tensor.name, tensor.shape) == ("w", (100,))
    assert tensor.unmeasured == "its storage is compressed"


def test_a_zip_behind_other_bytes_is_refused_as_torch_refuses_it(tmp_path):
    plain, shifted = tmp_path / "plain.pt", tmp_path / "shifted.pt"
    torch.save({"w": torch.arange(5.0)}, plain)
    shifted.write_bytes(b"PK\x03\x04 and so on" + plain.read_bytes())
    with pytest.raises(RuntimeError):
        torch.load(shifted)
    with pytest.raises(CheckpointError, match="has a zip directory that is looked for at byte"):
        load(shifted)


def test_a_zip_without_checksums_is_read(tmp_path):
    path = tmp_path / "model.pt"
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.arange(5.0)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    (tensor,) = load(path).tensors
    assert_same(tensor, torch.arange(5.0))


class Scripted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = torch.nn.LSTM(2, 3)
        self.head = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        self.register_buffer("scale", torch.full((1,), 2.0))

    def forward(self, x):
        return self.head(self.recurrent(x)[0][-1]) * self.scale


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_lists_the_parameters_and_buffers_of_its_modules(tmp_path):
    path = tmp_path / "model.pt"
    module = torch.jit.script(Scripted())
    torch.jit.save(module, path)
    checkpoint = load(path)
    truth = dict(module.named_parameters()) | dict(module.named_buffers())
    assert checkpoint.format == "torchscript"
    assert checkpoint.notes == ()
    assert {tensor.name for tensor in checkpoint.tensors} == set(truth)
    for tensor in checkpoint.tensors:
        assert_same(tensor, truth[tensor.name])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_real_torchscript_archive_has_the_tensors_that_torch_finds():
    path = real_file("silero-vad", "silero_vad/data/silero_vad.jit")
    module = torch.jit.load(path, map_location="cpu")
    truth = dict(module.named_parameters()) | dict(module.named_buffers())
    tensors = {tensor.name: tensor for tensor in load(path).tensors}
    assert set(tensors) - set(truth) == {"_state", "_context", "constants.0"}
    for name in truth:
        assert_same(tensors[name], truth[name])


REAL = [
    ("chgnet", "chgnet/pretrained/0.2.0/chgnet_0.2.0_e30f77s348m32.pth.tar", "model.state_dict."),
    ("chgnet", "chgnet/pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar", "model.state_dict."),
    ("lpips", "lpips/weights/v0.0/vgg.pth", ""),
    ("lpips", "lpips/weights/v0.1/alex.pth", ""),
    ("attacut", "attacut/artifacts/attacut-c/model.pth", ""),
    ("attacut", "attacut/artifacts/attacut-sc/model.pth", ""),
]


@pytest.mark.parametrize(("package", "file", "model"), REAL, ids=[file for _, file, _ in REAL])
def test_a_real_file_has_the_words_that_torch_reads(package, file, model):
    """Storages tagged with absent devices among them, and real optimizer states."""
    path = real_file(package, file)
    truth = leaves(torch.load(path, map_location="cpu", weights_only=True))
    checkpoint = load(path)
    ours = {model + tensor.name: tensor for tensor in checkpoint.tensors}
    ours |= {tensor.name: tensor for tensor in checkpoint.optimizer}
    assert set(ours) == set(truth)
    for name in truth:
        assert_same(ours[name], truth[name])


def test_torch_is_never_imported(save):
    path = save({"w": torch.arange(4.0)})
    program = (
        "import sys; from pathlib import Path\n"
        "from scalecheck.checkpoint.formats.torch import load\n"
        "(tensor,) = load(Path(sys.argv[1])).tensors\n"
        "print(tensor.array().sum(), 'torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["6.0", "False"]


def test_listing_reads_no_element(save, container):
    """A file whose data were overwritten with zeros lists the same tensors."""
    path = save({"w": torch.full((1000,), 7.0), "v": torch.ones(3)})
    before = load(path)
    content = path.read_bytes()
    seven = torch.full((1000,), 7.0).numpy().tobytes()
    assert seven in content
    path.write_bytes(content.replace(seven, bytes(len(seven))))
    after = load(path)
    assert [(t.name, t.shape, t.offset) for t in after.tensors] == [
        (t.name, t.shape, t.offset) for t in before.tensors
    ]
    assert not after.tensors[0].words().any()


def test_sharded_bin_files_are_joined_by_their_index(tmp_path):
    """pytorch_model.bin in shards, as transformers wrote them before safetensors."""
    weights = {f"layers.{i}.weight": torch.randn(3, 4) for i in range(4)}
    shards = {
        "pytorch_model-00001-of-00002.bin": ["layers.0.weight", "layers.1.weight"],
        "pytorch_model-00002-of-00002.bin": ["layers.2.weight", "layers.3.weight"],
    }
    for file, names in shards.items():
        torch.save({name: weights[name] for name in names}, tmp_path / file)
    index = {"weight_map": {name: file for file, names in shards.items() for name in names}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    for path in (tmp_path, tmp_path / "pytorch_model.bin.index.json"):
        checkpoint = open_checkpoint(path)
        assert checkpoint.format == "torch-zip, 2 shards"
        for tensor in checkpoint.tensors:
            assert (tensor.array() == weights[tensor.name].double().numpy()).all()
        assert {tensor.name for tensor in checkpoint.tensors} == set(weights)
