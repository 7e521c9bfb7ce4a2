"""Which items are relevant, against a comparison of every pair of labels."""

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CodesError
from cmah.evaluation.relevance import (
    classes,
    joint_classes,
    relation,
    relation_of_classes,
    require_comparable,
)


@pytest.mark.parametrize("text", [True, False])
def test_relevant_items_are_neighbours_in_the_order(text):
    random = np.random.default_rng(0)
    query, database = random.integers(0, 6, 12), random.integers(0, 5, 30)
    if text:
        query, database = (np.where(side == 0, "", side.astype(str)) for side in (query, database))
    same = (query[:, None] == database[None]) & ((query[:, None] != "") if text else True)
    got = relation(query, database, 12, 30)
    assert sorted(got.order) == list(range(30))
    for i in range(12):
        assert set(got.order[got.begin[i] : got.end[i]]) == set(np.flatnonzero(same[i]))
    np.testing.assert_array_equal(got.members(0, 12), same)
    np.testing.assert_array_equal(got.members(3, 5), same[3:5])
    sizes = np.unique(database[database != ""] if text else database, return_counts=True)[1]
    assert got.largest == sizes.max()
    np.testing.assert_array_equal(got.count(np.full(12, -1)), same.sum(axis=1))
    for item in range(30):  # left out of every query, relevant or not
        expected = np.delete(same, item, axis=1).sum(axis=1)
        np.testing.assert_array_equal(got.count(np.full(12, item)), expected)


def test_two_labels_together():
    random = np.random.default_rng(0)
    sides = [[random.choice(["", "a", "b", "c"], n) for n in (12, 30)] for _ in range(2)]
    joint = joint_classes(*(classes(query, database, 12, 30) for query, database in sides))
    expected = np.ones((12, 30), dtype=bool)
    for query, database in sides:
        expected &= (query[:, None] == database[None]) & (query[:, None] != "")
    np.testing.assert_array_equal(relation_of_classes(joint, 12).members(0, 12), expected)


def test_nothing():
    none = np.empty(0, dtype=str)
    got = relation(["a"], none, 1, 0)
    assert (got.largest, got.count(np.array([-1])).tolist()) == (0, [0])
    assert got.members(0, 1).shape == (1, 0)
    assert relation(none, ["a"], 0, 1).count(np.empty(0, dtype=int)).size == 0


def test_what_cannot_be_compared_is_named() -> None:
    codes, rows = BinaryCodes.from_bits([[0, 1]]), Embeddings(np.eye(2, dtype=np.float32))
    for query, database, message in (
        (codes, rows, "queries are codes, the database holds embeddings;"),
        (np.eye(2), np.eye(2), "the query is a ndarray, expected BinaryCodes or Embeddings"),
        (codes, "codes.npz", "the database is a str, expected BinaryCodes"),
    ):
        with pytest.raises(CodesError, match=message):
            require_comparable(query, database)
