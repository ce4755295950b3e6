"""torch.save's files, zip and legacy, and TorchScript archives. torch is not needed: the pickle is
read as inert data, and the elements by their place in the file."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from scalecheck.checkpoint.archive.zip import first_name
from scalecheck.checkpoint.distributed.names import is_index, is_of_rank
from scalecheck.checkpoint.formats.contract import HEAD_NBYTES, Evidence
from scalecheck.checkpoint.malformed import Malformed, OnlyOptimizer, content_of
from scalecheck.checkpoint.pickle.inert import Foreign
from scalecheck.checkpoint.pickle.legacy_file import read_legacy
from scalecheck.checkpoint.pickle.records import Pickled, TensorRecord
from scalecheck.checkpoint.pickle.state_dict import described, parts, same_view
from scalecheck.checkpoint.pickle.torch_dtypes import dtype_of, itemsize_of
from scalecheck.checkpoint.pickle.torch_zip import read_zip
from scalecheck.checkpoint.pickle.tree import Tree
from scalecheck.checkpoint.source import FileSource, Readers, SourceReader, identity
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.checkpoint.views import is_contiguous, is_overlapping, span, steps
from scalecheck.errors import CheckpointError
from scalecheck.report.formatting import excerpt, listed

_RANKS = (
    *("torch.distributed.tensor", "torch.distributed._tensor", "torch.distributed._shard"),
    *("torch.distributed.device_mesh", "torch.distributed._mesh_layout"),
)
MAX_OVERLAP = 16  # times the file that is read for its tensors; views of one storage share bytes


def recognises(path: Path, head: bytes) -> Evidence:
    """A zip but Keras's and NumPy's, or a pickle of protocol 2 or later."""
    if is_index(head) or is_of_rank(path):
        return Evidence.NONE  # parts of a distributed checkpoint, which are pickles and zips too
    first = first_name(head)
    is_zip = head.startswith((b"PK\x03\x04", b"PK\x05\x06"))
    is_zip &= first != "metadata.json" and not first.endswith(".npy")
    # a safetensors file may start with a length that looks like a pickle's start
    is_pickle = head[:1] == b"\x80" and head[1:2] <= b"\x05" and head[7:9] != b"\0{"
    return Evidence.CONTENT if is_zip or is_pickle else Evidence.NONE


@dataclass(frozen=True, slots=True)
class Unpickled:
    """A file that is open, what its pickle holds, and readers for the elements."""

    reader: SourceReader
    pickled: Pickled
    readers: Readers

    @property
    def path(self) -> Path:
        return self.reader.source.path

    @property
    def root(self) -> object:
        return self.pickled.root

    def tensor(self, name: str, record: TensorRecord, tied_to: str | None = None) -> Tensor:
        """The tensor of a record. Raises CheckpointError where its elements are not in the file."""
        try:
            tensor = _tensor(name, record, self, tied_to)
        except Malformed as error:
            raise CheckpointError(self.path, f"{excerpt(name)}: {error}") from error
        if not (record.piece or record.is_trained or record.share):
            return tensor
        return replace(tensor, piece=record.piece, is_trained=record.is_trained, share=record.share)

    def is_of(self, model: Iterable[Tensor]) -> bool:
        """Whether some tensors lie in the file, by whatever path."""
        own = identity(self.reader.source)
        return any(identity(tensor.source) == own for tensor in model)


@contextmanager
def unpickled(path: Path) -> Iterator[Unpickled]:
    """A file of torch.save or torch.jit.save, open; a Malformed of the body is a CheckpointError.

    Raises CheckpointError where the file is damaged or hostile.
    """
    source = FileSource.of(path)
    with content_of(path), source.open() as reader, Readers() as readers:
        head = bytearray(min(HEAD_NBYTES, source.nbytes))
        reader.fill(0, memoryview(head))
        pickled = read_zip(reader) if head.startswith(b"PK") else read_legacy(reader)
        yield Unpickled(reader, pickled, readers)


def load(path: Path) -> Checkpoint:
    """Lists the tensors in a file of torch.save or torch.jit.save; imports and runs nothing of it.

    Raises CheckpointError where the file is damaged, hostile, or holds no model weights.
    """
    with unpickled(path) as file:
        return listed_tensors(file)


def listed_tensors(file: Unpickled) -> Checkpoint:
    """The tensors of a file that is open. Raises Malformed and CheckpointError."""
    pickled = file.pickled
    tree = Tree(pickled.root)
    named = parts(tree)
    constants = _constants(file)
    if not named.has_weights and not constants:
        count = len(named.optimizer) + len(named.rows)
        if not count:
            raise Malformed(described(pickled.root))
        raise OnlyOptimizer(f"holds an optimizer state of {count} tensors and no model weights")
    rows, optimizer = _tensors(named.rows, file), _tensors(named.optimizer, file)
    if twice := {one.name for one in rows} & {one.name for one in constants}:
        raise Malformed(f"holds two tensors named {excerpt(min(twice))}")
    rows += constants
    check_overlap(tensor for tensor in (*rows, *optimizer) if tensor.tied_to is None)
    return Checkpoint(
        file.path,
        pickled.format,
        rows,
        non_model=named.non_model | {tensor.name for tensor in constants},
        optimizer=optimizer,
        notes=(*_notes(pickled, tree.holders), *_averaged(pickled.root)),
        in_order=named.in_order,
    )


def _averaged(root: object) -> list[str]:
    """A note on a checkpoint whose weights Lightning's WeightAveraging has changed for averages."""
    if not isinstance(root, dict) or not {"current_model_state", "averaging_state"} <= root.keys():
        return []
    return [
        "state_dict is a moving average of the weights: the optimizer's state belongs to those in"
        " current_model_state"
    ]


def _constants(file: Unpickled) -> tuple[Tensor, ...]:
    """The tensors among the constants of a TorchScript archive."""
    constants = file.pickled.constants
    if constants is None:
        return ()
    found = parts(Tree(constants.root)).rows
    named = [(f"constants.{name}", record) for name, record in found]
    return _tensors(named, replace(file, pickled=constants))


def check_overlap(tensors: Iterable[Tensor]) -> None:
    """Raises Malformed where tensors of a file or folder would be read for ever: a thousand views
    of all its bytes but one take no more room than their names, and a view of a few elements can
    step over all of them."""
    read = [tensor for tensor in tensors if tensor.unmeasured is None]
    nbytes = sum(
        tensor.nbytes if tensor.is_dense else tensor.span * tensor.dtype.itemsize for tensor in read
    )
    file = sum(source.nbytes for source in {tensor.source for tensor in read})
    if nbytes > MAX_OVERLAP * file:
        raise Malformed(
            f"has {len(read)} tensors that step over {nbytes} bytes in a file of {file}"
        )


def _tensors(named: Iterable[tuple[str, TensorRecord]], file: Unpickled) -> tuple[Tensor, ...]:
    first: dict[object, str] = {}
    tensors = []
    for name, record in named:
        tied_to = first.setdefault(same_view(record), name)
        tensors.append(file.tensor(name, record, tied_to if tied_to != name else None))
    return tuple(tensors)


def _tensor(name: str, record: TensorRecord, file: Unpickled, tied_to: str | None) -> Tensor:
    """The tensor of a record whose elements were found to lie in the file. Raises Malformed."""
    source = file.reader.source
    dtype = dtype_of(record.dtype)
    shape, strides = record.shape, record.strides
    unmeasured = record.unmeasured or dtype.unmeasured
    if dtype.name == "F4" and shape:  # torch counts pairs of them; safetensors, and so we, each
        shape = (*shape[:-1], 2 * shape[-1])
    storage = record.storage
    if storage is None:
        return Tensor(name, dtype, shape, source, 0, None, tied_to, unmeasured)
    place = file.pickled.stored(storage.key)
    storage_itemsize, itemsize = itemsize_of(storage.dtype), itemsize_of(record.dtype)
    nbytes = storage.whole * storage_itemsize
    if nbytes > place.nbytes:
        raise Malformed(
            f"storage {excerpt(storage.key)} of {nbytes} bytes has {place.nbytes} in the file"
        )
    numel = storage.numel * storage_itemsize // itemsize
    position = place.position + storage.start * storage_itemsize
    unmeasured = place.unmeasured or unmeasured
    if not record.numel:
        return Tensor(name, dtype, shape, source, position, None, tied_to, unmeasured)
    end = record.offset + span(record.shape, strides)
    if end > numel:
        raise Malformed(
            f"elements {record.offset}..{end} past the end of its storage ({numel} elements)"
        )
    if is_overlapping(record.shape, strides):
        unmeasured = f"an expanded view: {record.numel} elements over a storage of {numel}"
    is_plain = unmeasured or is_contiguous(record.shape, strides)
    own_strides = None if is_plain else steps(record.shape, strides)
    position += record.offset * itemsize
    return Tensor(name, dtype, shape, source, position, own_strides, tied_to, unmeasured)


def _notes(pickled: Pickled, holders: set[Foreign]) -> tuple[str, ...]:
    """The classes of the file, those that hold tensors and the rest. What a TorchScript archive
    defines itself is no news, nor what says how a tensor lies on its ranks."""
    foreign = {name for name in pickled.foreign if not name.module.startswith("__torch__")}
    others = {name for name in foreign - holders if not name.module.startswith(_RANKS)}
    kinds = (("read as inert data", foreign & holders), ("set aside, not run", others))
    notes = [f"{how}: {listed(sorted(map(str, names)))}" for how, names in kinds if names]
    if pickled.unread:
        members = listed([excerpt(name, 40) for name in pickled.unread])
        notes.append(f"members not read, as no pickle names them: {members}")
    if pickled.nbytes_left:
        notes.append(
            f"{pickled.nbytes_left:,} bytes behind the object were not read: save it alone"
        )
    return (*notes,)
