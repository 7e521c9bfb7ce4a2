"""The items a report shows: the first hits of queries, and queries worth looking at."""

import numpy as np

from cmah.codes import BinaryCodes
from cmah.evaluation.evaluations import Evaluation
from cmah.evaluation.histograms import Distances, chunks
from cmah.evaluation.relevance import Vectors, own_positions
from cmah.evaluation.reranked import Reranked
from cmah.search import HammingIndex


def nearest(
    query: Vectors,
    database: Vectors,
    k: int,
    exclude_self: bool | None = None,
    reranked: Reranked | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The first items of each query by (distance, position in the database).

    Args:
        query: codes or embeddings.
        database: codes or embeddings, as the queries, of the same width.
        k: number of items per query.
        exclude_self: as in `Protocol`.
        reranked: how many of the first are ranked anew, and by what.

    Returns:
        Positions, int64 [q, min(k, items)], and Hamming distances (integers) or cosines (float64) of that shape.
        Where any query was left out of the database, one item fewer counts for all queries.

    Examples:
        >>> database = BinaryCodes.from_bits([[0, 0, 0], [0, 1, 1], [1, 1, 1]])
        >>> positions, distances = nearest(BinaryCodes.from_bits([[1, 1, 1]]), database, k=2)
        >>> positions.tolist(), distances.tolist()
        ([[2, 1]], [[0, 1]])
    """
    skip = own_positions(query, database, exclude_self)
    available = len(database) - int((skip >= 0).any())
    wanted = min(k + 1, len(database))  # one more, as one of them may be the query itself
    if reranked is not None:
        positions, values = _nearest_ranked_anew(query, database, wanted, skip, reranked)
    elif isinstance(query, BinaryCodes) and isinstance(database, BinaryCodes):
        index = HammingIndex(database.bits)
        index.add(BinaryCodes.from_packed(database.packed, database.bits))
        hits = index.search(BinaryCodes.from_packed(query.packed, query.bits), k=max(wanted, 1))
        positions, values = hits.positions, hits.distances
    else:
        positions, values = _nearest_by_cosine(query, database, wanted)
    # a stable sort puts the query itself last and leaves the others in order
    others = np.argsort(positions == skip[:, None], axis=1, kind="stable")[:, : max(min(k, available), 0)]
    return np.take_along_axis(positions, others, axis=1), np.take_along_axis(values, others, axis=1)


def _nearest_by_cosine(query: Vectors, database: Vectors, k: int) -> tuple[np.ndarray, np.ndarray]:
    positions = np.empty((len(query), k), dtype=np.int64)
    cosines = np.empty((len(query), k))
    distances = Distances(query, database)
    for begin, end in chunks(len(query), len(database)):
        some = distances(begin, end)
        positions[begin:end] = np.argsort(some, axis=1, kind="stable")[:, :k]
        cosines[begin:end] = -np.take_along_axis(some, positions[begin:end], axis=1)
    return positions, cosines


def _nearest_ranked_anew(
    query: Vectors, database: Vectors, k: int, skip: np.ndarray, reranked: Reranked
) -> tuple[np.ndarray, np.ndarray]:
    """The first items, of which some are ranked anew, and their Hamming distances; a query itself comes last."""
    positions = np.empty((len(query), k), dtype=np.int64)
    values = np.empty((len(query), k), dtype=np.int64)
    levels, distances = Distances(query, database, None, skip, reranked), Distances(query, database)
    for begin, end in chunks(len(query), len(database)):
        positions[begin:end] = np.argsort(levels(begin, end), axis=1, kind="stable")[:, :k]
        values[begin:end] = np.take_along_axis(distances(begin, end), positions[begin:end], axis=1)
    return positions, values


def chosen_queries(evaluation: Evaluation, count: int = 5, seed: int = 0) -> list[tuple[str, np.ndarray]]:
    """Queries worth looking at: the best and the worst by average precision, and random ones.

    The best and the worst are each of another category as long as there are categories left, or the same few
    shapes would fill the page. Queries without a relevant item are left out.

    Returns:
        ("best" | "worst" | "random", rows of the queries).

    Examples:
        The code of the lamp equals that of a chair, so it finds its like last:

        >>> from cmah.evaluation import evaluate
        >>> query = BinaryCodes.from_bits([[0, 0], [0, 0]], categories=["chair", "lamp"])
        >>> database = BinaryCodes.from_bits([[0, 0], [1, 1]], categories=["chair", "lamp"])
        >>> evaluation = Evaluation("image -> shape", query, database, evaluate(query, database))
        >>> [(why, rows.tolist()) for why, rows in chosen_queries(evaluation, count=1)][:2]
        [('best', [0]), ('worst', [1])]
    """
    ap = evaluation.report.per_query["ap"]
    counted = np.flatnonzero(~np.isnan(ap))
    categories = evaluation.query.categories
    groups = np.arange(len(ap)) if categories is None else np.unique(categories, return_inverse=True)[1]
    ascending = counted[np.argsort(ap[counted], kind="stable")]
    descending = counted[np.argsort(-ap[counted], kind="stable")]
    random = np.random.default_rng(seed).permutation(counted)[:count]
    return [
        ("best", _of_different(descending, groups, count)),
        ("worst", _of_different(ascending, groups, count)),
        ("random", random),
    ]


def _of_different(order: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """The first rows in order, those of a group that was seen before behind the others."""
    _, first = np.unique(groups[order], return_index=True)
    repeated = np.ones(len(order), dtype=bool)
    repeated[first] = False
    return np.concatenate([order[~repeated], order[repeated]])[:count]
