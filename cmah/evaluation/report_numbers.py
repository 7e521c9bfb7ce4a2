"""`Report`: the numbers of an evaluation, with the rules they hold under."""

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cmah.evaluation.protocol import Rules


@dataclass(frozen=True)
class Report:
    """Measures by name: `report["map"]`, `"map" in report`.

    `MEASURES` of `cmah.evaluation.measure_table` defines them all; a name has its depth behind it, as "ndcg@10".

    Attributes:
        values: means over queries, in 0..1 but for ranks and distances between clouds; NaN where no query has a
            relevant item. Those that a tie can change have beside them NAME_best and NAME_worst: relevant items
            first, and last, in each tie. "map_low" and "map_high": the bootstrap interval. "p_radius2" of codes only.
            Where categories are known "map_class". Where instances are known "acc@K", "mrr", "map_instance@10" and
            "median_rank". Where clouds are given "hau", "chamfer"; where voxels are given "iou". Where the protocol
            asks for them "mi3dor_nn" and the others of MI3DOR.
        curves: "rank": {"k", "precision", "recall"}, means among the first k (the papers' P@TopK); and of codes
            "radius": {"radius", "precision", "recall", "retrieved"} within each Hamming radius.
        per_query: the same measures of each query, float64 [q], NaN for queries left out; under the name of the
            value but for "ap" (of "map"), "nmrr" (of "anmrr"), "rr" (of "mrr"), "rank" (of "median_rank") and
            "ap_instance@10". MI3DOR's are of all queries only.
        per_class: {"category": names, "queries": how many count, "map", "nn", "p@K": their means}, sorted by name;
            empty lists where categories are unknown.
        rules: the protocol, with the numbers of queries and items.
        shape_per_class: the same of "acc@K", "hau", "chamfer" and "iou", as far as they are measured, for the
            categories of all queries.

    Examples:
        >>> from cmah.codes import BinaryCodes
        >>> from cmah.evaluation import evaluate
        >>> images = BinaryCodes.from_bits([[0, 0, 0], [1, 1, 1]], categories=["chair", "lamp"])
        >>> shapes = BinaryCodes.from_bits([[0, 0, 1], [0, 1, 1]], categories=["lamp", "chair"])
        >>> report = evaluate(images, shapes)
        >>> report["map"], report["nn"], report.per_query["ap"].tolist(), "acc@1" in report
        (0.5, 0.0, [0.5, 0.5], False)
        >>> report.curves["radius"]["recall"]
        [0.0, 0.0, 1.0, 1.0]
    """

    values: dict[str, float]
    curves: dict[str, dict[str, list[float]]]
    per_query: dict[str, np.ndarray]
    per_class: dict[str, list[Any]]
    rules: Rules
    shape_per_class: dict[str, list[Any]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        if name not in self.values:
            raise KeyError(f"{name!r}; known: {', '.join(self.values)}")
        return self.values[name]

    def __contains__(self, name: object) -> bool:
        return name in self.values

    def to_dict(self) -> dict[str, Any]:
        """Values, curves, classes and rules as plain data; NaN becomes None.

        Examples:
            >>> from cmah.codes import BinaryCodes
            >>> from cmah.evaluation import evaluate
            >>> codes = BinaryCodes.from_bits([[0, 0], [0, 1]], categories=["chair", "lamp"])
            >>> evaluate(codes, codes).to_dict()["values"]["map"]  # None: no query has a relevant item
            >>> evaluate(codes, codes, exclude_self=False).to_dict()["values"]["map"]
            1.0
        """
        return {
            "values": _plain(self.values),
            "curves": _plain(self.curves),
            "per_class": _plain(self.per_class),
            "shape_per_class": _plain(self.shape_per_class),
            "rules": self.rules.record(),
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text, for programs that keep or pass on a report; `cmah eval --json` writes the same."""
        return json.dumps(self.to_dict(), indent=1)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
