"""A bare read of files: positioned reads by as many threads as there are cores, nothing kept.

python benchmarks/read.py FILE...
"""

import sys
import threading
import time
from os import sched_getaffinity
from pathlib import Path

BLOCK = 1 << 20


def bare_read(path: Path, threads: int) -> float:
    """Seconds to read the whole file into a reused buffer a thread."""
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


if __name__ == "__main__":
    for name in sys.argv[1:]:
        bare_read(Path(name), len(sched_getaffinity(0)))
