"""Clouds of a dataset by shape id: normalised, and none where there is none."""

import numpy as np

from cmah.data.cloud_lookup import cloud_lookup
from cmah.data.dataset import Dataset, Shape
from cmah.data.point_clouds import normalise


def test_clouds_by_shape_id(tmp_path):
    (tmp_path / "points").mkdir()
    points = np.random.default_rng(0).uniform(0, 1, (20, 6)).astype(np.float16)
    np.save(tmp_path / "points/a.npy", points)
    shapes = [Shape(name, "", "", f"points/{name}.npy") for name in "ab"]
    lines = []
    cloud_of = cloud_lookup(Dataset(tmp_path, "d", 20, "y", 16, shapes, []), lines.append)
    np.testing.assert_array_equal(cloud_of("a"), normalise(points[:, :3].astype(np.float32)))
    assert cloud_of("b") is None  # its file is missing
    assert cloud_of("c") is None  # no such shape
    assert len(lines) == 1
    assert lines[0].startswith("no distance to shape b: ")
