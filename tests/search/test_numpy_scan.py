"""The scan in NumPy: counting bits on old versions of it, and going over the codes in steps."""

import numpy as np
import pytest
from slow_search import backend, blocks_of, clustered, distances, found, pairs

from cmah.search import numpy_scan
from cmah.search import scan as scanning


@pytest.mark.parametrize("word", ["u1", "u2", "u4", "u8"])
def test_counting_bits_without_bitwise_count(monkeypatch, word):
    bytes_ = np.random.default_rng(0).integers(0, 256, (3, 5, 8), dtype=np.uint8)
    words = bytes_.view(word)
    expected = np.unpackbits(bytes_, axis=2).reshape(*words.shape, -1).sum(axis=-1)
    np.testing.assert_array_equal(numpy_scan.differing_bits(words), expected)
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    counted = numpy_scan.differing_bits(words)
    np.testing.assert_array_equal(counted, expected)
    assert counted.dtype == np.uint8
    codes, queries = clustered(700, 72), clustered(2, 72, 1)
    with backend("numpy"):
        result = pairs(scanning.scan(blocks_of(codes), queries.packed, 5, 72))
    assert result == [found(row, 5) for row in distances(queries, codes)]


def test_plain_scan_goes_over_the_codes_in_steps(monkeypatch):
    monkeypatch.setattr(numpy_scan, "AT_ONCE", 512)
    codes, queries = clustered(2600, 64), clustered(2, 64, 1)
    rows, blocks = distances(queries, codes), blocks_of(codes)
    with backend("numpy"):
        for k, radius in ((1, 64), (700, 64), (None, 9), (5, 9)):
            result = scanning.scan(blocks, queries.packed, k, radius)
            assert pairs(result) == [found(row, k, radius) for row in rows]
