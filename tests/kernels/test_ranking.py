"""Each metric against the plain definition, averaged over every order of the ties; and the reference values."""

import json
from itertools import permutations, product

import numpy as np
import pytest

from cmah.kernels import ranking

DENOMINATORS = (ranking.RELEVANT, ranking.MIN_RELEVANT_K, ranking.HITS)


def histograms(distances, relevance):
    distances, relevance = np.atleast_2d(distances), np.atleast_2d(relevance)
    levels = int(distances.max()) + 1
    total = [np.bincount(row, minlength=levels) for row in distances]
    relevant = [
        np.bincount(row, weights=w, minlength=levels) for row, w in zip(distances, relevance, strict=True)
    ]
    return np.array(total, dtype=np.int64), np.array(relevant, dtype=np.int64)


def orders(distances, relevance):
    """The relevances of every ranking that the ties allow."""
    levels = [
        [r for d, r in zip(distances, relevance, strict=True) if d == level]
        for level in sorted(set(distances))
    ]
    for parts in product(*[list(permutations(level)) for level in levels]):
        yield [r for part in parts for r in part]


def ap_of(ranked, depth, denominator):
    """Average precision by its definition."""
    hits, total = 0, 0.0
    for place, r in enumerate(ranked[:depth], start=1):
        hits += r
        total += r * hits / place
    divisor = {
        ranking.RELEVANT: sum(ranked),
        ranking.MIN_RELEVANT_K: min(sum(ranked), depth),
        ranking.HITS: max(hits, 1),
    }[denominator]
    return total / divisor


def rankings(count, largest=6):
    random = np.random.default_rng(3)
    for _ in range(count):
        n = int(random.integers(1, largest + 1))
        yield random.integers(0, 3, n), random.integers(0, 2, n)


@pytest.mark.parametrize("denominator", DENOMINATORS)
def test_average_precision_is_the_mean_over_tie_orders(denominator):
    for distances, relevance in rankings(150):
        for depth in (1, 2, 3, 5, 10):
            got = ranking.average_precision(*histograms(distances, relevance), depth, denominator)[0]
            if not relevance.any():
                assert np.isnan(got).all()
                continue
            values = [ap_of(ranked, depth, denominator) for ranked in orders(distances, relevance)]
            assert got[0] == pytest.approx(np.mean(values), abs=1e-12)
            for column, sign in ((1, -1), (2, 1)):  # relevant first, relevant last
                key = np.lexsort((sign * relevance, distances))
                assert got[column] == pytest.approx(
                    ap_of(relevance[key].tolist(), depth, denominator), abs=1e-12
                )
            if denominator != ranking.HITS:  # with hits as the divisor, fewer hits can score higher
                assert got[1] == pytest.approx(max(values), abs=1e-12)
                assert got[2] == pytest.approx(min(values), abs=1e-12)


def test_precision_and_success():
    depths = np.array([1, 2, 3, 5, 8])
    for distances, relevance in rankings(150):
        total, relevant = histograms(distances, relevance)
        ranked = list(orders(distances, relevance))
        precision = ranking.precision_at(total, relevant, depths)[0]
        success = ranking.success_at(total, relevant, depths)[0]
        for i, depth in enumerate(depths):
            assert precision[i] == pytest.approx(np.mean([sum(r[:depth]) / depth for r in ranked]), abs=1e-12)
            if relevance.any():
                assert success[i] == pytest.approx(np.mean([any(r[:depth]) for r in ranked]), abs=1e-12)
            else:
                assert np.isnan(success[i])


def test_levels_without_items_change_nothing():
    distances, relevance = np.array([5, 5, 90, 90, 3]), np.array([1, 0, 1, 0, 0])
    sparse = histograms(distances, relevance)
    dense = histograms(np.unique(distances, return_inverse=True)[1], relevance)
    depths = np.array([1, 2, 4])
    for depth in (2, 3, 10):
        np.testing.assert_allclose(
            ranking.average_precision(*sparse, depth, 0), ranking.average_precision(*dense, depth, 0)
        )
    np.testing.assert_allclose(ranking.success_at(*sparse, depths), ranking.success_at(*dense, depths))
    np.testing.assert_allclose(ranking.precision_at(*sparse, depths), ranking.precision_at(*dense, depths))


def test_large_levels_stay_exact():
    """The closed form with harmonic numbers against the sum it stands for."""
    total, relevant = np.array([[40_000, 60_000]]), np.array([[300, 7_000]])
    harmonic_sum, before, hits = 0.0, 0, 0
    for t, r in zip(total[0], relevant[0], strict=True):
        i = np.arange(1, t + 1)
        harmonic_sum += (r / t * (hits + 1 + (i - 1) * (r - 1) / (t - 1)) / (before + i)).sum()
        before, hits = before + t, hits + r
    got = ranking.average_precision(total, relevant, 10**6, ranking.RELEVANT)[0, 0]
    assert got == pytest.approx(harmonic_sum / 7_300, rel=1e-10)


def test_counting():
    random = np.random.default_rng(5)
    bits = random.integers(0, 2, (9, 70), dtype=np.uint8)
    words = np.zeros((9, 2), np.uint64)
    words.view(np.uint8).reshape(9, 16)[:, :9] = np.packbits(bits, axis=1)
    classes = np.stack([np.arange(9) % 2, np.arange(9) % 4])
    skip = np.array([-1, 1, -1])
    total, relevant = ranking.count_codes(
        words[:3], words, np.ascontiguousarray(classes[:, :3]), classes, skip, 70
    )
    distances = (bits[:3, None] != bits[None]).sum(axis=2)
    again = ranking.count_levels(distances, np.ascontiguousarray(classes[:, :3]), classes, skip, 71)
    for i in range(3):
        keep = np.arange(9) != skip[i]
        np.testing.assert_array_equal(total[i], np.bincount(distances[i, keep], minlength=71))
        for r in range(2):
            same = keep & (classes[r] == classes[r, i])
            np.testing.assert_array_equal(relevant[r, i], np.bincount(distances[i, same], minlength=71))
    np.testing.assert_array_equal(again[0], total)
    np.testing.assert_array_equal(again[1], relevant)


def test_worked_example():
    """Distances 0 0 1, relevance 1 0 1: 17/24, best 5/6, worst 7/12."""
    got = ranking.average_precision(*histograms([0, 0, 1], [1, 0, 1]), 3, ranking.RELEVANT)[0]
    np.testing.assert_allclose(got, [17 / 24, 5 / 6, 7 / 12], rtol=1e-14)


def test_reference_values(shared):
    folder = shared / "goldens" / "metrics"
    golden = json.loads((folder / "tie_ap.json").read_text())
    for case in golden["single_rankings"]:
        got = ranking.average_precision(*histograms(case["distances"], case["relevance"]), 10**6, 0)[0]
        for value, name in zip(got, ("ap_tie", "ap_optimistic", "ap_pessimistic"), strict=True):
            assert np.isnan(value) if case[name] is None else value == pytest.approx(case[name], abs=1e-9)
    arrays = np.load(folder / "tie_ap_sets.npz", allow_pickle=False)
    for case in golden["sets"]:
        number = case["case"]
        got = ranking.average_precision(
            *histograms(arrays[f"distances_{number}"], arrays[f"relevance_{number}"]), 10**6, 0
        )
        expected = [np.nan if value is None else value for value in case["ap_tie_per_query"]]
        np.testing.assert_allclose(got[:, 0], expected, atol=1e-9)
        assert np.nanmean(got[:, 0]) == pytest.approx(case["mean_over_queries_with_relevant"], abs=1e-9)
        # these two count a query without a relevant item as 0
        names = ("mean_counting_undefined_as_zero", "mean_optimistic", "mean_pessimistic")
        np.testing.assert_allclose(np.nan_to_num(got).mean(axis=0), [case[name] for name in names], atol=1e-9)
