"""Files that want to break a reader: a builder a kind, and the line that must answer it."""

import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from opcodes import torch_zip

TIB = 1 << 40
LOUD = "\x1b[31mred\x1b[0m\x07\x9b2J\u202e\r\n"  # colours, a bell, clears, turns round, breaks
REF = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 484800\n"


@dataclass(frozen=True)
class Kind:
    """How a bad path is made in a folder, and what the program must say of it.

    `problem` stands behind the path; one that ends with … is only the start of it, the rest being
    the words of a library. `culprit` is the file that is named where it is not the path itself.
    """

    build: Callable[[Path], Path]
    problem: str
    culprit: str | None = None


UNREADABLE: dict[str, Kind] = {}


def unreadable(problem, culprit=None):
    """Enters a builder under its name."""

    def enter(build):
        UNREADABLE[build.__name__] = Kind(build, problem, culprit)
        return build

    return enter


def written(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def safetensors(path, header, data=bytes(4), claimed=None):
    """Writes a file of a header, an object or raw bytes, that claims so many bytes for it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(text) if claimed is None else claimed
    return written(path, length.to_bytes(8, "little") + text + data)


def sparse(path, header, nbytes):
    """Writes a file of a header whose data are so many zeros, which take no room on the disk."""
    safetensors(path, header, b"")
    os.truncate(path, path.stat().st_size + nbytes)
    return path


def entry(dtype="F32", shape=(1,), offsets=(0, 4), **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def sound(path, *names):
    """Writes a file without fault: a vector of four elements for each name."""
    header = {name: entry("F32", [4], [16 * i, 16 * i + 16]) for i, name in enumerate(names)}
    return safetensors(path, header, struct.pack("<4f", 1, -2, 0, 3) * len(names))


def index(folder, weight_map):
    """Writes a shard index: a weight_map, or raw bytes for the whole file."""
    if not isinstance(weight_map, bytes):
        weight_map = json.dumps({"metadata": {}, "weight_map": weight_map}).encode()
    return written(folder / "model.safetensors.index.json", weight_map)


ENTRIES = {
    "dtype_is_unknown": (entry("F99"), "storage type F99 is unknown"),
    "dtype_is_a_number": (entry(5), "dtype: 5 is no text"),
    "dtype_is_a_list": (entry(["F32"]), "dtype: a list is no text"),
    "dtype_is_an_object": (entry({"F32": None}), "dtype: an object is no text"),
    "shape_is_missing": ({"dtype": "F32", "data_offsets": [0, 4]}, "its entry has no shape"),
    "dtype_is_missing": ({"shape": [1], "data_offsets": [0, 4]}, "its entry has no dtype"),
    "offsets_are_missing": ({"dtype": "F32", "shape": [1]}, "its entry has no data_offsets"),
    "entry_is_null": (None, "its entry is null, not an object"),
    "entry_is_a_list": (["F32", [1], [0, 4]], "its entry is a list, not an object"),
    "shape_is_a_number": (entry(shape=1), "shape: 1 is no list"),
    "size_is_negative": (entry(shape=[-1]), "shape: -1 is no count below 2^64"),
    "size_is_a_float": (entry(shape=[1.0]), "shape: 1.0 is no count below 2^64"),
    "size_is_a_bool": (entry(shape=[True]), "shape: true is no count below 2^64"),
    "size_is_text": (entry(shape=["1"]), 'shape: "1" is no count below 2^64'),
    "size_is_2_to_the_64": (
        entry(shape=[2**64]),
        "shape: 18446744073709551616 is no count below 2^64",
    ),
    "size_overflows": (
        entry(shape=[2**62, 8]),
        "F32 [4611686018427387904, 8] needs more than 2^64 bytes, not 4 bytes",
    ),
    "sizes_make_a_number_of_400_digits": (
        entry(shape=[10**10] * 40),
        f"F32 {[10**10] * 40} needs more than 2^64 bytes, not 4 bytes",
    ),
    "sizes_are_many": (entry(shape=[1] * 300_000), "has 300000 dimensions, the limit is 64"),
    "size_does_not_fit": (entry(shape=[3]), "F32 [3] needs 12 bytes, not 4 bytes"),
    "size_ends_within_a_byte": (entry("F4", [7]), "F4 [7] needs 28 bits, not 4 bytes"),
    "offsets_are_reversed": (
        entry(offsets=[4, 0]),
        "offsets 4..0 do not lie in the 4 bytes of data",
    ),
    "offsets_wrap_around": (
        entry(offsets=[2**64 - 4, 2**64]),
        "data_offsets: 18446744073709551616 is no count below 2^64",
    ),
    "offsets_are_negative": (
        entry(offsets=[-4, 0]),
        "data_offsets: -4 is no count below 2^64",
    ),
    "offsets_are_three": (entry(offsets=[0, 4, 4]), "data_offsets: 3 numbers, not 2"),
    "offsets_are_text": (entry(offsets="04"), 'data_offsets: "04" is no list'),
    "offsets_leave_a_hole": (
        entry("U8", [2], [2, 4]),
        "offset 2 leaves a hole after the tensor before, which ends at 0",
    ),
}
"""The entry of a tensor w over 4 bytes of data, and what is wrong with it."""

HEADERS = {
    "offsets_end_past_the_file": (
        b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
        bytes(4),
        "is truncated: 77 bytes expected, 73 present; w: offsets 0..8 do not lie in the 4 bytes…",
    ),
    "header_is_a_list": (b"[]", b"", "is no safetensors file: it starts with…"),
    "header_is_a_list_behind_a_space": (b" []", b"", "has a header that is a list, not an object"),
    "header_is_no_json": (b'{"w": what}', b"", "has a bad header of 11 bytes: …"),
    "header_is_cut_by_its_own_length": (b'{"w": {"dtype"', b"", "has a bad header of 14 bytes: …"),
    "header_goes_on_after_its_end": (b"{} {}", b"", "has a bad header of 5 bytes: Extra data…"),
    "header_is_not_utf8": (
        b'{"\xff": {}}',
        b"",
        "has a bad header of 9 bytes: byte 2 is not UTF-8",
    ),
    "header_has_half_a_character": (
        b'{"\\ud800": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}',
        b"",
        "has a bad header of 65 bytes: …",
    ),
    "header_has_nan": (
        b'{"w": {"shape": [NaN]}}',
        b"",
        "has a bad header of 23 bytes: NaN is not JSON",
    ),
    "header_has_infinity": (
        b'{"w": {"shape": [-Infinity]}}',
        b"",
        "has a bad header of 29 bytes: -Infinity is not JSON",
    ),
    "header_is_nested_100000_deep": (
        b'{"w": ' + b"[" * 10**5,
        b"",
        "has a bad header of 100006 bytes: it is nested too deeply",
    ),
    "header_has_a_number_of_10000_digits": (
        b'{"w": ' + b"9" * 10**4 + b"}",
        b"",
        "has a bad header of 10007 bytes: …",
    ),
    "header_names_a_tensor_twice": (
        b'{"w": 1, "v": 2, "w": 3}',
        b"",
        "has a bad header of 24 bytes: w is there 2 times",
    ),
    "header_names_a_dtype_twice": (
        b'{"w": {"dtype": "F32", "dtype": "F64", "shape": [1], "data_offsets": [0, 4]}}',
        bytes(4),
        "has a bad header of 77 bytes: dtype is there 2 times",
    ),
    "header_names_nothing": (b"{}", b"", "holds no tensor: a header of 2 bytes names none"),
    "header_names_only_metadata": (
        b'{"__metadata__": {}}',
        b"",
        "holds no tensor: a header of 20 bytes names none",
    ),
    "header_is_empty": (b"", b"{}", "has a bad header of 0 bytes: …"),
    "metadata_is_a_list": (
        b'{"__metadata__": []}',
        b"",
        "__metadata__ is a list, not an object",
    ),
    "metadata_holds_a_number": (
        b'{"__metadata__": {"step": 5}}',
        b"",
        "__metadata__: step is 5, not text",
    ),
    "data_belong_to_no_tensor": (
        b'{"w": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}',
        bytes(5),
        "3 of 5 bytes of data belong to no tensor",
    ),
    "tensors_overlap": (
        b'{"a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},'
        b' "b": {"dtype": "U8", "shape": [2], "data_offsets": [2, 4]}}',
        bytes(4),
        "b: offset 2 overlaps the tensor before, which ends at 3",
    ),
    "tensors_are_the_same_bytes": (
        b'{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},'
        b' "b": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}',
        bytes(4),
        "b: offset 0 overlaps the tensor before, which ends at 4",
    ),
}
"""A whole header, the bytes behind it, and what is wrong with them."""

INDICES = {
    "index_is_no_json": (b"weights: yes", "has bad JSON in 12 bytes: …"),
    "index_is_not_utf8": (b'{"\xff": 1}', "has bad JSON in 8 bytes: byte 2 is not UTF-8"),
    "index_is_nested_100000_deep": (
        b"[" * 10**5,
        "has bad JSON in 100000 bytes: it is nested too deeply",
    ),
    "index_is_a_list": (b"[]", "has no weight_map from tensors to files"),
    "index_has_no_weight_map": (b"{}", "has no weight_map from tensors to files"),
    "index_has_a_list_for_a_weight_map": ([], "has no weight_map from tensors to files"),
    "index_names_nothing": ({}, "names no tensor: its weight_map is empty"),
    "index_names_a_tensor_twice": (
        b'{"weight_map": {"w": "a.safetensors", "w": "b.safetensors"}}',
        "has bad JSON in 60 bytes: w is there 2 times",
    ),
    "index_has_a_number_for_a_shard": ({"w": 5}, "w: shard 5 is no file name"),
    "index_has_a_list_for_a_shard": ({"w": [[]]}, "w: shard a list is no file name"),
    "index_has_no_name_for_a_shard": ({"w": ""}, "w: shard '' is not beside the index"),
    "index_points_up": (
        {"w": "../a.safetensors"},
        "w: shard '../a.safetensors' is not beside the index",
    ),
    "index_points_to_its_folder": ({"w": "."}, "w: shard '.' is not beside the index"),
    "index_points_to_the_folder_above": ({"w": ".."}, "w: shard '..' is not beside the index"),
    "index_points_to_the_root": (
        {"w": "/dev/zero"},
        "w: shard '/dev/zero' is not beside the index",
    ),
    "index_has_a_nul_in_a_shard": (
        {"w": "a\0.safetensors"},
        "1 of 1 shards missing: a\\x00.safetensors",
    ),
    "index_has_a_shard_of_a_name_too_long": (
        {"w": "a" * 300},
        f"1 of 1 shards missing: {'a' * 300}",
    ),
    "index_lacks_a_shard": (
        {"v": "a.safetensors", "w": "b.safetensors"},
        "1 of 2 shards missing: b.safetensors",
    ),
    "index_lacks_all_shards": (
        {"v": "1.safetensors", "w": "2.safetensors"},
        "2 of 2 shards missing: 1.safetensors and 1 more",
    ),
    "index_names_a_tensor_that_is_not_there": (
        {"v": "a.safetensors", "w": "a.safetensors"},
        "1 of 2 tensors not where the index has them: w in a.safetensors",
    ),
}
"""A weight_map or a whole index beside a sound a.safetensors of a tensor v, and what is wrong."""


FILES = {
    # A file of 0 bytes, as a full disk leaves it.
    "empty": (b"", "is empty (0 bytes)"),
    # A file that ends within the length of its header.
    "shorter_than_a_length": (b"\x40" + bytes(6), "is truncated: 7 bytes, no header"),
    # A file whose room was taken and whose download never began.
    "only_zeros": (
        bytes(4096),
        r"is no safetensors file: it starts with b'\x00\x00\x00\x00\x00\x00\x00\x00\x00'",
    ),
    # What a server said in place of the file.
    "answer_of_a_server": (
        b"Entry not found",
        "is text, not a checkpoint: it starts with 'Entry not found'",
    ),
    # A login page in place of the file.
    "web_page": (b"<!doctype html><html></", "is a web page, not a checkpoint (23 bytes)"),
    # What a clone without Git LFS has in place of the file.
    "git_lfs_pointer": (REF, "is a Git LFS pointer, not the file (71 of 484800 bytes)"),
    # A checkpoint as it was sent.
    "compressed": (b"\x1f\x8b" + bytes(8), "is compressed with gzip (10 bytes)"),
}
"""What stands in place of a model.safetensors, and what it is said to be."""

CLAIMS = {
    # A file that ends within its header.
    "shorter_than_its_header": (64, "is truncated: a header of 64 bytes in a file of 10"),
    # A length that is negative where it is read as signed.
    "header_length_of_2_to_the_63": (
        1 << 63,
        "claims a header of 9223372036854775808 bytes, the limit is 100000000",
    ),
    # A length that wraps around when 8 is added.
    "header_length_of_2_to_the_64_less_1": (
        (1 << 64) - 1,
        "claims a header of 18446744073709551615 bytes, the limit is 100000000",
    ),
    # A length within the limit, in a file of 10 bytes.
    "header_length_of_16_mb": (
        16_000_000,
        "is truncated: a header of 16000000 bytes in a file of 10",
    ),
}
"""The length that a header of 2 bytes claims, and what is said of it."""


def with_entry(bad, folder):
    return safetensors(folder / "model.safetensors", {"w": bad})


def with_header(text, data, folder):
    return safetensors(folder / "model.safetensors", text, data)


def with_index(weight_map, folder):
    sound(folder / "a.safetensors", "v")
    return index(folder, weight_map)


def with_claim(nbytes, folder):
    return safetensors(folder / "model.safetensors", b"{}", b"", nbytes)


def with_content(content, folder):
    return written(folder / "model.safetensors", content)


for kind, (content, problem) in FILES.items():
    UNREADABLE[kind] = Kind(partial(with_content, content), problem)
for kind, (nbytes, problem) in CLAIMS.items():
    UNREADABLE[kind] = Kind(partial(with_claim, nbytes), problem)
for kind, (bad, problem) in ENTRIES.items():
    UNREADABLE[kind] = Kind(partial(with_entry, bad), f"w: {problem}")
for kind, (text, data, problem) in HEADERS.items():
    UNREADABLE[kind] = Kind(partial(with_header, text, data), problem)
for kind, (weight_map, problem) in INDICES.items():
    UNREADABLE[kind] = Kind(partial(with_index, weight_map), problem)


@unreadable("no such file or directory")
def missing(folder):
    """A path where nothing is."""
    return folder / "model.safetensors"


@unreadable("not a directory")
def below_a_file(folder):
    """A path that goes on behind a file."""
    return written(folder / "model.safetensors", b"") / "model.safetensors"


@unreadable("is empty (0 bytes)")
def empty_index(folder):
    """An index of 0 bytes."""
    return index(folder, b"")


@unreadable("file name too long")
def name_too_long(folder):
    """A name that no file system takes."""
    return folder / ("w" * 300 + ".safetensors")


@unreadable("too many levels of symbolic links")
def link_to_itself(folder):
    """A symbolic link that leads to itself."""
    (folder / "model.safetensors").symlink_to("model.safetensors")
    return folder / "model.safetensors"


@unreadable("is a link to ../blobs/4d7a, which does not exist")
def link_to_nothing(folder):
    """A symbolic link into a cache whose download never ended."""
    (folder / "model.safetensors").symlink_to("../blobs/4d7a")
    return folder / "model.safetensors"


@unreadable("is neither a file nor a directory")
def pipe(folder):
    """A named pipe that nobody writes to: opening it would wait for ever."""
    os.mkfifo(folder / "model.safetensors")
    return folder / "model.safetensors"


@unreadable("is neither a file nor a directory", culprit="model.safetensors")
def folder_of_a_pipe(folder):
    """A directory whose model is a named pipe."""
    pipe(folder)
    return folder


@unreadable("is neither a file nor a directory")
def endless_device(folder):
    """A device that gives zeros for ever."""
    return Path("/dev/zero")


@unreadable("is an empty folder (0 files)")
def folder_of_nothing(folder):
    """An empty directory."""
    return folder


@unreadable("holds no checkpoint (7 entries: 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 2 more)")
def folder_without_a_checkpoint(folder):
    """A directory of other files."""
    for i in range(7):
        written(folder / f"{i}.txt", b"notes")
    return folder


@unreadable("holds 7 checkpoints: 0.pt, 1.pt, 2.pt, 3.pt, 4.pt and 2 more")
def folder_of_several_checkpoints(folder):
    """A directory that keeps one training file an epoch."""
    for i in range(7):
        written(folder / f"{i}.pt", b"\x80\x02.")
    return folder


@unreadable("v is in a.safetensors and in b.safetensors")
def folder_of_two_copies(folder):
    """A directory of two files with a tensor of the same name."""
    sound(folder / "a.safetensors", "v")
    sound(folder / "b.safetensors", "v")
    return folder


@unreadable("is a link to ../blobs/4d7a, which does not exist", culprit="model.safetensors")
def folder_of_a_link_to_nothing(folder):
    """A directory of a cache whose download never ended."""
    link_to_nothing(folder)
    return folder


@unreadable("is a Git LFS pointer, not the file (71 of 484800 bytes)", "b.safetensors")
def git_lfs_pointer_as_a_shard(folder):
    """A clone with the index and without the shards."""
    written(folder / "b.safetensors", REF)
    return with_index({"v": "a.safetensors", "w": "b.safetensors"}, folder)


@unreadable("is a configuration, not weights (19 bytes)")
def other_json(folder):
    """A configuration file, whose ninth byte is a brace as in a safetensors file."""
    return written(folder / "config.json", b'{"step":{"now": 5}}')


@unreadable("is a directory, where a shard should be", culprit="loop")
def index_with_folders_that_lead_back(folder):
    """Shards that are links to the index's folder: followed, they lead 40 folders deep."""
    (folder / "loop").symlink_to(".")
    (folder / "pool").symlink_to(".")
    return index(folder, {"v": "loop", "w": "pool"})


@unreadable("is an index, where a shard should be", culprit="model.safetensors.index.json")
def index_that_names_itself(folder):
    """An index that is its own shard."""
    return index(folder, {"w": "model.safetensors.index.json"})


@unreadable("is neither a file nor a directory", culprit="b.safetensors")
def index_that_names_a_pipe(folder):
    """A shard that is a named pipe."""
    os.mkfifo(folder / "b.safetensors")
    return with_index({"w": "b.safetensors"}, folder)


@unreadable("v is in a.safetensors and in b.safetensors")
def index_of_two_copies(folder):
    """Two shards with a tensor of the same name."""
    sound(folder / "b.safetensors", "v", "w")
    return with_index({"v": "a.safetensors", "w": "b.safetensors"}, folder)


@unreadable("is an index of over 32000000 bytes, the limit")
def index_of_many_tib(folder):
    """An index that is larger than any memory, and takes no room on the disk."""
    os.truncate(index(folder, b"{"), 8 * TIB)
    return folder / "model.safetensors.index.json"


@unreadable("has a bad header of 16000000 bytes: …")
def header_of_16_mb_of_zeros(folder):
    """A header as long as the limit, which takes no room on the disk."""
    safetensors(folder / "model.safetensors", b"{", b"", claimed=16_000_000)
    os.truncate(folder / "model.safetensors", 8 + 16_000_000)
    return folder / "model.safetensors"


@unreadable("has a bad header of 15000011 bytes: …")
def header_of_five_million_lists(folder):
    """A header that grows twenty times when it is parsed."""
    return safetensors(
        folder / "model.safetensors", b'{"w": [' + b"[]" + b",[]" * 5_000_000 + b"]}"
    )


@unreadable("has a bad header of 3888930 bytes: 99999 is there 2 times")
def header_of_100000_names(folder):
    """The last of many names is there twice: comparing each with each would take hours."""
    names = [*range(100_000), 99_999]
    text = ",".join(f'"{name}": {{"x": "{name:020}"}}' for name in names)
    return safetensors(folder / "model.safetensors", b"{" + text.encode() + b"}")


@unreadable(f"{'w' * 32}…: a name of 1000000 characters, the limit is 1024")
def name_of_a_million_characters(folder):
    """A name that would fill the screen and keep every pattern busy."""
    return safetensors(folder / "model.safetensors", {"w" * 10**6: entry()})


@unreadable("\\x1b[31mred\\x1b[0m\\x07\\x9b2J\\u202e\\r\\n: its entry is null, not an object")
def name_that_writes_to_the_terminal(folder):
    """A name that changes colours, rings, clears the screen and breaks the line."""
    return safetensors(folder / "model.safetensors", {LOUD: None})


@unreadable("is empty (0 bytes)")
def path_that_writes_to_the_terminal(folder):
    """The same in the name of the file, and bytes that are no UTF-8."""
    return written(folder / os.fsdecode(LOUD.encode() + b"\xff.safetensors"), b"")


def system(folder):
    """The opcodes that call os.system; it would leave a file behind."""
    return f"cos\nsystem\n(S'touch {folder}/ran'\ntR".encode()


TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'k'\nS'cpu'\nI4\ntQ"
    b"I0\n(I4\nt(I1\ntI00\nccollections\nOrderedDict\n(tRtR"
)
"""The opcodes of a tensor of four elements in the storage k."""


@unreadable("holds …")
def pickle_that_calls_os_system(folder):
    """A pickle that is nothing but a command."""
    return torch_zip(folder / "model.pt", system(folder) + b".")


@unreadable("is a pickle that torch.save did not write (…")
def bare_pickle_that_calls_os_system(folder):
    """The same without a zip around it."""
    return written(folder / "model.pkl", b"\x80\x02" + system(folder) + b".")


@unreadable("holds no tensor: …")
def pickle_without_tensors(folder):
    """The settings of a run, saved by torch."""
    return torch_zip(folder / "model.pt", b"(dS'epochs'\nI3\ns.")


@unreadable("its pickle is broken before byte …")
def pickle_that_ends_early(folder):
    """A pickle without its last bytes."""
    return torch_zip(folder / "model.pt", b"(dS'w'\n" + TENSOR[:-20])


@unreadable("is truncated or damaged: …")
def zip_that_ends_early(folder):
    """A zip without its directory, as an interrupted copy leaves it."""
    whole = torch_zip(folder / "model.pt", b"(dS'w'\n" + TENSOR + b"s.", k=bytes(16)).read_bytes()
    return written(folder / "model.pt", whole[:-40])


@unreadable("w: storage k of 16 bytes has 12 in the file")
def storage_that_is_too_short(folder):
    """A tensor over more bytes than its storage has."""
    return torch_zip(folder / "model.pt", b"(dS'w'\n" + TENSOR + b"s.", k=bytes(12))
