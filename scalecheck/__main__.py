"""`python -m scalecheck`."""

from scalecheck.cli.main import run

run()
