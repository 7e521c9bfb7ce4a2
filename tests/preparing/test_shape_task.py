"""What a worker does with a point cloud: its points, and no views."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cloud_samples import write_cloud
from mesh_samples import SQUARE, write

from cmah.errors import CmahError
from cmah.meshes.cloud_files import load_cloud
from cmah.meshes.point_sampling import write_points
from cmah.preparing.preparing import prepare
from cmah.preparing.shape_ids import stable_hash
from cmah.preparing.shape_task import prepare_shape
from cmah.skipped_files import read_skipped


@pytest.fixture
def task(tmp_path: Path) -> dict[str, Any]:
    settings = {"views": 2, "image_size": 16, "points": 64, "up": "z", "elevations": [20.0], "jitter": 0.0}
    return {"out": str(tmp_path / "out"), "shape_id": "scan", "seed": 3, **settings}


@pytest.mark.parametrize("n", [1, 63, 64, 65, 5000])
@pytest.mark.parametrize("coloured", [False, True])
def test_points_of_a_cloud(tmp_path: Path, task: dict[str, Any], n: int, coloured: bool) -> None:
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(n + 1, 3))
    path = write_cloud(tmp_path / "a.ply", xyz, rng.integers(0, 256, (n + 1, 3)) if coloured else None)
    assert prepare_shape({**task, "path": str(path)}) == {"cameras": [], "coloured": coloured}
    made = np.load(tmp_path / "out/points/scan.npy")
    assert made.dtype == np.float16
    assert made.shape == (min(64, n + 1), 6 if coloured else 3)
    rows = {tuple(row) for row in load_cloud(path, "z").astype(np.float16).tolist()}
    assert {tuple(row) for row in made.tolist()} <= rows
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".partial", "points"]
    assert list((tmp_path / "out/.partial").iterdir()) == []
    # a query of the same file has the same points
    seed = [3, stable_hash("scan"), 0]
    write_points({"path": str(path), "out": tmp_path / "q.npy", "points": 64, "up": "z", "seed": seed})
    np.testing.assert_array_equal(np.load(tmp_path / "q.npy").astype(np.float16), made)


def test_a_mesh_without_faces_in_another_format_is_no_cloud(tmp_path: Path, task: dict[str, Any]) -> None:
    with pytest.raises(CmahError, match="no faces"):
        prepare_shape({**task, "path": str(write(tmp_path / "a.obj", SQUARE))})


@pytest.mark.slow
def test_good_and_bad_clouds_in_a_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(100, 3))
    folder = tmp_path / "scans"
    write_cloud(folder / "x/good.ply", xyz)
    write_cloud(folder / "x/declared.ply", xyz[:20], faces=0)
    write_cloud(folder / "x/one.ply", xyz[:1])
    write_cloud(folder / "x/none.ply", xyz[:0], faces=0)
    write_cloud(folder / "x/hole.ply", np.where(np.arange(100)[:, None] == 7, np.nan, xyz))
    settings: dict[str, Any] = {"views": 2, "image_size": 16, "points": 64, "jobs": 1}
    dataset = prepare(folder, tmp_path / "out", **settings)
    assert [len(dataset.load_points(shape)) for shape in dataset.shapes] == [20, 64]
    assert dataset.images == []
    assert dataset.check_files() == []
    assert read_skipped(tmp_path / "out") == [
        ("x/hole.ply", "point 7 has a value that is not finite"),
        ("x/none.ply", "no points (its element vertex is empty)"),
        ("x/one.ply", "no extent (all points lie in one place)"),
    ]
