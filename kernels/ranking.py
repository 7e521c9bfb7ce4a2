"""Retrieval metrics from histograms: how many items, and how many relevant ones, lie at each level.

A level is a set of items that tie in a ranking (for codes: one Hamming distance). Nothing is sorted, and
every metric is exact over the orders that the items of a level may take. `total` and `relevant` are
int64 [q, levels], nearest first.
"""

import math

import numpy as np
from numba import njit

RELEVANT, MIN_RELEVANT_K, HITS = 0, 1, 2  # denominators of the average precision


@njit(cache=True, nogil=True)
def count_codes(
    query: np.ndarray,
    database: np.ndarray,
    query_class: np.ndarray,
    database_class: np.ndarray,
    skip: np.ndarray,
    bits: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Histograms of Hamming distances.

    Args:
        query: codes as uint64 words [q, w].
        database: the same, [n, w].
        query_class: int64 [relations, q]; an item is relevant where the classes are equal.
        database_class: int64 [relations, n].
        skip: int64 [q], the position of an item to leave out, or -1.
        bits: length of a code.

    Returns:
        total int64 [q, bits + 1] and relevant int64 [relations, q, bits + 1].
    """
    relations = query_class.shape[0]
    total = np.zeros((query.shape[0], bits + 1), dtype=np.int64)
    relevant = np.zeros((relations, query.shape[0], bits + 1), dtype=np.int64)
    for i in range(query.shape[0]):
        for j in range(database.shape[0]):
            if j == skip[i]:
                continue
            distance = np.int64(0)
            for w in range(query.shape[1]):
                # bits set in one word; LLVM turns this pattern into one instruction
                word = query[i, w] ^ database[j, w]
                word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
                word = (word & np.uint64(0x3333333333333333)) + (
                    (word >> np.uint64(2)) & np.uint64(0x3333333333333333)
                )
                word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
                distance += np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))
            total[i, distance] += 1
            for r in range(relations):
                if query_class[r, i] == database_class[r, j]:
                    relevant[r, i, distance] += 1
    return total, relevant


@njit(cache=True, nogil=True)
def count_levels(
    levels: np.ndarray, query_class: np.ndarray, database_class: np.ndarray, skip: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same histograms from levels that are already known, int64 [q, n], each below `count`."""
    relations = query_class.shape[0]
    total = np.zeros((levels.shape[0], count), dtype=np.int64)
    relevant = np.zeros((relations, levels.shape[0], count), dtype=np.int64)
    for i in range(levels.shape[0]):
        for j in range(levels.shape[1]):
            if j == skip[i]:
                continue
            total[i, levels[i, j]] += 1
            for r in range(relations):
                if query_class[r, i] == database_class[r, j]:
                    relevant[r, i, levels[i, j]] += 1
    return total, relevant


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
    return r / t * (slope * m + rest * (harmonic[before + m] - harmonic[before]))


@njit(cache=True, nogil=True)
def _ordered(count: int, before: int, hits: int, harmonic: np.ndarray) -> float:
    """Sum of precisions over `count` relevant items that follow `before` items with `hits` relevant ones."""
    if count == 1:
        return (hits + 1.0) / (before + 1.0)
    return count - (before - hits) * (harmonic[before + count] - harmonic[before])


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
def average_precision(total: np.ndarray, relevant: np.ndarray, depth: int, denominator: int) -> np.ndarray:
    """Average precision of each query: expected over tie orders, relevant items first, relevant items last.

    Args:
        total: int64 [q, levels].
        relevant: int64 [q, levels].
        depth: ranks that count; the number of items or more for the full ranking.
        denominator: RELEVANT (all relevant items), MIN_RELEVANT_K (or `depth` if there are more) or HITS
            (relevant items within `depth`, as in DeepHash; AP is 0 where there are none).

    Returns:
        float64 [q, 3], NaN for a query without a relevant item.
    """
    out = np.full((total.shape[0], 3), np.nan)
    largest = 0
    for i in range(total.shape[0]):
        largest = max(largest, total[i].sum())
    harmonic = np.zeros(largest + 1)
    for i in range(1, largest + 1):
        harmonic[i] = harmonic[i - 1] + 1.0 / i
    for i in range(total.shape[0]):
        if relevant[i].sum() > 0:
            out[i] = _one_average_precision(total[i], relevant[i], depth, denominator, harmonic)
    return out


@njit(cache=True, nogil=True)
def precision_at(total: np.ndarray, relevant: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """Expected share of relevant items among the first k, for each k of int64 `depths`.

    Ranks beyond the last item count as not relevant. Returns float64 [q, depths].
    """
    out = np.zeros((total.shape[0], depths.size))
    for i in range(total.shape[0]):
        for d in range(depths.size):
            before, hits = 0, 0.0
            for level in range(total.shape[1]):
                t, r = total[i, level], relevant[i, level]
                if before + t > depths[d]:
                    hits += r * (depths[d] - before) / t
                    break
                before += t
                hits += r
            out[i, d] = hits / depths[d]
    return out


@njit(cache=True, nogil=True)
def success_at(total: np.ndarray, relevant: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """Chance, over tie orders, that a relevant item is among the first `k`: float64 [q, depths].

    NaN for a query without a relevant item.
    """
    out = np.zeros((total.shape[0], depths.size))
    for i in range(total.shape[0]):
        if relevant[i].sum() == 0:
            out[i, :] = np.nan
            continue
        for d in range(depths.size):
            before = 0
            for level in range(total.shape[1]):
                t, r = total[i, level], relevant[i, level]
                m = min(t, depths[d] - before)
                if before >= depths[d]:
                    break
                if r > 0:
                    # the first level with a relevant item decides: others may take its first m places
                    miss = 1.0
                    for place in range(m):
                        miss *= max(0.0, t - r - place) / (t - place)
                    out[i, d] = 1.0 - miss
                    break
                before += t
    return out
