"""The machine's ceilings for an exact search, measured beside the searches."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np

from cmah.bench.kernel_choice import BIT_PLANES, NUMPY, Kernel
from cmah.bench.timing import TURN, timed
from cmah.search.blocks import CodeBlocks
from cmah.threads import in_threads

Work = Callable[[int], object]  # does something so many times over


def ceilings(
    blocks: CodeBlocks, packed: np.ndarray, queries: int, threads: int, kernel: Kernel
) -> dict[str, tuple[Callable[[int], object], float]]:
    """What to time for each ceiling, and which share of that time is the least time of a query.

    Args:
        blocks: the codes that are searched.
        packed: some queries, uint8 [q, width].
        queries: queries per call.
        threads: threads that work at a time.
        kernel: what compares the codes.

    Returns:
        "popcount", if the kernel counts bits: each thread xors, counts and takes the minimum over a block in its
        core's first cache. "logic", if it adds bit planes: each thread does the full adders of a query on planes in
        registers. "one thread": the same by one thread, which shows whether the others have cores of their own.
        "memory": numpy.bitwise_or.reduce reads the codes once, where they lie, by one thread or all, whichever is
        faster; a call must do so once for all its queries. "cycle", with "logic": operations that wait for each
        other; its share of the time is a cycle. Without Numba the result is empty.

    Examples:
        >>> from cmah.bench.workload import make_workload
        >>> made, blocks = make_workload("random", 64, 1000, 4), CodeBlocks(64)
        >>> blocks.append(made.codes.packed)
        >>> limits = ceilings(blocks, made.queries.packed, 4, threads=1, kernel=Kernel("popcount"))
        >>> list(limits), limits["memory"][1]  # four queries share one reading
        (['popcount', 'one thread', 'memory'], 0.25)
    """
    if kernel.name == NUMPY:
        return {}
    planes = kernel.name == BIT_PLANES
    work, answered = _additions(kernel, len(blocks)) if planes else _comparisons(blocks, packed)
    repeat = _long_enough(work)
    share = 1 / (answered * repeat)
    limits: dict[str, tuple[Callable[[int], object], float]] = {
        kernel.ceiling: (lambda _: _side_by_side(work, repeat, threads), share / threads),
        "one thread": (lambda _: work(repeat), share),
    }
    if planes:
        steps = _long_enough(_waiting)
        limits["cycle"] = lambda _: _side_by_side(_waiting, steps, threads), 1 / (2 * steps)
    whole = np.empty(0, np.uint64)
    if blocks.full_parts:  # one, of an index that was made in memory
        whole = blocks.full_parts[0][0].reshape(-1).view(np.uint64)

    def read(parts: int) -> None:
        cuts = [len(whole) * part // parts for part in range(parts + 1)]
        tasks: list[Callable[[], object]] = [
            partial(np.bitwise_or.reduce, whole[begin:end]) for begin, end in pairwise(cuts)
        ]
        in_threads(tasks, threads)

    # To wake a thread takes longer than to read some megabytes.
    parts = min((1, threads), key=lambda parts: min(timed(partial(read, parts)) for _ in range(5)))
    return limits | {"memory": (lambda _: read(parts), 1 / queries)}


def logic_rates(kernel: Kernel, n: int, threads: int, seconds: float, cycle: float) -> dict[str, float]:
    """How fast a thread adds planes, while all of them do.

    Args:
        kernel: of bit planes.
        n: number of codes.
        threads: threads that work at a time.
        seconds: the least time of a query by "logic".
        cycle: seconds of a processor's cycle.

    Returns:
        "adders_per_second", full adders of a vector of bits; "operations_per_second" and "operations_per_cycle",
        logic operations on such vectors.

    Examples:
        >>> kernel = Kernel("bit planes", group=4, vector=256, adders=30)
        >>> logic_rates(kernel, n=2560, threads=2, seconds=1.5e-7, cycle=2.5e-10)
        {'adders_per_second': 1000000000.0, 'operations_per_second': 5000000000.0, 'operations_per_cycle': 1.25}
    """
    adders = kernel.adders * n / kernel.vector / threads / seconds
    operations = adders * kernel.operations
    return {
        "adders_per_second": adders,
        "operations_per_second": operations,
        "operations_per_cycle": operations * cycle,
    }


def _comparisons(blocks: CodeBlocks, packed: np.ndarray) -> tuple[Work, float]:
    """Compare queries with a block; how many queries over all codes that amounts to."""
    from cmah.kernels.ceilings import least_distances

    few = CodeBlocks(blocks.bits)
    few.append(blocks.rows(np.arange(min(len(blocks), blocks.codes_in_block))))
    block = few.segments()[0][0]
    words = blocks.as_words(packed).copy()
    unrolled = (0,) * blocks.words

    def work(repeat: int) -> None:
        least_distances(block, words, unrolled, repeat, np.empty(len(words), np.int64))

    return work, len(words) * block.shape[2] / len(blocks)


def _additions(kernel: Kernel, n: int) -> tuple[Work, float]:
    """Add planes in registers; how many queries over all codes that amounts to."""
    from cmah.kernels.ceilings import CHAINS, STEPS, add_up

    words = kernel.vector // 64
    bits = np.random.default_rng(0).integers(0, 256, (2 * CHAINS + 2, 8 * words), dtype=np.uint8)

    def work(repeat: int) -> None:
        add_up(bits.view(np.uint64).copy(), repeat, (0,) * words)

    return work, CHAINS * STEPS * kernel.vector / (kernel.adders * n)


def _waiting(repeat: int) -> None:
    """Twice as many operations, each of which waits for the one before."""
    from cmah.kernels.ceilings import chained

    chained(np.uint64(5), np.uint64(3), repeat)


def _long_enough(work: Work) -> int:
    """How many times take long beside the waking of threads."""
    work(1)  # compiles
    repeat = 1
    while timed(partial(work, repeat)) < TURN / 2:
        repeat *= 2
    return repeat


def _side_by_side(work: Work, repeat: int, threads: int) -> None:
    in_threads([partial(work, repeat)] * threads, threads)
