"""Against unpacked bits and a stable sort."""

import numpy as np
import pytest

from cmah.kernels import hamming


def make(bits, n, q, seed=0):
    """Codes with many duplicates, as bits and as words."""
    random = np.random.default_rng(seed)
    centres = random.integers(0, 2, (3, bits), dtype=np.uint8)
    arrays = []
    for count in (n, q):
        flips = random.random((count, bits)) < 0.05
        arrays.append(centres[random.integers(0, 3, count)] ^ flips)
    return [(a, hamming.to_words(np.packbits(a, axis=1).reshape(len(a), -1))) for a in arrays]


def slow_distances(query, database):
    return (query[:, None, :] != database[None, :, :]).sum(axis=2)


@pytest.mark.parametrize("bits", [1, 7, 8, 16, 48, 63, 64, 65, 128, 200, 4096])
def test_distances(bits):
    (database, database_words), (query, query_words) = make(bits, 23, 5)
    expected = slow_distances(query, database)
    np.testing.assert_array_equal(hamming.distances(query_words, database_words), expected)


@pytest.mark.parametrize("bits", [1, 16, 64, 100])
@pytest.mark.parametrize("k", [1, 2, 10, 57])
def test_top_k_is_a_stable_sort(bits, k):
    (database, database_words), (query, query_words) = make(bits, 57, 6, seed=bits)
    expected = slow_distances(query, database)
    order = np.argsort(expected, axis=1, kind="stable")[:, :k]
    positions, distances = hamming.top_k(query_words, database_words, k, bits)
    np.testing.assert_array_equal(positions, order)
    np.testing.assert_array_equal(distances, np.take_along_axis(expected, order, axis=1))


@pytest.mark.parametrize("radius", [0, 1, 5, 64])
def test_within(radius):
    (database, database_words), (query, query_words) = make(64, 40, 6)
    expected = slow_distances(query, database)
    offsets, positions, distances = hamming.within(query_words, database_words, radius)
    assert offsets[0] == 0
    for i, row in enumerate(expected):
        part = slice(offsets[i], offsets[i + 1])
        order = [j for j in np.argsort(row, kind="stable") if row[j] <= radius]
        assert positions[part].tolist() == order
        assert distances[part].tolist() == row[order].tolist()


def test_nothing_to_search():
    empty = hamming.to_words(np.zeros((0, 8), np.uint8))
    one = hamming.to_words(np.zeros((1, 8), np.uint8))
    assert hamming.top_k(one, empty, 0, 64)[0].shape == (1, 0)
    assert hamming.top_k(empty, one, 1, 64)[0].shape == (0, 1)
    assert hamming.within(one, empty, 3)[0].tolist() == [0, 0]
    assert hamming.distances(empty, one).shape == (0, 1)
