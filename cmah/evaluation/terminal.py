"""Reports as a table for the terminal, with what its columns mean under it."""

import math
from collections.abc import Sequence

from cmah.errors import CodesError
from cmah.evaluation.report import Report

HEADINGS = {
    "map_class": "class mAP",
    "map_instance": "instance mAP",
    "p_radius2": "P(r<=2)",
    "median_rank": "median rank",
    "hau": "HAU",
    "chamfer": "Chamfer",
}  # others: the name in capitals; before the @ of a depth
DEFINITIONS = {
    "map_class": "class mAP = mean over categories of the mean AP of their queries",
    "p": "P@K = relevant ones among the first K / K, also where there are fewer items",
    "r": "R@K = relevant ones among the first K / all relevant",
    "ndcg": "NDCG@K = gain 1, discount 1 / log2(1 + rank), over that of the best order of all items",
    "nn": "NN = chance that the first item is relevant",
    "ft": "FT = share of the R relevant items that is among the first R",
    "st": "ST = share of the R relevant items that is among the first 2R",
    "f": "F@20 = 2 P R / (P + R) of P@20 and R@20 of each query",
    "dcg": "DCG = over the full ranking, 1 at rank 1 and 1 / log2(rank) from rank 2, over that of the best order",
    "anmrr": "ANMRR = MPEG-7's, rank 1.25 K beyond K = min(4 R, 2 x the database's largest class); lower is better",
    "p_radius2": "P(r<=2) = precision within Hamming radius 2; 0 for queries that find nothing there",
    "acc": "Acc@K = chance that an item of the same shape is among the first K",
    "mrr": "MRR = mean of 1 / rank of the first item of the same shape",
    "map_instance": "instance mAP@10 = relevant: same shape; AP over 10 ranks, divided by min(relevant, 10)",
    "median_rank": "median rank = median over queries of the expected rank of the first item of the same shape",
    "hau": "HAU = mean distance of the points of first hit and truth from the other cloud, both normalised to "
    "radius 1; of equally near hits the first",
    "chamfer": "Chamfer = as HAU, but mean of the two clouds' means",
}
USUAL = ("p", "ndcg", "nn", "acc")  # columns unless others are asked for


def comparison(reports: Sequence[tuple[str, Report]], metrics: Sequence[str] = ()) -> str:
    """Several reports as one table for the terminal, a row each, the rules under it.

    Args:
        reports: label and report of each row.
        metrics: names of values, or what stands before their @, for the columns behind mAP; by default "p", "ndcg",
            "nn" and "acc".

    Raises:
        CodesError: for a name that no report has.
    """
    known = list(dict.fromkeys(name for _, report in reports for name in report.values))
    columns = list(
        dict.fromkeys(name for wanted in metrics or USUAL for name in _matching(known, wanted, metrics))
    )
    rows = [["", "width", "mAP", "±", "(worst - best)", *map(heading, columns)]]
    for label, report in reports:
        spread = _span(report, "map_low", "map_high") if "map_low" in report else ""
        bounds = f"({_span(report, 'map_worst', 'map_best')})"
        cells = [value_text(name, report.values.get(name, math.nan)) for name in columns]
        rows.append(
            [label, report.rules.width_text, value_text("map", report["map"]), spread, bounds, *cells]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    notes = list(dict.fromkeys(line for _, report in reports for line in report.rules.lines()))
    notes += dict.fromkeys(DEFINITIONS[base] for name in columns if (base := base_name(name)) in DEFINITIONS)
    clouds = any(base_name(name) in ("hau", "chamfer") for name in columns)
    counts: dict[str, list[str]] = {}
    for label, report in reports:
        counts.setdefault(report.rules.counts(clouds), []).append(label)
    for text, labels in counts.items():
        named = ", ".join(dict.fromkeys(label for label in labels if label))
        notes.append(f"{named}: {text}" if named and len(counts) > 1 else text)
    return "\n".join([*lines, "", *notes])


def _matching(known: Sequence[str], wanted: str, asked: Sequence[str]) -> list[str]:
    """The names that `wanted` stands for."""
    if wanted in ("map", "map_low", "map_high", "map_best", "map_worst"):
        return []  # always there
    bounds = ("_best", "_worst")
    names = [n for n in known if n == wanted or (n.startswith(f"{wanted}@") and not n.endswith(bounds))]
    if not names and asked:
        short = dict.fromkeys(name.partition("@")[0] for name in known if not name.endswith(bounds))
        raise CodesError(f"metric {wanted!r} is not known here; there are: {', '.join([*short, *known])}")
    return names


def base_name(name: str) -> str:
    """A value's name without its depth and bound."""
    return name.partition("@")[0].removesuffix("_best").removesuffix("_worst")


def heading(name: str) -> str:
    """What stands above the column of a value."""
    base, at, rest = name.partition("@")
    for bound in ("_best", "_worst"):
        if base.endswith(bound):
            base, rest = base.removesuffix(bound), f"{rest}{bound}"
    text = HEADINGS.get(base, "Acc" if base == "acc" else base.upper())
    return f"{text}{at}{rest}".replace("_", " ")


def _span(report: Report, low: str, high: str) -> str:
    return f"{value_text(low, report[low])} - {value_text(high, report[high])}"


def value_text(name: str, value: float) -> str:
    """A value in as many digits as it deserves."""
    if math.isnan(value):
        return "-"
    return (
        f"{value:.1f}"
        if name == "median_rank"
        else f"{value:.4f}"
        if name in ("hau", "chamfer")
        else f"{value:.3f}"
    )
