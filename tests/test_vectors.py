"""Rows of unit length."""

import math

import numpy as np

from cmah.vectors import unit_rows


def test_rows_have_length_one_and_the_same_direction():
    rows = np.random.default_rng(0).standard_normal((20, 7)).astype(np.float32)
    unit = unit_rows(rows)
    assert unit.dtype == np.float64
    for row, result in zip(rows.tolist(), unit.tolist(), strict=True):
        length = math.sqrt(sum(value * value for value in row))
        np.testing.assert_allclose(result, [value / length for value in row], rtol=1e-12)


def test_zeros_stay():
    assert unit_rows([[0, 0], [0, 2]]).tolist() == [[0, 0], [0, 1]]
    assert unit_rows(np.empty((0, 3))).shape == (0, 3)
