"""`evaluate`: queries against a database, under rules that are named in the result."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CodesError
from cmah.evaluation.intervals import bootstrap_interval
from cmah.evaluation.relevance import Labels, classes, own_positions
from cmah.evaluation.report import Report, Rules

Rows = BinaryCodes | Embeddings
DENOMINATORS = (
    "relevant",
    "min(relevant,k)",
    "hits",
)  # in the order of the constants of cmah.kernels.ranking
CURVE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # ranks of the P@TopK curve, and the last
CELLS = 4_000_000  # entries of a histogram or a matrix of distances that are held at once
DECIMALS = 12  # cosines that agree to this many are tied


@dataclass(frozen=True)
class _Problem:
    """Queries, database, and for each relation the class of every row.

    The first relation (category or instance) decides relevance, the last one the accuracy.
    """

    query: Rows
    database: Rows
    query_class: np.ndarray  # int64 [relations, q]
    database_class: np.ndarray  # int64 [relations, n]
    skip: np.ndarray  # int64 [q], position of the query itself, or -1


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
    accuracy_at: Sequence[int] = (1, 10),
    map_depth: int | None = None,
    denominator: Literal["relevant", "min(relevant,k)", "hits"] = "relevant",
    ties: Literal["expected", "position"] = "expected",
    exclude_self: bool | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Report:
    """Measure whether the database items that are relevant to each query are ranked first.

    Codes are ranked by Hamming distance, embeddings by cosine; the metrics of codes come from histograms of
    distances, in O(queries × bits) memory. A query without a relevant item is reported and left out of the means.

    Args:
        query: codes or embeddings.
        database: the same kind and width, of the same `space` where both name one.
        query_labels: category of each query, text or numbers; by default `query.categories`. "" = unknown.
        database_labels: the same for the database.
        query_instances: shape that each query shows, for the accuracy; by default `query.shape_ids`.
        database_instances: the same for the database.
        relevance: what makes an item relevant for mAP and P@K: the same category, or the same shape.
        k: depths of P@K.
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

    Returns:
        A `Report` with "map", "map_best", "map_worst" (relevant items first, last within each tie), "map_low",
        "map_high" (interval), "p@K" for each `k`, and, where instances are known, "acc@K" (the chance that an
        item of the same shape is among the first K).

    Raises:
        CodesError: for rows that cannot be compared, or labels that are missing or of a wrong length.
    """
    _check_comparable(query, database)
    if denominator not in DENOMINATORS or ties not in ("expected", "position"):
        raise CodesError(f"denominator {denominator!r} or ties {ties!r} is none of the values evaluate knows")
    relations = {
        name: classes(query_side, database_side, len(query), len(database))
        for name, query_side, database_side in (
            (
                "category",
                _first(query_labels, query.categories),
                _first(database_labels, database.categories),
            ),
            (
                "instance",
                _first(query_instances, query.shape_ids),
                _first(database_instances, database.shape_ids),
            ),
        )
        if query_side is not None and database_side is not None
    }
    if relevance not in relations:
        raise CodesError(f"relevance by {relevance}: the queries, the database or both do not name theirs")
    numbers = np.stack([relations[relevance], relations.get("instance", relations[relevance])])
    skip = own_positions(query, database, exclude_self)
    problem = _Problem(query, database, numbers[:, : len(query)], numbers[:, len(query) :], skip)

    depths = {
        "p": _depths("k", k),
        "acc": _depths("accuracy_at", accuracy_at if "instance" in relations else ()),
    }
    depths["curve"] = np.array([*(depth for depth in CURVE if depth < len(database)), max(len(database), 1)])
    depth = max(len(database), 1) if map_depth is None else int(_depths("map_depth", [map_depth])[0])
    per_query, curve, relevant = _measure(problem, ties, depth, DENOMINATORS.index(denominator), depths)

    counted = relevant[0] > 0
    values = {name.replace("ap", "map"): _mean(column) for name, column in per_query.items()}
    instances = query_instances if query_instances is not None else query.shape_ids
    clusters = _clusters(instances if "instance" in relations else None, len(query))[counted]
    if bootstrap > 0:
        low, high = bootstrap_interval(per_query["ap"][counted], clusters, bootstrap, seed)
        values |= {"map_low": low, "map_high": high}
    rules = Rules(
        queries=len(query),
        items=len(database),
        width=query.bits if isinstance(query, BinaryCodes) else query.embeddings.shape[1],
        ranking="Hamming distance" if isinstance(query, BinaryCodes) else "cosine",
        relevance=relevance,
        ties=ties,
        map_depth=map_depth,
        denominator=denominator,
        left_out=int((~counted).sum()),
        without_instance=int((relevant[1] == 0).sum()) if "instance" in relations else None,
        self_left_out=int((skip >= 0).sum()),
        bootstrap=bootstrap,
        clusters=len(set(clusters.tolist())) if "instance" in relations else None,
        seed=seed,
    )
    mean_curve = [_mean(column) for column in curve.T]
    return Report(values, {"k": depths["curve"].tolist(), "precision": mean_curve}, per_query, rules)


def _measure(
    problem: _Problem, ties: str, depth: int, denominator: int, depths: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Per query: named metrics float64 [q], the curve float64 [q, ranks], relevant items int64 [2, q]."""
    from cmah.kernels import ranking

    chunks = []
    for total, relevant in _histograms(problem, by_position=ties == "position"):
        ap = ranking.average_precision(total, relevant[0], depth, denominator)
        precision = ranking.precision_at(total, relevant[0], depths["p"])
        curve = ranking.precision_at(total, relevant[0], depths["curve"])
        accuracy = ranking.success_at(total, relevant[1], depths["acc"])
        precision[np.isnan(ap[:, 0])] = np.nan
        curve[np.isnan(ap[:, 0])] = np.nan
        chunks.append((ap, precision, accuracy, curve, relevant.sum(axis=2).T))
    ap, precision, accuracy, curve, relevant_items = (
        np.concatenate(part) for part in zip(*chunks, strict=True)
    )
    named = dict(zip(("ap", "ap_best", "ap_worst"), ap.T, strict=True))
    named |= {f"p@{k}": column for k, column in zip(depths["p"], precision.T, strict=True)}
    named |= {f"acc@{k}": column for k, column in zip(depths["acc"], accuracy.T, strict=True)}
    return named, curve, relevant_items.T


def _histograms(problem: _Problem, by_position: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunk by chunk of queries: total int64 [chunk, levels], relevant int64 [2, chunk, levels]."""
    from cmah.kernels import hamming, ranking

    query, database = problem.query, problem.database
    by_distance = isinstance(query, BinaryCodes) and not by_position
    width = query.bits + 1 if isinstance(query, BinaryCodes) and by_distance else len(database)
    step = max(1, CELLS // max(1, width))
    for begin in range(0, max(len(query), 1), step):
        part = query[begin : begin + step]
        query_class = np.ascontiguousarray(problem.query_class[:, begin : begin + step])
        known = (query_class, problem.database_class, problem.skip[begin : begin + step])
        if by_distance and isinstance(part, BinaryCodes) and isinstance(database, BinaryCodes):
            words = hamming.to_words(part.packed), hamming.to_words(database.packed)
            yield ranking.count_codes(*words, *known, part.bits)
        else:
            levels = _levels(_distances(part, database), by_position)
            yield ranking.count_levels(levels, *known, max(len(database), 1))


def _distances(query: Rows, database: Rows) -> np.ndarray:
    """Hamming distances, or negative cosines rounded to `DECIMALS`; [q, n]."""
    if isinstance(query, BinaryCodes) and isinstance(database, BinaryCodes):
        from cmah.kernels import hamming

        distances: np.ndarray = hamming.distances(
            hamming.to_words(query.packed), hamming.to_words(database.packed)
        )
        return distances
    unit = []
    for rows in (query, database):
        vectors = rows.matrix.astype(np.float64)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit.append(vectors / np.where(norms == 0, 1, norms))
    return -np.round(unit[0] @ unit[1].T, DECIMALS)


def _levels(distances: np.ndarray, by_position: bool) -> np.ndarray:
    """Number the distances of each row from the nearest up: equal ones alike, or by position; int64 [q, n]."""
    order = np.argsort(distances, axis=1, kind="stable")
    levels = np.empty(distances.shape, dtype=np.int64)
    if by_position:
        steps = np.ones(distances.shape, dtype=np.int64)
    else:
        ordered = np.take_along_axis(distances, order, axis=1)
        steps = np.diff(ordered, axis=1, prepend=ordered[:, :1]) != 0
    steps[:, :1] = 0
    np.put_along_axis(levels, order, np.cumsum(steps, axis=1), axis=1)
    return levels


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
    if any(not 1 <= value < 2**63 for value in values):
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


def _mean(values: np.ndarray) -> float:
    """The mean of what is not NaN; NaN if nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
