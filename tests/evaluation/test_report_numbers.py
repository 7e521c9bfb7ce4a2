"""What a report holds beside the means of single measures: curves, classes and JSON."""

import json

import numpy as np
import pytest

from cmah.codes import BinaryCodes
from cmah.evaluation import evaluate


def random_codes(n, bits=12, seed=0, **known):
    random = np.random.default_rng(seed)
    categories = random.integers(0, 3, n)
    base = np.random.default_rng(99).choice([-1, 1], (3, bits))
    signs = base[categories] * np.where(random.random((n, bits)) < 0.25, -1, 1)
    known = {"categories": categories.astype(str), "shape_ids": (np.arange(n) % 10).astype(str), **known}
    return BinaryCodes.from_signs(signs.astype(np.int8), **known)


def test_curves_by_rank():
    query, database = random_codes(10, seed=3), random_codes(35, seed=4)
    report = evaluate(query, database, k=(1, 10, 20))
    curve = report.curves["rank"]
    assert curve["k"] == [1, 2, 3, 5, 7, 10, 15, 20, 30, 35]
    for i, k in ((0, 1), (5, 10), (7, 20)):
        assert curve["precision"][i] == pytest.approx(report[f"p@{k}"])
        assert curve["recall"][i] == pytest.approx(report[f"r@{k}"])
    assert curve["recall"][-1] == pytest.approx(1)


@pytest.mark.parametrize("ties", ["expected", "position"])
def test_curves_by_radius(ties):
    query, database = random_codes(10, seed=3), random_codes(35, seed=4)
    labels = [*query.categories[:9], "elsewhere"]  # the last one is left out
    report = evaluate(query, database, labels, ties=ties)
    distance = (query.signs()[:9, None] != database.signs()[None]).sum(axis=2)
    same = query.categories[:9, None] == database.categories[None]
    curve = report.curves["radius"]
    assert curve["radius"] == list(range(13))
    for radius in curve["radius"]:
        inside = distance <= radius
        hits = (inside & same).sum(axis=1)
        precision = hits / np.maximum(inside.sum(axis=1), 1)
        assert curve["precision"][radius] == pytest.approx(precision.mean())
        assert curve["recall"][radius] == pytest.approx((hits / same.sum(axis=1)).mean())
        assert curve["retrieved"][radius] == pytest.approx(inside.sum(axis=1).mean())
        if radius == 2:
            assert report["p_radius2"] == pytest.approx(precision.mean())
            np.testing.assert_allclose(report.per_query["p_radius2"], [*precision, np.nan])


def test_classes():
    query, database = random_codes(30, seed=3), random_codes(35, seed=4)
    labels = np.array([*query.categories[:28], "elsewhere", ""])
    report = evaluate(query, database, labels, k=(5, 10))
    table = report.per_class
    assert table["category"] == ["0", "1", "2"]
    for row, name in enumerate(table["category"]):
        mine = labels == name
        assert table["queries"][row] == mine.sum()
        for column, measure in (("map", "ap"), ("nn", "nn"), ("p@5", "p@5"), ("p@10", "p@10")):
            assert table[column][row] == pytest.approx(report.per_query[measure][mine].mean())
    assert report["map_class"] == pytest.approx(np.mean(table["map"]))
    assert report["map_class"] != pytest.approx(report["map"])
    one = evaluate(query, database, ["a"] * 30, ["a"] * 35)
    assert one["map_class"] == one["map"] == 1
    by_shape = evaluate(query, database, relevance="instance")
    assert by_shape["map_class"] == pytest.approx(np.mean(by_shape.per_class["map"]))
    nameless = BinaryCodes.from_packed(query.packed, 12, shape_ids=query.shape_ids)
    without = evaluate(nameless, database, relevance="instance")
    assert without.per_class == {"category": [], "queries": [], "map": [], "nn": [], "p@10": []}
    columns = ("category", "queries", "acc@1", "acc@5", "acc@10")
    assert without.shape_per_class == {column: [] for column in columns}
    assert "map_class" not in without


def test_classes_of_the_measures_of_the_same_shape():
    query, database = random_codes(30, seed=3), random_codes(35, seed=4)
    labels = np.array([*query.categories[:28], "elsewhere", ""])
    shapes = np.array([*query.shape_ids[:5], "no such shape", *query.shape_ids[6:]])
    report = evaluate(query, database, labels, query_instances=shapes)
    table = report.shape_per_class
    assert list(table) == ["category", "queries", "acc@1", "acc@5", "acc@10"]
    assert table["category"] == ["0", "1", "2", "elsewhere"]
    for row, name in enumerate(table["category"]):
        mine = labels == name
        assert table["queries"][row] == mine.sum()
        for column in ("acc@1", "acc@5", "acc@10"):
            assert table[column][row] == pytest.approx(np.nanmean(report.per_query[column][mine]))
    assert json.loads(report.to_json())["shape_per_class"] == table
    nothing_known = evaluate(query, database, query_instances=["?"] * 30)
    assert np.isnan(nothing_known.shape_per_class["acc@1"]).all()
    assert nothing_known.to_dict()["shape_per_class"]["acc@1"] == [None] * 3


def test_means_of_the_measures_of_queries():
    report = evaluate(random_codes(11, seed=3), random_codes(35, seed=4))
    names = {"map": "ap", "anmrr": "nmrr", "mrr": "rr", "map_instance@10": "ap_instance@10"}
    for bound in ("", "_best", "_worst"):
        for name in ("p@10", "r@10", "ndcg@10", "nn", "ft", "st", "f@20", "dcg", "acc@1", "acc@5", *names):
            column = report.per_query[names.get(name, name) + bound]
            assert report[name + bound] == pytest.approx(column.mean()), name
        assert report[f"median_rank{bound}"] == np.median(report.per_query[f"rank{bound}"])
    # one relevant item: AP within 10 ranks is the reciprocal rank within 10
    single = evaluate(
        random_codes(11, seed=3), random_codes(35, seed=4), ties="position",
        query_instances=np.arange(11), database_instances=np.arange(35),
    )  # fmt: skip
    rank = single.per_query["rank"]
    np.testing.assert_allclose(single.per_query["ap_instance@10"], np.where(rank <= 10, 1 / rank, 0))
    np.testing.assert_allclose(single.per_query["rr"], 1 / rank)


def test_report():
    report = evaluate(random_codes(10, seed=3), random_codes(35, seed=4))
    assert "map" in report
    assert "nonsense" not in report
    with pytest.raises(KeyError, match="known: map, "):
        report["nonsense"]
    record = json.loads(report.to_json())
    assert record["values"] == report.values
    assert record["curves"] == report.curves
    assert record["per_class"] == report.per_class
    assert record["rules"]["denominator"] == "relevant"
