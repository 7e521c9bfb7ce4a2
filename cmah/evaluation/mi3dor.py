"""Measures of MI3DOR's evaluation, as its released script counts them.

They differ from those of `evaluate` (which are the textbook's): ties are in order of the database, ST looks at
2R - 1 ranks, F is of precision and recall pooled over all queries, DCG looks at R ranks only, and so does ANMRR, with
penalty S + 1 for what lies beyond, S = min(4 R, 2 times the largest class of the database). AUC is the trapezium
below the pooled curve of precision over recall, from rank 1 on.
"""

import numpy as np

from cmah.errors import CodesError

F_RANKS = 20


def mi3dor_measures(
    distances: np.ndarray, query_labels: np.ndarray, database_labels: np.ndarray
) -> dict[str, float]:
    """NN, FT, ST, F at 20, DCG, ANMRR and AUC as MI3DOR's script gives them.

    Where the script would look beyond the last item it stops with an error; here ranges end with the database, and
    F divides by 20 even so. A query without a relevant item counts as 0, and makes ANMRR NaN.

    Args:
        distances: numbers [q, n], smaller is nearer.
        query_labels: [q]; an item of the same label is relevant.
        database_labels: [n].

    Returns:
        "nn", "ft", "st", "f@20", "dcg", "anmrr" (lower is better), "auc".

    Raises:
        CodesError: if the sizes do not fit, or there is no query or no item.
    """
    distances = np.asarray(distances)
    asked, stored = np.asarray(query_labels), np.asarray(database_labels)
    if distances.shape != (*asked.shape, *stored.shape) or not distances.size:
        raise CodesError(
            f"distances {list(distances.shape)}, query labels {list(asked.shape)}, database labels "
            f"{list(stored.shape)}: expected [q, n], [q] and [n], none of them empty"
        )
    order = np.argsort(distances, axis=1, kind="stable")
    ranked = (asked[:, None] == stored[None])[np.arange(len(asked))[:, None], order].astype(np.float64)
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
    pooled = hits.sum(axis=0)
    precision, recall = pooled / (rank * len(asked)), pooled / max(number.sum(), 1)
    at_20 = pooled[min(F_RANKS, items) - 1]
    auc = ((recall[1:] - recall[:-1]) * (precision[1:] + precision[:-1])).sum() / 2
    return {
        "nn": float(ranked[:, 0].mean()),
        "ft": float((hits_at(number) / some).mean()),
        "st": float((hits_at(2 * number - 1) / some).mean()),
        f"f@{F_RANKS}": float(2 * at_20 / (F_RANKS * len(asked) + number.sum())),
        "dcg": float(dcg.mean()),
        "anmrr": _anmrr(ranked * rank * within, number, np.unique(stored, return_counts=True)[1].max()),
        "auc": float(auc),
    }


def _anmrr(ranks: np.ndarray, number: np.ndarray, largest: int) -> float:
    """From the ranks of relevant items that are looked at, [q, n], 0 elsewhere; `largest` class of the database."""
    if not number.all():
        return float("nan")
    depth = np.minimum(4 * number, 2 * largest)
    found = (ranks > 0).sum(axis=1)
    average = (ranks.sum(axis=1) + (number - found) * (depth + 1)) / number
    best = number / 2 + 0.5
    return float(((average - best) / (depth + 1 - best)).mean())
