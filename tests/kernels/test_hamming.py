"""The kernels against unpacked bits and plain sorting, over blocks that are made here by hand."""

from itertools import pairwise

import numpy as np
import pytest
from slow_search import LENGTHS, clustered, distances, found

from cmah.kernels import hamming
from cmah.search.compiled_scan import UNROLLED

CODES = 16  # in a block; a multiple of 8


def blocks_of(codes, codes_in_block=CODES):
    """Codes as words [blocks, words, codes], the last block filled up with zeros, and as words [n, words]."""
    n, width = codes.packed.shape
    size = max(size for size in (1, 2, 4, 8) if width % size == 0)
    words = codes.packed.view(f"u{size}")
    padded = np.zeros((-(-n // codes_in_block) * codes_in_block, words.shape[1]), words.dtype)
    padded[:n] = words
    blocks = np.ascontiguousarray(padded.reshape(-1, codes_in_block, words.shape[1]).transpose(0, 2, 1))
    blocks.flags.writeable = words.flags.writeable = False
    return blocks, words


def run(codes, queries, k=None, radius=None, cuts=(), room=2 * CODES):
    """Scan and put in order; `cuts` = numbers of blocks after which another call goes on.

    Returns:
        (distance, position) lists of each query, the entries array, and the limits at the end.
    """
    bits = codes.bits
    blocks, _ = blocks_of(codes)
    words = blocks_of(queries)[1]
    unrolled = (0,) * words.shape[1] if words.shape[1] in UNROLLED else ()
    most = hamming.EVERY if k is None else k
    limit = np.full(len(queries), (bits if radius is None else radius) + 1, dtype=np.int64)
    counts = np.zeros((len(queries), 0 if k is None else bits + 2), dtype=np.int64)
    entries, used = np.empty((room, 3), dtype=np.int64), 0
    borders = [0, *cuts, len(blocks)]
    for first, last in pairwise(borders):
        entries, used = hamming.scan(
            blocks[first:last],
            first * CODES,
            len(codes),
            words,
            unrolled,
            most,
            limit,
            counts,
            entries,
            used,
        )
    offsets, positions, dist = hamming.in_order(entries, used, limit, most, bits)
    assert (offsets.dtype, positions.dtype, dist.dtype) == (np.int64, np.int64, np.int32)
    assert offsets[0] == 0
    assert offsets[-1] == len(positions) == len(dist)
    pairs = list(zip(dist.tolist(), positions.tolist(), strict=True))
    return [pairs[offsets[i] : offsets[i + 1]] for i in range(len(queries))], entries, limit


@pytest.mark.slow
@pytest.mark.parametrize("bits", LENGTHS)
def test_scan_is_a_stable_sort(bits):
    queries = clustered(3, bits, 1)
    for n in (1, CODES - 1, CODES, CODES + 1, 3 * CODES + 5):
        codes = clustered(n, bits)
        rows = distances(queries, codes)
        for k in (1, 2, 7, n, n + 5):
            results, _, limit = run(codes, queries, k)
            assert results == [found(row, k) for row in rows]
            kth = [pairs[k - 1][0] if k <= n else bits + 1 for pairs in results]
            assert limit.tolist() == kth  # so that of equally near codes later ones stay out
        for radius in (0, 1, bits // 3, bits):
            assert run(codes, queries, None, radius)[0] == [found(row, radius=radius) for row in rows]
            assert run(codes, queries, 4, radius)[0] == [found(row, 4, radius) for row in rows]


@pytest.mark.parametrize("cuts", [(1,), (0, 2, 2, 4)])
def test_scanning_goes_on_where_it_ended(cuts):
    codes, queries = clustered(70, 64), clustered(3, 64, 1)
    for k, radius in ((1, None), (9, None), (90, None), (None, 12), (3, 6)):
        assert run(codes, queries, k, radius, cuts)[0] == run(codes, queries, k, radius)[0]


def at_distances(values, bits=64):
    """Codes at the given distances from zero."""
    from cmah.codes import BinaryCodes

    return BinaryCodes.from_bits(np.arange(bits) < np.array(values)[:, None])


def test_entries_make_room_for_all_that_is_found():
    codes, queries = clustered(40 * CODES, 64), clustered(5, 64, 1)
    results, entries, _ = run(codes, queries, None, 64)
    assert len(entries) >= 5 * len(codes)
    assert results == [found(row, radius=64) for row in distances(queries, codes)]


def test_entries_that_fell_out_of_the_result_make_room():
    """Each code is nearer than all before, so every one enters and soon leaves again."""
    codes = at_distances(np.repeat(np.arange(64, -1, -1), CODES))
    results, entries, _ = run(codes, at_distances([0, 0]), 3)
    assert results == [found(row, 3) for row in distances(at_distances([0, 0]), codes)]
    assert len(entries) <= 8 * CODES < len(codes)


def test_ties_at_the_last_place_go_to_the_first_positions():
    codes = at_distances([5] * 100)
    assert run(codes, at_distances([0]), 7)[0] == [[(5, i) for i in range(7)]]
    codes = at_distances([5] * 50 + [4] + [5] * 49)
    assert run(codes, at_distances([0]), 3)[0] == [[(4, 50), (5, 0), (5, 1)]]


def test_codes_behind_the_end_are_not_found():
    """The zeros that fill up the last block would be the nearest of all."""
    codes = at_distances([60] * (CODES + 3))
    assert run(codes, at_distances([0]), 50)[0] == [[(60, i) for i in range(CODES + 3)]]
    assert run(codes, at_distances([0]), None, 59)[0] == [[]]


def test_nothing_to_search():
    one, none = clustered(1, 64), clustered(0, 64)
    assert run(none, one, 3)[0] == [[]]
    assert run(one, none, 3)[0] == []
    assert run(none, one, None, 64)[0] == [[]]


@pytest.mark.parametrize("bits", [1, 7, 8, 16, 48, 63, 64, 65, 128, 200, 4096])
def test_distances_of_words(bits):
    codes, queries = clustered(23, bits), clustered(5, bits, 1)
    words, query = hamming.to_words(codes.packed), hamming.to_words(queries.packed)
    assert words.dtype == np.uint64
    assert words.shape == (23, -(-bits // 64))
    assert np.array_equal(words.view(np.uint8)[:, : codes.packed.shape[1]], codes.packed)
    assert not words.view(np.uint8)[:, codes.packed.shape[1] :].any()
    result = hamming.distances(query, words)
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, distances(queries, codes))
    assert hamming.distances(query[:0], words).shape == (0, 23)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 3, 40])
def test_limits_from_the_first_blocks(k):
    """Far codes first, the nearest in many and in few of the later blocks, on both sides of FIRST."""
    random = np.random.default_rng(k)
    blocks = np.full((hamming.FIRST + 40, 1, 8), 2**16 - 1, dtype=np.uint16)  # 16 bits from the query 0
    for b in random.integers(0, len(blocks), 60):
        blocks[b, 0, random.integers(8)] = 2 ** int(random.integers(1, 16)) - 1
    query, end = np.zeros((1, 1), dtype=np.uint16), 8 * len(blocks) - 3
    limit, counts = np.full(1, 17), np.zeros((1, 18), dtype=np.int64)
    entries, used = hamming.scan(
        blocks, 0, end, query, (0,), k, limit, counts, np.empty((64, 3), dtype=np.int64), 0
    )
    _, positions, distances = hamming.in_order(entries, used, limit, k, 16)
    expected = np.unpackbits(blocks.ravel()[:end].view(np.uint8)).reshape(end, 16).sum(axis=1)
    order = np.argsort(expected, kind="stable")[:k]
    assert positions.tolist() == order.tolist()
    assert distances.tolist() == expected[order].tolist()
    assert used < 8 * len(blocks) // 2  # the far codes at the beginning were not looked at one by one
