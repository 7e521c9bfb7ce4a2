"""Point clouds in PLY files: checked, upright, in the unit sphere; drawn by a seed."""

from pathlib import Path

import numpy as np
import pytest
from cloud_samples import write_cloud

from cmah.errors import CmahError
from cmah.meshes.cloud_files import drawn_points, load_cloud


@pytest.mark.parametrize("up", ["y", "z"])
def test_clouds_have_the_frame_of_meshes(tmp_path: Path, up: str) -> None:
    rng = np.random.default_rng(0)
    xyz, rgb = rng.normal(size=(500, 3)) * [1, 2, 3], rng.integers(0, 256, (500, 3))
    points = load_cloud(write_cloud(tmp_path / "a.ply", xyz, rgb), up)
    assert points.shape == (500, 6)
    assert points.dtype == np.float32
    centred = xyz - (xyz.min(axis=0) + xyz.max(axis=0)) / 2
    x, y, z = (centred / max(np.sqrt((row**2).sum()) for row in centred)).T
    expected = np.stack([x, z, -y] if up == "z" else [x, y, z], axis=1)
    np.testing.assert_allclose(points[:, :3], expected, atol=1e-6)
    np.testing.assert_allclose(points[:, 3:], rgb / 255, atol=1e-6)
    assert load_cloud(write_cloud(tmp_path / "b.ply", xyz), up).shape == (500, 3)


def test_a_survey_far_from_its_origin_keeps_its_form(tmp_path: Path) -> None:
    xyz = np.random.default_rng(0).normal(size=(200, 3))
    far = load_cloud(write_cloud(tmp_path / "far.ply", xyz + np.array([5e6, 4e5, 100])))
    near = load_cloud(write_cloud(tmp_path / "near.ply", xyz))
    np.testing.assert_allclose(far, near, atol=1e-6)


@pytest.mark.parametrize(("xyz", "reason"), [
    ([[0, 0, 0], [0, np.nan, 0]], "point 1 has a value that is not finite"),
    ([[0, 0, 0], [0, 1, 0], [np.inf, 0, 0]], "point 2 has a value that is not finite"),
    ([[1, 2, 3]], "no extent (all points lie in one place)"),
    ([[1, 2, 3]] * 9, "no extent (all points lie in one place)"),
    (np.zeros((0, 3)), "no points (its element vertex is empty)"),
    ([[1e200, 0, 0], [-1e200, 0, 0]], "coordinates too large or too small"),
])  # fmt: skip
@pytest.mark.parametrize("faces", [None, 0])
def test_what_is_no_cloud_is_refused(
    tmp_path: Path, xyz: list[list[float]], reason: str, faces: int | None
) -> None:
    path = write_cloud(tmp_path / "a.ply", np.array(xyz, float), faces=faces)
    with pytest.raises(CmahError) as caught:
        load_cloud(path)
    assert str(caught.value).startswith(f"{path}: {reason}")
    assert "\n" not in str(caught.value)


def test_points_are_drawn_without_replacement() -> None:
    cloud = np.arange(3000.0).reshape(1000, 3)
    drawn = drawn_points(cloud, 400, [7, 1])
    assert len({tuple(row) for row in drawn.tolist()} & {tuple(row) for row in cloud.tolist()}) == 400
    assert (np.diff(drawn[:, 0]) < 0).any()  # in random order
    np.testing.assert_array_equal(drawn, drawn_points(cloud, 400, [7, 1]))
    assert not np.array_equal(drawn, drawn_points(cloud, 400, [8, 1]))
    np.testing.assert_array_equal(drawn_points(cloud, 1000, 0), cloud)
