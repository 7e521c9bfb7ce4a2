"""Histograms of a ranking: how many items, and how many relevant ones, each query has at each level.

For codes a level is a Hamming distance, and nothing is sorted. Embeddings, and ties by position, need the order of
all items: there a level is a set of equal cosines, or a single rank. Where the first codes are ranked anew by another
score, a level is a set of equal scores at one distance, or behind these a distance.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

import cmah.compiling  # noqa: F401 (before the kernels)
from cmah.codes import BinaryCodes
from cmah.evaluation.relevance import Relation, Vectors
from cmah.evaluation.reranked import Reranked
from cmah.kernels import bit_counts, hamming, histograms
from cmah.vectors import unit_rows

Counts = tuple[np.ndarray, list[np.ndarray]]  # total int64 [c, levels]; relevant, the same for each relation
CELLS = 1 << 20  # entries of a histogram, or of a matrix of distances, that a thread holds at a time
TOGETHER = 256  # queries per chunk, if their histograms are small: they share the codes that the cache holds
# Counting over bit planes pays from so many pairs of a query and an item on, as it is compiled first, for codes of at
# most so many bits, and where an item is counted for so many queries of a chunk
WORTH_PLANES, MOST_BITS, FEWEST = 1 << 29, 512, 16
DECIMALS = 12  # cosines that agree to this many are tied


class Counter(Protocol):
    """Counts items by level, for some queries at a time.

    Examples:
        >>> from cmah.evaluation.relevance import relation
        >>> codes = BinaryCodes.from_bits([[0, 0, 0], [0, 0, 1], [1, 1, 1]])
        >>> same = relation(["chair", "chair", "lamp"], ["chair", "chair", "lamp"], 3, 3)
        >>> counter: Counter = DistanceCounter(codes, codes, [same], skip=np.array([0, 1, 2]))
        >>> total, relevant = counter(1, 3)  # of the last two queries, each without itself
        >>> counter.width, total.tolist(), relevant[0].tolist()
        (4, [[0, 1, 1, 0], [0, 0, 1, 1]], [[0, 1, 0, 0], [0, 0, 0, 0]])
    """

    width: int  # cells per query

    def __call__(self, begin: int, end: int) -> Counts:
        """Counts of the queries `begin` to `end`."""


class DistanceCounter:
    """Counts by Hamming distance, in time O(queries × items × words) and memory O(queries × bits).

    Examples:
        >>> from cmah.evaluation.relevance import relation
        >>> query = BinaryCodes.from_bits([[0, 0]])
        >>> database = BinaryCodes.from_bits([[0, 0], [1, 0], [0, 1], [1, 1]])
        >>> same = relation(["chair"], ["chair", "chair", "lamp", "lamp"], 1, 4)
        >>> total, relevant = DistanceCounter(query, database, [same], skip=np.array([-1]))(0, 1)
        >>> total.tolist(), relevant[0].tolist()  # at distance 0, 1, 2
        ([[1, 2, 1]], [[1, 1, 0]])
    """

    def __init__(
        self,
        query: BinaryCodes,
        database: BinaryCodes,
        relations: Sequence[Relation],
        skip: np.ndarray,
        candidates: Relation | None = None,
    ) -> None:
        self.query, self.bits, self.width = hamming.to_words(query.packed), query.bits, query.bits + 1
        words = hamming.to_words(database.packed)
        # for each relation the codes in order of class, as word planes, and where each skipped item lies in them
        self.ordered = []
        for relation in relations if candidates is None else (*relations, candidates):
            planes = np.ascontiguousarray(words[relation.order].T)
            place = np.full(len(words) + 1, -1, dtype=np.int64)  # the last entry is that of skip = -1
            place[relation.order] = np.arange(len(words))
            self.ordered.append((relation, planes, place[skip]))
        # where every item is a candidate, any order of them will do
        self.candidates = self.ordered[0] if candidates is None else self.ordered.pop()
        self.begin, self.end = _ranges(candidates, len(query), len(database))
        self.worth_planes = query.bits <= MOST_BITS and len(query) * len(database) >= WORTH_PLANES

    def __call__(self, begin: int, end: int) -> Counts:
        """Counts of the queries `begin` to `end`."""
        query = self.query[begin:end]
        _, planes, skip = self.candidates
        total = self._count(query, planes, self.begin[begin:end], self.end[begin:end], skip[begin:end])
        relevant = [
            self._count(query, planes, relation.begin[begin:end], relation.end[begin:end], skip[begin:end])
            for relation, planes, skip in self.ordered
        ]
        return total, relevant

    def _count(
        self, query: np.ndarray, planes: np.ndarray, begin: np.ndarray, end: np.ndarray, skip: np.ndarray
    ) -> np.ndarray:
        """The codes `begin[i]` to `end[i]` at each distance from query i, int64 [q, width]."""
        spread = (end.max() - begin.min()) if len(query) else 0
        if self.worth_planes and (end - begin).sum() >= FEWEST * spread:
            return bit_counts.count_codes(query, planes, begin, end, skip, *bit_counts.shape_of(self.bits))
        return histograms.count_codes(query, planes, begin, end, skip, self.bits)


class LevelCounter:
    """Counts by level of the sorted items, in time O(queries × items × (width + log items)).

    Levels are numbered from the nearest up: equal distances alike, or by position in the database.

    Examples:
        >>> from cmah.codes import Embeddings
        >>> from cmah.evaluation.relevance import relation
        >>> query, database = Embeddings([[1.0, 0.0]]), Embeddings([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
        >>> same = relation(["lamp"], ["chair", "lamp", "lamp"], 1, 3)
        >>> total, relevant = LevelCounter(query, database, [same], np.array([-1]), by_position=False)(0, 1)
        >>> total.tolist(), relevant[0].tolist()  # the first two have the same cosine
        ([[2, 1, 0]], [[1, 1, 0]])
    """

    def __init__(
        self,
        query: Vectors,
        database: Vectors,
        relations: Sequence[Relation],
        skip: np.ndarray,
        by_position: bool,
        candidates: Relation | None = None,
        reranked: Reranked | None = None,
    ) -> None:
        # which are ranked anew depends on what is left out; otherwise that is not counted below, wherever it lies
        if reranked is None:
            self.distances = Distances(query, database)
        else:
            self.distances = Distances(query, database, candidates, skip, reranked)
        self.relations, self.skip, self.by_position = relations, skip, by_position
        self.order = np.arange(len(database)) if candidates is None else candidates.order
        self.begin, self.end = _ranges(candidates, len(query), len(database))
        self.width = max(len(database), 1)

    def __call__(self, begin: int, end: int) -> Counts:
        """Counts of the queries `begin` to `end`."""
        levels = _levels(self.distances(begin, end), self.by_position)
        skip = self.skip[begin:end]
        total = histograms.count_levels(
            levels, self.order, self.begin[begin:end], self.end[begin:end], skip, self.width
        )
        relevant = [
            histograms.count_levels(
                levels, relation.order, relation.begin[begin:end], relation.end[begin:end], skip, self.width
            )
            for relation in self.relations
        ]
        return total, relevant


class Distances:
    """Hamming distances, uint16, or negative cosines, float64 rounded to `DECIMALS`, of some queries from all items.

    Where the first N codes are ranked anew, levels in their place, int64: 0 and up for equal scores at one distance,
    the best first, and N + distance for the others.

    An item that a query is not to be ranked among (its own, at `skip`, or none of its `candidates`) is at distance
    `left_out`, behind all others.

    Examples:
        >>> codes = BinaryCodes.from_bits([[0, 0, 0], [0, 0, 1], [1, 1, 1]])
        >>> Distances(codes[:1], codes)(0, 1).tolist()
        [[0, 1, 3]]
        >>> Distances(codes[:1], codes, skip=np.array([0]))(0, 1).tolist()
        [[65535, 1, 3]]
    """

    def __init__(
        self,
        query: Vectors,
        database: Vectors,
        candidates: Relation | None = None,
        skip: np.ndarray | None = None,
        reranked: Reranked | None = None,
    ) -> None:
        self.candidates, self.skip, self.reranked = candidates, skip, reranked
        self.codes = isinstance(query, BinaryCodes)
        self.left_out = np.iinfo(np.uint16).max if self.codes else np.inf
        self.packed = database.matrix
        if reranked is not None:
            self.left_out += reranked.first
        if self.codes:
            self.query, self.database = hamming.to_words(query.matrix), hamming.to_words(database.matrix)
        else:
            self.query, self.database = unit_rows(query.matrix), unit_rows(database.matrix)

    def __call__(self, begin: int, end: int) -> np.ndarray:
        """Distances of the queries `begin` to `end`: [end - begin, n]."""
        if self.codes:
            # two bytes, which NumPy sorts by their digits
            rows = np.asarray(hamming.distances(self.query[begin:end], self.database), dtype=np.uint16)
        else:
            rows = np.asarray(-np.round(self.query[begin:end] @ self.database.T, DECIMALS))
        left_out = np.iinfo(np.uint16).max if self.codes else np.inf
        if self.candidates is not None:
            rows[~self.candidates.members(begin, end)] = left_out
        if self.skip is not None:
            out = np.flatnonzero(self.skip[begin:end] >= 0)
            rows[out, self.skip[begin:end][out]] = left_out
        return rows if self.reranked is None else self._ranked_anew(rows, begin, self.reranked)

    def _ranked_anew(self, distances: np.ndarray, begin: int, reranked: Reranked) -> np.ndarray:
        """Levels of the items at distances uint16 [c, n] from the queries from `begin` on, int64 [c, n]."""
        levels = distances.astype(np.int64) + reranked.first
        for row, near in enumerate(distances):
            chosen = np.argsort(near, kind="stable")[: reranked.first]
            chosen = chosen[near[chosen] != np.iinfo(np.uint16).max]
            scores = reranked.scores(begin + row, chosen, self.packed)
            order = np.lexsort((near[chosen], -scores))
            scores, at = scores[order], near[chosen][order]
            changes = (scores[1:] != scores[:-1]) | (at[1:] != at[:-1])
            levels[row, chosen[order]] = np.concatenate([[0], np.cumsum(changes)])[: len(chosen)]
        return levels


def chunks(queries: int, width: int) -> list[tuple[int, int]]:
    """Begin and end of the queries that are counted together, at `width` cells each; at least one chunk.

    Chunks do not depend on the number of threads, so that sums are rounded alike.

    Examples:
        >>> chunks(600, width=65)
        [(0, 256), (256, 512), (512, 600)]
        >>> len(chunks(600, width=100_000))  # ten queries have a million cells
        60
    """
    step = min(TOGETHER, max(1, CELLS // max(width, 1)))
    return [(begin, min(begin + step, queries)) for begin in range(0, max(queries, 1), step)]


def _ranges(candidates: Relation | None, q: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Begin and end, int64 [q] each, of the candidates of each query in their order; of all items for None."""
    if candidates is None:
        return np.zeros(q, dtype=np.int64), np.full(q, n, dtype=np.int64)
    return candidates.begin, candidates.end


def _levels(distances: np.ndarray, by_position: bool) -> np.ndarray:
    """Number the distances of each row from the nearest up: equal ones alike, or by position; int64 [q, n]."""
    order = np.argsort(distances, axis=1, kind="stable")
    levels = np.empty(distances.shape, dtype=np.int64)
    if by_position:
        numbers = np.broadcast_to(np.arange(distances.shape[1]), distances.shape)
    else:
        ordered = np.take_along_axis(distances, order, axis=1)
        steps = np.zeros(distances.shape, dtype=np.int64)
        steps[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        numbers = np.cumsum(steps, axis=1)
    np.put_along_axis(levels, order, numbers, axis=1)
    return levels
