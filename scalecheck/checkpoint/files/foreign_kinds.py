"""The kinds of files and folders that people hand over and that are not read: what each is, told by
its first bytes or its name, and what makes a checkpoint of it."""

from typing import NamedTuple


class Kind(NamedTuple):
    """What a file is, as in "is …", and what to do. command: a shell command that makes a
    checkpoint of it, with {path}, and {code} for Python code that is quoted; new: the path of that
    checkpoint, where {stem} is the path without its last suffix. is_beside: it lies beside the
    weights of a model."""

    what: str
    help: str = ""
    command: str = ""
    new: str = ""
    code: str = ""
    is_beside: bool = False


def _beside(what: str) -> Kind:
    return Kind(what, is_beside=True)


_PYTHON = "python -c {code}"
TF_CHECKPOINT = Kind(
    "a TensorFlow checkpoint",
    "save its variables as npz",
    _PYTHON,
    "{path}.npz",
    "import numpy as np, tensorflow as tf; r = tf.train.load_checkpoint({path}); "
    "np.savez({new}, **{{n: r.get_tensor(n) for n in r.get_variable_to_shape_map()}})",
)
TF_PART = TF_CHECKPOINT._replace(what="a part of a TensorFlow checkpoint")
_TF2ONNX = "python -m tf2onnx.convert --{kind} {{path}} --output {{new}}"
SAVED_MODEL = Kind(
    "a TensorFlow SavedModel",
    "convert it to ONNX",
    _TF2ONNX.format(kind="saved-model"),
    "{path}.onnx",
)
_GRAPH = Kind(
    "a TensorFlow graph",
    "convert it to ONNX: python -m tf2onnx.convert --graphdef FILE --inputs IN:0 --outputs OUT:0 "
    "--output model.onnx",
)
_LITE = Kind(
    "a TensorFlow Lite model", "convert it to ONNX", _TF2ONNX.format(kind="tflite"), "{stem}.onnx"
)
_PADDLE = Kind(
    "a PaddlePaddle file",
    "save it as npz",
    _PYTHON,
    "{stem}.npz",
    "import numpy as np, paddle; "
    "np.savez({new}, **{{k: np.asarray(v) for k, v in paddle.load({path}).items()}})",
)
LFS = Kind("a Git LFS pointer, not the file", "fetch the file", "git lfs pull", "{path}")
_SOURCE = "give the model that it was {} from"
CORE_ML = Kind("a Core ML model", _SOURCE.format("converted"))
_EXECUTORCH = Kind("an ExecuTorch program", _SOURCE.format("exported"))
_COMPILED = _SOURCE.format("compiled")
_GGML = Kind(
    "a GGML file, older than GGUF", "convert it with llama.cpp's convert_llama_ggml_to_gguf.py"
)
WEB = Kind(
    "a web page, not a checkpoint",
    "download the file itself; on the Hub its link has `resolve` in place of `blob`",
)
PICKLED = "load it in Python, and save its arrays with numpy.savez or safetensors"
_UNPACK = "unpack it first"
_IMAGE = Kind("a picture, not a checkpoint")
_AUDIO = Kind("a recording, not a checkpoint")
_PROGRAM = Kind("a program or library, not a checkpoint")


def _compressed(name: str, program: str) -> Kind:
    return Kind(f"compressed with {name}", _UNPACK, f"{program} -k {{path}}", "{stem}")


# By where they stand in the file, and the bytes that stand there.
BYTES: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"version https://git-lfs", LFS),
    (0, b"\x1f\x8b", _compressed("gzip", "gunzip")),
    (0, b"\x28\xb5\x2f\xfd", _compressed("zstd", "unzstd")),
    (0, b"\xfd7zXZ\0", _compressed("xz", "unxz")),
    (0, b"BZh", _compressed("bzip2", "bunzip2")),
    (0, b"\x04\x22\x4d\x18", _compressed("lz4", "unlz4")),
    (0, b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", f"{_UNPACK}: 7z x")),
    (0, b"Rar!", Kind("a rar archive", f"{_UNPACK}: unrar x")),
    (0, b"<!doctype", WEB),
    (0, b"<!DOCTYPE", WEB),
    (0, b"<html", WEB),
    (4, b"TFL3", _LITE),
    (4, b"ET12", _EXECUTORCH),
    (0, b"ggjt", _GGML),
    (0, b"tjgg", _GGML),
    (0, b"lmgg", _GGML),
    (0, b"fmgg", _GGML),
    (0, b"algg", _GGML),
    (0, b"RKNN", Kind("an RKNN model", _SOURCE.format("converted"))),
    (0, b"PAR1", Kind("a Parquet table, not a checkpoint")),
    (0, b"ARROW1", Kind("an Arrow table, not a checkpoint")),
    (0, b"\x7fELF", _PROGRAM),
    (0, b"MZ\x90\0", _PROGRAM),
    (0, b"\x89PNG", _IMAGE),
    (0, b"\xff\xd8\xff", _IMAGE),
    (0, b"GIF8", _IMAGE),
    (8, b"WEBP", _IMAGE),
    (8, b"WAVE", _AUDIO),
    (0, b"fLaC", _AUDIO),
    (0, b"OggS", _AUDIO),
    (0, b"ID3", _AUDIO),
    (4, b"ftyp", Kind("a video, not a checkpoint")),
    (0, b"%PDF", Kind("a PDF, not a checkpoint")),
    (0, b"MATLAB 5.0", Kind("a MATLAB file", "save its arrays with scipy.io.loadmat, np.savez")),
    (0, b"RDX3\n", Kind("a file of R", "save its arrays as npz or HDF5")),
    (0, b"SQLite format 3\0", Kind("an SQLite database, not a checkpoint")),
)
# By whole names first, then by how they end.
NAMES: tuple[tuple[tuple[str, ...], Kind], ...] = (
    (
        ("tokenizer.json", "tokenizer.model", ".spm", "vocab.json", "merges.txt", "vocab.txt"),
        _beside("a tokenizer, not a checkpoint"),
    ),
    (("tokenizer_config.json",), _beside("a tokenizer's configuration, not a checkpoint")),
    (("adapter_config.json",), _beside("an adapter's configuration, not its weights")),
    (
        ("generation_config.json", "config.json", "params.json"),
        _beside("a configuration, not weights"),
    ),
    (("trainer_state.json",), _beside("a Trainer's log, not a checkpoint")),
    ((".tflite",), _LITE),
    ((".mlmodel", ".mlpackage", ".mlmodelc"), CORE_ML),
    ((".pdparams", ".pdopt"), _PADDLE),
    ((".pdmodel", ".pdiparams"), Kind("a PaddlePaddle model", "convert it with paddle2onnx")),
    ((".params",), Kind("an MXNet file", "convert it to ONNX: mxnet.onnx.export_model")),
    ((".caffemodel",), Kind("a Caffe model", "convert it to ONNX with caffe2onnx")),
    ((".engine", ".plan", ".trt"), Kind("a TensorRT engine", _COMPILED)),
    ((".uff",), Kind("a UFF model", _SOURCE.format("converted"))),
    ((".dlc",), Kind("a Qualcomm DLC model", _SOURCE.format("converted"))),
    ((".rknn",), Kind("an RKNN model", _SOURCE.format("converted"))),
    ((".om",), Kind("an Ascend model", _COMPILED)),
    ((".hef",), Kind("a Hailo model", _COMPILED)),
    ((".mnn",), Kind("an MNN model", _SOURCE.format("converted"))),
    ((".ncnn.param", ".ncnn.bin", ".param"), Kind("an ncnn model", _SOURCE.format("converted"))),
    ((".weights",), Kind("a Darknet file", "convert it to torch or ONNX")),
    ((".t7",), Kind("a file of Lua Torch 7", "read it with torchfile, and save it as npz")),
    ((".cbm",), Kind("a CatBoost model, which has no weight tensors")),
    ((".ubj", ".xgb"), Kind("an XGBoost model, which has no weight tensors")),
    ((".pte",), _EXECUTORCH),
    ((".ot",), Kind("a file of tch or rust-bert", "give the torch or safetensors file beside it")),
    ((".pb", ".pbtxt"), _GRAPH),
    ((".ckpt.index", ".ckpt.meta"), TF_PART),
    ((".tfrecord", ".tfrecords"), Kind("a TFRecord file of data, not a checkpoint")),
    ((".joblib",), Kind("a file of joblib", PICKLED)),
    ((".skops",), Kind("a file of skops", PICKLED)),
    ((".pkl", ".pickle"), Kind("a pickle that torch.save did not write", PICKLED)),
    ((".mar",), Kind("a TorchServe archive", _UNPACK, "unzip {path} -d {stem}", "{stem}")),
    ((".ptl",), Kind("a PyTorch Mobile program", _SOURCE.format("exported"))),
    ((".whl", ".egg"), Kind("a Python package, not a checkpoint")),
    ((".docx", ".xlsx", ".pptx"), Kind("an Office document, not a checkpoint")),
    ((".jar",), Kind("a Java archive, not a checkpoint")),
    ((".py", ".sh", ".pyc"), Kind("a script, not a checkpoint")),
    ((".ipynb",), Kind("a notebook, not a checkpoint")),
    ((".svg", ".bmp", ".tiff"), _IMAGE),
    (
        (".json", ".jsonl", ".yaml", ".yml", ".toml", ".txt", ".md", ".csv", ".log", ".xml"),
        _beside("text, not a checkpoint"),
    ),
)
FOLDERS: tuple[tuple[str, Kind], ...] = (
    ("saved_model.pb", SAVED_MODEL),
    ("saved_model.pbtxt", SAVED_MODEL),
    ("coremldata.bin", CORE_ML),
    ("Data/com.apple.CoreML", CORE_ML),
)
OPENVINO = Kind("an OpenVINO model", _SOURCE.format("converted"))
TENSORBOARD = Kind("a log of TensorBoard, not a checkpoint")
ZIP = Kind("a zip archive", _UNPACK, "unzip {path} -d {stem}")
