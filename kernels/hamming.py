"""Hamming distances between packed codes: plain loops over 64-bit words, exact at every length.

Codes come as uint64 words [n, w] (`to_words`), unused bits zero. Results are ordered by (distance, position).
"""

import numpy as np
from numba import njit


def to_words(packed: np.ndarray) -> np.ndarray:
    """Copy packed codes, uint8 [n, bytes], into uint64 [n, ceil(bytes / 8)], filled up with zeros."""
    n, width = packed.shape
    words = np.zeros((n, (width + 7) // 8), dtype=np.uint64)
    words.view(np.uint8)[:, :width] = packed
    return words


@njit(cache=True, nogil=True, inline="always")
def popcount(word: np.uint64) -> int:
    """The number of set bits of a uint64; LLVM knows this pattern and emits the machine's own instruction."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True)
def distances(query: np.ndarray, database: np.ndarray) -> np.ndarray:
    """Hamming distances, int32 [q, n], of uint64 words [q, w] and [n, w]."""
    out = np.empty((query.shape[0], database.shape[0]), dtype=np.int32)
    for i in range(query.shape[0]):
        for j in range(database.shape[0]):
            distance = 0
            for w in range(query.shape[1]):
                distance += popcount(query[i, w] ^ database[j, w])
            out[i, j] = distance
    return out


@njit(cache=True, nogil=True)
def top_k(query: np.ndarray, database: np.ndarray, k: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest codes of each query.

    Args:
        query: uint64 [q, w].
        database: uint64 [n, w].
        k: 1 to n.
        bits: length of a code, the largest distance there can be.

    Returns:
        positions int64 [q, k] and distances int32 [q, k], ordered by (distance, position).
    """
    n = database.shape[0]
    positions = np.empty((query.shape[0], k), dtype=np.int64)
    nearest = np.empty((query.shape[0], k), dtype=np.int32)
    row = np.empty(n, dtype=np.int32)
    for i in range(query.shape[0]):
        # a counting sort: where each distance begins, then every item in order of position
        begin = np.zeros(bits + 2, dtype=np.int64)
        for j in range(n):
            distance = 0
            for w in range(query.shape[1]):
                distance += popcount(query[i, w] ^ database[j, w])
            row[j] = distance
            begin[distance + 1] += 1
        for level in range(bits + 1):
            begin[level + 1] += begin[level]
        for j in range(n):
            place = begin[row[j]]
            if place < k:
                positions[i, place] = j
                nearest[i, place] = row[j]
                begin[row[j]] = place + 1
    return positions, nearest


@njit(cache=True, nogil=True)
def within(query: np.ndarray, database: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All codes at most `radius` from each query.

    Args:
        query: uint64 [q, w].
        database: uint64 [n, w].
        radius: 0 or more.

    Returns:
        offsets int64 [q + 1], positions int64 [m] and distances int32 [m]: query i has the entries
        offsets[i] to offsets[i + 1], ordered by (distance, position).
    """
    n = database.shape[0]
    offsets = np.zeros(query.shape[0] + 1, dtype=np.int64)
    row = np.empty(n, dtype=np.int32)
    positions = np.empty(0, dtype=np.int64)
    found = np.empty(0, dtype=np.int32)
    for write in range(2):  # once to count, once to write
        for i in range(query.shape[0]):
            begin = np.zeros(radius + 2, dtype=np.int64)
            for j in range(n):
                distance = 0
                for w in range(query.shape[1]):
                    distance += popcount(query[i, w] ^ database[j, w])
                row[j] = distance
                if distance <= radius:
                    begin[distance + 1] += 1
            for level in range(radius + 1):
                begin[level + 1] += begin[level]
            if write == 0:
                offsets[i + 1] = offsets[i] + begin[radius + 1]
                continue
            for j in range(n):
                if row[j] <= radius:
                    place = offsets[i] + begin[row[j]]
                    positions[place] = j
                    found[place] = row[j]
                    begin[row[j]] += 1
        if write == 0:
            positions = np.empty(offsets[-1], dtype=np.int64)
            found = np.empty(offsets[-1], dtype=np.int32)
    return offsets, positions, found
