"""Similarities against loops and the reference outputs."""

import numpy as np
import pytest
from slow_similarities import fast, slow_similarity, some_views

from cmah.errors import CmahError
from cmah.negatives import similarities
from cmah.negatives.similarities import descriptors, i2i, i2i_all_pairs, i2l2, i2l2_all_pairs, tiles


@pytest.mark.parametrize("measure", similarities.MEASURES)
@pytest.mark.parametrize("lost", [False, True])
def test_equals_the_definition(measure, lost, small_tiles):
    views, landmarks = some_views()
    if lost:
        views[2, 1] = views[5] = views[6, 2:] = views[7, :2] = 0
    got = fast(measure, views, landmarks)
    given = None if measure.startswith("i2i") else landmarks
    np.testing.assert_allclose(got, slow_similarity(measure, views, given), rtol=1e-5)
    assert got.dtype == np.float32
    assert np.array_equal(got, got.T)


def test_lengths_of_the_vectors_do_not_matter():
    views, landmarks = some_views(1)
    scale = np.random.default_rng(2).uniform(0.1, 10, views.shape[:2])[..., None]
    np.testing.assert_allclose(i2i(views), i2i(views * scale), rtol=1e-5)
    np.testing.assert_allclose(i2l2(views, landmarks), i2l2(views * scale, 3 * landmarks), rtol=1e-5)


def test_the_order_of_views_matters_only_where_they_correspond():
    views, landmarks = some_views(3)
    mixed = np.stack([np.random.default_rng(i).permutation(v) for i, v in enumerate(views)])
    np.testing.assert_allclose(i2i_all_pairs(views), i2i_all_pairs(mixed), rtol=1e-6)
    np.testing.assert_allclose(i2l2_all_pairs(views, landmarks), i2l2_all_pairs(mixed, landmarks), rtol=1e-5)
    assert np.abs(i2i(views) - i2i(mixed)).max() > 0.01


def test_twins_are_as_similar_as_can_be():
    views, landmarks = some_views(4, n=6, width=512)
    views[3] = views[1]
    assert i2i(views)[1, 3] == pytest.approx(1, abs=1e-6)
    assert i2l2(views, landmarks)[1, 3] == pytest.approx(1, abs=1e-3)


def test_no_number_is_a_fault_that_is_told():
    views, _ = some_views(5)
    views[3, 2, 1] = np.nan
    with pytest.raises(CmahError, match="NaN"):
        i2i(views)


@pytest.mark.parametrize("case", range(4))
def test_matches_the_reference_outputs(shared, case):
    arrays = np.load(shared / "goldens" / "losses" / "sbrolli.npz", allow_pickle=False)
    views, landmarks, category = (
        arrays[f"{name}_{case}"] for name in ("view_embeddings", "landmarks", "cat")
    )

    def close(got, expected):
        np.testing.assert_allclose(got, expected, rtol=0, atol=5e-5 * np.sqrt(np.mean(expected**2)))

    close(i2i(views), arrays[f"sim_i2i_{case}"])
    for number in np.unique(category):
        own = category == number
        close(descriptors(views[own], landmarks[number]), arrays[f"descriptors_{case}"][own])
        close(i2l2(views[own], landmarks[number]), arrays[f"sim_i2l2_{case}"][np.ix_(own, own)])


def test_tiles_hold_few_rows_however_large_a_category_is():
    count, asked = 3000, []

    def views(positions):
        asked.append(len(positions))
        return np.ones((len(positions), 30, 512), np.float32)

    rows, columns, tile = next(tiles("i2i", count, views))
    assert rows == columns
    assert max(asked) * 30 * 512 * 4 <= similarities.TILE_BYTES
    assert tile.shape == (rows.stop, rows.stop)
