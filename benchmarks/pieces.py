"""A distributed checkpoint beside the same bytes in one safetensors file: `inspect` of each, whole
processes in turn. Every tensor lies in pieces in all 64 files.

    python benchmarks/pieces.py [--gib 1] [--runs 3] [--folder DIR]
    python benchmarks/pieces.py --write FOLDER NBYTES
"""

import argparse
import io
import pickle
import sys
import tempfile
from pathlib import Path

from files import SHARDS, WIDTH
from run import made
from tabulate import tabulate
from timing import HEAD, SCALECHECK, in_turn, lines, output


def write(folder: Path, nbytes: int) -> None:
    """The tensors of files.py as 64 ranks of torch.distributed.checkpoint write them."""
    import torch
    from torch.distributed.checkpoint import filesystem
    from torch.distributed.checkpoint import metadata as dcp

    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    properties = dcp.TensorProperties(dtype=torch.bfloat16)
    kinds = []
    for word, shape in (("mlp", (WIDTH // SHARDS, WIDTH)), ("norm", (WIDTH // SHARDS,))):
        part = (torch.randn(shape, generator=generator) * 0.02).bfloat16()
        archive = io.BytesIO()
        torch.save(part, archive)
        kinds.append((word, part.shape, archive.getvalue()))
    index = dcp.Metadata({}, {}, {})
    files = [(folder / f"__{rank}_0.distcp").open("wb") for rank in range(SHARDS)]
    for layer in range(nbytes // (2 * WIDTH * (WIDTH + 1))):
        for word, sizes, archive in kinds:
            name = f"layers.{layer}.{word}.weight"
            whole = torch.Size((sizes[0] * SHARDS, *sizes[1:]))
            chunks = []
            for rank, file in enumerate(files):
                start = torch.Size((rank * sizes[0], *(0 for _ in sizes[1:])))
                chunks.append(dcp.ChunkStorageMetadata(start, sizes))
                place = filesystem._StorageInfo(Path(file.name).name, file.tell(), len(archive))
                index.storage_data[dcp.MetadataIndex(name, start, rank)] = place
                file.write(archive)
            index.state_dict_metadata[name] = dcp.TensorStorageMetadata(properties, whole, chunks)
            index.planner_data[name] = (name,)
    for file in files:
        file.close()
    (folder / ".metadata").write_bytes(pickle.dumps(index))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gib", type=float, default=1, help="size of each")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, in turn")
    parser.add_argument("--folder", type=Path, help="where the files are made, and removed")
    parser.add_argument("--write", nargs=2, metavar=("FOLDER", "NBYTES"))
    options = parser.parse_args()
    if options.write:
        write(Path(options.write[0]), int(options.write[1]))
        return
    size = str(int(options.gib * (1 << 30)))
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        file, folder = Path(name, "model.safetensors"), Path(name, "step-1")
        made(["BF16", size], file)
        output([sys.executable, __file__, "--write", str(folder), size])
        read = {
            "one safetensors file": [SCALECHECK, "inspect", str(file)],
            f"{SHARDS} files of ranks": [SCALECHECK, "inspect", str(folder)],
        }
        table = lines(in_turn(read, options.runs))
    head = [word.replace("ours", "the first") for word in HEAD]
    print(tabulate(table, head, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
