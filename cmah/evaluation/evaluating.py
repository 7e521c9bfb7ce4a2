"""`evaluate`: queries against a database, under rules that are named in the result."""

from collections.abc import Sequence
from functools import partial
from typing import Unpack

import numpy as np

from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CodesError
from cmah.evaluation.averaging import class_means, mean_curves, means, shape_class_means
from cmah.evaluation.clouds import CloudOf
from cmah.evaluation.first_hits import first_hit_measures
from cmah.evaluation.histograms import DistanceCounter, LevelCounter, chunks
from cmah.evaluation.intervals import bootstrap_interval
from cmah.evaluation.measure_table import BOUNDS
from cmah.evaluation.measures import (
    CURVE,
    RADIUS,
    Depths,
    Gains,
    anmrr_depths,
    measures_of,
    radius_measures,
)
from cmah.evaluation.mi3dor import mi3dor_of_rankings
from cmah.evaluation.protocol import Protocol, ProtocolFields, Rules, as_protocol
from cmah.evaluation.relevance import (
    Labels,
    Relation,
    Vectors,
    classes,
    joint_classes,
    own_positions,
    relation_of_classes,
    require_comparable,
    width,
)
from cmah.evaluation.report_numbers import Report
from cmah.evaluation.reranked import Reranked, Views
from cmah.evaluation.voxels import Voxels
from cmah.threads import in_threads, thread_count


def evaluate(
    query: Vectors,
    database: Vectors,
    query_labels: Labels | None = None,
    database_labels: Labels | None = None,
    *,
    protocol: Protocol | None = None,
    query_instances: Labels | None = None,
    database_instances: Labels | None = None,
    cloud_of: CloudOf | None = None,
    voxels: Voxels | None = None,
    real: Embeddings | None = None,
    views: Views | None = None,
    threads: int | None = None,
    **changes: Unpack[ProtocolFields],
) -> Report:
    """Measure whether the database items that are relevant to each query are ranked first.

    Codes are ranked by Hamming distance, embeddings by cosine; the metrics of codes come from histograms of
    distances, in O(queries × bits) memory. A query without a relevant item is reported and left out of the means.
    The numbers do not depend on the order of the database (but for ties="position", MI3DOR's, and those of the first
    hit's cloud or voxels, and with `rerank`, which of those at one distance are among the first), nor on `threads`.

    Args:
        query: codes or embeddings.
        database: codes or embeddings, as the queries, of the same width, and the same `space` where both name one.
        query_labels: category of each query, text or numbers; by default `query.categories`. "" = unknown.
        database_labels: category of each item; by default `database.categories`.
        protocol: the rules; by default `Protocol()`.
        query_instances: shape that each query shows, for the accuracy; by default `query.shape_ids`.
        database_instances: shape that each item shows; by default `database.shape_ids`.
        cloud_of: the points, float [n, 3 or more], of a shape by its id, or None; for HAU and Chamfer distance. The
            shapes that queries show need not be in the database.
        voxels: of the shapes by their ids, for IoU.
        real: the real-valued codes of the queries, whose signs are their codes, in the same order, for `rerank` of the
            protocol by "real" and "real+views".
        views: the vectors of the queries and of the items, each `RowVectors.of(table, codes)` of
            `cmah.search.row_vectors`, for `rerank` by "views" and "real+views".
        threads: number of threads; None for one per core.
        **changes: fields of `Protocol` in place of those of `protocol`: relevance, k, accuracy_at, map_depth,
            denominator, ties, exclude_self, candidates, rerank, rerank_by, mi3dor, bootstrap, seed.

    Returns:
        A `Report`, which lists the measures.

    Raises:
        CodesError: for rows that cannot be compared, labels that are missing or of a wrong length, or a rule that
            `Protocol` does not allow or know.

    Examples:
        >>> bits = [[0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1], [1, 1, 1, 0]]
        >>> codes = BinaryCodes.from_bits(bits, categories=["chair", "chair", "lamp", "chair"])
        >>> report = evaluate(codes, codes, bootstrap=0)  # within one set each query itself is left out
        >>> round(report["map"], 3), report.rules.left_out
        (0.806, 1)
    """
    protocol = as_protocol(protocol, **changes)
    require_comparable(query, database)
    if cloud_of is not None and not callable(cloud_of):
        raise CodesError(
            f"cloud_of is a {type(cloud_of).__name__}, expected a function, such as the get of a dict"
        )
    if voxels is not None and not isinstance(voxels, Voxels):
        raise CodesError(
            f"voxels are a {type(voxels).__name__}, expected Voxels, as Voxels.of(grids.get, ...)"
        )
    reranked = Reranked.of(query, database, protocol.rerank, protocol.rerank_by, real, views)
    categories = _either(query_labels, query.categories), _either(database_labels, database.categories)
    instances = _either(query_instances, query.shape_ids), _either(database_instances, database.shape_ids)
    relations, candidates = _relations(
        {"category": categories, "instance": instances}, query, database, protocol
    )
    skip = own_positions(query, database, protocol.exclude_self)
    with_instances = len(relations) > 1
    for name, given in (("HAU", cloud_of), ("IoU", voxels)):
        if given is not None and not with_instances:
            raise CodesError(f"{name}: the queries, the database or both do not name the shapes they show")
    relevant = [each.count(skip) for each in relations]
    counted = relevant[0] > 0
    per_query, curves = _measure(
        query, database, relations, candidates, skip, relevant[0], protocol, reranked, threads
    )

    values = means(per_query)
    clusters = _clusters(instances[0] if with_instances else None, len(query))[counted]
    if protocol.bootstrap > 0:
        low, high = bootstrap_interval(per_query["ap"][counted], clusters, protocol.bootstrap, protocol.seed)
        values |= {"map_low": low, "map_high": high}
    per_class = class_means(categories[0], per_query, counted)
    if per_class["category"]:
        values["map_class"] = float(np.mean(per_class["map"]))
    if cloud_of is not None or voxels is not None:
        shown, held = (np.asarray(labels).astype(str) for labels in instances)
        of_first = first_hit_measures(
            query, database, skip, shown, held, cloud_of, voxels, candidates, threads, reranked
        )
        per_query |= of_first
        values |= means(of_first)
    if protocol.mi3dor:
        variants = mi3dor_of_rankings(query, database, relations[0], skip, candidates, threads, reranked)
        values |= {f"mi3dor_{name}": value for name, value in variants.items()}
    splits = _splits(query), _splits(database)
    if not any(name for names in splits for name in names or ()):
        splits = None, None
    rules = Rules(
        **protocol.settings(),
        queries=len(query),
        items=len(database),
        width=width(query),
        ranking="Hamming distance" if isinstance(query, BinaryCodes) else "cosine",
        left_out=int((~counted).sum()),
        without_instance=int((relevant[1] == 0).sum()) if with_instances else None,
        without_cloud=int(np.isnan(per_query["hau"]).sum()) if "hau" in per_query else None,
        without_voxels=int(np.isnan(per_query["iou"]).sum()) if "iou" in per_query else None,
        voxels=voxels.made if voxels is not None else "",
        self_left_out=int((skip >= 0).sum()),
        clusters=len(set(clusters.tolist())) if with_instances else None,
        query_splits=splits[0],
        database_splits=splits[1],
    )
    return Report(values, curves, per_query, per_class, rules, shape_class_means(categories[0], per_query))


def _splits(vectors: Vectors) -> tuple[str, ...] | None:
    """The splits that rows are of, in order of their names; None where the rows do not say."""
    return None if vectors.splits is None else tuple(sorted(set(vectors.splits.tolist())))


def _relations(
    labels: dict[str, tuple[Labels | None, Labels | None]],
    query: Vectors,
    database: Vectors,
    protocol: Protocol,
) -> tuple[list[Relation], Relation | None]:
    """What is relevant, and the candidates of each query where they are not all items.

    Returns:
        The relation that the protocol asks for, and behind it that by instance where the shapes are named; and the
        items of the query's category, if only these are candidates: nothing else is relevant then.
    """
    sizes = len(query), len(database)
    numbers = {
        name: classes(of_query, of_item, *sizes, "labels" if name == "category" else "instances")
        for name, (of_query, of_item) in labels.items()
        if of_query is not None and of_item is not None
    }
    wanted = [("relevance", protocol.relevance), ("candidates", protocol.candidates)]
    for what, name in wanted:
        if name not in (*numbers, "all"):
            raise CodesError(
                f"{what} by {name}: the queries, the database or both have no "
                f"{'categories' if name == 'category' else 'shape_ids'} "
                f"(there are: {', '.join(sorted(numbers)) or 'neither'})"
            )
    candidates = None
    if protocol.candidates == "category":
        candidates = relation_of_classes(numbers["category"], len(query))
        numbers["instance"] = joint_classes(numbers["category"], numbers["instance"])
    names = [protocol.relevance, *(["instance"] if "instance" in numbers else [])]
    return [relation_of_classes(numbers[name], len(query)) for name in names], candidates


def _measure(
    query: Vectors,
    database: Vectors,
    relations: Sequence[Relation],
    candidates: Relation | None,
    skip: np.ndarray,
    relevant: np.ndarray,
    protocol: Protocol,
    reranked: Reranked | None,
    threads: int | None,
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, list[float]]]]:
    """Named measures of each query, float64 [q], and the mean curves; chunk by chunk of queries."""
    depths = _depths(protocol, len(database), relations, relevant)
    by_position = protocol.ties == "position"
    # the curve within a radius needs the distances of codes, whatever orders their ties
    by_distance = None
    if isinstance(query, BinaryCodes) and isinstance(database, BinaryCodes):
        by_distance = DistanceCounter(query, database, relations, skip, candidates)
    ranked: DistanceCounter | LevelCounter
    if by_distance is None or by_position or reranked is not None:
        ranked = LevelCounter(query, database, relations, skip, by_position, candidates, reranked)
    else:
        ranked = by_distance
    gains = Gains.of(len(database))

    def task(begin: int, end: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray | None]:
        counts = ranked(begin, end)
        measures, rank_sums = measures_of(counts, depths.of(begin, end), gains)
        columns = {
            f"{name}{suffix}": column
            for name, bounds in measures.items()
            for suffix, column in zip(("", *BOUNDS), bounds, strict=True)
        }
        if by_distance is None:
            return columns, rank_sums, None
        total, hits = counts if by_distance is ranked else by_distance(begin, end)
        columns[f"p_radius{RADIUS}"], radius_sums = radius_measures(total, hits[0])
        return columns, rank_sums, radius_sums

    tasks = [partial(task, *part) for part in chunks(len(query), ranked.width)]
    done = in_threads(tasks, thread_count(threads), "measuring")
    per_query = {name: np.concatenate([columns[name] for columns, _, _ in done]) for name in done[0][0]}
    count = int((~np.isnan(per_query["ap"])).sum())
    precision, recall = mean_curves([sums for _, sums, _ in done], count)
    curves = {"rank": {"k": depths.curve.tolist(), "precision": precision, "recall": recall}}
    if by_distance is not None:
        radius_sums = [sums for _, _, sums in done if sums is not None]
        precision, recall, retrieved = mean_curves(radius_sums, count)
        radii = list(range(by_distance.bits + 1))
        curves["radius"] = {"radius": radii, "precision": precision, "recall": recall, "retrieved": retrieved}
    return per_query, curves


def _depths(protocol: Protocol, n: int, relations: Sequence[Relation], relevant: np.ndarray) -> Depths:
    """How deep to look in a database of `n` items, for queries with so many `relevant` ones, int64 [q]."""
    return Depths(
        precision=np.array(protocol.k, dtype=np.int64),
        accuracy=np.array(protocol.accuracy_at, dtype=np.int64) if len(relations) > 1 else None,
        average=max(n, 1) if protocol.map_depth is None else protocol.map_depth,
        denominator=protocol.denominator,
        curve=np.array([*(depth for depth in CURVE if depth < n), max(n, 1)]),
        penalty=anmrr_depths(relevant, relations[0].largest),
    )


def _either(given: Labels | None, stored: Labels | None) -> Labels | None:
    """The labels that were given, else those that the rows bear."""
    return stored if given is None else given


def _clusters(instances: Labels | None, n: int) -> np.ndarray:
    """What the bootstrap draws together: the queries that show one shape; a query of unknown shape is alone."""
    if instances is None:
        return np.arange(n)
    _, clusters = np.unique(np.asarray(instances), return_inverse=True)
    alone = np.asarray(instances) == ""
    return np.where(alone, n + np.arange(n), clusters)
