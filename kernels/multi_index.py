"""Multi-index hashing: the codes within a distance of a query, found by parts of the code that are nearly equal.

The bits of a code are split into m parts, each with a table that lists all codes by the value of that part. Two codes
that differ in few bits differ in very few in one of the parts, so that a search looks up the query's part and values
near it instead of comparing all codes. The loops release the interpreter's lock and start no threads of their own.

After Norouzi, Punjani and Fleet, "Fast exact search in Hamming space with multi-index hashing" (2014).
"""

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

AT_ONCE = 64  # buckets whose ends are read before their codes are: reads that wait for memory side by side
CACHE_LINE = 64  # bytes
AT_FIRST = 1 << 16  # keys that there is room for
FEW = 256  # keys that are sorted by counting
ROOM = 512  # codes within the limit that are noted before they are looked at


@intrinsic
def _ones(typing_context, word):  # type: ignore[no-untyped-def]
    """The number of set bits of a word."""
    return word(word), lambda context, builder, signature, words: builder.ctpop(words[0])


@intrinsic
def _prefetch(typing_context, array, t, e):  # type: ignore[no-untyped-def]
    """Have array[t, e] brought into the cache while other work is done."""
    from numba.core.cgutils import ir  # llvmlite's, which Numba brings along

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        number = ir.IntType(32)
        address = builder.ptrtoint(array.data, ir.IntType(64))
        for axis, index in enumerate(arguments[1:]):
            address = builder.add(address, builder.mul(builder.extract_value(array.strides, axis), index))
        pointer = builder.inttoptr(address, ir.IntType(8).as_pointer())
        signature_of_prefetch = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], signature_of_prefetch)
        builder.call(prefetch, [pointer, number(0), number(3), number(1)])  # to read, to keep, data
        return context.get_dummy_value()

    return types.none(array, types.int64, types.int64), generate


@njit(cache=True, nogil=True)
def _sift_down(heap: np.ndarray, size: int, place: int) -> None:
    """Restore the heap that the first `size` keys are, greatest first, below `place`."""
    key = heap[place]
    child = 2 * place + 1
    while child < size:
        if child + 1 < size and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= key:
            break
        heap[place] = heap[child]
        place = child
        child = 2 * place + 1
    heap[place] = key


@njit(cache=True, nogil=True)
def _sort(keys: np.ndarray, room: np.ndarray) -> None:
    """Sort keys, which are all different; `room` to work in."""
    size = len(keys)
    if size > len(room):
        for place in range(size // 2 - 1, -1, -1):
            _sift_down(keys, size, place)
        for last in range(size - 1, 0, -1):
            keys[0], keys[last] = keys[last], keys[0]
            _sift_down(keys, last, 0)
        return
    for c in range(size):  # of a few, counting the lesser ones is quickest: vector instructions, no branches
        key = keys[c]
        rank = np.int64(0)
        for other in range(size):
            rank += np.int64(keys[other] < key)
        room[rank] = key
    for c in range(
        size
    ):  # one by one, here and below: Numba takes seconds to compile the assignment of a slice
        keys[c] = room[c]


@njit(cache=True, nogil=True)
def _distance(queries: np.ndarray, i: int, codes: np.ndarray, t: int, e: int) -> np.int64:
    """The distance of query i from codes[t, e]."""
    distance = np.int64(_ones(np.uint64(queries[i, 0] ^ codes[t, e, 0])))
    for w in range(1, queries.shape[1]):
        distance += np.int64(_ones(np.uint64(queries[i, w] ^ codes[t, e, w])))
    return distance


@njit(cache=True, nogil=True)
def _found_before(
    queries: np.ndarray, i: int, codes: np.ndarray, t: int, e: int, masks: np.ndarray, away: int
) -> bool:
    """Whether a code that table t has at `away` bits from query i is nearer, or as near, in an earlier table."""
    before = False
    for u in range(len(masks) if away > 0 else t):  # the parts of later tables differ in 0 bits or more
        distance = np.int64(0)
        for w in range(queries.shape[1]):
            differing = np.uint64(queries[i, w] ^ codes[t, e, w])
            distance += np.int64(_ones(differing & np.uint64(masks[u, w])))
        before |= bool(distance < away + (u < t))
    return before


@njit(cache=True, nogil=True)
def _value(packed: np.ndarray, i: int, first: int, length: int) -> np.int64:
    """Some bits of query i as a number; the first bit is the highest, as in every byte."""
    last = (first + length - 1) // 8
    value = np.int64(0)
    for byte in range(first // 8, last + 1):
        value = (value << 8) | np.int64(packed[i, byte])
    return (value >> (8 * (last + 1) - first - length)) & ((1 << length) - 1)


@njit(cache=True, nogil=True)
def _look_up(
    codes: np.ndarray,
    t: int,
    starts: np.ndarray,
    base: int,
    value: np.int64,
    mask: np.int64,
    some: int,
    lows: np.ndarray,
    highs: np.ndarray,
) -> tuple[int, int, np.int64]:
    """Find some of the buckets of table t whose value differs from `value` in as many bits as `mask` has.

    Args:
        codes: as in `search`.
        t: the table.
        starts: as in `search`.
        base: where the table's starts begin.
        value: the query's part.
        mask: the bits to differ in first; greater numbers with as many bits follow.
        some: how many buckets, at most AT_ONCE.
        lows: int64 [AT_ONCE], changed: where in `codes` the buckets that are not empty begin.
        highs: int64 [AT_ONCE], changed: where they end.

    Returns:
        How many are not empty, how many codes they hold, and the mask to go on with.
    """
    n = codes.shape[1]
    line = max(1, CACHE_LINE // (codes.shape[2] * codes.itemsize))
    buckets = total = 0
    for _ in range(some):
        low = np.int64(starts[base + (value ^ mask)])
        high = min(np.int64(starts[base + (value ^ mask) + 1]), n)  # whatever a damaged file says
        if high > low:
            lows[buckets] = low
            highs[buckets] = high
            buckets += 1
            total += int(high - low)
            for e in range(low, high, line):
                _prefetch(codes, t, e)
        if mask > 0:  # the next greater number with as many bits set
            lowest = mask & -mask
            carried = mask + lowest
            mask = ((carried ^ mask) >> (int(_ones(np.uint64(lowest - 1))) + 2)) | carried
    return buckets, total, mask


@njit(cache=True, nogil=True)
def _note(
    queries: np.ndarray,
    i: int,
    codes: np.ndarray,
    t: int,
    lows: np.ndarray,
    highs: np.ndarray,
    bucket: int,
    buckets: int,
    limit: int,
    notes: np.ndarray,
) -> tuple[int, int]:
    """Note which codes of the buckets from `bucket` on are within the limit, until there is no more room.

    Returns:
        How many codes are noted, and the bucket to go on with; its low end is where to go on.
    """
    used = 0
    while bucket < buckets and used < len(notes):
        end = min(highs[bucket], lows[bucket] + len(notes) - used)
        for e in range(lows[bucket], end):
            notes[used] = e
            # no branch: which codes are near cannot be predicted
            used += int(_distance(queries, i, codes, t, e) <= limit)
        lows[bucket] = end
        bucket += end == highs[bucket]
    return used, bucket


@njit(cache=True, nogil=True)
def _take(
    queries: np.ndarray,
    i: int,
    codes: np.ndarray,
    order: np.ndarray,
    t: int,
    masks: np.ndarray,
    away: int,
    notes: np.ndarray,
    used: int,
    k: int,
    keys: np.ndarray,
    found: int,
) -> int:
    """Take the codes noted into the keys of query i, of which the k least stay, as a heap; k = 0 keeps all.

    Returns:
        How many keys there are now.
    """
    for c in range(used):
        _prefetch(order, t, notes[c])
    for c in range(used):
        e = notes[c]
        key = (_distance(queries, i, codes, t, e) << 32) + np.int64(order[t, e])
        if k == 0:
            keys[found] = key
            found += not _found_before(queries, i, codes, t, e, masks, away)
        elif found < k:
            if not _found_before(queries, i, codes, t, e, masks, away):
                keys[found] = key
                found += 1
                if found == k:
                    for parent in range(k // 2 - 1, -1, -1):
                        _sift_down(keys, k, parent)
        elif key < keys[0] and not _found_before(queries, i, codes, t, e, masks, away):
            keys[0] = key  # the farthest makes room
            _sift_down(keys, k, 0)
    return found


@njit(cache=True, nogil=True)
def _cost(
    bases: np.ndarray, ways: np.ndarray, a: int, tables: int, n: int, probe_cost: float, code_cost: float
) -> float:
    """What it costs to read the buckets of the first `tables` that are `a` bits away, if all hold as many codes."""
    cost = 0.0
    for t in range(tables):
        cost += ways[t, a] * (probe_cost + code_cost * n / (bases[t + 1] - bases[t]))
    return cost


@njit(cache=True, nogil=True)
def _parted(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions int64 and distances int32 of keys, which are distance × 2^32 + position."""
    positions = np.empty(len(keys), dtype=np.int64)
    distances = np.empty(len(keys), dtype=np.int32)
    for c in range(len(keys)):
        positions[c] = keys[c] & 0xFFFFFFFF
        distances[c] = keys[c] >> 32
    return positions, distances


@njit(cache=True, nogil=True)
def search(
    queries: np.ndarray,
    packed: np.ndarray,
    parts: np.ndarray,
    codes: np.ndarray,
    order: np.ndarray,
    starts: np.ndarray,
    bases: np.ndarray,
    ways: np.ndarray,
    masks: np.ndarray,
    k: int,
    radius: int,
    budget: float,
    probe_cost: float,
    code_cost: float,
    patience: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The codes at most `radius` from each query, or the k nearest of those, unless that costs more than `budget`.

    Step (a, t) reads the buckets of table t whose value differs from the query's in exactly `a` bits. The steps
    are taken in ascending order of (a, t). A code that none of the steps up to (a, t) reads differs in a + 1 bits
    or more in each table up to t, and in `a` or more in the others: in a × m + t + 1 bits or more altogether.

    Args:
        queries: unsigned words [q, words].
        packed: the same as bytes, uint8 [q, width].
        parts: int64 [m, 2], the first bit and the length, up to 32 bits, of the part that each table lists.
        codes: unsigned words [m, n, words], of each table, by value of its part and then by position.
        order: uint32 [m, n], their positions.
        starts: uint32, of all tables in turn: where in `codes` the codes of each value begin, and their end.
        bases: int64 [m], where the starts of a table begin.
        ways: int64 [m, longest part + 2], in how many ways a value of the table differs in 0, 1, … bits.
        masks: unsigned words [m, words], the bits of each part; no bit is in two.
        k: how many, 0 for all.
        radius: 0 or more.
        budget: what a query may cost, in the unit of the two costs below.
        probe_cost: what it costs to look up a bucket.
        code_cost: what it costs to compare a code.
        patience: after that many queries, a query is not begun where most before it exceeded the budget.

    Returns:
        offsets int64 [q + 1], positions int64 [found], distances int32 [found]: query i has the entries offsets[i]
        to offsets[i + 1], ordered by (distance, position); and finished, bool [q], false where the budget did not
        suffice: such a query has no entries.

    Examples:
        Codes of 8 bits in tables of two parts; of the query 0b11, all within a distance of 1.

        >>> from cmah.search.blocks import CodeBlocks
        >>> from cmah.search.hash_tables import HashTables
        >>> blocks, query = CodeBlocks(8), np.array([[0b11]], np.uint8)
        >>> blocks.append(np.array([[0b0], [0b1], [0b111], [0b1111]], np.uint8))
        >>> query.flags.writeable = False
        >>> tables = HashTables.build(blocks, (4, 4))
        >>> names = ("parts", "codes", "order", "starts", "bases", "ways", "masks")
        >>> arrays = [getattr(tables, name) for name in names]
        >>> [part.tolist() for part in search(query, query, *arrays, 0, 1, 99.0, 1.0, 1.0, 16)]
        [[0, 2], [1, 2], [1, 1], [True]]
    """
    m, n = order.shape
    offsets = np.zeros(len(queries) + 1, dtype=np.int64)
    finished = np.zeros(len(queries), dtype=np.bool_)
    keys = np.empty(min(max(2 * ROOM, k * len(queries)), AT_FIRST), dtype=np.int64)
    lows, highs = np.empty(AT_ONCE, dtype=np.int64), np.empty(AT_ONCE, dtype=np.int64)
    notes, sorting = np.empty(ROOM, dtype=np.int64), np.empty(FEW, dtype=np.int64)
    failed = 0
    for i in range(len(queries)):
        begin, found, spent = offsets[i], 0, 0.0
        # Where most queries before were given up, this one would be too.
        enough = i < patience or 2 * failed <= i
        limit = radius  # codes farther than that are of no interest
        if enough:  # most queries need these; looked up together, they wait for memory once, not m times
            for t in range(min(m, limit + 1)):
                value = _value(packed, i, parts[t, 0], parts[t, 1])
                _look_up(codes, t, starts, bases[t], value, np.int64(0), 1, lows, highs)
        step = 0  # a * m + t: all codes nearer than that are known
        while step <= limit and enough:
            a, t = divmod(step, m)
            step += 1
            if a >= ways.shape[1]:  # no part is that long
                continue
            if t == 0:  # a round over the tables begins: is it worth its cost?
                tables = min(m, limit - step + 2)
                enough = spent + _cost(bases, ways, a, tables, n, probe_cost, code_cost) <= budget
            # The buckets of this step, some at a time, each time with the look-ups first and the codes after.
            todo, mask = ways[t, a], np.int64((1 << a) - 1)
            value = _value(packed, i, parts[t, 0], parts[t, 1])
            while todo > 0 and enough:
                some = min(todo, AT_ONCE)
                todo -= some
                buckets, total, mask = _look_up(codes, t, starts, bases[t], value, mask, some, lows, highs)
                spent += some * probe_cost + total * code_cost
                enough = spent <= budget
                if not enough:
                    break
                bucket = 0
                while bucket < buckets:
                    used, bucket = _note(queries, i, codes, t, lows, highs, bucket, buckets, limit, notes)
                    if begin + found + used > len(keys):
                        larger = np.empty(2 * len(keys), dtype=np.int64)
                        for c in range(begin + found):
                            larger[c] = keys[c]
                        keys = larger
                    mine = keys[begin:]
                    found = _take(queries, i, codes, order, t, masks, a, notes, used, k, mine, found)
                    if found == k and k > 0:  # nothing farther than the k-th can enter any more
                        limit = min(limit, mine[0] >> 32)
        # A query that was given up keeps nothing: its keys are written over by the next one's.
        finished[i] = enough
        failed += not enough
        found = found if enough else 0
        _sort(keys[begin : begin + found], sorting)
        offsets[i + 1] = begin + found
    positions, distances = _parted(keys[: offsets[-1]])
    return offsets, positions, distances, finished
