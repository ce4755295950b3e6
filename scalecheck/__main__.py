"""`python -m scalecheck`, and what the console script calls: it says why where the rest cannot be
imported, and is quiet when interrupted meanwhile."""

import mmap
import os
import signal
import sys
import warnings
from typing import NoReturn

# numpy's library for matrices ends the process with 1 where it finds too little, as findings do.
NBYTES_TO_START = 144 << 20
ENDING = ("SIGTERM", "SIGHUP", "SIGXCPU")  # what a system sends a command that it ends


def main() -> NoReturn:
    """Runs the command line and leaves with its exit code."""
    for name in ENDING:
        number = getattr(signal, name, None)  # Windows has the first alone
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # of nohup
            signal.signal(number, _end)
    if not sys.warnoptions:  # they are for developers
        warnings.simplefilter("ignore")
    # Nothing here multiplies matrices: one thread has the buffers.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        mmap.mmap(-1, NBYTES_TO_START).close()
        from scalecheck.cli.main import run
    except KeyboardInterrupt:
        print("scalecheck: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        problem = "cannot import what it needs; free memory, or install it anew"
        words = ascii(f"{type(error).__name__}: {error}")[1:-1]
        print(f"scalecheck: {problem}: {words}", file=sys.stderr)
        sys.exit(70)
    run()


def _end(number: int, _: object) -> NoReturn:
    """Lets the command tidy up, and says what a shell would: 128 and the signal."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
