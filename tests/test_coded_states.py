"""States whose averages are codes of a few bits are read by their maps, and the update that they
tell is measured where the rounding leaves it within 1 %. The codes are made here, in numpy."""

import math

import numpy as np
import pytest
import torch

import scalecheck as api

SHAPE, LR, STEPS = (40, 130), 1e-2, 12
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
GROUP = {"lr": LR, "betas": (BETA1, BETA2), "eps": EPS, "weight_decay": 0.1}


def dynamic_map(bits, signed):
    """Dettmers et al. 2021: half the codes for the last decade, a quarter for the one before."""
    free = bits - (2 if signed else 1)
    numbers = [0.0, 1.0]
    for decade in range(free + 1):
        edges = np.linspace(0.1, 1.0, 2 ** (free - decade) + 1)
        middles = (edges[1:] + edges[:-1]) / 2 * 10.0**-decade
        numbers += [*middles, *(-middles if signed else ())]
    numbers += [] if len(numbers) == 2**bits else [-1.0] * signed
    return np.sort(np.resize(numbers, 2**bits)) if len(numbers) > 2**bits else np.sort(numbers)


def coded(numbers, table, block):
    """The nearest code of each number over the largest of its block, and those largest ones."""
    flat = numbers.ravel()
    starts = range(0, flat.size, block)
    largest = np.array([np.abs(flat[at : at + block]).max() for at in starts])
    scaled = flat / np.repeat(largest, block)[: flat.size]
    middles = (table[1:] + table[:-1]) / 2
    codes = np.searchsorted(middles, scaled).astype(np.uint8)
    return codes.reshape(numbers.shape), largest


def moments(spread=0.3, shape=SHAPE, seed=0):
    rng = np.random.default_rng(seed)
    scales = 1e-3 * np.exp(spread * rng.standard_normal(shape))
    m = v = np.zeros(shape)
    for _ in range(STEPS):
        g = scales * (0.5 + rng.standard_normal(shape))
        m, v = BETA1 * m + (1 - BETA1) * g, BETA2 * v + (1 - BETA2) * g**2
    return m, v


def update_of(m, v):
    return m / (1 - BETA1**STEPS) / (np.sqrt(v / (1 - BETA2**STEPS)) + EPS)


def rms(x):
    return math.sqrt(np.mean(np.square(x)))


def tensors(entries):
    return {n: torch.tensor(x) if isinstance(x, np.ndarray) else x for n, x in entries.items()}


def row_of(folder, entries, group=GROUP, shape=SHAPE):
    optimizer = {"state": {0: tensors(entries)}, "param_groups": [{**group, "params": [0]}]}
    weights = torch.tensor(0.02 * np.random.default_rng(1).standard_normal(shape))
    torch.save({"model": {"layers.0.w": weights}, "optimizer": optimizer}, folder / "run.pt")
    report = api.translate(folder / "run.pt")
    [row] = report.rows
    return {**row, "notes": report.notes}


SIGNED, UNSIGNED = dynamic_map(8, True), dynamic_map(8, False)


def bitsandbytes(block, averages=None, name="absmax"):
    entries = {"step": STEPS}
    for number, (average, table) in enumerate(
        zip(averages or moments(), (SIGNED, UNSIGNED), strict=False), 1
    ):
        codes, largest = coded(average, table, block)
        entries |= {f"state{number}": codes, f"qmap{number}": table.astype(np.float32)}
        entries[f"{name}{number}"] = largest.astype(np.float32)
    return entries


def test_maps_have_a_code_for_each_byte():
    assert SIGNED.size == UNSIGNED.size == 256
    assert (np.diff(SIGNED) > 0).all()


@pytest.mark.parametrize("block", [256, 2048])
def test_bitsandbytes_blocks_are_read_by_their_maps(block, tmp_path):
    row = row_of(tmp_path, bitsandbytes(block))
    m, v = moments()
    assert (row["optimizer"], row["measured"]) == ("adamw", True)
    assert row["update_rms"] == pytest.approx(rms(update_of(m, v)), rel=5e-3)
    assert row["grad_rms"] == pytest.approx(math.sqrt(np.mean(v) / (1 - BETA2**STEPS)), rel=1e-3)
    assert row["decay_pull"] == pytest.approx(LR * 0.1)
    assert any(
        "measured within 1 % for 1 tensor, as the state keeps" in note for note in row["notes"]
    )


def test_the_update_is_that_of_the_numbers_that_the_codes_stand_for(tmp_path):
    entries = bitsandbytes(256)
    decoded = [
        entries[f"qmap{n}"].astype(float)[entries[f"state{n}"]]
        * np.repeat(entries[f"absmax{n}"].astype(float), 256)[: math.prod(SHAPE)].reshape(SHAPE)
        for n in (1, 2)
    ]
    row = row_of(tmp_path, entries)
    assert row["update_rms"] == pytest.approx(rms(update_of(*decoded)), rel=1e-9)


def test_states_of_one_block_are_read_by_their_maximum(tmp_path):
    """As bitsandbytes kept them before it had blocks, beside the maximum of the step to come."""
    entries = bitsandbytes(math.prod(SHAPE), name="max")
    entries |= {"new_max1": np.ones(1), "new_max2": np.ones(1), "gnorm_vec": np.ones(100)}
    row = row_of(tmp_path, entries)
    assert row["measured"]
    assert row["update_rms"] == pytest.approx(rms(update_of(*moments())), rel=5e-3)


def test_small_tensors_keep_numbers(tmp_path):
    m, v = moments()
    row = row_of(tmp_path, {"step": STEPS, "state1": m, "state2": v})
    assert (row["optimizer"], row["measured"]) == ("adamw", True)
    assert row["update_rms"] == pytest.approx(rms(update_of(m, v)), rel=1e-12)
    assert not any("codes" in note for note in row["notes"])


def test_gradients_too_far_apart_for_the_codes_leave_the_update_open(tmp_path):
    row = row_of(tmp_path, bitsandbytes(256, moments(spread=3.0)))
    assert (row["optimizer"], row["measured"]) == ("adamw", False)
    assert (
        row["state_reason"]
        == "its averages are codes of too few bits to tell the update within 1 %"
    )
    assert row["grad_rms"]
    assert row["step"] == STEPS


ONE = GROUP | {"eps": 0.0}


@pytest.mark.parametrize(
    ("betas", "eps", "name", "update"),
    [
        ((0.9, 0.99), 0.0, "lion", lambda m: 1.0),
        ((0.9, 0.0), 0.0, "sgd", rms),
        ((0.99, 0.0), 1e-8, "rmsprop", None),
        ((0.0, 0.0), 1e-10, "adagrad", None),
        ((0.9, 0.1), 0.0, "not known", None),
    ],
)
def test_optimizers_of_one_state_are_told_by_their_numbers(betas, eps, name, update, tmp_path):
    m, v = moments()
    average = m if eps == 0 else v
    group = GROUP | {"betas": betas, "eps": eps}
    row = row_of(tmp_path, bitsandbytes(256, [average]), group)
    assert row["optimizer"] == name
    assert row["measured"] == (update is not None)
    if update is not None:
        assert row["update_rms"] == pytest.approx(update(m), rel=5e-3)


def test_ademamix_keeps_two_averages_in_one_state(tmp_path):
    m, v = moments()
    slow = 0.1 * m
    group = {**GROUP, "betas": (BETA1, BETA2, 0.9999), "alpha": 5.0}
    group |= {"t_alpha": None, "t_beta3": None}
    entries = bitsandbytes(256, [m, v])
    halves = [coded(average, SIGNED, 256) for average in (m, slow)]
    entries["state1"] = np.stack([codes for codes, _ in halves])
    entries["absmax1"] = np.stack([largest for _, largest in halves]).astype(np.float32)
    row = row_of(tmp_path, entries, group)
    assert (row["optimizer"], row["measured"]) == ("ademamix", True)
    expected = update_of(m + 5.0 * slow * (1 - BETA1**STEPS), v)
    assert row["update_rms"] == pytest.approx(rms(expected), rel=5e-3)


def test_lamb_of_numbers_is_limited_by_what_is_not_saved(tmp_path):
    """Of codes it is AdamW."""
    m, v = moments()
    group = GROUP | {"alpha": 0.0, "t_alpha": None, "t_beta3": None}
    numbers = {"step": STEPS, "state1": m, "state2": v, "unorm_vec": np.ones(1)}
    assert row_of(tmp_path, numbers, group)["optimizer"] == "LAMB of bitsandbytes"
    row = row_of(tmp_path, bitsandbytes(256) | {"unorm_vec": np.ones(1)}, group)
    assert (row["optimizer"], row["measured"]) == ("adamw", True)


@pytest.mark.parametrize("further", [{"alpha": 2.0}, {"what": 1}])
def test_a_setting_more_leaves_it_unknown(further, tmp_path):
    assert row_of(tmp_path, bitsandbytes(256), GROUP | further)["optimizer"] == "not known"


class Average(torch.Tensor):
    """An average as torchao keeps it."""

    @staticmethod
    def __new__(cls, shape, **_):
        return torch.Tensor._make_wrapper_subclass(cls, shape, dtype=torch.float32)

    def __init__(self, shape, **kept):
        self.__dict__ |= tensors(kept)

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise AssertionError("it is saved without a look at its elements")


AO = GROUP | {"amsgrad": False}


def torchao(make):
    averages = [make(*of) for of in zip(moments(), (SIGNED, UNSIGNED), strict=True)]
    return {"step": torch.tensor(float(STEPS)), "exp_avg": averages[0], "exp_avg_sq": averages[1]}


def eight_bits(average, table):
    codes, scale = coded(average, table, 130)
    scale, qmap = scale.astype(np.float32), table.astype(np.float32)
    return Average(SHAPE, codes=codes, scale=scale, qmap=qmap, block_size=130)


def four_bits(average, table):
    table = np.linspace(0, 1, 17)[1:] if table is UNSIGNED else np.linspace(-1, 1, 16)
    codes, scale = coded(average.ravel(), table, 130)
    kept = {"codes": codes[::2] * 16 + codes[1::2], "scale": scale, "qmap": table}
    return Average(SHAPE, **kept, block_size=130, _shape=SHAPE)


def eight_bit_floats(average, table):
    blocks = average.reshape(-1, 130)
    scale = np.abs(blocks).max(1) / 448
    codes = torch.tensor(blocks / scale[:, None], dtype=torch.float32).to(torch.float8_e4m3fn)
    return Average(SHAPE, codes=codes.reshape(SHAPE), scale=scale, block_size=130)


@pytest.mark.parametrize("make", [eight_bits, eight_bit_floats])
def test_torchaos_averages_are_read_by_their_codes(make, tmp_path):
    row = row_of(tmp_path, torchao(make), AO)
    assert (row["optimizer"], row["measured"]) == ("adamw", True)
    assert row["update_rms"] == pytest.approx(rms(update_of(*moments())), rel=1e-2)


def test_four_bits_tell_the_gradients_but_not_the_update(tmp_path):
    row = row_of(tmp_path, torchao(four_bits), AO)
    assert (row["optimizer"], row["measured"]) == ("adamw", False)
    assert "too few bits" in row["state_reason"]
    expected = math.sqrt(np.mean(moments()[1]) / (1 - BETA2**STEPS))
    assert row["grad_rms"] == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    "broken",
    [
        {"qmap1": np.ones(7, np.float32)},
        {"absmax1": np.ones(4, np.float32)},
        {"absmax2": np.ones(0, np.float32)},
    ],
    ids=str,
)
def test_codes_that_fit_no_map_or_blocks_tell_nothing(broken, tmp_path):
    row = row_of(tmp_path, bitsandbytes(256) | broken)
    assert row["measured"] is False
    assert row["state_reason"].startswith("the state lacks")
