"""Vectors of items: which rows belong to which item, and what is refused."""

import numpy as np
import pytest
from slow_search import clustered

from cmah.codes import Embeddings
from cmah.errors import CodesError
from cmah.search.item_vectors import ItemVectors, check_comparable, require_vectors, vectors_of_queries


def table(n=7, d=3, **columns):
    return Embeddings(np.random.default_rng(0).normal(size=(n, d)).astype(np.float32), **columns)


def test_rows_of_a_shape_may_lie_apart_and_rows_of_none_are_left_out():
    views = table(ids=list("abcdefg"), shape_ids=["x", "y", "", "x", "z", "y", "x"], space="one")
    items = ItemVectors.of_shapes(views, "views.npz")
    assert (items.names.tolist(), items.space, len(items)) == (["x", "y", "z"], "one", 3)
    for name, rows in {"x": [0, 3, 6], "y": [1, 5], "z": [4]}.items():
        at = items.names.tolist().index(name)
        begin, end = items.offsets[at : at + 2]
        assert np.array_equal(items.vectors[begin:end], views.embeddings[rows])
        assert np.array_equal(items.at(np.array([at])).vectors, views.embeddings[rows])
    some = items.at(np.array([2, 0, 2]))
    assert np.array_equal(some.vectors, views.embeddings[[4, 0, 3, 6, 4]])
    assert some.offsets.tolist() == [0, 1, 4, 5]


def test_vectors_in_order_are_not_copied():
    views = table(shape_ids=["x", "x", "y", "z", "z", "z", "w"])
    assert ItemVectors.of_shapes(views).vectors is views.embeddings
    assert ItemVectors.of_items(views).vectors is views.embeddings


def test_scores_are_those_of_the_chosen_items():
    items = ItemVectors.of_shapes(table(shape_ids=["x", "y", "x", "x", "z", "y", "x"]))
    queries, chosen = np.random.default_rng(1).normal(size=(4, 3)), np.array([1, 0])
    for weight in (None, np.random.default_rng(2).normal(size=(3, 3))):
        whole = items.scores(queries, weight)
        np.testing.assert_allclose(items.at(chosen).scores(queries, weight), whole[:, chosen], rtol=1e-12)
    assert not np.allclose(items.scores(queries), items.scores(queries, np.eye(3)))


def test_items_are_found_by_id_or_position():
    named = ItemVectors.of_items(table(3, ids=["7", "b", "12"]))
    assert named.numbers_of(np.array([12, 7]), np.array([0, 1])).tolist() == [2, 0]
    plain = ItemVectors.of_items(table(3), "plain.npy")
    assert plain.numbers_of(np.array(["x", "y"]), np.array([2, 0])).tolist() == [2, 0]
    with pytest.raises(CodesError, match=r"plain\.npy: has 3 rows, expected one for item 3"):
        plain.numbers_of(np.array(["x"]), np.array([3]))


@pytest.mark.parametrize(
    ("make", "columns", "message"),
    [
        (ItemVectors.of_items, {"ids": list("abcdeba")}, r"f\.npz: id a is there 2 times, expected one row"),
        (ItemVectors.of_shapes, {"ids": list("abcdefg")}, r"f\.npz: has no shape ids.*--per-view"),
        (ItemVectors.of_shapes, {"shape_ids": [""] * 7}, r"f\.npz: has no shape ids"),
        (ItemVectors.of_shapes, {"shape_ids": list("aabbccd"), "modality": "image"}, "vectors of images"),
        (
            ItemVectors.of_shapes,
            {"ids": list("abcdefg"), "shape_ids": list("abcdefg")},
            "a row for each shape",
        ),
    ],
)
def test_what_is_no_table_of_items(make, columns, message):
    with pytest.raises(CodesError, match=message):
        make(table(**columns), "f.npz")


def test_vectors_of_queries():
    codes = clustered(3, 8, ids=["a", "b", "c"])
    given = table(4, ids=["c", "x", "a", "b"])
    assert np.array_equal(vectors_of_queries(codes, given, "q.npz").embeddings, given.embeddings[[2, 3, 0]])
    plain = table(3)
    assert vectors_of_queries(codes, plain, "q.npy") is plain
    assert vectors_of_queries(clustered(4, 8), given, "q.npz") is given
    with pytest.raises(CodesError, match=r"q\.npz: has no row for query b"):
        vectors_of_queries(codes, table(2, ids=["a", "c"]), "q.npz")
    with pytest.raises(CodesError, match=r"q\.npz: has 4 rows of 3 ids, expected one row for each query"):
        vectors_of_queries(codes, table(4, ids=["a", "b", "c", "a"]), "q.npz")
    with pytest.raises(CodesError, match=r"q\.npy: has 4 rows, expected 3, one for each query"):
        vectors_of_queries(codes, table(4), "q.npy")


def test_what_cannot_be_compared():
    items = ItemVectors.of_items(table(space="one"), "f.npz")
    check_comparable(table(space=""), items)
    with pytest.raises(CodesError, match=r"f\.npz: vectors of space one, expected two"):
        check_comparable(table(space="two"), items)
    with pytest.raises(CodesError, match=r"f\.npz: vectors of 3 numbers, expected 4"):
        check_comparable(table(d=4), items)
    with pytest.raises(CodesError, match="2 vectors of queries, expected 3"):
        require_vectors(table(2), 3)
