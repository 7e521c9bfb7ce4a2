"""Synthetic shapes: reproducible, different from each other, readable in every format."""

from pathlib import Path

import numpy as np
import pytest

from cmah.errors import CmahError
from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.point_sampling import sample_points
from cmah.synthetic import BUILDERS, CATEGORIES, make_model, make_shapes
from cmah.synthetic.solids import Model, curve
from cmah.synthetic.writing import write_obj


def test_files_are_the_same_every_time(tmp_path: Path) -> None:
    assert len(CATEGORIES) >= 12
    paths = make_shapes(tmp_path / "a", 6, ["sofa", "car"], seed=3)
    make_shapes(tmp_path / "b", 6, ["sofa", "car"], seed=3)
    assert [path.parent.name for path in paths] == ["sofa"] * 6 + ["car"] * 6
    assert {path.suffix for path in paths} == {".obj", ".glb", ".ply", ".off"}
    files = sorted(path for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert files
    for path in files:
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    (more,) = make_shapes(tmp_path / "c", 1, ["sofa"], seed=4)
    assert more.read_bytes() != paths[0].read_bytes()
    with pytest.raises(CmahError, match="no synthetic category 'spoon'"):
        make_shapes(tmp_path / "d", 1, ["spoon"])


@pytest.mark.slow
@pytest.mark.parametrize("category", CATEGORIES)
def test_every_object_is_sound_and_its_own(tmp_path: Path, category: str) -> None:
    clouds = []
    for number in range(12):
        model = make_model(category, number)
        for solid in model.solids:
            assert np.isfinite(solid.vertices).all()
            assert solid.faces.min() >= 0
            assert solid.faces.max() < len(solid.vertices)
            assert all(0 <= value <= 1 for value in solid.colour)
        write_obj(model, tmp_path / "x.obj")
        mesh = load_mesh(tmp_path / "x.obj")
        assert mesh.coloured
        clouds.append(sample_points(mesh, 1000, 0))
    # unlike in shape or colour by more than sampling noise: compare occupied, coloured cells
    cells = [set(map(tuple, np.floor(cloud * [4, 4, 4, 3, 3, 3]).astype(int).tolist())) for cloud in clouds]
    for i, one in enumerate(cells):
        for two in cells[:i]:
            assert len(one & two) / len(one | two) < 0.8


def test_solids() -> None:
    model = Model()
    model.box((1, 2, 3), (2, 4, 6), (1, 0, 0))
    model.rod((0, 0, 0), (0, 3, 0), 0.5, (1, 0, 0))
    model.ball((0, 0, 0), (1, 2, 3), (1, 0, 0))
    box, rod, ball = model.solids
    np.testing.assert_allclose([box.vertices.min(0), box.vertices.max(0)], [[0, 0, 0], [2, 4, 6]])
    assert volume(box.vertices, box.faces) == pytest.approx(48)
    assert volume(rod.vertices, rod.faces) == pytest.approx(16 / 2 * np.sin(np.pi / 8) * 0.25 * 3)
    assert volume(ball.vertices, ball.faces) == pytest.approx(4 / 3 * np.pi * 6, rel=0.05)
    turned = model.turned(90).solids[0].vertices
    np.testing.assert_allclose(turned.max(0), [6, 4, 0], atol=1e-9)
    moved = model.moved((1, 1, 1)).solids[0].vertices
    np.testing.assert_allclose(moved, box.vertices + 1)
    points = [(0, 0), (1, 2), (3, 1), (4, 4)]
    path = curve(points, 31)
    np.testing.assert_allclose(path[[0, 10, 20, 30]], points, atol=1e-9)


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Of a closed surface, whichever way its faces turn as long as they agree (divergence theorem)."""
    a, b, c = vertices[faces].transpose(1, 0, 2)
    return abs(float((a * np.cross(b, c)).sum() / 6))


def test_builders_are_sorted() -> None:
    assert list(BUILDERS) == sorted(BUILDERS)
