"""The measures of the MI3DOR benchmark (monocular image based 3D object retrieval), as its released script counts them.

They differ from those of `evaluate` (which are the textbook's): ties are in order of the database, ST looks at
2R - 1 ranks, F is of precision and recall pooled over all queries, DCG looks at R ranks only, and so does ANMRR, with
penalty S + 1 for items beyond, S = min(4 R, 2 times the largest class of the database). AUC is the area under the
pooled curve of precision over recall by the trapezium rule, from rank 1 on.
"""

import numpy as np

from cmah.errors import CodesError

F_RANKS = 20


def mi3dor_measures(
    distances: np.ndarray, query_labels: np.ndarray, database_labels: np.ndarray
) -> dict[str, float]:
    """NN, FT, ST, F at 20, DCG, ANMRR and AUC as MI3DOR's script gives them, to compare with its published tables.

    Where the script would look beyond the last item it stops with an error; here ranges end with the database, and
    F divides by 20 even so. A query without a relevant item counts as 0, and makes ANMRR NaN.

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
    order = np.argsort(distances, axis=1, kind="stable")
    ranked = (of_query[:, None] == of_item[None])[np.arange(len(of_query))[:, None], order].astype(np.float64)
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
    # precision and recall of all queries together at each rank
    pooled = hits.sum(axis=0)
    precision, recall = pooled / (rank * len(of_query)), pooled / max(number.sum(), 1)
    at_20 = pooled[min(F_RANKS, items) - 1]
    auc = ((recall[1:] - recall[:-1]) * (precision[1:] + precision[:-1])).sum() / 2
    return {
        "nn": float(ranked[:, 0].mean()),
        "ft": float((hits_at(number) / some).mean()),
        "st": float((hits_at(2 * number - 1) / some).mean()),
        f"f@{F_RANKS}": float(2 * at_20 / (F_RANKS * len(of_query) + number.sum())),
        "dcg": float(dcg.mean()),
        "anmrr": _anmrr(ranked * rank * within, number, np.unique(of_item, return_counts=True)[1].max()),
        "auc": float(auc),
    }


def _anmrr(ranks: np.ndarray, number: np.ndarray, largest: int) -> float:
    """ANMRR from the ranks of the relevant items among the first R.

    Args:
        ranks: float64 [q, n], 0 at other items.
        number: relevant items of each query, float64 [q].
        largest: items of the largest class of the database.
    """
    if not number.all():
        return float("nan")
    depth = np.minimum(4 * number, 2 * largest)
    within = (ranks > 0).sum(axis=1)
    average = (ranks.sum(axis=1) + (number - within) * (depth + 1)) / number
    best = number / 2 + 0.5
    return float(((average - best) / (depth + 1 - best)).mean())
