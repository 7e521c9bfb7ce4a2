"""What the report shows beside the metrics, each against a slow and obvious second implementation."""

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CodesError
from cmah.evaluation import evaluate
from cmah.evaluation.findings import (
    Result,
    bit_statistics,
    chosen_queries,
    confusion,
    directions,
    longest,
    mix_ups,
    nearest,
    plane,
    sample,
)


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


def test_confusion_against_counting():
    rng = np.random.default_rng(0)
    asked, held = rng.choice(["b", "a", "", "c"], 40), rng.choice(["a", "c", "d", ""], 25)
    query, database = codes(40, 8, categories=asked), codes(25, 8, seed=1, categories=held)
    positions = rng.integers(0, 25, (40, 6))
    names, shares = confusion(query, database, positions)
    assert names == ["a", "b", "c", "d"]
    for i, one in enumerate(names):
        found = [held[j] for q in range(40) if asked[q] == one for j in positions[q] if held[j]]
        for j, other in enumerate(names):
            if found:
                assert shares[i, j] == pytest.approx(found.count(other) / len(found))
            else:
                assert np.isnan(shares[i, j])
    with pytest.raises(CodesError, match="do not name their categories"):
        confusion(codes(3, 8), database, positions[:3])


def test_mix_ups_are_the_largest_off_the_diagonal():
    shares = np.array([[0.5, 0.2, 0.3], [0.0, 1.0, 0.0], [np.nan, np.nan, np.nan]])
    assert mix_ups(["a", "b", "c"], shares) == [("a", "c", 0.3), ("a", "b", 0.2)]
    assert mix_ups(["a", "b", "c"], shares, 1) == [("a", "c", 0.3)]


def test_bit_statistics_against_numpy():
    values = np.random.default_rng(0).integers(0, 2, (50, 10))
    values[:, 1] = values[:, 0]
    values[:, 2] = 1 - values[:, 0]
    found = bit_statistics(BinaryCodes.from_bits(values))
    expected = np.corrcoef(values.T)
    assert found.correlation == pytest.approx(expected)
    assert found.correlation[0, 1:3] == pytest.approx([1, -1])
    off = [abs(expected[i, j]) for i in range(10) for j in range(10) if i != j]
    assert found.mean_correlation == pytest.approx(np.mean(off))
    assert found.ones == pytest.approx(values.mean(axis=0))
    assert found.distinct == len({tuple(row) for row in values.tolist()})
    assert (found.constant, found.rows) == (0, 50)


def test_constant_bits_correlate_with_nothing():
    values = np.random.default_rng(0).integers(0, 2, (20, 4))
    values[:, 1] = 1
    found = bit_statistics(BinaryCodes.from_bits(values))
    assert found.constant == 1
    assert found.correlation[1].tolist() == [0, 1, 0, 0]
    assert np.isnan(bit_statistics(codes(5, 1)).mean_correlation)
    with pytest.raises(CodesError, match="no codes"):
        bit_statistics(codes(5, 4)[:0])


@pytest.mark.parametrize(
    ("sizes", "rows", "expected"),
    [((10, 4), 100, (10, 4)), ((100, 4), 20, (16, 4)), ((50, 60), 21, (10, 11)), ((9,), 5, (5,))],
)
def test_sample_shares_the_rows_out(sizes, rows, expected):
    parts = [codes(size, 4) for size in sizes]
    chosen = sample(parts, rows, seed=3)
    assert tuple(map(len, chosen)) in (expected, expected[::-1])
    for rows_of_part, size in zip(chosen, sizes, strict=True):
        assert sorted(set(rows_of_part.tolist())) == rows_of_part.tolist()
        assert set(rows_of_part.tolist()) <= set(range(size))
    assert all((a == b).all() for a, b in zip(chosen, sample(parts, rows, seed=3), strict=True))


def test_plane_keeps_heaps_apart_and_repeats_itself():
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 2, (2, 64))
    flips = rng.random((30, 64)) < 0.05
    heap = np.arange(30) % 2
    rows = BinaryCodes.from_bits(centres[heap] ^ flips)
    found = plane([rows[:20], rows[20:]])
    apart = np.linalg.norm(found[:, None] - found[None], axis=2) + np.diag([np.inf] * 30)
    assert (heap[apart.argmin(axis=1)] == heap).all()
    assert (found == plane([rows[:20], rows[20:]])).all()


def test_plane_of_too_little_is_a_point():
    assert (plane([codes(3, 8)]) == 0).all()
    assert plane([BinaryCodes.from_bits(np.ones((9, 8), int))]).shape == (9, 2)


def result(width=8, name="", direction="image -> shape", floats=False):
    rng = np.random.default_rng(1)
    known = {"categories": np.repeat(["a", "b", "c"], 10)}
    if floats:
        rows = Embeddings(rng.standard_normal((30, width)).astype(np.float32), **known)
    else:
        rows = codes(30, width, **known)
    return Result(direction, rows, rows[::-1], evaluate(rows, rows[::-1], bootstrap=0), name)


def test_chosen_queries():
    found = result()
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


def test_longest_prefers_codes_to_embeddings():
    a, b, c = result(8), result(16), result(99, floats=True)
    d = result(4, direction="shape -> image")
    assert longest([a, b, c, d]) == [b, d]
    assert longest([c]) == [c]
    assert [(name, len(group)) for name, group in directions([a, b, c, d])] == [
        ("image → shape", 3),
        ("shape → image", 1),
    ]
    assert (b.width, c.width) == ("16 bits", "99 floats")
