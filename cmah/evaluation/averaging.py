"""From the measures of each query to those of a report: means over all queries, and over those of each category."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cmah.evaluation.measure_table import BOUNDS, mean_name
from cmah.evaluation.relevance import Labels

FIRST_HIT = ("hau", "chamfer", "iou")  # measures that need no relevant item


def means(per_query: dict[str, np.ndarray]) -> dict[str, float]:
    """The value of each measure over all queries that have one.

    Args:
        per_query: float64 [q] by name, NaN for queries left out.

    Returns:
        Means (for "median_rank" the median) by the name of the value, "map" for "ap" and so on; NaN without queries.

    Examples:
        >>> means({"ap": np.array([1.0, 0.5, np.nan]), "rank": np.array([1.0, 2.0, 9.0])})
        {'map': 0.75, 'median_rank': 2.0}
    """
    values = {}
    for column, numbers in per_query.items():
        name, measure = mean_name(column)
        values[name] = _average(numbers, measure.average)
    return values


def class_means(
    categories: Labels | None, per_query: dict[str, np.ndarray], counted: np.ndarray
) -> dict[str, list[Any]]:
    """Means over the queries of each category that has a query with a relevant item.

    Args:
        categories: category of each query, "" where unknown; None if none is known.
        per_query: float64 [q] by name.
        counted: bool [q], the queries with a relevant item.

    Returns:
        "category": the names in order, "queries": how many count, and the means "map", "nn" and "p@K".

    Examples:
        >>> per_query = {"ap": np.array([1.0, 0.5, np.nan, 0.2]), "nn": np.array([1.0, 0.0, np.nan, 0.0])}
        >>> counted = np.array([True, True, False, True])
        >>> class_means(["chair", "chair", "lamp", "lamp"], per_query, counted)
        {'category': ['chair', 'lamp'], 'queries': [2, 1], 'map': [0.75, 0.2], 'nn': [0.5, 0.0]}
    """
    columns = {"map": "ap", "nn": "nn"}
    columns |= {name: name for name in per_query if name.startswith("p@") and not name.endswith(BOUNDS)}
    if categories is None:
        return {"category": [], "queries": [], **{title: [] for title in columns}}
    texts = np.asarray(categories)[counted].astype(str)
    names, class_of, sizes = np.unique(texts, return_inverse=True, return_counts=True)
    known = names != ""
    result: dict[str, list[Any]] = {"category": names[known].tolist(), "queries": sizes[known].tolist()}
    for title, name in columns.items():
        sums = np.bincount(class_of, per_query[name][counted], minlength=len(names))
        result[title] = (sums / sizes)[known].tolist()
    return result


def shape_class_means(categories: Labels | None, per_query: dict[str, np.ndarray]) -> dict[str, list[Any]]:
    """Means over the queries of each category, of the measures that ask for the same shape.

    Args:
        categories: category of each query, "" where unknown; None if none is known.
        per_query: float64 [q] by name, NaN for queries left out.

    Returns:
        "category": the names in order, "queries": how many of each, and the means "acc@K", "hau", "chamfer" and "iou",
        as far as they were measured, over the queries that they do not leave out; NaN where that is none.

    Examples:
        >>> per_query = {"acc@1": np.array([1.0, 0.0, np.nan]), "iou": np.array([0.5, np.nan, np.nan])}
        >>> shape_class_means(["chair", "chair", "lamp"], per_query)
        {'category': ['chair', 'lamp'], 'queries': [2, 1], 'acc@1': [0.5, nan], 'iou': [0.5, nan]}
    """
    columns = [name for name in per_query if name in FIRST_HIT or _is_accuracy(name)]
    if categories is None or not columns:
        return {"category": [], "queries": [], **{name: [] for name in columns}}
    names, class_of, sizes = np.unique(
        np.asarray(categories).astype(str), return_inverse=True, return_counts=True
    )
    known = names != ""
    result: dict[str, list[Any]] = {"category": names[known].tolist(), "queries": sizes[known].tolist()}
    for name in columns:
        has_value = ~np.isnan(per_query[name])
        count = np.bincount(class_of[has_value], minlength=len(names))
        sums = np.bincount(class_of[has_value], per_query[name][has_value], minlength=len(names))
        result[name] = np.where(count > 0, sums / np.maximum(count, 1), np.nan)[known].tolist()
    return result


def _is_accuracy(name: str) -> bool:
    return name.startswith("acc@") and not name.endswith(BOUNDS)


def mean_curves(sums: Sequence[np.ndarray], count: int) -> list[list[float]]:
    """Mean curves from sums over chunks of queries.

    Args:
        sums: for each chunk float64 [curves, points].
        count: number of queries in the sums.

    Returns:
        [curves, points]; NaN where there are no queries.

    Examples:
        >>> mean_curves([np.array([[1.0, 3.0]]), np.array([[2.0, 1.0]])], count=4)
        [[0.75, 1.0]]
    """
    total = np.sum(sums, axis=0)
    curves: list[list[float]] = (total / count if count else np.full_like(total, np.nan)).tolist()
    return curves


def _average(numbers: np.ndarray, average: Callable[[np.ndarray], np.floating]) -> float:
    """The average of what is not NaN; NaN if nothing is."""
    finite = numbers[~np.isnan(numbers)]
    return float(average(finite)) if finite.size else float("nan")
