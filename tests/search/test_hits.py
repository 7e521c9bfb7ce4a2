"""Hits as objects: one query at a time, iteration and plain lists, beside slicing the arrays by hand."""

import json

import numpy as np
import pytest
from slow_search import clustered

from cmah.search import HammingIndex, Hit, Hits, MultiIndex, QueryHits, RadiusHits


def make(kind=HammingIndex, names=False, n=60, bits=24):
    index = kind(bits)
    index.add(clustered(n, bits), ids=[f"item {i}" for i in range(n)] if names else np.arange(n) * 3)
    return index


def by_hand(hits):
    """(id, distance, position) of each query's hits, sliced out of the arrays."""
    if isinstance(hits, RadiusHits):
        spans = [slice(a, b) for a, b in zip(hits.offsets[:-1], hits.offsets[1:], strict=True)]
        columns = [
            [column[span].tolist() for span in spans] for column in (hits.ids, hits.distances, hits.positions)
        ]
    else:
        columns = [column.tolist() for column in (hits.ids, hits.distances, hits.positions)]
    return [list(zip(*query, strict=True)) for query in zip(*columns, strict=True)]


@pytest.fixture(params=["nearest", "radius"])
def search(request):
    """A function from an index and queries to hits of either kind; some queries have no hit within the radius."""
    if request.param == "nearest":
        return lambda index, queries: index.search(queries, 7)
    return lambda index, queries: index.search_radius(queries, 4)


@pytest.mark.parametrize("kind", [HammingIndex, MultiIndex])
@pytest.mark.parametrize("names", [False, True])
def test_the_same_as_slicing_by_hand(search, kind, names):
    hits = search(make(kind, names), clustered(9, 24, 1))
    expected = by_hand(hits)
    assert len(hits) == len(expected) == 9
    assert [list(query) for query in hits] == expected
    for i, query in enumerate(expected):
        for each in (hits[i], hits[i - 9], hits[np.int32(i)]):
            assert isinstance(each, QueryHits)
            assert (len(each), list(each)) == (len(query), query)
            assert list(zip(each.ids.tolist(), each.distances, each.positions, strict=True)) == query
            assert (each.ids.dtype, each.distances.dtype, each.positions.dtype) == (
                hits.ids.dtype,
                np.int32,
                np.int64,
            )
            assert [each[rank] for rank in range(len(query))] == query
            assert [each[rank - len(query)] for rank in range(len(query))] == query
    keys = ("id", "distance", "position")
    assert hits.to_list() == [[dict(zip(keys, hit, strict=True)) for hit in query] for query in expected]
    assert json.loads(json.dumps(hits.to_list())) == hits.to_list()


def test_a_hit_has_names_and_plain_types():
    hit = make(names=True).search(clustered(1, 24, 1), 1)[0][0]
    assert isinstance(hit, Hit)
    assert (type(hit.id), type(hit.distance), type(hit.position)) == (str, int, int)
    assert type(make().search(clustered(1, 24, 1), 1)[0][0].id) is int


def test_out_of_range(search):
    hits = search(make(), clustered(3, 24, 1))
    for number in (3, -4, 10**30):
        with pytest.raises(IndexError, match=f"query {number} of 3"):
            hits[number]
    one = make().search(clustered(1, 24, 1), 2)[0]
    for rank in (2, -3):
        with pytest.raises(IndexError, match=f"hit {rank} of 2"):
            one[rank]
    for wrong in (1.0, "0", slice(2), None):
        with pytest.raises(TypeError):
            hits[wrong]


def test_nothing_found(search):
    for index, queries in ((HammingIndex(24), clustered(2, 24)), (make(), clustered(0, 24))):
        hits = search(index, queries)
        assert len(hits) == len(queries)
        assert [len(query) for query in hits] == [0] * len(queries)
        assert hits.to_list() == [[]] * len(queries)
        with pytest.raises(IndexError):
            hits[len(queries)]


def test_the_arrays_stay():
    assert list(Hits.__dataclass_fields__) == ["ids", "distances", "positions"]
    assert list(RadiusHits.__dataclass_fields__) == [
        "offsets",
        "ids",
        "distances",
        "positions",
    ]
