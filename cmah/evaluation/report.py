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
        left_out: queries without a relevant item, not in the mean of any measure that asks for relevant items.
        without_instance: queries without an item of the same shape, not in Acc@K, MRR and median rank; None without
            instances.
        without_cloud: queries that HAU leaves out, since a cloud is missing; None without clouds.
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
    without_cloud: int | None
    self_left_out: int
    bootstrap: int
    clusters: int | None
    seed: int

    @property
    def width_text(self) -> str:
        """Such as "64 bits" or "512 floats"."""
        return f"{self.width} {'bits' if self.ranking == 'Hamming distance' else 'floats'}"

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
        if self.bootstrap:
            drawn = "queries" if self.clusters is None else "the shapes that the queries show"
            lines.append(
                f"± = 95 % interval of mAP, {self.bootstrap} bootstrap draws of {drawn}, seed {self.seed}"
            )
        return lines

    def counts(self, clouds: bool = True) -> str:
        """The numbers of queries and items in words; with or without those that measures of clouds leave out."""
        text = f"{self.queries} queries, {self.items} items"
        if self.left_out:
            text += f"; {self.left_out} queries have no relevant item and are left out"
        if self.without_instance:
            text += f"; {self.without_instance} queries have no item of their shape and are left out of Acc@K"
        if clouds and self.without_cloud:
            text += f"; {self.without_cloud} queries or their first hits have no point cloud and are left out of HAU"
        return text


@dataclass(frozen=True)
class Report:
    """Measures by name: `report["map"]`, `"map" in report`.

    Attributes:
        values: means over queries, in 0..1 but for ranks and distances between clouds; NaN where no query has a
            relevant item. "map", "p@K", "r@K", "ndcg@K", "nn", "ft", "st", "f@20", "dcg" and "anmrr" (lower is better),
            and each of them with "_best" and "_worst" behind it: relevant items first, and last, in each tie.
            "map_low" and "map_high": the interval. Of codes "p_radius2". Where categories are known
            "map_class", the mean over them of the mean over their queries. Where instances are known "acc@K",
            "mrr" and "map_instance@10" (with bounds too) and "median_rank". Where clouds are given "hau", "chamfer".
        curves: "rank": {"k", "precision", "recall"}, means among the first k (the papers' P@TopK); and of codes
            "radius": {"radius", "precision", "recall", "retrieved"} within each Hamming radius.
        per_query: "ap", "p@K", "r@K", "ndcg@K", "nn", "ft", "st", "f@20", "dcg", "nmrr", "p_radius2", "acc@K", "rr",
            "rank" (of the first item of the same shape), "ap_instance@10" and the bounds of each but
            "p_radius2"; "hau", "chamfer"; float64 [q], NaN for queries left out.
        per_class: {"category": names, "queries": how many count, "map", "nn", "p@K": their means}, sorted by name;
            empty lists where categories are unknown.
        rules: what the numbers mean.
    """

    values: dict[str, float]
    curves: dict[str, dict[str, list[float]]]
    per_query: dict[str, np.ndarray]
    per_class: dict[str, list[Any]]
    rules: Rules

    def __getitem__(self, name: str) -> float:
        if name not in self.values:
            raise KeyError(f"{name!r}; known: {', '.join(self.values)}")
        return self.values[name]

    def __contains__(self, name: object) -> bool:
        return name in self.values

    def to_dict(self) -> dict[str, Any]:
        """Values, curves, classes and rules as plain data; NaN becomes None."""
        return {
            "values": _plain(self.values),
            "curves": _plain(self.curves),
            "per_class": _plain(self.per_class),
            "rules": asdict(self.rules),
        }

    def to_json(self) -> str:
        """The same as JSON text."""
        return json.dumps(self.to_dict(), indent=1)

    def table(self, metrics: Sequence[str] = ()) -> str:
        """The numbers as a table for the terminal, the rules under it; `metrics` as in `comparison`."""
        from cmah.evaluation.terminal import comparison

        return comparison([("", self)], metrics)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
