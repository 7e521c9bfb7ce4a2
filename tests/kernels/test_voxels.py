"""Filling of voxels against plain loops over all cells."""

import numpy as np
import pytest

import cmah.compiling  # noqa: F401 (before the kernels)
from cmah.kernels import voxels


def plain_balls(points, radius, shape):
    grid = np.zeros(shape, bool)
    for cell in np.ndindex(*shape):
        centre = np.array(cell) + 0.5
        for point in points:
            own = np.clip(np.floor(point), 0, np.array(shape) - 1)
            grid[cell] |= ((centre - point) ** 2).sum() <= radius**2 or (own == cell).all()
    return grid


def plain_hidden(grid):
    filled = grid.copy()
    for cell in np.ndindex(*grid.shape):
        seen = False
        for axis in range(3):
            line = grid[tuple(slice(None) if i == axis else cell[i] for i in range(3))]
            seen |= not line[: cell[axis] + 1].any() or not line[cell[axis] :].any()
        filled[cell] |= not seen
    return filled


@pytest.mark.parametrize("radius", [0.0, 0.4, 0.9, 1.7, 2.5, 30.0])
def test_balls(radius):
    random = np.random.default_rng(0)
    points = random.uniform(-1.5, 9.5, (6, 3))
    points[0] = 8, 7, 9  # on the border
    grid = np.zeros((8, 7, 9), np.uint8)
    voxels.fill_balls(points, radius, grid)
    np.testing.assert_array_equal(grid, plain_balls(points, radius, grid.shape))
    before = np.zeros((8, 7, 9), np.uint8)
    before[0, 0, 0] = 1
    voxels.fill_balls(points, radius, before)
    assert before[0, 0, 0] == 1


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6, 1.0])
def test_hidden(share):
    for seed in range(5):
        grid = (np.random.default_rng(seed).random((6, 5, 7)) < share).astype(np.uint8)
        expected = plain_hidden(grid.astype(bool))
        voxels.fill_hidden(grid)
        np.testing.assert_array_equal(grid, expected)
        again = grid.copy()
        voxels.fill_hidden(again)
        np.testing.assert_array_equal(again, grid)  # nothing is left to fill
