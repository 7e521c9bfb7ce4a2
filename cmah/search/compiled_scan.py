"""A batch of queries over a part of the codes, by the compiled kernels."""

import numpy as np

import cmah.compiling  # noqa: F401 (before the kernels)
from cmah.kernels import hamming
from cmah.search.numpy_scan import ScanResult

UNROLLED = (1, 2, 3, 4, 6, 8, 12, 16)  # numbers of words per code for which a loop of its own is compiled
ROOM = 4096  # entries that there is room for at first


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
        entries, used = hamming.scan(blocks, begin, n, queries, unrolled, most, limit, counts, entries, used)
    return hamming.in_order(entries, used, limit, most, bits)
