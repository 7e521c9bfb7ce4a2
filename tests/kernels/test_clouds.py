"""Squared distances between clouds, beside the matrix of all differences."""

import numpy as np
import pytest

import cmah.compiling  # noqa: F401 (before the kernels)
from cmah.kernels import clouds


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 100), (300, 5)])
def test_the_same_as_all_differences(dtype, n, m):
    random = np.random.default_rng([n, m])
    points, others = (
        random.standard_normal((n, 3)).astype(dtype),
        random.standard_normal((m, 3)).astype(dtype),
    )
    nearest = clouds.nearest_squared(np.ascontiguousarray(points.T), others)
    assert (nearest.shape, nearest.dtype) == ((n,), dtype)
    expected = ((points[:, None].astype(np.float64) - others[None]) ** 2).sum(axis=2).min(axis=1)
    np.testing.assert_allclose(nearest, expected, rtol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_nearest_of_the_other_points(dtype):
    points = np.random.default_rng(0).standard_normal((90, 3)).astype(dtype)
    nearest = clouds.nearest_other_squared(np.ascontiguousarray(points.T))
    distances = ((points[:, None].astype(np.float64) - points[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_allclose(nearest, distances.min(axis=1), rtol=1e-5 if dtype == np.float32 else 1e-12)
    assert nearest.dtype == dtype
    assert clouds.nearest_other_squared(np.zeros((3, 1))).tolist() == [np.inf]
    assert clouds.nearest_other_squared(np.zeros((3, 2))).tolist() == [0, 0]


def test_without_others_everything_is_infinitely_far():
    nearest = clouds.nearest_squared(np.zeros((3, 4)), np.empty((0, 3)))
    assert nearest.tolist() == [np.inf] * 4
