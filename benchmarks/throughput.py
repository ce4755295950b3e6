"""One measuring pass beside a bare read by as many threads, in one process, in turn.

python benchmarks/throughput.py FILE RUNS   prints seconds: [[read, pass], …] as JSON
"""

import json
import sys
import time
from pathlib import Path

from read import bare_read

from scalecheck import open_checkpoint
from scalecheck.measure.measuring import measure
from scalecheck.measure.pipeline import cores


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
