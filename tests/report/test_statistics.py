"""Confusion, bits, samples and the t-SNE, each against a slow and obvious second implementation."""

import numpy as np
import pytest

from cmah.codes import BinaryCodes
from cmah.errors import CodesError
from cmah.report.statistics import Confusion, bit_statistics, confusion, sample, tsne_plane


def codes(n, bits, seed=0, **known):
    return BinaryCodes.from_bits(np.random.default_rng(seed).integers(0, 2, (n, bits)), **known)


def test_confusion_against_counting():
    rng = np.random.default_rng(0)
    asked, held = rng.choice(["b", "a", "", "c"], 40), rng.choice(["a", "c", "d", ""], 25)
    query, database = codes(40, 8, categories=asked), codes(25, 8, seed=1, categories=held)
    positions = rng.integers(0, 25, (40, 6))
    shared = confusion(query, database, positions)
    names, shares = shared.names, shared.matrix(range(4))
    assert shared.mean_own() == pytest.approx(np.nanmean(np.diag(shares)))
    np.testing.assert_array_equal(shared.matrix([2, 0]), shares[np.ix_([2, 0], [2, 0])])
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
    asked, hit = np.array([0, 0, 0, 1]), np.array([0, 1, 2, 1])
    shares = Confusion(["a", "b", "c"], asked, hit, np.array([0.5, 0.2, 0.3, 1.0]))
    assert shares.mix_ups() == [("a", "c", 0.3), ("a", "b", 0.2)]
    assert shares.mix_ups(1) == [("a", "c", 0.3)]


def test_confusion_of_many_categories_needs_no_square_of_them():
    names = [f"c{i:06d}" for i in range(60_000)]  # whose square would take 29 GB
    many = BinaryCodes.from_packed(np.zeros((60_000, 1), np.uint8), 8, categories=names)
    shares = confusion(many, many, np.arange(60_000)[:, None])
    assert (shares.mean_own(), shares.mix_ups()) == (1.0, [])
    assert shares.matrix([5, 7]).tolist() == [[1, 0], [0, 1]]


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
    found = tsne_plane([rows[:20], rows[20:]])
    apart = np.linalg.norm(found[:, None] - found[None], axis=2) + np.diag([np.inf] * 30)
    assert (heap[apart.argmin(axis=1)] == heap).all()
    assert (found == tsne_plane([rows[:20], rows[20:]])).all()


def test_plane_of_too_little_is_a_point():
    assert (tsne_plane([codes(3, 8)]) == 0).all()
    assert tsne_plane([BinaryCodes.from_bits(np.ones((9, 8), int))]).shape == (9, 2)
