"""The measures of the MI3DOR benchmark (monocular image based 3D object retrieval), as its released script counts them.

They differ from those of `evaluate` (which are the textbook's): ties are in order of the database, ST looks at
2R - 1 ranks, F is of precision and recall pooled over all queries, DCG looks at R ranks only, and so does ANMRR, with
penalty S + 1 for items beyond, S = min(4 R, 2 times the largest class of the database). AUC is the area under the
pooled curve of precision over recall by the trapezium rule, from rank 1 on.

Where the script would look beyond the last item it stops with an error; here ranges end with the database, and F
divides by 20 even so. A query without a relevant item counts as 0, and makes ANMRR NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from cmah.errors import CodesError
from cmah.evaluation.histograms import Distances, chunks
from cmah.evaluation.relevance import Relation, Vectors
from cmah.evaluation.reranked import Reranked
from cmah.threads import in_threads, thread_count

F_RANKS = 20


def mi3dor_measures(
    distances: np.ndarray, query_labels: np.ndarray, database_labels: np.ndarray
) -> dict[str, float]:
    """NN, FT, ST, F at 20, DCG, ANMRR and AUC as MI3DOR's script gives them, to compare with its published tables.

    Args:
        distances: numbers [q, n], smaller is nearer.
        query_labels: label of each query, [q]; an item of the same label is relevant.
        database_labels: label of each item, [n].

    Returns:
        "nn", "ft", "st", "f@20", "dcg", "anmrr" (lower is better), "auc".

    Raises:
        CodesError: if the sizes do not fit, or there is no query or no item.

    Examples:
        >>> distances = np.array([[0.1, 0.4, 0.2]])
        >>> measures = mi3dor_measures(distances, np.array(["chair"]), np.array(["chair", "chair", "lamp"]))
        >>> measures["nn"], measures["ft"], measures["st"], round(measures["anmrr"], 3)
        (1.0, 0.5, 1.0, 0.429)
    """
    distances = np.asarray(distances)
    of_query, of_item = np.asarray(query_labels), np.asarray(database_labels)
    if distances.shape != (*of_query.shape, *of_item.shape) or not distances.size:
        raise CodesError(
            f"distances {list(distances.shape)}, query labels {list(of_query.shape)}, database labels "
            f"{list(of_item.shape)}: expected [q, n], [q] and [n], none of them empty"
        )
    largest = int(np.unique(of_item, return_counts=True)[1].max())
    return _summary([_counted(distances, of_query[:, None] == of_item[None], largest)])


def mi3dor_of_rankings(
    query: Vectors,
    database: Vectors,
    relevant: Relation,
    skip: np.ndarray,
    candidates: Relation | None = None,
    threads: int | None = None,
    reranked: Reranked | None = None,
) -> dict[str, float]:
    """`mi3dor_measures` of codes or embeddings, chunk by chunk of queries.

    Args:
        query: the queries.
        database: the items.
        relevant: the items that are relevant to each query.
        skip: int64 [q], position of an item to leave out, or -1.
        candidates: the items among which each query is ranked; None = all.
        threads: number of threads; None for one per core.
        reranked: how many of the first are ranked anew, and by what.

    Returns:
        As `mi3dor_measures`; NaN for all if there is no query or no item.

    Examples:
        >>> from cmah.codes import BinaryCodes
        >>> from cmah.evaluation.relevance import relation
        >>> query, database = BinaryCodes.from_bits([[0, 0]]), BinaryCodes.from_bits([[0, 0], [1, 1], [0, 1]])
        >>> same = relation(["chair"], ["chair", "chair", "lamp"], 1, 3)
        >>> measures = mi3dor_of_rankings(query, database, same, skip=np.array([-1]))
        >>> measures["nn"], measures["ft"], measures["st"], round(measures["anmrr"], 3)
        (1.0, 0.5, 1.0, 0.429)
    """
    if not len(query) or not len(database):
        return dict.fromkeys(("nn", "ft", "st", f"f@{F_RANKS}", "dcg", "anmrr", "auc"), float("nan"))
    distances = Distances(query, database, candidates, skip, reranked)

    def task(begin: int, end: int) -> _Counted:
        members = relevant.members(begin, end)
        if candidates is not None:
            members &= candidates.members(begin, end)
        own = np.flatnonzero(skip[begin:end] >= 0)
        members[own, skip[begin:end][own]] = False
        return _counted(distances(begin, end), members, relevant.largest)

    tasks = [partial(task, *part) for part in chunks(len(query), len(database))]
    return _summary(in_threads(tasks, thread_count(threads)))


@dataclass(frozen=True)
class _Counted:
    """What is counted for some queries: the measures of each, float64 [q], and sums for those that are pooled."""

    nn: np.ndarray
    ft: np.ndarray
    st: np.ndarray
    dcg: np.ndarray
    nmrr: np.ndarray  # NaN without a relevant item
    number: np.ndarray  # relevant items
    hits: np.ndarray  # of all queries together among the first 1, 2, ... n items, float64 [n]


def _counted(distances: np.ndarray, relevant: np.ndarray, largest: int) -> _Counted:
    """Count for queries at `distances` [q, n] from the items, of which `relevant`, bool [q, n], are.

    Args:
        distances: smaller is nearer; ties are in order of the items.
        relevant: which items are relevant.
        largest: items of the largest class of the database.
    """
    order = np.argsort(distances, axis=1, kind="stable")
    ranked = np.take_along_axis(relevant, order, axis=1).astype(np.float64)
    hits = ranked.cumsum(axis=1)
    items = ranked.shape[1]
    rank = np.arange(1, items + 1)
    number = ranked.sum(axis=1)
    some = np.maximum(number, 1)

    def hits_at(depth: np.ndarray) -> np.ndarray:
        last = np.minimum(depth, items).astype(int) - 1
        return np.where(last >= 0, hits[np.arange(len(hits)), np.maximum(last, 0)], 0)

    gain = np.concatenate([[1.0], 1 / np.log2(np.maximum(rank[1:], 2))])
    within = rank[None] <= number[:, None]
    dcg = (ranked * within * gain).sum(axis=1) / np.maximum((within * gain).sum(axis=1), 1)
    return _Counted(
        ranked[:, 0].copy(),  # a view would keep the whole matrix
        hits_at(number) / some,
        hits_at(2 * number - 1) / some,
        dcg,
        _nmrr(ranked * rank * within, number, largest),
        number,
        hits.sum(axis=0),
    )


def _summary(parts: Sequence[_Counted]) -> dict[str, float]:
    """The measures of all queries, from what was counted of parts of them."""

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    number = joined("number")
    # precision and recall of all queries together at each rank
    pooled = np.sum([part.hits for part in parts], axis=0)
    rank = np.arange(1, len(pooled) + 1)
    precision, recall = pooled / (rank * len(number)), pooled / max(number.sum(), 1)
    at_20 = pooled[min(F_RANKS, len(pooled)) - 1]
    auc = ((recall[1:] - recall[:-1]) * (precision[1:] + precision[:-1])).sum() / 2
    return {
        "nn": float(joined("nn").mean()),
        "ft": float(joined("ft").mean()),
        "st": float(joined("st").mean()),
        f"f@{F_RANKS}": float(2 * at_20 / (F_RANKS * len(number) + number.sum())),
        "dcg": float(joined("dcg").mean()),
        "anmrr": float(joined("nmrr").mean()),
        "auc": float(auc),
    }


def _nmrr(ranks: np.ndarray, number: np.ndarray, largest: int) -> np.ndarray:
    """The normalised rank of each query from the ranks of the relevant items among the first R; NaN without any.

    Args:
        ranks: float64 [q, n], 0 at other items.
        number: relevant items of each query, float64 [q].
        largest: items of the largest class of the database.
    """
    number = np.where(number > 0, number, np.nan)
    depth = np.minimum(4 * number, 2 * largest)
    within = (ranks > 0).sum(axis=1)
    average = (ranks.sum(axis=1) + (number - within) * (depth + 1)) / number
    best = number / 2 + 0.5
    return np.asarray((average - best) / (depth + 1 - best))
