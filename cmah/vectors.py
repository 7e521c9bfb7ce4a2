"""Vectors of unit length."""

import numpy as np
import numpy.typing as npt


def unit_rows(vectors: npt.ArrayLike) -> np.ndarray:
    """Divide each row by its Euclidean norm.

    Args:
        vectors: numbers [n, d].

    Returns:
        float64 [n, d], rows of length 1; a row of zeros stays as it is.

    Examples:
        >>> unit_rows([[3, 4], [0, 0]]).tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    rows = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norms == 0, 1, norms))
