"""Arrays in the bytes of files as NumPy and JAX programs write them, made without JAX."""

import io
import struct
from collections.abc import Callable, Mapping
from typing import Any

import msgpack
import numpy as np
import torch


def bits(tensor: torch.Tensor) -> np.ndarray:
    """Its numbers as numpy has them; of bfloat16, whose name numpy does not keep, the bytes."""
    if tensor.dtype is not torch.bfloat16:
        return tensor.numpy()
    return tensor.view(torch.uint16).numpy().view("V2")


def npy(array: np.ndarray) -> bytes:
    """What np.save writes."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(arrays: Mapping[str, np.ndarray], save: Callable[..., None] = np.savez) -> bytes:
    """What np.savez writes."""
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def adam_tree() -> dict[str, np.ndarray]:
    """A model and its optimizer's state, as JAX programs flatten them."""
    rng = np.random.default_rng(0)
    shapes = {"up/kernel": (4, 6), "up/bias": (6,), "ln/scale": (4,)}
    params = {name: rng.standard_normal(shape, "f4") for name, shape in shapes.items()}
    return {
        "step": np.array(30),
        **{f"params/{name}": array for name, array in params.items()},
        "opt/0/count": np.array(30, "i4"),
        **{f"opt/0/mu/{name}": 0.01 * array for name, array in params.items()},
        **{f"opt/0/nu/{name}": 1e-3 * array**2 for name, array in params.items()},
    }


def flax_extension(array: np.ndarray, kind: int = 1, name: str = "") -> bytes:
    """An array as flax.serialization packs one."""
    packed = (array.shape, name or array.dtype.name, array.tobytes())
    return msgpack.packb(msgpack.ExtType(kind, msgpack.packb(packed, use_bin_type=True)))


def flax_file(node: object) -> bytes:
    """What flax.serialization.to_bytes writes of maps of arrays and numbers."""
    if isinstance(node, dict):
        head = struct.pack(">BI", 0xDF, len(node)) if len(node) > 15 else bytes([0x80 | len(node)])
        return head + b"".join(msgpack.packb(k) + flax_file(v) for k, v in node.items())
    if isinstance(node, bytes):
        return node  # packed already
    return flax_extension(node) if isinstance(node, np.ndarray) else msgpack.packb(node)


def nested(tree: Mapping[str, object], separator: str = "/") -> dict[str, Any]:
    """Flat names as maps in maps."""
    root: dict[str, Any] = {}
    for name, value in tree.items():
        *keys, last = name.split(separator)
        node = root
        for key in keys:
            node = node.setdefault(key, {})
        node[last] = value
    return root
