"""Hits as records and as text."""

import csv
import io

import numpy as np
import pytest
from slow_search import clustered, distances, found

from cmah.codes import BinaryCodes, read_codes
from cmah.errors import CodesError
from cmah.search import HammingIndex
from cmah.search.hit_lines import records_csv, records_table
from cmah.search.hit_records import (
    categories_of,
    search_records,
    shape_ids_of_items,
)


def test_fewer_queries_at_a_time_where_there_is_little_memory(monkeypatch):
    codes, queries = clustered(400, 24), clustered(40, 24, 1)
    index = HammingIndex(24)
    index.add(codes)
    expected = search_records(index, queries, 300, threads=1)
    sizes, search = [], HammingIndex.search

    def counted(self, part, *given, **options):
        sizes.append(len(part))
        return search(self, part, *given, **options)

    monkeypatch.setattr(HammingIndex, "search", counted)
    for room, most in ((2_000_000, 4), (1000, 1), (None, 40)):
        monkeypatch.setattr("cmah.search.hit_records.available_bytes", lambda room=room: room)
        sizes.clear()
        assert search_records(index, queries, 300, threads=1) == expected
        assert (max(sizes), sum(sizes)) == (most, 40)


@pytest.mark.parametrize("limit", [{"k": 3}, {"radius": 5}])
def test_records_are_what_slow_search_gives(limit):
    codes, queries = clustered(40, 24), clustered(4, 24, 1)
    index = HammingIndex(24)
    index.add(codes, ids=[f"item {i}" for i in range(40)])
    records = search_records(index, queries, threads=1, category_of=lambda name: name[-1], **limit)
    assert [record["query"] for record in records] == ["0", "1", "2", "3"]
    assert [record["category"] for record in records] == ["0", "1", "2", "3"]
    for record, row in zip(records, distances(queries, codes), strict=True):
        expected = [
            {"rank": rank, "id": f"item {p}", "distance": d, "position": p, "category": str(p)[-1]}
            for rank, (d, p) in enumerate(found(row, **limit), start=1)
        ]
        assert record["hits"] == expected


def test_nested_queries_are_cut_and_keep_their_own_category():
    index = HammingIndex(8)
    index.add(clustered(5, 8))
    queries = clustered(2, 24, ids=["a", "b"], categories=["chair", ""], prefixes=(8, 24))
    records = search_records(index, queries, 1, category_of=lambda name: f"of {name}")
    assert [(record["query"], record["category"]) for record in records] == [("a", "chair"), ("b", "of b")]
    assert records[0]["hits"][0]["category"] == f"of {records[0]['hits'][0]['id']}"
    with pytest.raises(CodesError, match="codes of 24 bits, expected 8"):
        search_records(index, clustered(1, 24))


def test_text():
    index = HammingIndex(8)
    index.add(BinaryCodes.from_bits([[0] * 8, [1] * 8]), ids=['a,"b"', "c"])
    records = search_records(index, BinaryCodes.from_bits([[0] * 8, [1] * 4 + [0] * 4]), radius=2)
    assert records_table(records).splitlines() == ["0", '    1  a,"b"     0 bits', "1", "       no hit"]
    rows = list(csv.reader(io.StringIO(records_csv(records))))
    assert rows == [["query", "rank", "id", "distance", "category"], ["0", "1", 'a,"b"', "0", ""]]
    assert records_table([]) == ""


@pytest.mark.parametrize("together", [None, "mean", "least"])
@pytest.mark.parametrize("per_shape", [False, True])
def test_several_queries_as_one_and_shapes(together, per_shape):
    codes, queries = clustered(40, 24), clustered(4, 24, 1, ids=["a", "b", "c", "d"])
    shape_ids = np.array([f"shape {i // 6}" if i else "" for i in range(40)]) if per_shape else None
    index = HammingIndex(24)
    index.add(codes)
    records = search_records(index, queries, 3, together=together, shape_ids=shape_ids)
    if together is None:
        hits = index.search(queries, 3, group=shape_ids)
        assert [record["query"] for record in records] == ["a", "b", "c", "d"]
        assert not any("names" in record for record in records)
    else:
        hits = index.search_together(queries, 3, by=together, group=shape_ids)
        assert [(record["query"], record["names"]) for record in records] == [
            ("a and 3 more", ["a", "b", "c", "d"])
        ]
    for record, expected in zip(records, hits.to_list(), strict=True):
        shown = [{"shape_id": shape_ids[hit["position"]]} if per_shape else {} for hit in expected]
        assert record["hits"] == [
            {"rank": rank, **hit, "category": "", **shape}
            for rank, (hit, shape) in enumerate(zip(expected, shown, strict=True), start=1)
        ]


def test_queries_as_one_have_the_category_that_they_share():
    index = HammingIndex(8)
    index.add(clustered(5, 8))
    for categories, of_items, shared in (
        (["chair", "chair"], "", "chair"),
        (["chair", "lamp"], "", ""),
        (["chair", ""], "chair", "chair"),
        (None, "lamp", "lamp"),
        (["chair", ""], "", ""),
    ):
        queries = clustered(2, 8, categories=categories)
        (record,) = search_records(index, queries, 1, together="mean", category_of=lambda _, c=of_items: c)
        assert record["category"] == shared
    (record,) = search_records(index, clustered(1, 8, ids=["a"]), 1, together="least")
    assert (record["query"], record["names"]) == ("a", ["a"])
    assert search_records(index, clustered(0, 8), 1, together="mean") == []


def test_no_radius_for_shapes_or_several_queries():
    index = HammingIndex(8)
    index.add(clustered(2, 8))
    with pytest.raises(CodesError, match="radius is 0, expected none in a search for several queries as one"):
        search_records(index, clustered(2, 8), radius=0, together="mean")
    with pytest.raises(CodesError, match="radius is 3, expected none in a search that gives each shape once"):
        search_records(index, clustered(2, 8), radius=3, shape_ids=np.array(["a", "a"]))


def test_shapes_and_means_as_text():
    index = HammingIndex(8)
    index.add(BinaryCodes.from_bits([[0] * 8, [1] * 8, [0] * 8]), ids=["v0", "view 1", "v2"])
    queries, shape_ids = BinaryCodes.from_bits([[0] * 8, [1] + [0] * 7]), np.array(["chair,1", "b", "b"])
    records = search_records(index, queries, together="mean", shape_ids=shape_ids)
    assert records_table(records).splitlines() == [
        "0 and 1 more",
        "    1  chair,1  v0     0.50 bits",
        "    2  b        v2     0.50 bits",
    ]
    assert list(csv.reader(io.StringIO(records_csv(records)))) == [
        ["query", "rank", "id", "distance", "category", "shape_id"],
        ["0 and 1 more", "1", "v0", "0.5", "", "chair,1"],
        ["0 and 1 more", "2", "v2", "0.5", "", "b"],
    ]


def test_the_shape_of_each_item(tmp_path):
    codes = clustered(4, 8, ids=["7", "b", "c", "d"], shape_ids=["x", "x", "", "y"])
    index = HammingIndex(8)
    index.add(codes[[3, 1, 2, 0]])
    assert shape_ids_of_items(index, codes, "f").tolist() == ["y", "x", "", "x"]
    plain = clustered(4, 8, shape_ids=["x", "x", "", "y"])
    assert shape_ids_of_items(index, plain, "f").tolist() == ["x", "x", "", "y"]
    numbers = HammingIndex(8)
    numbers.add(clustered(2, 8), ids=[12, 7])
    both = clustered(2, 8, ids=["7", "12"], shape_ids=["x", "y"])
    assert shape_ids_of_items(numbers, both, "f").tolist() == ["y", "x"]
    for table, message in (
        (clustered(4, 8, ids=["7", "b", "c", "d"]), "f: has no shape ids, expected those of the items"),
        (clustered(4, 8, shape_ids=[""] * 4), "f: has no shape ids"),
        (codes[:3], "f: has 3 rows, expected 4, one for each item of the index"),
        (clustered(4, 8, ids=list("abcd"), shape_ids=list("xxyy")), "f: has no row for item 7 of the index"),
    ):
        with pytest.raises(CodesError, match=message):
            shape_ids_of_items(index, table, "f")


def test_categories_of_a_code_file(tmp_path):
    clustered(2, 8, ids=["a", "b"], categories=["x", "y"]).save(tmp_path / "good.npz")
    assert categories_of(read_codes(tmp_path / "good.npz"), "good.npz") == {"a": "x", "b": "y"}
    clustered(2, 8, ids=["a", "b"]).save(tmp_path / "bad.npz")
    with pytest.raises(CodesError, match=r"bad\.npz: has no ids or no categories"):
        categories_of(read_codes(tmp_path / "bad.npz"), "bad.npz")
