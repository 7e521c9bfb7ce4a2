"""Hamming search over bit planes: many codes are ruled out at once, few distances are computed.

A bit plane holds one bit of many codes side by side, so that one instruction of and, or, xor works on that bit of all
of them. Codes come in word planes (see `hamming`); those of a chunk are rearranged, and then, for all queries:

1. For each group of a few bits and each value that a query may have there, two planes are made that hold how many
   of these bits differ, 3 at most: a table that all queries share.
2. For a query, the rows of the table that its bits choose are added up by carry-save adders over planes. They stop
   counting at a power of two, begin at that power less the query's limit, and so the carries out of the top are the
   codes that are not nearer than the limit: one test for all codes of a chunk.
3. The others get their exact distance. Groups of up to three bits are counted exactly; of larger ones, 3 stands for
   more as well, so that a code may be looked at for nothing but is never missed.

The loops release the interpreter's lock and start no threads of their own. They expect a little-endian machine.
"""

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
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
from cmah.kernels.hamming import _differing, _enter, _room

Length = tuple[int, ...]  # only its length matters
Shape = tuple[Length, Length, Length, Length]
PATIENCE = 4  # codes looked at for nothing, per query and chunk, beyond which larger groups do not pay


def shape_of(bits: int, size: int) -> Shape:
    """The tuples that tell `scan` by their lengths for what to be compiled: `groups`, `size`, `levels` and `lanes`.

    Args:
        bits: of all words of a code.
        size: bits of a group, 2 or more; with 3 or less, only codes within the limit are looked at.

    Examples:
        >>> [len(part) for part in shape_of(64, 4)[:3]]  # 16 groups of 4 bits, limits up to 2^5
        [16, 4, 5]
    """
    levels = (bits // 2 - 1).bit_length()  # nearly all limits are less than half of the bits
    return (0,) * -(-bits // size), (0,) * size, (0,) * levels, (0,) * lanes_of_processor()


@intrinsic
def _any_nearer(typing_context, table, row, start, far, groups, size, levels, lanes):  # type: ignore[no-untyped-def]
    """Which codes of a chunk are not nearer to a query than its limit; whether any are nearer.

    All four are addresses: of the chunk's table; of where in each group's part of it the query's value lies, in bytes,
    uint16; of the bits of 2^levels - limit, each a word of all ones or zeros; of the plane to write. The tuples
    `groups`, `size`, `levels` and `lanes` tell by their lengths how many groups there are, of how many bits each, how
    many levels the adders have, and how many words a plane.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        planes = _Planes(context, builder, signature.args[7])
        groups, size, levels = (len(argument) for argument in signature.args[4:7])
        table, row, start, far = arguments[:4]
        adders = _Adders(planes, levels)
        adders.add_row(table, row, groups, size)
        for level in range(levels):
            adders.add(level, planes.everywhere(planes.number(start, 8 * level, bits=64)))
        adders.finish()
        result = reduce(builder.or_, adders.beyond)
        planes.store(result, far)
        return planes.any(builder.not_(result))

    addresses = [types.int64] * 4
    return types.boolean(*addresses, groups, size, levels, lanes), generate


@intrinsic
def _trailing_zeros(typing_context, word):  # type: ignore[no-untyped-def]
    """The number of the lowest set bit of a word that is not 0."""

    def generate(context, builder, signature, words):  # type: ignore[no-untyped-def]
        return builder.cttz(words[0], cgutils.true_bit)

    return word(word), generate


@njit(cache=True, nogil=True)
def _bit_planes(blocks: np.ndarray, b: int, part: int, lanes: Any, raw: np.ndarray) -> None:
    """The bit planes of a chunk, part `part` of block b, or block b and those after it if these are smaller.

    They are written to `raw` [bits, words of a plane], an array of the words that the blocks consist of. Code
    r x (words of a plane) + e, or so counted in each block if these are smaller, is bit r of word e of each plane.
    """
    words, codes = blocks.shape[1:]
    word_bits = 8 * blocks.itemsize
    elements = codes // word_bits  # of a plane, that come from one block
    size = 64 * len(lanes) * blocks.itemsize  # bytes of a word of all codes of a chunk
    for w in range(words):
        target = raw.ctypes.data + w * size
        source = blocks.ctypes.data + ((b * words + w) * codes * blocks.itemsize + part * size)
        if elements < raw.shape[1]:
            source = target
            for row in range(word_bits):
                for e in range(raw.shape[1]):
                    block, place = b + e // elements, row * elements + e % elements
                    raw[w * word_bits + row, e] = blocks[block, w, place]
        _transpose(source, target, raw, lanes)


@njit(cache=True, nogil=True)
def _filter(
    table_at: int,
    rows_at: int,
    start_at: int,
    far_at: int,
    active: np.ndarray,
    still: int,
    near: np.ndarray,
    groups: Any,
    size: Any,
    levels: Any,
    lanes: Any,
) -> int:
    """Which of the first `still` queries of `active` have codes of the chunk within their limits.

    They are listed in `near`, and what `_any_nearer` writes of them lies one after the other; returns how many.
    """
    some = 0
    for a in range(still):
        i = active[a]
        near[some] = i
        some += _any_nearer(
            table_at,
            rows_at + i * (2 * len(groups)),
            start_at + i * (8 * len(levels)),
            far_at + some * (8 * len(lanes)),
            groups,
            size,
            levels,
            lanes,
        )
    return some


@njit(cache=True, nogil=True)
def _begin_at(start: np.ndarray, i: int, limit: int) -> None:
    """The bits of 2^levels - limit, each as a word of all ones or zeros, for a limit of 1 or more."""
    levels = start.shape[1]
    value = max(0, (1 << levels) - limit)
    for level in range(levels):
        start[i, level] = np.uint64(0) - np.uint64((value >> level) & 1)


@njit(cache=True, nogil=True)
def _in_order_of_codes(far: np.ndarray, a: int, word_bits: int, codes: int, ordered: np.ndarray) -> None:
    """Turn round plane `a` of `far` and bring it into the order of codes, into uint64 `ordered` [lanes]."""
    codes = min(codes, 64 * len(ordered))
    elements = codes // word_bits
    ordered[:] = 0
    for lane in range(len(ordered)):
        near = ~far[a, lane]
        while near != 0:
            place = 64 * lane + np.int64(_trailing_zeros(near))
            near &= near - np.uint64(1)
            block, inside = place // codes, place % codes
            code = block * codes + inside % word_bits * elements + inside // word_bits
            ordered[code // 64] |= np.uint64(1) << np.uint64(code % 64)


@njit(cache=True, nogil=True)
def scan(  # noqa: PLR0912, PLR0915 (a call costs what the inner branch costs)
    blocks: np.ndarray,
    begin: int,
    query: np.ndarray,
    groups: Any,
    size: Any,
    levels: Any,
    lanes: Any,
    k: int,
    limit: np.ndarray,
    counts: np.ndarray,
    entries: np.ndarray,
    used: int,
) -> tuple[np.ndarray, int, int]:
    """As `hamming.scan`, of full blocks and for limits that the adders can count to.

    Args:
        blocks: unsigned [blocks, words, codes], all full; codes is a power of two, 64 or more.
        begin: position of the first code of `blocks`.
        query: unsigned [q, words], of the same width.
        groups: tuple with as many items as there are groups; see `shape_of`, also for the next three.
        size: tuple with as many items as a group has bits.
        levels: tuple with as many items as the adders have levels.
        lanes: tuple with as many items as a vector has words of 64 bits.
        k: as in `hamming.scan`, as are the others.
        limit: int64 [q], changed; none may be greater than 2^levels.
        counts: int64 [q, bits + 2], changed; [q, 0] where k is EVERY.
        entries: int64 [room, 3]; room for two vectors or more.
        used: how many entries there are.

    Returns:
        `entries`, maybe larger; how many are used; how many blocks were scanned. The last ones are left out where they
        do not fill a vector, and all from where too many codes are looked at for nothing.

    Examples:
        >>> from cmah.kernels.hamming import EVERY
        >>> blocks = np.arange(8 * 64, dtype=np.uint16).reshape(8, 1, 64)  # 512 codes of 16 bits
        >>> query, limit = np.array([[5]], np.uint16), np.array([2])
        >>> blocks.flags.writeable = query.flags.writeable = False
        >>> counts, entries = np.zeros((1, 0), np.int64), np.empty((1024, 3), np.int64)
        >>> entries, used, done = scan(blocks, 0, query, *shape_of(16, 4), EVERY, limit, counts, entries, 0)
        >>> entries[:used, 0].tolist(), done  # 5 and what differs from it in one bit
        ([1, 4, 5, 7, 13, 21, 37, 69, 133, 261], 8)
    """
    words, codes = blocks.shape[1:]
    n_lanes, n_groups = len(lanes), len(groups)
    in_chunk = 64 * n_lanes
    word_bits = 8 * blocks.itemsize
    q, bits = len(query), words * word_bits
    together = max(1, in_chunk // codes)  # blocks of a chunk
    parts = max(1, codes // in_chunk)  # chunks of a block
    planes = aligned(
        n_groups * len(size) * n_lanes
    )  # zeros after the last bit, so that all groups have as many
    planes[:] = 0
    raw = planes[: bits * n_lanes].view(query.dtype).reshape(bits, in_chunk // word_bits)
    table = aligned((n_groups * 2 * n_lanes) << len(size))
    far = aligned(q * n_lanes).reshape(q, n_lanes)
    rows = rows_of_queries(query, n_groups, len(size), n_lanes)
    start = np.empty((q, len(levels)), dtype=np.uint64)
    for i in range(q):
        _begin_at(start, i, limit[i])
    ordered, near = np.empty(n_lanes, dtype=np.uint64), np.empty(q, dtype=np.int64)
    active, still = np.arange(q), q
    done, compared, misses = 0, 0, 0
    for b in range(0, len(blocks) - together + 1, together):
        kept = 0
        for a in range(still):
            if limit[active[a]] > 0:
                active[kept] = active[a]
                kept += 1
        still = kept
        if still == 0:
            return entries, used, len(blocks)
        if misses > PATIENCE * (compared + 16 * q):  # a few at the beginning tell nothing yet
            break
        for part in range(parts):
            _bit_planes(blocks, b, part, lanes, raw)
            # asked for in the loop: Numba frees an array after the last line that names it, whoever has its address
            planes_at, table_at, far_at = planes.ctypes.data, table.ctypes.data, far.ctypes.data
            rows_at, start_at = rows.ctypes.data, start.ctypes.data
            fill_table(planes_at, table_at, n_groups, size, lanes)
            compared += still
            some = _filter(
                table_at, rows_at, start_at, far_at, active, still, near, groups, size, levels, lanes
            )
            for a in range(some):
                i = near[a]
                if used + in_chunk > len(entries):
                    entries, used = _room(entries, used, limit)
                _in_order_of_codes(far, a, word_bits, codes, ordered)
                before = limit[i]
                for word in range(n_lanes):
                    left = ordered[word]
                    while left != 0:
                        code = part * in_chunk + 64 * word + np.int64(_trailing_zeros(left))
                        left &= left - np.uint64(1)
                        block, inside = b + code // codes, code % codes
                        distance = np.int64(0)
                        for w in range(words):
                            distance += np.int64(_differing(query[i, w], blocks[block, w, inside]))
                        if distance >= limit[i]:
                            misses += 1
                            continue
                        _enter(entries, used, begin + b * codes + code, distance, i, k, limit, counts)
                        used += 1
                if limit[i] < before:
                    _begin_at(start, i, limit[i])
        done = b + together
    return entries, used, done


class _Counted:
    """Stands in for `_Planes` and its builder: works on whole numbers, a bit for each code, and counts functions."""

    def __init__(self) -> None:
        self.builder, self.asked = self, 0
        self.and_, self.xor = operator.and_, operator.xor

    def of_three(self, function: Callable[[int, int, int], int], *planes: int) -> int:
        self.asked += 1
        return function(*planes)


def adders_of(shape: Shape) -> int:
    """How many full adders of planes a query takes for a chunk of codes, as `_any_nearer` writes them down.

    Args:
        shape: as `shape_of` gives it.

    Examples:
        >>> adders_of(shape_of(64, 4))
        30
    """
    groups, _, levels, _ = shape
    counted = _Counted()
    adders = _Adders(counted, len(levels))
    for _ in groups:
        adders.add(0, 0)
        adders.add(1, 0)
    for level in range(len(levels)):
        adders.add(level, 0)
    adders.finish()
    return counted.asked // 2  # a sum and a carry
