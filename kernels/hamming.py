"""Hamming search over word planes: every distance is computed, few are looked at.

Codes lie in blocks, as an array [blocks, words, codes] of unsigned integers: word w of neighbouring codes is
contiguous (a word plane), so the loops below become vector instructions. A scan takes the least distance of a whole
block and looks closer only where that can still enter a query's result. The loops release the interpreter's lock and
start no threads of their own: the caller may share out the work, and a forked process may call them.
"""

from functools import reduce
from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

EVERY = np.iinfo(np.int64).max  # k of a scan that keeps all within its limits
AT_ONCE, SPAN = 4, 256  # vectors that are looked at side by side, and the bytes that they have at most
FIRST = 128  # blocks whose least distances are looked at together, before any of their codes


@intrinsic
def _differing(typing_context, a, b):  # type: ignore[no-untyped-def]
    """The number of bits in which two words differ, as a word of the same width."""
    return a(a, a), lambda context, builder, signature, words: builder.ctpop(builder.xor(*words))


@intrinsic
def _plus(typing_context, a, b):  # type: ignore[no-untyped-def]
    """The sum of two words in their own width, where Numba's `+` would widen them and halve the vectors."""
    return a(a, a), lambda context, builder, signature, words: builder.add(*words)


@intrinsic
def _lesser(typing_context, a, b):  # type: ignore[no-untyped-def]
    """The lesser of two words, in their own width."""

    def generate(context, builder, signature, words):  # type: ignore[no-untyped-def]
        return builder.select(builder.icmp_unsigned("<", *words), *words)

    return a(a, a), generate


@intrinsic
def _as_width_of(typing_context, a, b):  # type: ignore[no-untyped-def]
    """`a`, cut or widened to the type of `b`."""

    def generate(context, builder, signature, words):  # type: ignore[no-untyped-def]
        have, want = (argument.bitwidth for argument in signature.args)
        width = context.get_value_type(signature.args[1])
        if have == want:
            return words[0]
        return (builder.trunc if have > want else builder.zext)(words[0], width)

    return b(a, b), generate


@intrinsic
def _least(typing_context, blocks, b, queries, i, unrolled):  # type: ignore[no-untyped-def]
    """The least distance of a query from the codes of a block, in vectors as wide as the processor has.

    Left to itself, the compiler takes vectors of half that width on some processors. Arguments as in `_least_in_block`;
    a word of all codes takes a multiple of SPAN bytes.
    """
    width, count = blocks.dtype.bitwidth, len(unrolled)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        ir = cgutils.ir
        word, number = ir.IntType(width), ir.IntType(64)
        features = context.codegen().magic_tuple()[2].split(",")
        size = 64 if "+avx512f" in features else 32
        in_bytes = width == 32 and "+avx2" in features and "+avx512f" not in features
        each = 8 * size // width  # codes of a vector
        vector = ir.VectorType(word, each)
        name = f"v{each}i{width}"

        def call(intrinsic: str, result: Any, *values: Any) -> Any:
            kind = ir.FunctionType(result, [value.type for value in values])
            return builder.call(builder.module.declare_intrinsic(intrinsic, (), kind), values)

        def by(bits: int, function: str, *values: Any) -> Any:
            """A function of the parts of so many bits."""
            parts = ir.VectorType(ir.IntType(bits), 8 * size // bits)
            values = tuple(builder.bitcast(value, parts) for value in values)
            return builder.bitcast(call(f"llvm.{function}.v{parts.count}i{bits}", parts, *values), vector)

        def ones_in(words: list[Any]) -> Any:
            """How many bits are set in all words of each code; where `in_bytes`, in the lowest byte."""
            ones = reduce(builder.add, [by(8 if in_bytes else width, "ctpop", word) for word in words])
            for shift in (8, 16) if in_bytes else ():
                ones = builder.add(ones, builder.lshr(ones, ir.Constant(vector, [shift] * each)))
            return ones

        def lesser(one: Any, other: Any) -> Any:
            # distances fit into half a word, and few processors have an instruction for words of 64 bits
            return by(8 if in_bytes else min(width, 32), "umin", one, other)

        def at(address: Any, kind: Any) -> Any:
            value = builder.load(builder.inttoptr(address, kind.as_pointer()))
            value.align = width // 8
            return value

        blocks, queries = (
            context.make_array(signature.args[place])(context, builder, arguments[place]) for place in (0, 2)
        )
        codes = builder.extract_value(blocks.shape, 2)
        plane = builder.mul(codes, number(width // 8))
        block = builder.add(
            builder.ptrtoint(blocks.data, number),
            builder.mul(arguments[1], builder.extract_value(blocks.strides, 0)),
        )
        query = builder.add(
            builder.ptrtoint(queries.data, number),
            builder.mul(arguments[3], builder.extract_value(queries.strides, 0)),
        )
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), each), None)
        undefined = ir.Constant(vector, ir.Undefined)
        queries = [
            builder.shuffle_vector(
                builder.insert_element(
                    undefined, at(builder.add(query, number(w * width // 8)), word), ir.IntType(32)(0)
                ),
                undefined,
                zeros,
            )
            for w in range(count)
        ]
        most = ir.Constant(vector, [2**width - 1] * each)
        # several, so that none waits for the one before
        results = [cgutils.alloca_once_value(builder, most) for _ in range(AT_ONCE)]
        steps = builder.udiv(codes, number(each * AT_ONCE))
        with cgutils.for_range(builder, steps) as loop:
            first = builder.add(block, builder.mul(loop.index, number(size * AT_ONCE)))
            for part, result in enumerate(results):
                differing = []
                for w in range(count):
                    address = builder.add(first, builder.mul(plane, number(w)))
                    codes_here = at(builder.add(address, number(size * part)), vector)
                    differing.append(builder.xor(codes_here, queries[w]))
                builder.store(lesser(builder.load(result), ones_in(differing)), result)
        least = builder.load(results[0])
        for result in results[1:]:
            least = lesser(least, builder.load(result))
        if in_bytes:
            least = builder.and_(least, ir.Constant(vector, [0xFF] * each))
        least = call(f"llvm.vector.reduce.umin.{name}", word, least)
        return builder.zext(least, number) if width < 64 else least

    return types.int64(blocks, types.int64, queries, types.int64, unrolled), generate


# Below, blocks and queries are passed whole, with the number of the one to read: a view would count references.


@njit(cache=True, nogil=True)
def _distances_in_block(
    blocks: np.ndarray, b: int, queries: np.ndarray, i: int, unrolled: Any, row: np.ndarray
) -> None:
    """Distances of query i from the codes of block b, into uint16 [codes]; `unrolled` as in `scan`."""
    words, codes = blocks.shape[1:]
    if len(unrolled) > 0:
        for j in range(codes):
            distance = _differing(queries[i, 0], blocks[b, 0, j])
            for w in range(1, len(unrolled)):  # a constant number: the compiler writes them out
                distance = _plus(distance, _differing(queries[i, w], blocks[b, w, j]))
            row[j] = _as_width_of(distance, row[j])
        return
    row[:] = 0
    for w in range(0, words - 3, 4):  # four at a time in their own width: 2 x 64 bits do not overflow a byte
        for j in range(codes):
            low = _plus(
                _differing(queries[i, w], blocks[b, w, j]),
                _differing(queries[i, w + 1], blocks[b, w + 1, j]),
            )
            high = _plus(
                _differing(queries[i, w + 2], blocks[b, w + 2, j]),
                _differing(queries[i, w + 3], blocks[b, w + 3, j]),
            )
            row[j] = _plus(row[j], _plus(_as_width_of(low, row[j]), _as_width_of(high, row[j])))
    for w in range(words // 4 * 4, words):
        for j in range(codes):
            row[j] = _plus(row[j], _as_width_of(_differing(queries[i, w], blocks[b, w, j]), row[j]))


@njit(cache=True, nogil=True)
def _least_in_block(
    blocks: np.ndarray, b: int, queries: np.ndarray, i: int, unrolled: Any, row: np.ndarray
) -> np.int64:
    """The least distance of query i from the codes of block b; `unrolled` as in `scan`, `row` to work in."""
    codes = blocks.shape[2]
    if len(unrolled) == 0:
        _distances_in_block(blocks, b, queries, i, unrolled, row)
        nearest = row[0]
        for j in range(codes):
            nearest = _lesser(nearest, row[j])
        return np.int64(nearest)
    if blocks.itemsize >= 4 and codes * blocks.itemsize % SPAN == 0:  # for narrower words nothing is gained
        return np.int64(_least(blocks, b, queries, i, unrolled))
    least = _as_width_of(np.uint64(0xFFFFFFFFFFFFFFFF), blocks[b, 0, 0])
    for j in range(codes):
        distance = _differing(queries[i, 0], blocks[b, 0, j])
        for w in range(1, len(unrolled)):
            distance = _plus(distance, _differing(queries[i, w], blocks[b, w, j]))
        least = _lesser(least, distance)
    return np.int64(least)


@njit(cache=True, nogil=True)
def _room(entries: np.ndarray, used: int, limit: np.ndarray) -> tuple[np.ndarray, int]:
    """Entries with room for more: those that have fallen out of their query's result go, then the array grows."""
    kept = 0
    for e in range(used):
        if entries[e, 1] <= limit[entries[e, 2]]:
            # number by number, here and below: Numba takes seconds to compile the assignment of a row
            for column in range(3):
                entries[kept, column] = entries[e, column]
            kept += 1
    if kept > len(entries) // 2:
        larger = np.empty((2 * len(entries), 3), dtype=np.int64)
        for e in range(kept):
            for column in range(3):
                larger[e, column] = entries[e, column]
        entries = larger
    return entries, kept


@njit(cache=True, nogil=True)
def _enter(
    entries: np.ndarray,
    e: int,
    position: int,
    distance: np.int64,
    i: int,
    k: int,
    limit: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Write entry `e`, a code below the limit of query i; with k of them, lower the limit.

    It falls to the distance of the k-th, so that no later code enters there.
    """
    entries[e, 0] = position
    entries[e, 1] = distance
    entries[e, 2] = i
    if k == EVERY:
        return
    counts[i, distance] += 1
    counts[i, -1] += 1
    while counts[i, -1] >= k:
        limit[i] -= 1
        counts[i, -1] -= counts[i, limit[i]]


@njit(cache=True, nogil=True)
def _first_look(
    blocks: np.ndarray,
    query: np.ndarray,
    unrolled: Any,
    k: int,
    limit: np.ndarray,
    counts: np.ndarray,
    minima: np.ndarray,
    row: np.ndarray,
) -> None:
    """The least distances of the first, full blocks into uint16 `minima` [q, blocks], and limits from them.

    k blocks hold k codes, so the k-th nearest is no farther than the k-th least of these. Without such limits nearly
    every block at the beginning would be looked at closely.
    """
    levels = np.empty(counts.shape[1], dtype=np.int64)
    for b in range(minima.shape[1]):
        for i in range(len(query)):
            minima[i, b] = _least_in_block(blocks, b, query, i, unrolled, row)
    for i in range(len(query)):
        levels[:] = 0
        for b in range(minima.shape[1]):
            levels[minima[i, b]] += 1
        seen = 0
        for distance in range(len(levels)):
            seen += levels[distance]
            if seen >= k:
                if distance + 1 < limit[i] and counts[i, -1] == 0:
                    limit[i] = distance + 1
                break


@njit(cache=True, nogil=True)
def scan(
    blocks: np.ndarray,
    begin: int,
    end: int,
    query: np.ndarray,
    unrolled: Any,
    k: int,
    limit: np.ndarray,
    counts: np.ndarray,
    entries: np.ndarray,
    used: int,
) -> tuple[np.ndarray, int]:
    """Scan blocks for codes nearer than each query's limit, and lower the limits to what the k-th nearest allows.

    A query's limit is the distance that a code must be below to enter; it comes from earlier calls on the blocks
    before. Once k codes are known it is the distance of the k-th, so that of equally near codes the first stay.

    Args:
        blocks: unsigned [blocks, words, codes]; of the last block, codes at positions from `end` on are ignored.
        begin: position of the first code of `blocks`.
        end: position after the last code.
        query: unsigned [q, words], of the same width.
        unrolled: a tuple with an item for each word, for which a faster loop is compiled; () for any number.
        k: how many codes to keep at least; EVERY to leave the limits as they are.
        limit: int64 [q], changed.
        counts: int64 [q, bits + 2], changed: how many entries a query has at each distance; last, how many
            below its limit. Zeros at first; [q, 0] where k is EVERY.
        entries: int64 [room, 3], (position, distance, query) of the codes kept so far; room for two blocks or more.
        used: how many entries there are.

    Returns:
        `entries`, maybe larger, and how many are used; those of a query come in order of position, and may be
        more than k: `in_order` takes the nearest.

    Examples:
        >>> blocks = np.array([[[0, 1, 3, 7, 15, 31, 63, 127]]], np.uint64)  # a block of 8 codes of a word
        >>> query, limit = np.array([[3]], np.uint64), np.array([65])
        >>> blocks.flags.writeable = query.flags.writeable = False
        >>> counts, entries = np.zeros((1, 66), np.int64), np.empty((16, 3), np.int64)
        >>> entries, used = scan(blocks, 0, 8, query, (0,), 2, limit, counts, entries, 0)
        >>> entries[:used].tolist(), limit.tolist()
        ([[0, 2, 0], [1, 1, 0], [2, 0, 0]], [1])
    """
    codes = blocks.shape[2]
    row = np.empty(codes, dtype=np.uint16)
    flags = np.empty(codes, dtype=np.uint8)
    eights = flags.view(np.uint64)
    active = np.arange(len(query))  # queries that can still be improved: a limit of 0 ends a query
    # The first full blocks are gone over twice: once for limits that are worth something, then for their codes.
    together = 0 if k == EVERY else max(0, min(FIRST, len(blocks), (end - begin) // codes))
    minima = np.empty((len(query), together), dtype=np.uint16)
    _first_look(blocks, query, unrolled, k, limit, counts, minima, row)
    for b in range(len(blocks)):
        first = begin + b * codes
        inside = min(codes, end - first)
        still = 0
        for a in range(len(active)):
            i = active[a]
            if limit[i] == 0:
                continue
            active[still] = i
            still += 1
            # Most blocks end here: their nearest code is too far to enter.
            nearest = (
                np.int64(minima[i, b])
                if b < together
                else _least_in_block(blocks, b, query, i, unrolled, row)
            )
            if nearest >= limit[i]:
                continue
            _distances_in_block(blocks, b, query, i, unrolled, row)
            # Which codes are below the limit, as flags by a vectorised loop, so that eight at a time can be skipped.
            below = np.uint16(limit[i])
            for j in range(codes):
                flags[j] = row[j] < below
            if used + codes > len(entries):
                entries, used = _room(entries, used, limit)
            for e in range(len(eights)):
                if eights[e] == 0:
                    continue
                for j in range(8 * e, min(8 * e + 8, inside)):
                    distance = np.int64(row[j])
                    if distance >= limit[i]:  # the limit may have fallen since the flags were set
                        continue
                    _enter(entries, used, first + j, distance, i, k, limit, counts)
                    used += 1
        active = active[:still]
        if still == 0:
            break
    return entries, used


@njit(cache=True, nogil=True)
def in_order(
    entries: np.ndarray, used: int, limit: np.ndarray, k: int, bits: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Entries of `scan` as results: a counting sort by (query, distance), which keeps the order of positions.

    Args:
        entries: int64 [room, 3], as `scan` gives them.
        used: how many entries there are.
        limit: int64 [q]; only its length matters.
        k: how many to keep of each query; EVERY for all.
        bits: length of a code.

    Returns:
        offsets int64 [q + 1], positions int64 [m] and distances int32 [m]; query i has the entries offsets[i] to
        offsets[i + 1], at most k.

    Examples:
        >>> entries = np.array([[0, 2, 0], [1, 1, 0], [2, 0, 0]])
        >>> [part.tolist() for part in in_order(entries, 3, np.array([1]), 2, 64)]
        [[0, 2], [2, 1], [0, 1]]
    """
    q, levels = len(limit), bits + 1
    place = np.zeros((q, levels), dtype=np.int64)  # of the next entry of a query at a distance
    for e in range(used):
        place[entries[e, 2], entries[e, 1]] += 1
    offsets = np.zeros(q + 1, dtype=np.int64)
    for i in range(q):
        found = 0
        for level in range(levels):
            found, place[i, level] = found + place[i, level], found
        offsets[i + 1] = offsets[i] + min(found, k)
    positions = np.empty(offsets[q], dtype=np.int64)
    distances = np.empty(offsets[q], dtype=np.int32)
    for e in range(used):
        i, level = entries[e, 2], entries[e, 1]
        to = place[i, level]
        place[i, level] += 1
        if to < offsets[i + 1] - offsets[i]:
            positions[offsets[i] + to] = entries[e, 0]
            distances[offsets[i] + to] = level
    return offsets, positions, distances


@njit(cache=True, nogil=True)
def distances(query: np.ndarray, database: np.ndarray) -> np.ndarray:
    """Hamming distances, int32 [q, n], of unsigned words [q, w] and [n, w].

    Examples:
        >>> distances(np.array([[0b11]], np.uint64), np.array([[0b11], [0b01], [0b100]], np.uint64)).tolist()
        [[0, 1, 3]]
    """
    out = np.empty((query.shape[0], database.shape[0]), dtype=np.int32)
    for i in range(query.shape[0]):
        for j in range(database.shape[0]):
            distance = np.int64(0)
            for w in range(query.shape[1]):
                distance += np.int64(_differing(query[i, w], database[j, w]))
            out[i, j] = distance
    return out


def to_words(packed: np.ndarray) -> np.ndarray:
    """Copy packed codes, uint8 [n, bytes], into uint64 [n, ceil(bytes / 8)], filled up with zeros.

    Examples:
        >>> to_words(np.zeros((1000, 9), np.uint8)).shape
        (1000, 2)
    """
    n, width = packed.shape
    words = np.zeros((n, (width + 7) // 8), dtype=np.uint64)
    words.view(np.uint8)[:, :width] = packed
    return words
