"""Hypothesis draws the same examples in every run and keeps no record of them; every test has a
limit of time; a fixture that several tests use."""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # tests run side by side

import pytest
from hypothesis import settings
from process import time_limit

settings.register_profile("laws", derandomize=True, database=None, deadline=None, max_examples=20)
settings.load_profile("laws")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    with time_limit():
        return (yield)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Works in the test's own folder: no configuration lies above it."""
    monkeypatch.chdir(tmp_path)
