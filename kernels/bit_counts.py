"""How many items lie at each distance from a query, counted over bit planes: many codes at once.

The distances of all codes of a chunk are added up as planes, one for each power of two. The codes at a distance are
then those at which these planes have its bits: parts without codes are passed over, and what is left is counted.
The loops release the interpreter's lock and start no threads of their own.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from cmah.kernels.bit_planes import (
    _Adders,
    _Planes,
    _transpose,
    aligned,
    fill_table,
    lanes_of_processor,
    rows_of_queries,
)
from cmah.kernels.histograms import _leave_out

Length = tuple[int, ...]  # only its length matters
SIZE = 3  # bits of a group: with so few, the tables hold exact numbers
LEAST = 3  # powers of two below which no part is passed over: asking costs more than counting


def shape_of(bits: int) -> tuple[Length, Length, Length]:
    """The tuples that tell `count_codes` by their lengths for what to be compiled: `groups`, `cells` and `lanes`.

    Examples:
        >>> [len(part) for part in shape_of(64)[:2]]  # groups of 3 bits, and distances 0 to 64
        [22, 65]
    """
    padded = -(-bits // 8) * 8  # bits that a byte has beyond are 0 in all codes
    return (0,) * -(-padded // SIZE), (0,) * (bits + 1), (0,) * lanes_of_processor()


@intrinsic
def _count(typing_context, table, row, inside, counts, groups, cells, lanes):  # type: ignore[no-untyped-def]
    """Add the number of codes of a chunk at each distance to `counts`.

    All four are addresses: of the chunk's table; of the query's row, of `rows_of_queries`; of a plane with the codes
    that are to be counted; of as many planes as there are distances, whose words are numbers.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        planes = _Planes(context, builder, signature.args[6])
        n_groups, n_cells = (len(argument) for argument in signature.args[4:6])
        table, row, inside, counts = arguments[:4]
        adders = _Adders(planes, (n_cells - 1).bit_length())
        adders.add_row(table, row, n_groups, SIZE)
        adders.finish()
        ones = [two[0] if two else None for two in adders.waiting]

        def count(part: Any, level: int, distance: int) -> None:
            """The codes of `part`, whose distances agree with `distance` in the bits from `level` on."""
            if distance >= n_cells:
                return
            if level == 0:
                total = builder.add(planes.load(counts, planes.size * distance), planes.ones_in(part))
                planes.store(total, counts, planes.size * distance)
                return
            plane = ones[level - 1]
            for bit in range(2):
                chosen = builder.and_(part, plane if bit else builder.not_(plane))
                where = level - 1, distance + (bit << (level - 1))
                if level > LEAST:
                    with builder.if_then(planes.any(chosen)):
                        count(chosen, *where)
                else:
                    count(chosen, *where)

        count(planes.load(inside), len(ones), 0)
        return context.get_dummy_value()

    return types.none(*[types.int64] * 4, groups, cells, lanes), generate


@njit(cache=True, nogil=True)
def _bit_planes(
    words: np.ndarray, first: int, end: int, lanes: Any, planes: np.ndarray, room: np.ndarray
) -> None:
    """Bit planes of the codes `first` to `end`, filled up with zeros, of word planes uint64 [words, n].

    Code r x lanes + e is bit r of word e of each plane.
    """
    in_chunk = 64 * len(lanes)
    for w in range(words.shape[0]):
        source = words.ctypes.data + 8 * (w * words.shape[1] + first)
        if end - first < in_chunk:
            room[:] = 0
            for code in range(first, end):
                room[code - first] = words[w, code]
            source = room.ctypes.data
        _transpose(source, planes.ctypes.data + 8 * w * in_chunk, words, lanes)


@njit(cache=True, nogil=True)
def _within(begin: int, end: int, lanes: Any, inside: np.ndarray) -> None:
    """The plane of the codes `begin` to `end` of a chunk."""
    inside[:] = 0
    for code in range(begin, end):
        inside[code % len(lanes)] |= np.uint64(1) << np.uint64(code // len(lanes))


@njit(cache=True, nogil=True)
def count_codes(
    query: np.ndarray,
    words: np.ndarray,
    begin: np.ndarray,
    end: np.ndarray,
    skip: np.ndarray,
    groups: Any,
    cells: Any,
    lanes: Any,
) -> np.ndarray:
    """As `histograms.count_codes`; it pays where most queries count most of the codes that any of them counts.

    Args:
        query: uint64 [q, words].
        words: uint64 [words, n], word planes.
        begin: int64 [q], the first code to count.
        end: int64 [q], one beyond the last.
        skip: int64 [q], a code that is not counted, or -1.
        groups: tuple with as many items as there are groups of bits; see `shape_of`, also for the next two.
        cells: tuple with as many items as there are distances.
        lanes: tuple with as many items as a vector has words of 64 bits.

    Returns:
        int64 [q, bits + 1].

    Examples:
        >>> query, words = np.array([[0b11]], np.uint64), np.array([[0b11, 0b01, 0b10, 0b100]], np.uint64)
        >>> count_codes(query, words, np.array([0]), np.array([4]), np.array([-1]), *shape_of(3)).tolist()
        [[1, 2, 0, 1]]
    """
    q, n_words = query.shape
    n_lanes, in_chunk = len(lanes), 64 * len(lanes)
    planes = aligned(max(64 * n_words, len(groups) * SIZE) * n_lanes)
    planes[:] = 0
    table = aligned((len(groups) * 2 * n_lanes) << SIZE)
    counts = aligned(q * len(cells) * n_lanes)
    counts[:] = 0
    inside, everything, room = aligned(n_lanes), aligned(n_lanes), aligned(in_chunk)
    everything[:] = np.uint64(0xFFFFFFFFFFFFFFFF)
    rows = rows_of_queries(query, len(groups), SIZE, n_lanes)
    last = end.max() if q else 0
    for first in range(begin.min() if q else 0, last, in_chunk):
        stop = min(first + in_chunk, last)
        _bit_planes(words, first, stop, lanes, planes, room)
        fill_table(planes.ctypes.data, table.ctypes.data, len(groups), (0, 0, 0), lanes)
        for i in range(q):
            left, right = max(begin[i], first), min(end[i], stop)
            if left >= right:
                continue
            which = everything.ctypes.data
            if right - left < in_chunk:
                _within(left - first, right - first, lanes, inside)
                which = inside.ctypes.data
            _count(
                table.ctypes.data,
                rows.ctypes.data + 2 * i * len(groups),
                which,
                counts.ctypes.data + 8 * n_lanes * i * len(cells),
                groups,
                cells,
                lanes,
            )
    totals = np.zeros((q, len(cells)), dtype=np.int64)
    for i in range(q):
        for cell in range(len(cells)):
            for lane in range(n_lanes):
                totals[i, cell] += np.int64(counts[(i * len(cells) + cell) * n_lanes + lane])
    _leave_out(query, words, begin, end, skip, totals)
    return totals
