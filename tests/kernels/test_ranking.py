"""Each kernel against the plain definition, averaged over every order of the ties; and the reference values."""

import json
from itertools import permutations, product

import numpy as np
import pytest

from cmah.kernels import ranking

DENOMINATORS = (ranking.RELEVANT, ranking.MIN_RELEVANT_K, ranking.HITS)
HARMONIC = ranking.harmonic_numbers(200_000)


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


def sorted_by(distances, relevance, sign):
    """The ranking with the relevant items first (-1) or last (1) in each tie."""
    return relevance[np.lexsort((sign * relevance, distances))].tolist()


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
            got = ranking.average_precision(*histograms(distances, relevance), depth, denominator, HARMONIC)
            got = got[:, 0]
            if not relevance.any():
                assert np.isnan(got).all()
                continue
            values = [ap_of(ranked, depth, denominator) for ranked in orders(distances, relevance)]
            assert got[0] == pytest.approx(np.mean(values), abs=1e-12)
            for column, sign in ((1, -1), (2, 1)):
                plain = ap_of(sorted_by(distances, relevance, sign), depth, denominator)
                assert got[column] == pytest.approx(plain, abs=1e-12)
            if denominator != ranking.HITS:  # with hits as the divisor, fewer hits can score higher
                assert got[1] == pytest.approx(max(values), abs=1e-12)
                assert got[2] == pytest.approx(min(values), abs=1e-12)


def test_gains_are_the_mean_over_tie_orders_and_its_bounds():
    gain = np.array(
        [0, 5, 4, 4, 2, 1, 0.5]
    )  # of ranks 1 to 6; never grows, so that the bounds are the extremes
    for distances, relevance in rankings(300):
        depths = np.array([[1, 2, 3, 6, 9]])
        got = ranking.gains(*histograms(distances, relevance), np.cumsum(gain)[: len(distances) + 1], depths)
        ranked = np.array(list(orders(distances, relevance)))
        for d, depth in enumerate(depths[0]):
            sums = ranked[:, :depth] @ gain[1 : min(depth, len(distances)) + 1]
            expected = [sums.mean(), sums.max(), sums.min()]
            np.testing.assert_allclose(got[:, 0, d], expected, atol=1e-12)


def test_first_hit_is_the_mean_over_tie_orders_and_its_bounds():
    depths = np.array([1, 2, 3, 5, 8])
    for distances, relevance in rankings(300):
        found, rank, reciprocal = ranking.first_hit(*histograms(distances, relevance), depths, HARMONIC)
        if not relevance.any():
            assert np.isnan(found).all()
            assert np.isnan(rank).all()
            assert np.isnan(reciprocal).all()
            continue
        first = np.array([ranked.index(1) + 1 for ranked in orders(distances, relevance)])
        np.testing.assert_allclose(rank[:, 0], [first.mean(), first.min(), first.max()], atol=1e-12)
        inverse = 1 / first
        expected = [inverse.mean(), inverse.max(), inverse.min()]
        np.testing.assert_allclose(reciprocal[:, 0], expected, atol=1e-12)
        for d, depth in enumerate(depths):
            within = first <= depth
            expected = [within.mean(), within.max(), within.min()]
            np.testing.assert_allclose(found[:, 0, d], expected, atol=1e-12)


def test_levels_without_items_change_nothing():
    distances, relevance = np.array([5, 5, 90, 90, 3]), np.array([1, 0, 1, 0, 0])
    sparse = histograms(distances, relevance)
    dense = histograms(np.unique(distances, return_inverse=True)[1], relevance)
    depths = np.array([1, 2, 4])
    for depth in (2, 3, 10):
        one, other = (ranking.average_precision(*counts, depth, 0, HARMONIC) for counts in (sparse, dense))
        np.testing.assert_allclose(one, other)
    one, other = (ranking.first_hit(*counts, depths, HARMONIC) for counts in (sparse, dense))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b)
    one, other = (ranking.gains(*counts, HARMONIC[:6], depths[None]) for counts in (sparse, dense))
    np.testing.assert_allclose(one, other)


def test_large_levels_stay_exact():
    """The closed forms against the sums they stand for."""
    total, relevant = np.array([[40_000, 60_000]]), np.array([[300, 7_000]])
    precisions, before, hits = 0.0, 0, 0
    for t, r in zip(total[0], relevant[0], strict=True):
        i = np.arange(1, t + 1)
        precisions += (r / t * (hits + 1 + (i - 1) * (r - 1) / (t - 1)) / (before + i)).sum()
        before, hits = before + t, hits + r
    got = ranking.average_precision(total, relevant, 10**6, ranking.RELEVANT, HARMONIC)[0, 0]
    assert got == pytest.approx(precisions / 7_300, rel=1e-10)
    for r in (1, 2, 300):
        place = np.arange(40_000.0)
        here = r / (40_000 - place[: 40_001 - r])
        none_before = np.concatenate([[1.0], np.cumprod(1 - here)[:-1]])
        expected = (none_before * here / (place[: len(here)] + 1)).sum()
        _, rank, reciprocal = ranking.first_hit(
            np.array([[40_000]]), np.array([[r]]), np.array([1]), HARMONIC
        )
        assert reciprocal[0, 0] == pytest.approx(expected, rel=1e-10)
        assert rank[0, 0] == pytest.approx((none_before * here * (place[: len(here)] + 1)).sum(), rel=1e-9)


def test_worked_example():
    """Distances 0 0 1, relevance 1 0 1: 17/24, best 5/6, worst 7/12."""
    counts = histograms([0, 0, 1], [1, 0, 1])
    got = ranking.average_precision(*counts, 3, ranking.RELEVANT, HARMONIC)[:, 0]
    np.testing.assert_allclose(got, [17 / 24, 5 / 6, 7 / 12], rtol=1e-14)


def test_reference_values(shared):
    folder = shared / "goldens" / "metrics"
    golden = json.loads((folder / "tie_ap.json").read_text())
    for case in golden["single_rankings"]:
        counts = histograms(case["distances"], case["relevance"])
        got = ranking.average_precision(*counts, 10**6, 0, HARMONIC)[:, 0]
        for value, name in zip(got, ("ap_tie", "ap_optimistic", "ap_pessimistic"), strict=True):
            assert np.isnan(value) if case[name] is None else value == pytest.approx(case[name], abs=1e-9)
    arrays = np.load(folder / "tie_ap_sets.npz", allow_pickle=False)
    for case in golden["sets"]:
        number = case["case"]
        counts = histograms(arrays[f"distances_{number}"], arrays[f"relevance_{number}"])
        got = ranking.average_precision(*counts, 10**6, 0, HARMONIC)
        expected = [np.nan if value is None else value for value in case["ap_tie_per_query"]]
        np.testing.assert_allclose(got[0], expected, atol=1e-9)
        assert np.nanmean(got[0]) == pytest.approx(case["mean_over_queries_with_relevant"], abs=1e-9)
        # these count a query without a relevant item as 0
        names = ("mean_counting_undefined_as_zero", "mean_optimistic", "mean_pessimistic")
        np.testing.assert_allclose(np.nan_to_num(got).mean(axis=1), [case[name] for name in names], atol=1e-9)
