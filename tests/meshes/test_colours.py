"""Scales of colours."""

import numpy as np
import pytest

from cmah.meshes.colours import colours_in_01, full_scale


@pytest.mark.parametrize(("values", "scale"), [
    ([0, 0.5, 1], 1), ([0, 1, 255], 255), ([0, 3], 255), ([0.2, 1.7], 1), ([0.5, 127.5], 255), ([0, 65535], 65535),
    ([], 1), ([np.nan, np.inf], 1), ([-5, 0], 1),
])  # fmt: skip
def test_full_scale(values: list[float], scale: float) -> None:
    assert full_scale(np.array(values)) == scale


def test_the_scale_holds_for_a_whole_file_and_opacity_has_its_own() -> None:
    dark, bright = np.array([[1, 0, 0.0]]), np.array([[0, 51, 255, 1.0]])
    one, two = colours_in_01([dark, bright])
    np.testing.assert_allclose(one, [[1 / 255, 0, 0, 1]])
    np.testing.assert_allclose(two, [[0, 0.2, 1, 1]])
    np.testing.assert_allclose(colours_in_01([np.array([[1, 0, 0, 51.0]])])[0], [[1, 0, 0, 0.2]])
    np.testing.assert_allclose(colours_in_01([np.array([[0.5, 0, np.nan, np.nan]])])[0], [[0.5, 0, 1, 1]])
