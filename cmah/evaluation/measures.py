"""The measures of each query, from histograms of its ranking.

Every measure comes three times: as expected over all orders of ties, with the relevant items first in each tie,
and with them last. A new measure is computed in the function below that has the histograms it needs, under the name
of its column, and gets a row in `cmah.evaluation.measure_table`.
"""

from dataclasses import dataclass, replace

import numpy as np

import cmah.compiling  # noqa: F401 (before the kernels)
from cmah.evaluation.histograms import Counts
from cmah.kernels import ranking

# in the order of the constants of cmah.kernels.ranking
DENOMINATORS = ("relevant", "min(relevant,k)", "hits")
F_DEPTH = 20  # ranks of the F-measure
INSTANCE_DEPTH = 10  # ranks of the mAP over items of the same shape
RADIUS = 2  # Hamming distance of the precision within a radius
# ranks of the curves: 1, 2, 3, 5, 7, 10, 15, 20, ...
CURVE = sorted({int(step * 10**power) for power in range(18) for step in (1, 1.5, 2, 3, 5, 7)})


@dataclass(frozen=True)
class Depths:
    """How many ranks each measure looks at.

    Attributes:
        precision: int64, ranks of P@K, R@K and NDCG@K.
        accuracy: int64, ranks of Acc@K; None where it is not known which items show the same shape.
        average: ranks that count for AP.
        denominator: of AP, one of `DENOMINATORS`.
        curve: int64, ranks of the curves.
        penalty: ranks beyond which ANMRR does not look, int64 [q].

    Examples:
        >>> curve, penalty = np.array([1, 2, 3]), np.array([4, 8, 12])
        >>> depths = Depths(np.array([10]), np.array([1, 5]), 100, "relevant", curve, penalty)
        >>> depths.of(1, 3).penalty.tolist()
        [8, 12]
    """

    precision: np.ndarray
    accuracy: np.ndarray | None
    average: int
    denominator: str
    curve: np.ndarray
    penalty: np.ndarray

    def of(self, begin: int, end: int) -> "Depths":
        """The depths of the queries `begin` to `end`."""
        return replace(self, penalty=self.penalty[begin:end])


@dataclass(frozen=True)
class Gains:
    """What a relevant item at rank i adds to a sum, added up over ranks 1 to i; float64 [n + 1], 0 at i = 0.

    Examples:
        >>> gains = Gains.of(3)
        >>> gains.hits.tolist(), gains.ranks.tolist(), gains.harmonic.round(2).tolist()
        ([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 3.0, 6.0], [0.0, 1.0, 1.5, 1.83])
    """

    hits: np.ndarray
    ndcg: np.ndarray  # 1 / log2(1 + i)
    dcg: np.ndarray  # 1 at the first rank, 1 / log2(i) from the second
    ranks: np.ndarray
    harmonic: np.ndarray  # 1 / i

    @classmethod
    def of(cls, n: int) -> "Gains":
        """Gains of up to n ranks."""
        ranks = np.arange(n + 1, dtype=np.float64)
        discount = 1 / np.log2(ranks + 2)  # of rank i + 1
        ndcg = np.concatenate([[0], np.cumsum(discount[:-1])])
        dcg = np.concatenate([[0], np.cumsum(np.r_[1.0, discount[: max(n - 1, 0)]])])[: n + 1]
        return cls(ranks, ndcg, dcg, np.cumsum(ranks), ranking.harmonic_numbers(n))


def anmrr_depths(relevant: np.ndarray, largest: int) -> np.ndarray:
    """Ranks K that ANMRR looks at (MPEG-7: Manjunath et al. 2001).

    Args:
        relevant: number of relevant items of each query, int64 [q].
        largest: items of the largest class of the database.

    Returns:
        int64 [q].

    Examples:
        >>> anmrr_depths(np.array([1, 10]), largest=8).tolist()
        [4, 16]
    """
    return np.asarray(np.minimum(4 * relevant, 2 * largest))


def category_measures(
    total: np.ndarray, relevant: np.ndarray, depths: Depths, gains: Gains
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Measures of how relevant items are ranked.

    Args:
        total: items of each query at each level, int64 [c, levels], nearest level first.
        relevant: relevant items of each query at each level, int64 [c, levels].
        depths: ranks to look at; its `penalty` is that of these queries.
        gains: of as many ranks as there are items.

    Returns:
        "ap", "p@K", "r@K", "ndcg@K", "nn", "ft", "st", "f@20", "dcg" and "nmrr", float64 [3, c], NaN for queries
        without a relevant item; and the sums over the other queries of precision and recall at the ranks of the
        curve, [2, ranks].

    Examples:
        The relevant one of three items shares ranks 2 and 3 with another: as expected, at best, at worst.

        >>> total, relevant = np.array([[1, 2]]), np.array([[0, 1]])
        >>> depths = Depths(np.array([2]), None, 3, "relevant", np.array([1, 3]), np.array([2]))
        >>> measures, curve = category_measures(total, relevant, depths, Gains.of(3))
        >>> measures["p@2"].tolist(), measures["ap"].round(3).tolist()
        ([[0.25], [0.5], [0.0]], [[0.417], [0.5], [0.333]])
    """
    some = relevant.sum(axis=1)
    has_relevant_item = some > 0
    number = np.maximum(some, 1)  # queries without a relevant item become NaN below
    # one pass over the histograms counts the hits at every depth that any measure needs: first those that all
    # queries share (K, 1, 20, the curve), then each query's R, 2R and K of ANMRR
    shared = np.concatenate([depths.precision, [1, F_DEPTH], depths.curve])
    single = np.stack([number, 2 * number, depths.penalty], axis=1)
    every = np.concatenate([np.broadcast_to(shared, (len(some), len(shared))), single], axis=1)
    hits = ranking.gains(total, relevant, gains.hits, every)
    k = len(depths.precision)
    curve = hits[0, has_relevant_item, k + 2 : len(shared)]

    denominator = DENOMINATORS.index(depths.denominator)
    ap = ranking.average_precision(total, relevant, depths.average, denominator, gains.harmonic)
    measures = {"ap": ap}
    at = np.broadcast_to(depths.precision, (len(some), k))
    discounted = ranking.gains(total, relevant, gains.ndcg, np.ascontiguousarray(at))
    last = len(gains.hits) - 1  # rank of the last item
    for d, depth in enumerate(depths.precision.tolist()):
        measures[f"p@{depth}"] = hits[:, :, d] / depth
        measures[f"r@{depth}"] = hits[:, :, d] / number
        ideal = gains.ndcg[np.minimum(np.minimum(number, depth), last)]
        measures[f"ndcg@{depth}"] = discounted[:, :, d] / np.where(has_relevant_item, ideal, 1)
    measures["nn"] = hits[:, :, k]
    measures["ft"] = hits[:, :, -3] / number
    measures["st"] = hits[:, :, -2] / number
    measures[f"f@{F_DEPTH}"] = 2 * hits[:, :, k + 1] / (F_DEPTH + number)
    full = ranking.gains(total, relevant, gains.dcg, np.full((len(some), 1), last))[:, :, 0]
    measures["dcg"] = full / np.where(has_relevant_item, gains.dcg[np.minimum(number, last)], 1)
    ranks = ranking.gains(total, relevant, gains.ranks, depths.penalty[:, None])[:, :, 0]
    measures["nmrr"] = _nmrr(ranks, hits[:, :, -1], number, depths.penalty)
    for values in measures.values():
        values[:, ~has_relevant_item] = np.nan
    sums = np.stack([curve / depths.curve, curve / number[has_relevant_item, None]])
    return measures, sums.sum(axis=1)


def _nmrr(ranks: np.ndarray, hits: np.ndarray, number: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """MPEG-7's normalised modified retrieval rank, from the sum of the ranks of the hits among the first `depth`.

    A relevant item further down counts as rank 1.25 `depth`.
    """
    penalty = 1.25 * np.maximum(depth, 1)
    average = (ranks + penalty * (number - hits)) / number
    best = (1 + number) / 2
    return np.asarray((average - best) / (penalty - best))


def instance_measures(
    total: np.ndarray, relevant: np.ndarray, accuracy: np.ndarray, gains: Gains
) -> dict[str, np.ndarray]:
    """Measures of where items of the same shape are ranked.

    Args:
        total: items of each query at each level, int64 [c, levels], nearest level first.
        relevant: items of the same shape at each level, int64 [c, levels].
        accuracy: depths K of Acc@K, int64.
        gains: of as many ranks as there are items.

    Returns:
        "acc@K", "rr" (reciprocal rank of the first), "rank" (of the first) and "ap_instance@10", float64 [3, c], NaN
        for queries without such an item.

    Examples:
        >>> total, relevant = np.array([[1, 2]]), np.array([[0, 1]])  # at rank 2 or 3
        >>> measures = instance_measures(total, relevant, np.array([2]), Gains.of(3))
        >>> measures["acc@2"].tolist(), measures["rank"].tolist()
        ([[0.5], [1.0], [0.0]], [[2.5], [2.0], [3.0]])
    """
    within, rank, reciprocal = ranking.first_hit(total, relevant, accuracy, gains.harmonic)
    measures = {f"acc@{depth}": within[:, :, d] for d, depth in enumerate(accuracy.tolist())}
    ap = ranking.average_precision(total, relevant, INSTANCE_DEPTH, ranking.MIN_RELEVANT_K, gains.harmonic)
    return {**measures, "rr": reciprocal, "rank": rank, f"ap_instance@{INSTANCE_DEPTH}": ap}


def radius_measures(total: np.ndarray, relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision, recall and number of items within each Hamming radius.

    Args:
        total: items of each query at each distance, int64 [c, bits + 1].
        relevant: relevant items of each query at each distance, int64 [c, bits + 1].

    Returns:
        precision within radius 2, float64 [c], NaN without a relevant item; and the sums, over the other queries, of
        precision, recall and number of items within each radius, [3, bits + 1]. Where nothing lies within a radius,
        precision is 0.

    Examples:
        >>> precision, sums = radius_measures(np.array([[1, 0, 3, 1]]), np.array([[1, 0, 1, 0]]))
        >>> precision.tolist(), sums[1].tolist()  # precision within radius 2; recall within radius 0 to 3
        ([0.5], [0.5, 0.5, 1.0, 1.0])
    """
    within, hits = total.cumsum(axis=1), relevant.cumsum(axis=1)
    has_relevant_item = hits[:, -1] > 0
    precision = hits / np.maximum(within, 1)
    recall = hits / np.maximum(hits[:, -1:], 1)
    at_radius = np.where(has_relevant_item, precision[:, min(RADIUS, total.shape[1] - 1)], np.nan)
    return at_radius, np.stack([part[has_relevant_item].sum(axis=0) for part in (precision, recall, within)])


def measures_of(ranked: Counts, depths: Depths, gains: Gains) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """`category_measures` of the first relation, with `instance_measures` of the second where there is one.

    Examples:
        >>> total, category, shape = np.array([[1, 1, 1]]), np.array([[1, 0, 1]]), np.array([[0, 0, 1]])
        >>> depths = Depths(np.array([2]), np.array([1]), 3, "relevant", np.array([1, 3]), np.array([4]))
        >>> measures, curve = measures_of((total, [category, shape]), depths, Gains.of(3))
        >>> [(name, float(measures[name][0, 0])) for name in ("nn", "p@2", "acc@1", "rank")]
        [('nn', 1.0), ('p@2', 0.5), ('acc@1', 0.0), ('rank', 3.0)]
    """
    total, relevant = ranked
    measures, curve = category_measures(total, relevant[0], depths, gains)
    if depths.accuracy is not None:
        measures |= instance_measures(total, relevant[-1], depths.accuracy, gains)
    return measures, curve
