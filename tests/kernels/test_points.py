"""The kernels against naive loops in Python, ties included."""

import itertools

import numpy as np
import pytest

from cmah.kernels import points as kernels


def squared_distance(a, b):
    """Rounded step by step in the type of the input."""
    dx, dy, dz = (a[axis] - b[axis] for axis in range(3))
    return (dx * dx + dy * dy) + dz * dz


def naive_farthest(cloud, m, start, skip_origin):
    near = [skip_origin and float(squared_distance(p, p * 0)) <= 1e-3 for p in cloud]
    picks = [start]
    while len(picks) < m:
        best, pick = -np.inf, 0
        for j, p in enumerate(cloud):
            d = min(squared_distance(p, cloud[i]) for i in picks)
            if not near[j] and d > best:
                best, pick = d, j
        picks.append(pick)
    return picks


# few different coordinates, so that many distances are equal
def tied(rng, *shape):
    return rng.integers(-2, 3, shape).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("skip_origin", [False, True])
def test_farthest_points_are_those_of_plain_loops(kind, skip_origin):
    rng = np.random.default_rng(0)
    clouds = np.stack(
        [rng.standard_normal((40, 3)), tied(rng, 40, 3), rng.standard_normal((40, 3)) * 0.01]
    ).astype(kind)
    start = np.array([0, 5, 39])
    out = np.empty((3, 17), np.int64)
    kernels.farthest_points(clouds, start, skip_origin, out)
    for b in range(3):
        assert out[b].tolist() == naive_farthest(clouds[b], 17, start[b], skip_origin)


def test_farthest_points_beyond_the_cloud_repeat_the_first():
    out = np.empty((1, 6), np.int64)
    kernels.farthest_points(np.eye(3, dtype=np.float32)[None], np.array([1]), False, out)
    assert out[0, 0] == 1
    assert sorted(out[0, :3]) == [0, 1, 2]
    assert out[0, 3:].tolist() == [0, 0, 0]


@pytest.mark.parametrize("k", [1, 5, 30])
def test_nearest_is_a_stable_sort(k):
    rng = np.random.default_rng(1)
    query, cloud = tied(rng, 2, 7, 3), tied(rng, 2, 30, 3)
    index, squared = np.empty((2, 7, k), np.int64), np.empty((2, 7, k), np.float32)
    kernels.nearest(query, cloud, index, squared)
    for b, i in itertools.product(range(2), range(7)):
        ranked = sorted((squared_distance(p, query[b, i]), j) for j, p in enumerate(cloud[b]))[:k]
        assert list(zip(squared[b, i], index[b, i], strict=True)) == ranked


@pytest.mark.parametrize("inclusive", [False, True])
def test_ball_query_takes_hits_in_order_of_index(inclusive):
    rng = np.random.default_rng(2)
    query, cloud = tied(rng, 2, 9, 3), tied(rng, 2, 25, 3)
    query[0, 0] = 50
    out = np.empty((2, 9, 4), np.int64)
    kernels.ball_query(query, cloud, np.float32(5), inclusive, out)
    for b, i in itertools.product(range(2), range(9)):
        squared = [squared_distance(p, query[b, i]) for p in cloud[b]]
        hits = [j for j, d in enumerate(squared) if d < 5 or (inclusive and d == 5)][:4]
        hits += [hits[0] if hits else 0] * (4 - len(hits))
        assert out[b, i].tolist() == hits


def test_mutual_nearest_is_argmin_both_ways():
    rng = np.random.default_rng(3)
    a, b = tied(rng, 4, 11, 3), tied(rng, 4, 6, 3)
    of_a, of_b = np.empty((4, 11), np.int64), np.empty((4, 6), np.int64)
    kernels.mutual_nearest(a, b, of_a, of_b)
    squared = ((a[:, :, None] - b[:, None]) ** 2).sum(-1)
    np.testing.assert_array_equal(of_a, squared.argmin(2))
    np.testing.assert_array_equal(of_b, squared.argmin(1))
