"""The tables of a multi-index: the lengths of their parts, what sorting gives, and what is refused."""

import numpy as np
import pytest
from slow_search import clustered

from cmah.search import MultiIndex
from cmah.search.blocks import CodeBlocks
from cmah.search.hash_tables import HashTables, part_lengths


def index_of(codes, ids=None, kind=MultiIndex):
    index = kind(codes.bits)
    index.add(codes, ids=ids)
    return index


@pytest.mark.parametrize("bits", [1, 8, 16, 24, 25, 48, 64, 65, 100, 256, 1000, 4096])
@pytest.mark.parametrize("n", [0, 1, 1000, 10**6, 10**7, 5 * 10**7, 2**32 - 1])
def test_parts(bits, n):
    lengths = part_lengths(bits, n)
    assert 1 <= len(lengths) <= 8
    assert max(lengths) - min(lengths) <= 1
    assert set(lengths) <= set(range(1, 25))
    assert sum(lengths) == bits or (len(lengths) == 8 and sum(lengths) < bits)


def test_tables_are_what_sorting_gives():
    codes = clustered(700, 40)
    blocks = CodeBlocks(40)
    blocks.append(codes.packed)
    tables = HashTables.build(blocks, (9, 11))
    bits = np.unpackbits(codes.packed, axis=1)
    for t, (a, b) in enumerate(((0, 9), (9, 20))):
        values = bits[:, a:b] @ (1 << np.arange(b - a)[::-1])
        order = np.argsort(values, kind="stable")
        np.testing.assert_array_equal(tables.order[t], order)
        np.testing.assert_array_equal(tables.codes[t].view(np.uint8).reshape(700, 5), codes.packed[order])
        starts = tables.starts[tables.bases[t] : tables.bases[t + 1]]
        np.testing.assert_array_equal(np.diff(starts), np.bincount(values, minlength=1 << (b - a)))
        assert starts[0] == 0
    assert tables.belong_to(blocks)
    blocks.append(codes.packed[:1])
    assert not tables.belong_to(blocks)
