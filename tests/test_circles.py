"""What is read of a checkpoint goes when it is let go of, without a garbage collection: a program
that reads one after another would keep the decoders and the ends of files of many."""

import gc

import numpy as np
import pytest
import torch
from dcp_files import Folder
from orbax_files import orbax, zarr2

import scalecheck
from scalecheck.checkpoint.distributed.ends import EndsReader
from scalecheck.checkpoint.files.streams import Cursor

ARRAY = np.arange(200_000, dtype="f4").reshape(400, 500)


def compressed_arrays(folder):
    np.savez_compressed(folder / "model.npz", **{"up.weight": ARRAY, "down.weight": ARRAY.T})
    return folder / "model.npz"


def database(folder):
    arrays = {f"{name}.kernel": zarr2(ARRAY, (100, 500)) for name in ("up", "down")}
    for name, content in orbax(arrays, is_ocdbt=True).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def ranks(folder):
    made = Folder()
    made.add(("model", "up.weight"), torch.ones(10, 4), ranks=2)
    made.add(("optim", "state", "up.weight", "exp_avg"), torch.ones(10, 4), ranks=2)
    made.add(("optim", "param_groups", 0, "lr"), 1e-3)
    made.write(folder)
    return folder


def left():
    """The decoders and ends of items that are in memory."""
    return [one for one in gc.get_objects() if type(one) in (Cursor, EndsReader)]


@pytest.mark.parametrize("write", [compressed_arrays, database, ranks])
def test_a_checkpoint_that_was_read_leaves_nothing_in_memory(tmp_path, write):
    path = write(tmp_path)
    gc.collect()
    gc.disable()
    try:
        before = len(left())
        checkpoint = scalecheck.open_checkpoint(path)
        scalecheck.inspect(checkpoint, jobs=1)
        for tensor in checkpoint.tensors:  # whose decoders wait for who reads on
            next(tensor.blocks(buffer=np.empty(64, np.uint8)))
        del checkpoint, tensor
        assert len(left()) == before
    finally:
        gc.enable()
