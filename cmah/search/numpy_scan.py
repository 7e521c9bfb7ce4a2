"""The scan in NumPy, for where Numba cannot be had or is not worth importing; the same results."""

from collections.abc import Iterable

import numpy as np

AT_ONCE = 1 << 15  # codes that are compared with a query at a time

# offsets int64 [q + 1], positions int64 [m], distances int32 [m]: query i has the entries offsets[i] to offsets[i + 1]
ScanResult = tuple[np.ndarray, np.ndarray, np.ndarray]


def scan_tile(
    segments: list[tuple[np.ndarray, int]], n: int, queries: np.ndarray, k: int | None, radius: int, bits: int
) -> ScanResult:
    """The codes at most `radius` from each query, or the `k` nearest of those, ordered by (distance, position).

    Args:
        segments: blocks, words [blocks, words, codes], and the position of their first code, in order.
        n: number of codes; what a last block holds beyond is ignored.
        queries: words [q, words].
        k: how many; None for all.
        radius: 0 to `bits`.
        bits: length of a code.

    Returns:
        offsets int64 [q + 1], positions int64 [m], distances int32 [m].

    Examples:
        >>> import numpy as np
        >>> block = np.array([[[0b000, 0b011, 0b111]]], np.uint8)  # three codes of one word
        >>> query = np.array([[0b001]], np.uint8)
        >>> offsets, positions, distances = scan_tile([(block, 0)], n=3, queries=query, k=2, radius=8, bits=8)
        >>> offsets.tolist(), positions.tolist(), distances.tolist()
        ([0, 2], [0, 1], [1, 1])
    """
    rows = [_scan_one(segments, n, query, k, radius) for query in queries]
    offsets = np.cumsum([0, *(len(positions) for positions, _ in rows)], dtype=np.int64)
    positions = np.concatenate([np.empty(0, dtype=np.int64), *(row[0] for row in rows)])
    return offsets, positions, np.concatenate([np.empty(0, dtype=np.int32), *(row[1] for row in rows)])


def count_within(chunks: Iterable[np.ndarray], n: int, query: np.ndarray, radius: int) -> int:
    """How many codes are at most `radius` from a query.

    Args:
        chunks: blocks, words [blocks, words, codes], in order.
        n: number of codes; what a last block holds beyond is ignored.
        query: words [words].
        radius: 0 or more.

    Examples:
        >>> import numpy as np
        >>> block = np.array([[[0b000, 0b011, 0b111]]], np.uint8)  # three codes of one word
        >>> count_within([block], n=2, query=np.array([0b001], np.uint8), radius=1)
        2
    """
    count = first = 0
    for blocks in chunks:
        step = max(AT_ONCE // blocks.shape[2], 1)
        for b in range(0, len(blocks), step):
            part = differing_bits(blocks[b : b + step] ^ query[:, None]).sum(axis=1, dtype=np.int32).ravel()
            count += int((part[: max(0, n - first)] <= radius).sum())
            first += len(part)
    return count


def _scan_one(
    segments: list[tuple[np.ndarray, int]], n: int, query: np.ndarray, k: int | None, radius: int
) -> tuple[np.ndarray, np.ndarray]:
    limit = radius + 1  # a code must be nearer than that to enter
    positions, distances = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32)
    waiting: list[tuple[np.ndarray, np.ndarray]] = []
    for blocks, begin in segments:
        codes = blocks.shape[2]
        step = max(AT_ONCE // codes, 1)
        for b in range(0, len(blocks), step):
            part = differing_bits(blocks[b : b + step] ^ query[:, None]).sum(axis=1, dtype=np.int32).ravel()
            first = begin + b * codes
            near = np.flatnonzero(part[: n - first] < limit)
            waiting.append((near + first, part[near]))
            # With k codes at hand, only what is nearer than the k-th can still enter: of equally near codes the
            # first stay.
            if k is not None and len(near):
                positions, distances = _in_order([(positions, distances), *waiting], k)
                waiting = []
                if len(positions) == k:
                    limit = min(limit, int(distances[-1]))
    return _in_order([(positions, distances), *waiting], k)


def _in_order(parts: list[tuple[np.ndarray, np.ndarray]], k: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Codes of successive parts in order of (distance, position), at most k of them."""
    positions = np.concatenate([part[0] for part in parts])
    distances = np.concatenate([part[1] for part in parts])
    order = np.lexsort((positions, distances))[:k]
    return positions[order], distances[order]


def differing_bits(words: np.ndarray) -> np.ndarray:
    """The number of set bits of each word, uint8 of the same shape.

    Examples:
        >>> import numpy as np
        >>> differing_bits(np.array([0b1100 ^ 0b1010, 0, 255], np.uint8)).tolist()
        [2, 0, 8]
    """
    if hasattr(np, "bitwise_count"):
        return np.asarray(np.bitwise_count(words))
    table = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)
    per_byte = table[np.ascontiguousarray(words).view(np.uint8)]
    counts: np.ndarray = per_byte.reshape(*words.shape, words.itemsize).sum(axis=-1, dtype=np.uint8)
    return counts
