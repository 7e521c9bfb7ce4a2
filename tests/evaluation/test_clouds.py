"""Distances between clouds against all pairs of points, and which clouds are compared."""

import json

import numpy as np
import pytest

from cmah.codes import BinaryCodes
from cmah.errors import CodesError
from cmah.evaluation import comparison, evaluate
from cmah.evaluation.clouds import cloud_distances


def plain(a, b):
    distance = np.sqrt(((a[:, None].astype(float) - b[None]) ** 2).sum(axis=2))
    from_a, from_b = distance.min(axis=1), distance.min(axis=0)
    hau = (from_a.sum() + from_b.sum()) / (len(a) + len(b))
    return hau, (from_a.mean() + from_b.mean()) / 2


def test_all_pairs_of_points():
    random = np.random.default_rng(0)
    for n, m in ((1, 1), (5, 40), (300, 300), (70, 33)):
        a, b = random.standard_normal((n, 3)), random.standard_normal((m, 6))
        assert cloud_distances(a, b) == pytest.approx(plain(a, b[:, :3]), rel=1e-5)
        assert cloud_distances(a, b) == pytest.approx(cloud_distances(b, a))
        hau, chamfer = cloud_distances(a, random.standard_normal((n, 3)))
        assert hau == pytest.approx(chamfer)  # of clouds of one size
    assert cloud_distances(a, a[::-1]) == (0, 0)
    with pytest.raises(CodesError, match=r"shape \[0, 3\]"):
        cloud_distances(a, a[:0])


def test_the_official_distance(shared):
    """Of the stored coordinates; the released evaluation halves them first."""
    folder = shared / "goldens" / "losses"
    arrays = np.load(folder / "style_mixed_extra.npz", allow_pickle=False)
    expected = json.loads((folder / "style_mixed_extra.json").read_text())["geometry"]
    a, b = arrays["hau_x"], arrays["hau_y"]
    assert cloud_distances(a, b)[0] == pytest.approx(expected["hau_of_stored_coordinates"], rel=1e-6)
    assert cloud_distances(a / 2, b / 2)[0] == pytest.approx(expected["hau_after_halving"], rel=1e-6)


def test_hau_of_evaluate():
    clouds = {name: np.random.default_rng(i).standard_normal((20 + i, 3)) for i, name in enumerate("abc")}
    signs = np.array([[1, 1, 1], [1, -1, 1], [-1, -1, -1], [-1, -1, 1]])
    database = BinaryCodes.from_signs(signs, shape_ids=["a", "b", "c", "d"])
    query = BinaryCodes.from_signs(signs[[0, 1, 2, 2, 3]], shape_ids=["a", "c", "a", "", "a"])
    report = evaluate(query, database, relevance="instance", cloud_of=clouds.get)
    expected = [0, plain(clouds["c"], clouds["b"])[0], plain(clouds["a"], clouds["c"])[0], np.nan, np.nan]
    np.testing.assert_allclose(report.per_query["hau"], expected, rtol=1e-5)
    assert report["hau"] == pytest.approx(np.nanmean(expected), rel=1e-5)
    assert report["chamfer"] == pytest.approx(np.nanmean(report.per_query["chamfer"]))
    assert report.rules.without_cloud == 2
    text = comparison([("", report)], ("hau", "chamfer"))
    assert "2 queries or their first hits have no point cloud" in text
    assert f"{report['hau']:.4f}" in text
    nameless = BinaryCodes.from_signs(signs, categories=list("abcd"))
    with pytest.raises(CodesError, match=r"HAU: .* do not name the shapes"):
        evaluate(nameless, nameless, cloud_of=clouds.get)
