"""The flat scan: every code is compared with every query, by as many threads as asked for."""

from functools import partial

import numpy as np

from cmah.search import numpy_scan
from cmah.search.backend import compiled
from cmah.search.blocks import CodeBlocks
from cmah.search.numpy_scan import ScanResult
from cmah.threads import in_threads, thread_count

# Queries that go over a block while it is in the cache, at most, and with how many hits each; else a quarter of them,
# so that what is noted of the hits before they are in order stays small
TILE, FEW_HITS = 1024, 500
# Queries per thread; with fewer, threads share out the codes, and each is read and rearranged once. Of wide codes with
# few hits, whose limits fall as fast with a part of the codes, this pays for more.
FEW, FEW_OF_WIDE = 64, 160
WIDE, WIDE_HITS = 32, 16  # bytes per code from which on, and hits up to which
WORTH_A_THREAD = 4 << 20  # bytes to compare; less is done sooner than a thread is woken


def scan(
    blocks: CodeBlocks, packed: np.ndarray, k: int | None, radius: int, threads: int | None = None
) -> ScanResult:
    """The codes at most `radius` from each query, or the `k` nearest of those.

    Args:
        blocks: the codes.
        packed: queries, uint8 [q, width].
        k: how many, 1 or more; None for all.
        radius: 0 or more.
        threads: how many to use; None for one per core.

    Returns:
        offsets int64 [q + 1], positions int64 [m], distances int32 [m]: query i has the entries offsets[i] to
        offsets[i + 1], ordered by (distance, position). The same whatever the threads.

    Raises:
        CodesError: if `threads` is no whole number or less than 1.

    Examples:
        >>> import numpy as np
        >>> from cmah.search.blocks import CodeBlocks
        >>> blocks = CodeBlocks(bits=8)
        >>> blocks.append(np.array([[0b000], [0b011], [0b111]], np.uint8))
        >>> query = np.array([[0b001]], np.uint8)
        >>> offsets, positions, distances = scan(blocks, query, k=None, radius=1)
        >>> offsets.tolist(), positions.tolist(), distances.tolist()
        ([0, 2], [0, 1], [1, 1])
    """
    threads = thread_count(threads)
    scan_tile = compiled(len(packed) * len(blocks) * blocks.width) or numpy_scan.scan_tile
    queries = blocks.as_words(packed)
    q, n = len(queries), len(blocks)
    per_thread, parts, tile = shares(q, n, k, blocks.width, threads)
    full = n // blocks.codes_in_block
    cuts = [full * p // parts for p in range(parts + 1)]
    segments_of = [blocks.segments(cuts[p], cuts[p + 1] if p < parts - 1 else None) for p in range(parts)]

    def task(first: int, part: int) -> ScanResult:
        queries_of_tile = queries[first : first + tile]
        return scan_tile(segments_of[part], n, queries_of_tile, k, min(radius, blocks.bits), blocks.bits)

    tiles = range(0, q, tile)
    results = in_threads([partial(task, first, part) for first in tiles for part in range(parts)], per_thread)
    return stacked([merged(results[t * parts : (t + 1) * parts], k) for t in range(len(tiles))])


def shares(q: int, n: int, k: int | None, width: int, threads: int) -> tuple[int, int, int]:
    """How the work of a scan is cut into tiles of queries and parts of the codes.

    Many queries are shared out among the threads; of few queries each goes over all codes, which are shared out
    instead.

    Args:
        q: number of queries.
        n: number of codes.
        k: hits of each query; None for an unknown number.
        width: bytes per code.
        threads: how many there are.

    Returns:
        How many threads work, into how many parts the codes are cut, and how many queries a tile has.

    Examples:
        >>> shares(256, 1_000_000, 10, 8, threads=2), shares(1, 1_000_000, 10, 8, threads=2)
        ((2, 1, 128), (1, 1, 1))
        >>> shares(256, 1_000_000, 10, 64, threads=2)  # codes of 512 bits are shared out
        (2, 2, 256)
    """
    at_work = max(1, min(threads, q * n * width // WORTH_A_THREAD))
    few = FEW_OF_WIDE if width >= WIDE and k is not None and k <= WIDE_HITS else FEW
    parts = at_work if q < few * at_work else 1
    side_by_side = at_work if parts == 1 else 1
    rounds = -(-q // (largest_tile(k) * side_by_side))
    # all tiles of the same size, so that no thread waits for another
    tile = -(-q // max(1, rounds * side_by_side)) or 1
    return at_work, parts, tile


def largest_tile(k: int | None) -> int:
    """How many queries a tile has at most, for k hits of each query.

    Examples:
        >>> largest_tile(10), largest_tile(1_000_000)
        (1024, 256)
    """
    return TILE if k is not None and k <= FEW_HITS else max(TILE // 4, 1)


def merged(parts: list[ScanResult], k: int | None) -> ScanResult:
    """One result from those of successive parts of the codes, or the `k` first of it.

    Examples:
        >>> import numpy as np
        >>> one = np.array([0, 1]), np.array([2]), np.array([5], np.int32)
        >>> other = np.array([0, 2]), np.array([7, 9]), np.array([3, 5], np.int32)
        >>> [part.tolist() for part in merged([one, other], k=2)]
        [[0, 2], [7, 2], [3, 5]]
    """
    if len(parts) == 1:
        return parts[0]
    q = len(parts[0][0]) - 1
    owners = np.concatenate([np.repeat(np.arange(q), np.diff(offsets)) for offsets, _, _ in parts])
    positions = np.concatenate([part[1] for part in parts])
    distances = np.concatenate([part[2] for part in parts])
    order = np.lexsort((positions, distances, owners))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=q))])
    if k is not None:  # each part gave its own k nearest
        rank = np.arange(len(order)) - np.repeat(offsets[:-1], np.diff(offsets))
        order = order[rank < k]
        offsets = np.concatenate([[0], np.cumsum(np.minimum(np.diff(offsets), k))])
    return offsets, positions[order], distances[order]


def stacked(tiles: list[ScanResult]) -> ScanResult:
    """One result from those of successive queries.

    Examples:
        >>> import numpy as np
        >>> one = np.array([0, 1]), np.array([7]), np.array([3], np.int32)
        >>> none = np.array([0, 0]), np.empty(0, np.int64), np.empty(0, np.int32)
        >>> [part.tolist() for part in stacked([one, none, one])]
        [[0, 1, 1, 2], [7, 7], [3, 3]]
    """
    if len(tiles) == 1:
        return tiles[0]
    empty = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32)
    counts = np.concatenate([empty[0], *(np.diff(tile[0]) for tile in tiles)])  # entries of each query
    return (
        np.concatenate([[0], np.cumsum(counts)]),
        np.concatenate([empty[0], *(tile[1] for tile in tiles)]),
        np.concatenate([empty[1], *(tile[2] for tile in tiles)]),
    )
