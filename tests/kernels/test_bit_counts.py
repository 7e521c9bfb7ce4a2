"""Counting over bit planes against the loop over distances, which numpy's bincount proves (test_histograms)."""

import numpy as np
import pytest

from cmah.kernels import bit_counts, histograms


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "lanes"), [(1, 4), (12, 8), (64, 2), (64, 8), (130, 4)])
def test_the_counts_of_the_plain_loop(bits, lanes):
    random = np.random.default_rng(bits)
    n, q = 1300, 7
    words = random.integers(0, 2**64, (-(-bits // 64), n), dtype=np.uint64)
    if bits % 64:
        words[-1] &= np.uint64((1 << bits % 64) - 1)
    query = np.ascontiguousarray(words[:, random.integers(0, n, q)].T)
    query[0] = ~query[0] if bits == 64 else query[0]
    begin = np.array([0, 3, 700, 10, 10, 64, 1299])
    end = np.array([n, n - 1, 709, 10, 11, 576, n])
    skip = np.array(
        [5, 2, 700, -1, 10, -1, 4]
    )  # within the range, without, within, none, within, none, without
    groups, cells, _ = bit_counts.shape_of(bits)
    shape = groups, cells, (0,) * lanes
    for first, last in ((0, q), (2, 3), (3, 4), (0, 0)):
        part = slice(first, last)
        ranges = begin[part], end[part], skip[part]
        got = bit_counts.count_codes(query[part], words, *ranges, *shape)
        np.testing.assert_array_equal(got, histograms.count_codes(query[part], words, *ranges, bits))


def test_no_codes():
    zero = np.zeros(1, np.int64)
    query, none = np.zeros((1, 1), np.uint64), np.zeros((1, 0), np.uint64)
    assert not bit_counts.count_codes(query, none, zero, zero, zero - 1, *bit_counts.shape_of(64)).any()
