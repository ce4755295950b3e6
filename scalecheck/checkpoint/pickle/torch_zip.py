"""The zip of torch.save since 1.6 and of torch.jit.save: the object in it, and at which byte each
storage lies."""

import io
from dataclasses import replace
from itertools import islice

from scalecheck.checkpoint.archive.zip import Member, Zip
from scalecheck.checkpoint.malformed import Malformed, NotTorchs
from scalecheck.checkpoint.pickle.records import Pickled, Stored
from scalecheck.checkpoint.pickle.torch_globals import Globals
from scalecheck.checkpoint.pickle.unpickle import MAX_PICKLE_NBYTES, unpickle
from scalecheck.checkpoint.source import SourceReader
from scalecheck.report.formatting import excerpt, plural

MAX_RATIO = 12  # of a compressed pickle; those of tensors reach 5

_MAX_SOUGHT = 10_000  # members among which one of weights is sought

_OWN = (
    *("data.pkl", "constants.pkl", "bytecode.pkl", "version", "byteorder", "code/"),
    *(".data/", ".format_version", ".storage_alignment"),
)
"""How the members start that torch writes beside storages: they hold no tensors."""


def read_zip(reader: SourceReader) -> Pickled:
    """The object in a zip of torch.save or torch.jit.save. Raises Malformed, CheckpointError."""
    return read_archive(Zip(reader))


def read_archive(archive: Zip) -> Pickled:
    """The same of an archive that is open."""
    top = _top(archive)
    pickled = archive.find(f"{top}data.pkl")
    if pickled is None:
        first = ", ".join(
            [excerpt(name, 40) for name in islice(archive, 3)] + ["…"] * (len(archive) > 3)
        )
        raise NotTorchs(
            f"is a zip of {plural(len(archive), 'member')} that torch.save did not write"
            f": no data.pkl{' beside ' + first if first else ''}",
            [*islice(archive, _MAX_SOUGHT)],
        )
    outside = [name for name in archive if not name.startswith(top)]
    if outside:
        raise Malformed(
            f"has member {excerpt(outside[0])} outside of its folder {excerpt(top)}:"
            " torch.save writes one folder"
        )
    if byteorder := archive.find(f"{top}byteorder"):
        order = archive.content(byteorder, 16, MAX_RATIO)
        if order != b"little":
            raise Malformed(f"has a byte order that is not read: {excerpt(repr(order))}")
    names, others = Globals(), Globals()
    found = _unpickled(archive, pickled, f"{top}data/", "torch-zip", names)
    if constants := archive.find(f"{top}constants.pkl"):
        inner = _unpickled(archive, constants, f"{top}constants/", "torchscript", others)
        found = replace(found, format="torchscript", constants=inner)
    stored = {f"data/{key}".lower() for key in names.storages}
    stored |= {f"constants/{key}".lower() for key in others.storages}
    members = (name.removeprefix(top) for name in archive if not name.endswith("/"))
    unread = [m for m in members if not m.startswith(_OWN) and m.lower() not in stored]
    return replace(found, unread=unread)


def _unpickled(archive: Zip, member: Member, folder: str, form: str, names: Globals) -> Pickled:
    """The object in a member, whose storages lie in a folder."""
    content = archive.content(member, MAX_PICKLE_NBYTES, MAX_RATIO)
    ratio = max(1.0, member.nbytes / max(1, member.packed))
    tree = unpickle(io.BytesIO(content), names.known, names.persistent, ratio)

    def stored(key: str) -> Stored:
        storage = archive.find(folder + key)
        if storage is None:
            raise Malformed(f"has no member {excerpt(folder.partition('/')[2] + key)}")
        if not storage.is_stored:
            return Stored(0, storage.nbytes, "its storage is compressed")
        return Stored(archive.position(storage), storage.nbytes)

    return Pickled(form, tree, names.foreign.values(), stored)


def _top(archive: Zip) -> str:
    """The folder that torch reads an archive from: that of its first member."""
    folder, slash, _ = next(iter(archive), "").partition("/")
    return folder + slash if slash else ""
