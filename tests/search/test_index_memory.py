"""Results that do not fit are refused with numbers before they are computed; those that do are what they were."""

import numpy as np
import pytest

from cmah import memory
from cmah.codes import BinaryCodes
from cmah.errors import CodesError
from cmah.search import HammingIndex, MultiIndex, multi_hashing
from cmah.search import index as index_module


def codes(n, seed, bits=16):
    return BinaryCodes.from_bits(np.random.default_rng(seed).integers(0, 2, (n, bits)))


@pytest.fixture(params=[HammingIndex, MultiIndex])
def index(request):
    made = request.param(bits=16)
    made.add(codes(3000, 0), ids=[f"item{i}" for i in range(3000)])
    return made


@pytest.fixture
def little(monkeypatch):
    """A machine with so many bytes left, where everything is asked about."""

    def leave(size):
        monkeypatch.setattr(memory, "SMALL", 0)
        for module in (index_module, multi_hashing):
            monkeypatch.setattr(module, "SMALL", 0)
            monkeypatch.setattr(module, "lately_available_bytes", lambda: size)
        monkeypatch.setattr(memory, "available_bytes", lambda: size)

    return leave


def test_too_many_nearest_items_are_refused(index, little):
    queries = codes(40, 1)
    little(10**7)
    index.search(queries, k=20)
    with pytest.raises(CodesError) as caught:
        index.search(queries, k=3000)
    text = str(caught.value)
    assert text.startswith("k is 3,000: the hits of 40 queries need ")
    assert text.endswith("10.0 MB are available; ask for fewer (-k), or search with fewer queries at a time")
    with pytest.raises(CodesError, match="k is 3,000: the hits of 40 queries need"):
        index.search_together(queries, k=3000, owners=np.arange(40))
    little(10**6)
    with pytest.raises(CodesError, match="40 x 40,000 distances need"):
        HammingIndex.distances(queries, codes(40_000, 2))


def test_k_beyond_the_index_counts_as_its_items(index, little):
    little(10**8)
    assert index.search(codes(2, 1), k=10**9).ids.shape == (2, 3000)


@pytest.mark.parametrize("room", [30 * 10**6, 1_500_000, 600_000])
@pytest.mark.parametrize("radius", [0, 3])
def test_a_radius_search_in_little_memory_finds_the_same(index, little, room, radius):
    """All at once, some queries after the other, and one query after the other, counted first."""
    queries = codes(30, 1)
    expected = index.search_radius(queries, radius)
    little(room)
    near = index.search_radius(queries, radius)
    for name in ("offsets", "ids", "distances", "positions"):
        assert np.array_equal(getattr(near, name), getattr(expected, name)), name


@pytest.mark.parametrize("room", [1_500_000, 500_000])
def test_too_many_items_within_a_radius_are_refused(index, little, room):
    little(room)
    with pytest.raises(
        CodesError, match=r"radius is 16: [\d,]+ hits of \d+ (query|queries) need .* a smaller radius"
    ):
        index.search_radius(codes(30, 1), radius=16)


def test_tables_search_all_queries_at_once_where_a_scan_would_have_to_go_in_steps(monkeypatch):
    """What tables can find before they are given up bounds the memory, not the number of codes."""
    bits, n = 64, 50_000
    index = MultiIndex(bits)
    index.add(codes(n, 0, bits))
    queries, searched = codes(100, 1, bits), []
    expected = index.search_radius(queries, 2)
    by_tables = multi_hashing.search_tables

    def watched(*args, **options):
        searched.append(len(args[2]))
        return by_tables(*args, **options)

    each = multi_hashing.ENTRY + multi_hashing.HIT + index._ids.bytes_each
    monkeypatch.setattr(multi_hashing, "SMALL", 0)
    monkeypatch.setattr(multi_hashing, "search_tables", watched)
    for share, steps in ((0.2, [100]), (0.02, None)):  # of what 100 queries take that have all codes as hits
        searched.clear()
        monkeypatch.setattr(
            multi_hashing, "lately_available_bytes", lambda share=share: int(share * 100 * n * each)
        )
        near = index.search_radius(queries, 2)
        assert near.positions.tolist() == expected.positions.tolist()
        assert sum(searched) == 100
        assert searched == steps if steps else len(searched) > 1


def test_counting_is_that_of_the_scan():
    index = HammingIndex(bits=70)
    index.add(codes(70_001, 3, bits=70))
    queries = codes(3, 4, bits=70)
    for radius in (0, 30, 35, 70):
        sizes = np.diff(index.search_radius(queries, radius).offsets).tolist()
        words = index._blocks.as_words(queries.packed)
        counts = [
            index_module.numpy_scan.count_within(
                [words for words, _ in index._blocks.segments()], 70_001, word, radius
            )
            for word in words
        ]
        assert counts == sizes
