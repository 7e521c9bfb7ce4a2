"""How far the shape of the first hit lies from that of the query, as a distance between point clouds."""

from collections.abc import Callable
from functools import partial

import numpy as np

import cmah.compiling  # noqa: F401 (before the kernels)
from cmah.errors import CodesError
from cmah.kernels import clouds
from cmah.threads import in_threads

CloudOf = Callable[[str], np.ndarray | None]  # the points of a shape by its id, None where it has none


def cloud_distances(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """HAU and Chamfer distance between two clouds; both are lower where shapes are more alike.

    With d(x, B) the Euclidean distance of a point from the nearest one of the other cloud:

        HAU     = (sum of d(x, B) over A + sum of d(y, A) over B) / (points of A + points of B)
        Chamfer = (mean of d(x, B) over A + mean of d(y, A) over B) / 2

    They agree for clouds of the same size.

    Args:
        a: float [n, 3 or more]; columns beyond xyz are ignored.
        b: float [m, 3 or more].

    Returns:
        HAU and Chamfer distance, in the unit of the points.

    Raises:
        CodesError: if one has no points.

    Examples:
        Distances from the other cloud are 0 and 3, and 0: HAU is their mean, Chamfer (1.5 + 0) / 2.

        >>> cloud_distances(np.array([[0, 0, 0], [3, 0, 0]]), np.array([[0, 0, 0]]))
        (1.0, 0.75)
    """
    clean = []
    for cloud in (a, b):
        xyz = np.asarray(cloud)
        if xyz.ndim != 2 or xyz.shape[1] < 3 or not len(xyz):
            raise CodesError(f"a point cloud has shape {list(xyz.shape)}, expected [n, 3]")
        clean.append(np.ascontiguousarray(xyz[:, :3], dtype=np.float32))
    from_a, from_b = (
        np.sqrt(clouds.nearest_squared(np.ascontiguousarray(one.T), other)).astype(np.float64)
        for one, other in (clean, clean[::-1])
    )
    hau = (from_a.sum() + from_b.sum()) / (len(from_a) + len(from_b))
    return float(hau), float((from_a.mean() + from_b.mean()) / 2)


def first_hit_distances(truth: np.ndarray, hit: np.ndarray, cloud_of: CloudOf, threads: int) -> np.ndarray:
    """`cloud_distances` between the shape of each query and that of its first hit.

    Args:
        truth: text [q], the shapes that the queries show; "" where unknown.
        hit: text [q], the shapes of the hits; "" where unknown or where there is no hit.
        cloud_of: the points of a shape, float [n, 3 or more], or None where it has none.
        threads: number of threads.

    Returns:
        float64 [2, q]: HAU and Chamfer distance; NaN where one of the clouds is unknown.

    Examples:
        >>> points = {"chair": np.zeros((1, 3)), "lamp": np.array([[0.0, 0.0, 2.0]])}
        >>> truth, hit = np.array(["chair", "lamp", "lamp"]), np.array(["lamp", "lamp", "sofa"])
        >>> first_hit_distances(truth, hit, points.get, threads=1).tolist()
        [[2.0, 0.0, nan], [2.0, 0.0, nan]]
    """
    # each pair of shapes once, however many queries show it
    wanted = sorted({(a, b) for a, b in zip(truth.tolist(), hit.tolist(), strict=True) if a and b})
    points = {name: cloud_of(name) for name in sorted({name for pair in wanted for name in pair})}

    def distances(pair: tuple[str, str]) -> tuple[float, float]:
        a, b = points[pair[0]], points[pair[1]]
        if a is None or b is None:
            return float("nan"), float("nan")
        return (0.0, 0.0) if pair[0] == pair[1] else cloud_distances(a, b)

    measured = in_threads([partial(distances, pair) for pair in wanted], threads)
    by_pair = dict(zip(wanted, measured, strict=True))
    unknown = float("nan"), float("nan")
    rows = [by_pair.get(pair, unknown) for pair in zip(truth.tolist(), hit.tolist(), strict=True)]
    return np.array(rows, dtype=np.float64).reshape(-1, 2).T
