"""`python -m scalecheck`, and what the console script calls: quiet when interrupted while the rest
is still being imported."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Runs the command line and leaves with its exit code."""
    try:
        from scalecheck.cli.main import run
    except KeyboardInterrupt:
        print("scalecheck: interrupted", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
