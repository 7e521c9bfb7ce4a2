"""Fixtures for every test: the outside material (skipped where absent) and one thread for torch."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.path.insert(0, str(Path(__file__).parent))  # for toy.py

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data, weights and reference outputs beside the checkout."""
    if not (SHARED / "data").is_dir():
        pytest.skip("no folder with reference data beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder of 24 boxes that a micro model trains on in a second."""
    from toy import make_toy

    return make_toy(tmp_path_factory.mktemp("toy") / "data")


@pytest.fixture(scope="session")
def toy_run(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A micro model trained on the toy dataset for six epochs."""
    from toy import MICRO

    from cmah.training.loop import train

    return train(toy, tmp_path_factory.mktemp("whole") / "run", settings=[*MICRO, "training.epochs=6"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` where there is no CUDA device."""
    if not any(item.get_closest_marker("gpu") for item in items):
        return
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
