"""How many items lie at each distance from a query: all that the metrics of a ranking of codes need.

Codes lie as word planes, [words, n] of uint64, in such an order that those to be counted for a query are
neighbours. No item is sorted, and none is asked whether it belongs. The loops release the interpreter's lock and
start no threads of their own.
"""

import numpy as np
from numba import njit
from numba.extending import intrinsic

from cmah.kernels.hamming import _differing

ROW = 2048  # distances worked out at once: they stay in the first cache
SLAB = 16  # rows of codes that all queries go over while these stay in the second cache


@intrinsic
def _plus_narrowed(typing_context, a, b):  # type: ignore[no-untyped-def]
    """`a` plus `b` in the width of `a`, where Numba's `+` would widen both and halve the vectors."""

    def generate(context, builder, signature, words):  # type: ignore[no-untyped-def]
        return builder.add(words[0], builder.trunc(words[1], words[0].type))

    return a(a, b), generate


@njit(cache=True, nogil=True)
def _distances(planes: np.ndarray, begin: int, end: int, query: np.ndarray, i: int, row: np.ndarray) -> None:
    """Distances of query i from the codes `begin` to `end`, into the first entries of uint16 `row`."""
    row[:] = 0
    for w in range(planes.shape[0]):
        plane = planes[w, begin:end]
        for j in range(len(plane)):
            row[j] = _plus_narrowed(row[j], _differing(query[i, w], plane[j]))


@njit(cache=True, nogil=True)
def _leave_out(
    query: np.ndarray,
    planes: np.ndarray,
    begin: np.ndarray,
    end: np.ndarray,
    skip: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Take the code `skip[i]` out of the counts of query i, int64 [q, levels], if it was counted there."""
    for i in range(len(query)):
        if begin[i] <= skip[i] < end[i]:
            distance = np.int64(0)
            for w in range(query.shape[1]):
                distance += np.int64(_differing(query[i, w], planes[w, skip[i]]))
            counts[i, distance] -= 1


@njit(cache=True, nogil=True)
def count_codes(
    query: np.ndarray,
    planes: np.ndarray,
    begin: np.ndarray,
    end: np.ndarray,
    skip: np.ndarray,
    bits: int,
) -> np.ndarray:
    """How many of the codes `begin[i]` to `end[i]` lie at each distance from query i.

    Args:
        query: uint64 [q, words].
        planes: uint64 [words, n].
        begin: int64 [q], the first code to count.
        end: int64 [q], one beyond the last.
        skip: int64 [q], a code that is not counted, or -1.
        bits: length of a code.

    Returns:
        int64 [q, bits + 1].

    Examples:
        >>> query, planes = np.array([[0b11]], np.uint64), np.array([[0b11, 0b01, 0b10, 0b100]], np.uint64)
        >>> zero = np.array([0])
        >>> count_codes(query, planes, zero, zero + 4, zero - 1, 3).tolist()
        [[1, 2, 0, 1]]
    """
    q, words = query.shape
    row = np.empty(ROW, dtype=np.uint16)
    # codes near each other are often at one distance: four counters need not wait for each other
    parts = np.zeros((4, bits + 1), dtype=np.uint32)
    counts = np.zeros((q, bits + 1), dtype=np.int64)
    slab = max(1, SLAB // words) * ROW
    for start in range(0, planes.shape[1], slab):
        for i in range(q):
            last = min(start + slab, end[i])
            many = last - max(start, begin[i]) > 4 * bits  # worth adding up the four
            for first in range(max(start, begin[i]), last, ROW):
                size = min(ROW, last - first)
                _distances(planes, first, first + size, query, i, row)
                fours = size // 4 * 4 if many else 0
                for j in range(0, fours, 4):
                    parts[0, row[j]] += np.uint32(1)
                    parts[1, row[j + 1]] += np.uint32(1)
                    parts[2, row[j + 2]] += np.uint32(1)
                    parts[3, row[j + 3]] += np.uint32(1)
                for j in range(fours, size):
                    counts[i, row[j]] += 1
            if many:
                for level in range(bits + 1):
                    for part in range(4):
                        counts[i, level] += np.int64(parts[part, level])
                        parts[part, level] = 0
    _leave_out(query, planes, begin, end, skip, counts)
    return counts


@njit(cache=True, nogil=True)
def count_levels(
    levels: np.ndarray, order: np.ndarray, begin: np.ndarray, end: np.ndarray, skip: np.ndarray, count: int
) -> np.ndarray:
    """How many of the items `order[begin[i]]` to `order[end[i]]` lie at each level of query i.

    Args:
        levels: int64 [q, n], each below `count`, of every item.
        order: int64 [m], positions of items.
        begin: int64 [q], the first entry of `order` to count.
        end: int64 [q], one beyond the last.
        skip: int64 [q], position of an item that is not counted, or -1.
        count: how many levels.

    Returns:
        int64 [q, count].

    Examples:
        >>> levels, zero = np.array([[0, 2, 0, 1]]), np.array([0])
        >>> count_levels(levels, np.arange(4), zero, zero + 4, zero, 3).tolist()  # item 0 is left out
        [[1, 1, 1]]
    """
    counts = np.zeros((levels.shape[0], count), dtype=np.int64)
    for i in range(levels.shape[0]):
        for e in range(begin[i], end[i]):
            if order[e] != skip[i]:
                counts[i, levels[i, order[e]]] += 1
    return counts
