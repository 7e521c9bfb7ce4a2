import numpy as np
import pytest

from cmah.evaluation.intervals import bootstrap_interval


def test_interval_of_independent_values_is_that_of_the_normal_law():
    values = np.random.default_rng(0).standard_normal(400)
    low, high = bootstrap_interval(values, np.arange(400), draws=4000)
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.01)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.01)


def test_copies_in_a_cluster_do_not_narrow_it():
    values = np.random.default_rng(0).standard_normal(100)
    alone = bootstrap_interval(values, np.arange(100))
    copied = bootstrap_interval(np.repeat(values, 8), np.repeat(np.arange(100), 8))
    assert copied == pytest.approx(alone)
    as_if_independent = bootstrap_interval(np.repeat(values, 8), np.arange(800))
    assert as_if_independent[1] - as_if_independent[0] < 0.5 * (alone[1] - alone[0])


def test_clusters_of_different_size_weigh_by_size():
    values, clusters = np.array([1.0, 1, 1, 0]), np.array(["a", "a", "a", "b"])
    random = np.random.default_rng(0)
    means = []
    for _ in range(500):
        chosen = random.integers(2, size=2)
        drawn = np.concatenate([values[clusters == "ab"[c]] for c in chosen])
        means.append(drawn.mean())
    expected = tuple(np.quantile(means, [0.025, 0.975]))
    assert bootstrap_interval(values, clusters, draws=500) == pytest.approx(expected)


def test_no_values():
    assert np.isnan(bootstrap_interval(np.empty(0), np.empty(0))).all()
