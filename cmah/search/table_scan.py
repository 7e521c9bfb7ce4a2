"""Searching the hash tables of a multi-index, and the flat scan for the queries that it does not pay for."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from cmah.errors import CodesError
from cmah.search.blocks import CodeBlocks
from cmah.search.hash_tables import HashTables
from cmah.search.numpy_scan import ScanResult
from cmah.search.scan import FEW, scan
from cmah.threads import in_threads, thread_count

BATCH = 256  # queries per task: their results stay in the cache
PATIENCE = 16  # queries of a task that show whether the others are worth searching by tables

# What things cost in nanoseconds, measured on an AMD EPYC with AVX-512. Only their proportions matter, and they
# decide only about time: the results are the same.
PROBE = 50.0  # to look up a bucket, which waits for memory
CODE = 1.2  # to compare a code of a bucket, for each of its words
READ = 0.03  # the flat scan: to read a byte of the codes from memory, once for all queries
COMPARE = 0.009  # the flat scan: to compare a byte with a query's
SHARE = 0.5  # of what the flat scan of a query costs, that its search by tables may cost, else it is given up

# offsets, positions, distances, and for each query whether the search by tables was finished
_TableResult = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def search_tables(
    tables: HashTables,
    blocks: CodeBlocks,
    packed: np.ndarray,
    k: int | None,
    radius: int,
    threads: int | None,
    rest: Callable[[np.ndarray], ScanResult] | None = None,
) -> ScanResult:
    """As `cmah.search.scan.scan`, by tables where that is quicker; needs Numba.

    Args:
        tables: those of the codes.
        blocks: the codes.
        packed: queries, uint8 [q, width].
        k: how many, 1 or more; None for all.
        radius: 0 or more.
        threads: how many to use; None for one per core.
        rest: answers the queries, uint8 [those, width], for which the tables do not pay; None for the flat scan.

    Returns:
        offsets int64 [q + 1], positions int64 [m], distances int32 [m], as `scan` gives them.

    Raises:
        CodesError: if `threads` is less than 1, or the tables name a position that is none.

    Examples:
        >>> import numpy as np
        >>> from cmah.search.blocks import CodeBlocks
        >>> from cmah.search.hash_tables import HashTables
        >>> blocks = CodeBlocks(bits=64)
        >>> blocks.append(np.repeat([[0], [1], [255]], 8, axis=1).astype(np.uint8))  # eight equal bytes each
        >>> tables = HashTables.build(blocks, (8,) * 8)
        >>> query = np.full((1, 8), 1, np.uint8)
        >>> _, positions, distances = search_tables(tables, blocks, query, k=2, radius=64, threads=1)
        >>> positions.tolist(), distances.tolist()
        ([1, 0], [0, 8])
    """
    threads, q = thread_count(threads), len(packed)
    budget = _budget(blocks, q, threads)
    task = partial(_search, tables, blocks, k, min(radius, blocks.bits), budget)

    size = min(BATCH, max(FEW, -(-q // threads)))
    results = in_threads(
        [partial(task, packed[first : first + size]) for first in range(0, q, size)], threads
    )
    positions, distances, finished = results[0][1:] if len(results) == 1 else _joined(results)
    if positions.max(initial=-1) >= len(blocks):
        raise CodesError("the tables of the index are damaged; make it again with cmah index")
    all_finished = finished.all()
    if all_finished and len(results) == 1:
        return results[0][:3]
    counts = np.concatenate([np.empty(0, dtype=np.int64), *(np.diff(result[0]) for result in results)])
    if not all_finished:
        # The queries that were given up have no entries yet: scan for them, and put theirs between the others'.
        left = packed[~finished]
        scanned = scan(blocks, left, k, radius, threads) if rest is None else rest(left)
        counts[~finished] = np.diff(scanned[0])
        by_tables = np.repeat(finished, counts)
        positions = _mixed(by_tables, positions, scanned[1])
        distances = _mixed(by_tables, distances, scanned[2])
    return np.concatenate([[0], np.cumsum(counts)]), positions, distances


def most_found(blocks: CodeBlocks, q: int, threads: int | None) -> int:
    """How many codes the tables can find for each of `q` queries, at most, before it is given up.

    Examples:
        >>> import numpy as np
        >>> blocks = CodeBlocks(bits=64)
        >>> blocks.append(np.zeros((100_000, 8), np.uint8))
        >>> most_found(blocks, 1, threads=1), most_found(blocks, 256, threads=1)
        (13000, 3039)
    """
    return min(len(blocks), int(_budget(blocks, q, thread_count(threads)) / (CODE * blocks.words)))


def _budget(blocks: CodeBlocks, q: int, threads: int) -> float:
    """What each of `q` queries may cost: a share of what the flat scan takes for it, when it scans for all together."""
    together = min(threads, max(q, 1))  # queries that are searched at a time
    flat = len(blocks) * blocks.width * (READ + q * COMPARE) / threads  # what scanning for all of them takes
    return SHARE * flat * together / max(q, 1)


def _search(
    tables: HashTables, blocks: CodeBlocks, k: int | None, radius: int, budget: float, packed: np.ndarray
) -> _TableResult:
    """Offsets, positions, distances and whether finished, as the kernel gives them, of some queries."""
    import cmah.compiling  # noqa: F401 (before the kernels)
    from cmah.kernels import multi_index

    packed = np.ascontiguousarray(packed).view()
    packed.flags.writeable = False  # as are the tables, and so are the words
    queries = blocks.as_words(packed)
    return multi_index.search(
        queries,
        packed,
        tables.parts,
        tables.codes,
        tables.order,
        tables.starts,
        tables.bases,
        tables.ways,
        tables.masks,
        k or 0,
        radius,
        budget,
        PROBE,
        CODE * blocks.words,
        PATIENCE,
    )


def _joined(results: Sequence[_TableResult]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, distances and whether finished, of all tasks."""
    positions = np.concatenate([np.empty(0, dtype=np.int64), *(result[1] for result in results)])
    distances = np.concatenate([np.empty(0, dtype=np.int32), *(result[2] for result in results)])
    finished = np.concatenate([np.empty(0, dtype=bool), *(result[3] for result in results)])
    return positions, distances, finished


def _mixed(choice: np.ndarray, yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    """The values of `yes` in turn where bool [n] is set, those of `no` elsewhere."""
    out = np.empty(len(choice), dtype=yes.dtype)
    out[choice], out[~choice] = yes, no
    return out
