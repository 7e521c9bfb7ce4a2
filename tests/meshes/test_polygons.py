"""Polygons cut into triangles: area and outline, against plain geometry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmah.meshes.polygons import MOST_CORNERS, triangulate

U = np.array([[0, 0], [4, 0], [4, 4], [3, 4], [3, 1], [1, 1], [1, 4], [0, 4]], float)
KEYHOLE = np.array([[0, 0], [4, 0], [4, 4], [0, 4], [0, 0], [1, 1], [1, 2], [2, 2], [2, 1], [1, 1]], float)


def cut(*polygons: np.ndarray) -> tuple[list[np.ndarray], np.ndarray, list[str]]:
    """The triangles [t, 3, d] of polygons, the polygon of each, and the remarks."""
    remarks: list[str] = []
    points = np.concatenate([np.pad(p, ((0, 0), (0, 3 - p.shape[1]))) for p in polygons])
    triangles, owners = triangulate(
        points, np.arange(len(points)), np.array([len(p) for p in polygons]), remarks.append
    )
    return points[triangles], owners, remarks


def areas(triangles: np.ndarray) -> np.ndarray:
    return (
        np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1)
        / 2
    )


def shoelace(polygon: np.ndarray) -> float:
    x, y = polygon[:, 0], polygon[:, 1]
    return float(sum(x[i - 1] * y[i] - x[i] * y[i - 1] for i in range(len(polygon))) / 2)


def inside(point: np.ndarray, polygon: np.ndarray) -> bool:
    """Whether a ray from a point crosses the outline an odd number of times."""
    hit = False
    for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if (y1 > point[1]) != (y2 > point[1]) and point[0] < (x2 - x1) * (point[1] - y1) / (y2 - y1) + x1:
            hit = not hit
    return hit


def starlike(radii: list[float], turn: float) -> np.ndarray:
    """A simple polygon around the origin."""
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False) + turn
    return np.array(radii)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


@settings(deadline=None, max_examples=80)
@given(
    radii=st.lists(st.floats(0.1, 5), min_size=4, max_size=30),
    turn=st.floats(0, 7),
    flip=st.booleans(),
    shift=st.integers(0, 29),
)
def test_simple_polygons_are_covered_once(radii: list[float], turn: float, flip: bool, shift: int) -> None:
    polygon = np.roll(starlike(radii, turn)[:: -1 if flip else 1], shift, axis=0)
    triangles, _, remarks = cut(polygon)
    assert remarks == []
    assert areas(triangles).sum() == pytest.approx(abs(shoelace(polygon)), rel=1e-6)
    # all the same way round as the polygon, and the middle of each lies in it
    signed = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])[:, 2]
    assert (signed * np.sign(shoelace(polygon)) > -1e-9).all()
    for triangle, area in zip(triangles, areas(triangles), strict=True):
        assert area < 1e-3 or inside(triangle.mean(axis=0)[:2], polygon)


def test_a_notch_stays_open_at_every_first_corner_and_in_space() -> None:
    generator = np.random.default_rng(0)
    turn = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    for start in range(len(U)):
        for way in (1, -1):
            flat = np.roll(U, start, axis=0)[::way]
            assert areas(cut(flat)[0]).sum() == pytest.approx(10)
            tilted = np.pad(flat, ((0, 0), (0, 1))) @ turn + 1000
            assert areas(cut(tilted)[0]).sum() == pytest.approx(10)


def test_holes_bridged_by_a_double_edge_duplicates_and_collinear_corners() -> None:
    triangles, _, remarks = cut(KEYHOLE)
    assert remarks == []
    assert areas(triangles).sum() == pytest.approx(15)
    assert not any(inside(np.array([1.5, 1.4]), triangle[:, :2]) for triangle in triangles)
    doubled = np.repeat(U, 2, axis=0)
    assert areas(cut(doubled)[0]).sum() == pytest.approx(10)
    halfway = np.stack([U, (U + np.roll(U, -1, axis=0)) / 2], axis=1).reshape(-1, 2)
    assert areas(cut(halfway)[0]).sum() == pytest.approx(10)
    line = np.array([[0, 0], [1, 0], [2, 0], [3, 0], [1.5, 0]])
    triangles, _, remarks = cut(line)
    assert (len(triangles), remarks) == (3, [])


def test_a_quad_that_is_not_flat_is_seen_along_its_normal() -> None:
    # a dart whose tip is lifted: the fan of its first corner would leave its outline
    dart = np.array([[2, 0, 0], [0.5, 0.5, 0.2], [0, 2, 0], [0, 0, 0]])
    triangles, _, remarks = cut(dart)
    assert remarks == []
    assert not any(inside(np.array([1, 0.9]), triangle[:, :2]) for triangle in triangles)
    saddle = np.array([[0, 0, 0], [1, 0, 1], [1, 1, 0], [0, 1, 1]], float)
    assert len(cut(saddle)[0]) == 2


def test_a_polygon_that_is_bent_is_cut_into_even_triangles() -> None:
    """Triangles that reach from one end of a bent strip to the other would leave its surface."""
    generator = np.random.default_rng(3)
    for start in range(0, 24, 5):
        along = np.linspace(0, 6, 12)
        side = np.stack([along, 0.05 * generator.random(12), np.sin(along)], axis=1)
        strip = np.concatenate([side, (side + np.array([0, 1, 0]))[::-1]])
        strip[3, 1] = 0.4  # concave
        triangles, _, remarks = cut(np.roll(strip, start, axis=0))
        assert remarks == []
        middles = triangles.mean(axis=1)
        assert np.abs(middles[:, 2] - np.sin(middles[:, 0])).max() < 0.1
        flat = np.roll(strip, start, axis=0)[:, :2]
        assert areas(np.pad(triangles[:, :, :2], ((0, 0), (0, 0), (0, 1)))).sum() == pytest.approx(
            abs(shoelace(flat))
        )


def test_what_crosses_itself_gets_a_fan_and_a_remark() -> None:
    bow = np.array([[0, 0], [1, 1], [1, 0], [0, 1]], float)
    angles = np.arange(5) * 4 * np.pi / 5
    star = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    triangles, owners, remarks = cut(bow, star, U)
    assert remarks == ["polygons that cross themselves (2)"]
    assert owners.tolist() == [0, 0, 1, 1, 1, *[2] * (len(owners) - 5)]
    assert areas(triangles[owners == 2]).sum() == pytest.approx(10)
    wild = np.random.default_rng(0).random((MOST_CORNERS + 1, 2))
    triangles, _, remarks = cut(wild)
    assert (len(triangles), remarks) == (
        MOST_CORNERS - 1,
        ["concave polygons of more than 10000 corners not followed (1)"],
    )


def test_many_sizes_come_in_the_order_of_the_polygons() -> None:
    generator = np.random.default_rng(1)
    polygons = [
        starlike(generator.uniform(0.2, 3, size).tolist(), 0.1) for size in generator.integers(3, 9, 60)
    ]
    few = np.zeros((2, 2))
    triangles, owners, remarks = cut(*polygons[:30], few, few[:1], *polygons[30:])
    assert remarks == ["faces with fewer than 3 corners left out (2)"]
    assert (np.diff(owners) >= 0).all()
    for number, polygon in enumerate(polygons):
        own = triangles[owners == number + 2 * (number >= 30)]
        assert areas(own).sum() == pytest.approx(abs(shoelace(polygon)), rel=1e-6)
