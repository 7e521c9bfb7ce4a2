"""Voxels of clouds, closed forms, and the overlap of grids against plain sets of cells."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmah.errors import CodesError
from cmah.evaluation.voxels import (
    Voxels,
    cloud_grid,
    first_hit_iou,
    intersection_over_union,
    point_spacing,
)


def plain_iou(a, b):
    """Of sets of cells."""
    one, other = ({tuple(cell) for cell in np.argwhere(grid)} for grid in (a, b))
    return len(one & other) / len(one | other) if one | other else 0.0


def plain_grid(points, resolution, radius):
    """Every cell, every point, and every line of sight."""
    xyz = points - (points.min(axis=0) + points.max(axis=0)) / 2
    xyz = xyz / max(np.linalg.norm(xyz, axis=1).max(), 1e-300)
    centres = (np.arange(resolution) + 0.5) * 2 / resolution - 1
    full = np.zeros((resolution,) * 3, bool)
    for cell in np.ndindex(full.shape):
        full[cell] = (np.linalg.norm(xyz - centres[list(cell)], axis=1) <= radius).any()
    for point in xyz:
        full[tuple(np.minimum((point + 1) * resolution // 2, resolution - 1).astype(int))] = True
    solid = full.copy()
    for i, j, k in np.argwhere(~full):
        lines = full[: i + 1, j, k], full[i:, j, k], full[i, : j + 1, k]
        lines += full[i, j:, k], full[i, j, : k + 1], full[i, j, k:]
        solid[i, j, k] = all(line.any() for line in lines)
    return full, solid


def on_sphere(n, seed):
    points = np.random.default_rng(seed).standard_normal((n, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def on_box(n, sides, seed):
    """Points of the surface of a box, by area."""
    random = np.random.default_rng(seed)
    sides = np.array(sides, float)
    points = random.uniform(-0.5, 0.5, (n, 3)) * sides
    areas = np.prod(sides) / sides
    axis = random.choice(3, n, p=areas / areas.sum())
    points[np.arange(n), axis] = sides[axis] / 2 * random.choice([-1, 1], n)
    return points


def test_the_official_value(shared):
    folder = shared / "goldens" / "losses"
    arrays = np.load(folder / "style_mixed_extra.npz", allow_pickle=False)
    expected = json.loads((folder / "style_mixed_extra.json").read_text())["geometry"]
    a, b = arrays["iou_a"], arrays["iou_b"]
    assert intersection_over_union(a, b) == expected["iou"] == plain_iou(a, b)
    released = (a & b).sum() / ((a | b) + 1e-8).sum()
    assert released == pytest.approx(expected["iou_released"], rel=1e-12)
    assert intersection_over_union(a, b) == pytest.approx(released, rel=1e-6)
    voxels = Voxels.of({"a": a, "b": b}.get, "as stored")
    voxels.make("ab")
    assert voxels.iou("a", "b") == expected["iou"]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.floats(0.05, 0.95))
def test_overlap(seed, side, share):
    random = np.random.default_rng(seed)
    a, b = random.random((2, side, side, side)) < share
    a[0, 0, 0] = b[-1, -1, -1] = True
    expected = plain_iou(a, b)
    voxels = Voxels.of({"a": a, "b": b.astype(np.float32) * 7}.get, "as stored")
    voxels.make(["a", "b", "a"])
    for got in (
        intersection_over_union(a, b),
        intersection_over_union(b, a),
        voxels.iou("a", "b"),
        voxels.iou("b", "a"),
    ):
        assert got == expected
    assert intersection_over_union(a, a) == voxels.iou("a", "a") == 1
    assert intersection_over_union(a, ~a) == 0
    # rotating both shapes together changes nothing
    assert intersection_over_union(*(np.rot90(grid, axes=(0, 2)) for grid in (a, b))) == expected


@pytest.mark.parametrize("radius", [0.0, 0.1, 0.35])
def test_grids_of_clouds(radius):
    for n in (1, 3, 40):
        points = np.random.default_rng(n).uniform(-3, 5, (n, 3))
        full, solid = plain_grid(points, 9, radius)
        np.testing.assert_array_equal(cloud_grid(points, 9, radius, solid=False), full)
        np.testing.assert_array_equal(cloud_grid(points, 9, radius), solid)
        assert cloud_grid(points, 9, radius).dtype == bool


def test_where_a_cloud_lies_and_how_large_it_is_does_not_matter():
    points = np.random.default_rng(0).integers(-50, 50, (200, 6)).astype(np.float32)
    grid = cloud_grid(points, 32)
    moved = points[::-1].astype(np.float64) * 4 + 64
    assert intersection_over_union(cloud_grid(moved, 32), grid) > 0.999  # up to rounding at a ball's border
    # turned by 90 degrees about the z axis, the grid turns with it
    turned = points[:, [1, 0, 2]] * [-1, 1, 1]
    np.testing.assert_array_equal(cloud_grid(turned, 32), np.rot90(grid, axes=(0, 1)))


def test_a_sphere_is_solid():
    """Its volume is that of radius 1 plus that of the points' balls, of which the cube cuts off the caps."""
    grid = cloud_grid(on_sphere(20_000, 0), 128, radius=0.05)
    cells = (np.arange(128) + 0.5) / 64 - 1
    x, y, z = np.meshgrid(cells, cells, cells, indexing="ij")
    inside = x**2 + y**2 + z**2 <= 1
    assert (grid | ~inside).all()
    assert abs(inside.mean() * 8 - 4 / 3 * np.pi) < 0.01
    assert (grid & (x**2 + y**2 + z**2 > 1.052**2)).sum() == 0
    expected = (1 / 1.05) ** 3
    assert intersection_over_union(grid, inside) == pytest.approx(expected, abs=0.03)


def test_boxes_overlap_as_their_volumes_do():
    """Two boxes of which one holds the other, in the frame of the larger: the ratio of their volumes."""
    n, thick = 60_000, 0.02
    large = on_box(n, (1.2, 0.8, 0.6), 0)
    tall = on_box(n, (0.6, 0.8, 1.2), 1)  # the same box, lying otherwise
    radius = np.linalg.norm([1.2, 0.8, 0.6]) / 2
    a, b = (cloud_grid(points, 128, thick) for points in (large, tall))
    sides = np.array([1.2, 0.8, 0.6]) / radius + 2 * thick  # a ball's radius on either side
    common = sides[2] * sides[1] * sides[2]
    expected = common / (2 * np.prod(sides) - common)
    assert intersection_over_union(a, b) == pytest.approx(expected, abs=0.01)
    assert a.mean() * 8 == pytest.approx(np.prod(sides), rel=0.02)


def test_clouds_of_one_shape_and_of_others():
    clouds = {"ball": on_sphere(2048, 0), "again": on_sphere(2048, 1), "box": on_box(2048, (1, 2, 1), 0)}
    voxels = Voxels.of_clouds(clouds.get)
    voxels.make(clouds)
    assert voxels.iou("ball", "again") > 0.9  # other points of the same surface
    assert voxels.iou("ball", "box") < 0.4
    assert voxels.iou("ball", "box") == intersection_over_union(
        cloud_grid(clouds["ball"]), cloud_grid(clouds["box"])
    )
    assert "128^3 cells" in voxels.made
    assert "than 2.5 x the mean distance of neighbours" in voxels.made
    assert "cloud than 0.1," in Voxels.of_clouds(clouds.get, 16, 0.1).made


def test_each_grid_is_made_once():
    asked = []

    def grids_of(names):
        asked.append(list(names))
        return [(name, np.ones((2, 2, 2), bool)) for name in names if name != "none"]

    voxels = Voxels(grids_of, "made")
    truth, hit = np.array(["a", "b", "a", "none", ""]), np.array(["b", "a", "b", "a", "a"])
    for _ in range(2):
        np.testing.assert_array_equal(first_hit_iou(truth, hit, voxels, 2), [1, 1, 1, np.nan, np.nan])
    assert [sorted(names) for names in asked] == [["a", "b", "none"]]
    assert np.isnan(voxels.iou("a", "never asked for"))
    assert first_hit_iou(truth[:0], hit[:0], voxels, 1).shape == (0,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cloud_grid(np.zeros((0, 3))), r"a point cloud has shape \[0, 3\]"),
        (lambda: cloud_grid(np.zeros((4, 2))), r"a point cloud has shape \[4, 2\]"),
        (lambda: cloud_grid(np.zeros((4, 3)), 0), "resolution is 0, expected 1 to 1024"),
        (lambda: cloud_grid(np.zeros((4, 3)), 2.5), "expected a whole number"),
        (lambda: cloud_grid(np.zeros((4, 3)), radius=-1), "radius is -1, expected 0 to 1"),
        (lambda: cloud_grid(np.zeros((4, 3)), radius=float("nan")), "radius is nan"),
        (lambda: intersection_over_union(np.ones((2, 2, 2)), np.ones((2, 2, 3))), "expected the same"),
        (lambda: Voxels.of({"a": np.ones((2, 2))}.get, "").make("a"), r"shape 'a': a grid of \[2, 2\] cells"),
        (
            lambda: Voxels.of({"a": np.ones((2, 2, 2)), "b": np.ones((3, 3, 3))}.get, "").make("ab"),
            r"shape 'b': a grid of \[3, 3, 3\] cells, expected \[2, 2, 2\]",
        ),
        (lambda: Voxels.of({"a": np.zeros((2, 2, 2))}.get, "").make("a"), "shape 'a': no cell is full"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(CodesError, match=message):
        make()


def test_the_radius_follows_the_distance_between_points():
    for n in (100, 700, 5000):
        points = on_sphere(n, n)
        distances = np.linalg.norm(points[:, None] - points[None, :700], axis=2)
        distances[distances == 0] = np.inf
        spacing = distances.min(axis=0).mean()
        assert point_spacing(points) == pytest.approx(spacing, rel=1e-9 if n < 1000 else 0.05)
        assert point_spacing(points[::-1].repeat(2, axis=0)) == pytest.approx(point_spacing(points))
        radius = min(2.5 * point_spacing(points), 0.25)
        assert intersection_over_union(cloud_grid(points, 40), cloud_grid(points, 40, radius)) > 0.99


def test_points_in_one_place_fill_one_cell_or_ball():
    assert cloud_grid(np.ones((5, 3)), 8, radius=0).sum() == 1
    assert cloud_grid(np.ones((5, 3)), 8, radius=0.25).sum() == 8
