"""Views of a mesh file are those that prepare renders, and a broken file is one line."""

import numpy as np
import pytest
from mesh_samples import SQUARE, write

from cmah.errors import CmahError
from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.rendering import render, ring_of_cameras
from cmah.meshes.view_rendering import views_of_mesh


@pytest.mark.slow
def test_views_are_those_of_prepare(tmp_path):
    path = write(tmp_path / "a.obj", SQUARE + "f 1 2 3 4\n")
    expected, _ = render(load_mesh(path, "z"), ring_of_cameras(3), 24)
    np.testing.assert_array_equal(views_of_mesh(path, 3, 24, "z"), expected)


@pytest.mark.slow
def test_a_broken_file_is_named_once(tmp_path):
    path = write(tmp_path / "a.obj", "nothing")
    with pytest.raises(CmahError, match=rf"^{path}: no faces \(statements not read \(nothing\)\)$"):
        views_of_mesh(path, 2, 16)
