"""Hypothesis draws the same examples in every run and keeps no record of them; every test has a
limit of time; fixtures that several tests use."""

import os
from pathlib import Path

os.environ.pop("FORCE_COLOR", None)  # of the terminal or the CI that the tests run in
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # tests run side by side

import pytest
import torch
from hypothesis import settings
from process import time_limit

settings.register_profile("laws", derandomize=True, database=None, deadline=None, max_examples=20)
settings.load_profile("laws")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    with time_limit():
        return (yield)


@pytest.fixture
def in_project_folder(monkeypatch):
    monkeypatch.chdir(Path(__file__).parent.parent)


@pytest.fixture(params=["torch-zip", "torch-legacy"])
def container(request):
    return request.param


@pytest.fixture
def save(tmp_path, container):
    """Writes an object as torch does, in either of its containers."""

    def saved(obj, name="model.pt"):
        torch.save(obj, tmp_path / name, _use_new_zipfile_serialization=container == "torch-zip")
        return tmp_path / name

    return saved


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Works in the test's own folder: no configuration lies above it."""
    monkeypatch.chdir(tmp_path)
