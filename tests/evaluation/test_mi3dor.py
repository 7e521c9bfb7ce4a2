"""MI3DOR's measures, and the textbook's, against the values of the original script."""

import json

import numpy as np
import pytest

from cmah.errors import CodesError
from cmah.evaluation.histograms import _levels
from cmah.evaluation.measures import Depths, Gains, anmrr_depths, category_measures
from cmah.evaluation.mi3dor import mi3dor_measures

NAMES = {"NN": "nn", "FT": "ft", "ST": "st", "F20": "f@20", "DCG": "dcg", "ANMRR": "anmrr", "AUC": "auc"}


@pytest.fixture
def cases(shared):
    folder = shared / "goldens" / "metrics"
    arrays = np.load(folder / "mi3dor.npz", allow_pickle=False)
    golden = json.loads((folder / "mi3dor.json").read_text())
    keys = ("distances", "query_labels", "gallery_labels")
    return [(case, *(arrays[f"{key}_{case['case']}"] for key in keys)) for case in golden]


def test_values_of_the_original_script(cases):
    for case, *arrays in cases:
        got = mi3dor_measures(*arrays)
        for name, value in (case["official"] or case["clipped"]).items():
            where = f"case {case['case']}, {name}"
            if value is None:
                assert np.isnan(got[NAMES[name]]), where
            else:
                assert got[NAMES[name]] == pytest.approx(value, abs=1e-9), where


def test_the_textbook_measures_of_evaluate(cases):
    for case, distances, query_labels, labels in cases:
        n = distances.shape[1]
        same = (query_labels[:, None] == labels[None]).astype(np.int64)
        relevant = np.empty_like(same)
        np.put_along_axis(relevant, _levels(distances, by_position=True), same, axis=1)
        penalty = anmrr_depths(same.sum(axis=1), int(np.bincount(labels).max()))
        depths = Depths(np.array([1]), None, n, "relevant", np.array([1]), penalty)
        found, _ = category_measures(np.ones_like(relevant), relevant, depths, Gains.of(n))
        expected = case["textbook"]
        for name, key in (("nmrr", "ANMRR_mpeg7"), ("st", "ST_2n"), ("ap", "mAP")):
            assert np.nanmean(found[name][0]) == pytest.approx(expected[key], abs=1e-9), (case["case"], key)
        if case["official"] and all(same.any(axis=1)):  # these two are the same in both
            assert found["nn"][0].mean() == pytest.approx(case["official"]["NN"], abs=1e-9)
            assert found["ft"][0].mean() == pytest.approx(case["official"]["FT"], abs=1e-9)


def test_worked_example():
    """Labels of the ranking: 1 2 1 2, looked for: 1."""
    got = mi3dor_measures(np.array([[0.0, 1, 2, 3]]), np.array([1]), np.array([1, 2, 1, 2]))
    assert got == pytest.approx(
        {
            "nn": 1,
            "ft": 1 / 2,
            "st": 1,  # among 3
            "f@20": 4 / 22,
            "dcg": 1 / 2,  # 1 at rank 1, nothing at rank 2, over 1 + 1 / log2(2)
            "anmrr": ((1 + 5) / 2 - 1.5) / 3.5,
            "auc": (2 / 3 + 1 / 2) / 4,
        }
    )


def test_refusals():
    with pytest.raises(CodesError, match=r"distances \[1, 4\].* database labels \[3\]"):
        mi3dor_measures(np.zeros((1, 4)), np.array([1]), np.array([1, 2, 3]))
    with pytest.raises(CodesError, match="none of them empty"):
        mi3dor_measures(np.zeros((0, 4)), np.zeros(0), np.zeros(4))
