"""How the processor's time and the memory grow with the size of a file, for each kind of file whose
cost could grow faster than it: python benchmarks/growth.py [WORD OF A KIND]"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from growth import KINDS, arguments, metadata_nbytes
from process import cost_of


def main(word: str = "") -> None:
    print("| kind | CPU s | 2× | 4× | peak MB | 4× metadata, MB |\n|---|---|---|---|---|---|")
    for name, kind in KINDS.items():
        if word not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            times, peak = [], 0
            for factor in (1, 2, 4):
                path = kind.write(Path(folder), factor * kind.parts)
                done, seconds, peak = cost_of(*arguments(kind, path))
                if done.code not in (0, 1):
                    sys.exit(f"{name}: {done.err}")
                times.append(seconds)
            ratios = " | ".join(f"{seconds / times[0]:.1f}" for seconds in times[1:])
            metadata = metadata_nbytes(path) / 1e6
        print(
            f"| {name} | {times[0]:.2f} | {ratios} | {peak / 1e6:.0f} | {metadata:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
