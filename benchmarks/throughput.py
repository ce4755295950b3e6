"""One measuring pass beside a bare read by as many threads, in one process, in turn.

python benchmarks/throughput.py FILE RUNS   prints seconds: [[read, pass], …] as JSON
"""

import json
import sys
import threading
import time
from pathlib import Path

from scalecheck import open_checkpoint
from scalecheck.measure.scale import cores, measure

BLOCK = 1 << 20


def bare_read(path: Path, threads: int) -> float:
    """Seconds to read the whole file by positioned reads into a reused buffer a thread."""
    size = path.stat().st_size
    share = -(-size // threads)

    def read(start: int) -> None:
        buffer = memoryview(bytearray(BLOCK))
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            left = min(share, size - start)
            while left > 0:
                left -= file.readinto(buffer[: min(left, BLOCK)])

    workers = [threading.Thread(target=read, args=(i * share,)) for i in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - start


def one_pass(path: Path) -> float:
    """Seconds to open the checkpoint and measure every tensor."""
    start = time.perf_counter()
    with open_checkpoint(path) as checkpoint:
        for _ in measure(checkpoint.tensors):
            pass
    return time.perf_counter() - start


if __name__ == "__main__":
    file, runs = Path(sys.argv[1]), int(sys.argv[2])
    one_pass(file)
    json.dump([[bare_read(file, cores()), one_pass(file)] for _ in range(runs)], sys.stdout)
