"""Weights that are stored as codes and factors have the numbers that these stand for, in every
command; what does not fit together is said, and never guessed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checked import noise, report
from encoded import (
    STORED,
    blown_up,
    bnb_4bit,
    ct_packed,
    floats,
    fp8_block,
    fp8_channel,
    gptq,
    mlx,
)
from safetensors.torch import save_file

import scalecheck as api
from scalecheck import registry
from scalecheck.checkpoint.boxes import Box, read_box
from scalecheck.checkpoint.quantised.decoded import DecodedReader, DecodedSource
from scalecheck.checkpoint.source import Readers
from scalecheck.measure import counting, numpy_kernel
from scalecheck.measure.measuring import measure
from scalecheck.measure.rows import row_figures

pytestmark = pytest.mark.usefixtures("elsewhere")

every_layout = pytest.mark.parametrize("stored", STORED)


def saved(tensors, config=None, **others):
    """A file of these tensors and others, with a configuration beside it."""
    Path("model").mkdir(exist_ok=True)
    if config:
        Path("model/config.json").write_text(json.dumps(config))
    save_file(tensors | others, "model/model.safetensors")
    return "model"


def drawn(stored, seed=0):
    return STORED[stored][1](np.random.default_rng(seed))


def opened(path, name):
    (tensor,) = [t for t in api.open_checkpoint(path).tensors if t.name == name]
    return tensor


def skipped(path):
    return {entry["name"]: entry["reason"] for entry in api.inspect(path).skipped}


@every_layout
@pytest.mark.parametrize("seed", [1, 2])
def test_every_element_is_what_its_code_and_factors_say(stored, seed):
    tensors, config, name, numbers = drawn(stored, seed)
    tensor = opened(saved(tensors, config), name)
    assert tensor.shape == numbers.shape
    np.testing.assert_allclose(tensor.array(), numbers, rtol=1e-15)
    assert set(tensor.parts) >= tensors.keys() - {"q.input_scale"}


@every_layout
def test_one_encoding_knows_a_layout_and_every_encoding_has_one(stored):
    assert {encoding for encoding, _ in STORED.values()} == set(registry.names("encoding"))
    tensors, config, name, _ = drawn(stored)
    every = registry.names
    with pytest.MonkeyPatch.context() as patch:
        own = [STORED[stored][0]]
        patch.setattr(registry, "names", lambda one: own if one == "encoding" else every(one))
        assert opened(saved(tensors, config), name).parts


@every_layout
def test_inspect_says_the_scale_of_the_weight_and_its_encoding(stored):
    tensors, config, name, numbers = drawn(stored)
    told = api.inspect(saved(tensors, config, **{"norm.weight": torch.ones(8)}))
    rows = {row["name"]: row for row in told.rows}
    row = rows[name]
    assert row["rms"] == pytest.approx(np.sqrt(np.mean(numbers**2)), rel=1e-12)
    assert row["mean"] == pytest.approx(numbers.mean(), rel=1e-9, abs=1e-12)
    assert (row["min"], row["max"]) == pytest.approx((numbers.min(), numbers.max()), rel=1e-15)
    assert (row["zeros"], row["nan"]) == (np.count_nonzero(numbers == 0), 0)
    role = "conv" if len(numbers.shape) == 4 else "matrix"
    assert (row["kind"], row["role"]) == ("parameter", role)
    assert row["dtype"].startswith(("FP8", "INT", "NVFP4", "MXFP", "NF4"))
    assert {n for n, one in rows.items() if one["kind"] == "buffer"} == tensors.keys() - {
        name,
        *(n for n in tensors if n not in rows),
    }
    assert told.source["parameters"] == numbers.size + 8


@every_layout
def test_any_stretch_of_a_weight_reads_as_the_whole(stored):
    tensors, config, name, _ = drawn(stored)
    tensor = opened(saved(tensors, config), name)
    whole = replace(tensor, shape=(tensor.numel,), strides=None)
    elements = whole.array()
    random = np.random.default_rng(3)
    for _ in range(40):
        start, stop = sorted(random.integers(0, tensor.numel + 1, 2).tolist())
        parts = [block.copy() for block in whole.blocks(start, stop)]
        np.testing.assert_array_equal(np.concatenate([np.empty(0), *parts]), elements[start:stop])


@every_layout
def test_boxes_of_a_weight_are_those_of_its_array(stored):
    tensors, config, name, _ = drawn(stored)
    tensor = opened(saved(tensors, config), name)
    array, random = tensor.array(), np.random.default_rng(4)
    with Readers() as readers:
        for _ in range(20):
            ends = [sorted(random.integers(0, n + 1, 2).tolist()) for n in tensor.shape]
            start, sizes = tuple(a for a, _ in ends), tuple(b - a for a, b in ends)
            if all(sizes):
                expected = array[tuple(slice(a, b) for a, b in ends)]
                found = read_box(tensor, Box(start, sizes), readers)
                np.testing.assert_array_equal(found, expected)


@every_layout
def test_raw_shows_what_is_stored(stored):
    tensors, config, _, _ = drawn(stored)
    told = api.inspect(saved(tensors, config), raw=True)
    assert {r["name"] for r in told.rows} | {s["name"] for s in told.skipped} == tensors.keys()
    assert any(note.startswith("not counted as parameters") for note in told.notes)


@every_layout
def test_translate_diff_and_check_take_the_weight(stored):
    tensors, config, name, numbers = drawn(stored)
    path = saved(tensors, config)
    rms = np.sqrt(np.mean(numbers**2))
    (row,) = api.translate(path, lr=1e-4).rows
    expected = 1e-4 * row["update_rms_expected"] / rms
    assert (row["name"], row["stalled"]) == (name, None)
    assert row["relative_update"] == pytest.approx(expected, rel=1e-12)
    before = numbers + 0.1 * np.random.default_rng(5).normal(0, rms, numbers.shape)
    save_file({name: torch.from_numpy(before)}, "before.safetensors")
    (row,) = api.diff("before.safetensors", path, match=[name]).rows
    change = np.linalg.norm(numbers - before) / np.linalg.norm(before)
    assert (row["status"], row["relative_change"]) == ("retyped", pytest.approx(change, rel=1e-9))
    assert "SC107" not in {row["rule"] for row in report(path)["findings"]}


def test_a_report_of_quantised_weights_is_a_baseline():
    for stored in ("gptq 4 bits", "mlx 4 bits", "fp8 in blocks", "nf4 twice quantised"):
        tensors, config, _, _ = drawn(stored)
        path = saved(tensors, config, **{"norm.weight": torch.ones(8)})
        Path("base.json").write_text(api.inspect(path).rendered("json"))
        assert report(path, "--select", "SC3", "--baseline", "base.json", code=0)["findings"] == []
        kinds = {row["name"]: row for row in api.diff("base.json", path).rows}
        assert {row["status"] for row in kinds.values()} == {"alike"}


def test_a_weight_and_its_scale_may_lie_in_different_shards():
    tensors, _, name, numbers = drawn("fp8 in blocks")
    Path("model").mkdir()
    weight_map = {}
    for number, (own, tensor) in enumerate(tensors.items(), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({own: tensor}, f"model/{file}")
        weight_map[own] = file
    index = {"metadata": {}, "weight_map": weight_map}
    Path("model/model.safetensors.index.json").write_text(json.dumps(index))
    np.testing.assert_allclose(opened("model", name).array(), numbers, rtol=1e-15)


def test_a_module_path_in_a_torch_file_is_read_as_well():
    tensors, _, name, numbers = drawn("torchao")
    renamed = {n.replace("_weight_", "weight."): tensor for n, tensor in tensors.items()}
    torch.save(renamed, "m.pt")
    np.testing.assert_allclose(opened("m.pt", name).array(), numbers, rtol=1e-15)


# ---- tiles: codes are counted before they are decoded


@pytest.mark.parametrize("kernel", [counting.kernel, numpy_kernel], ids=["native", "reference"])
@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize(
    ("rows", "columns", "scale"),
    [(384, 512, "blocks"), (130, 300, "blocks"), (70, 1500, "channel"), (300, 200, "tensor")],
)
def test_counted_tiles_say_what_decoded_elements_do(
    kernel, jobs, rows, columns, scale, monkeypatch
):
    monkeypatch.setattr(counting, "kernel", kernel)
    random = np.random.default_rng(6)
    tensors, _, name, numbers = fp8_block(random, rows, columns)
    if scale != "blocks":
        factor = torch.from_numpy(random.uniform(1e-3, 1, (rows if scale == "channel" else 1, 1)))
        tensors["q.weight_scale_inv"] = factor
        numbers = tensors["q.weight"].double().numpy() * factor.numpy()
    tensor = opened(saved(tensors), name)
    assert tensor.source.is_tiled
    ((_, sketch),) = measure((tensor,), jobs)
    flat = numbers.ravel()
    assert sketch.rms == pytest.approx(np.sqrt(np.mean(flat**2)), rel=1e-13)
    assert sketch.mean == pytest.approx(flat.mean(), rel=1e-9, abs=1e-15)
    assert sketch.std == pytest.approx(flat.std(), rel=1e-12)
    assert (sketch.min, sketch.max) == (flat.min(), flat.max())
    assert sketch.zeros == np.count_nonzero(flat == 0)
    for q in (0.01, 0.3, 0.5, 0.9):
        rank = np.sort(flat)[max(1, int(np.ceil(q * len(flat)))) - 1]
        assert sketch.quantile(q) == pytest.approx(rank, rel=2**-8, abs=1e-300)


def test_tiles_of_any_stretch_are_the_codes_of_the_stretch():
    tensors, _, name, numbers = fp8_block(np.random.default_rng(7), 260, 300)
    source = opened(saved(tensors), name).source
    assert isinstance(source, DecodedSource)
    random, flat = np.random.default_rng(8), numbers.ravel()
    with Readers() as readers:
        reader = DecodedReader(source, readers)
        for _ in range(30):
            start, stop = sorted(random.integers(0, len(flat) + 1, 2).tolist())
            found = []
            for tiles in reader.tiles(start, stop):
                (height, step), (width, across) = tiles.heights, tiles.widths
                rows, columns = map(np.arange, tiles.codes.shape)
                down = (rows + step - height) // step
                right = (columns + across - width) // across
                scales = tiles.scales.reshape(down[-1] + 1, right[-1] + 1)
                found.append((tiles.values[tiles.codes] * scales[down][:, right]).ravel())
            np.testing.assert_array_equal(np.concatenate([np.empty(0), *found]), flat[start:stop])


def test_scales_at_the_ends_of_float64_are_measured():
    tensors, _, name, _ = fp8_block(np.random.default_rng(9), 128, 256)
    codes = tensors["q.weight"].double().numpy()
    for size in (1e300, 1e-300):
        tensors["q.weight_scale_inv"] = torch.full((1, 2), size, dtype=torch.float64)
        ((_, sketch),) = measure((opened(saved(tensors), name),))
        assert sketch.rms / size == pytest.approx(np.sqrt(np.mean(codes**2)), rel=1e-12)


# ---- rows: dead and repeated ones are found among codes


@every_layout
def test_rows_of_a_healthy_weight_are_told_by_their_beginnings(stored):
    tensors, config, name, numbers = drawn(stored)
    tensor = opened(saved(tensors, config), name)
    rows = row_figures(tensor, int(np.count_nonzero(numbers == 0)), "matrix")
    assert (rows.zero_rows.count, rows.repeated_rows.count, rows.zero_columns.count) == (0, 0, 0)


@pytest.mark.parametrize("stored", ["fp8 in blocks", "gptq 4 bits", "bnb int8", "mxfp4"])
def test_dead_and_repeated_rows_of_codes_are_found(stored):
    tensors, config, name, numbers = drawn(stored)
    rows = len(numbers)
    if stored == "gptq 4 bits":  # a zero scale of a column of every group is a dead row
        tensors["q.scales"][:, 5] = 0
    else:
        word = next(n for n in tensors if "packed" in n or n == "q.weight")
        tensors[word].view(torch.uint8)[5] = 0
        tensors[word].view(torch.uint8)[7] = tensors[word].view(torch.uint8)[6]
        for factor in tensors.keys() - {word}:
            if tensors[factor].shape and len(tensors[factor]) == rows:
                tensors[factor].view(torch.uint8).reshape(rows, -1)[7] = (
                    tensors[factor].view(torch.uint8).reshape(rows, -1)[6]
                )
    tensor = opened(saved(tensors, config), name)
    array = tensor.array()
    found = row_figures(tensor, int(np.count_nonzero(array == 0)), "matrix")
    assert found.zero_rows.first == (5,)
    assert found.repeated_rows.first == (() if stored == "gptq 4 bits" else (7,))


def test_dead_columns_of_codes_are_found():
    tensors, _, name, _ = drawn("bnb int8")
    tensors["q.weight"][:, 11] = 0
    tensor = opened(saved(tensors), name)
    zeros = int(np.count_nonzero(tensor.array() == 0))
    assert row_figures(tensor, zeros, "matrix").zero_columns.first == (11,)


# ---- what does not fit is said


def nan_factor(tensors):
    tensors["q.weight_scale"][3] = torch.nan


def zero_factor(tensors):
    tensors["q.weight_scale"][3] = 0


def negative_factor(tensors):
    tensors["q.weight_scale"][3] *= -1


@pytest.mark.parametrize("damage", [nan_factor, zero_factor, negative_factor])
def test_a_factor_makes_its_row_what_it_is(damage):
    tensors, _, name, _ = fp8_channel(np.random.default_rng(1))
    damage(tensors)
    numbers = tensors["q.weight"].double() * tensors["q.weight_scale"].double()
    (row,) = [r for r in api.inspect(saved(tensors)).rows if r["name"] == name]
    assert row["nan"] == int(numbers.isnan().sum())
    assert row["zeros"] == int((numbers == 0).sum())
    assert row["min"] == float(numbers[~numbers.isnan()].min())
    rules = {f["rule"] for f in report("model", "--select", "SC1")["findings"]}
    expected = {nan_factor: {"SC101"}, zero_factor: {"SC103"}, negative_factor: set()}
    assert rules - {"SC109"} == expected[damage]


@pytest.mark.parametrize(
    ("stored", "part", "shape"),
    [
        ("fp8 in blocks", "q.weight_scale_inv", (3, 5)),
        ("fp8 in blocks", "q.weight_scale_inv", (2, 2, 1)),
        ("fp8 by channel", "q.weight_scale", (65, 1)),
        ("fp8 by channel", "q.weight_scale", (0,)),
        ("int8 in groups with zero points", "q.weight_zero_point", (48, 4)),
        ("ct 4 bits", "q.weight_scale", (40, 7)),
        ("ct 4 bits", "q.weight_packed", (40, 13)),
        ("ct 4 bits", "q.weight_zero_point", (6, 3)),
        ("nvfp4 of modelopt", "q.weight_scale", (32, 7)),
        ("nvfp4 of compressed-tensors", "q.weight_global_scale", (3,)),
        ("mxfp4", "q.weight_scale", (48, 5)),
        ("mxfp4 of gpt-oss", "experts.up_scales", (3, 16, 4)),
        ("gptq 4 bits", "q.qzeros", (4, 7)),
        ("gptq 4 bits", "q.g_idx", (127,)),
        ("gptq 4 bits", "q.scales", (5, 64)),
        ("awq", "q.qzeros", (2, 8)),
        ("awq", "q.scales", (5, 64)),
        ("nf4 twice quantised", "q.weight.absmax", (97,)),
        ("nf4 twice quantised", "q.weight.nested_absmax", (2,)),
        ("nf4 twice quantised", "q.weight.quant_map", (15,)),
        ("nf4 twice quantised", "q.weight", (3073, 1)),
        ("bnb int8", "q.SCB", (63,)),
        ("bnb int8", "q.weight_format", (0,)),
        ("ct 4 bits", "q.weight_shape", (3,)),
        ("torchao", "q._weight_scale", (3, 2)),
        ("quanto", "q.weight._scale", (49, 1)),
        ("mlx 4 bits", "q.scales", (40, 3)),
        ("mlx 4 bits", "q.biases", (40, 1)),
        ("mlx mxfp8", "q.scales", (40, 5)),
    ],
)
def test_parts_that_do_not_fit_leave_the_codes_unread(stored, part, shape):
    tensors, config, _, _ = drawn(stored)
    tensors[part] = torch.zeros(shape, dtype=tensors[part].dtype)
    path = saved(tensors, config)
    (reason,) = [why for why in skipped(path).values() if "not decoded" in why]
    assert any(char.isdigit() for char in reason)
    assert {row["rule"] for row in report(path, code=1)["findings"]} >= {"SC107"}


@pytest.mark.parametrize(
    ("stored", "part"),
    [
        ("ct 4 bits", "q.weight_shape"),
        ("gptq 4 bits", "q.qzeros"),
        ("awq", "q.scales"),
        ("nf4 twice quantised", "q.weight.quant_map"),
        ("nf4 twice quantised", "q.weight.nested_absmax"),
        ("bnb int8", "q.SCB"),
        ("mlx 4 bits", "q.scales"),
        ("mxfp4 of gpt-oss", "experts.up_scales"),
    ],
)
def test_codes_without_a_part_have_no_figures(stored, part):
    tensors, config, name, _ = drawn(stored)
    del tensors[part]
    told = api.inspect(saved(tensors, config, **{"norm.weight": torch.ones(512)}))
    assert name not in {row["name"] for row in told.rows}
    assert told.skipped


def state_of(**changes):
    tensors = bnb_4bit(np.random.default_rng(0))[0]
    name = "q.weight.quant_state.bitsandbytes__nf4"
    state = json.loads(bytes(tensors[name].numpy())) | changes
    text = json.dumps({key: value for key, value in state.items() if value is not None})
    tensors[name] = torch.tensor([*text.encode()], dtype=torch.uint8)
    return tensors


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [48, 129]},
        {"shape": [2**40, 2**40]},
        {"shape": []},
        {"shape": [48, -128]},
        {"shape": [0, 128]},
        {"shape": ["48", "128"]},
        {"shape": [1] * 100},
        {"blocksize": 0},
        {"blocksize": 63},
        {"blocksize": None},
        {"quant_type": "nf5"},
        {"nested_blocksize": 0},
        {"nested_blocksize": 2**31},
        {"nested_offset": "a"},
        {"nested_offset": None},
    ],
    ids=str,
)
def test_a_description_that_is_wrong_leaves_the_codes_unread(changes):
    path = saved(state_of(**changes))
    if changes == {"nested_blocksize": 2**31 - 1}:
        return
    assert any("not decoded" in why for why in skipped(path).values())


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[" * 5000, b"\xff\xfe", b"[1]", b'{"shape": [1e400]}', b"{" + b" " * 20000],
)
def test_a_description_that_is_no_json_leaves_the_codes_unread(text):
    tensors = state_of()
    name = "q.weight.quant_state.bitsandbytes__nf4"
    tensors[name] = torch.tensor([*text], dtype=torch.uint8)
    assert any("not decoded" in why for why in skipped(saved(tensors)).values())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "[" * 100_000,
        '{"quantization_config": 3}',
        '{"quantization_config": {"bits": "4"}}',
        '{"quantization_config": {"config_groups": {"a": 1, "b": {"weights": 2}}}}',
    ],
)
def test_a_configuration_that_says_nothing_is_none(text):
    tensors, _, name, numbers = fp8_channel(np.random.default_rng(0))
    saved(tensors)
    Path("model/config.json").write_text(text)
    np.testing.assert_allclose(opened("model", name).array(), numbers, rtol=1e-15)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_what_the_words_do_not_tell_needs_the_configuration(bits):
    size = {2: 128, 4: 64, 8: 32}[bits]
    tensors, config, name, numbers = mlx(np.random.default_rng(0), bits, size)
    (reason,) = skipped(saved(tensors)).values()
    assert "2 bits by 128 or 4 bits by 64 or 8 bits by 32" in reason
    np.testing.assert_allclose(opened(saved(tensors, config), name).array(), numbers, rtol=1e-15)


@pytest.mark.parametrize("where", [[], ["text_config"]])
def test_of_several_groups_that_which_fits_is_meant(where):
    """Words of 4 codes hold 7 or 8 bits, and a block of 64 by 32 is no square: the configuration
    tells, which says what it says for several groups of modules."""
    draw = np.random.default_rng(0)
    tensors, config, name, numbers = ct_packed(draw, 8)
    codes = torch.from_numpy(draw.normal(0, 100, (160, 96))).to(torch.float8_e4m3fn)
    factors, exact = floats(draw, 3, 3)
    tensors |= {"k.weight": codes, "k.weight_scale": factors}
    groups = config["quantization_config"]["config_groups"]
    groups["blocks"] = {"weights": {"num_bits": 8, "block_structure": [64, 32]}}
    groups["four"] = {"weights": {"num_bits": 4, "group_size": 128, "strategy": "group"}}
    for key in where:
        config = {key: config}
    path = saved(tensors, config)
    np.testing.assert_allclose(opened(path, name).array(), numbers, rtol=1e-15)
    expected = codes.double().numpy() * blown_up(exact, (64, 32), codes.shape)
    np.testing.assert_allclose(opened(path, "k.weight").array(), expected, rtol=1e-15)
    groups["seven"] = {"weights": {"num_bits": 7}}
    assert "bits 7 or 8" in skipped(saved(tensors, config))["q.weight_packed"]


def test_zero_points_of_gptq_that_autoround_wrote():
    tensors, _, name, numbers = gptq(np.random.default_rng(0))
    said = {"quant_method": "auto-round", "bits": 4, "packing_format": "auto_round:auto_gptq"}
    path = saved(tensors, {"quantization_config": said})
    np.testing.assert_allclose(opened(path, name).array(), numbers, rtol=1e-15)


def test_the_configuration_of_one_layer_goes_before_that_of_all():
    tensors, _, name, numbers = mlx(np.random.default_rng(0), 8, 32)
    config = {"quantization": {"bits": 4, "group_size": 64, "q": {"bits": 8, "group_size": 32}}}
    np.testing.assert_allclose(opened(saved(tensors, config), name).array(), numbers, rtol=1e-15)


def test_zero_points_of_gptq_need_their_layout():
    tensors, _, name, _ = gptq(np.random.default_rng(0))
    (reason,) = skipped(saved(tensors)).values()
    assert "checkpoint_format" in reason
    for stored, zero in ((0x77777777, 8), (-0x77777778, 8)):  # one too low, and as it is
        tensors["q.qzeros"][:] = stored
        found = opened(saved(tensors), name).array()
        groups = tensors["q.g_idx"].long()
        scales = tensors["q.scales"].double().numpy()[groups].T
        codes = np.rint(found / scales + zero)
        assert (codes.min(), codes.max()) == (0, 15)


@pytest.mark.parametrize("layout", ["marlin", "gptq_p", "bitblas", 3])
def test_orders_of_codes_that_are_not_known_are_not_read(layout):
    tensors, config, _, _ = gptq(np.random.default_rng(0))
    config["quantization_config"]["checkpoint_format"] = layout
    (reason,) = skipped(saved(tensors, config)).values()
    assert "orders its codes otherwise" in reason


def test_groups_that_do_not_exist_make_no_numbers():
    tensors, config, name, _ = gptq(np.random.default_rng(0))
    tensors["q.g_idx"][:4] = torch.tensor([4, -1, 2**31 - 1, 7])
    (row,) = [r for r in api.inspect(saved(tensors, config)).rows if r["name"] == name]
    assert row["nan"] == 4 * 64


def test_codes_of_another_order_say_so():
    tensors, _, _, _ = drawn("bnb int8")
    tensors["q.weight_format"] = torch.tensor(2, dtype=torch.uint8)
    (reason,) = skipped(saved(tensors)).values()
    assert "an order of its own" in reason


def test_a_weight_of_the_same_name_is_not_replaced():
    tensors, config, name, _ = ct_packed(np.random.default_rng(0), 4)
    tensors[name] = noise(40, 96)
    told = api.inspect(saved(tensors, config))
    assert [r["dtype"] for r in told.rows if r["name"] == name] == ["F32"]
    assert any("is there, too" in why for why in skipped("model").values())


def test_a_class_of_torchao_that_is_not_known_is_named():
    tensors, _, _, _ = drawn("torchao")
    metadata = {"q.weight": json.dumps({"_type": "Int4Tensor", "_data": {}})}
    save_file(tensors, "m.safetensors", metadata=metadata)
    (reason,) = skipped("m.safetensors").values()
    assert "Int4Tensor" in reason


def test_a_thousand_weights_share_a_file_and_cost_as_many():
    tensors = {}
    for number in range(1000):
        one, _, _, _ = fp8_channel(np.random.default_rng(number), 4, 8)
        tensors |= {f"layers.{number}.{name}": tensor for name, tensor in one.items()}
    told = api.inspect(saved(tensors))
    assert sum(row["kind"] == "parameter" for row in told.rows) == 1000
