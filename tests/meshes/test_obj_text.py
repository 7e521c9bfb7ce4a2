"""Repairs of OBJ and MTL text."""

from pathlib import Path

import numpy as np
import pytest
from mesh_samples import SQUARE, TEXTURED, refusal, texture, write

from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.point_sampling import sample_points


def test_relative_indices_count_from_the_face(tmp_path: Path) -> None:
    text = SQUARE + "f -4 -3 -2 -1\n" + SQUARE.replace(" 0\n", " 5\n") + "f -4 -3 -2 -1\n"
    absolute = SQUARE + SQUARE.replace(" 0\n", " 5\n") + "f 1 2 3 4\nf 5 6 7 8\n"
    one, two = load_mesh(write(tmp_path / "a.obj", text)), load_mesh(write(tmp_path / "b.obj", absolute))
    assert one.face_areas.sum() == pytest.approx(two.face_areas.sum())
    assert len(one.vertices) == 8
    assert "not in the file" in refusal(write(tmp_path / "c.obj", SQUARE + "f -9 -3 -2\n"))


def test_latin_1_names(tmp_path: Path) -> None:
    """Old exporters write the machine's own encoding: names of materials and textures must still be found."""
    texture(tmp_path / "niño.png")
    (tmp_path / "m.mtl").write_bytes("newmtl año\nmap_Kd niño.png\n".encode("latin-1"))
    (tmp_path / "a.obj").write_bytes(TEXTURED.replace("usemtl a", "usemtl año").encode("latin-1"))
    np.testing.assert_allclose(
        sample_points(load_mesh(tmp_path / "a.obj"), 9, 0)[:, 3:], [[1, 0, 0]] * 9, atol=1e-6
    )
