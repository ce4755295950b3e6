"""`python -m scalecheck`, and what the console script calls: quiet when interrupted while the rest
is still being imported."""

import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Runs the command line and leaves with its exit code."""
    # Ended by the system a command tidies up, and says what a shell would: 128 and the signal.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        from scalecheck.cli.main import run
    except KeyboardInterrupt:
        print("scalecheck: interrupted", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
