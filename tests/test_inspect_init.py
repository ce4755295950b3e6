"""`inspect --init`: what was just initialized is 1× init, within the tolerance that is shown."""

import csv
import io
import json
import math
from pathlib import Path

import golden
import pytest
import torch
from command import scalecheck
from real_checkpoints import real_file
from safetensors.torch import save_file
from torch import nn

import scalecheck as api
from scalecheck.checkpoint.evidence.roles import parameter_role
from scalecheck.measure.initial_scale import EXACT, NORMAL, UNIFORM, WORDS, Model, Reference, scheme

SAMPLES = Path(__file__).parent.parent / "sample_ckpts"
START = SAMPLES / "tiny-gpt-init"
TINY = SAMPLES / "tiny-gpt"
BROKEN = SAMPLES / "broken.safetensors"
FIELDS = ("init_rms", "init_ratio", "init_tolerance")
ROUNDING = 1e-6  # of float32 storage, where the scheme leaves nothing to chance


pytestmark = pytest.mark.usefixtures("in_project_folder")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def inspected(tensors, folder, init, **options):
    """The rows of a model of these tensors by name."""
    path = folder / "m.safetensors"
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)
    return {row["name"]: row for row in api.inspect(path, init=init, **options).rows}


def of(word, name, shape, **others):
    """What a scheme says of a float tensor beside others, whose names have __ for a dot."""
    beside = {other.replace("__", "."): shape for other, shape in others.items()}
    model = Model({name: shape, **beside})
    return scheme(word).of(name, parameter_role(name, shape)[0], shape, model)


def is_at_start(row):
    """The measured rms is the reference within the tolerance."""
    if row["init_rms"] == 0:
        return row["rms"] == 0 and row["init_ratio"] is row["init_tolerance"] is None
    return abs(row["init_ratio"] - 1) <= row["init_tolerance"] + ROUNDING


class Modules(nn.Module):
    """One of each of torch's modules that the scheme `torch` knows."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(300, 200)
        self.conv = nn.Conv2d(32, 48, 3, groups=4)
        self.up = nn.ConvTranspose2d(64, 96, 3, groups=4)
        self.tokens = nn.Embedding(100, 64)
        self.norm = nn.LayerNorm(64)
        self.rms_norm = nn.RMSNorm(64)
        self.bn1 = nn.BatchNorm2d(48)
        self.net = nn.Sequential(nn.Linear(64, 32), nn.GroupNorm(4, 32))
        self.attention = nn.MultiheadAttention(96, 4)
        self.cross = nn.MultiheadAttention(96, 4, kdim=64, vdim=80)
        self.lstm = nn.LSTM(40, 64, num_layers=2, bidirectional=True)
        self.projected = nn.LSTM(40, 64, proj_size=24)
        self.cell = nn.GRUCell(40, 64)
        self.vanilla = nn.RNN(40, 64)
        self.scaled = nn.utils.weight_norm(nn.Linear(64, 64))


# torch warns that weight_norm has a successor.
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm`")
def test_torch_is_what_torchs_modules_start_from(tmp_path):
    rows = inspected(Modules().state_dict(), tmp_path, "torch")
    silent = {name for name, row in rows.items() if row["init_rms"] is None}
    assert silent == {
        "bn1.running_mean",
        "bn1.running_var",
        "bn1.num_batches_tracked",
        "scaled.bias",
        "scaled.weight_g",
    }
    assert [name for name, row in rows.items() if name not in silent and not is_at_start(row)] == []


@pytest.mark.parametrize(
    ("word", "initialize"),
    [
        ("torch-linear", lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5))),
        ("kaiming", lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu")),
        ("kaiming", lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu")),
        (
            "kaiming-fan-out",
            lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
        ),
        ("xavier", nn.init.xavier_normal_),
        ("xavier", nn.init.xavier_uniform_),
        ("lecun", lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear")),
        ("orthogonal", nn.init.orthogonal_),
        ("normal:0.006", lambda w: nn.init.normal_(w, std=0.006)),
        ("normal:0.02", lambda w: nn.init.trunc_normal_(w, std=0.02)),
        ("uniform:0.1", lambda w: nn.init.uniform_(w, -0.1, 0.1)),
    ],
)
@pytest.mark.parametrize("shape", [(96, 160), (64, 48, 3, 3), (40, 160, 5)])
def test_a_scheme_is_torchs_initialization_of_that_name(tmp_path, word, initialize, shape):
    (row,) = inspected({"layer.weight": initialize(torch.empty(shape))}, tmp_path, word).values()
    assert is_at_start(row)
    assert row["init_tolerance"] < 0.03


@pytest.mark.parametrize("word", ["torch", "kaiming", "kaiming-fan-out", "xavier", "orthogonal"])
def test_another_scheme_misses_the_tolerance(tmp_path, word):
    weight = nn.init.kaiming_normal_(torch.empty(160, 96), nonlinearity="linear")
    (row,) = inspected({"layer.weight": weight}, tmp_path, word).values()
    assert not is_at_start(row)


def test_the_tolerance_shrinks_with_the_number_of_weights():
    assert Reference(0.02, NORMAL).tolerance(10_000) == pytest.approx(3 / math.sqrt(20_000))
    assert Reference(1.0, EXACT).tolerance(1) == 0
    assert Reference(0.0, EXACT).tolerance(1) is None


def test_the_sample_before_training_is_what_gpt2_starts_from():
    rows = api.inspect(START, init="gpt2").rows
    assert len(rows) == 52
    assert [row["name"] for row in rows if not is_at_start(row)] == []
    residual = {row["name"] for row in rows if row["init_rms"] == 0.02 / math.sqrt(8)}
    projections = ("attn.out.weight", "mlp.down.weight")
    assert residual == {f"blocks.{i}.{name}" for i in range(4) for name in projections}


def test_the_sample_after_training_has_moved():
    rows = {row["name"]: row for row in api.inspect(TINY, init="gpt2").rows}
    assert not any(is_at_start(row) for row in rows.values())


def test_a_selection_leaves_the_number_of_blocks():
    one = api.inspect(START, init="gpt2", match="blocks.2.attn.out.weight").rows[0]
    assert one["init_rms"] == 0.02 / math.sqrt(8)


def test_the_layer_of_chgnet_that_was_never_trained_is_at_its_start():
    path = real_file("chgnet", "chgnet/pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar")
    layers = {}
    for row in api.inspect(path, init="torch", match="*_layers.*").rows:
        layers.setdefault(row["layer"], []).append(is_at_start(row))
    assert layers.pop("angle_layers.2") == [True] * 8
    assert len(layers) == 9
    assert not any(any(at_start) for at_start in layers.values())


def test_lora_starts_as_kaiming_uniform_and_zeros(tmp_path):
    lora_a = nn.init.kaiming_uniform_(torch.empty(8, 512), a=math.sqrt(5))
    pair = {"q.lora_A.weight": lora_a, "q.lora_B.weight": torch.zeros(512, 8)}
    assert all(is_at_start(row) for row in inspected(pair, tmp_path, "torch").values())


@pytest.mark.parametrize("word", [*WORDS[:-2], "normal:0.02", "uniform:0.1"])
def test_nothing_is_said_of_buffers_and_empty_tensors(word):
    assert of(word, "bn.running_mean", (8,)) is None
    assert of(word, "layer.weight", (0, 64)) is None
    assert of(word, "layer.weight", (8, 4)) is not None
    assert of(word, "conv.weight", (8, 4, 3)) is not None


@pytest.mark.parametrize(
    ("word", "silent"),
    [
        (
            "kaiming",
            ["norm.weight", "linear.bias", "tokens.weight", "pos_embed", "q.lora_A.weight"],
        ),
        ("normal:0.02", ["norm.weight", "linear.bias", "logit_scale"]),
        ("torch-linear", ["norm.weight", "linear.bias", "tokens.weight", "pos_embed"]),
        ("torch", ["act.weight", "linear.bias", "pos_embed", "logit_scale", "ln.gain"]),
        ("torch", ["q.lora.down.weight", "q.lora_embedding_A", "q.lora_embedding_B"]),
        ("gpt2", ["act.weight", "pos_embed", "logit_scale", "q.lora_A.weight"]),
    ],
)
def test_a_scheme_says_nothing_of_what_it_does_not_decide(word, silent):
    vectors = {"act.weight", "norm.weight", "linear.bias", "ln.gain", "logit_scale"}
    for name in silent:
        assert of(word, name, (4,) if name in vectors else (8, 4)) is None, name


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.input_layernorm.weight",
        "transformer.ln_f.weight",
        "blocks.0.ln1.weight",
        "encoder.LayerNorm.gamma",
        "layer1.0.bn2.weight",
        "norms.3.weight",
        "self_attn.q_norm.weight",
    ],
)
def test_norms_are_known_by_name(name):
    assert of("torch", name, (8,)) == of("gpt2", name, (8,)) == Reference(1.0, EXACT)


def test_norms_are_known_by_a_scale_and_a_bias_of_one_shape():
    assert of("torch", "net.1.weight", (8,), net__1__bias=(8,)) == Reference(1.0, EXACT)
    assert of("torch", "net.1.bias", (8,), net__1__weight=(8,)) == Reference(0.0, EXACT)
    assert of("torch", "net.1.weight", (8,)) is None
    assert of("torch", "wnet.1.weight", (8,), wnet__1__bias=(4,)) is None


def test_a_table_with_a_bias_is_no_embedding():
    assert of("torch", "patch_embedding.weight", (8, 4)) == Reference(1.0, NORMAL)
    assert of("torch", "patch_embedding.weight", (8, 4), patch_embedding__bias=(8,)) is None


def test_a_stack_of_matrices_has_no_fans():
    assert of("kaiming", "experts.weight", (8, 64, 256)) is None
    assert of("torch", "experts.weight", (8, 64, 256)) is None
    assert of("gpt2", "experts.weight", (8, 64, 256)) == Reference(0.02, NORMAL)


def test_a_bias_starts_by_the_weight_of_its_module():
    expected = Reference(1 / math.sqrt(3 * 64), UNIFORM)
    assert of("torch", "fc.bias", (8,), fc__weight=(8, 64)) == expected
    assert of("torch-linear", "fc.bias", (8,), fc__weight=(8, 64)) == expected
    assert of("torch", "fc.bias", (8,), other__weight=(8, 64)) is None
    assert of("torch", "fc.bias", (8,), fc__weight=(8, 0)) is None
    assert of("torch", "norm1.bias", (8,), norm1__weight=(8, 64)) == expected
    assert of("torch", "lstm.bias_hh_l0", (8,)) is None


@pytest.mark.parametrize(
    "name",
    [
        "transformer.h.0.attn.c_proj.weight",
        "transformer.h.0.mlp.c_proj.weight",
        "transformer.h.0.crossattention.c_proj.weight",
        "blocks.0.attn.out.weight",
        "model.layers.0.self_attn.o_proj.weight",
        "model.layers.0.self_attn.out_proj.weight",
        "model.layers.0.mlp.down_proj.weight",
        "model.layers.0.mlp.experts.3.down_proj.weight",
        "blocks.0.mlp.fc2.weight",
        "model.decoder.layers.0.fc2.weight",
    ],
)
def test_projections_into_the_residual_stream_are_known_by_name(name):
    others = {name.replace(".0.", f".{i}.", 1).replace(".", "__"): (8, 8) for i in range(12)}
    assert of("gpt2", name, (8, 8), **others).rms == pytest.approx(0.02 / math.sqrt(24))


@pytest.mark.parametrize(
    "name",
    [
        "h.0.attn.c_attn.weight",
        "h.0.mlp.c_fc.weight",
        "h.0.layer1.fc2.weight",
        "attn.out.weight",
        "out_proj.weight",
    ],
)
def test_other_matrices_are_not(name):
    assert of("gpt2", name, (8, 8)) == Reference(0.02, NORMAL)


def test_only_the_blocks_of_the_same_stack_count():
    others = {f"encoder__layers__{i}__fc1__weight": (8, 8) for i in range(6)}
    name = "decoder.layers.1.mlp.fc2.weight"
    assert of("gpt2", name, (8, 8), **others).rms == 0.02 / math.sqrt(2)


@pytest.mark.parametrize("by", ["layer", "family", "role"])
def test_a_group_has_a_ratio_where_its_tensors_have_one_reference(by):
    tensors = api.inspect(START, init="gpt2").rows
    for group in api.inspect(START, by=by, init="gpt2").rows:
        starts = {row["init_rms"] for row in tensors if row[by] == group["name"]}
        if len(starts) > 1:
            assert [group[field] for field in FIELDS] == [None] * 3
        else:
            assert group["init_rms"] == starts.pop()
            assert is_at_start(group)


def test_a_group_with_a_tensor_that_has_no_reference_has_none(tmp_path):
    tensors = {f"net.{i}.weight": torch.ones(shape) for i, shape in enumerate([(8, 8), (8,)])}
    (row,) = inspected(tensors, tmp_path, "kaiming", by="family").values()
    assert row["init_rms"] is None


def test_what_has_no_ratio_is_null_and_empty():
    rows = {row["name"]: row for row in api.inspect(BROKEN, init="torch").rows}
    assert [rows["position_ids"][field] for field in FIELDS] == [None] * 3
    assert rows["blocks.5.mlp.down.weight"]["init_ratio"] == 0
    bias = api.inspect(START, init="gpt2", match="ln_f.bias").rows[0]
    assert [bias[field] for field in FIELDS] == [0, None, None]
    (line,) = csv.DictReader(
        io.StringIO(
            scalecheck(
                "inspect", START, "--init", "gpt2", "--match", "ln_f.bias", "--format", "csv"
            ).out
        )
    )
    assert [line[field] for field in FIELDS] == ["0.0", "", ""]


def test_a_ratio_that_is_no_number_is_null(tmp_path):
    tensors = {"a.weight": torch.full((2, 2), 1e300, dtype=torch.float64)}
    (row,) = inspected(tensors, tmp_path, "normal:1e-300").values()
    assert row["init_ratio"] is None


def test_silence_is_counted_in_a_note():
    done = scalecheck("inspect", BROKEN, "--init", "torch")
    assert "--init torch gives no rms for 3 of 14 tensors.\n" in done.out
    assert "says nothing" not in scalecheck("inspect", START, "--init", "gpt2").out


def test_rows_sort_by_the_ratio():
    rows = api.inspect(BROKEN, init="torch", sort="init_ratio").rows
    assert rows[0]["name"] == "blocks.3.mlp.up.weight"
    assert rows[-1]["init_ratio"] is None


def test_columns_can_be_chosen():
    done = scalecheck(
        "inspect", TINY, "--init", "torch", "--columns", "init_ratio,name", "--format", "csv"
    )
    assert done.out.splitlines()[0] == "init_ratio,name"


def test_without_init_nothing_of_it_is_said():
    report = json.loads(scalecheck("inspect", TINY, "--format", "json").out)
    assert "init" not in report["settings"]
    assert not set(FIELDS) & set(report["rows"][0])
    report = json.loads(scalecheck("inspect", TINY, "--format", "json", "--init", "gpt2").out)
    assert report["settings"]["init"] == "gpt2"
    assert set(FIELDS) <= set(report["rows"][0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--init", "gtp2"], "--init gtp2: not known; did you mean gpt2?"),
        (["--init", "kaiming_fan_out"], "did you mean kaiming-fan-out?"),
        (["--init", "kaiming:2"], "did you mean kaiming?"),
        (["--init", "nromal:0.02"], "did you mean normal:0.02?"),
        (["--init", "zzz"], "there are torch, torch-linear, "),
        (["--init", ""], "--init: not known"),
        (["--init", "normal"], "STD is a positive number, as in normal:0.02"),
        (["--init", "normal:small"], "STD is a positive number"),
        (["--init", "normal:0"], "STD is a positive number"),
        (["--init", "normal:nan"], "STD is a positive number"),
        (["--init", "uniform:inf"], "BOUND is a positive number, as in uniform:0.05"),
        (["--sort", "init_ratio"], "it takes --init"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments, words):
    done = scalecheck("inspect", TINY, *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.problem


@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize("sample", ["broken.safetensors", "tiny-gpt-init"])
def test_table_is_as_reviewed(sample, columns):
    init = "gpt2" if sample == "tiny-gpt-init" else "torch"
    done = scalecheck("inspect", f"sample_ckpts/{sample}", "--init", init, columns=columns)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    head = lines[next(n for n, line in enumerate(lines) if line.startswith("--")) - 1]
    assert "× init" in head
    assert ("flags" in head) == (sample != "tiny-gpt-init" or columns > 80)  # where one is
    golden.check(f"inspect-init-{sample}-{columns}.txt", done.out)


def test_table_of_groups_is_as_reviewed():
    done = scalecheck(
        "inspect", "sample_ckpts/tiny-gpt", "--by", "family", "--init", "gpt2", columns=80
    )
    golden.check("inspect-init-by-family-80.txt", done.out)


@pytest.mark.parametrize("format", ["csv", "json", "markdown"])
def test_every_format_is_as_reviewed(format):
    done = scalecheck(
        "inspect", "sample_ckpts/broken.safetensors", "--init", "torch", "--format", format
    )
    golden.check(f"inspect-init-broken.{format}", done.out)


@pytest.mark.parametrize("columns", [40, 60, 80, 100])
@pytest.mark.parametrize("by", ["tensor", "layer", "family", "role"])
def test_ratio_and_flags_are_never_left_out(columns, by):
    done = scalecheck("inspect", BROKEN, "--by", by, "--init", "torch", columns=columns)
    lines = done.out.splitlines()
    head = lines[next(n for n, line in enumerate(lines) if line.startswith("--")) - 1]
    assert "flags" in head
    assert by in {"layer", "role"} or "× init" in head


def test_a_stream_without_unicode_gets_ascii():
    done = scalecheck("inspect", BROKEN, "--init", "torch", encoding="ascii")
    assert done.out.isascii()
    assert "x init" in done.out
    assert "+- %" in done.out


def test_every_scheme_is_in_the_manual():
    text = Path("docs/commands/inspect.md").read_text("utf-8")
    assert [word for word in WORDS if f"| `{word}` |" not in text] == []


@pytest.mark.parametrize(
    ("name", "shape", "fan_in"),
    [
        ("up.kernel", (16, 64), 16),
        ("up/kernel", (16, 64), 16),
        ("up.kernel.value", (16, 64), 16),
        ("conv.kernel", (3, 5, 16, 64), 3 * 5 * 16),
        ("up.weight", (16, 64), 64),
    ],
)
def test_a_kernel_of_flax_or_keras_has_its_inputs_first(name, shape, fan_in):
    role = parameter_role(name, shape)[0]
    reference = scheme("lecun").of(name, role, shape, Model({name: shape}))
    assert reference.rms == pytest.approx(1 / math.sqrt(fan_in))


def test_heads_of_flax_are_no_convolution():
    """A DenseGeneral has (inputs, heads, width); a convolution lies in a conv module."""
    assert parameter_role("attention.query.kernel", (64, 4, 16))[0] == "matrix"
    assert parameter_role("conv_0.kernel", (3, 16, 64))[0] == "conv"
