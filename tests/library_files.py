"""Files of formats that have a library: written by it, in memory."""

import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import h5py
import numpy as np
import onnx
import torch

Model = Mapping[str, torch.Tensor]

_GGUF = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}


def words(tensor: torch.Tensor) -> np.ndarray:
    """Its numbers; of bfloat16, which numpy lacks, its words."""
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def gguf_file(model: Model, kinds: Mapping[str, str] | None = None) -> bytes:
    """kinds: the quantised type of a tensor by its name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
        for name, tensor in model.items():
            word = (kinds or {}).get(name)
            kind = gguf.GGMLQuantizationType[word or _GGUF[tensor.dtype]]
            numbers = words(tensor)
            if word:
                numbers = gguf.quants.quantize(numbers, kind)
            if tensor.dtype == torch.bfloat16:
                numbers = numbers.view(np.uint8)
            writer.add_tensor(name, np.ascontiguousarray(numbers), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def hdf5_file(model: Model, attributes: Mapping[str, Any] | None = None, **options: Any) -> bytes:
    """Datasets in groups by the parts of their names; bfloat16 as Keras has it."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.attrs.update(attributes or {})
        for name, tensor in model.items():
            numbers = words(tensor)
            if tensor.dtype == torch.bfloat16:
                dataset = file.create_dataset(name, data=numbers.view("V2"))
                dataset.attrs["dtype"] = "bfloat16"
            else:
                own = options if numbers.ndim else {}
                file.create_dataset(name, data=numbers, **own)
    return content.getvalue()


def keras_file(weights: bytes, config: object = None, method: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, text in (
            ("metadata.json", json.dumps({"keras_version": "3.15.1"}).encode()),
            ("config.json", json.dumps(config).encode()),
            ("model.weights.h5", weights),
        ):
            archive.writestr(zipfile.ZipInfo(name), text, compress_type=method)
    return content.getvalue()


def onnx_file(model: Model) -> bytes:
    """Initializers of a graph, their words in raw_data."""
    kinds = {torch.bfloat16: onnx.TensorProto.BFLOAT16}
    initializers = []
    for name, tensor in model.items():
        numbers = words(tensor)
        kind = kinds.get(tensor.dtype) or onnx.helper.np_dtype_to_tensor_dtype(numbers.dtype)
        proto = onnx.TensorProto(name=name, data_type=kind, dims=numbers.shape)
        proto.raw_data = numbers.tobytes()
        initializers.append(proto)
    graph = onnx.helper.make_graph([], "g", [], [], initializers)
    return onnx.helper.make_model(graph, ir_version=10).SerializeToString(deterministic=True)
