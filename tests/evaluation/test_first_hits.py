"""The first hit of each query, of all items or of those of its category, and what is measured of it."""

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CodesError
from cmah.evaluation import comparison, evaluate
from cmah.evaluation.clouds import cloud_distances
from cmah.evaluation.first_hits import first_hits
from cmah.evaluation.relevance import relation
from cmah.evaluation.voxels import Voxels, intersection_over_union

GRIDS = {name: np.random.default_rng(i).random((6, 6, 6)) < 0.4 for i, name in enumerate("abcd")}
CLOUDS = {name: np.random.default_rng(i).standard_normal((20 + i, 3)) for i, name in enumerate("abcd")}


def test_first_hits_are_those_of_a_stable_sort():
    random = np.random.default_rng(0)
    signs = [random.choice([-1, 1], (n, 5)) for n in (12, 30)]
    skip = np.where(np.arange(12) % 2, -1, np.arange(12) + 3)
    distances = (signs[0][:, None] != signs[1][None]).sum(axis=2)
    for rows in ([BinaryCodes.from_signs(s) for s in signs], [Embeddings(s.astype(float)) for s in signs]):
        got = first_hits(*rows, skip)
        for i in range(12):
            order = [j for j in np.argsort(distances[i], kind="stable") if j != skip[i]]
            assert got[i] == order[0]
        assert first_hits(rows[0], rows[1][:0], np.full(12, -1)).tolist() == [-1] * 12
        assert first_hits(rows[0][:1], rows[1][:1], np.zeros(1, int)).tolist() == [-1]


def test_first_hits_among_some_items():
    random = np.random.default_rng(1)
    signs = [random.choice([-1, 1], (n, 5)) for n in (12, 30)]
    labels = [random.choice(["a", "b", "c"], n) for n in (12, 30)]
    labels[0][:2] = "nowhere", ""
    candidates = relation(*labels, 12, 30)
    skip = np.where(np.arange(12) % 2, -1, np.arange(12) + 3)
    distances = (signs[0][:, None] != signs[1][None]).sum(axis=2)
    for rows in ([BinaryCodes.from_signs(s) for s in signs], [Embeddings(s.astype(float)) for s in signs]):
        got = first_hits(*rows, skip, candidates)
        for i in range(12):
            order = np.argsort(distances[i], kind="stable")
            order = [j for j in order if j != skip[i] and labels[1][j] == labels[0][i]]
            assert got[i] == (order[0] if order else -1)
    assert got[:2].tolist() == [-1, -1]


def test_iou_of_evaluate():
    signs = np.array([[1, 1, 1], [1, -1, 1], [-1, -1, -1], [-1, -1, 1]])
    database = BinaryCodes.from_signs(signs, shape_ids=["a", "b", "c", "e"])
    query = BinaryCodes.from_signs(signs[[0, 1, 2, 2, 3]], shape_ids=["a", "c", "a", "", "a"])
    voxels = Voxels.of(GRIDS.get, "as stored")
    report = evaluate(query, database, relevance="instance", voxels=voxels)
    pairs = intersection_over_union(GRIDS["c"], GRIDS["b"]), intersection_over_union(GRIDS["a"], GRIDS["c"])
    np.testing.assert_array_equal(report.per_query["iou"], [1, *pairs, np.nan, np.nan])
    assert report["iou"] == np.mean([1, *pairs])
    assert "hau" not in report
    assert (report.rules.without_voxels, report.rules.without_cloud) == (2, None)
    text = comparison([("", report)], ("iou",))
    for part in (
        "2 queries or their first hits have no voxels",
        "voxels: as stored",
        f"{report['iou']:.3f}",
        "IoU = ",
    ):
        assert part in text
    nameless = BinaryCodes.from_signs(signs, categories=list("abcd"))
    with pytest.raises(CodesError, match=r"IoU: .* do not name the shapes"):
        evaluate(nameless, nameless, voxels=voxels)


@pytest.mark.parametrize("kind", ["codes", "embeddings"])
def test_transfer_to_other_shapes(kind):
    """No truth in the database, which holds each category's own shapes: only the first hit is measured."""
    signs = np.array([[1, 1, 1], [1, -1, 1], [-1, -1, -1], [-1, -1, 1]])
    shown = {"categories": ["chair", "lamp", "chair", "moon"], "shape_ids": ["a", "b", "a", "a"]}
    held = {"categories": ["lamp", "chair", "lamp", "chair"], "shape_ids": ["c", "d", "d", "c"]}
    if kind == "codes":
        query, database = BinaryCodes.from_signs(signs, **shown), BinaryCodes.from_signs(signs, **held)
    else:
        query, database = (Embeddings(signs.astype(float), **known) for known in (shown, held))
    report = evaluate(
        query, database, candidates="category", relevance="instance", cloud_of=CLOUDS.get,
        voxels=Voxels.of(GRIDS.get, "as stored"),
    )  # fmt: skip
    found = [
        ("a", "d"),
        ("b", "c"),
        ("a", "c"),
    ]  # of the second query both lamps are equally far: the first of them
    hau = [cloud_distances(CLOUDS[a], CLOUDS[b])[0] for a, b in found]
    np.testing.assert_allclose(report.per_query["hau"], [*hau, np.nan])
    iou = [intersection_over_union(GRIDS[a], GRIDS[b]) for a, b in found]
    np.testing.assert_allclose(report.per_query["iou"], [*iou, np.nan])
    assert np.isnan(report["map"])
    assert np.isnan(report["acc@1"])
    assert report.per_class["category"] == []
    table = report.shape_per_class
    assert (table["category"], table["queries"]) == (["chair", "lamp", "moon"], [2, 1, 1])
    np.testing.assert_allclose(table["hau"], [(hau[0] + hau[2]) / 2, hau[1], np.nan])
    np.testing.assert_allclose(table["iou"], [(iou[0] + iou[2]) / 2, iou[1], np.nan])
    assert np.isnan(table["acc@1"]).all()
    text = comparison([("", report)], ("hau", "iou"))
    assert "among the items of the query's own category" in text
    assert "map_class" not in report
