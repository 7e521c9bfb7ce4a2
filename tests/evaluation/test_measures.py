"""Every measure against its definition, written down plainly, over thousands of tiny rankings full of ties."""

from collections import Counter
from itertools import pairwise, permutations

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings
from cmah.evaluation import evaluate
from cmah.evaluation.measures import (
    Depths,
    Gains,
    anmrr_depths,
    category_measures,
    instance_measures,
    radius_measures,
)

K = (1, 2, 3, 7)  # the last is more than there are items
LARGEST = 3  # items of the largest class


def plain(ranked, largest=LARGEST):
    """The measures of one ranking, a list of 0 and 1, by their definitions."""
    n, number = len(ranked), sum(ranked)
    ranks = [i for i, r in enumerate(ranked, start=1) if r]
    found = {
        "ap": sum(sum(ranked[:rank]) / rank for rank in ranks) / number,
        "nn": ranked[0],
        "ft": sum(ranked[:number]) / number,
        "st": sum(ranked[: 2 * number]) / number,
    }
    for k in K:
        found[f"p@{k}"] = sum(ranked[:k]) / k
        found[f"r@{k}"] = sum(ranked[:k]) / number
        gained = sum(1 / np.log2(1 + rank) for rank in ranks if rank <= k)
        found[f"ndcg@{k}"] = gained / sum(1 / np.log2(1 + rank) for rank in range(1, min(k, number) + 1))
    precision, recall = sum(ranked[:20]) / 20, sum(ranked[:20]) / number
    found["f@20"] = 2 * precision * recall / (precision + recall)

    def gain(rank):
        return 1 if rank == 1 else 1 / np.log2(rank)

    found["dcg"] = sum(map(gain, ranks)) / sum(map(gain, range(1, number + 1)))
    depth = min(4 * number, 2 * largest)
    average = sum(rank if rank <= depth else 1.25 * depth for rank in ranks) / number
    found["nmrr"] = (average - 0.5 - number / 2) / (1.25 * depth - 0.5 - number / 2)
    found["rank"] = ranks[0]
    found["rr"] = 1 / ranks[0]
    found |= {f"acc@{k}": float(ranks[0] <= k) for k in K}
    within = [rank for rank in ranks if rank <= 10]
    found["ap_instance@10"] = sum(sum(ranked[:rank]) / rank for rank in within) / min(number, 10)
    assert n == len(ranked)
    return found


def measured(total, relevant):
    n = int(total.sum(axis=1).max())
    number, gains = relevant.sum(axis=1), Gains.of(n)
    penalty = anmrr_depths(number, LARGEST)
    depths = Depths(np.array(K), np.array(K), n, "relevant", np.array([1, 2, n]), penalty)
    found, curve = category_measures(total, relevant, depths, gains)
    return found | instance_measures(total, relevant, depths.accuracy, gains), curve


@pytest.mark.slow
def test_expectation_and_bounds_of_every_measure():
    random = np.random.default_rng(1)
    plain_of = {}  # by ranking
    for n, count in ((1, 20), (2, 200), (3, 800), (4, 1000), (5, 600), (6, 60)):
        levels = random.integers(0, min(n, 3), (count, n))
        relevance = np.zeros((count, n), dtype=int)
        for row in relevance:
            row[random.permutation(n)[: random.integers(1, min(n, LARGEST) + 1)]] = 1
        total, relevant = (
            np.stack([((levels == level) * weight).sum(axis=1) for level in range(3)], axis=1)
            for weight in (1, relevance)
        )
        found, _ = measured(total, relevant)
        swaps = list(permutations(range(n)))
        expected = {name: np.empty((3, count)) for name in found}
        for i, (distance, marks) in enumerate(zip(levels.tolist(), relevance.tolist(), strict=True)):
            orders = [
                tuple(marks[a] for a in swap)
                for swap in swaps
                if all(distance[a] <= distance[b] for a, b in pairwise(swap))
            ]
            bounds = [np.lexsort((sign * relevance[i], levels[i])) for sign in (-1, 1)]
            bounds = [tuple(relevance[i, order].tolist()) for order in bounds]
            often = Counter(orders)
            for ranked in often:
                plain_of.setdefault(ranked, plain(list(ranked)))
            for name, values in expected.items():
                values[0, i] = sum(plain_of[r][name] * times for r, times in often.items()) / len(orders)
                values[1:, i] = [plain_of[ranked][name] for ranked in bounds]
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=1e-12, err_msg=name)


def test_all_relevant_none_relevant_one_item():
    total = np.array([[2, 3], [2, 3], [1, 0], [1, 0]])
    relevant = np.array([[2, 3], [0, 0], [1, 0], [0, 0]])
    found, curve = measured(total[:2], relevant[:2])
    for name, values in found.items():
        assert np.isnan(values[:, 1]).all(), name
        perfect = {"nmrr": 0, "r@1": 0.2, "r@2": 0.4, "r@3": 0.6, "p@7": 5 / 7, "f@20": 10 / 25}.get(name, 1)
        np.testing.assert_allclose(values[:, 0], perfect, err_msg=name)
    np.testing.assert_allclose(curve, [[1, 1, 1], [0.2, 0.4, 1]])
    found, _ = measured(total[2:], relevant[2:])
    for name, values in found.items():
        assert np.isnan(values[:, 1]).all(), name
        expected = {"nmrr": 0, "f@20": 2 / 21} | {f"p@{k}": 1 / k for k in K}
        np.testing.assert_allclose(values[:, 0], expected.get(name, 1), err_msg=name)


def test_radius():
    # distances 1 1 3 (relevant 1), then nothing near, then no relevant item
    total = np.array([[0, 2, 0, 1, 0], [0, 0, 0, 0, 3], [3, 0, 0, 0, 0]])
    relevant = np.array([[0, 1, 0, 1, 0], [0, 0, 0, 0, 3], [0, 0, 0, 0, 0]])
    at_radius, sums = radius_measures(total, relevant)
    np.testing.assert_allclose(at_radius, [0.5, 0, np.nan])
    np.testing.assert_allclose(sums[0], [0, 0.5, 0.5, 2 / 3, 2 / 3 + 1])
    np.testing.assert_allclose(sums[1], [0, 0.5, 0.5, 1, 2])
    np.testing.assert_allclose(sums[2], [0, 2, 2, 3, 6])


def scikit_scores(query, database, seed=0):
    vectors = [
        side.embeddings / np.linalg.norm(side.embeddings, axis=1, keepdims=True) for side in (query, database)
    ]
    return vectors[0] @ vectors[1].T, query.categories[:, None] == database.categories[None]


def test_scikit_learn_agrees_without_ties_on_ap_and_with_ties_on_ndcg():
    """With ties its AP takes a whole tie at once, which is no mean over orders; NDCG it averages as we do."""
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    query, database = (
        Embeddings(random.standard_normal((n, 5)), categories=random.integers(0, 3, n).astype(str))
        for n in (8, 40)
    )
    scores, relevant = scikit_scores(query, database)
    report = evaluate(query, database)
    for i in range(8):
        ap = metrics.average_precision_score(relevant[i], scores[i])
        assert report.per_query["ap"][i] == pytest.approx(ap, abs=1e-12)
    signs = [
        BinaryCodes.from_signs(np.where(side.embeddings < 0, -1, 1), categories=side.categories)
        for side in (query, database)
    ]
    distances = (signs[0].signs()[:, None] != signs[1].signs()[None]).sum(axis=2)
    for k in (3, 10, 40):
        found = evaluate(*signs, k=(k,)).per_query[f"ndcg@{k}"]
        for i in range(8):
            ndcg = metrics.ndcg_score(relevant[i : i + 1], -distances[i : i + 1], k=k)
            assert found[i] == pytest.approx(ndcg, abs=1e-12)
