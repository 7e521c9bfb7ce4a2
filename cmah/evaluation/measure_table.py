"""The measures of a report by name: heading, definition, digits and group of each, in order of display.

The terminal table, the HTML page and docs/metrics.md are read from this table. A new measure is two entries: its
computation in `cmah.evaluation.measures` (the function of the histograms it needs), and its row here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

BOUNDS = ("_best", "_worst")  # behind the name: with the relevant items first, and last, in each tie
INTERVAL = ("_low", "_high")  # behind the name: ends of the bootstrap interval


@dataclass(frozen=True)
class Measure:
    """What is known of a measure, whatever its depth.

    Attributes:
        name: of its value, without depth, such as "ndcg"; the key of `MEASURES`.
        heading: what stands above its column, without depth.
        definition: one line, shown under the tables that have the measure.
        group: the table of the page: first ranks and mean average precision ("ranking"), the other measures of 3D
            retrieval ("tiers"), those that ask for the same shape ("shape"), or variants of MI3DOR's ("mi3dor").
        depth: "@K" where depths are chosen, such as "@20" where the depth is fixed, "" where there is none.
        details: what docs/metrics.md says beyond the definition, in Markdown.
        digits: decimals that are printed.
        lower_is_better: whether a smaller value is a better one.
        per_query: name of the value of a single query, without depth, where it is another: "ap" of "map".
        average: how the values of queries become that of the report.
        usual: whether the terminal shows it unless other measures are asked for.

    Examples:
        >>> measure = MEASURES["anmrr"]
        >>> measure.heading, measure.group, measure.lower_is_better, measure.per_query
        ('ANMRR', 'tiers', True, 'nmrr')
    """

    name: str
    heading: str
    definition: str
    group: Literal["ranking", "tiers", "shape", "mi3dor"]
    depth: str = ""
    details: str = ""
    digits: int = 3
    lower_is_better: bool = False
    per_query: str = ""
    average: Callable[[np.ndarray], np.floating] = np.mean
    usual: bool = False


_ROWS = (
    Measure(
        "map",
        "mAP",
        "average precision: sum of the precisions at the ranks of the relevant items, divided by R",
        "ranking",
        details="With `--map-depth k` over k ranks, divided by `--denominator`: `relevant` (R), `min(relevant,k)`, "
        "or `hits` (those within the first k; DeepHash's and DJSRH's).",
        per_query="ap",
    ),
    Measure("map_class", "class mAP", "mean over categories of the mean AP of their queries", "ranking"),
    Measure(
        "p",
        "P",
        "relevant ones among the first K / K, also where there are fewer items",
        "ranking",
        "@K",
        usual=True,
    ),
    Measure("r", "R", "relevant ones among the first K / all relevant", "ranking", "@K"),
    Measure(
        "ndcg",
        "NDCG",
        "gain 1, discount 1 / log2(1 + rank), over that of the best order of all items",
        "ranking",
        "@K",
        usual=True,
    ),
    Measure("nn", "NN", "chance that the first item is relevant", "tiers", usual=True),
    Measure(
        "ft", "FT", "share of the R relevant items that is among the first R", "tiers", details="First tier."
    ),
    Measure(
        "st", "ST", "share of the R relevant items that is among the first 2R", "tiers", details="Second tier."
    ),
    Measure("f", "F", "2 P R / (P + R) of P@20 and R@20 of each query", "tiers", "@20"),
    Measure(
        "dcg",
        "DCG",
        "over the full ranking, 1 at rank 1 and 1 / log2(rank) from rank 2, over that of the best order",
        "tiers",
        details="As in the Princeton Shape Benchmark.",
    ),
    Measure(
        "anmrr",
        "ANMRR",
        "MPEG-7's, rank 1.25 K beyond K = min(4 R, 2 x the database's largest class); lower is better",
        "tiers",
        details="The mean rank of the relevant items, scaled to 0 (best) … 1.",
        lower_is_better=True,
        per_query="nmrr",
    ),
    Measure(
        "p_radius2",
        "P(r<=2)",
        "precision within Hamming radius 2; 0 for queries that find nothing there",
        "tiers",
        details="Of codes only.",
    ),
    Measure("acc", "Acc", "chance that an item of the same shape is among the first K", "shape", "@K", usual=True),
    Measure(
        "mrr",
        "MRR",
        "mean of 1 / rank of the first item of the same shape",
        "shape",
        details="Over the full ranking.",
        per_query="rr",
    ),
    Measure(
        "map_instance",
        "instance mAP",
        "relevant: same shape; AP over 10 ranks, divided by min(relevant, 10)",
        "shape",
        "@10",
        details="With one such item it is MRR cut at 10.",
        per_query="ap_instance",
    ),
    Measure(
        "median_rank",
        "median rank",
        "median over queries of the expected rank of the first item of the same shape",
        "shape",
        digits=1,
        lower_is_better=True,
        per_query="rank",
        average=np.median,
    ),
    Measure(
        "hau",
        "HAU",
        "mean distance of the points of first hit and truth from the other cloud, both normalised to radius 1; "
        "of equally near hits the first",
        "shape",
        details="With `--dataset`: (Σ_x min_y d + Σ_y min_x d) / (n + m), d Euclidean, both clouds centred.",
        digits=4,
        lower_is_better=True,
    ),
    Measure(
        "chamfer",
        "Chamfer",
        "as HAU, but mean of the two clouds' means",
        "shape",
        details="With `--dataset`; equals HAU for clouds of one size.",
        digits=4,
        lower_is_better=True,
    ),
    Measure(
        "iou",
        "IoU",
        "voxels that are full in both first hit and truth / in either, not aligned; of equally near hits the first",
        "shape",
        details="With `--dataset`, and only if it is asked for.",
    ),
    Measure("mi3dor_nn", "MI3DOR NN", "share of the queries whose first item is relevant", "mi3dor"),
    Measure("mi3dor_ft", "MI3DOR FT", "share of the R relevant items that is among the first R", "mi3dor"),
    Measure("mi3dor_st", "MI3DOR ST", "share of the R relevant items that is among the first 2R - 1", "mi3dor"),
    Measure(
        "mi3dor_f",
        "MI3DOR F",
        "2 P R / (P + R) of P@20 and R@20 of all queries together",
        "mi3dor",
        "@20",
    ),
    Measure(
        "mi3dor_dcg",
        "MI3DOR DCG",
        "over the first R ranks, 1 at rank 1 and 1 / log2(rank) from rank 2, over that of R relevant items",
        "mi3dor",
    ),
    Measure(
        "mi3dor_anmrr",
        "MI3DOR ANMRR",
        "over the first R ranks, rank S + 1 beyond, S = min(4 R, 2 x the database's largest class); lower is better",
        "mi3dor",
        lower_is_better=True,
    ),
    Measure(
        "mi3dor_auc",
        "MI3DOR AUC",
        "area below the precision-recall curve of all queries together, by trapeziums from rank 1 on",
        "mi3dor",
    ),
)  # fmt: skip
MEASURES = {measure.name: measure for measure in _ROWS}
_BY_COLUMN = {measure.per_query or measure.name: measure for measure in _ROWS}


def split_name(name: str) -> tuple[str, str, str]:
    """Name, depth and bound of a value.

    Examples:
        >>> split_name("ndcg@10_best")
        ('ndcg', '@10', '_best')
        >>> split_name("map_low")
        ('map', '', '_low')
    """
    bound = next((end for end in (*BOUNDS, *INTERVAL) if name.endswith(end)), "")
    base, at, depth = name.removesuffix(bound).partition("@")
    return base, at + depth, bound


def measure_of(name: str) -> Measure:
    """The row of a value, such as that of "ndcg" for "ndcg@10_best".

    Examples:
        >>> measure_of("ndcg@10_best").heading
        'NDCG'
    """
    return MEASURES[split_name(name)[0]]


def asks_for(metrics: Sequence[str], name: str) -> bool:
    """Whether one of the metrics that a user named is this measure, or is of this group or is its name.

    Args:
        metrics: names of measures, with or without depth and bound, or of groups.
        name: of a measure, without depth, or of a group.

    Examples:
        >>> asks_for(["nn", "mi3dor_f@20"], "mi3dor"), asks_for(["mi3dor"], "mi3dor"), asks_for(["nn"], "mi3dor")
        (True, True, False)
        >>> asks_for(["iou"], "iou"), asks_for(["shape"], "iou")
        (True, False)
    """
    bases = {split_name(metric)[0] for metric in metrics}
    return any(base == name or (base in MEASURES and MEASURES[base].group == name) for base in bases)


def mean_name(column: str) -> tuple[str, Measure]:
    """Name and row of the value that the column of a measure per query becomes.

    Examples:
        >>> mean_name("ap_instance@10_worst")[0]
        'map_instance@10_worst'
    """
    base, depth, bound = split_name(column)
    measure = _BY_COLUMN[base]
    return f"{measure.name}{depth}{bound}", measure


def heading(name: str) -> str:
    """What stands above the column of a value.

    Examples:
        >>> heading("ndcg@10_best")
        'NDCG@10 best'
    """
    _, depth, bound = split_name(name)
    return f"{measure_of(name).heading}{depth}{bound.replace('_', ' ')}"


def definition(name: str) -> str:
    """The line that defines a value, whatever its depth.

    Examples:
        >>> definition("r@5")
        'R@K = relevant ones among the first K / all relevant'
    """
    measure = measure_of(name)
    return f"{measure.heading}{measure.depth} = {measure.definition}"


def value_text(name: str, value: float) -> str:
    """A value with the digits of its measure; "-" for NaN.

    Examples:
        >>> value_text("p@10", 0.12345), value_text("median_rank", 2.0), value_text("map", math.nan)
        ('0.123', '2.0', '-')
    """
    return "-" if math.isnan(value) else f"{value:.{measure_of(name).digits}f}"
