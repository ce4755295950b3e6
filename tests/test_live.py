"""Models and optimizers that a program holds, in the place of paths."""

import copy
import json
import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

import scalecheck
from scalecheck.checkpoint.live import sources
from scalecheck.checkpoint.live.arrays import tensor_of
from scalecheck.checkpoint.live.models import checkpoint_of
from scalecheck.errors import CheckpointError

FLOATS = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
]
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool]


class Net(nn.Module):
    """Tied, frozen, buffers that are saved and that are not."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(40, 16)
        self.layers = nn.ModuleList([nn.Linear(16, 16) for _ in range(2)])
        self.norm = nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 40, bias=False)
        self.head.weight = self.embed.weight
        self.fixed = nn.Parameter(torch.randn(16, 16), requires_grad=False)
        self.register_buffer("angles", torch.linspace(0, 1, 8), persistent=False)

    def forward(self, tokens):
        x = self.embed(tokens)
        for layer in self.layers:
            x = x + torch.tanh(layer(x) @ self.fixed)
        return self.head(self.norm(x))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def step(model, optimizer):
    tokens = torch.randint(0, 40, (64,))
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(tokens), (tokens + 1) % 40).backward()
    optimizer.step()


def figures(row):
    return [row[name] for name in ("rms", "std", "mean", "absmax", "zeros", "nan", "inf")]


def expected(values):
    """The figures of an array by numpy, in float64."""
    finite = values[np.isfinite(values)]
    return [
        np.sqrt((finite**2).mean()),
        finite.std(),
        finite.mean(),
        abs(finite).max(),
        int((values == 0).sum()),
        int(np.isnan(values).sum()),
        int(np.isinf(values).sum()),
    ]


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS, ids=str)
def test_a_tensor_of_every_type_has_the_figures_of_numpy(dtype):
    torch.manual_seed(1)
    tensor = (3 * torch.randn(65, 33)).to(dtype)
    if dtype.is_floating_point:
        tensor[0, 0] = float("nan")
    (row,) = scalecheck.inspect({"steps": tensor})
    assert figures(row) == pytest.approx(expected(tensor.double().numpy()), rel=1e-9, abs=1e-12)
    assert row["shape"] == [65, 33]


def views():
    base = torch.arange(1.0, 61.0).reshape(5, 12)
    whole = torch.view_as_complex(torch.randn(7, 2, generator=torch.manual_seed(2)))
    yield "transposed", base.T
    yield "every other", base[::2, 1:9:3]
    yield "expanded", base[:, :1].expand(5, 4)
    yield "overlapping", torch.arange(9.0).unfold(0, 3, 1)
    yield "imaginary part, of the other sign", whole.conj().imag
    yield "bfloat16 columns", base.bfloat16()[:, 3:5]
    yield "one number", torch.tensor(1.5)
    yield "requires a gradient", base.clone().requires_grad_() * 2
    yield "numpy, reversed", base.numpy()[:, ::-1]
    yield "numpy, of the other byte order", base.numpy().astype(">f8")
    yield "numpy, transposed half", base.numpy().astype(np.float16).T
    yield "numpy, column of records", np.zeros(4, [("a", "<f4"), ("b", "<i2")])["a"] + 2


@pytest.mark.parametrize(
    ("kind", "view"), [*views()], ids=lambda one: one if type(one) is str else ""
)
def test_a_view_is_read_as_its_elements_are(kind, view):
    values = view.detach().double().numpy() if torch.is_tensor(view) else view.astype(float)
    found = tensor_of("w", view, checkpoint_of({"w": view}).path)
    assert np.array_equal(found.array(), values)
    (row,) = scalecheck.inspect({"w": view})
    assert figures(row) == pytest.approx(expected(values), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (torch.empty(3, 4, device="meta"), "on the meta device: it has no numbers"),
        (torch.eye(4).to_sparse(), "a sparse tensor (sparse_coo), which has no strides"),
        (torch.zeros(3, dtype=torch.complex64), "complex numbers have no single scale"),
        (torch.zeros(1).expand(100), "an expanded view: 100 elements over 1 in memory"),
        (np.zeros(3, np.longdouble), "elements of type float128 are not read"),
        (np.array(["a", "b"]), "elements of type str"),
    ],
    ids=lambda one: one if type(one) is str else "",
)
def test_what_has_no_numbers_is_named_with_the_reason(value, reason):
    report = scalecheck.inspect({"w": torch.ones(2), "odd": value})
    (skipped,) = report.skipped
    assert skipped["name"] == "odd"
    assert skipped["reason"].startswith(reason)
    assert len(report) == 1


def test_a_lazy_module_is_read_as_far_as_it_has_numbers():
    report = scalecheck.inspect(nn.Sequential(nn.Linear(3, 4), nn.LazyLinear(2)))
    assert [row["name"] for row in report] == ["0.weight", "0.bias"]
    assert {one["name"] for one in report.skipped} == {"1.weight", "1.bias"}


def test_of_another_device_the_stretch_that_is_read_is_copied():
    tensor = torch.randn(1000, generator=torch.manual_seed(3))
    source = tensor_of("w", tensor, checkpoint_of({"w": tensor}).path).source
    reader = source.open()
    reader._memory = None  # as of a device whose memory numpy cannot see
    words = np.empty(40, np.uint8)
    reader.fill(400, words.data)
    assert np.array_equal(words.view("<f4"), tensor.numpy()[100:110])


def test_a_module_says_what_each_of_its_tensors_is(net):
    rows = {row["name"]: row for row in scalecheck.inspect(net)}
    kinds = {name: row["kind"] for name, row in rows.items()}
    buffers = {"angles", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    assert {name for name, kind in kinds.items() if kind == "buffer"} == buffers
    assert {name for name, kind in kinds.items() if kind == "parameter"} == rows.keys() - buffers
    assert rows["head.weight"]["tied_to"] == "embed.weight"
    named = {name for name, _ in net.named_parameters()}
    named |= {name for name, _ in net.named_buffers()} | {"head.weight"}
    assert rows.keys() == named


def test_a_module_has_the_figures_of_the_file_that_it_is_saved_to(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "net.pt")
    live = {row["name"]: row for row in scalecheck.inspect(net)}
    for row in scalecheck.inspect(tmp_path / "net.pt"):
        assert live[row["name"]] == row
    report = scalecheck.diff(tmp_path / "net.pt", net)
    assert {r["name"]: r["status"] for r in report} == {
        **dict.fromkeys(live, "identical"),
        "angles": "added",
    }


def test_what_a_trainer_saves_is_read_as_from_the_file(net, tmp_path):
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    step(net, optimizer)
    saved = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "step": 1}
    torch.save(saved, tmp_path / "run.pt")
    assert scalecheck.translate(saved).rows == scalecheck.translate(tmp_path / "run.pt").rows
    assert scalecheck.inspect(saved).rows == scalecheck.inspect(tmp_path / "run.pt").rows


def test_nested_dicts_of_arrays_of_other_libraries_are_read():
    class Array:
        """As those of JAX: numpy makes an array of it when it is asked."""

        def __init__(self, values):
            self.values = values
            self.shape, self.dtype = values.shape, values.dtype

        def __array__(self, dtype=None, copy=None):
            return self.values

    kernel = np.random.default_rng(4).normal(size=(6, 5)).astype(np.float32)
    layer = {"kernel": Array(kernel), "bias": Array(kernel[0])}
    rows = scalecheck.inspect({"params": {"Dense_0": layer, "Dense_1": {"kernel": kernel}}})
    assert {row["name"] for row in rows} == {"Dense_0.kernel", "Dense_0.bias", "Dense_1.kernel"}
    rms = np.sqrt((kernel.astype(float) ** 2).mean())
    assert rows["Dense_0.kernel"]["rms"] == rows["Dense_1.kernel"]["rms"] == pytest.approx(rms)


class Codes(torch.Tensor):
    """A tensor that is made of codes and a factor when it is used, as torchao's are."""

    @staticmethod
    def __new__(cls, codes, scale):
        return torch.Tensor._make_wrapper_subclass(cls, codes.shape, dtype=scale.dtype)

    def __init__(self, codes, scale):
        self.codes, self.scale = codes, scale

    def __tensor_flatten__(self):
        return ["codes", "scale"], None

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return args[0] if func is torch.ops.aten.detach.default else NotImplemented


class Coded(nn.Linear):
    """A layer of codes that saves their factors with them, as those of bitsandbytes do."""

    def __init__(self):
        super().__init__(8, 8)
        codes = torch.randint(-127, 127, (8, 8), dtype=torch.int8)
        self.weight = nn.Parameter(codes, requires_grad=False)

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "SCB"] = torch.full((8,), 0.1)


def test_a_module_of_codes_has_the_tensors_of_its_state_dict():
    model = nn.Sequential(nn.Linear(8, 8), Coded())
    codes = torch.randint(-127, 127, (8, 8), dtype=torch.int8)
    model[0].weight = nn.Parameter(Codes(codes, torch.full((8, 1), 0.1)), requires_grad=False)
    live, saved = scalecheck.inspect(model), scalecheck.inspect(model.state_dict())
    key = "name"
    assert sorted(live.rows, key=lambda row: row[key]) == sorted(saved, key=lambda row: row[key])
    names = {row["name"] for row in live} | {one["name"] for one in live.skipped}
    assert names >= {"0.weight.codes", "0.weight.scale", "1.weight", "1.SCB"}
    assert live["1.weight"]["dtype"] == "INT8 bitsandbytes"
    assert "0.weight.codes" in {one["name"] for one in live.skipped}


def test_a_model_without_tensors_is_refused():
    with pytest.raises(CheckpointError, match="ReLU: is a module without parameters"):
        scalecheck.inspect(nn.ReLU())
    with pytest.raises(CheckpointError, match=r"dict: holds no tensor: a dict of 1 entry \(lr\)"):
        scalecheck.inspect({"lr": 1})


def test_values_are_those_of_the_moment_of_the_call(net):
    before = scalecheck.inspect(net)["embed.weight"]["rms"]
    with torch.no_grad():
        net.embed.weight.mul_(2)
    assert scalecheck.inspect(net)["embed.weight"]["rms"] == pytest.approx(2 * before)


def test_a_diff_of_two_names_of_the_same_memory_says_so(net):
    report = scalecheck.diff(net.state_dict(), net)
    assert any(note.startswith("12 of 13 tensors are the same memory") for note in report.notes)
    assert {row["status"] for row in report} == {"identical", "added"}
    copied = scalecheck.diff(copy.deepcopy(net.state_dict()), net)
    assert not any("same memory" in note for note in copied.notes)


def test_a_report_names_the_class_as_its_source(net):
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    source = json.loads(scalecheck.translate(net, optimizer).rendered("json"))["source"]
    assert (source["path"], source["format"], source["state"]) == ("Net", "nn.Module", "AdamW")
    assert scalecheck.check(net, optimizer).source["state"] == "AdamW"


def test_no_file_beside_is_read_for_a_model_of_the_same_name(net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Net").mkdir()
    torch.save(torch.optim.SGD(net.parameters(), lr=7.0).state_dict(), "Net/optimizer.pt")
    (tmp_path / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    report = scalecheck.translate(net, lr=1e-3)
    assert report.source["state"] is None
    assert {row["lr"] for row in report} == {1e-3}


def test_memory_does_not_grow_with_the_model():
    numel = 16 << 20  # 64 MB in float32
    model = nn.ParameterDict({"w": nn.Parameter(torch.zeros(numel // 4096, 4096))})
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    scalecheck.check(model, optimizer, jobs=1)  # what is imported and tabled once
    tracemalloc.start()
    try:
        scalecheck.check(model, optimizer, jobs=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < numel * 4 * 60 / 400


def test_a_storage_is_read_without_a_copy():
    tensor = torch.zeros(1000)
    source = tensor_of("w", tensor, checkpoint_of({"w": tensor}).path).source
    assert isinstance(source, sources.StorageSource)
    assert source.words.data_ptr() == tensor.data_ptr()
