"""Several queries as one, beside fractions and sorting of all items: mean and least, grouped and not."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_search import clustered, distances

from cmah.codes import BinaryCodes
from cmah.errors import CodesError
from cmah.search import Groups, HammingIndex, Hits, MultiIndex, TogetherHits, together

WAYS = ("mean", "least")


def index_of(codes, kind=HammingIndex, ids=None):
    index = kind(codes.bits)
    index.add(codes, ids=ids)
    return index


def slow_together(rows, k, by, labels=None, allowed=None):
    """[(distance, position)] of the k nearest items, or groups, of one owner's rows of all distances."""
    ranked, hits, seen = [], [], set()
    for position in range(rows.shape[1]):
        column = [int(distance) for distance in rows[:, position]]
        distance = Fraction(sum(column), len(column)) if by == "mean" else min(column)
        if allowed is None or position in allowed:
            ranked.append((distance, position))
    for distance, position in sorted(ranked):
        label = "" if labels is None else labels[position]
        if label == "" or label not in seen:
            seen.add(label)
            hits.append((float(distance), position))
    return hits[:k]


def pairs(hits):
    return [
        list(zip(d.tolist(), p.tolist(), strict=True))
        for d, p in zip(hits.distances, hits.positions, strict=True)
    ]


def few_codes(n, bits, seed):
    return BinaryCodes.from_bits(np.random.default_rng([seed, bits]).integers(0, 2, (n, bits)))


@settings(max_examples=100, deadline=None)
@given(
    kind=st.sampled_from((HammingIndex, MultiIndex)),
    by=st.sampled_from(WAYS),
    n=st.integers(0, 50),
    owners=st.lists(st.sampled_from(("a", "b", "c", "")), max_size=8),
    bits=st.integers(1, 9),
    k=st.integers(1, 60),
    labels=st.sampled_from((None, 1, 2, 5, 40)),
    part=st.sampled_from((None, 0.0, 0.4)),
    seed=st.integers(0, 999),
)
def test_the_same_as_sorting_all(kind, by, n, owners, bits, k, labels, part, seed):
    random = np.random.default_rng(seed)
    database, queries = few_codes(n, bits, seed), few_codes(len(owners), bits, seed + 1)
    labels = None if labels is None else [str(x) if x else "" for x in random.integers(0, labels, n)]
    mask = None if part is None else random.random(n) < part
    allowed = None if mask is None else set(np.flatnonzero(mask).tolist())
    index = index_of(database, kind, ids=np.arange(n) * 3)
    hits = index.search_together(
        queries, k, by=by, owners=np.array(owners, dtype=str), group=labels, subset=mask, threads=1
    )
    parts = {}  # in order of first appearance; a row without an owner stands for itself
    for row, owner in enumerate(owners):
        parts.setdefault(owner or row, []).append(row)
    table = distances(queries, database)
    assert hits.owners.tolist() == ["" if isinstance(owner, int) else owner for owner in parts]
    assert pairs(hits) == [slow_together(table[rows], k, by, labels, allowed) for rows in parts.values()]
    np.testing.assert_array_equal(hits.ids, hits.positions * 3)
    assert hits.distances.dtype == (np.float64 if by == "mean" else np.int32)
    assert hits.positions.dtype == np.int64


@pytest.mark.slow
@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("bits", [11, 24, 64, 320, 4096])
def test_larger_sets_in_parts(monkeypatch, by, bits):
    """Many chunks of codes and a last block that is not full; the memory of a chunk is bounded."""
    monkeypatch.setattr(together, "AT_ONCE", 1)
    looked_at, combined = [], together._combined

    def watched(part, queries, by):
        looked_at.append(len(part))
        return combined(part, queries, by)

    monkeypatch.setattr(together, "_combined", watched)
    database, queries = clustered(1700, bits), clustered(7, bits, 1)
    owners, labels = [1, 2, 1, 1, 2, 3, 1], np.arange(1700) // 12
    index, rows = index_of(database), distances(queries, database)
    of = {owner: [i for i, each in enumerate(owners) if each == owner] for owner in (1, 2, 3)}
    for group in (None, labels, Groups.of(labels)):
        known = None if group is None else labels.tolist()
        for threads in (1, 3):
            hits = index.search_together(queries, 25, by=by, owners=owners, group=group, threads=threads)
            assert hits.owners.tolist() == [1, 2, 3]
            assert pairs(hits) == [slow_together(rows[each], 25, by, known) for each in of.values()]
    assert set(looked_at) == {1}


@pytest.mark.parametrize("by", WAYS)
def test_one_query_for_each_owner_is_the_plain_search(by):
    codes, queries = clustered(700, 24), clustered(6, 24, 1)
    for kind in (HammingIndex, MultiIndex):
        index = index_of(codes, kind)
        for group in (None, np.arange(700) // 5):
            plain = index.search(queries, 30, group=group)
            for owners in (np.arange(6), ["f", "e", "d", "c", "b", "a"], [""] * 6):
                hits = index.search_together(queries, 30, by=by, owners=owners, group=group)
                np.testing.assert_array_equal(hits.positions, plain.positions)
                np.testing.assert_array_equal(hits.distances, plain.distances)
                assert hits.owners.tolist() == np.asarray(owners).tolist()


@pytest.mark.parametrize("by", WAYS)
def test_queries_that_are_there_twice_or_in_another_order(by):
    index, queries = index_of(clustered(300, 24)), clustered(5, 24, 1)
    plain = index.search_together(queries, 20, by=by)
    for rows in ([4, 2, 0, 1, 3], [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]):
        other = index.search_together(queries[rows], 20, by=by)
        np.testing.assert_array_equal(other.positions, plain.positions)
        np.testing.assert_array_equal(other.distances, plain.distances)


def test_the_result_can_be_used_as_hits():
    index = index_of(BinaryCodes.from_bits([[0, 0, 0, 0], [0, 1, 1, 1]]), ids=["zero", "three"])
    photos = BinaryCodes.from_bits([[0, 0, 0, 1], [0, 0, 1, 1]])
    hits = index.search_together(photos, 2)
    assert isinstance(hits, Hits)
    assert list(TogetherHits.__dataclass_fields__) == ["ids", "distances", "positions", "owners"]
    assert (len(hits), hits.owners.tolist()) == (1, [0])
    assert hits.to_list()[0][0] == {"id": "zero", "distance": 1.5, "position": 0}
    assert hits[0][1].distance == 1.5
    assert [hit.id for hit in hits[0]] == ["zero", "three"]
    least = index.search_together(photos, 2, by="least")[0][0]
    assert (least.distance, type(least.distance)) == (1, int)


@pytest.mark.parametrize("by", WAYS)
def test_nothing_to_search(by):
    index, queries = HammingIndex(24), clustered(3, 24)
    assert index.search_together(queries, 5, by=by).ids.shape == (1, 0)
    assert index.search_together(queries, 5, by=by, group=[], owners=[1, 2, 2]).ids.shape == (2, 0)
    index.add(clustered(4, 24))
    for owners in (None, []):
        hits = index.search_together(queries[:0], 3, by=by, owners=owners)
        assert hits.ids.shape == hits.distances.shape == (0, 3)
    assert index.search_together(queries, 3, by=by, subset=[]).distances.shape == (1, 0)


def test_refusals():
    index, queries = index_of(clustered(5, 24)), clustered(3, 24, 1)
    for wrong, message in (
        ({"by": "median"}, "by is 'median', expected 'mean' or 'least'"),
        ({"owners": [1, 2]}, "owners has 2 labels, expected 3, one for each query"),
        ({"owners": [1.5, 2, 3]}, "owners are float64, expected whole numbers or text"),
        ({"owners": ["a", 1, 2]}, "owners are text and int"),
        ({"group": [1, 2]}, "group has 2 labels, expected 5, one for each item of the index"),
        ({"k": 0}, "k is 0, expected 1 or more"),
        ({"threads": 0}, "threads is 0"),
        ({"subset": [9]}, "id 9 is not in this index"),
    ):
        with pytest.raises(CodesError, match=message):
            index.search_together(queries, **wrong)
    with pytest.raises(CodesError, match="codes of 16 bits, expected 24"):
        index.search_together(clustered(1, 16))
    with pytest.raises(CodesError, match="ndarray, expected BinaryCodes"):
        index.search_together(queries.packed)
