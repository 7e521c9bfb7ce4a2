"""Farthest points, nearest neighbours and ball query by plain loops; batches of clouds [b, n, 3] on the CPU.

Squared distances are (dx² + dy²) + dz² from coordinate differences in the precision of the input, without fused
multiply-adds, so that every backend of `cmah.point_ops` rounds alike. The loops release the interpreter's lock and
start no threads of their own: the caller may split the batch, and a forked process may call them.
"""

import numpy as np
from numba import njit

NEAR_ORIGIN = 1e-3  # squared norm up to which pointnet2_ops leaves a point out


@njit(cache=True, nogil=True)
def _squared_distances(columns: np.ndarray, x: float, y: float, z: float, out: np.ndarray) -> None:
    """Squared distances of columns [3, n] from one point, into out [n]."""
    for j in range(columns.shape[1]):
        dx = columns[0, j] - x
        dy = columns[1, j] - y
        dz = columns[2, j] - z
        out[j] = (dx * dx + dy * dy) + dz * dz


@njit(cache=True, nogil=True)
def _columns(xyz: np.ndarray) -> np.ndarray:
    """Cloud [n, 3] to [3, n], which the machine's vector instructions can work on."""
    columns = np.empty((3, xyz.shape[0]), dtype=xyz.dtype)
    for j in range(xyz.shape[0]):
        for axis in range(3):
            columns[axis, j] = xyz[j, axis]
    return columns


@njit(cache=True, nogil=True)
def farthest_points(xyz: np.ndarray, start: np.ndarray, skip_origin: bool, out: np.ndarray) -> None:
    """Farthest-point sampling (Eldar et al. 1997): each pick is farthest from those before, the first one on ties.

    Args:
        xyz: float32 or float64 [b, n, 3].
        start: int64 [b], the first picks.
        skip_origin: never pick points with a squared norm up to 1e-3 later on (pointnet2_ops); index 0 if no
            other is left.
        out: int64 [b, m], filled with indices.

    Examples:
        >>> xyz = np.array([[[0, 0, 0], [1, 0, 0], [3, 0, 0]]], np.float32)
        >>> picks = np.empty((1, 2), np.int64)
        >>> farthest_points(xyz, np.array([0]), False, picks)
        >>> picks.tolist()
        [[0, 2]]
    """
    n = xyz.shape[1]
    nearest = np.empty(n, dtype=xyz.dtype)
    distance = np.empty(n, dtype=xyz.dtype)
    for b in range(xyz.shape[0]):
        columns = _columns(xyz[b])
        nearest[:] = np.inf
        if skip_origin:
            for j in range(n):
                x, y, z = columns[0, j], columns[1, j], columns[2, j]
                if np.float64((x * x + y * y) + z * z) <= NEAR_ORIGIN:
                    nearest[j] = -1
        pick = start[b]
        out[b, 0] = pick
        for i in range(1, out.shape[1]):
            _squared_distances(columns, columns[0, pick], columns[1, pick], columns[2, pick], distance)
            for j in range(n):
                nearest[j] = min(nearest[j], distance[j])
            best = nearest[0]
            pick = 0
            for j in range(1, n):
                if nearest[j] > best:
                    best = nearest[j]
                    pick = j
            out[b, i] = pick


@njit(cache=True, nogil=True)
def nearest(query: np.ndarray, xyz: np.ndarray, index: np.ndarray, squared: np.ndarray) -> None:
    """The k nearest points of each query, ordered by (distance, index).

    Args:
        query: float32 or float64 [b, m, 3].
        xyz: [b, n, 3] of the same type, n >= k.
        index: int64 [b, m, k], filled with indices.
        squared: [b, m, k] of the type of `xyz`, filled with squared distances.

    Examples:
        >>> xyz = np.array([[[0, 0, 0], [1, 0, 0], [3, 0, 0]]], np.float32)
        >>> index, squared = np.empty((1, 1, 2), np.int64), np.empty((1, 1, 2), np.float32)
        >>> nearest(xyz[:, 2:], xyz, index, squared)
        >>> index.tolist(), squared.tolist()
        ([[[2, 1]]], [[[0.0, 4.0]]])
    """
    n, k = xyz.shape[1], index.shape[2]
    distance = np.empty(n, dtype=xyz.dtype)
    for b in range(xyz.shape[0]):
        columns = _columns(xyz[b])
        for i in range(query.shape[1]):
            _squared_distances(columns, query[b, i, 0], query[b, i, 1], query[b, i, 2], distance)
            kept = 0
            for j in range(n):
                d = distance[j]
                if kept == k and not d < squared[b, i, k - 1]:
                    continue
                # insert behind what is as near: those have smaller indices
                place = kept if kept < k else k - 1
                kept = min(kept + 1, k)
                while place > 0 and d < squared[b, i, place - 1]:
                    squared[b, i, place] = squared[b, i, place - 1]
                    index[b, i, place] = index[b, i, place - 1]
                    place -= 1
                squared[b, i, place] = d
                index[b, i, place] = j


@njit(cache=True, nogil=True)
def ball_query(
    query: np.ndarray, xyz: np.ndarray, squared_radius: float, inclusive: bool, index: np.ndarray
) -> None:
    """The first k points within a radius of each query, in order of index.

    Args:
        query: float32 or float64 [b, m, 3].
        xyz: [b, n, 3] of the same type.
        squared_radius: of the same type.
        inclusive: whether points exactly on the radius count.
        index: int64 [b, m, k]; places beyond the hits repeat the first one, without any hit they are 0.

    Examples:
        >>> xyz = np.array([[[0, 0, 0], [1, 0, 0], [3, 0, 0]]], np.float32)
        >>> index = np.empty((1, 1, 3), np.int64)
        >>> ball_query(xyz[:, :1], xyz, np.float32(1), True, index)
        >>> index.tolist()
        [[[0, 1, 0]]]
    """
    k = index.shape[2]
    for b in range(xyz.shape[0]):
        for i in range(query.shape[1]):
            x, y, z = query[b, i, 0], query[b, i, 1], query[b, i, 2]
            hits = 0
            for j in range(xyz.shape[1]):
                dx = xyz[b, j, 0] - x
                dy = xyz[b, j, 1] - y
                dz = xyz[b, j, 2] - z
                d = (dx * dx + dy * dy) + dz * dz
                if d < squared_radius or (inclusive and d == squared_radius):
                    index[b, i, hits] = j
                    hits += 1
                    if hits == k:
                        break
            index[b, i, hits:] = index[b, i, 0] if hits else 0


@njit(cache=True, nogil=True)
def mutual_nearest(a: np.ndarray, b: np.ndarray, of_a: np.ndarray, of_b: np.ndarray) -> None:
    """The nearest point of each other cloud, both ways in one pass; the smallest index on ties.

    Args:
        a: float32 or float64 [c, n, 3].
        b: [c, m, 3] of the same type.
        of_a: int64 [c, n], filled with the index in b of the point nearest to each of a.
        of_b: int64 [c, m], filled with the index in a of the point nearest to each of b.

    Examples:
        >>> a, b = np.array([[[0, 0, 0], [1, 0, 0]]], np.float32), np.array([[[3, 0, 0]]], np.float32)
        >>> of_a, of_b = np.empty((1, 2), np.int64), np.empty((1, 1), np.int64)
        >>> mutual_nearest(a, b, of_a, of_b)
        >>> of_a.tolist(), of_b.tolist()
        ([[0, 0]], [[1]])
    """
    n, m = a.shape[1], b.shape[1]
    distance = np.empty(m, dtype=a.dtype)
    least = np.empty(m, dtype=a.dtype)
    for c in range(a.shape[0]):
        columns = _columns(b[c])
        least[:] = np.inf
        of_b[c] = 0
        for i in range(n):
            _squared_distances(columns, a[c, i, 0], a[c, i, 1], a[c, i, 2], distance)
            best = distance[0]
            pick = 0
            for j in range(m):
                d = distance[j]
                if d < best:
                    best = d
                    pick = j
                if d < least[j]:
                    least[j] = d
                    of_b[c, j] = i
            of_a[c, i] = pick
