"""ONNX files: the initializers of a graph and the constants among its nodes, each by its place in
the file or in one beside it. The onnx library is not needed, and would hold all of it in memory."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from scalecheck.checkpoint.files.protobuf import BYTES, VARINT, Field, Protobuf
from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.malformed import Malformed, content_of
from scalecheck.checkpoint.source import FileSource, MemorySource, Source
from scalecheck.checkpoint.tensor import MAX_DIMENSIONS, MAX_NAME, Checkpoint, Tensor
from scalecheck.dtypes import DTYPES, DType
from scalecheck.errors import CheckpointError
from scalecheck.report.formatting import excerpt, listed

MAX_TENSORS = 1 << 20
MAX_DEPTH = 32  # of graphs in nodes of graphs
MAX_LISTED = 1 << 24  # numbers that a file keeps as varints, together

_TYPES = {
    1: "F32",
    2: "U8",
    3: "I8",
    4: "U16",
    5: "I16",
    6: "I32",
    7: "I64",
    9: "BOOL",
    10: "F16",
    11: "F64",
    12: "U32",
    13: "U64",
    14: "C64",
    16: "BF16",
    17: "F8_E4M3",
    18: "F8_E4M3FNUZ",
    19: "F8_E5M2",
    20: "F8_E5M2FNUZ",
    23: "F4",
    24: "F8_E8M0",
}
_OTHERS = {8: "strings", 15: "complex128", 21: "uint4", 22: "int4", 25: "uint2", 26: "int2"}
# Fields of TensorProto whose content is the words as they are, and those that list varints.
_RAW, _PLACED, _VARINTS = 9, (4, 10), (5, 7, 11)
_GRAPH, _FUNCTION = 7, 25  # of ModelProto
_NODE, _INITIALIZER, _SPARSE = 1, 5, 15  # of GraphProto; of FunctionProto nodes are 7

# Where the scales and zero points stand among the inputs of a node.
_FACTORS = {
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
}


def recognises(path: Path, head: bytes) -> Evidence:
    """Its name: a protobuf does not say of itself what it is."""
    return Evidence.NAME if path.suffix == ".onnx" else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Lists the initializers, then the constants. Raises CheckpointError."""
    source = FileSource.of(path)
    with content_of(path), source.open() as reader:
        model = _Model(source, Protobuf(reader))
        model.read()
    if not model.tensors:
        raise CheckpointError(path, "holds no initializer and no constant")
    files = sorted(name for name in model.beside if name)
    notes = (f"reads weights from {listed(files)}",) if files else ()
    constants = model.constants if len(model.constants) < len(model.tensors) else frozenset()
    return Checkpoint(path, "onnx", (*model.tensors.values(),), non_model=constants, notes=notes)


@dataclass
class _Proto:
    """What a TensorProto says. places: where the words lie, as the fields that hold them."""

    name: str = ""
    type: int = 0
    shape: list[int] = field(default_factory=list)
    places: list[Field] = field(default_factory=list)
    is_external: bool = False
    external: dict[str, str] = field(default_factory=dict)
    strings: int = 0


class _Model:
    """The tensors of a model as they are found. constants: the names of those that are no
    initializers; beside: the files that they lie in."""

    def __init__(self, source: FileSource, message: Protobuf) -> None:
        self._source = source
        self._message = message
        self._room = MAX_LISTED
        self.tensors: dict[str, Tensor] = {}
        self.constants: frozenset[str] = frozenset()
        self._initializers: set[str] = set()
        self._factors: set[str] = set()
        self.beside: dict[str, FileSource] = {}

    def read(self) -> None:
        """Reads the graph, and the functions that it may call. Raises Malformed."""
        nodes: list[tuple[Field, str, int]] = []
        for one in self._message.fields(0, self._source.nbytes):
            if one.number == _GRAPH and one.wire == BYTES:
                self._graph(one, "", 0, nodes)
            elif one.number == _FUNCTION and one.wire == BYTES:
                nodes += [(inner, "", 0) for inner in self._all(one, 7)]
        while nodes:
            node, prefix, depth = nodes.pop(0)
            self._node(node, prefix, depth, nodes)
        self.constants = frozenset(self.tensors.keys() - self._initializers)
        for name in self._factors & self.tensors.keys():
            self.tensors[name] = replace(self.tensors[name], declared="buffer")

    def _all(self, message: Field, number: int) -> Iterator[Field]:
        inside = self._message.fields(message.start, message.stop)
        return (one for one in inside if one.number == number and one.wire == BYTES)

    def _graph(
        self, graph: Field, prefix: str, depth: int, nodes: list[tuple[Field, str, int]]
    ) -> None:
        if depth > MAX_DEPTH:
            raise Malformed(f"nests graphs deeper than {MAX_DEPTH}")
        for one in self._message.fields(graph.start, graph.stop):
            if one.wire != BYTES:
                continue
            if one.number == _NODE:
                nodes.append((one, prefix, depth))
            elif one.number == _INITIALIZER:
                self._initializers.add(self._add(prefix, self._proto(one.start, one.stop)))
            elif one.number == _SPARSE:
                self._sparse(one, prefix)

    def _sparse(self, sparse: Field, prefix: str) -> None:
        """The values of a sparse tensor, named and not measured: zeros are not among them."""
        for values in self._all(sparse, 1):
            proto = self._proto(values.start, values.stop)
            unread = _unread(proto, self._source, "a sparse tensor has no place for zeros")
            self._initializers.add(self._put(prefix, unread))

    def _node(
        self, node: Field, prefix: str, depth: int, nodes: list[tuple[Field, str, int]]
    ) -> None:
        name, operator, attributes, inputs = "", "", [], []
        for one in self._message.fields(node.start, node.stop):
            if one.number == 1 and one.wire == BYTES:
                inputs.append(one)
            elif one.number == 2 and one.wire == BYTES and not name:
                name = self._message.text(one, 1 << 16)
            elif one.number == 4 and one.wire == BYTES:
                operator = self._message.text(one, 1 << 16)
            elif one.number == 5 and one.wire == BYTES:
                attributes.append(one)
        for place in _FACTORS.get(operator, ()):
            if place < len(inputs):
                own = self._message.text(inputs[place], 1 << 16)
                self._factors |= {own, f"{prefix}{own}"}
        for attribute in attributes:
            self._attribute(attribute, (prefix, name, operator), depth, nodes)

    def _attribute(
        self,
        attribute: Field,
        node: tuple[str, str, str],
        depth: int,
        nodes: list[tuple[Field, str, int]],
    ) -> None:
        """The tensors and graphs of an attribute; of a Constant it is the node's output."""
        prefix, name, operator = node
        fields = [*self._message.fields(attribute.start, attribute.stop)]
        word = next((self._message.text(f, 1 << 16) for f in fields if f.number == 1), "")
        own = name if operator == "Constant" else f"{name}.{word}"
        for place, one in enumerate(f for f in fields if f.number in (5, 10) and f.wire == BYTES):
            proto = self._proto(one.start, one.stop)
            proto.name = own if not place else f"{own}.{place}"
            self._add(prefix, proto)
        for one in fields:
            if one.number in (6, 11) and one.wire == BYTES:
                self._graph(one, f"{prefix}{name}.{word}/", depth + 1, nodes)
        if operator == "Constant":
            self._numbers(prefix, own, word, fields)

    def _numbers(self, prefix: str, name: str, word: str, fields: Iterable[Field]) -> None:
        """The numbers that a Constant has as an attribute: value_float, value_floats and others."""
        numbers = {"value_float": 2, "value_floats": 7, "value_int": 3, "value_ints": 8}.get(word)
        if numbers is None:
            return
        is_float = word.startswith("value_float")
        # as the fields of a TensorProto that keep such numbers
        found = [f._replace(number=4 if is_float else 7) for f in fields if f.number == numbers]
        if is_float:
            count = sum((f.stop - f.start) // 4 for f in found)
        else:
            count = sum(1 if f.wire == VARINT else self._count(f) for f in found)
        shape = [count] if word.endswith("s") else []
        self._add(prefix, _Proto(name, 1 if is_float else 7, shape, found))

    def _count(self, packed: Field) -> int:
        return sum(1 for _ in self._message.varints(packed.start, packed.stop))

    def _proto(self, start: int, stop: int) -> _Proto:
        """What a TensorProto says. Raises Malformed."""
        proto = _Proto()
        for one in self._message.fields(start, stop):
            if one.number == 1:
                is_packed = one.wire == BYTES
                sizes = self._message.varints(one.start, one.stop) if is_packed else [one.value]
                proto.shape += sizes
                if len(proto.shape) > MAX_DIMENSIONS:
                    raise Malformed(f"has a tensor of more than {MAX_DIMENSIONS} dimensions")
            elif one.number == 2:
                proto.type = one.value
            elif one.number == 6:
                proto.strings += 1
            elif one.number == 8 and one.wire == BYTES:
                proto.name = self._message.text(one, 1 << 16)
            elif one.number == 13 and one.wire == BYTES:
                inside = {f.number: f for f in self._message.fields(one.start, one.stop)}
                if 1 in inside and 2 in inside:
                    key, value = (self._message.text(inside[n], 1 << 14) for n in (1, 2))
                    proto.external[key] = value
            elif one.number == 14:
                proto.is_external = one.value == 1
            elif one.number == _RAW or one.number in _PLACED or one.number in _VARINTS:
                proto.places.append(one)
        return proto

    def _add(self, prefix: str, proto: _Proto) -> str:
        if any(size >> 63 for size in proto.shape):
            raise Malformed(f"{excerpt(proto.name)}: has a negative size")
        return self._put(prefix, self._tensor(proto))

    def _put(self, prefix: str, tensor: Tensor) -> str:
        name = tensor.name or f"tensor {len(self.tensors)}"
        if prefix or name in self.tensors:
            name = f"{prefix}{name}"
        if len(name) > MAX_NAME:
            raise Malformed(f"holds a tensor with a name of {len(name)} characters")
        if name in self.tensors:
            raise Malformed(f"holds two tensors named {excerpt(name)}")
        if len(self.tensors) == MAX_TENSORS:
            raise Malformed(f"holds more than {MAX_TENSORS} tensors")
        fields = {f: getattr(tensor, f) for f in ("dtype", "shape", "source", "offset")}
        self.tensors[name] = Tensor(name, **fields, unmeasured=tensor.unmeasured)
        return name

    def _tensor(self, proto: _Proto) -> Tensor:
        """The tensor of what a TensorProto says. Raises Malformed."""
        if proto.type not in _TYPES:
            what = _OTHERS.get(proto.type, f"elements of type {proto.type}")
            return _unread(proto, self._source, f"holds {what}, which have no scale here")
        dtype = DTYPES[_TYPES[proto.type]]
        shape = tuple(proto.shape)
        nbytes = -(-math.prod(shape) * dtype.bits // 8)
        if proto.is_external:
            source, offset, held = self._external(proto, nbytes)
        else:
            source, offset, held = self._held(proto, dtype)
        if held != nbytes:
            raise Malformed(
                f"{excerpt(proto.name)}: {dtype.name} {list(shape)} needs {nbytes} bytes,"
                f" not {held}"
            )
        return Tensor(proto.name, dtype, shape, source, offset, unmeasured=dtype.unmeasured)

    def _held(self, proto: _Proto, dtype: DType) -> tuple[Source, int, int]:
        """Where the words of a tensor lie, and how many bytes they are."""
        places = proto.places
        are_words = [one.number in (_RAW, *_PLACED) for one in places]
        if len(places) == 1 and are_words[0]:
            return self._source, places[0].start, places[0].stop - places[0].start
        words = bytearray()
        for one, is_word in zip(places, are_words, strict=True):
            if is_word:
                words += self._message.read(one.start, one.stop, MAX_LISTED)
            else:
                words += self._listed(one, dtype)
        return MemorySource(self._source.path, memoryview(bytes(words))), 0, len(words)

    def _listed(self, place: Field, dtype: DType) -> bytes:
        """The words of numbers that are kept as varints. Raises Malformed where there are many."""
        words = bytearray()
        is_packed = place.wire == BYTES
        last = (1 << dtype.bits) - 1
        for number in (
            self._message.varints(place.start, place.stop) if is_packed else [place.value]
        ):
            words += (number & last).to_bytes(dtype.itemsize, "little")
            self._room -= 1
            if self._room < 0:
                raise Malformed(f"lists more than {MAX_LISTED} numbers as varints")
        return bytes(words)

    def _external(self, proto: _Proto, nbytes: int) -> tuple[Source, int, int]:
        """Where a tensor lies in a file beside the model. Raises Malformed."""
        location = proto.external.get("location", "")
        parts = PurePosixPath(location).parts
        if not parts or location.startswith(("/", "\\")) or ".." in parts or "\0" in location:
            raise Malformed(f"{excerpt(proto.name)}: lies in {location!r}, which is not beside it")
        if location not in self.beside:
            file = self._source.path.parent.joinpath(*parts)
            folder = self._source.path.parent.resolve()
            if folder not in file.resolve().parents:
                raise Malformed(f"{excerpt(proto.name)}: lies in {location!r}, a link to elsewhere")
            self.beside[location] = FileSource.of(file)
        source = self.beside[location]
        offset = _whole(proto, "offset", 0)
        length = _whole(proto, "length", nbytes)
        if offset + length > source.nbytes:
            raise Malformed(
                f"{excerpt(proto.name)}: bytes {offset}..{offset + length} do not lie in the"
                f" {source.nbytes} of {location}"
            )
        return source, offset, length


def _whole(proto: _Proto, key: str, default: int) -> int:
    """A count among the words that say where a tensor lies."""
    word = proto.external.get(key, "")
    if not word:
        return default
    if not (word.isascii() and word.isdigit() and len(word) < 19):
        raise Malformed(f"{excerpt(proto.name)}: {key} {excerpt(word, 40)} is no count of bytes")
    return int(word)


def _unread(proto: _Proto, source: FileSource, reason: str) -> Tensor:
    dtype = DType(f"onnx {proto.type}", 8, "other", None, unmeasured=reason)
    return Tensor(proto.name, dtype, tuple(proto.shape), source, 0, unmeasured=reason)
