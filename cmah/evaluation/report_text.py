"""Reports as a table for the terminal, with the definitions of its columns under it."""

import math
from collections.abc import Sequence

from cmah.errors import CodesError
from cmah.evaluation.measure_table import (
    BOUNDS,
    INTERVAL,
    MEASURES,
    asks_for,
    definition,
    heading,
    measure_of,
    split_name,
    value_text,
)
from cmah.evaluation.report_numbers import Report


def comparison(reports: Sequence[tuple[str, Report]], metrics: Sequence[str] = ()) -> str:
    """Several reports as one table for the terminal, a row each, the rules under it.

    Args:
        reports: label and report of each row; `[("", report)]` for one.
        metrics: names of values, or what stands before their @, or of groups of measures such as "mi3dor", for the
            columns behind mAP; by default "p", "ndcg", "nn" and "acc".

    Raises:
        CodesError: for a name that no report has.

    Examples:
        >>> from cmah.codes import BinaryCodes
        >>> from cmah.evaluation import evaluate
        >>> codes = BinaryCodes.from_bits([[0, 0, 0], [0, 0, 1], [1, 1, 1]], categories=["a", "a", "b"])
        >>> report = evaluate(codes, codes, bootstrap=0)
        >>> print(comparison([("CMAH", report)], ["nn", "r@10"]))
              width   mAP    ±  (worst - best)   NN     R@10
        ----  ------  -----  -  ---------------  -----  -----
        CMAH  3 bits  1.000     (1.000 - 1.000)  1.000  1.000
        <BLANKLINE>
        ranking by Hamming distance, expectation over all orders of ties ...
    """
    names = list(dict.fromkeys(name for _, report in reports for name in report.values))
    usual = [measure.name for measure in MEASURES.values() if measure.usual]
    columns = list(
        dict.fromkeys(
            name for wanted in metrics or usual for name in _matching(names, wanted, strict=bool(metrics))
        )
    )
    rows = [["", "width", "mAP", "±", "(worst - best)", *map(heading, columns)]]
    for label, report in reports:
        known = not math.isnan(report.values.get("map_low", math.nan))
        spread = _span(report, "map_low", "map_high") if known else ""
        bounds = f"({_span(report, 'map_worst', 'map_best')})" if not math.isnan(report["map"]) else ""
        cells = [value_text(name, report.values.get(name, math.nan)) for name in columns]
        rows.append(
            [label, report.rules.width_text, value_text("map", report["map"]), spread, bounds, *cells]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", *_notes(reports, columns)])


def _notes(reports: Sequence[tuple[str, Report]], columns: Sequence[str]) -> list[str]:
    """Rules of the reports, definitions of the columns, and how many queries and items there were."""
    notes = list(dict.fromkeys(line for _, report in reports for line in report.rules.lines()))
    notes += dict.fromkeys(map(definition, columns))
    clouds = bool({"hau", "chamfer"} & {split_name(name)[0] for name in columns})
    labels_of: dict[str, list[str]] = {}
    for label, report in reports:
        labels_of.setdefault(report.rules.counts(clouds), []).append(label)
    for text, labels in labels_of.items():
        named = ", ".join(dict.fromkeys(label for label in labels if label))
        notes.append(f"{named}: {text}" if named and len(labels_of) > 1 else text)
    return notes


def _matching(names: Sequence[str], wanted: str, strict: bool) -> list[str]:
    """The names of values that `wanted` stands for; none is an error if `strict`."""
    base, depth, _ = split_name(wanted)
    if (base, depth) == ("map", ""):
        return []  # always shown
    matching = [
        name
        for name in names
        if name == wanted or (name.startswith(f"{wanted}@") and not name.endswith(BOUNDS))
    ]
    if not matching:
        plain = [name for name in names if name != "map" and not name.endswith((*BOUNDS, *INTERVAL))]
        matching = [name for name in plain if measure_of(name).group == wanted]
    if not matching and strict:
        short = dict.fromkeys(name.partition("@")[0] for name in names if not name.endswith(BOUNDS))
        others = [name for name in ("mi3dor", "iou") if not asks_for(names, name)]
        more = f"; if asked for: {', '.join(others)}" if others else ""
        known = ", ".join([*short, *names])
        raise CodesError(f"metric {wanted!r} is not known here; there are: {known}{more}")
    return matching


def _span(report: Report, low: str, high: str) -> str:
    return f"{value_text(low, report[low])} - {value_text(high, report[high])}"
