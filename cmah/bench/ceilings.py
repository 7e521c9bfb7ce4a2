"""The machine's ceilings for an exact search, measured beside the searches."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np

from cmah.bench.timing import TURN, timed
from cmah.search.backend import compiled
from cmah.search.blocks import CodeBlocks
from cmah.threads import in_threads


def ceilings(
    blocks: CodeBlocks, packed: np.ndarray, queries: int, threads: int
) -> dict[str, tuple[Callable[[int], object], float]]:
    """What to time for each ceiling, and which share of that time is the least time of a query.

    Args:
        blocks: the codes that are searched.
        packed: some queries, uint8 [q, width].
        queries: queries per call.
        threads: threads that work at a time.

    Returns:
        "popcount": each thread xors, counts and takes the minimum over a block in its core's first cache.
        "one thread": the same by one thread, which shows whether the others have cores of their own.
        "memory": numpy.bitwise_or.reduce reads the codes once, where they lie, by one thread or all, whichever is
        faster; a call must do so once for all its queries. Without Numba the result is empty.

    Examples:
        >>> from cmah.bench.workload import make_workload
        >>> made, blocks = make_workload("random", 64, 1000, 4), CodeBlocks(64)
        >>> blocks.append(made.codes.packed)
        >>> limits = ceilings(blocks, made.queries.packed, queries=4, threads=1)
        >>> limits["memory"][1]  # four queries share one reading
        0.25
    """
    if compiled(1 << 62) is None:
        return {}
    from cmah.kernels.ceilings import least_distances

    few = CodeBlocks(blocks.bits)
    few.append(blocks.rows(np.arange(min(len(blocks), blocks.codes_in_block))))
    block = (few.full_blocks if len(few.full_blocks) else few.last_block)[0]
    words = blocks.as_words(packed).copy()
    unrolled = (0,) * blocks.words
    results = [np.empty(len(words), words.dtype) for _ in range(threads)]

    def compare(count: int, repeat: int) -> None:
        tasks: list[Callable[[], object]] = [
            partial(least_distances, block, words, unrolled, repeat, least) for least in results[:count]
        ]
        in_threads(tasks, threads)

    compare(1, 1)  # compiles
    repeat = 1
    while timed(partial(compare, 1, repeat)) < TURN / 2:  # long beside the waking of threads
        repeat *= 2
    share = len(blocks) / (repeat * len(words) * block.shape[1])
    whole = blocks.full_blocks.reshape(-1).view(np.uint64)

    def read(parts: int) -> None:
        cuts = [len(whole) * part // parts for part in range(parts + 1)]
        tasks: list[Callable[[], object]] = [
            partial(np.bitwise_or.reduce, whole[begin:end]) for begin, end in pairwise(cuts)
        ]
        in_threads(tasks, threads)

    # To wake a thread takes longer than to read some megabytes.
    parts = min((1, threads), key=lambda parts: min(timed(partial(read, parts)) for _ in range(5)))
    return {
        "popcount": (lambda _: compare(threads, repeat), share / threads),
        "one thread": (lambda _: compare(1, repeat), share),
        "memory": (lambda _: read(parts), 1 / queries),
    }
