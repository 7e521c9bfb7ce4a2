"""The bare loop computes what it is said to compute, so that it is a fair ceiling."""

import numpy as np
import pytest

from cmah.kernels.ceilings import least_distances


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "words"), [(np.uint8, 3), (np.uint16, 1), (np.uint64, 2)])
def test_the_least_distance_of_each_query(dtype, words):
    random = np.random.default_rng(0)
    size = np.dtype(dtype).itemsize
    packed, queries = (random.integers(0, 256, (count, words * size), dtype=np.uint8) for count in (64, 5))
    queries[0] = packed[63]
    queries[1] = ~packed[0]
    least = np.zeros(5, dtype)
    block = np.ascontiguousarray(packed.view(dtype).T)
    least_distances(block, queries.view(dtype), (0,) * words, 2, least)
    bits = np.unpackbits(packed, axis=1)
    assert least.tolist() == [
        int((bits != query).sum(axis=1).min()) for query in np.unpackbits(queries, axis=1)
    ]
