"""The index against plain distances: what it finds, what must not change the answer, what it refuses."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slow_search import BACKENDS, backend, clustered, distances, found

from cmah.codes import BinaryCodes
from cmah.errors import CodesError
from cmah.search import HammingIndex
from cmah.search import scan as scanning

LENGTHS = st.sampled_from((1, 8, 13, 16, 24, 40, 63, 64, 72, 96))


@pytest.fixture(params=BACKENDS)
def either(request):
    with backend(request.param):
        yield request.param


def searching(examples):
    """Settings of a property that holds by either backend, which stays as it is over the examples."""
    return settings(
        max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )


def index_of(codes, ids=None):
    index = HammingIndex(codes.bits)
    index.add(codes, ids=ids)
    return index


def hit_pairs(hits):
    return [
        list(zip(d.tolist(), p.tolist(), strict=True))
        for d, p in zip(hits.distances, hits.positions, strict=True)
    ]


def radius_pairs(near):
    both = list(zip(near.distances.tolist(), near.positions.tolist(), strict=True))
    return [both[a:b] for a, b in zip(near.offsets[:-1], near.offsets[1:], strict=True)]


def assert_same(a, b):
    for name, value in vars(a).items():
        np.testing.assert_array_equal(value, getattr(b, name))
        assert value.dtype == getattr(b, name).dtype


@searching(40)
@given(n=st.integers(0, 40), q=st.integers(0, 4), bits=st.integers(1, 150), k=st.integers(1, 45))
def test_search_is_a_stable_sort(n, q, bits, k):
    database, queries = clustered(n, bits), clustered(q, bits, 1)
    with backend("numpy"):  # every length compiled would take minutes
        hits = index_of(database).search(queries, k)
    rows = distances(queries, database)
    assert hits.ids.shape == hits.distances.shape == hits.positions.shape == (q, min(k, n))
    assert (hits.ids.dtype, hits.distances.dtype, hits.positions.dtype) == (np.int64, np.int32, np.int64)
    assert hit_pairs(hits) == [found(row, k) for row in rows]
    np.testing.assert_array_equal(hits.ids, hits.positions)


@pytest.mark.parametrize("radius", [0, 1, 3, 10, 32, 99])
def test_radius(either, radius):
    database, queries = clustered(50, 64), clustered(5, 64, 1)
    near = index_of(database, np.arange(50) * 7).search_radius(queries, radius)
    assert radius_pairs(near) == [found(row, radius=radius) for row in distances(queries, database)]
    assert near.ids.tolist() == (7 * near.positions).tolist()
    assert (near.offsets.dtype, near.ids.dtype, near.distances.dtype) == (np.int64, np.int64, np.int32)


@searching(25)
@given(bits=LENGTHS, seed=st.integers(0, 999), k=st.integers(1, 80))
def test_a_mask_over_everything_changes_nothing(either, bits, seed, k):
    database, queries = clustered(70, bits, seed), clustered(3, bits, seed + 1)
    mask = clustered(1, bits, seed + 2).packed

    def masked(codes):
        return BinaryCodes.from_packed(codes.packed ^ mask, bits)

    plain, other = index_of(database), index_of(masked(database))
    assert_same(plain.search(queries, k), other.search(masked(queries), k))
    assert_same(plain.search_radius(queries, bits // 4), other.search_radius(masked(queries), bits // 4))


@searching(25)
@given(bits=LENGTHS, seed=st.integers(0, 999), k=st.integers(1, 80))
def test_another_order_changes_the_order_of_ties_only(either, bits, seed, k):
    database, queries = clustered(70, bits, seed), clustered(3, bits, seed + 1)
    order = np.random.default_rng(seed).permutation(70)
    plain, other = index_of(database), index_of(database[order], order)
    for a, b in zip(hit_pairs(plain.search(queries, 70)), other.search(queries, 70).ids, strict=True):
        assert {position for _, position in a} == set(b.tolist())
    first, second = plain.search(queries, k), other.search(queries, k)
    np.testing.assert_array_equal(first.distances, second.distances)
    for i in range(len(queries)):
        nearer = first.distances[i] < first.distances[i, -1]  # at the last distance there may be more than k
        assert set(first.ids[i][nearer].tolist()) == set(second.ids[i][nearer].tolist())
    rows = distances(queries, database[order])
    assert hit_pairs(second) == [found(row, k) for row in rows]
    near = plain.search_radius(queries, bits // 3), other.search_radius(queries, bits // 3)
    np.testing.assert_array_equal(near[0].offsets, near[1].offsets)
    np.testing.assert_array_equal(near[0].distances, near[1].distances)
    for a, b in zip(near[0].offsets[:-1], near[0].offsets[1:], strict=True):
        assert set(near[0].ids[a:b].tolist()) == set(near[1].ids[a:b].tolist())


@searching(15)
@given(
    bits=LENGTHS,
    seed=st.integers(0, 999),
    cuts=st.lists(st.integers(0, 1300), max_size=4),
    k=st.integers(1, 1400),
    threads=st.integers(1, 4),
    mmap=st.booleans(),
)
def test_nothing_of_how_it_is_done_changes_the_answer(either, tmp_path, bits, seed, cuts, k, threads, mmap):
    """Batches, threads, adding in parts, the other backend, the index from memory or from its file."""
    database, queries = clustered(1300, bits, seed), clustered(5, bits, seed + 1)
    index = index_of(database)
    hits = index.search(queries, k, threads=1)
    near = index.search_radius(queries, bits // 4, threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "WORTH_A_THREAD", 1)
        assert_same(hits, index.search(queries, k, threads=threads))
        assert_same(near, index.search_radius(queries, bits // 4, threads=threads))
    alone = [index.search(queries[i], k) for i in range(5)]
    np.testing.assert_array_equal(hits.positions, np.concatenate([one.positions for one in alone]))
    np.testing.assert_array_equal(hits.distances, np.concatenate([one.distances for one in alone]))
    parts = HammingIndex(bits)
    borders = [0, *sorted(cuts), 1300]
    for first, last in pairwise(borders):
        parts.add(database[first:last])
    assert_same(hits, parts.search(queries, k))
    assert_same(near, parts.search_radius(queries, bits // 4))
    assert parts.codes == index.codes == database
    with backend("compiled" if either == "numpy" else "numpy"):
        assert_same(hits, index.search(queries, k))
        assert_same(near, index.search_radius(queries, bits // 4))
    index.save(tmp_path / "index.cmah")
    opened = HammingIndex.open(tmp_path / "index.cmah", mmap=mmap)
    assert_same(hits, opened.search(queries, k))
    assert_same(near, opened.search_radius(queries, bits // 4))


@pytest.mark.parametrize("bits", [8, 24, 64, 320])
@pytest.mark.parametrize("equal", [False, True])
def test_faiss_finds_the_same(either, bits, equal):
    """Distance by distance, with ties as sets: FAISS may name any of those at the last distance."""
    faiss = pytest.importorskip("faiss")
    database, queries = clustered(700, bits), clustered(8, bits, 1)
    database = database[np.zeros(700, dtype=int)] if equal else database
    index, other = index_of(database), faiss.IndexBinaryFlat(bits)
    other.add(database.packed)
    truth = distances(queries, database)
    for k in (1, 10, 300, 700):
        hits = index.search(queries, k)
        theirs, positions = other.search(queries.packed, k)
        np.testing.assert_array_equal(hits.distances, theirs)
        for i in range(len(queries)):
            inside = theirs[i] < theirs[i, -1]
            assert set(hits.positions[i][inside].tolist()) == set(positions[i][inside].tolist())
            assert (truth[i, positions[i]] == theirs[i]).all()
    for radius in (0, 2, bits // 4):
        near = radius_pairs(index.search_radius(queries, radius))
        limits, theirs, positions = other.range_search(queries.packed, radius + 1)  # theirs is exclusive
        for i, pairs in enumerate(near):
            part = slice(int(limits[i]), int(limits[i + 1]))
            both = zip(theirs[part].astype(int).tolist(), positions[part].tolist(), strict=True)
            assert sorted(both) == pairs


@pytest.mark.parametrize("ids", [None, np.arange(90)[::-1] * 3, [f"item {i}" for i in range(90)]])
def test_subset(either, ids):
    database, queries = clustered(90, 24), clustered(4, 24, 1)
    index = index_of(database, ids)
    rows = distances(queries, database)
    mask = np.random.default_rng(0).random(90) < 0.4
    inside = np.flatnonzero(mask)
    shuffled = np.random.default_rng(1).permutation(inside)
    for subset in (mask, mask.tolist(), index.ids[shuffled], index.ids[[*shuffled, *shuffled]].tolist()):
        hits = index.search(queries, 12, subset=subset)
        near = index.search_radius(queries, 8, subset=subset)
        for result, radius, k in ((hit_pairs(hits), None, 12), (radius_pairs(near), 8, None)):
            for row, pairs in zip(rows, result, strict=True):
                allowed = [pair for pair in found(row, radius=radius) if mask[pair[1]]]
                assert pairs == allowed[:k]
        np.testing.assert_array_equal(hits.ids, index.ids[hits.positions])
        np.testing.assert_array_equal(near.ids, index.ids[near.positions])
    assert index.search(queries, 90, subset=mask).ids.shape == (4, mask.sum())
    for nothing in ([], np.zeros(90, dtype=bool), np.array([], dtype=np.int64)):
        assert index.search(queries, 3, subset=nothing).ids.shape == (4, 0)
        assert index.search_radius(queries, 24, subset=nothing).offsets.tolist() == [0] * 5
    for wrong in (mask[:-1], mask[None], [True]):
        with pytest.raises(CodesError, match=r"subset has shape .*, expected \[90\] for a mask"):
            index.search(queries, 3, subset=wrong)


def test_empty_index(either):
    index, queries = HammingIndex(64), clustered(2, 64)
    assert (len(index), index.ids.tolist(), list(index), len(index.codes)) == (0, [], [], 0)
    hits = index.search(queries, 3)
    assert hits.ids.shape == hits.distances.shape == hits.positions.shape == (2, 0)
    assert index.search_radius(queries, 64).offsets.tolist() == [0, 0, 0]
    index.add(clustered(0, 64))
    index.remove([])
    assert len(index) == 0
    index.add(queries)
    assert index.search(clustered(0, 64), 3).ids.shape == (0, 2)
    assert index.search_radius(clustered(0, 64), 3).offsets.tolist() == [0]


def test_iteration():
    codes = clustered(600, 24)
    index = index_of(codes, [f"item {i}" for i in range(600)])
    seen = list(index)
    assert [name for name, _ in seen] == [f"item {i}" for i in range(600)]
    np.testing.assert_array_equal([code for _, code in seen], codes.packed)
    assert [name for name, _ in index_of(codes)] == list(range(600))
    assert type(next(iter(index_of(codes)))[0]) is int


def test_what_is_handed_out_cannot_change_the_index():
    for bits in (24, 64):
        codes = clustered(530, bits)
        index = index_of(codes)
        for _, code in index:
            if code.flags.writeable:
                code[:] = 0
        index.codes.packed[:] = 0
        index.codes_of([1, 529]).packed[:] = 0
        index.ids[:] = 0
        np.testing.assert_array_equal(index.codes.packed, codes.packed)
        assert index.ids.tolist() == list(range(530))


@pytest.mark.parametrize("bits", [1, 15, 64, 200, 4096])
def test_distances(bits):
    a, b = clustered(6, bits), clustered(9, bits, 1)
    result = HammingIndex.distances(a, b)
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, distances(a, b))
    assert HammingIndex.distances(a[:0], b).shape == (0, 9)
    assert HammingIndex.distances(a, b[:0]).shape == (6, 0)
    for one, other in ((a.packed, b), (a, b.packed)):
        with pytest.raises(CodesError, match="ndarray, expected BinaryCodes"):
            HammingIndex.distances(one, other)
    with pytest.raises(CodesError, match=f"codes of 17 bits, expected {bits}"):
        HammingIndex.distances(a, clustered(1, 17))


def test_removing_is_never_having_added(either):
    codes, queries = clustered(1200, 64), clustered(3, 64, 1)
    index = index_of(codes)
    gone = np.random.default_rng(0).permutation(1200)[:700]
    index.remove(gone)
    left = np.setdiff1d(np.arange(1200), gone)
    assert index.ids.tolist() == left.tolist()
    assert_same(index.search(queries, 20), index_of(codes[left], left).search(queries, 20))
    with pytest.raises(CodesError, match="is not in this index"):
        index.remove([left[0], gone[0]])
    assert len(index) == 500


@pytest.mark.parametrize(
    "wrong", [2.0, 2.5, True, "3", None, float("nan"), [2], np.array([2]), np.float32(2)]
)
def test_what_is_no_whole_number(wrong):
    index = index_of(clustered(5, 24))
    for action in (lambda: index.search(clustered(1, 24), wrong), lambda: HammingIndex(wrong)):
        with pytest.raises(CodesError, match="expected a whole number"):
            action()
    with pytest.raises(CodesError, match=r"radius is .*, expected a whole number"):
        index.search_radius(clustered(1, 24), wrong)
    if wrong is not None:
        for where in (index, HammingIndex(24)):
            with pytest.raises(CodesError, match=r"threads is .*, expected a whole number"):
                where.search(clustered(1, 24), 1, threads=wrong)


@pytest.mark.parametrize("make", [int, np.int8, np.uint8, np.int32, np.uint64])
def test_whole_numbers_of_every_type(either, make):
    index, queries = index_of(clustered(5, 24)), clustered(2, 24, 1)
    assert_same(index.search(queries, make(2), threads=make(1)), index.search(queries, 2))
    assert_same(index.search_radius(queries, make(9)), index.search_radius(queries, 9))
    assert index.search(queries, 10**30).ids.shape == (2, 5)
    assert len(index.search_radius(queries, 10**30).ids) == 10


def test_refusals():
    index = HammingIndex(24, space="one")
    index.add(clustered(3, 24))
    with pytest.raises(CodesError, match="codes of 16 bits, expected 24"):
        index.search(clustered(1, 16))
    with pytest.raises(CodesError, match=r"truncate\(24\) gives such codes"):
        index.search(clustered(1, 48, prefixes=(24, 48)))
    with pytest.raises(CodesError, match="codes of space two, expected one"):
        index.add(clustered(1, 24, space="two"))
    with pytest.raises(CodesError, match="k is 0"):
        index.search(clustered(1, 24), 0)
    with pytest.raises(CodesError, match="radius is -1"):
        index.search_radius(clustered(1, 24), -1)
    with pytest.raises(CodesError, match="threads is 0, expected 1 or more"):
        index.search(clustered(1, 24), threads=0)
    with pytest.raises(CodesError, match="threads is 0, expected 1 or more"):
        index.search_radius(clustered(1, 24), 1, threads=0)
    with pytest.raises(CodesError, match="ndarray, expected BinaryCodes"):
        index.search(np.zeros((1, 3), np.uint8))
    for bits in (0, 4097):
        with pytest.raises(CodesError, match="expected 1 to 4096"):
            HammingIndex(bits)


def test_space_comes_from_the_first_codes_that_name_one():
    index = HammingIndex(24)
    index.add(clustered(1, 24))
    assert index.space == ""
    index.add(clustered(1, 24, space="one"))
    assert index.space == "one"
    with pytest.raises(CodesError, match="space"):
        index.search(clustered(1, 24, space="two"))
