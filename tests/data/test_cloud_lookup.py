"""Clouds of a dataset by shape id: normalised, and none where there is none."""

import numpy as np
import pytest

from cmah.data.cloud_lookup import cloud_lookup, shapes_by_id
from cmah.data.dataset import Dataset, Shape
from cmah.data.point_clouds import normalise
from cmah.errors import CmahError


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


def test_several_datasets(tmp_path):
    datasets = []
    for name in "ab":
        (tmp_path / name / "points").mkdir(parents=True)
        points = np.random.default_rng(ord(name)).uniform(0, 1, (20, 3)).astype(np.float16)
        np.save(tmp_path / name / f"points/{name}.npy", points)
        shapes = [Shape(name, "", "", f"points/{name}.npy")]
        datasets.append(Dataset(tmp_path / name, name, 20, "y", 16, shapes, []))
    cloud_of = cloud_lookup(datasets)
    for dataset in datasets:
        np.testing.assert_array_equal(cloud_of(dataset.name), cloud_lookup(dataset)(dataset.name))
    assert list(shapes_by_id(datasets)) == ["a", "b"]
    datasets[1].shapes.append(Shape("a", "", "", "points/b.npy"))
    with pytest.raises(CmahError, match=r"b: shape 'a' is in .*a too, expected each shape in one dataset"):
        cloud_lookup(datasets)
