"""Groups of shapes that look alike, where nobody has labelled them."""

import warnings

import numpy as np

from cmah.errors import ConfigError
from cmah.negatives.similarities import Views, finite_unit_vectors

CHUNK = 1024  # shapes whose views are read at a time
RUNS = 4  # runs of k-means from different centres, of which the best is kept


def clusters(views: Views, count: int, wanted: int, seed: int = 0) -> np.ndarray:
    """k-means of the directions of the shapes' mean embeddings: int64 [n] from 0; the same for the same input.

    Args:
        views: from int64 positions [k] to float32 [k, R, F], as `similarities.i2i` takes them.
        count: n, the number of shapes.
        wanted: number of clusters; some may end up empty.
        seed: random seed of the first centres.

    Raises:
        ConfigError: for more clusters than shapes.
        CmahError: for views that are not finite.

    Examples:
        Four shapes of a view each:

        >>> views = np.array([[[1.0, 0.0]], [[1.0, 0.1]], [[0.0, 1.0]], [[0.1, 1.0]]])
        >>> label = clusters(lambda positions: views[positions], count=4, wanted=2)
        >>> [np.flatnonzero(label == label[first]).tolist() for first in (0, 2)]
        [[0, 1], [2, 3]]
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if wanted > count:
        raise ConfigError(f"loss.negatives.clusters = {wanted}: there are {count} shapes")
    parts = [np.arange(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
    sums = [finite_unit_vectors(views(part)).sum(axis=1) for part in parts]
    rows = finite_unit_vectors(np.concatenate(sums))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different shapes than clusters
        fitted = KMeans(wanted, n_init=RUNS, random_state=seed).fit(rows.astype(np.float64))
    return np.asarray(fitted.labels_, np.int64)
