"""Re-ranking: the first hits of a search by codes, put in order of a score of real vectors.

The search looks at the codes alone; the score, which costs d or v·d products an item in place of a few bytes, is
computed for the first hits only.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cmah.checks import as_int, shown
from cmah.codes import Embeddings
from cmah.codes.file_hashing import read_embeddings
from cmah.errors import CodesError
from cmah.search.hits import Hits
from cmah.search.ids import IdsLike
from cmah.search.item_vectors import ItemVectors, check_comparable
from cmah.search.together import By, owners_of_rows

RerankBy = Literal["attention", "real", "views"]
SCORES: dict[str, str] = {
    "attention": "attention over their views",
    "real": "the cosine of real vectors",
    "views": "the greatest cosine of their views",
}
DIGITS = 9  # of a score: equal vectors have equal scores, wherever they lie in a product of matrices


@dataclass(frozen=True, eq=False)
class Reranking:
    """How the first hits of a search are ranked anew.

    Attributes:
        first: how many of the nearest items are, at least as many as hits are asked for.
        by: "real", the cosine of the query's and the item's vector; "views", the greatest cosine with a view of the
            item; "attention", the score by attention over its views.
        vectors: of the items.
        weight: W of the attention, [d, d]; None otherwise.

    Raises:
        CodesError: for another `by`, or a `first` below 1.

    Examples:
        >>> table = Embeddings(np.eye(2), ids=["a", "b"])
        >>> Reranking.of(table, first=2, by="real").vectors.names.tolist()
        ['a', 'b']
    """

    first: int
    by: RerankBy
    vectors: ItemVectors
    weight: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_rerank_by(self.by)
        if as_int(self.first, "first") < 1:
            raise CodesError(f"first is {self.first}, expected 1 or more items to re-rank")

    @classmethod
    def of(
        cls,
        table: Embeddings,
        first: int,
        by: RerankBy,
        weight: np.ndarray | None = None,
        source: str = "vectors",
    ) -> "Reranking":
        """Re-ranking by the vectors of a table.

        Args:
            table: a row for each item, with its id; for "views" and "attention" a row for each view, with shape ids.
            first: how many items are ranked anew.
            by: "real", "views" or "attention".
            weight: W of the attention, [d, d]; it may be set later.
            source: what messages call the table.

        Raises:
            CodesError: for a table without shape ids where they are needed, or with an id that stands there twice
                where it must not.
        """
        check_rerank_by(by)
        make = ItemVectors.of_items if by == "real" else ItemVectors.of_shapes
        return cls(first, by, make(table, source), weight)

    @classmethod
    def read(cls, path: str | Path, first: int, by: RerankBy) -> "Reranking":
        """Re-ranking by an embedding file, as `cmah export --embeddings` writes, or a matrix of floats (.npy).

        Raises:
            CodesError: if it cannot be read, or as in `of`.

        Examples:
            >>> Embeddings(np.eye(2), ids=["a", "b"]).save("real.npz")
            >>> len(Reranking.read("real.npz", first=2, by="real").vectors)
            2
        """
        return cls.of(read_embeddings(path), first, by, source=str(path))

    def check(self, k: int, items: int) -> None:
        """Refuse to give more hits than are ranked anew, and vectors without ids that are not those of all items.

        Args:
            k: how many hits.
            items: how many there are in the index.

        Raises:
            CodesError: if `k` is more than `first`, or there are no ids and another number of vectors.

        Examples:
            >>> Reranking.of(Embeddings(np.eye(2), ids=["a", "b"]), first=2, by="real").check(k=3, items=9)
            Traceback (most recent call last):
            cmah.errors.CodesError: 3 hits of the first 2 items that are re-ranked, expected 2 at most
        """
        if k > self.first:
            raise CodesError(
                f"{k} hits of the first {self.first} items that are re-ranked, expected {self.first} at most"
            )
        if self.vectors.names is None and len(self.vectors) != items:
            raise CodesError(
                f"{self.vectors.source}: has no ids and {len(self.vectors)} rows, expected {items}, one for each item "
                "of the index"
            )


def check_rerank_by(by: object) -> None:
    """Refuse what is no score to re-rank by.

    Raises:
        CodesError: if `by` is none of "attention", "real" and "views".

    Examples:
        >>> check_rerank_by("distance")
        Traceback (most recent call last):
        cmah.errors.CodesError: by is 'distance', expected 'attention', 'real' or 'views'
    """
    if by not in SCORES:
        raise CodesError(f"by is {shown(by)}, expected 'attention', 'real' or 'views'")


@dataclass(frozen=True)
class RerankedHits(Hits):
    """Hits in order of a score, the greatest first, and of equal scores by (distance, position).

    Attributes:
        ids: int64 or text [q, k], as in `Hits`.
        distances: [q, k], in bits.
        positions: int64 [q, k].
        scores: float64 [q, k], rounded to 9 decimals.

    Examples:
        >>> hits = RerankedHits(np.array([["a"]]), np.array([[3]]), np.array([[7]]), np.array([[0.5]]))
        >>> hits.to_list()
        [[{'id': 'a', 'distance': 3, 'position': 7, 'score': 0.5}]]
    """

    scores: np.ndarray

    def to_list(self) -> list[list[dict[str, Any]]]:
        """For each query a list of dicts with the keys "id", "distance", "position" and "score", ready for JSON."""
        return [
            [{**hit, "score": score} for hit, score in zip(hits.to_list(), scores, strict=True)]
            for hits, scores in zip(self, self.scores.tolist(), strict=True)
        ]


def rerank(
    hits: Hits,
    queries: Embeddings,
    reranking: Reranking,
    k: int | None = None,
    *,
    shape_ids: np.ndarray | None = None,
    together: By | None = None,
    owners: IdsLike | None = None,
) -> RerankedHits:
    """Put hits in order of a score of real vectors and give the first of them.

    Memory is that of the vectors of one query's hits.

    Args:
        hits: the `reranking.first` nearest items of each query, as a search gave them.
        queries: real vectors of the queries, one for each row of `hits`; with `together`, of the rows of an owner.
        reranking: the vectors of the items and the score.
        k: how many hits to give; None for all.
        shape_ids: the shape that each item of the index shows, text [n], whose vectors it has; "" for an item whose
            vectors have its own id. None: all have their own.
        together: for the hits of `search_together`: "mean" takes the mean of the scores of an owner's queries,
            "least" the greatest, as it takes the least distance.
        owners: as they were given to `search_together`.

    Raises:
        CodesError: if there are more or fewer queries than rows, an item has no vector, or the vectors are of another
            width or space than the queries.

    Examples:
        >>> from cmah import BinaryCodes, HammingIndex
        >>> index = HammingIndex(bits=4)
        >>> index.add(BinaryCodes.from_bits([[0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1]]), ids=["a", "b", "c"])
        >>> vectors = Embeddings(np.array([[0.8, 0.6], [0.0, 1.0], [0.0, 1.0]]), ids=["a", "b", "c"])
        >>> hits = index.search(BinaryCodes.from_bits([[0, 0, 0, 0]]), k=2)
        >>> query = Embeddings(np.array([[0.0, 1.0]]))
        >>> rerank(hits, query, Reranking.of(vectors, first=2, by="real")).to_list()
        [[{'id': 'b', 'distance': 1, 'position': 1, 'score': 1.0},
          {'id': 'a', 'distance': 0, 'position': 0, 'score': 0.6...}]]
    """
    vectors, weight = reranking.vectors, reranking.weight
    if (reranking.by == "attention") != (weight is not None):
        expected = "one [d, d]" if weight is None else "none"
        raise CodesError(f"re-ranking by {reranking.by}: weight of the attention, expected {expected}")
    check_comparable(queries, vectors)
    groups = [np.array([row]) for row in range(len(queries))]
    if together is not None:
        _, rows = owners_of_rows(owners, len(queries))
        order = np.argsort(rows.numbers, kind="stable")
        groups = np.split(order, np.cumsum(rows.sizes)[:-1]) if len(order) else []
    if len(groups) != len(hits):
        raise CodesError(
            f"{len(groups)} queries have vectors, expected {len(hits)}, one for each of the hits"
        )
    numbers = _numbers_of_hits(hits, vectors, shape_ids)
    kept = hits.positions.shape[1] if k is None else min(as_int(k, "k"), hits.positions.shape[1])
    order, scores = np.empty((len(hits), kept), dtype=np.int64), np.empty((len(hits), kept))
    for row, group in enumerate(groups):
        each = vectors.at(numbers[row]).scores(queries.embeddings[group], weight)
        combined = np.round(each.max(axis=0) if together == "least" else each.mean(axis=0), DIGITS)
        order[row] = np.argsort(-combined, kind="stable")[:kept]  # the hits are in order of their distances
        scores[row] = combined[order[row]]
    ids, distances, positions = (
        np.take_along_axis(column, order, axis=1) for column in (hits.ids, hits.distances, hits.positions)
    )
    return RerankedHits(ids, distances, positions, scores)


def _numbers_of_hits(hits: Hits, vectors: ItemVectors, shape_ids: np.ndarray | None) -> np.ndarray:
    """Which of the items that have vectors each hit is, int64 [q, n]; each item is looked up once."""
    if shape_ids is not None and vectors.names is None:
        raise CodesError(f"{vectors.source}: has no ids, expected those of the shapes that are ranked")
    shape = hits.positions.shape
    positions, first, inverse = np.unique(hits.positions, return_index=True, return_inverse=True)
    names = hits.ids.ravel()[first].astype(str)
    if shape_ids is not None:
        names = np.where(shape_ids[positions] == "", names, shape_ids[positions])
    return vectors.numbers_of(names, positions)[inverse].reshape(shape)
