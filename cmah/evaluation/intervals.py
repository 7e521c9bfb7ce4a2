"""Bootstrap intervals of a mean over queries."""

import numpy as np

LEVEL = 0.95


def bootstrap_interval(
    values: np.ndarray, clusters: np.ndarray, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of `values`, resampling whole clusters.

    Views of one shape are not independent of each other, so they are drawn together (Field and Welsh 2007). The
    database stays as it is: the interval tells how the mean varies with the queries, not with the database.

    Args:
        values: value of each query, float64 [n].
        clusters: cluster of each query, [n]; equal entries are drawn together.
        draws: number of resamples.
        seed: random seed; the same seed gives the same interval.

    Returns:
        low and high; NaN for both if there are no values.

    Examples:
        >>> values = np.array([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
        >>> bootstrap_interval(values, clusters=np.arange(8))  # eight shapes
        (0.125, 0.875)
        >>> bootstrap_interval(values, clusters=np.array([0, 0, 0, 0, 1, 1, 1, 1]))  # two, four views of each
        (0.0, 1.0)
    """
    if values.size == 0:
        return float("nan"), float("nan")
    _, cluster_of = np.unique(clusters, return_inverse=True)
    sums = np.bincount(cluster_of, values)
    counts = np.bincount(cluster_of)
    random = np.random.default_rng(seed)
    means = np.empty(draws)
    for draw in range(draws):
        chosen = random.integers(sums.size, size=sums.size)
        means[draw] = sums[chosen].sum() / counts[chosen].sum()
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
