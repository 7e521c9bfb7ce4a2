"""Retrieval metrics from histograms: how many items, and how many relevant ones, lie at each level.

A level is a set of items that tie in a ranking (for codes: one Hamming distance). Nothing is sorted, and
every metric is exact over the orders that the items of a level may take. `total` and `relevant` are
int64 [q, levels], nearest first. Each function gives three numbers: the expectation over all orders, that with
the relevant items first in each level, and that with them last.
"""

import math

import numpy as np
from numba import njit

RELEVANT, MIN_RELEVANT_K, HITS = 0, 1, 2  # denominators of the average precision


@njit(cache=True, nogil=True)
def gains(total: np.ndarray, relevant: np.ndarray, cumulative: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """The sum of what relevant items gain by their ranks, among the first `depths`.

    At each place of a level of t items with r relevant ones, r/t relevant items are expected; that is all that a
    sum over ranks depends on.

    Args:
        total: int64 [q, levels].
        relevant: int64 [q, levels].
        cumulative: float64 [n + 1], gains of ranks 1 to i added up; 0 at i = 0. [0, 1, 2, …] counts hits.
        depths: int64 [q, d], ranks that count; may be more than there are items.

    Returns:
        float64 [3, q, d]: expected, relevant first, relevant last.

    Examples:
        One of two tied items is relevant; how many hits are among the first 1 and 2?

        >>> total, relevant = np.array([[2]]), np.array([[1]])
        >>> gains(total, relevant, np.arange(3.0), np.array([[1, 2]])).tolist()
        [[[0.5, 1.0]], [[1.0, 1.0]], [[0.0, 1.0]]]
    """
    out = np.zeros((3, *depths.shape))
    for i in range(total.shape[0]):
        before = 0
        for level in range(total.shape[1]):
            t, r = total[i, level], relevant[i, level]
            for d in range(depths.shape[1] if r > 0 else 0):
                depth = depths[i, d]
                if before >= depth:
                    continue
                low, high = cumulative[before], cumulative[min(before + t, depth)]
                out[0, i, d] += r / t * (high - low)
                out[1, i, d] += cumulative[min(before + r, depth)] - low
                out[2, i, d] += high - cumulative[min(before + t - r, depth)]
            before += t
    return out


@njit(cache=True, nogil=True)
def harmonic_numbers(n: int) -> np.ndarray:
    """1 + 1/2 + … + 1/i at i: float64 [n + 1].

    Examples:
        >>> harmonic_numbers(2).tolist()
        [0.0, 1.0, 1.5]
    """
    harmonic = np.zeros(n + 1)
    for i in range(1, n + 1):
        harmonic[i] = harmonic[i - 1] + 1.0 / i
    return harmonic


@njit(cache=True, nogil=True)
def _expected(t: int, r: int, before: int, hits: int, m: int, harmonic: np.ndarray) -> float:
    """Expected sum of precisions at the relevant ones of the first `m` places of a level.

    Args:
        t: items of the level.
        r: relevant ones among them.
        before: items of the levels before.
        hits: relevant ones among those.
        m: places that count, at most t.
        harmonic: float64, harmonic[i] = 1 + 1/2 + … + 1/i.

    The item at place i is relevant with probability r/t, and then (i-1)(r-1)/(t-1) relevant ones of the level
    are expected before it (McSherry and Najork 2008). The sum of (a + c i) / (before + i) over i has a closed
    form.
    """
    if r == 0 or m == 0:
        return 0.0
    if t == 1:
        return (hits + 1.0) / (before + 1.0)
    slope = (r - 1.0) / (t - 1.0)
    rest = hits + 1.0 - slope * (before + 1.0)
    return float(r / t * (slope * m + rest * (harmonic[before + m] - harmonic[before])))


@njit(cache=True, nogil=True)
def _ordered(count: int, before: int, hits: int, harmonic: np.ndarray) -> float:
    """Sum of precisions over `count` relevant items that follow `before` items with `hits` relevant ones."""
    if count == 1:
        return (hits + 1.0) / (before + 1.0)
    return float(count - (before - hits) * (harmonic[before + count] - harmonic[before]))


@njit(cache=True, nogil=True)
def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1.0) - math.lgamma(k + 1.0) - math.lgamma(n - k + 1.0)


@njit(cache=True, nogil=True)
def _expected_over_hits(
    t: int, r: int, before: int, hits: int, m: int, so_far: float, harmonic: np.ndarray
) -> float:
    """Expectation of (`so_far` + sum of precisions) / hits where the depth ends a level after `m` places.

    How many of its r relevant items come within the depth, h, is hypergeometric; given h, the level acts
    as one of m items with h relevant.
    """
    expected = 0.0
    for h in range(max(0, m - (t - r)), min(r, m) + 1):
        if hits + h > 0:
            chance = math.exp(_log_choose(r, h) + _log_choose(t - r, m - h) - _log_choose(t, m))
            expected += chance * (so_far + _expected(m, h, before, hits, m, harmonic)) / (hits + h)
    return expected


@njit(cache=True, nogil=True)
def _one_average_precision(
    total: np.ndarray, relevant: np.ndarray, depth: int, denominator: int, harmonic: np.ndarray
) -> tuple[float, float, float]:
    """`average_precision` of one query, int64 [levels] each, which has a relevant item."""
    before, hits = 0, 0
    expected, best, worst = 0.0, 0.0, 0.0
    for level in range(total.size):
        t, r = total[level], relevant[level]
        m = min(t, depth - before)
        first, last = min(r, m), max(0, m - (t - r))
        best += _ordered(first, before, hits, harmonic)
        worst += _ordered(last, before + t - r, hits, harmonic)
        if before + t >= depth and denominator == HITS:
            expected = _expected_over_hits(t, r, before, hits, m, expected, harmonic)
            return expected, best / max(hits + first, 1), worst / max(hits + last, 1)
        expected += _expected(t, r, before, hits, m, harmonic)
        before += t
        hits += r
        if before >= depth:
            break
    divisor = relevant.sum()
    if denominator == MIN_RELEVANT_K:
        divisor = min(divisor, depth)
    return expected / divisor, best / divisor, worst / divisor


@njit(cache=True, nogil=True)
def average_precision(
    total: np.ndarray, relevant: np.ndarray, depth: int, denominator: int, harmonic: np.ndarray
) -> np.ndarray:
    """Average precision of each query.

    Args:
        total: int64 [q, levels].
        relevant: int64 [q, levels].
        depth: ranks that count; the number of items or more for the full ranking.
        denominator: RELEVANT (all relevant items), MIN_RELEVANT_K (or `depth` if there are more) or HITS
            (relevant items within `depth`, as in DeepHash; AP is 0 where there are none).
        harmonic: `harmonic_numbers` of the number of items or more.

    Returns:
        float64 [3, q]: expected, relevant first, relevant last; NaN for a query without a relevant item.

    Examples:
        One of two tied items is relevant: it comes first or second.

        >>> total, relevant = np.array([[2]]), np.array([[1]])
        >>> average_precision(total, relevant, 2, RELEVANT, harmonic_numbers(2)).tolist()
        [[0.75], [1.0], [0.5]]
    """
    out = np.full((3, total.shape[0]), np.nan)
    for i in range(total.shape[0]):
        if relevant[i].sum() > 0:
            out[:, i] = _one_average_precision(total[i], relevant[i], depth, denominator, harmonic)
    return out


@njit(cache=True, nogil=True)
def _reciprocal(t: int, r: int, before: int, harmonic: np.ndarray) -> float:
    """Expected 1 / rank of the first of r relevant items in a level of t, after `before` others."""
    if r == 1:
        return float((harmonic[before + t] - harmonic[before]) / t)
    expected, none_yet = 0.0, 1.0
    for place in range(t - r + 1):
        here = r / (t - place)  # the chance that it is this one, if none came before
        expected += none_yet * here / (before + place + 1.0)
        none_yet *= 1.0 - here
        if none_yet < 1e-18:
            break
    return expected


@njit(cache=True, nogil=True)
def first_hit(
    total: np.ndarray, relevant: np.ndarray, depths: np.ndarray, harmonic: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the first relevant item comes.

    Args:
        total: int64 [q, levels].
        relevant: int64 [q, levels].
        depths: int64 [d].
        harmonic: `harmonic_numbers` of the number of items or more.

    Returns:
        the chance that it is among the first `depths`, float64 [3, q, d], its rank [3, q] and the reciprocal of its
        rank [3, q]; each as expected, with relevant items first, and last. NaN for a query without a relevant item.

    Examples:
        One of two tied items is relevant.

        >>> total, relevant = np.array([[2]]), np.array([[1]])
        >>> found, rank, reciprocal = first_hit(total, relevant, np.array([1]), harmonic_numbers(2))
        >>> found.tolist(), rank.tolist(), reciprocal.tolist()
        ([[[0.5]], [[1.0]], [[0.0]]], [[1.5], [1.0], [2.0]], [[0.75], [1.0], [0.5]])
    """
    q = total.shape[0]
    found, rank, reciprocal = (
        np.full((3, q, depths.size), np.nan),
        np.full((3, q), np.nan),
        np.full((3, q), np.nan),
    )
    for i in range(q):
        before = 0
        for level in range(total.shape[1]):
            t, r = total[i, level], relevant[i, level]
            if r == 0:
                before += t
                continue
            first, last = before + 1.0, before + t - r + 1.0
            rank[:, i] = before + (t + 1.0) / (r + 1.0), first, last
            reciprocal[:, i] = _reciprocal(t, r, before, harmonic), 1.0 / first, 1.0 / last
            for d in range(depths.size):
                miss = 1.0  # others of the level may take all places that count
                for place in range(min(t, depths[d] - before)):
                    miss *= max(0.0, t - r - place) / (t - place)
                    if miss < 1e-18:
                        break
                found[0, i, d] = 1.0 - miss
                found[1, i, d] = depths[d] >= first
                found[2, i, d] = depths[d] >= last
            break
    return found, rank, reciprocal
