"""The rules of an evaluation: as one object, as keywords of evaluate, and in the record."""

import dataclasses

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CodesError
from cmah.evaluation import Protocol, evaluate
from cmah.evaluation.protocol import LATER, RECORDED, ProtocolFields, Rules
from cmah.evaluation.voxels import Voxels
from cmah.search.row_vectors import RowVectors


def codes(n=12, seed=0):
    bits = np.random.default_rng(seed).integers(0, 2, (n, 6))
    return BinaryCodes.from_bits(
        bits, categories=["a", "b", "c"] * (n // 3), shape_ids=list("abcd") * (n // 4)
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ties": "position", "map_depth": 4, "denominator": "hits"},
        {"relevance": "instance", "k": (1, 3), "accuracy_at": (2,), "bootstrap": 7, "seed": 3},
        {"exclude_self": True},
        {"candidates": "category", "relevance": "instance", "mi3dor": True},
    ],
)
def test_a_protocol_says_what_the_keywords_say(settings):
    query, database = codes(), codes(seed=1)
    by_keyword, by_protocol = (
        evaluate(query, database, **settings),
        evaluate(query, database, protocol=Protocol(**settings)),
    )
    assert by_keyword.to_json() == by_protocol.to_json()
    assert by_protocol.rules.settings() == Protocol(**settings).settings()
    again = evaluate(query, database, protocol=by_protocol.rules)  # what came out goes in
    assert again.rules == by_protocol.rules


def test_keywords_change_a_protocol():
    query, database = codes(), codes(seed=1)
    report = evaluate(query, database, protocol=Protocol(ties="position", k=(2,)), k=(3,))
    assert (report.rules.ties, report.rules.k) == ("position", (3,))
    assert "p@3" in report
    with pytest.raises(CodesError, match="is no rule of an evaluation"):
        evaluate(query, database, tie="position")


def test_keywords_of_evaluate_are_the_fields_of_a_protocol():
    assert list(ProtocolFields.__annotations__) == [field.name for field in dataclasses.fields(Protocol)]


def test_the_record_has_every_rule_but_the_depths_that_names_tell():
    names = {field.name for field in dataclasses.fields(Rules)}
    recorded_where_they_differ = {"query_splits", "database_splits"}
    assert names - set(RECORDED) - recorded_where_they_differ == {
        "k",
        "accuracy_at",
        "exclude_self",
        "mi3dor",
    }
    plain = evaluate(codes(), codes(seed=1)).rules.record()
    assert list(plain) == [name for name in RECORDED if name not in LATER]
    voxels = Voxels.of({name: np.ones((2, 2, 2)) for name in "abcd"}.get, "as stored")
    rules = {"candidates": "category", "relevance": "instance", "voxels": voxels, "rerank": 2}
    real = Embeddings(codes().signs().astype(np.float32))
    views = tuple(RowVectors.of(real, each) for each in (codes(), codes(seed=1)))
    rules["rerank_by"] = "real+views"
    assert list(evaluate(codes(), codes(seed=1), real=real, views=views, **rules).rules.record()) == list(
        RECORDED
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"relevance": "colour"}, "relevance 'colour' is unknown, expected 'category' or 'instance'"),
        ({"ties": "random"}, "ties 'random' is unknown, expected 'expected' or 'position'"),
        (
            {"denominator": "k"},
            r"denominator 'k' is unknown, expected 'relevant' or 'min\(relevant,k\)' or 'hits'",
        ),
        ({"candidates": "shape"}, "candidates 'shape' is unknown, expected 'all' or 'category'"),
        ({"candidates": "category"}, "every candidate would be relevant, expected relevance 'instance'"),
        ({"k": (0,)}, r"k is 0, expected 1 to"),
        ({"map_depth": 0}, r"map_depth is 0"),
        ({"accuracy_at": (1.5,)}, "expected a whole number"),
    ],
)
def test_what_is_no_rule_is_refused(settings, message):
    with pytest.raises(CodesError, match=message):
        Protocol(**settings)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Protocol().k = (1,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bootstrap": -1}, "bootstrap is -1, expected 0 to"),
        ({"bootstrap": 10**23}, "bootstrap is 1000.*, expected 0 to 2147483647 draws"),
        ({"bootstrap": 1.5}, "bootstrap is 1.5, expected a whole number"),
        ({"seed": -1}, "seed is -1, expected 0 or more"),
    ],
)
def test_draws_and_seeds_out_of_range_are_refused(settings, message):
    with pytest.raises(CodesError, match=message):
        Protocol(**settings)


def test_what_is_searched_is_part_of_the_rules():
    def with_splits(splits):
        return BinaryCodes.from_bits([[0, 0], [0, 1], [1, 1]], categories=["a", "a", "b"], splits=splits)

    test, mixed, none = ["test"] * 3, ["test", "train", ""], [""] * 3
    for query, database, text in (
        (test, mixed, "3 queries of split test, 3 items of splits (none), test, train"),
        (test, test, "3 queries of split test, 3 items of split test"),
        (test, None, "3 queries of split test, 3 items"),
        (none, none, "3 queries, 3 items"),
        (None, None, "3 queries, 3 items"),
    ):
        rules = evaluate(with_splits(query), with_splits(database)).rules
        assert rules.counts() == text
        recorded = {name: rules.record().get(name) for name in ("query_splits", "database_splits")}
        differ = {"query_splits": ["test"], "database_splits": ["", "test", "train"]}
        assert recorded == (differ if database == mixed else dict.fromkeys(differ))


def test_one_depth_is_as_good_as_a_list_of_it():
    for one in (10, np.int64(10), np.array(10), [10], np.array([10]), (10,)):
        assert Protocol(k=one, accuracy_at=one) == Protocol(k=(10,), accuracy_at=(10,))
