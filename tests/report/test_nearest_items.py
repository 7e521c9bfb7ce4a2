"""First hits and chosen queries, each against a slow and obvious second implementation."""

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings
from cmah.evaluation import evaluate
from cmah.evaluation.evaluations import Evaluation
from cmah.evaluation.reranked import Reranked
from cmah.report.nearest_items import chosen_queries, nearest


def codes(n, bits, seed=0, **known):
    return BinaryCodes.from_bits(np.random.default_rng(seed).integers(0, 2, (n, bits)), **known)


def slow_nearest(query, database, k, own):
    """Every distance, sorted in Python by (distance, position)."""
    rows = []
    for q in range(len(query)):
        if isinstance(query, BinaryCodes):
            values = (query.unpacked()[q] != database.unpacked()).sum(axis=1)
        else:
            a, b = query.embeddings[q].astype(float), database.embeddings.astype(float)
            values = -(b @ a) / np.linalg.norm(a) / np.linalg.norm(b, axis=1)
        order = sorted((round(float(value), 9), j) for j, value in enumerate(values) if j != own[q])
        rows.append([j for _, j in order][:k])
    return rows


@pytest.mark.parametrize("k", [1, 4, 50])
def test_nearest_of_tied_codes(k):
    query, database = codes(20, 4), codes(30, 4, seed=1)
    positions, distances = nearest(query, database, k)
    assert positions.tolist() == slow_nearest(query, database, k, [-1] * 20)
    apart = query.unpacked()[:, None] != database.unpacked()[None]
    assert (distances == np.take_along_axis(apart.sum(axis=2), positions, axis=1)).all()


@pytest.mark.parametrize("floats", [False, True])
def test_nearest_leaves_the_query_out_within_a_modality(floats):
    names = [f"r{i}" for i in range(12)]
    database = codes(12, 3, ids=names, modality="shape")
    if floats:
        values = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
        database = Embeddings(values, ids=names, modality="shape")
    chosen = [7, 3, 11]
    positions, _ = nearest(database[chosen], database, 100)
    assert positions.shape == (3, 11)
    assert positions.tolist() == slow_nearest(database[chosen], database, 100, chosen)


def test_cosines_are_given_as_they_are():
    query = Embeddings(np.array([[2.0, 0.0]], np.float32))
    database = Embeddings(np.array([[0.0, 1.0], [3.0, 3.0], [5.0, 0.0]], np.float32))
    positions, cosines = nearest(query, database, 3)
    assert positions.tolist() == [[2, 1, 0]]
    assert cosines[0] == pytest.approx([1, np.sqrt(0.5), 0])


def evaluation():
    rows = codes(30, 8, categories=np.repeat(["a", "b", "c"], 10))
    return Evaluation("image -> shape", rows, rows[::-1], evaluate(rows, rows[::-1], bootstrap=0))


def test_chosen_queries():
    found = evaluation()
    ap = found.report.per_query["ap"]
    chosen = dict(chosen_queries(found, 5, seed=2))
    for which, extreme in (("best", max), ("worst", min)):
        rows = chosen[which]
        assert ap[rows[0]] == extreme(ap)
        for row in rows[:3]:  # the first of its category
            own = found.query.categories == found.query.categories[row]
            assert ap[row] == extreme(ap[own])
        assert len(set(found.query.categories[rows[:3]])) == 3
        assert len(set(rows.tolist())) == 5
    assert len(set(chosen["random"].tolist())) == 5
    assert (chosen["random"] == dict(chosen_queries(found, 5, seed=2))["random"]).all()
    ap[:] = np.nan
    assert all(len(rows) == 0 for _, rows in chosen_queries(found))


@pytest.mark.parametrize("first", [3, 12])
@pytest.mark.parametrize("k", [1, 4, 50])
def test_nearest_that_are_ranked_anew(first, k):
    names = [f"r{i}" for i in range(12)]
    database = codes(12, 6, ids=names, modality="shape")
    rows = [7, 3, 11]
    query = database[rows]
    sizes = np.random.default_rng(2).uniform(0.1, 1, (3, 6))
    real = Embeddings((query.signs() * sizes).astype(np.float32))
    positions, distances = nearest(query, database, k, reranked=Reranked(first, real))
    for row, own in enumerate(rows):
        near = slow_nearest(query[[row]], database, 12, [own])[0]
        scores = real.embeddings[row].astype(float) @ database.signs().T
        expected = sorted(near[:first], key=lambda j: -scores[j]) + near[first:]
        assert positions[row].tolist() == expected[:k]
        apart = (query.unpacked()[row] != database.unpacked()).sum(axis=1)
        assert distances[row].tolist() == apart[positions[row]].tolist()
