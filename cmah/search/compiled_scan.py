"""A batch of queries over a part of the codes, by the compiled kernels."""

import sys

import numpy as np

import cmah.compiling  # noqa: F401 (before the kernels)
from cmah.kernels import bitsliced, hamming
from cmah.kernels.bit_planes import lanes_of_processor
from cmah.search.numpy_scan import ScanResult

UNROLLED = (1, 2, 3, 4, 6, 8, 12, 16)  # numbers of words per code for which a loop of its own is compiled
ROOM = 4096  # entries that there is room for at first
# Bit planes pay from so many queries on, which share the tables, by the lanes of the processor: the more there are, the
# sooner are distances had. For 256 bits twice as many as for 128 and fewer are needed, and so on.
FEWEST = {2: 16, 4: 8, 8: 32}
MOST_BITS = 1024  # beyond, nothing was measured
WORTH_TABLES = 64 << 20  # bytes to compare; below, little is saved beside compiling a second kernel
SMALL, LARGE = 3, 4  # bits of a group: the large ones are looked up faster, and take longer to tabulate
FEW, MANY = 64, 500  # queries and neighbours for which groups are small


def scan_tile(
    segments: list[tuple[np.ndarray, int]], n: int, queries: np.ndarray, k: int | None, radius: int, bits: int
) -> ScanResult:
    """As `cmah.search.numpy_scan.scan_tile`, compiled.

    Examples:
        >>> import numpy as np
        >>> from cmah.search.blocks import CodeBlocks
        >>> blocks = CodeBlocks(bits=64)
        >>> blocks.append(np.repeat([[0], [1], [255]], 8, axis=1).astype(np.uint8))  # eight equal bytes each
        >>> query = blocks.as_words(np.full((1, 8), 1, np.uint8))
        >>> _, positions, distances = scan_tile([(blocks.last_block, 0)], 3, query, k=2, radius=64, bits=64)
        >>> positions.tolist(), distances.tolist()
        ([1, 0], [0, 8])
    """
    q, words = queries.shape
    most = hamming.EVERY if k is None else k
    limit = np.full(q, radius + 1, dtype=np.int64)
    counts = np.zeros((q, 0 if k is None else bits + 2), dtype=np.int64)
    entries, used = np.empty((ROOM, 3), dtype=np.int64), 0
    unrolled = (0,) * words if words in UNROLLED else ()
    queries = queries.view()  # read-only, as the blocks are: another mutability would be compiled anew
    queries.flags.writeable = False
    for blocks, begin in segments:
        if len(blocks) == 0:
            continue
        codes, done = blocks.shape[2], 0
        full = begin + len(blocks) * codes <= n
        shapes = _shapes(blocks, queries, k) if full else []
        if shapes:
            # limits from exact distances, without which nearly every code would be looked at
            done = 0 if k is None else min(len(blocks), 1 + 4 * k // codes)
            entries, used = hamming.scan(
                blocks[:done], begin, n, queries, unrolled, most, limit, counts, entries, used
            )
        for shape in shapes:
            _, _, levels, lanes = shape
            if (len(blocks) - done) * codes >= 64 * len(lanes) and limit.max() <= 1 << len(levels):
                entries, used, more = bitsliced.scan(
                    blocks[done:], begin + done * codes, queries, *shape, most, limit, counts, entries, used
                )
                done += more
        rest = blocks[done:] if done else blocks
        entries, used = hamming.scan(
            rest, begin + done * codes, n, queries, unrolled, most, limit, counts, entries, used
        )
    return hamming.in_order(entries, used, limit, most, bits)


def _shapes(blocks: np.ndarray, queries: np.ndarray, k: int | None) -> list[bitsliced.Shape]:
    """The forms of the scan over bit planes to be tried, one after the other; none where it does not pay."""
    bits = 8 * queries.dtype.itemsize * queries.shape[1]
    fewest = FEWEST[lanes_of_processor()] * max(1, bits // 128)
    if len(queries) < fewest or bits > MOST_BITS or blocks.nbytes * len(queries) < WORTH_TABLES:
        return []
    if k is not None and 16 * k > len(blocks) * blocks.shape[2]:  # codes enter and leave all the time
        return []
    if sys.byteorder == "big":  # the kernel takes the first bytes of a word for its lowest
        return []
    small = bitsliced.shape_of(bits, SMALL)
    if len(queries) < FEW or (k or 0) >= MANY:
        return [small]
    return [bitsliced.shape_of(bits, LARGE), small]


def first_shape(blocks: np.ndarray, queries: np.ndarray, k: int | None) -> bitsliced.Shape | None:
    """The form of the scan over bit planes that `scan_tile` begins with on full blocks; None where it counts bits.

    Examples:
        >>> import numpy as np
        >>> blocks = np.empty((20_000, 1, 512), np.uint64)  # 10 M codes of 64 bits
        >>> first_shape(blocks, np.empty((1, 1), np.uint64), k=10) is None
        True
        >>> groups, size, _, _ = first_shape(blocks, np.empty((256, 1), np.uint64), k=10)
        >>> len(groups) * len(size) >= 64  # all bits are in a group
        True
    """
    return next(iter(_shapes(blocks, queries, k)), None)
