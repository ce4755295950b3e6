"""Files and folders that people hand over and that are not read: what each is, told by its first
bytes or its name, and what makes a checkpoint of it."""

from pathlib import Path
from typing import NamedTuple

from scalecheck.checkpoint.archive import gzip
from scalecheck.checkpoint.archive.tar import BLOCK, is_tar
from scalecheck.errors import CheckpointError


class _Kind(NamedTuple):
    """What a file is, as in "is …", and what to do."""

    what: str
    help: str = ""


_UNPACK = "unpack it first"
_TF = "tf2onnx converts it to ONNX, which is read: python -m tf2onnx.convert"
_WEB = "download the file itself; of the Hub that is the link `resolve`, not `blob`"

# By where they stand in the file, and the bytes that stand there.
_BYTES: tuple[tuple[int, bytes, _Kind], ...] = (
    (0, b"version https://git-lfs", _Kind("a Git LFS pointer, not the file", "git lfs pull")),
    (0, b"\x1f\x8b", _Kind("compressed with gzip", f"{_UNPACK}: gunzip")),
    (0, b"\x28\xb5\x2f\xfd", _Kind("compressed with zstd", f"{_UNPACK}: unzstd")),
    (0, b"\xfd7zXZ\0", _Kind("compressed with xz", f"{_UNPACK}: unxz")),
    (0, b"BZh", _Kind("compressed with bzip2", f"{_UNPACK}: bunzip2")),
    (0, b"7z\xbc\xaf\x27\x1c", _Kind("a 7z archive", _UNPACK)),
    (0, b"Rar!", _Kind("a rar archive", _UNPACK)),
    (0, b"<!doctype", _Kind("a web page, not a checkpoint", _WEB)),
    (0, b"<!DOCTYPE", _Kind("a web page, not a checkpoint", _WEB)),
    (0, b"<html", _Kind("a web page, not a checkpoint", _WEB)),
    (4, b"TFL3", _Kind("a TensorFlow Lite model", "inspect what it was converted from")),
    (4, b"ET12", _Kind("an ExecuTorch program", "inspect what it was exported from")),
    (0, b"ggjt", _Kind("a GGML file of before GGUF", "llama.cpp's convert scripts make it GGUF")),
    (0, b"tjgg", _Kind("a GGML file of before GGUF", "llama.cpp's convert scripts make it GGUF")),
    (0, b"lmgg", _Kind("a GGML file of before GGUF", "llama.cpp's convert scripts make it GGUF")),
    (0, b"fmgg", _Kind("a GGML file of before GGUF", "llama.cpp's convert scripts make it GGUF")),
    (0, b"PAR1", _Kind("a Parquet table, not a checkpoint")),
    (0, b"ARROW1", _Kind("an Arrow table, not a checkpoint")),
    (0, b"\x7fELF", _Kind("a program or library, not a checkpoint")),
    (0, b"\x89PNG", _Kind("a picture, not a checkpoint")),
    (0, b"\xff\xd8\xff", _Kind("a picture, not a checkpoint")),
    (0, b"%PDF", _Kind("a PDF, not a checkpoint")),
    (0, b"SQLite format 3\0", _Kind("an SQLite database, not a checkpoint")),
)
_NAMES: tuple[tuple[tuple[str, ...], _Kind], ...] = (
    ((".tflite",), _Kind("a TensorFlow Lite model", "inspect what it was converted from")),
    ((".mlmodel", ".mlpackage", ".mlmodelc"), _Kind("a Core ML model", "inspect its source")),
    ((".pdparams", ".pdopt"), _Kind("of PaddlePaddle", "paddle2onnx converts it to ONNX")),
    ((".params",), _Kind("of MXNet", "mx2onnx converts it to ONNX")),
    ((".caffemodel",), _Kind("of Caffe", "caffe2onnx converts it to ONNX")),
    ((".engine", ".plan", ".trt"), _Kind("a TensorRT engine", "inspect what it was built from")),
    ((".pte",), _Kind("an ExecuTorch program", "inspect what it was exported from")),
    ((".ot",), _Kind("of rust-bert", "inspect the torch or safetensors file beside it")),
    ((".pb", ".pbtxt"), _Kind("a TensorFlow graph", _TF)),
    ((".ckpt.index", ".ckpt.meta", ".data-00000-of-00001"), _Kind("of TensorFlow", _TF)),
    ((".joblib", ".pkl", ".pickle"), _Kind("a pickle of no checkpoint")),
    ((".json", ".yaml", ".yml", ".txt", ".md", ".csv"), _Kind("text, not a checkpoint")),
)
_FOLDERS: tuple[tuple[str, _Kind], ...] = (
    ("saved_model.pb", _Kind("a TensorFlow SavedModel", f"{_TF} --saved-model")),
    ("saved_model.pbtxt", _Kind("a TensorFlow SavedModel", f"{_TF} --saved-model")),
    ("variables.index", _Kind("the variables of a TensorFlow SavedModel", _TF)),
    ("coremldata.bin", _Kind("a Core ML model", "inspect what it was converted from")),
    ("Manifest.json", _Kind("a Core ML package", "inspect what it was converted from")),
)


def refuse(path: Path, head: bytes) -> None:
    """Raises CheckpointError where the first bytes of a file are of a kind that is not read."""
    for at, magic, kind in _BYTES:
        if head[at : at + len(magic)] == magic and not (magic == gzip.MAGIC and _is_tar(head)):
            raise CheckpointError(path, f"is {kind.what} ({path.stat().st_size} bytes)", kind.help)


def _is_tar(head: bytes) -> bool:
    """Whether what gzip compressed is a tar archive, which is read as one."""
    return is_tar(gzip.start_of(head, BLOCK))


def unknown(path: Path, head: bytes) -> CheckpointError:
    """The error of a file that no format recognises, by its name where that tells what it is."""
    for ends, kind in _NAMES:
        if path.name.endswith(ends):
            nbytes = path.stat().st_size
            return CheckpointError(path, f"is {kind.what} ({nbytes} bytes)", kind.help)
    return CheckpointError(path, f"is no checkpoint: it starts with {head[:8]!r}")


def unread_folder(path: Path) -> CheckpointError | None:
    """The error of a folder of a kind that is not read; None where it is of none that is known."""
    for name, kind in _FOLDERS:
        if (path / name).exists():
            return CheckpointError(path, f"is {kind.what}, by its {name}", kind.help)
    return None
