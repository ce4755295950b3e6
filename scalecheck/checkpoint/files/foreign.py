"""Files and folders that people hand over and that are not read: what each is, told by its first
bytes or its name, and what makes a checkpoint of it."""

import re
from os.path import isfile
from pathlib import Path
from typing import NamedTuple

from scalecheck.checkpoint.archive import gzip
from scalecheck.checkpoint.archive.tar import BLOCK, is_tar
from scalecheck.errors import CheckpointError
from scalecheck.report.formatting import excerpt


class _Kind(NamedTuple):
    """What a file is, as in "is …", and what to do."""

    what: str
    help: str = ""


_UNPACK = "unpack it first"
_TF = (
    "save its variables as npz: r = tf.train.load_checkpoint(PATH); "
    "np.savez('m.npz', **{n: r.get_tensor(n) for n in r.get_variable_to_shape_map()})"
)
_GRAPH = "convert it to ONNX: python -m tf2onnx.convert --graphdef PATH --output m.onnx"
_SAVED = "convert it to ONNX: python -m tf2onnx.convert --saved-model PATH --output m.onnx"
_PADDLE = (
    "save it as npz: np.savez('m.npz', **{k: v.numpy() for k, v in paddle.load(PATH).items()})"
)
_GGML = _Kind(
    "a GGML file, older than GGUF", "convert it with llama.cpp's convert_llama_ggml_to_gguf.py"
)
_WEB = _Kind(
    "a web page, not a checkpoint",
    "download the file itself; on the Hub its link has `resolve` in place of `blob`",
)
_LITE = _Kind("a TensorFlow Lite model", "name the model that it was converted from")
_CORE_ML = _Kind("a Core ML model", "name the model that it was converted from")
_EXECUTORCH = _Kind("an ExecuTorch program", "name the model that it was exported from")
_PICKLED = "load it in Python, and save its arrays with numpy.savez or safetensors"

# By where they stand in the file, and the bytes that stand there.
_BYTES: tuple[tuple[int, bytes, _Kind], ...] = (
    (0, b"version https://git-lfs", _Kind("a Git LFS pointer, not the file", "git lfs pull")),
    (0, b"\x1f\x8b", _Kind("compressed with gzip", f"{_UNPACK}: gunzip")),
    (0, b"\x28\xb5\x2f\xfd", _Kind("compressed with zstd", f"{_UNPACK}: unzstd")),
    (0, b"\xfd7zXZ\0", _Kind("compressed with xz", f"{_UNPACK}: unxz")),
    (0, b"BZh", _Kind("compressed with bzip2", f"{_UNPACK}: bunzip2")),
    (0, b"7z\xbc\xaf\x27\x1c", _Kind("a 7z archive", _UNPACK)),
    (0, b"Rar!", _Kind("a rar archive", _UNPACK)),
    (0, b"\x04\x22\x4d\x18", _Kind("compressed with lz4", f"{_UNPACK}: unlz4")),
    (0, b"<!doctype", _WEB),
    (0, b"<!DOCTYPE", _WEB),
    (0, b"<html", _WEB),
    (4, b"TFL3", _LITE),
    (4, b"ET12", _EXECUTORCH),
    (0, b"ggjt", _GGML),
    (0, b"tjgg", _GGML),
    (0, b"lmgg", _GGML),
    (0, b"fmgg", _GGML),
    (0, b"algg", _GGML),
    (0, b"PAR1", _Kind("a Parquet table, not a checkpoint")),
    (0, b"ARROW1", _Kind("an Arrow table, not a checkpoint")),
    (0, b"\x7fELF", _Kind("a program or library, not a checkpoint")),
    (0, b"\x89PNG", _Kind("a picture, not a checkpoint")),
    (0, b"\xff\xd8\xff", _Kind("a picture, not a checkpoint")),
    (0, b"%PDF", _Kind("a PDF, not a checkpoint")),
    (0, b"MATLAB 5.0", _Kind("a MATLAB file", "save its arrays with scipy.io.loadmat, np.savez")),
    (0, b"SQLite format 3\0", _Kind("an SQLite database, not a checkpoint")),
)
_NAMES: tuple[tuple[tuple[str, ...], _Kind], ...] = (
    ((".tflite",), _LITE),
    ((".mlmodel", ".mlpackage", ".mlmodelc"), _CORE_ML),
    ((".pdparams", ".pdopt"), _Kind("a PaddlePaddle file", _PADDLE)),
    ((".pdmodel", ".pdiparams"), _Kind("a PaddlePaddle model", "convert it with paddle2onnx")),
    ((".params",), _Kind("an MXNet file", "convert it to ONNX: mxnet.onnx.export_model")),
    ((".caffemodel",), _Kind("a Caffe model", "convert it to ONNX with caffe2onnx")),
    ((".engine", ".plan", ".trt"), _Kind("a TensorRT engine", "name its source model")),
    ((".pte",), _EXECUTORCH),
    ((".ot",), _Kind("a file of tch or rust-bert", "name the torch or safetensors file beside it")),
    ((".pb", ".pbtxt"), _Kind("a TensorFlow graph", _GRAPH)),
    (
        (".ckpt.index", ".ckpt.meta", ".data-00000-of-00001"),
        _Kind("a part of a TensorFlow checkpoint", _TF),
    ),
    ((".joblib",), _Kind("a file of joblib", _PICKLED)),
    ((".pkl", ".pickle"), _Kind("a pickle that torch.save did not write", _PICKLED)),
    ((".json", ".yaml", ".yml", ".txt", ".md", ".csv"), _Kind("text, not a checkpoint")),
)
_FOLDERS: tuple[tuple[str, _Kind], ...] = (
    ("saved_model.pb", _Kind("a TensorFlow SavedModel", _SAVED)),
    ("saved_model.pbtxt", _Kind("a TensorFlow SavedModel", _SAVED)),
    ("coremldata.bin", _CORE_ML),
    ("Data/com.apple.CoreML", _CORE_ML),
)
_SHARD = ".data-00000-of-"  # in the names of a TensorFlow checkpoint's first file
_SCHEME = re.compile(r"(https?|hf|s3|gs|az|file):/+")
_HUB = re.compile(r"[\w.-]+/[\w.-]+")


def refuse(path: Path, head: bytes) -> None:
    """Raises CheckpointError where the first bytes of a file are of a kind that is not read."""
    if not head and path.suffix in (".mlmodelc", ".mlpackage"):
        raise CheckpointError(path, f"is {_CORE_ML.what}", _CORE_ML.help)
    for at, magic, kind in _BYTES:
        if head[at : at + len(magic)] == magic and not (magic == gzip.MAGIC and _is_tar(head)):
            raise CheckpointError(path, f"is {kind.what} ({path.stat().st_size} bytes)", kind.help)


def _is_tar(head: bytes) -> bool:
    """Whether what gzip compressed is a tar archive, which is read as one."""
    return is_tar(gzip.start_of(head, BLOCK))


def unknown(path: Path, head: bytes) -> CheckpointError:
    """The error of a file that no format recognises, by its name where that tells what it is."""
    kind = _by_name(path)
    if kind is None and path.name.endswith(".index") and _is_tensorflow(path.with_suffix("")):
        kind = _Kind("the index of a TensorFlow checkpoint", _TF)
    start = head.lstrip()[:16].lower()
    if kind is None and start.startswith((b"<!doctype html", b"<html")):
        kind = _WEB
    if kind is not None:
        return CheckpointError(path, f"is {kind.what} ({path.stat().st_size} bytes)", kind.help)
    if words := _text(head):
        return CheckpointError(path, f"is text, not a checkpoint: it starts with {words!r}")
    return CheckpointError(path, f"is no checkpoint: it starts with {head[:8]!r}")


def of_another_library(path: Path, error: CheckpointError) -> CheckpointError:
    """The error of a pickle or a zip that torch did not write."""
    kind = _by_name(path)
    if kind is None:
        return CheckpointError(path, error.problem, _PICKLED)
    return CheckpointError(path, f"is {kind.what} ({path.stat().st_size} bytes)", kind.help)


def missing(path: Path, problem: str) -> CheckpointError:
    """The error of a path at which there is nothing, with what was perhaps meant by it."""
    words = str(path)
    if _is_tensorflow(path):
        return CheckpointError(path, "is a TensorFlow checkpoint", _TF)
    if _SCHEME.match(words):
        return CheckpointError(path, f"{problem}; only local files are read", "download it first")
    if _HUB.fullmatch(words) and not path.parent.exists():
        hub = f"for a model of the Hub: hf download {words} --local-dir {path.name}"
        return CheckpointError(path, problem, hub)
    return CheckpointError(path, problem)


def unread_folder(path: Path) -> CheckpointError | None:
    """The error of a folder of a kind that is not read; None where it is of none that is known."""
    for name, kind in _FOLDERS:
        if (path / name).exists():
            return CheckpointError(path, f"is {kind.what}, by its {name}", kind.help)
    for file in sorted(path.glob("*.index")):
        if _is_tensorflow(file.with_suffix("")):
            help = _TF.replace("PATH", repr(str(file.with_suffix(""))))
            return CheckpointError(path, f"is a TensorFlow checkpoint, by its {file.name}", help)
    return None


def _by_name(path: Path) -> _Kind | None:
    return next((kind for ends, kind in _NAMES if path.name.endswith(ends)), None)


def _is_tensorflow(prefix: Path) -> bool:
    """Whether the files of a TensorFlow checkpoint lie at a prefix of their names."""
    folder = prefix.parent
    return isfile(folder / f"{prefix.name}.index") and any(
        file.name.startswith(f"{prefix.name}{_SHARD}") for file in folder.iterdir()
    )


def _text(head: bytes) -> str:
    """The first words of a text; empty where the bytes are of none."""
    try:
        words = head[:64].decode("ascii").strip()
    except UnicodeDecodeError:
        return ""
    is_text = len(words) > 3 and all(letter.isprintable() or letter.isspace() for letter in words)
    return excerpt(words, 40) if is_text else ""
