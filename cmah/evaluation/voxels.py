"""How far the voxels of two shapes overlap, and voxels made from point clouds.

The measure is that of image-based shape retrieval, on 128 cells along each axis: intersection over union of the two
grids as they are, without aligning one to the other. How grids are made is not part of it, and decides the numbers as
much: the ways of this package are ours, and `Voxels.made` says in words which it was.
"""

import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np

import cmah.compiling  # noqa: F401 (before the kernels)
from cmah.checks import as_int
from cmah.errors import CodesError
from cmah.evaluation.clouds import CloudOf
from cmah.kernels import clouds, voxels
from cmah.threads import in_threads, thread_count

Grids = Iterable[tuple[str, np.ndarray]]  # ids of shapes and their grids, bool [r, r, r]
RESOLUTION = 128
SPREAD = 2.5  # radius of the ball around a point, in mean distances of points from the nearest other one
WIDEST = 0.25  # and the largest such radius, however few the points
ENOUGH = 4096  # points that tell the mean distance
TOGETHER = 64  # clouds whose grids are made before they are packed: 2 MB each at 128 cells
ONES = np.array([number.bit_count() for number in range(256)], dtype=np.uint8)


def intersection_over_union(a: np.ndarray, b: np.ndarray) -> float:
    """Cells that are full in both grids / cells that are full in either; 0 if both are empty.

    SC-IBSR's released evaluation adds 1e-8 to the denominator for each cell of the grid, which changes the seventh
    digit.

    Args:
        a: bool [x, y, z], or numbers, of which 0 is empty.
        b: as `a`, of the same shape.

    Raises:
        CodesError: if their shapes differ.

    Examples:
        >>> a, b = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
        >>> a[0], b[:, 0] = 1, 1  # they share an edge of two cells
        >>> intersection_over_union(a, b) == 2 / 6
        True
    """
    one, other = np.asarray(a).astype(bool), np.asarray(b).astype(bool)
    if one.shape != other.shape:
        raise CodesError(f"grids of {list(one.shape)} and {list(other.shape)} cells, expected the same")
    either = int(np.count_nonzero(one | other))
    return int(np.count_nonzero(one & other)) / either if either else 0.0


def cloud_grid(
    points: np.ndarray, resolution: int = RESOLUTION, radius: float | None = None, solid: bool = True
) -> np.ndarray:
    """Voxels of a point cloud: balls around its points, and what they hide.

    The cloud is moved and scaled as meshes are: its bounding box is centred in the cube [-1, 1]^3 and its farthest
    point lies at distance 1. Cells with the centre within `radius` of a point are full, and those that hold a point.
    So are those from which no straight line along an axis leaves the cube without meeting a full one.

    A radius that suits the distance between points closes the surface; too small a one leaves holes, through which the
    inside is seen, and too large a one makes every part thick. By default it is 2.5 times the mean distance of a point
    from the nearest other one, which gave the IoUs that agree best with those of the meshes' solids
    (experiments/bench_voxels.py).

    Args:
        points: float [n, 3 or more]; columns beyond xyz are ignored.
        resolution: cells along each axis.
        radius: of the balls, where the cloud has radius 1; None = by the distance between points, but at most 0.25.
            0 = only the cells that hold a point.
        solid: whether hidden cells are filled.

    Returns:
        bool [resolution, resolution, resolution], by x, y, z.

    Raises:
        CodesError: if there are no points, or the resolution is not 1 to 1024, or the radius is not 0 to 1.

    Examples:
        Different points of one sphere:

        >>> points = np.random.default_rng(0).standard_normal((4000, 3))
        >>> points /= np.linalg.norm(points, axis=1, keepdims=True)
        >>> a, b = cloud_grid(points[:2000]), cloud_grid(points[2000:])
        >>> a.shape, round(intersection_over_union(a, b), 2)
        ((128, 128, 128), 0.95)
    """
    xyz = np.asarray(points)
    if xyz.ndim != 2 or xyz.shape[1] < 3 or not len(xyz):
        raise CodesError(f"a point cloud has shape {list(xyz.shape)}, expected [n, 3]")
    if not 1 <= as_int(resolution, "resolution") <= 1024:
        raise CodesError(f"resolution is {resolution}, expected 1 to 1024 cells")
    if radius is not None and not 0 <= radius <= 1:
        raise CodesError(f"radius is {radius}, expected 0 to 1")
    xyz = xyz[:, :3].astype(np.float64)
    xyz -= (xyz.min(axis=0) + xyz.max(axis=0)) / 2
    largest = np.sqrt(np.square(xyz).sum(axis=1).max())
    if largest > 0:
        xyz /= largest
    reach = min(SPREAD * point_spacing(xyz), WIDEST) if radius is None else radius
    grid = np.zeros((resolution,) * 3, dtype=np.uint8)
    voxels.fill_balls((xyz + 1) * (resolution / 2), reach * (resolution / 2), grid)
    if solid:
        voxels.fill_hidden(grid)
    return grid.view(bool)


def point_spacing(points: np.ndarray) -> float:
    """Mean distance of a point from the nearest one in another place; 0 if all lie in one place.

    Args:
        points: float [n, 3].

    Examples:
        >>> point_spacing(np.array([[0.0, 0, 0], [0, 0, 0], [0, 0, 2], [0, 0, 5]]))  # 2, 2 and 3
        2.3333333333333335
    """
    places = np.unique(points, axis=0)
    # some that are evenly spaced in order of x are as even a sample as all, but farther apart
    some = places[:: -(-len(places) // ENOUGH)]
    if len(some) < 2:
        return 0.0
    distances = np.sqrt(clouds.nearest_other_squared(np.ascontiguousarray(some.T)))
    return float(distances.mean() * np.sqrt(len(some) / len(places)))


class Voxels:
    """The voxels of shapes by id. Each grid is made once, and kept packed and deflated: some 10 KB.

    Args:
        grids_of: from ids of shapes to pairs of id and grid, bool [r, r, r], in any order; shapes without a grid are
            left out. All grids are of one size.
        made: how grids are made, in words, for the rules of a report.

    Examples:
        Grids that are at hand, such as those of a benchmark:

        >>> grids = {"chair": np.eye(4, dtype=bool)[None].repeat(4, axis=0), "lamp": np.ones((4, 4, 4), bool)}
        >>> stored = Voxels.of(grids.get, "as stored, 4^3 cells")
        >>> stored.make(["chair", "lamp", "sofa"])
        >>> stored.iou("chair", "lamp"), stored.iou("chair", "sofa")
        (0.25, nan)
    """

    def __init__(self, grids_of: Callable[[Sequence[str]], Grids], made: str) -> None:
        self.made = made
        self._grids_of = grids_of
        self._shape: tuple[int, ...] = ()
        self._kept: dict[str, tuple[bytes, int] | None] = {}  # packed grid and number of full cells

    @classmethod
    def of(cls, grid_of: Callable[[str], np.ndarray | None], made: str) -> "Voxels":
        """Voxels by a function from the id of a shape to its grid, or to None where it has none."""

        def grids_of(names: Sequence[str]) -> Grids:
            for name in names:
                grid = grid_of(name)
                if grid is not None:
                    yield name, grid

        return cls(grids_of, made)

    @classmethod
    def of_clouds(
        cls, cloud_of: CloudOf, resolution: int = RESOLUTION, radius: float | None = None
    ) -> "Voxels":
        """Voxels of point clouds by `cloud_grid`, on all cores.

        Args:
            cloud_of: the points of a shape by its id, float [n, 3 or more], or None where it has none.
            resolution: as in `cloud_grid`.
            radius: as in `cloud_grid`.
        """

        def grids_of(names: Sequence[str]) -> Grids:
            for begin in range(0, len(names), TOGETHER):
                some = [(name, cloud_of(name)) for name in names[begin : begin + TOGETHER]]
                known = [(name, cloud) for name, cloud in some if cloud is not None]
                tasks = [partial(cloud_grid, cloud, resolution, radius) for _, cloud in known]
                yield from zip(
                    [name for name, _ in known], in_threads(tasks, thread_count(None)), strict=True
                )

        near = f"{SPREAD:g} x the mean distance of neighbours" if radius is None else f"{radius:g}"
        full = (
            f"nearer to a point of the cloud than {near}, and what no line along an axis reaches from outside"
        )
        made = f"{resolution}^3 cells; full: {full}"
        return cls(grids_of, made)

    def make(self, names: Iterable[str]) -> None:
        """Make the grids of these shapes, but for those that were made before.

        Raises:
            CodesError: for a grid that is not of the size of the others, or empty.
        """
        new = [name for name in dict.fromkeys(names) if name not in self._kept]
        if not new:
            return
        for name, grid in self._grids_of(new):
            cells = np.asarray(grid)
            self._shape = self._shape or cells.shape
            if cells.ndim != 3 or cells.shape != self._shape:
                raise CodesError(
                    f"voxels of shape {name!r}: a grid of {list(cells.shape)} cells, expected "
                    f"{list(self._shape) if len(self._shape) == 3 else '[r, r, r]'}"
                )
            full = int(np.count_nonzero(cells))
            if not full:
                raise CodesError(f"voxels of shape {name!r}: no cell is full")
            self._kept[name] = zlib.compress(np.packbits(cells.astype(bool)).tobytes(), 1), full
        for name in new:
            self._kept.setdefault(name, None)

    def iou(self, a: str, b: str) -> float:
        """`intersection_over_union` of two shapes whose grids were made; NaN where one has none."""
        one, other = self._kept.get(a), self._kept.get(b)
        if one is None or other is None:
            return float("nan")
        if a == b:
            return 1.0
        packed = [np.frombuffer(zlib.decompress(deflated), dtype=np.uint8) for deflated, _ in (one, other)]
        both = int(ONES[packed[0] & packed[1]].sum(dtype=np.int64))
        return both / (one[1] + other[1] - both)


def first_hit_iou(truth: np.ndarray, hit: np.ndarray, grids: Voxels, threads: int) -> np.ndarray:
    """IoU of the shape of each query with that of its first hit.

    Args:
        truth: text [q], the shapes that the queries show; "" where unknown.
        hit: text [q], the shapes of the hits; "" where unknown or where there is no hit.
        grids: the voxels of both.
        threads: number of threads.

    Returns:
        float64 [q]; NaN where one of the shapes is unknown or has no voxels.

    Examples:
        >>> grids = Voxels.of({"a": np.ones((2, 2, 2)), "b": np.eye(2)[None].repeat(2, axis=0)}.get, "stored")
        >>> truth, hit = np.array(["a", "a", "b", "a"]), np.array(["a", "b", "c", ""])
        >>> first_hit_iou(truth, hit, grids, threads=1).tolist()
        [1.0, 0.5, nan, nan]
    """
    # each pair of shapes once, however many queries show it
    pairs = list(zip(truth.tolist(), hit.tolist(), strict=True))
    wanted = sorted({(a, b) for a, b in pairs if a and b})
    grids.make(name for pair in wanted for name in pair)
    measured = in_threads([partial(grids.iou, *pair) for pair in wanted], threads)
    by_pair = dict(zip(wanted, measured, strict=True))
    return np.array([by_pair.get(pair, np.nan) for pair in pairs], dtype=np.float64)
