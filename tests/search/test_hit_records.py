"""Hits as records and as text."""

import csv
import io

import pytest
from slow_search import clustered, distances, found

from cmah.codes import BinaryCodes
from cmah.errors import CodesError
from cmah.search import HammingIndex
from cmah.search.hit_records import read_categories, records_csv, records_table, search_records


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


def test_categories_of_a_code_file(tmp_path):
    clustered(2, 8, ids=["a", "b"], categories=["x", "y"]).save(tmp_path / "good.npz")
    assert read_categories(tmp_path / "good.npz") == {"a": "x", "b": "y"}
    clustered(2, 8, ids=["a", "b"]).save(tmp_path / "bad.npz")
    with pytest.raises(CodesError, match=r"bad\.npz: has no ids or no categories"):
        read_categories(tmp_path / "bad.npz")
