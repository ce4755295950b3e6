"""A path to a checkpoint: which format it holds, told by its content and then by its name, and what
each of its tensors is."""

from dataclasses import replace
from os.path import isdir
from pathlib import Path

from scalecheck import registry
from scalecheck.checkpoint.files.foreign import missing, of_another_library, refuse, unknown
from scalecheck.checkpoint.formats.contract import HEAD_NBYTES, Evidence, Format
from scalecheck.checkpoint.kinds import kinds
from scalecheck.checkpoint.malformed import NotTorchs
from scalecheck.checkpoint.quantised.encoded import with_encoded
from scalecheck.checkpoint.ranks.slices import sliced
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.errors import CheckpointError, reason

_COMMONEST = ("safetensors", "torch")


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
    checkpoint, factors = (checkpoint, {}) if raw else with_encoded(checkpoint)
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
                raise CheckpointError(path, "is neither a file nor a directory")
            with path.open("rb") as file:
                head = file.read(HEAD_NBYTES)
            if not head:
                raise CheckpointError(path, "is empty (0 bytes)")
        refuse(path, head)
        if format := _format(path, head):
            return _loaded(format, path)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and path.is_symlink():
            problem = f"is a link to {path.readlink()}, which does not exist"
            raise CheckpointError(path, problem) from error
        if isinstance(error, FileNotFoundError):
            raise missing(path, reason(error)) from error
        raise CheckpointError(path, reason(error)) from error
    except ValueError as error:  # a path with a NUL byte
        raise CheckpointError(path, str(error)) from error
    raise unknown(path, head)


def _loaded(format: Format, path: Path) -> Checkpoint:
    try:
        return format.load(path)
    except CheckpointError as error:
        if isinstance(error.__cause__, NotTorchs):
            raise of_another_library(path, error) from error
        raise


def folder_format(path: Path) -> Format | None:
    """The format of a folder that is one checkpoint, and not files of a model."""
    format = _format(path, b"")
    is_one = format is not None and format.recognises(path, b"") == Evidence.CONTENT
    return format if is_one else None


def _format(path: Path, head: bytes) -> Format | None:
    """The format with the strongest evidence; None where none has any. Of equal evidence the first
    counts: formats of this package before installed ones, each by name. The commonest are asked
    first, so that the others need not be imported for them."""
    found, strongest = None, Evidence.NONE
    own = registry.built_in("format")
    order = sorted(registry.names("format"), key=lambda n: (n not in own, n not in _COMMONEST, n))
    for name in order:
        format: Format = registry.load("format", name)
        evidence = format.recognises(path, head)
        if evidence > strongest:
            found, strongest = format, evidence
        if strongest == Evidence.CONTENT:
            break  # none is stronger, and the others need not be imported
    return found
