"""A run folder that a test may damage."""

import shutil

import pytest


@pytest.fixture
def run(toy_run, tmp_path):
    return shutil.copytree(toy_run, tmp_path / "run")
