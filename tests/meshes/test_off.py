"""OFF files of all kinds, and their colours."""

from pathlib import Path

import numpy as np
import pytest
from mesh_samples import write

from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.off import read_off


@pytest.mark.parametrize(("text", "vertices", "triangles"), [
    ("OFF8 6 0\n" + "\n".join(f"{x} {y} {z}" for x in (0, 1) for y in (0, 1) for z in (0, 1))
     + "\n4 0 1 3 2\n4 4 6 7 5\n4 0 4 5 1\n4 2 3 7 6\n4 0 2 6 4\n4 1 5 7 3\n", 8, 12),
    ("# made by hand\nOFF\n\n3 1 # no edges\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", 3, 1),
    ("OFF 5 2 0\n0 0 0\n1 0 0\n1 1 0\n.5 2 0\n0 1 0\n5 0 1 2 3 4\n2 0 1\n", 5, 3),
    ("NOFF\n3 1 0\n0 0 0 0 0 1\n1 0 0 0 0 1\n0 1 0 0 0 1\n3 0 1 2\n", 3, 1),
])  # fmt: skip
def test_off_variants(tmp_path: Path, text: str, vertices: int, triangles: int) -> None:
    off = read_off(write(tmp_path / "a.off", text))
    assert (off.vertices.shape, off.faces.shape) == ((vertices, 3), (triangles, 3))
    assert off.vertex_rgba is None
    assert off.face_rgba is None


def test_off_colours(tmp_path: Path) -> None:
    body = "3 1 0\n0 0 0 255 0 0 255\n1 0 0 0 255 0 255\n0 1 0 0 0 51 255\n3 0 1 2\n"
    colours = read_off(write(tmp_path / "a.off", "COFF\n" + body)).vertex_rgba
    assert colours is not None
    np.testing.assert_allclose(colours, [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0.2, 1]])
    faces = "OFF\n4 2 0\n0 0 0\n1 0 0\n0 1 0\n1 1 0\n3 0 1 2 0.5 0 1\n3 1 2 3\n"
    mesh = load_mesh(write(tmp_path / "b.off", faces))
    assert mesh.coloured
    np.testing.assert_allclose(sorted(mesh.face_rgba[:, 0].tolist()), [0.5, 0.7])
