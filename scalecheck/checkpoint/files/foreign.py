"""Files and folders that people hand over and that are not read: the error of each, which names it
as what it is and says what makes a checkpoint of it."""

import re
from collections.abc import Sequence
from json import dumps
from os.path import isfile
from pathlib import Path
from shlex import quote

from scalecheck.checkpoint.files import foreign_kinds as known
from scalecheck.checkpoint.files.foreign_kinds import Kind
from scalecheck.checkpoint.files.weight_files import SUFFIXES, chosen, is_weights
from scalecheck.errors import CheckpointError, Fix, ScalecheckError
from scalecheck.report.formatting import excerpt

_SHARD = ".data-00000-of-"  # in the names of a TensorFlow checkpoint's first file
_TF_SHARD = re.compile(r"(.+)\.(?:data-\d{5}-of-\d{5}|index|meta)")
_TF_EVENTS = ".tfevents."
_LFS_SIZE = re.compile(rb"^size (\d{1,18})$", re.MULTILINE)
_MAX_TEXT_NBYTES = 1 << 16  # of an answer of a server that was saved as a file
_AGAIN = "a failed download leaves such a text: download the file again"


def refuse(path: Path, head: bytes) -> None:
    """Raises CheckpointError where the first bytes of a file are of a kind that is not read."""
    if not head and path.suffix in (".mlmodelc", ".mlpackage"):
        raise _refusal(path, known.CORE_ML, "")
    for at, magic, kind in known.BYTES:
        if head[at : at + len(magic)] == magic and not _is_tar(head):
            present = str(path.stat().st_size)
            if kind is known.LFS and (whole := _LFS_SIZE.search(head)):
                present = f"{present} of {int(whole[1])}"
            raise _refusal(path, kind, f"{present} bytes")
    is_saved_text = path.suffix in SUFFIXES and path.stat().st_size < _MAX_TEXT_NBYTES
    if is_saved_text and not _is_web(head) and (words := _text(head)):
        raise CheckpointError(path, _starts(words), _AGAIN)


def _refusal(path: Path, kind: Kind, size: str, prefix: Path | None = None) -> CheckpointError:
    """The error of a file of a kind. prefix: the path that its command takes in place of its
    own."""
    problem = f"is {kind.what}" + (f" ({size})" if size else "")
    source = str(prefix or path)
    stem = source.removesuffix(Path(source).suffix)
    new = kind.new.format(path=source, stem=stem)
    if not kind.command or (new == stem == source):  # its name has no suffix to take away
        return (
            _beside(path, problem) if kind.is_beside else CheckpointError(path, problem, kind.help)
        )
    code = quote(kind.code.format(path=dumps(source), new=dumps(new)))
    before = kind.command.format(path=quote(source), stem=quote(stem), new=quote(new), code=code)
    return CheckpointError(path, problem, kind.help, Fix(new, str(path), before=before))


def _beside(path: Path, problem: str) -> CheckpointError:
    """The error of a file that lies beside a model, with the folder where that can be read."""
    if not (folder := model_folder(path)):
        return CheckpointError(path, problem)
    fix = Fix(str(folder), str(path))
    return CheckpointError(path, problem, "the model is in its folder", fix)


def model_folder(path: Path) -> Path | None:
    """The folder of a file where other files of it are a model that can be read."""
    from scalecheck.checkpoint.open import open_part

    try:
        names = [entry.name for entry in path.parent.iterdir() if not entry.is_dir()]
        choice = chosen(path.parent, names)
        if choice is None or path.name in choice.files:
            return None
        open_part(path.parent)
    except (OSError, ScalecheckError):
        return None
    return path.parent


def _is_tar(head: bytes) -> bool:
    """Whether it is compressed with gzip, and is a tar archive, which is read as one."""
    from scalecheck.checkpoint.archive.gzip import start_of
    from scalecheck.checkpoint.archive.tar import BLOCK, is_tar

    return is_tar(start_of(head, BLOCK))


def _is_web(head: bytes) -> bool:
    return head.lstrip()[:16].lower().startswith((b"<!doctype html", b"<html"))


def unknown(path: Path, head: bytes) -> CheckpointError:
    """The error of a file that no format recognises, by its name where that tells what it is."""
    size = f"{path.stat().st_size} bytes"
    if _is_web(head):
        return _refusal(path, known.WEB, size)
    if (match := _TF_SHARD.fullmatch(path.name)) and _is_tensorflow(path.with_name(match[1])):
        return _refusal(path, known.TF_PART, size, path.with_name(match[1]))
    if match and ".data-" in path.name:
        return CheckpointError(path, f"is {known.TF_PART.what} without its .index ({size})")
    if b"<net " in head:
        return _refusal(path, known.OPENVINO, size)
    if b"\x05<unk>" in head[:64]:
        return _refusal(path, Kind("a SentencePiece tokenizer, not a checkpoint"), size)
    if _TF_EVENTS in path.name:
        return _refusal(path, known.TENSORBOARD, size)
    if kind := _by_name(path):
        return _refusal(path, kind, size)
    if words := _text(head):
        return _beside(path, _starts(words))
    return CheckpointError(path, f"is no checkpoint: it starts with {head[:8]!r}")


def _starts(words: str) -> str:
    return f"is text, not a checkpoint: it starts with {words!r}"


def of_another_library(
    path: Path, error: CheckpointError, members: Sequence[str]
) -> CheckpointError:
    """The error of a pickle or a zip that torch did not write. members: those of a zip."""
    kind = _by_name(path)
    if kind is None and members:
        return _of_zip(path, error, members)
    if kind is None:
        return CheckpointError(path, error.problem, known.PICKLED)
    return _refusal(path, kind, f"{path.stat().st_size} bytes")


def _of_zip(path: Path, error: CheckpointError, members: Sequence[str]) -> CheckpointError:
    """The error of a zip archive, with how to read the first file of weights in it."""
    weights = next((name for name in members if is_weights(name.rpartition("/")[2])), None)
    if weights is None or ".." in weights or weights.startswith("/"):
        return CheckpointError(path, error.problem)
    folder = str(path.with_suffix("")) if path.suffix else f"{path}-unpacked"
    before = f"unzip {quote(str(path))} -d {quote(folder)}"
    fix = Fix(f"{folder}/{weights}", str(path), before=before)
    return CheckpointError(path, error.problem, known.ZIP.help, fix)


def unread_folder(path: Path) -> CheckpointError | None:
    """The error of a folder of a kind that is not read; None where it is of none that is known."""
    for name, kind in known.FOLDERS:
        if (path / name).exists():
            return _refusal(path, kind, f"by its {name}")
    for file in sorted(path.glob("*.index")):
        if _is_tensorflow(file.with_suffix("")):
            kind = known.TF_CHECKPOINT
            return _refusal(path, kind, f"by its {file.name}", file.with_suffix(""))
    return None


def tensorflow_checkpoint(path: Path) -> CheckpointError | None:
    """The error of the prefix of a TensorFlow checkpoint; None where a path is none."""
    return _refusal(path, known.TF_CHECKPOINT, "") if _is_tensorflow(path) else None


def _by_name(path: Path) -> Kind | None:
    name = path.name
    return next(
        (
            kind
            for ends, kind in known.NAMES
            if any(name == end or (end.startswith(".") and name.endswith(end)) for end in ends)
        ),
        None,
    )


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
