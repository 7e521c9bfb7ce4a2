"""MI3DOR's measures, and the textbook's, against the values of the original script."""

import json

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CodesError
from cmah.evaluation import comparison, evaluate
from cmah.evaluation.histograms import _levels
from cmah.evaluation.measures import Depths, Gains, anmrr_depths, category_measures
from cmah.evaluation.mi3dor import _counted, mi3dor_measures, mi3dor_of_rankings
from cmah.evaluation.relevance import relation

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


def plain(rankings, largest):
    """The script's measures by loops, from the relevance (0 or 1) of each query's items in ranked order."""
    each = {"nn": [], "ft": [], "st": [], "dcg": [], "anmrr": []}
    for ranked in rankings:
        number = sum(ranked)
        each["nn"].append(ranked[0])
        each["ft"].append(sum(ranked[:number]) / max(number, 1))
        each["st"].append(sum(ranked[: max(2 * number - 1, 0)]) / max(number, 1))
        gains = [1.0] + [1 / np.log2(rank) for rank in range(2, len(ranked) + 1)]
        gained = sum(gain for gain, relevant in zip(gains[:number], ranked, strict=False) if relevant)
        each["dcg"].append(gained / max(sum(gains[:number]), 1))
        depth = min(4 * number, 2 * largest)
        ranks = [rank if rank <= number else depth + 1 for rank, hit in enumerate(ranked, 1) if hit]
        best = number / 2 + 0.5
        each["anmrr"].append((np.mean(ranks) - best) / (depth + 1 - best) if number else np.nan)
    values = {name: np.mean(numbers) for name, numbers in each.items()}
    q, all_relevant = len(rankings), sum(map(sum, rankings))
    longest = max(map(len, rankings))
    found = [sum(sum(ranked[:k]) for ranked in rankings) for k in range(1, longest + 1)]
    values["f@20"] = 2 * found[min(20, longest) - 1] / (20 * q + all_relevant)
    precision = [hits / (k * q) for k, hits in enumerate(found, 1)]
    recall = [hits / max(all_relevant, 1) for hits in found]
    values["auc"] = sum(
        (recall[k] - recall[k - 1]) * (precision[k] + precision[k - 1]) / 2 for k in range(1, longest)
    )
    return values


def rows(n, seed, kind):
    random = np.random.default_rng(seed)
    categories = random.choice(["a", "b", "c"], n)
    signs = np.where(random.random((n, 6)) < 0.3, -1, 1) * np.where(categories == "a", -1, 1)[:, None]
    known = {"categories": categories, "shape_ids": (np.arange(n) % 7).astype(str)}
    known["ids"] = [f"{seed}-{i}" for i in range(n)]
    return BinaryCodes.from_signs(signs, **known) if kind == "codes" else Embeddings(signs + 0.0, **known)


def distances_of(query, database):
    signs = [part.signs() if isinstance(part, BinaryCodes) else part.embeddings for part in (query, database)]
    return (signs[0][:, None] != signs[1][None]).sum(axis=2)


@pytest.mark.parametrize("kind", ["codes", "embeddings"])
def test_evaluate_gives_the_values_of_the_script(kind, monkeypatch):
    query, database = rows(17, 0, kind), rows(45, 1, kind)
    expected = mi3dor_measures(distances_of(query, database), query.categories, database.categories)
    largest = np.unique(database.categories, return_counts=True)[1].max()
    order = np.argsort(distances_of(query, database), axis=1, kind="stable")
    same = (query.categories[:, None] == database.categories[None]).astype(int)
    assert expected == pytest.approx(
        plain(np.take_along_axis(same, order, axis=1).tolist(), largest), abs=1e-12
    )
    for cells in (1 << 20, 1):
        monkeypatch.setattr("cmah.evaluation.histograms.CELLS", cells)
        for threads in (1, 2):
            report = evaluate(query, database, mi3dor=True, threads=threads)
            assert {name: report[f"mi3dor_{name}"] for name in expected} == pytest.approx(expected, abs=1e-12)
    without = evaluate(query, database)
    assert "mi3dor_nn" not in without
    assert without.values.items() <= report.values.items()


@pytest.mark.parametrize("kind", ["codes", "embeddings"])
@pytest.mark.parametrize(
    "settings", [{}, {"relevance": "instance"}, {"relevance": "instance", "candidates": "category"}]
)
def test_items_that_are_left_out(kind, settings):
    """The query itself, and what is of another category: the ranking is that of the others."""
    own = rows(23, 2, kind)
    distances = distances_of(own, own)
    label = own.shape_ids if "relevance" in settings else own.categories
    rankings = []
    for i in range(23):
        order = [j for j in np.argsort(distances[i], kind="stable") if j != i]
        if "candidates" in settings:
            order = [j for j in order if own.categories[j] == own.categories[i]]
        padding = [0] * (23 - len(order))
        same = [int(label[j] == label[i] and own.categories[j] == own.categories[i]) for j in order]
        if "candidates" not in settings:
            same = [int(label[j] == label[i]) for j in order]
        rankings.append(same + padding)
    named = list(zip(own.categories, label, strict=True)) if "candidates" in settings else list(label)
    largest = max(named.count(name) for name in named)
    report = evaluate(own, own, mi3dor=True, **settings)
    for name, value in plain(rankings, largest).items():
        assert report[f"mi3dor_{name}"] == pytest.approx(value, abs=1e-12, nan_ok=True), name


def test_a_query_without_a_relevant_item_counts_as_the_script_counts_it():
    query, database = rows(17, 0, "codes"), rows(45, 1, "codes")
    labels = [*query.categories[:16], "elsewhere"]
    report = evaluate(query, database, labels, mi3dor=True)
    expected = mi3dor_measures(distances_of(query, database), np.array(labels), database.categories)
    assert report["mi3dor_nn"] == expected["nn"] != pytest.approx(report["nn"], abs=0.01)
    assert np.isnan(report["mi3dor_anmrr"])
    assert report.to_dict()["values"]["mi3dor_anmrr"] is None


def test_shown_as_a_group_with_definitions():
    query, database = rows(17, 0, "codes"), rows(45, 1, "codes")
    report = evaluate(query, database, mi3dor=True, bootstrap=0)
    head, _, row, *rest = comparison([("", report)], ["mi3dor"]).splitlines()
    names = [f"MI3DOR {name}" for name in ("NN", "FT", "ST", "F@20", "DCG", "ANMRR", "AUC")]
    assert head.endswith("  ".join(names))
    assert row.split()[-7:] == [
        f"{value:.3f}" for name, value in report.values.items() if name.startswith("mi3dor_")
    ]
    assert (
        sum(line.startswith("MI3DOR ") and " = " in line for line in rest) == 8
    )  # the rule, and each definition
    assert comparison([("", report)], ["mi3dor_f", "nn"]).splitlines()[0].endswith("MI3DOR F@20  NN")


def test_nothing_to_measure():
    codes = rows(4, 0, "codes")
    nothing = relation([], codes.categories, 0, 4)
    values = mi3dor_of_rankings(codes[:0], codes, nothing, np.empty(0, dtype=int))
    assert all(map(np.isnan, values.values()))


def test_refusals():
    with pytest.raises(CodesError, match=r"distances \[1, 4\].* database labels \[3\]"):
        mi3dor_measures(np.zeros((1, 4)), np.array([1]), np.array([1, 2, 3]))
    with pytest.raises(CodesError, match="none of them empty"):
        mi3dor_measures(np.zeros((0, 4)), np.zeros(0), np.zeros(4))


def test_what_is_kept_of_a_chunk_is_not_its_matrices():
    """20,000 x 20,000 embeddings once took 3.5 GB, as a column of each chunk's matrix kept all of it."""
    counted = _counted(np.zeros((4, 9)), np.ones((4, 9), dtype=bool), 9)
    for name in ("nn", "ft", "st", "dcg", "nmrr", "number"):
        kept = getattr(counted, name)
        assert kept.size == 4
        assert kept.base is None or kept.base.size <= 4, name
