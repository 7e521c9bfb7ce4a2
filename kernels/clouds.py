"""How far each point of a cloud lies from another cloud: every pair is looked at, in vectors.

The loops release the interpreter's lock and start no threads of their own.
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def nearest_squared(columns: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The squared distance of each point from the nearest of `others`.

    Args:
        columns: float32 or float64 [3, n], the points.
        others: [m, 3] of the same type.

    Returns:
        [n] of the same type; infinite where there are no others.

    Examples:
        >>> points, others = np.array([[0.0, 0, 0], [1, 2, 2]]), np.array([[0.0, 0, 3]])
        >>> nearest_squared(np.ascontiguousarray(points.T), others).tolist()
        [9.0, 6.0]
    """
    least = np.full(columns.shape[1], np.inf).astype(columns.dtype)
    for i in range(len(others)):
        x, y, z = others[i]
        for j in range(len(least)):  # no sum over j: one that changes nothing but its own entry is vectorised
            dx, dy, dz = columns[0, j] - x, columns[1, j] - y, columns[2, j] - z
            squared = dx * dx + dy * dy + dz * dz
            least[j] = squared if squared < least[j] else least[j]
    return least


@njit(cache=True, nogil=True)
def nearest_other_squared(columns: np.ndarray) -> np.ndarray:
    """The squared distance of each point from the nearest of the others.

    Args:
        columns: float32 or float64 [3, n], the points.

    Returns:
        [n] of the same type; infinite for a single point.

    Examples:
        >>> points = np.array([[0.0, 0, 0], [1, 2, 2], [0, 0, 4]])
        >>> nearest_other_squared(np.ascontiguousarray(points.T)).tolist()
        [9.0, 9.0, 9.0]
    """
    n = columns.shape[1]
    least = np.full(n, np.inf).astype(columns.dtype)
    for i in range(n):
        x, y, z = columns[0, i], columns[1, i], columns[2, i]
        for first, last in ((0, i), (i + 1, n)):
            for j in range(first, last):
                dx, dy, dz = columns[0, j] - x, columns[1, j] - y, columns[2, j] - z
                squared = dx * dx + dy * dy + dz * dz
                least[j] = squared if squared < least[j] else least[j]
    return least
