"""What the reader keeps of a torch file: how its pickle tells a tensor, and where its bytes lie."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

from scalecheck.checkpoint.pickle.inert import Foreign
from scalecheck.checkpoint.share import Share
from scalecheck.checkpoint.tensor import Tensor


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TorchDType:
    """A torch.dtype, by torch's name."""

    name: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StorageType:
    """A storage class, by the dtype of its elements: bytes where it has none."""

    dtype: str
    is_untyped: bool = False


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StorageRecord:
    """`numel` elements of `dtype` from element `start` on of the `whole` that the file keeps under
    `key`. is_untyped: what its bytes are, the tensors over it say."""

    key: str
    dtype: str
    whole: int
    start: int
    numel: int
    is_untyped: bool = False

    def vector(self) -> "TensorRecord":
        """Its elements, as the tensor that a storage that was saved by itself is."""
        told = "a storage without a type: save it as a tensor" if self.is_untyped else None
        return TensorRecord(self.dtype, (self.numel,), self, 0, (1,), unmeasured=told)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TensorRecord:
    """A tensor as its pickle tells it; offset and strides are in elements of `dtype`. `piece` says
    of which larger tensor it is a piece, None of a whole one. `is_trained`: it is an nn.Parameter
    that requires a gradient. `share` says where the part of a rank lies in the whole. `made` is the
    tensor itself, where it is of another format."""

    dtype: str
    shape: tuple[int, ...]
    storage: StorageRecord | None = None
    offset: int = 0
    strides: tuple[int, ...] = ()
    unmeasured: str | None = None
    piece: str | None = None
    is_trained: bool = False
    share: Share | None = None
    made: Tensor | None = None

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Stored:
    """The bytes of a storage in the file, or the reason why they are not there to be read."""

    position: int
    nbytes: int
    unmeasured: str | None = None


@dataclass(frozen=True, slots=True)
class Pickled:
    """What a file holds, and the classes that it names beside those of tensors.

    `stored` finds a storage by its key, and raises Malformed where it is not in the file; it needs
    the reader with which the file was read. `constants` are those of a TorchScript archive, among
    them the weights of frozen modules. `unread` are the members of an archive that no pickle names,
    `nbytes_left` what a legacy file has behind its object.
    """

    format: str
    root: object
    foreign: Collection[Foreign]
    stored: Callable[[str], Stored]
    constants: "Pickled | None" = None
    unread: Collection[str] = ()
    nbytes_left: int = 0
