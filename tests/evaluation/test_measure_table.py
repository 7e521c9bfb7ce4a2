"""Every number of a report has a row in the table of measures."""

import numpy as np

from cmah.codes import BinaryCodes
from cmah.evaluation import evaluate
from cmah.evaluation.measure_table import (
    MEASURES,
    asks_for,
    definition,
    heading,
    mean_name,
    measure_of,
    split_name,
    value_text,
)
from cmah.evaluation.voxels import Voxels


def full_report():
    bits = np.random.default_rng(0).integers(0, 2, (12, 6))
    codes = BinaryCodes.from_bits(bits, categories=["a", "b", "c"] * 4, shape_ids=list("abcd") * 3)
    clouds = {name: np.random.default_rng(i).standard_normal((9, 3)) for i, name in enumerate("abcd")}
    voxels = Voxels.of_clouds(clouds.get, 8)
    return evaluate(codes, codes, k=(1, 5), cloud_of=clouds.get, voxels=voxels, mi3dor=True)


def test_every_measure_of_a_report_is_in_the_table_and_the_other_way_round():
    report = full_report()
    assert {split_name(name)[0] for name in report.values} == set(MEASURES)
    averaged = {mean_name(column)[0] for column in report.per_query}
    of_all_only = {name for name in report.values if measure_of(name).group == "mi3dor"}
    assert averaged == set(report.values) - {"map_low", "map_high", "map_class"} - of_all_only
    for name in report.values:
        measure = MEASURES[split_name(name)[0]]
        depth = split_name(name)[1]
        assert bool(depth) == bool(measure.depth)
        assert measure.depth in ("", "@K", depth)
        assert definition(name).startswith(f"{measure.heading}{measure.depth} = ")


def test_lower_is_better_where_the_best_order_gives_less():
    report = full_report()
    for name, value in report.values.items():
        base, depth, bound = split_name(name)
        if bound == "_best":
            worst = report[f"{base}{depth}_worst"]
            assert value <= worst if MEASURES[base].lower_is_better else value >= worst


def test_what_was_asked_for():
    assert asks_for(["nn", "mi3dor_st"], "mi3dor")
    assert asks_for(["iou"], "iou")
    assert asks_for(["ndcg@10_best"], "ranking")
    assert not asks_for(["shape", "hau", "nonsense"], "iou")
    assert not asks_for([], "mi3dor")


def test_headings_and_digits():
    assert [
        heading(name) for name in ("p@10", "ndcg@1_worst", "map_instance@10", "p_radius2", "nn_best")
    ] == [
        "P@10",
        "NDCG@1 worst",
        "instance mAP@10",
        "P(r<=2)",
        "NN best",
    ]
    assert value_text("median_rank_best", 4.25) == "4.2"
    assert value_text("hau", 0.12345) == "0.1235"
    assert value_text("map_low", 0.12345) == "0.123"
    assert value_text("map", float("nan")) == "-"
