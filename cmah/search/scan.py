"""The flat scan: every code is compared with every query, by as many threads as asked for."""

import os
import sys
from functools import cache, partial
from types import ModuleType

import numpy as np

from cmah.search import numpy_scan
from cmah.search.blocks import Planes
from cmah.threads import in_threads, thread_count

Found = tuple[np.ndarray, np.ndarray, np.ndarray]  # offsets [q + 1], positions [m], distances [m]

TILE = 256  # queries that go over a block while it is in the cache
FEW = 16  # queries a thread: with fewer, threads share out the codes, and each code is read from memory once
WORTH_A_THREAD = 4 << 20  # bytes to compare; less is done sooner than a thread is woken
WORTH_COMPILED = 64 << 20  # bytes to compare; less is done by NumPy sooner than Numba is imported
_work = 0  # bytes that this process was asked to compare


def scan(planes: Planes, packed: np.ndarray, k: int | None, radius: int, threads: int | None = None) -> Found:
    """The codes at most `radius` from each query, or the `k` nearest of those.

    Args:
        planes: the codes.
        packed: queries, uint8 [q, width].
        k: how many, 1 or more; None for all.
        radius: 0 or more.
        threads: how many to use; None for one a core.

    Returns:
        offsets int64 [q + 1], positions int64 [m], distances int32 [m]: query i has the entries offsets[i] to
        offsets[i + 1], ordered by (distance, position). The same whatever the threads.

    Raises:
        CodesError: if `threads` is no whole number or less than 1.
    """
    threads = thread_count(threads)
    kernels = compiled(len(packed) * len(planes) * planes.width)
    worker = numpy_scan.scan_tile if kernels is None else kernels.scan_tile
    queries = planes.as_words(packed)
    q, n = len(queries), len(planes)
    per_thread = max(1, min(threads, q * n * planes.width // WORTH_A_THREAD))
    parts = per_thread if q < FEW * per_thread else 1
    tile = min(TILE, -(-q // (per_thread if parts == 1 else 1)) or 1)
    tail = planes.last_block
    full = len(planes.blocks)
    cuts = [full * p // parts for p in range(parts + 1)]

    def task(first: int, part: int) -> Found:
        segments = [(planes.blocks[cuts[part] : cuts[part + 1]], cuts[part] * planes.codes_in_block)]
        if part == parts - 1:
            segments.append((tail, full * planes.codes_in_block))
        return worker(segments, n, queries[first : first + tile], k, min(radius, planes.bits), planes.bits)

    tiles = range(0, q, tile)
    found = in_threads([partial(task, f, p) for f in tiles for p in range(parts)], per_thread)
    return _stacked([_merged(found[t * parts : (t + 1) * parts], k) for t in range(len(tiles))])


def compiled(work: int) -> ModuleType | None:
    """The compiled kernels, or None where NumPy is to do the work: no Numba, CMAH_NO_NUMBA, or hardly any work.

    Args:
        work: bytes to compare. Importing Numba takes a third of a second, in which NumPy does a small search many
            times. When this process has compared WORTH_COMPILED in all, or Numba is there anyway, it does everything.
    """
    global _work  # noqa: PLW0603 (how much was done is a matter of the process)
    _work += work
    if os.environ.get("CMAH_NO_NUMBA") or ("numba" not in sys.modules and _work < WORTH_COMPILED):
        return None
    return _kernels()


@cache
def _kernels() -> ModuleType | None:
    try:
        from cmah.search import compiled_scan
    except (ImportError, OSError):
        return None
    return compiled_scan


def _merged(parts: list[Found], k: int | None) -> Found:
    """One result from those of successive parts of the codes."""
    if len(parts) == 1:
        return parts[0]
    q = len(parts[0][0]) - 1
    owners = np.concatenate([np.repeat(np.arange(q), np.diff(offsets)) for offsets, _, _ in parts])
    positions = np.concatenate([part[1] for part in parts])
    distances = np.concatenate([part[2] for part in parts])
    order = np.lexsort((positions, distances, owners))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=q))])
    if k is not None:
        rank = np.arange(len(order)) - np.repeat(offsets[:-1], np.diff(offsets))
        order = order[rank < k]
        offsets = np.concatenate([[0], np.cumsum(np.minimum(np.diff(offsets), k))])
    return offsets, positions[order], distances[order]


def _stacked(tiles: list[Found]) -> Found:
    """One result from those of successive queries."""
    if len(tiles) == 1:
        return tiles[0]
    empty = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32)
    found = np.concatenate([empty[0], *(np.diff(tile[0]) for tile in tiles)])  # entries of each query
    return (
        np.concatenate([[0], np.cumsum(found)]),
        np.concatenate([empty[0], *(tile[1] for tile in tiles)]),
        np.concatenate([empty[1], *(tile[2] for tile in tiles)]),
    )
