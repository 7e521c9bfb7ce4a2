"""Polygons cut into triangles, the same way for every format."""

from collections.abc import Callable

import numpy as np

from cmah.errors import CmahError
from cmah.meshes.mesh_text import grouped, runs

# the time of ear clipping grows with the square of the corners of a polygon that crosses itself
MOST_CORNERS = 10_000
# how much the triangles of a polygon may differ from its area
TOLERANCE = 1e-6
# how far, beside its size, the corners of a flat polygon lie from its plane
FLAT = 1e-3
MOST_EVEN = 2000


def triangulate(
    points: np.ndarray, vertices: np.ndarray, sizes: np.ndarray, remark: Callable[[str], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Cut polygons into triangles, in the order of the polygons.

    A polygon that is not flat is looked at along its normal (Newell's, the mean over its edges). If the fan of its
    first corner covers it, as in every convex one, it is cut so; other quads are cut along their other diagonal, other
    polygons by clipping ears (Held 2001, as in the package mapbox_earcut). One that crosses itself gets the fan.

    Args:
        points: float64 [v, 3].
        vertices: int64 [c], the points at the corners of all polygons, one after the other.
        sizes: int64 [p], the number of corners of each polygon; those with fewer than three give no triangle.
        remark: called with a line if polygons were left out or cross themselves.

    Returns:
        The triangles as numbers of corners, int64 [t, 3], and the polygon of each triangle, int64 [t].

    Examples:
        The notch of a concave quad, whose fan would cover it, stays open:

        >>> points = np.array([[0, 0, 0], [2, 0, 0], [0.5, 0.5, 0], [0, 2, 0]], float)
        >>> triangulate(points, np.array([3, 0, 1, 2]), np.array([4]), print)[0].tolist()
        [[1, 2, 3], [3, 0, 1]]
    """
    starts = np.cumsum(sizes) - sizes
    few = int((sizes < 3).sum())
    if few:
        remark(f"faces with fewer than 3 corners left out ({few})")
    if (sizes == 3).all():
        return np.arange(len(vertices)).reshape(-1, 3), np.arange(len(sizes))
    # where the triangles of each polygon go in the result
    counts = np.maximum(sizes - 2, 0)
    places = np.cumsum(counts) - counts
    triangles = np.zeros((int(counts.sum()), 3), np.int64)
    kept = np.ones(len(triangles), bool)
    crossing = large = 0
    for size, polygons in grouped(sizes):
        if size < 3:
            continue
        corners = starts[polygons][:, None] + np.arange(size)
        fans, hard = (_fans(corners), []) if size == 3 else _cut_alike(points, vertices, corners)
        triangles[runs(places[polygons], counts[polygons])] = fans.reshape(-1, 3)
        for number in hard:
            cut = _clipped(points[vertices[corners[number]]]) if size <= MOST_CORNERS else None
            crossing += cut is None and size <= MOST_CORNERS
            large += size > MOST_CORNERS
            if cut is not None:
                place = places[polygons[number]]
                triangles[place : place + len(cut)] = corners[number][cut]
                kept[place + len(cut) : place + size - 2] = False
    if crossing:
        remark(f"polygons that cross themselves ({crossing})")
    if large:
        remark(f"concave polygons of more than {MOST_CORNERS} corners not followed ({large})")
    owners = np.repeat(np.arange(len(sizes)), counts)
    return (triangles, owners) if kept.all() else (triangles[kept], owners[kept])


def _fans(corners: np.ndarray) -> np.ndarray:
    """Fans int64 [p, size - 2, 3] of the first corners of polygons [p, size]."""
    last = corners.shape[1] - 1
    if last == 3:  # the second triangle begins at the third corner, as other readers have it
        return corners[:, [[0, 1, 2], [2, 3, 0]]]
    index = np.arange(1, last)
    fans: np.ndarray = corners[:, np.stack([np.zeros_like(index), index, index + 1], axis=1)]
    return fans


def _cut_alike(points: np.ndarray, vertices: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Triangles int64 [p, size - 2, 3] of polygons [p, size], and the numbers of those that need another way."""
    triangles = _fans(corners)
    hard = ~_fan_covers(points[vertices[corners]])
    if corners.shape[1] == 4 and hard.any():
        concave = np.flatnonzero(hard)
        turned = np.roll(corners[concave], -1, axis=1)
        good = _fan_covers(points[vertices[turned]])
        triangles[concave[good]] = _fans(turned[good])
        hard[concave[good]] = False
    return triangles, np.flatnonzero(hard).tolist()


def _fan_covers(corners: np.ndarray) -> np.ndarray:
    """Bool [p]: whether the fan of the first corner of each polygon [p, size, 3] covers it without overlap.

    It does if, seen along the normal, no triangle of it is turned over and all lie within half a turn.
    """
    # relative to the first corner, so that shapes far from the origin lose no digits
    with np.errstate(all="ignore"):
        arms = corners[:, 1:] - corners[:, :1]
        steps = np.cross(arms[:, :-1], arms[:, 1:])
        normal = steps.sum(axis=1)
        area = np.einsum("pd,pd->p", normal, normal)
        slack = -1e-9 * area[:, None]
        turned = np.einsum("psd,pd->ps", steps, normal) < slack
        beyond = np.einsum("psd,pd->ps", np.cross(arms[:, :1], arms[:, 1:]), normal) < slack
        # a polygon without area is fine if all its triangles are without
        flat = (area == 0) & (np.abs(steps).max(axis=(1, 2)) > 0)
    covers: np.ndarray = ~(turned.any(axis=1) | beyond.any(axis=1) | flat)
    return covers | ~np.isfinite(area)


def _clipped(corners: np.ndarray) -> np.ndarray | None:
    """Triangles int64 [t, 3] of one polygon float64 [size, 3], or None if they do not cover its area."""
    try:
        import mapbox_earcut
    except ModuleNotFoundError:
        raise CmahError(
            "concave polygons need the package mapbox_earcut (pip install 'cmah[prepare]')"
        ) from None
    centred = corners - corners[0]
    normal = np.cross(centred[1:-1], centred[2:]).sum(axis=0)
    length = np.linalg.norm(normal)
    if not length > 0:
        return None
    normal /= length
    across = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    across /= np.linalg.norm(across)
    flat = centred @ np.stack([across, np.cross(normal, across)], axis=1)
    flat /= np.abs(flat).max()
    cut = mapbox_earcut.triangulate_float64(flat, np.array([len(flat)], np.uint32))
    triangles: np.ndarray = cut.astype(np.int64).reshape(-1, 3)
    signed = _signed_areas(flat[triangles])
    area = _signed_areas(
        np.stack([np.broadcast_to(flat[0], flat[2:].shape), flat[1:-1], flat[2:]], axis=1)
    ).sum()
    if len(triangles) == 0 or abs(np.abs(signed).sum() - area) > TOLERANCE * area:
        return None
    triangles[signed < 0] = triangles[signed < 0, ::-1]
    if len(corners) <= MOST_EVEN and np.abs(centred @ normal).max() > FLAT * np.abs(centred).max():
        return np.array(_even(flat.tolist(), [tuple(row) for row in triangles.tolist()]))
    return triangles


def _even(points: list[list[float]], triangles: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Turn edges within a polygon until its triangles are as even as can be (Delaunay, by Lawson's flips).

    The ears of a polygon that is not flat may be long and bend it where its outline does not.

    Args:
        points: corners in the plane.
        triangles: all counter-clockwise.
    """
    # the triangle to the left of each directed edge, and its third corner
    sides: dict[tuple[int, int], tuple[int, int]] = {}

    def put(number: int, a: int, b: int, c: int) -> None:
        triangles[number] = (a, b, c)
        sides[a, b], sides[b, c], sides[c, a] = (number, c), (number, a), (number, b)

    for number, row in enumerate(triangles):
        put(number, *row)
    todo = list(sides)
    for _ in range(20 * len(triangles)):  # flips end by themselves; rounding could make them go round
        if not todo:
            break
        a, b = todo.pop()
        if (a, b) not in sides or (b, a) not in sides:
            continue
        (left, c), (right, d) = sides[a, b], sides[b, a]
        corners = points[a], points[b], points[c], points[d]
        # what the two triangles would become must not be turned over
        if min(_turn(points[d], points[b], points[c]), _turn(points[c], points[a], points[d])) <= 1e-12:
            continue
        if _within_circle(*corners) > 1e-12:
            del sides[a, b], sides[b, a]
            put(left, d, b, c)
            put(right, c, a, d)
            todo += [(b, c), (c, a), (a, d), (d, b)]
    return triangles


def _turn(a: list[float], b: list[float], c: list[float]) -> float:
    """Twice the area of a triangle in the plane, negative if it runs clockwise."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _within_circle(a: list[float], b: list[float], c: list[float], d: list[float]) -> float:
    """Greater than 0 if d lies within the circle through a, b and c, which run counter-clockwise."""
    rows = [(x - d[0], y - d[1], (x - d[0]) ** 2 + (y - d[1]) ** 2) for x, y in (a, b, c)]
    (ax, ay, aa), (bx, by, bb), (cx, cy, cc) = rows
    return ax * (by * cc - bb * cy) - ay * (bx * cc - bb * cx) + aa * (bx * cy - by * cx)


def _signed_areas(corners: np.ndarray) -> np.ndarray:
    """Twice the areas [t] of triangles [t, 3, 2] in the plane, negative if they run clockwise."""
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas: np.ndarray = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    return areas
