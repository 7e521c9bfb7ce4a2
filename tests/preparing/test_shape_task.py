"""One shape of a dataset: no view of it is empty."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cmah.errors import CmahError
from cmah.preparing.preparing import prepare
from cmah.preparing.shape_task import prepare_shape

SHEETS = {
    "upright": "0 0 0\n1 0 0\n1 1 0\n0 1 0",
    "flat": "0 0 0\n1 0 0\n1 0 1\n0 0 1",
    "leaning": "0 0 0\n1 0 1\n1 1 1\n0 1 0",
}


def task(folder: Path, corners: str, **more: Any) -> dict[str, Any]:
    (folder / "a.off").write_text(f"OFF\n4 1 0\n{corners}\n4 0 1 2 3\n")
    given = {"path": str(folder / "a.off"), "out": str(folder / "out"), "shape_id": "a", "views": 8}
    return {
        **given,
        "image_size": 48,
        "points": 9,
        "up": "y",
        "elevations": [0.0],
        "jitter": 0.0,
        "seed": 0,
    } | more


@pytest.mark.parametrize("name", SHEETS)
def test_a_camera_that_looks_along_a_sheet_is_turned(tmp_path: Path, name: str) -> None:
    result = prepare_shape(task(tmp_path, SHEETS[name]))
    masks = [np.array(Image.open(path)) for path in sorted((tmp_path / "out/renders/a").glob("*_mask.png"))]
    assert len(masks) == 8
    assert all(mask.any() for mask in masks)
    turned = [camera for view, camera in enumerate(result["cameras"]) if camera != [45.0 * view, 0.0]]
    assert len(turned) == (8 if name == "flat" else 2)
    for azimuth, elevation in turned:
        assert (azimuth % 45, elevation) in {(5, 0), (0, 5)}


def test_a_thread_is_refused(tmp_path: Path) -> None:
    thread = "0 0 0\n0 1 0\n1e-7 1 0\n1e-7 0 0"
    with pytest.raises(CmahError, match="nothing to be seen from"):
        prepare_shape(task(tmp_path, thread))


def cloud(folder: Path, rows: list[str], colours: bool = False) -> None:
    properties = "".join(f"property float {axis}\n" for axis in "xyz")
    properties += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue")) if colours else ""
    head = f"ply\nformat ascii 1.0\nelement vertex {len(rows)}\n{properties}end_header\n"
    (folder / "a.ply").write_text(head + "\n".join(rows) + "\n")


@pytest.mark.parametrize("count", [2, 9, 500])
def test_a_point_cloud_has_points_and_no_views(tmp_path: Path, count: int) -> None:
    given = np.random.default_rng(0).normal([5, 0, -3], [1, 2, 4], (count, 3))
    cloud(tmp_path, [f"{x} {y} {z} 255 0 {row % 256}" for row, (x, y, z) in enumerate(given)], colours=True)
    work = task(tmp_path, "", path=str(tmp_path / "a.ply"), up="z")
    result = prepare_shape(work)
    assert result == {"cameras": [], "coloured": True, "remarks": ["no faces: points without views"]}
    points = np.load(tmp_path / "out/points/a.npy").astype(float)
    assert list((tmp_path / "out/renders/a").iterdir()) == []
    centred = given - (given.min(axis=0) + given.max(axis=0)) / 2
    expected = (centred / np.linalg.norm(centred, axis=1).max())[:, [0, 2, 1]] * [1, 1, -1]
    assert points.shape == (9, 6)
    nearest = np.linalg.norm(points[:, None, :3] - expected, axis=2)
    assert nearest.min(axis=1).max() < 2e-3
    assert len(set(nearest.argmin(axis=1))) == min(count, 9)
    np.testing.assert_allclose(points[:, 5] * 255, nearest.argmin(axis=1) % 256, atol=0.2)
    prepare_shape(work)
    np.testing.assert_array_equal(np.load(tmp_path / "out/points/a.npy"), points.astype(np.float16))


@pytest.mark.parametrize(
    "rows", [["0 0 0"], ["1 1 1", "1 1 1"], ["nan 0 0", "1 0 0"], ["3e38 0 0", "-3e38 0 0"]]
)
def test_clouds_that_cannot_be_are_refused(tmp_path: Path, rows: list[str]) -> None:
    cloud(tmp_path, rows)
    with pytest.raises(CmahError, match=r"without extent|not finite"):
        prepare_shape(task(tmp_path, "", path=str(tmp_path / "a.ply")))
    assert not (tmp_path / "out/points").exists()


@pytest.mark.parametrize("jobs", [1, 2])
def test_clouds_beside_meshes(tmp_path: Path, jobs: int) -> None:
    (tmp_path / "in").mkdir()
    cloud(tmp_path / "in", ["0 0 0", "1 0 0", "0 1 0"])
    (tmp_path / "in/b.off").write_text("OFF\n4 1 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n4 0 1 2 3\n")
    small = {"views": 2, "image_size": 16, "points": 8, "jobs": jobs}
    dataset = prepare(tmp_path / "in", tmp_path / "out", **small)
    assert [shape.shape_id for shape in dataset.shapes] == ["a.ply", "b.off"]
    assert [image.shape_id for image in dataset.images] == ["b.off"] * 2
    changed = [(tmp_path / f"out/points/{name}.npy").stat().st_mtime_ns for name in ("a.ply", "b.off")]
    prepare(tmp_path / "in", tmp_path / "out", **small)  # nothing is made again
    assert changed == [
        (tmp_path / f"out/points/{name}.npy").stat().st_mtime_ns for name in ("a.ply", "b.off")
    ]
