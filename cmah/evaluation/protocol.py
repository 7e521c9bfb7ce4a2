"""`evaluate`: queries against a database, under rules that are named in the result."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from cmah.checks import as_int
from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CodesError
from cmah.evaluation.clouds import CloudOf, first_hit_distances, first_hits
from cmah.evaluation.histograms import DistanceCounter, LevelCounter, chunks
from cmah.evaluation.intervals import bootstrap_interval
from cmah.evaluation.measures import (
    CURVE,
    DENOMINATORS,
    RADIUS,
    Depths,
    Gains,
    anmrr_depths,
    measures_of,
    radius_measures,
)
from cmah.evaluation.relevance import Labels, Relation, own_positions, relation
from cmah.evaluation.report import Report, Rules
from cmah.threads import in_threads, thread_count

Rows = BinaryCodes | Embeddings
NAMES = {"ap": "map", "nmrr": "anmrr", "rr": "mrr", "ap_instance@10": "map_instance@10"}  # of means


def evaluate(
    query: Rows,
    database: Rows,
    query_labels: Labels | None = None,
    database_labels: Labels | None = None,
    *,
    query_instances: Labels | None = None,
    database_instances: Labels | None = None,
    relevance: Literal["category", "instance"] = "category",
    k: Sequence[int] = (10,),
    accuracy_at: Sequence[int] = (1, 5, 10),
    map_depth: int | None = None,
    denominator: Literal["relevant", "min(relevant,k)", "hits"] = "relevant",
    ties: Literal["expected", "position"] = "expected",
    exclude_self: bool | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    cloud_of: CloudOf | None = None,
    threads: int | None = None,
) -> Report:
    """Measure whether the database items that are relevant to each query are ranked first.

    Codes are ranked by Hamming distance, embeddings by cosine; the metrics of codes come from histograms of
    distances, in O(queries × bits) memory. A query without a relevant item is reported and left out of the means.
    The numbers do not depend on the order of the database (but for ties="position" and clouds), nor on `threads`.

    Args:
        query: codes or embeddings.
        database: the same kind and width, of the same `space` where both name one.
        query_labels: category of each query, text or numbers; by default `query.categories`. "" = unknown.
        database_labels: the same for the database.
        query_instances: shape that each query shows, for the accuracy; by default `query.shape_ids`.
        database_instances: the same for the database.
        relevance: what makes an item relevant for mAP, P@K and the like: the same category, or the same shape.
        k: depths of P@K, R@K and NDCG@K.
        accuracy_at: depths of the instance accuracy.
        map_depth: ranks that count for mAP; None = the full ranking.
        denominator: what AP divides by: all relevant items; those, or `map_depth` if there are more; or the
            relevant items within `map_depth` (DeepHash). They differ only where `map_depth` is given.
        ties: "expected" = mean over all orders of items at the same distance, in closed form; "position" = by
            position in the database, as a stable sort does.
        exclude_self: leave the query itself (the same id) out of the database; None = yes within one modality,
            no across modalities, where the paired item stays and counts as relevant.
        bootstrap: draws for the 95 % interval of mAP, over queries, by shape where instances are known; 0 = none.
        seed: of the bootstrap.
        cloud_of: the points, float [n, 3 or more], of a shape by its id, or None; for HAU and Chamfer distance.
        threads: how many to use; None for one a core.

    Returns:
        A `Report`, which lists the measures.

    Raises:
        CodesError: for rows that cannot be compared, or labels that are missing or of a wrong length.
    """
    _check_comparable(query, database)
    if denominator not in DENOMINATORS or ties not in ("expected", "position"):
        raise CodesError(f"denominator {denominator!r} or ties {ties!r} is none of the values evaluate knows")
    labels = {
        "category": (_first(query_labels, query.categories), _first(database_labels, database.categories)),
        "instance": (
            _first(query_instances, query.shape_ids),
            _first(database_instances, database.shape_ids),
        ),
    }
    relations = {
        name: relation(asked, stored, len(query), len(database))
        for name, (asked, stored) in labels.items()
        if asked is not None and stored is not None
    }
    if relevance not in relations:
        raise CodesError(f"relevance by {relevance}: the queries, the database or both do not name theirs")
    used = [relations[relevance]]
    if "instance" in relations:
        used.append(relations["instance"])
    skip = own_positions(query, database, exclude_self)
    relevant = [each.count(skip) for each in used]
    n = len(database)
    depths = Depths(
        precision=_depths("k", k),
        accuracy=_depths("accuracy_at", accuracy_at) if "instance" in relations else None,
        average=max(n, 1) if map_depth is None else int(_depths("map_depth", [map_depth])[0]),
        denominator=denominator,
        curve=np.array([*(depth for depth in CURVE if depth < n), max(n, 1)]),
        penalty=anmrr_depths(relevant[0], used[0].largest),
    )
    per_query, curves = _measure(query, database, used, skip, depths, ties, thread_count(threads))

    counted = relevant[0] > 0
    values = _means(per_query)
    instances = labels["instance"][0] if "instance" in relations else None
    clusters = _clusters(instances, len(query))[counted]
    if bootstrap > 0:
        low, high = bootstrap_interval(per_query["ap"][counted], clusters, bootstrap, seed)
        values |= {"map_low": low, "map_high": high}
    per_class = _by_class(labels["category"][0], per_query, counted)
    if per_class["category"]:
        values["map_class"] = float(np.mean(per_class["map"]))
    if cloud_of is not None:
        if "instance" not in relations:
            raise CodesError("HAU: the queries, the database or both do not name the shapes they show")
        hit = first_hits(query, database, skip)
        truth, shown = (np.asarray(side).astype(str) for side in labels["instance"])
        hit_shape = np.where(hit >= 0, np.append(shown, "")[hit], "")
        for name, column in zip(
            ("hau", "chamfer"),
            first_hit_distances(truth, hit_shape, cloud_of, thread_count(threads)),
            strict=True,
        ):
            per_query[name] = column
            values[name] = _mean(column)
    rules = Rules(
        queries=len(query),
        items=n,
        width=query.bits if isinstance(query, BinaryCodes) else query.embeddings.shape[1],
        ranking="Hamming distance" if isinstance(query, BinaryCodes) else "cosine",
        relevance=relevance,
        ties=ties,
        map_depth=map_depth,
        denominator=denominator,
        left_out=int((~counted).sum()),
        without_instance=int((relevant[1] == 0).sum()) if "instance" in relations else None,
        without_cloud=int(np.isnan(per_query["hau"]).sum()) if "hau" in per_query else None,
        self_left_out=int((skip >= 0).sum()),
        bootstrap=bootstrap,
        clusters=len(set(clusters.tolist())) if "instance" in relations else None,
        seed=seed,
    )
    return Report(values, curves, per_query, per_class, rules)


def _measure(
    query: Rows,
    database: Rows,
    relations: Sequence[Relation],
    skip: np.ndarray,
    depths: Depths,
    ties: str,
    threads: int,
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, list[float]]]]:
    """Named measures of each query, float64 [q], and the mean curves; chunk by chunk of queries."""
    by_distance = None
    if isinstance(query, BinaryCodes) and isinstance(database, BinaryCodes):
        by_distance = DistanceCounter(query, database, relations, skip)
    ranked: DistanceCounter | LevelCounter
    if by_distance is None or ties == "position":
        ranked = LevelCounter(query, database, relations, skip, by_position=ties == "position")
    else:
        ranked = by_distance
    gains = Gains.of(len(database))

    def task(begin: int, end: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray | None]:
        counts = ranked(begin, end)
        measures, rank_sums = measures_of(counts, depths.of(begin, end), gains)
        columns = {
            f"{name}{suffix}": column
            for name, bounds in measures.items()
            for suffix, column in zip(("", "_best", "_worst"), bounds, strict=True)
        }
        if by_distance is None:
            return columns, rank_sums, None
        total, relevant = counts if by_distance is ranked else by_distance(begin, end)
        columns[f"p_radius{RADIUS}"], radius_sums = radius_measures(total, relevant[0])
        return columns, rank_sums, radius_sums

    parts = chunks(len(query), ranked.width)
    found = in_threads([partial(task, *part) for part in parts], threads)
    per_query = {name: np.concatenate([columns[name] for columns, _, _ in found]) for name in found[0][0]}
    count = int((~np.isnan(per_query["ap"])).sum())
    precision, recall = _curves([sums for _, sums, _ in found], count)
    curves = {"rank": {"k": depths.curve.tolist(), "precision": precision, "recall": recall}}
    if by_distance is not None:
        precision, recall, retrieved = _curves([sums for _, _, sums in found if sums is not None], count)
        radii = list(range(by_distance.bits + 1))
        curves["radius"] = {"radius": radii, "precision": precision, "recall": recall, "retrieved": retrieved}
    return per_query, curves


def _curves(sums: list[np.ndarray], count: int) -> list[list[float]]:
    """Means from sums over queries; NaN where there are none."""
    total = np.sum(sums, axis=0)
    rows: list[list[float]] = (total / count if count else np.full_like(total, np.nan)).tolist()
    return rows


def _means(per_query: dict[str, np.ndarray]) -> dict[str, float]:
    """The value of each measure over all queries."""
    values = {}
    for name, column in per_query.items():
        base = next((end for end in ("_best", "_worst") if name.endswith(end)), "")
        short = name.removesuffix(base)
        if short == "rank":
            values[f"median_rank{base}"] = _mean(column, np.median)
        else:
            values[NAMES.get(short, short) + base] = _mean(column)
    return values


def _by_class(
    categories: Labels | None, per_query: dict[str, np.ndarray], counted: np.ndarray
) -> dict[str, list[Any]]:
    """Means over the queries of each category that has a query with a relevant item."""
    columns = {"map": "ap", "nn": "nn"} | {name: name for name in per_query if name.startswith("p@")}
    columns = {title: name for title, name in columns.items() if not name.endswith(("_best", "_worst"))}
    if categories is None:
        return {"category": [], "queries": [], **{title: [] for title in columns}}
    texts = np.asarray(categories)[counted].astype(str)
    names, class_of, sizes = np.unique(texts, return_inverse=True, return_counts=True)
    keep = names != ""
    result: dict[str, list[Any]] = {"category": names[keep].tolist(), "queries": sizes[keep].tolist()}
    for title, name in columns.items():
        sums = np.bincount(class_of, per_query[name][counted], minlength=len(names))
        result[title] = (sums / sizes)[keep].tolist()
    return result


def _check_comparable(query: Rows, database: Rows) -> None:
    if isinstance(query, BinaryCodes) and isinstance(database, BinaryCodes):
        widths = query.bits, database.bits
    elif isinstance(query, Embeddings) and isinstance(database, Embeddings):
        widths = query.embeddings.shape[1], database.embeddings.shape[1]
    else:
        raise CodesError(
            f"queries are {query!r}, the database {database!r}; expected both codes or both embeddings"
        )
    if widths[0] != widths[1]:
        raise CodesError(f"queries have width {widths[0]}, the database has {widths[1]}; expected the same")
    if query.space and database.space and query.space != database.space:
        raise CodesError(
            f"queries are of space {query.space}, the database of {database.space}: not comparable"
        )


def _depths(name: str, values: Sequence[int]) -> np.ndarray:
    if any(not 1 <= as_int(value, name) < 2**63 for value in values):
        raise CodesError(f"{name} is {list(values)}, expected 1 to 2^63 - 1")
    return np.array(values, dtype=np.int64).reshape(-1)


def _first(given: Labels | None, own: Labels | None) -> Labels | None:
    return own if given is None else given


def _clusters(instances: Labels | None, n: int) -> np.ndarray:
    """What the bootstrap draws together: the queries that show one shape; a query of unknown shape is alone."""
    if instances is None:
        return np.arange(n)
    _, clusters = np.unique(np.asarray(instances), return_inverse=True)
    alone = np.asarray(instances) == ""
    return np.where(alone, n + np.arange(n), clusters)


def _mean(values: np.ndarray, mean: Callable[[np.ndarray], np.floating] = np.mean) -> float:
    """The mean of what is not NaN; NaN if nothing is."""
    known = values[~np.isnan(values)]
    return float(mean(known)) if known.size else float("nan")
