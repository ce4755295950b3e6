"""Real trained files, in packages whose files are read and whose code is never imported."""

import importlib.metadata
import os
from pathlib import Path

import pytest

INSTALL = "pip install --no-deps -r tests/real-checkpoints.txt"


def real_file(package: str, file: str) -> Path:
    """The path of a file of an installed package, such as `lpips/weights/v0.1/alex.pth`.

    Without the package the test is skipped; in CI, which installs it, the test fails.
    """
    try:
        files = importlib.metadata.files(package)
    except importlib.metadata.PackageNotFoundError:
        absent = f"{package} is not installed: {INSTALL}"
        if os.environ.get("CI"):
            pytest.fail(absent, pytrace=False)
        pytest.skip(absent)
    for found in files or ():
        if found.as_posix() == file:
            return Path(found.locate())
    pytest.fail(f"{package} is installed and holds no {file}", pytrace=False)
