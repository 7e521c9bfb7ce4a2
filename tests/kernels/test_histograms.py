"""Counting against numpy's bincount of plain distances."""

import numpy as np
import pytest

from cmah.kernels import histograms


def words_of(bits):
    packed = np.packbits(bits, axis=1)
    words = np.zeros((len(bits), -(-packed.shape[1] // 8)), np.uint64)
    words.view(np.uint8).reshape(len(bits), -1)[:, : packed.shape[1]] = packed
    return words


@pytest.mark.parametrize("bits", [1, 8, 63, 64, 65, 130, 700])
def test_counts_of_codes(bits):
    random = np.random.default_rng(bits)
    n = 70_000 if bits == 64 else 9_000 if bits == 700 else 400  # more than a slab, and less
    query, items = (random.integers(0, 2, (size, bits), dtype=np.uint8) for size in (6, n))
    query[0] = items[5]
    begin = np.array([0, 3, n // 2, 10, 10, 0])
    end = np.array([n, n - 1, n // 2 + 9, 10, 11, n])
    skip = np.array([5, 2, n // 2, -1, 10, -1])  # within the range, without, within, none, within, none
    planes = np.ascontiguousarray(words_of(items).T)
    got = histograms.count_codes(words_of(query), planes, begin, end, skip, bits)
    for i in range(6):
        rows = np.delete(np.arange(n), skip[i]) if skip[i] >= 0 else np.arange(n)
        rows = rows[(rows >= begin[i]) & (rows < end[i])]
        distances = (query[i] != items[rows]).sum(axis=1)
        np.testing.assert_array_equal(got[i], np.bincount(distances, minlength=bits + 1))


def test_no_codes_and_no_queries():
    none, one = np.empty((0, 1), np.uint64), np.zeros((1, 1), np.uint64)
    nothing, zero = np.empty(0, np.int64), np.zeros(1, np.int64)
    assert not histograms.count_codes(one, np.empty((1, 0), np.uint64), zero, zero, zero - 1, 64).any()
    got = histograms.count_codes(none, np.zeros((1, 5), np.uint64), nothing, nothing, nothing, 64)
    assert got.shape == (0, 65)


def test_counts_of_levels():
    random = np.random.default_rng(0)
    levels = random.integers(0, 4, (3, 20))
    order = random.permutation(20)
    begin, end = np.array([0, 5, 7]), np.array([20, 9, 7])
    skip = np.array([order[3], order[6], -1])
    got = histograms.count_levels(levels, order, begin, end, skip, 4)
    for i in range(3):
        rows = [j for j in order[begin[i] : end[i]] if j != skip[i]]
        np.testing.assert_array_equal(got[i], np.bincount(levels[i, rows], minlength=4))
