"""The zip of torch.save since 1.6 and of torch.jit.save: the object in it, and at which byte each
storage lies."""

import io

from scalecheck.checkpoint.archive.zip import Zip, is_stored
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pickle.records import Pickled, Stored
from scalecheck.checkpoint.pickle.torch_globals import Globals
from scalecheck.checkpoint.pickle.unpickle import MAX_PICKLE_NBYTES, unpickle
from scalecheck.checkpoint.tensor import Reader
from scalecheck.report.formatting import excerpt

MAX_RATIO = 64  # of a compressed pickle; those of tensors reach 5


def read_zip(reader: Reader) -> Pickled:
    """The object in a zip of torch.save or torch.jit.save. Raises Malformed, CheckpointError."""
    archive = Zip(reader)
    members = archive.members
    if before := archive.nbytes_before():
        raise Malformed(
            f"has {before} bytes before its zip archive: several archives in one file, as"
            " torch.distributed.checkpoint writes them, whose dcp_to_torch joins them"
        )
    pickles = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
    pickles = [name for name in pickles if name.count("/") < 2]
    if not pickles:
        first = ", ".join(
            [excerpt(name, 40) for name in [*members][:3]] + ["…"] * (len(members) > 3)
        )
        raise Malformed(
            f"is a zip of {len(members)} members that torch.save did not write"
            f": no data.pkl{' beside ' + first if first else ''}"
        )
    if len(pickles) > 1:
        raise Malformed(f"has {len(pickles)} members named data.pkl")
    root = pickles[0].removesuffix("data.pkl")
    if byteorder := members.get(f"{root}byteorder"):
        order = archive.content(byteorder, 16, MAX_RATIO)
        if order != b"little":
            raise Malformed(f"has a byte order that is not read: {excerpt(repr(order))}")
    names = Globals()
    content = archive.content(members[pickles[0]], MAX_PICKLE_NBYTES, MAX_RATIO)
    archive.check_apart()
    tree = unpickle(io.BytesIO(content), names.known, names.persistent)

    def stored(key: str) -> Stored:
        member = members.get(f"{root}data/{key}")
        if member is None:
            raise Malformed(f"has no member data/{excerpt(key)}")
        if not is_stored(member):
            return Stored(0, member.file_size, "its storage is compressed")
        return Stored(archive.position(member), member.file_size)

    is_script = f"{root}constants.pkl" in members
    return Pickled(
        "torchscript" if is_script else "torch-zip", tree, names.foreign.values(), stored
    )
