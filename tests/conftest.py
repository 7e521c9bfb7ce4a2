"""Fixtures for every test: the outside material (skipped where absent) and one thread for torch."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmah.search import HammingIndex

os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data, weights and reference outputs beside the checkout."""
    if not (SHARED / "data").is_dir():
        pytest.skip("no folder with reference data beside the checkout")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache folder of all tests, so that none reads or writes the user's own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMAH_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A CLIP model of 32 dimensions and 32 px, registered with open_clip: (encoder, file of random weights)."""
    import open_clip
    import torch

    folder = tmp_path_factory.mktemp("clip")
    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    (folder / "tiny-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / "tiny-clip.json")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model("tiny-clip")
    torch.save({"epoch": 1, "state_dict": model.state_dict()}, folder / "tiny-clip.pt")
    return "open_clip:tiny-clip", str(folder / "tiny-clip.pt")


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder of 24 boxes that a micro model trains on in a second."""
    from toy_dataset import make_toy

    return make_toy(tmp_path_factory.mktemp("toy") / "data")


@pytest.fixture(scope="session")
def toy_run(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A micro model trained on the toy dataset for six epochs."""
    from toy_dataset import MICRO

    from cmah.training.starting import train

    return train(toy, tmp_path_factory.mktemp("whole") / "run", settings=[*MICRO, "training.epochs=6"])


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, list[str]]:
    """(folder, summary, lines) of a very small `cmah demo`: 42 shapes, two views of each, one epoch."""
    from cmah.demo import Scale, run_demo

    out = tmp_path_factory.mktemp("demo") / "demo"
    lines: list[str] = []
    summary = run_demo(out, scale=Scale(per_category=3, views=2, epochs=1, hits=3), report=lines.append)
    return out, summary, lines


@pytest.fixture
def beside_demo(
    small_demo: tuple[Path, dict, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The current folder, in which demo/ is as `make demo` leaves it, but small; a copy that may be changed."""
    shutil.copytree(small_demo[0], tmp_path / "demo")
    config = tmp_path / "demo" / "run" / "config.json"  # which names the dataset that was copied too
    stored = json.loads(config.read_text(encoding="utf-8"))
    stored["dataset"]["path"] = str((tmp_path / "demo" / "dataset").resolve())
    config.write_text(json.dumps(stored), encoding="utf-8")
    for path in (tmp_path / "demo").glob("*.cmah"):  # as do the indexes
        index = HammingIndex.open(path)
        if index.dataset:
            index.dataset = stored["dataset"]["path"]
            index.save(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` where there is no CUDA device."""
    if not any(item.get_closest_marker("gpu") for item in items):
        return
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
