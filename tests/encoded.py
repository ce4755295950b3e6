"""Quantised weights as their libraries store them: written here bit by bit, each with the numbers
that it stands for."""

import json

import numpy as np
import torch

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
NF4 = np.linspace(-1, 1, 16)  # any table


def packed(codes, bits, word=32):
    """Codes along the last dimension as one stream of bits, lowest first, in words."""
    codes = np.asarray(codes)
    flags = (codes[..., None] >> np.arange(bits)) & 1
    stream = flags.reshape(*codes.shape[:-1], -1)
    lacking = -stream.shape[-1] % word
    stream = np.pad(stream, [(0, 0)] * (stream.ndim - 1) + [(0, lacking)])
    words = stream.reshape(*stream.shape[:-1], -1, word).astype(np.uint64)
    return (words << np.arange(word, dtype=np.uint64)).sum(axis=-1, dtype=np.uint64)


def words(codes, bits):
    """The same as a torch tensor of int32."""
    return torch.from_numpy(packed(codes, bits).astype(np.uint32).view(np.int32))


def nibbles(codes, high_first=False):
    low, high = codes[..., ::2], codes[..., 1::2]
    if high_first:
        low, high = high, low
    return torch.from_numpy((low | high << 4).astype(np.uint8))


def floats(random, *shape, dtype=torch.float32):
    """Factors, and what they are in float64."""
    made = torch.from_numpy(random.uniform(0.5, 2, shape or 1) * 1e-2).to(dtype).reshape(shape)
    return made, made.double().numpy()


def blown_up(factors, block, shape):
    """A grid of factors as one for each element."""
    for axis, length in zip((-2, -1), block, strict=True):
        factors = np.repeat(factors, length, axis=axis)
    return factors[..., : shape[-2], : shape[-1]]


def fp8_block(random, rows=160, columns=144, kind=torch.float8_e4m3fn, scale=torch.float32):
    codes = torch.from_numpy(random.normal(0, 100, (rows, columns))).to(kind)
    grid = -(-rows // 128), -(-columns // 128)
    factors, exact = floats(random, *grid, dtype=scale)
    numbers = codes.double().numpy() * blown_up(exact, (128, 128), codes.shape)
    return {"q.weight": codes, "q.weight_scale_inv": factors}, {}, "q.weight", numbers


def fp8_channel(random, rows=64, columns=80):
    codes = torch.from_numpy(random.normal(0, 100, (rows, columns))).to(torch.float8_e5m2)
    factors, exact = floats(random, rows, 1, dtype=torch.bfloat16)
    tensors = {"q.weight": codes, "q.weight_scale": factors, "q.input_scale": torch.ones(1)}
    return tensors, {}, "q.weight", codes.double().numpy() * exact


def fp8_of_experts(random, rows=32, columns=80):
    codes = torch.from_numpy(random.normal(0, 100, (3, rows, columns))).to(torch.float8_e4m3fn)
    factors, exact = floats(random, 3)
    tensors = {
        "experts.up_proj": codes,
        "experts.up_proj_weight_scale": factors,
        "experts.up_proj_input_scale": torch.ones(1),
    }
    return tensors, {}, "experts.up_proj", codes.double().numpy() * exact[:, None, None]


def fp8_renamed(random, scale="qscale_weight", grid=()):
    """Mistral's name of a scale, or a grid as Model Optimizer stores it."""
    codes = torch.from_numpy(random.normal(0, 100, (256, 384))).to(torch.float8_e4m3fn)
    factors, exact = floats(random, *grid)
    down, across = grid[::2] or (1, 1)
    each = blown_up(exact.reshape(down, across), (256 // down, 384 // across), (256, 384))
    numbers = codes.double().numpy() * each
    return {"wq.weight": codes, f"wq.{scale}": factors}, {}, "wq.weight", numbers


def int8_zero_points(random, rows=48, columns=96):
    codes = random.integers(-128, 128, (rows, columns))
    zeros = random.integers(-20, 20, (rows, 3))
    factors, exact = floats(random, rows, 3)
    numbers = (codes - np.repeat(zeros, 32, axis=1)) * np.repeat(exact, 32, axis=1)
    tensors = {
        "q.weight": torch.from_numpy(codes).to(torch.int8),
        "q.weight_scale": factors,
        "q.weight_zero_point": torch.from_numpy(zeros).to(torch.int8),
    }
    return tensors, {}, "q.weight", numbers


def ct_packed(random, bits, rows=40, columns=96, is_ordered=False):
    """compressed-tensors, asymmetric, groups of 32, with the groups of columns in any order."""
    codes = random.integers(0, 1 << bits, (rows, columns))
    zeros = random.integers(0, 1 << bits, (rows, columns // 32))
    factors, exact = floats(random, rows, columns // 32, dtype=torch.bfloat16)
    groups = np.arange(columns) // 32
    if is_ordered:
        random.shuffle(groups)
    numbers = (codes - zeros[:, groups]) * exact[:, groups]
    tensors = {
        "q.weight_packed": words(codes, bits),
        "q.weight_scale": factors,
        "q.weight_zero_point": words(zeros.T, bits).T.contiguous(),
        "q.weight_shape": torch.tensor([rows, columns]),
    }
    if is_ordered:
        tensors["q.weight_g_idx"] = torch.from_numpy(groups).to(torch.int32)
    said = {"num_bits": bits, "group_size": 32, "strategy": "group"}
    config = {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": said}}}
    return tensors, {"quantization_config": config}, "q.weight", numbers


def nvfp4(random, of="ct", rows=32, columns=96):
    codes = random.integers(0, 16, (rows, columns))
    factors = torch.from_numpy(random.uniform(1, 400, (rows, columns // 16)))
    factors = factors.to(torch.float8_e4m3fn)
    numbers = E2M1[codes] * np.repeat(factors.double().numpy(), 16, axis=1)
    if of == "ct":
        tensors = {"q.weight_packed": nibbles(codes), "q.weight_global_scale": torch.tensor([2e3])}
        numbers /= 2e3
    else:
        tensors = {"q.weight": nibbles(codes), "q.weight_scale_2": torch.tensor(2.0**-11)}
        numbers *= 2.0**-11
    return tensors | {"q.weight_scale": factors}, {}, "q.weight", numbers


def nvfp4_of_experts(random, inputs=96, outputs=40):
    """Model Optimizer's, with the codes of a byte and those of a scale in a column."""
    codes = random.integers(0, 16, (3, inputs, outputs))
    factors = torch.from_numpy(random.uniform(1, 400, (3, inputs // 16, outputs)))
    factors = factors.to(torch.float8_e4m3fn)
    whole, exact = floats(random, 3)
    numbers = E2M1[codes] * np.repeat(factors.double().numpy(), 16, axis=1)
    packed_down = codes[:, ::2] | codes[:, 1::2] << 4
    tensors = {
        "experts.up_proj": torch.from_numpy(packed_down.astype(np.uint8)),
        "experts.up_proj_weight_scale": factors,
        "experts.up_proj_weight_scale_2": whole,
    }
    return tensors, {}, "experts.up_proj", numbers * exact[:, None, None]


def mxfp4(random, is_stacked=False, columns=96, dot="_"):
    lead = (3, 16) if is_stacked else (48,)
    codes = random.integers(0, 16, (*lead, columns))
    exponents = random.integers(110, 130, (*lead, columns // 32))
    numbers = E2M1[codes] * np.repeat(np.ldexp(1.0, exponents - 127), 32, axis=-1)
    scales = torch.from_numpy(exponents.astype(np.uint8))
    if is_stacked:
        blocks = nibbles(codes).reshape(*lead, columns // 32, 16)
        tensors = {f"experts.up{dot}blocks": blocks, f"experts.up{dot}scales": scales}
        return tensors, {}, "experts.up", numbers
    return {"q.weight_packed": nibbles(codes), "q.weight_scale": scales}, {}, "q.weight", numbers


def gptq(random, bits=4, inputs=128, outputs=64, group=32, version="gptq", is_ordered=False):
    codes = random.integers(0, 1 << bits, (inputs, outputs))
    zeros = random.integers(1, 1 << bits, (inputs // group, outputs))
    factors, exact = floats(random, inputs // group, outputs, dtype=torch.float16)
    groups = np.arange(inputs) // group
    if is_ordered:
        random.shuffle(groups)
    numbers = ((codes - zeros[groups]) * exact[groups]).T
    stored = zeros - 1 if version == "gptq" else zeros
    tensors = {
        "q.qweight": words(codes.T, bits).T.contiguous(),
        "q.qzeros": words(stored, bits),
        "q.scales": factors,
        "q.g_idx": torch.from_numpy(groups).to(torch.int32),
    }
    config = {"quant_method": "gptq", "bits": bits, "checkpoint_format": version}
    return tensors, {"quantization_config": config}, "q.weight", numbers


def awq(random, inputs=96, outputs=64, group=32):
    order = [0, 2, 4, 6, 1, 3, 5, 7]

    def stored(codes):
        eight = codes.reshape(len(codes), -1, 8)[:, :, order]
        return words(eight.reshape(len(codes), -1), 4)

    codes = random.integers(0, 16, (inputs, outputs))
    zeros = random.integers(0, 16, (inputs // group, outputs))
    factors, exact = floats(random, inputs // group, outputs, dtype=torch.float16)
    groups = np.arange(inputs) // group
    numbers = ((codes - zeros[groups]) * exact[groups]).T
    tensors = {"q.qweight": stored(codes), "q.qzeros": stored(zeros), "q.scales": factors}
    config = {"quant_method": "awq", "bits": 4, "version": "gemm"}
    return tensors, {"quantization_config": config}, "q.weight", numbers


def bnb_4bit(random, shape=(48, 128), is_nested=True, size=64):
    numel = shape[0] * shape[1]
    codes = random.integers(0, 16, numel)
    table = torch.from_numpy(NF4).float()
    blocks = -(-numel // size)
    state = {"quant_type": "nf4", "blocksize": size, "dtype": "bfloat16", "shape": [*shape]}
    tensors = {"q.weight": nibbles(codes, high_first=True).reshape(-1, 1)}
    if is_nested:
        inner = random.integers(0, 256, blocks)
        nested, exact = floats(random, -(-blocks // 256))
        map256 = torch.from_numpy(random.uniform(-1, 1, 256)).float()
        absmax = map256.double().numpy()[inner] * np.repeat(exact, 256)[:blocks] + 0.125
        state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.125}
        tensors |= {
            "q.weight.absmax": torch.from_numpy(inner.astype(np.uint8)),
            "q.weight.nested_absmax": nested,
            "q.weight.nested_quant_map": map256,
        }
    else:
        tensors["q.weight.absmax"], absmax = floats(random, blocks)
    text = np.frombuffer(json.dumps(state).encode(), np.uint8).copy()
    tensors |= {
        "q.weight.quant_map": table,
        "q.weight.quant_state.bitsandbytes__nf4": torch.from_numpy(text),
    }
    numbers = table.double().numpy()[codes] * np.repeat(absmax, size)[:numel]
    return tensors, {}, "q.weight", numbers.reshape(shape)


def bnb_int8(random, rows=64, columns=48):
    codes = random.integers(-127, 128, (rows, columns))
    factors, exact = floats(random, rows)
    tensors = {
        "q.weight": torch.from_numpy(codes).to(torch.int8),
        "q.SCB": factors,
        "q.weight_format": torch.tensor(0, dtype=torch.uint8),
    }
    return tensors, {}, "q.weight", codes * exact[:, None] / 127


def torchao(random, rows=48, columns=64):
    codes = random.integers(-8, 8, (rows, columns))
    zeros = random.integers(-3, 4, (rows, 2))
    factors, exact = floats(random, rows, 2)
    numbers = (codes - np.repeat(zeros, 32, axis=1)) * np.repeat(exact, 32, axis=1)
    tensors = {
        "q._weight_qdata": torch.from_numpy(codes).to(torch.int8),
        "q._weight_scale": factors,
        "q._weight_zero_point": torch.from_numpy(zeros).to(torch.int8),
    }
    return tensors, {}, "q.weight", numbers


def quanto(random, shape=(48, 64)):
    codes = random.integers(-127, 128, shape)
    factors, exact = floats(random, shape[0], *[1] * (len(shape) - 1))
    tensors = {
        "q.weight._data": torch.from_numpy(codes).to(torch.int8),
        "q.weight._scale": factors,
        "q.input_scale": torch.ones(()),
    }
    return tensors, {}, "q.weight", codes * exact


def mlx(random, bits=4, size=64, rows=40, columns=128):
    codes = random.integers(0, 1 << bits, (rows, columns))
    factors, exact = floats(random, rows, columns // size, dtype=torch.bfloat16)
    biases, shifts = floats(random, rows, columns // size, dtype=torch.bfloat16)
    numbers = codes * np.repeat(exact, size, 1) - np.repeat(shifts, size, 1)
    tensors = {
        "q.weight": torch.from_numpy(packed(codes, bits).astype(np.uint32)),
        "q.scales": factors,
        "q.biases": -biases,
    }
    config = {"quantization": {"group_size": size, "bits": bits}}
    return tensors, config, "q.weight", numbers.astype(np.float32).astype(np.float64)


def mlx_mode(random, mode="mxfp8", rows=40, columns=128):
    bits, size = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}[mode]
    codes = random.integers(0, 1 << bits, (rows, columns))
    if bits == 8:
        codes &= 0xF7  # no NaN
        values = np.arange(256, dtype=np.uint8)
        values = torch.from_numpy(values).view(torch.float8_e4m3fn).double().numpy()
    else:
        values = E2M1
    scales = random.integers(112, 120, (rows, columns // size)).astype(np.uint8)
    if mode == "nvfp4":
        exact = torch.from_numpy(scales).view(torch.float8_e4m3fn).double().numpy()
    else:
        exact = np.ldexp(1.0, scales.astype(int) - 127)
    tensors = {
        "q.weight": torch.from_numpy(packed(codes, bits).astype(np.uint32)),
        "q.scales": torch.from_numpy(scales),
    }
    config = {"quantization": {"group_size": size, "bits": bits, "mode": mode}}
    return tensors, config, "q.weight", values[codes] * np.repeat(exact, size, axis=1)


# The tensors, the configuration, the weight's name and its numbers, by what is stored; and the
# encoding that reads it.
STORED = {
    "fp8 in blocks": ("scaled", fp8_block),
    "fp8 in uneven blocks of exponents": (
        "scaled",
        lambda r: fp8_block(r, 130, 300, scale=torch.float8_e8m0fnu),
    ),
    "fp8 by channel": ("scaled", fp8_channel),
    "fp8 of experts": ("scaled", fp8_of_experts),
    "fp8 of Mistral": ("scaled", fp8_renamed),
    "fp8 in a grid of four dimensions": (
        "scaled",
        lambda r: fp8_renamed(r, "weight_scale", (2, 1, 3, 1)),
    ),
    "int8 in groups with zero points": ("scaled", int8_zero_points),
    **{f"ct {b} bits": ("ct_packed", lambda r, b=b: ct_packed(r, b)) for b in range(2, 9)},
    "ct in an order of groups": ("ct_packed", lambda r: ct_packed(r, 4, is_ordered=True)),
    "nvfp4 of compressed-tensors": ("nvfp4", nvfp4),
    "nvfp4 of modelopt": ("nvfp4", lambda r: nvfp4(r, "modelopt")),
    "nvfp4 of experts of modelopt": ("nvfp4", nvfp4_of_experts),
    "mxfp4": ("mx", mxfp4),
    "mxfp4 of gpt-oss": ("mx", lambda r: mxfp4(r, is_stacked=True)),
    "mxfp4 of gpt-oss as published": ("mx", lambda r: mxfp4(r, is_stacked=True, dot=".")),
    **{f"gptq {b} bits": ("gptq", lambda r, b=b: gptq(r, b)) for b in (2, 3, 4, 8)},
    "gptq v2": ("gptq", lambda r: gptq(r, version="gptq_v2")),
    "gptq in an order of groups": ("gptq", lambda r: gptq(r, 3, is_ordered=True)),
    "awq": ("awq", awq),
    "nf4 twice quantised": ("bnb_4bit", bnb_4bit),
    "nf4 of rows that share blocks": ("bnb_4bit", lambda r: bnb_4bit(r, (33, 50), False)),
    "bnb int8": ("bnb_int8", bnb_int8),
    "torchao": ("torchao", torchao),
    "quanto": ("quanto", quanto),
    "quanto of a convolution": ("quanto", lambda r: quanto(r, (16, 8, 3, 3))),
    **{f"mlx {b} bits": ("mlx", lambda r, b=b: mlx(r, b)) for b in (2, 3, 4, 5, 6, 8)},
    "mlx by 32": ("mlx", lambda r: mlx(r, 8, 32)),
    **{f"mlx {m}": ("mlx", lambda r, m=m: mlx_mode(r, m)) for m in ("mxfp4", "mxfp8", "nvfp4")},
}
