"""Bit planes, tables and adders against unpacked bits, and the scan against plain sorting; vectors of every width."""

from itertools import pairwise

import numpy as np
import pytest
from numba import njit, types
from slow_search import blocks_of, clustered, distances, found, run_alone

from cmah.kernels import bit_planes, bitsliced, hamming

# bits, words of a vector, bits of a group: each word type, blocks larger and smaller than a vector, a last group with
# fewer bits than the others. Each is compiled anew, so these stay few.
SHAPES = [(8, 8, 3), (24, 4, 4), (48, 2, 3), (64, 8, 4), (512, 8, 4), (1024, 4, 3)]


def shape_of(bits, size, lanes):
    groups, sizes, levels, _ = bitsliced.shape_of(bits, size)
    return groups, sizes, levels, (0,) * lanes


def run(codes, queries, shape, k=None, radius=None, cuts=()):
    """Scan the full blocks, the first of them as it was always done, where there is a k, and put in order.

    Returns:
        (distance, position) lists of each query, over the codes that were scanned; how many these were.
    """
    blocks, bits = blocks_of(codes), codes.bits
    full, words = blocks.full_parts[0][0], blocks.as_words(queries.packed)
    words.flags.writeable = False
    most = hamming.EVERY if k is None else k
    limit = np.full(len(queries), (bits if radius is None else radius) + 1, dtype=np.int64)
    counts = np.zeros((len(queries), 0 if k is None else bits + 2), dtype=np.int64)
    entries, used, at = np.empty((2048, 3), dtype=np.int64), 0, 0
    state = most, limit, counts
    if k is not None:
        at = 1 + k // blocks.codes_in_block
        entries, used = hamming.scan(full[:at], 0, len(codes), words, (), *state, entries, used)
    for first, last in pairwise([at, *cuts, len(full)]):
        assert at == first
        begin = at * blocks.codes_in_block
        entries, used, done = bitsliced.scan(full[at:last], begin, words, *shape, *state, entries, used)
        at += done
    offsets, positions, dist = hamming.in_order(entries, used, limit, most, bits)
    pairs = list(zip(dist.tolist(), positions.tolist(), strict=True))
    return [pairs[a:b] for a, b in pairwise(offsets)], at * blocks.codes_in_block


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "lanes", "size"), SHAPES)
def test_scan_is_a_stable_sort(bits, lanes, size):
    shape = shape_of(bits, size, lanes)
    queries = clustered(5, bits, 1)
    block = blocks_of(queries).codes_in_block
    codes = clustered(9 * block + 3, bits)
    rows = distances(queries, codes)
    nearest = [(1, None), (7, None), (block, None), (4, bits // 3)]
    within = [(None, 0), (None, bits // 3), (None, bits // 2 - 1)]
    for k, radius in nearest + within:
        if k is not None and max(sorted(row[:block])[min(k, block) - 1] for row in rows) > 1 << len(shape[2]):
            continue  # a limit that the adders cannot count to
        results, n = run(codes, queries, shape, k, radius)
        if size == 3:  # large groups give up where they let too many pass
            assert n >= 9 * block - 64 * lanes  # what is left does not fill a vector
        assert results == [found(row[:n], k, radius) for row in rows]


def test_equal_codes_come_in_order_of_position():
    codes, queries = clustered(1, 64)[np.zeros(4096, dtype=int)], clustered(3, 64)
    results, _ = run(codes, queries, shape_of(64, 4, 8), 700, 10, cuts=[5, 7])
    assert results == [found(row, 700, 10) for row in distances(queries, codes)]


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 4])
def test_bits_that_are_copies_of_each_other(size):
    """Every bit 16 times: large groups count too little, and the scan gives up where it looks at too many codes."""
    bits = np.unpackbits(clustered(20_000, 16).packed, axis=1)
    from cmah.codes import BinaryCodes

    codes = BinaryCodes.from_bits(np.tile(bits, 16))
    queries = codes[np.arange(0, 20_000, 500)]
    results, n = run(codes, queries, shape_of(256, size, 8), 10)
    assert (n == 19_968) == (size == 3)  # where nothing is counted too little, all full blocks are scanned
    assert results == [found(row[:n], 10) for row in distances(queries, codes)]


@pytest.mark.slow
def test_no_array_is_used_after_it_was_freed(tmp_path):
    """Another process runs the test above; there, glibc overwrites what is freed and larger than a kilobyte."""
    test = f"{__file__}::{test_bits_that_are_copies_of_each_other.__name__}[4]"
    code = f"import pytest; raise SystemExit(pytest.main(['-q', '-p', 'no:cacheprovider', {test!r}]))"
    assert "1 passed" in run_alone(code, tmp_path, MALLOC_PERTURB_="165")


@pytest.mark.parametrize(("bits", "lanes"), [(8, 2), (16, 4), (32, 8), (64, 8), (512, 8)])
def test_bit_planes(bits, lanes):
    """Each bit of each code lies in the plane of that bit, at the place that the documentation says."""
    blocks = blocks_of(clustered(1024, bits))
    full, word_bits = blocks.full_parts[0][0], 8 * blocks.word.itemsize
    codes = min(blocks.codes_in_block, 64 * lanes)
    part = blocks.codes_in_block // codes - 1  # the last of the block
    elements = codes // word_bits
    raw = bit_planes.aligned(bits * lanes).view(blocks.word).reshape(bits, -1)
    bitsliced._bit_planes(full, 0, part, (0,) * lanes, raw)
    for code in range(64 * lanes):
        block, place = divmod(code, codes)
        r, e = divmod(place, elements)
        column = block * elements + e
        words = full[block, :, part * codes + place]
        expected = [int(words[bit // word_bits]) >> bit % word_bits & 1 for bit in range(bits)]
        assert [int(plane) >> r & 1 for plane in raw[:, column]] == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint64])
def test_rows_of_queries(dtype):
    query = np.random.default_rng(0).integers(0, 256, (3, 16), dtype=np.uint8).view(dtype)
    rows = bit_planes.rows_of_queries(query, 43, 3, 4)
    word_bits = 8 * query.itemsize
    bits = [[int(row[b // word_bits]) >> b % word_bits & 1 for b in range(128)] for row in query]
    value = [[sum(row[b] << (b // 43) for b in range(g, 128, 43)) for g in range(43)] for row in bits]
    assert (rows // 64).tolist() == value  # two planes of four words for each value


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 5, 16, 31, 32])
@pytest.mark.parametrize("lanes", [2, 8])
def test_only_codes_within_the_limit_pass_small_groups(limit, lanes):
    """The adders alone, over tables of made-up counts: what passes are exactly the sums below the limit."""
    groups, size, levels, width = shape_of(64, 3, lanes)
    random = np.random.default_rng(limit)
    counts = random.binomial(3, 0.25, (len(groups), 8, 64 * lanes))
    table = bit_planes.aligned(len(groups) * 8 * 2 * lanes)
    low, high = (np.packbits(counts >> bit & 1, axis=2, bitorder="little") for bit in (0, 1))
    table[:] = np.stack([low, high], axis=2).reshape(-1).view(np.uint64)
    values = random.integers(0, 8, len(groups))
    rows = (values * 16 * lanes).astype(np.uint16)
    start, far, near = np.zeros((1, len(levels)), np.uint64), bit_planes.aligned(lanes), np.zeros(1, np.int64)
    bitsliced._begin_at(start, 0, limit)
    addresses = [array.ctypes.data for array in (table, rows, start, far)]
    some = bitsliced._filter(*addresses, np.zeros(1, np.int64), 1, near, groups, size, levels, width)
    sums = counts[np.arange(len(groups)), values].sum(axis=0)
    passed = np.unpackbits(far.view(np.uint8), bitorder="little") == 0
    assert passed.tolist() == (sums < limit).tolist()
    assert some == passed.any()


@pytest.mark.parametrize(("bits", "size"), [(8, 3), (16, 4), (64, 4), (128, 5), (1024, 3)])
def test_adders_of_a_query(bits, size):
    """The adders over Python's whole numbers, a bit for each of 64 codes: what they say, and how many there are."""
    shape = bitsliced.shape_of(bits, size)
    groups, levels = len(shape[0]), len(shape[2])
    counts = np.random.default_rng(bits).binomial(3, 0.4, (groups, 64))
    limit = int(np.median(counts.sum(axis=0)))
    places = [1 << code for code in range(64)]
    planes = [[int((row >> bit & 1) @ np.array(places, object)) for bit in (0, 1)] for row in counts]
    begin = [-((1 << levels) - limit >> level & 1) & (1 << 64) - 1 for level in range(levels)]
    counted = bitsliced._Counted()
    tree = bitsliced._Adders(counted, levels)
    for low, high in planes:
        tree.add(0, low)
        tree.add(1, high)
    for level, plane in enumerate(begin):
        tree.add(level, plane)
    tree.finish()
    far = [any(plane >> code & 1 for plane in tree.beyond) for code in range(64)]
    assert far == (counts.sum(axis=0) >= limit).tolist()
    assert len(set(far)) == 2
    # of m planes of a level, an adder takes three and leaves one; a last pair gives a carry as well
    adders, carries = 0, 0
    for level in range(levels):
        m = carries + 1 + groups * (level < 2)
        adders, carries = adders + (m - 1) // 2, m // 2
    assert counted.asked == 2 * bitsliced.adders_of(shape) == 2 * adders


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "size"), [(24, 4), (64, 3)])
def test_adders_that_are_compiled(monkeypatch, bits, size):
    shape, of_three, written = bitsliced.shape_of(bits, size), bitsliced._Planes.of_three, []
    monkeypatch.setattr(
        bitsliced._Planes, "of_three", lambda self, *asked: written.append(asked) or of_three(self, *asked)
    )
    place, numbers = types.int64, types.int64[::1]
    tuples = [types.UniTuple(types.int64, len(part)) for part in shape]
    njit(bitsliced._filter.py_func).compile((*[place] * 4, numbers, place, numbers, *tuples))
    assert len(written) == 2 * bitsliced.adders_of(shape)  # a sum and a carry
