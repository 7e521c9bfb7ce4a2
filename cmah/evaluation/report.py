"""What `evaluate` found, with the rules it was found under."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Rules:
    """Everything a reader must know to compare the numbers with others.

    Attributes:
        queries: how many were asked.
        items: size of the database.
        width: bits of a code, or components of an embedding.
        ranking: "Hamming distance" or "cosine".
        relevance: "category" or "instance".
        ties: "expected" or "position".
        map_depth: ranks that count for mAP, None for all.
        denominator: of the average precision.
        left_out: queries without a relevant item, not in any mean of mAP and P@K.
        without_instance: queries without an item of the same shape, not in the accuracy; None without instances.
        self_left_out: queries whose own item was left out of the database.
        bootstrap: draws for the interval, 0 = no interval.
        clusters: shapes that the bootstrap drew, None if it drew single queries.
        seed: of the bootstrap.
    """

    queries: int
    items: int
    width: int
    ranking: str
    relevance: str
    ties: str
    map_depth: int | None
    denominator: str
    left_out: int
    without_instance: int | None
    self_left_out: int
    bootstrap: int
    clusters: int | None
    seed: int

    def lines(self) -> list[str]:
        """The rules in words; those that do not depend on the width or the number of queries."""
        depth = "full ranking" if self.map_depth is None else f"first {self.map_depth} ranks"
        if self.ties == "expected":
            ties = "expectation over all orders of ties (in brackets: relevant items last - first)"
        else:
            ties = "ties in order of position in the database"
        own = "the query itself is left out" if self.self_left_out else "the paired item stays and counts"
        lines = [
            f"ranking by {self.ranking}, {ties}; {own}",
            f"relevant = same {self.relevance}; mAP over the {depth}, AP divided by: {self.denominator}",
        ]
        if self.without_instance is not None:
            lines.append("Acc@K = chance that an item of the same shape is among the first K")
        if self.bootstrap:
            drawn = "queries" if self.clusters is None else "the shapes that the queries show"
            lines.append(
                f"± = 95 % interval of mAP, {self.bootstrap} bootstrap draws of {drawn}, seed {self.seed}"
            )
        return lines

    def counts(self) -> str:
        """The numbers of queries and items in words."""
        text = f"{self.queries} queries, {self.items} items"
        if self.left_out:
            text += f"; {self.left_out} queries have no relevant item and are left out"
        if self.without_instance:
            text += f"; {self.without_instance} queries have no item of their shape and are left out of Acc@K"
        return text


@dataclass(frozen=True)
class Report:
    """Metrics by name: `report["map"]`, `"map" in report`.

    Attributes:
        values: "map", "map_best", "map_worst", "map_low", "map_high", "p@K", "acc@K"; in 0..1, NaN where no query
            has a relevant item.
        curve: {"k": ranks, "precision": mean precision among the first k}, the papers' P@TopK.
        per_query: "ap", "ap_best", "ap_worst", "p@K", "acc@K", float64 [q], NaN for queries left out.
        rules: what the numbers mean.
    """

    values: dict[str, float]
    curve: dict[str, list[Any]]
    per_query: dict[str, np.ndarray]
    rules: Rules

    def __getitem__(self, name: str) -> float:
        if name not in self.values:
            raise KeyError(f"{name!r}; known: {', '.join(self.values)}")
        return self.values[name]

    def __contains__(self, name: object) -> bool:
        return name in self.values

    def to_dict(self) -> dict[str, Any]:
        """Values, curve and rules as plain data; NaN becomes None."""
        return {
            "values": {name: _plain(value) for name, value in self.values.items()},
            "curve": {name: [_plain(value) for value in column] for name, column in self.curve.items()},
            "rules": asdict(self.rules),
        }

    def to_json(self) -> str:
        """The same as JSON text."""
        return json.dumps(self.to_dict(), indent=1)

    def table(self) -> str:
        """The numbers as a table for the terminal, the rules under it."""
        return comparison([("", self)])


def comparison(reports: Sequence[tuple[str, Report]]) -> str:
    """Several reports as one table for the terminal, a row each, the rules under it.

    Args:
        reports: label and report of each row.
    """
    columns = list(dict.fromkeys(name for _, report in reports for name in report.values))
    columns = [name for name in columns if not name.startswith("map")]
    head = [
        "",
        "width",
        "mAP",
        "±",
        "(worst - best)",
        *(name.replace("p@", "P@").replace("acc", "Acc") for name in columns),
    ]
    rows = [head]
    for label, report in reports:
        spread = (
            "" if "map_low" not in report else f"{_text(report['map_low'])} - {_text(report['map_high'])}"
        )
        ties = f"({_text(report['map_worst'])} - {_text(report['map_best'])})"
        cells = [_text(report.values.get(name, math.nan)) for name in columns]
        rows.append([label, str(report.rules.width), _text(report["map"]), spread, ties, *cells])
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    notes = list(dict.fromkeys(line for _, report in reports for line in report.rules.lines()))
    counts: dict[str, list[str]] = {}
    for label, report in reports:
        counts.setdefault(report.rules.counts(), []).append(label)
    for text, labels in counts.items():
        named = ", ".join(dict.fromkeys(label for label in labels if label))
        notes.append(f"{named}: {text}" if named and len(counts) > 1 else text)
    return "\n".join([*lines, "", *notes])


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _text(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
