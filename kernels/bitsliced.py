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

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

WORD = cgutils.ir.IntType(64)
EVERY = np.iinfo(np.int64).max  # k of a scan that keeps all within its limits
PATIENCE = 4  # codes looked at for nothing, per query and chunk, beyond which larger groups do not pay


def lanes_of_processor() -> int:
    """How many words of 64 bits a vector of this processor has.

    Examples:
        >>> lanes_of_processor() in (2, 4, 8)
        True
    """
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    return 8 if "+avx512f" in features else 4 if "+avx2" in features else 2


def shape_of(bits: int, size: int) -> tuple[tuple[int, ...], ...]:
    """The tuples that tell `scan` by their lengths for what to be compiled: `groups`, `size`, `levels` and `lanes`.

    Args:
        bits: of all words of a code.
        size: bits of a group, 2 or more; with 3 or less, only codes within the limit are looked at.

    Examples:
        >>> [len(part) for part in shape_of(64, 4)[:3]]  # 16 groups of 4 bits, limits up to 2^5
        [16, 4, 5]
    """
    levels = (bits // 2 - 1).bit_length()  # nearly all limits are less than half of the bits
    return tuple((0,) * count for count in (-(-bits // size), size, levels, lanes_of_processor()))


class _Planes:
    """Writes down operations on planes: one vector in each, of as many words as `lanes` has items."""

    def __init__(self, context: Any, builder: Any, lanes: Any) -> None:
        self.context, self.builder, self.ir = context, builder, cgutils.ir
        self.type = cgutils.ir.VectorType(WORD, len(lanes))
        self.size = 8 * len(lanes)
        features = context.codegen().magic_tuple()[2].split(",")
        self.ternary = "+avx512f" in features and len(lanes) == 8

    def _at(self, address: Any, kind: Any) -> Any:
        return self.builder.inttoptr(address, kind.as_pointer())

    def load(self, address: Any, offset: int = 0, *, anywhere: bool = False) -> Any:
        """The plane at an address, which is a multiple of its size unless it may be anywhere."""
        plane = self.builder.load(self._at(self.builder.add(address, WORD(offset)), self.type))
        plane.align = 1 if anywhere else self.size
        return plane

    def store(self, plane: Any, address: Any, offset: int = 0) -> None:
        """Write a plane to an address, which is a multiple of its size."""
        done = self.builder.store(plane, self._at(self.builder.add(address, WORD(offset)), self.type))
        done.align = self.size

    def number(self, address: Any, offset: int, bits: int) -> Any:
        """The number of so many bits at an address, as a word."""
        kind = self.ir.IntType(bits)
        number = self.builder.load(self._at(self.builder.add(address, WORD(offset)), kind))
        return self.builder.zext(number, WORD) if bits < 64 else number

    def everywhere(self, word: Any) -> Any:
        """A plane of equal words."""
        number, undefined = self.ir.IntType(32), self.ir.Constant(self.type, self.ir.Undefined)
        first = self.builder.insert_element(undefined, word, number(0))
        zeros = self.ir.Constant(self.ir.VectorType(number, self.type.count), None)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def of_three(self, function: Callable[[Any, Any, Any], Any], *planes: Any) -> Any:
        """A function of each bit of three planes: one instruction where the processor has ternary logic."""
        if not self.ternary:
            return function(*(_Bits(self.builder, plane) for plane in planes)).plane
        number = self.ir.IntType(32)
        kind = self.ir.FunctionType(self.type, [self.type] * 3 + [number])
        logic = self.builder.module.declare_intrinsic("llvm.x86.avx512.pternlog.q.512", (), kind)
        # the instruction wants the values of the function for 000, 001, … 111 as the bits of a byte
        return self.builder.call(logic, [*planes, number(function(0xF0, 0xCC, 0xAA) & 0xFF)])


class _Bits:
    """A plane with Python's operators on bits."""

    def __init__(self, builder: Any, plane: Any) -> None:
        self.builder, self.plane = builder, plane

    def __and__(self, other: "_Bits") -> "_Bits":
        return _Bits(self.builder, self.builder.and_(self.plane, other.plane))

    def __or__(self, other: "_Bits") -> "_Bits":
        return _Bits(self.builder, self.builder.or_(self.plane, other.plane))

    def __xor__(self, other: "_Bits") -> "_Bits":
        return _Bits(self.builder, self.builder.xor(self.plane, other.plane))

    def __invert__(self) -> "_Bits":
        return _Bits(self.builder, self.builder.not_(self.plane))


@intrinsic
def _transpose(typing_context, source, target, words, lanes):  # type: ignore[no-untyped-def]
    """Turn a chunk's words number w into its bit planes: from one address to another.

    There are as many planes as a word of the array `words` has bits. In each element of that many bits of the planes
    lies a square matrix, of codes by bits. Its halves are swapped, then the halves of these, and so on (Warren,
    "Hacker's Delight", section 7-3), for all elements at once. Afterwards bit r of element e of a plane belongs to
    code r x (number of elements) + e.
    """
    bits = words.dtype.bitwidth

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        planes = _Planes(context, builder, signature.args[3])
        rows = [planes.load(arguments[0], planes.size * row, anywhere=True) for row in range(bits)]
        half = bits // 2
        while half > 0:
            ones = (1 << 64) // ((1 << half) + 1)  # half ones, half zeros, half ones, …
            mask, shift = (planes.ir.Constant(planes.type, [n] * planes.type.count) for n in (ones, half))
            for row in range(bits):
                if row & half:
                    continue
                upper, lower = rows[row], rows[row + half]
                change = builder.and_(builder.xor(builder.lshr(upper, shift), lower), mask)
                rows[row] = builder.xor(upper, builder.shl(change, shift))
                rows[row + half] = builder.xor(lower, change)
            half //= 2
        for row in range(bits):
            planes.store(rows[row], arguments[1], planes.size * row)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, words, lanes), generate


@intrinsic
def _tabulate(typing_context, source, stride, table, size, lanes):  # type: ignore[no-untyped-def]
    """How many bits of a group differ, for each value of a query, 3 at most.

    The group's planes, as many as the tuple `size` has items, lie `stride` bytes apart from address `source` on. To
    `table` go, for each value, the planes of the low and of the high bit of that number.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        planes = _Planes(context, builder, signature.args[4])
        address, stride, table = arguments[:3]
        zero = planes.ir.Constant(planes.type, None)
        counts = [(zero, zero)]
        for _ in range(len(signature.args[3])):
            plane = planes.load(address)
            address = builder.add(address, stride)
            counts = [
                (
                    planes.of_three(lambda low, high, bit: (low ^ bit) | (low & high), *count, differs),
                    planes.of_three(lambda low, high, bit: high | (low & bit), *count, differs),
                )
                for differs in (plane, builder.not_(plane))  # from a query's 0, from its 1
                for count in counts
            ]
        for value, count in enumerate(counts):
            for place, plane in enumerate(count):
                planes.store(plane, table, planes.size * (2 * value + place))
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64, size, lanes), generate


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
        waiting = [
            [] for _ in range(levels)
        ]  # planes to be added up, by the power of two that they stand for
        beyond = [planes.ir.Constant(planes.type, None)]  # carries out of the top

        def add(level, plane):  # type: ignore[no-untyped-def]
            if level == levels:
                beyond.append(plane)
                return
            three = [*waiting[level], plane]
            waiting[level] = three
            if len(three) == 3:
                waiting[level] = [planes.of_three(lambda a, b, c: a ^ b ^ c, *three)]
                add(level + 1, planes.of_three(lambda a, b, c: (a & b) | ((a ^ b) & c), *three))

        for group in range(groups):
            address = builder.add(table, planes.number(row, 2 * group, bits=16))
            begin = 2 * planes.size * group << size
            add(0, planes.load(address, begin))
            add(1, planes.load(address, begin + planes.size))
        for level in range(levels):
            add(level, planes.everywhere(planes.number(start, 8 * level, bits=64)))
            if len(waiting[level]) == 2:
                add(level + 1, builder.and_(*waiting[level]))
        result = reduce(builder.or_, beyond)
        planes.store(result, far)
        bits = builder.bitcast(builder.not_(result), planes.ir.IntType(8 * planes.size))
        return builder.icmp_unsigned("!=", bits, bits.type(0))

    addresses = [types.int64] * 4
    return types.boolean(*addresses, groups, size, levels, lanes), generate


@intrinsic
def _differing(typing_context, a, b):  # type: ignore[no-untyped-def]
    """The number of bits in which two words differ, as a word of the same width."""
    return a(a, a), lambda context, builder, signature, words: builder.ctpop(builder.xor(*words))


@intrinsic
def _trailing_zeros(typing_context, word):  # type: ignore[no-untyped-def]
    """The number of the lowest set bit of a word that is not 0."""

    def generate(context, builder, signature, words):  # type: ignore[no-untyped-def]
        return builder.cttz(words[0], cgutils.true_bit)

    return word(word), generate


@njit(cache=True, nogil=True)
def _room(entries: np.ndarray, used: int, limit: np.ndarray) -> tuple[np.ndarray, int]:
    """Entries with room for more: those that have fallen out of their query's result go, then the array grows."""
    kept = 0
    for e in range(used):
        if entries[e, 1] <= limit[entries[e, 2]]:
            entries[kept] = entries[e]
            kept += 1
    if kept > len(entries) // 2:
        larger = np.empty((2 * len(entries), 3), dtype=np.int64)
        larger[:kept] = entries[:kept]
        entries = larger
    return entries, kept


@njit(cache=True, nogil=True)
def _aligned(n: int) -> np.ndarray:
    """Room for n words of 64 bits, at an address that every vector may have."""
    room = np.empty(n + 8, dtype=np.uint64)
    first = -room.ctypes.data % 64 // 8
    return room[first : first + n]


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
def _rows_of_queries(query: np.ndarray, groups: int, size: int, lanes: int) -> np.ndarray:
    """Where each query's value lies in each group's part of the table, in bytes: uint16 [q, groups]."""
    word_bits = 8 * query.itemsize
    rows = np.zeros((len(query), groups), dtype=np.uint16)
    for i in range(len(query)):
        for bit in range(query.shape[1] * word_bits):
            one = (np.int64(query[i, bit // word_bits]) >> (bit % word_bits)) & 1
            rows[i, bit % groups] += np.uint16(one << (bit // groups)) * np.uint16(16 * lanes)
    return rows


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
    planes = _aligned(
        n_groups * len(size) * n_lanes
    )  # zeros after the last bit, so that all groups have as many
    planes[:] = 0
    raw = planes[: bits * n_lanes].view(query.dtype).reshape(bits, in_chunk // word_bits)
    table = _aligned((n_groups * 2 * n_lanes) << len(size))
    far = _aligned(q * n_lanes).reshape(q, n_lanes)
    rows = _rows_of_queries(query, n_groups, len(size), n_lanes)
    start = np.empty((q, len(levels)), dtype=np.uint64)
    for i in range(q):
        _begin_at(start, i, limit[i])
    ordered, near = np.empty(n_lanes, dtype=np.uint64), np.empty(q, dtype=np.int64)
    plane_bytes = 8 * n_lanes
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
            for group in range(n_groups):
                _tabulate(
                    planes_at + group * plane_bytes,
                    n_groups * plane_bytes,
                    table_at + ((2 * group * plane_bytes) << len(size)),
                    size,
                    lanes,
                )
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
                        entries[used, 0] = begin + b * codes + code
                        entries[used, 1] = distance
                        entries[used, 2] = i
                        used += 1
                        if k == EVERY:
                            continue
                        counts[i, distance] += 1
                        counts[i, -1] += 1
                        while counts[i, -1] >= k:
                            limit[i] -= 1
                            counts[i, -1] -= counts[i, limit[i]]
                if limit[i] < before:
                    _begin_at(start, i, limit[i])
        done = b + together
    return entries, used, done
