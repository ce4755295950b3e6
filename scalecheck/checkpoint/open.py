"""A path to a checkpoint: which format it holds, told by its content and then by its name, and what
each of its tensors is."""

from collections.abc import Mapping
from dataclasses import replace
from os.path import isdir
from pathlib import Path
from shlex import quote

from scalecheck import registry
from scalecheck.checkpoint.files.foreign import (
    model_folder,
    of_another_library,
    refuse,
    unknown,
)
from scalecheck.checkpoint.formats.contract import HEAD_NBYTES, Evidence, Format
from scalecheck.checkpoint.kinds import TensorKind, kinds
from scalecheck.checkpoint.malformed import NotTorchs, OnlyOptimizer
from scalecheck.checkpoint.quantised.members import may_be_coded
from scalecheck.checkpoint.ranks.slices import sliced
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.errors import CheckpointError, Fix, reason

_COMMONEST = ("safetensors", "torch")  # of files alone


def open_checkpoint(path: str | Path, *, recursive: bool = False, raw: bool = False) -> Checkpoint:
    """Lists the tensors of a checkpoint file, shard index or directory; reads none of them.

    recursive: the models in the folders of a directory are read too, their names under that of the
    folder, `unet/conv_in.weight`. raw: quantised weights are listed as the codes and factors that
    are stored. Raises CheckpointError where the path is missing, out of reach,
    damaged or no checkpoint, UsageError where it holds several variants of one.
    """
    path = Path(path)
    if not isdir(path):
        return with_kinds(sliced(open_part(path), path), raw=raw)
    if not recursive:
        return with_kinds(open_part(path), raw=raw)
    from scalecheck.checkpoint.formats.directory import load_recursively

    try:
        return with_kinds(load_recursively(path), raw=raw)
    except OSError as error:
        raise CheckpointError(path, reason(error)) from error


def with_kinds(checkpoint: Checkpoint, *, raw: bool = False) -> Checkpoint:
    """The checkpoint with the kind of each tensor. Weights that are stored as codes are decoded
    where that is known, unless `raw`; the numbers of other codes are not those of weights, so that
    they are not measured."""
    factors: Mapping[str, TensorKind] = {}
    if not raw and may_be_coded(checkpoint.tensors):
        from scalecheck.checkpoint.quantised.encoded import with_encoded

        checkpoint, factors = with_encoded(checkpoint)
    pieces = {tensor.name: tensor.piece for tensor in checkpoint.tensors if tensor.piece}
    trained = {tensor.name for tensor in checkpoint.tensors if tensor.is_trained}
    own = [tensor for tensor in checkpoint.tensors if tensor.name not in factors]
    found = kinds(
        own,
        pieces=pieces,
        trained=trained,
        declared={tensor.name: tensor.declared for tensor in own if tensor.declared},
        non_model=checkpoint.non_model,
    )
    found |= factors
    tensors = []
    for tensor in checkpoint.tensors:
        kind = found[tensor.name]
        is_code = kind.kind == "code" and tensor.unmeasured is None
        unmeasured = kind.reason if is_code else tensor.unmeasured
        tensors.append(replace(tensor, kind=kind, unmeasured=unmeasured))
    layout = (*checkpoint.layout, *_pieces(tensors))
    masters = {name: replace(one, kind=found[name]) for name, one in checkpoint.masters.items()}
    return replace(checkpoint, tensors=(*tensors,), layout=layout, masters=masters)


def _pieces(tensors: list[Tensor]) -> list[str]:
    """A note on tensors that are pieces of larger ones, if there are some."""
    pieces = [tensor for tensor in tensors if tensor.kind.kind == "piece"]
    if not pieces:
        return []
    first = f"{pieces[0].name} is {pieces[0].kind.evidence}"
    more = len(pieces) - 1
    are = "tensors are pieces" if more > 1 else "tensor is a piece"
    return [f"{first}; {more} more {are} of larger ones" if more else first]


def open_part(path: Path) -> Checkpoint:
    """The same of a part of a checkpoint: what its tensors are is decided with the other parts."""
    head = b""
    try:
        if not path.is_dir():
            if path.exists() and not path.is_file():
                help = "save what it carries to a file first" if path.is_fifo() else ""
                raise CheckpointError(path, "is neither a file nor a directory", help)
            with path.open("rb") as file:
                head = file.read(HEAD_NBYTES)
            if not head:
                raise CheckpointError(path, "is empty (0 bytes)", "download or copy it again")
        refuse(path, head)
        if format := _format(path, head):
            return _loaded(format, path)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and path.is_symlink():
            problem = f"is a link to {path.readlink()}, which does not exist"
            raise CheckpointError(path, problem) from error
        raise _unopened(path, error) from error
    except ValueError as error:  # a path with a NUL byte
        raise CheckpointError(path, str(error)) from error
    raise unknown(path, head)


def _unopened(path: Path, error: OSError) -> CheckpointError:
    """The error of a path that the system does not open."""
    from scalecheck.checkpoint.files.absent import missing  # few commands need it

    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return missing(path, reason(error))
    help = f"chmod u+r {quote(str(path))}" if isinstance(error, PermissionError) else ""
    return CheckpointError(path, reason(error), help)


def _loaded(format: Format, path: Path) -> Checkpoint:
    try:
        return format.load(path)
    except CheckpointError as error:
        cause = error.__cause__
        if isinstance(cause, NotTorchs):
            raise of_another_library(path, error, cause.members) from error
        if isinstance(cause, OnlyOptimizer):
            raise _without_weights(path, error) from error
        if error.problem.startswith("is truncated") and not error.help:
            help = "download or copy it again"
            raise CheckpointError(error.path, error.problem, help) from error
        raise


def _without_weights(path: Path, error: CheckpointError) -> CheckpointError:
    """The error of an optimizer state in the place of a model."""
    if folder := model_folder(path):
        help = "the model is in its folder"
        return CheckpointError(path, error.problem, help, Fix(str(folder), str(path)))
    help = f"give the model in its place, and this file with --state {quote(str(path))}"
    return CheckpointError(path, error.problem, help)


def folder_format(path: Path) -> Format | None:
    """The format of a folder that is one checkpoint, and not files of a model."""
    format = _format(path, b"")
    is_one = format is not None and format.recognises(path, b"") == Evidence.CONTENT
    return format if is_one else None


def _format(path: Path, head: bytes) -> Format | None:
    """The format with the strongest evidence; None where none has any. Of equal evidence the first
    counts: formats of this package before installed ones, each by name. The commonest are asked
    first, and of a folder not at all, so that no more is imported than it takes."""
    found, strongest = None, Evidence.NONE
    own = registry.built_in("format")
    names = [name for name in registry.names("format") if head or name not in _COMMONEST]
    for name in sorted(names, key=lambda n: (n not in own, n not in _COMMONEST, n)):
        format: Format = registry.load("format", name)
        evidence = format.recognises(path, head)
        if evidence > strongest:
            found, strongest = format, evidence
        if strongest == Evidence.CONTENT:
            break  # none is stronger, and the others need not be imported
    return found
