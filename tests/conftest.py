"""Hypothesis draws the same examples in every run and keeps no record of them; a fixture that
several tests use."""

import pytest
from hypothesis import settings

settings.register_profile("laws", derandomize=True, database=None, deadline=None, max_examples=20)
settings.load_profile("laws")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Works in the test's own folder: no configuration lies above it."""
    monkeypatch.chdir(tmp_path)
