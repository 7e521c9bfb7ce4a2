"""Points of a mesh's surface."""

from pathlib import Path

import numpy as np
import pytest
from mesh_samples import SQUARE, TEXTURED, write
from PIL import Image

from cmah.errors import CmahError
from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.point_sampling import points_of_mesh, sample_points


def test_sampling_is_by_area_on_the_surface_and_seeded(tmp_path: Path) -> None:
    # two squares in planes z = 0 and z = 5, of area 1 and 9
    big = "v 0 0 5\nv 3 0 5\nv 3 3 5\nv 0 3 5\n"
    mesh = load_mesh(write(tmp_path / "a.obj", SQUARE + big + "f 1 2 3 4\nf 5 6 7 8\n"))
    points = sample_points(mesh, 20000, 3)
    assert points.shape == (20000, 3)
    assert points.dtype == np.float32
    lower, upper = np.unique(mesh.vertices[:, 2])
    assert np.isclose(points[:, 2], lower, atol=1e-6).mean() == pytest.approx(0.1, abs=0.01)
    assert np.isclose(points[:, 2], upper, atol=1e-6).mean() == pytest.approx(0.9, abs=0.01)
    on_big = points[np.isclose(points[:, 2], upper, atol=1e-6), :2]
    low, high = mesh.vertices[mesh.vertices[:, 2] == upper, :2].min(0), mesh.vertices[:, :2].max(0)
    quarters = ((on_big - low) / (high - low) * 2).astype(int).clip(0, 1) @ [1, 2]
    assert np.bincount(quarters) / len(on_big) == pytest.approx([0.25] * 4, abs=0.02)
    np.testing.assert_array_equal(points, sample_points(mesh, 20000, 3))
    assert not np.array_equal(points, sample_points(mesh, 20000, 4))


def test_holes_of_a_texture_get_no_points(tmp_path: Path) -> None:
    texels = np.full((2, 80, 4), 255, np.uint8)
    texels[:, 40:] = 0
    Image.fromarray(texels).save(tmp_path / "t.png")
    write(tmp_path / "m.mtl", "newmtl a\nmap_Kd t.png\n")
    mesh = load_mesh(write(tmp_path / "a.obj", TEXTURED))
    assert not mesh.opaque
    x = sample_points(mesh, 2000, 0)[:, 0] / np.abs(mesh.vertices[:, 0]).max()
    assert ((x > 0.02) & (x < 0.98)).mean() < 0.01


@pytest.mark.slow
def test_points_of_mesh_runs_elsewhere(tmp_path: Path) -> None:
    path = write(tmp_path / "a.obj", SQUARE + "f 1 2 3 4\n")
    np.testing.assert_array_equal(points_of_mesh(path, 64), sample_points(load_mesh(path), 64, 0))
    with pytest.raises(CmahError, match=r"b\.obj: no faces$"):
        points_of_mesh(write(tmp_path / "b.obj", SQUARE), 64)
