"""Re-ranking: the first hits of a search by codes, put in order of a score of real vectors.

The search looks at the codes alone; the score, which costs d or v·d products an item in place of a few bytes, is
computed for the first hits only. Where the items have no vectors, their codes are scored with the real-valued code of
the query (`cmah.codes.real_codes`): the database then stays as small as its codes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cmah.checks import as_int, shown
from cmah.codes import Embeddings
from cmah.codes.file_hashing import read_embeddings
from cmah.codes.real_codes import codes_of_real, sign_scores
from cmah.errors import CodesError
from cmah.search.grouping import Groups
from cmah.search.hits import Hits
from cmah.search.ids import IdsLike
from cmah.search.index import HammingIndex
from cmah.search.item_vectors import ItemVectors, check_comparable
from cmah.search.together import By, owners_of_rows
from cmah.search.view_scores import summed_scores

RerankBy = Literal["attention", "real", "real+views", "views"]
SCORES: dict[str, str] = {
    "attention": "attention over their views",
    "real": "the cosine of real vectors",
    "real+views": (
        "the cosine of the query's real-valued code with the item's code and the greatest cosine of its views, each "
        "standardised over them, in sum"
    ),
    "views": "the greatest cosine of their views",
}
OF_CODES = "the cosine of the query's real-valued code with the item's code"
DIGITS = 9  # of a score: equal vectors have equal scores, wherever they lie in a product of matrices


@dataclass(frozen=True, eq=False)
class Reranking:
    """How the first hits of a search are ranked anew.

    Attributes:
        first: how many of the nearest items are, at least as many as hits are asked for.
        by: "real", the cosine of the query's and the item's vector; "views", the greatest cosine with a view of the
            item; "attention", the score by attention over its views; "real+views", the sum of the score of "real" by
            the items' codes and that of "views", each standardised over the `first` items (`summed_scores`).
        vectors: of the items; None for "real" by their codes: the cosine of the query's real-valued code with the
            item's code of ±1.
        weight: W of the attention, [d, d]; None otherwise.

    Raises:
        CodesError: for another `by`, one that needs vectors without them, or a `first` below 1.

    Examples:
        >>> table = Embeddings(np.eye(2), ids=["a", "b"])
        >>> Reranking.of(table, first=2, by="real").vectors.names.tolist()
        ['a', 'b']
        >>> Reranking(first=100).score
        "the cosine of the query's real-valued code with the item's code"
    """

    first: int
    by: RerankBy = "real"
    vectors: ItemVectors | None = None
    weight: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_rerank_by(self.by)
        if as_int(self.first, "first") < 1:
            raise CodesError(f"first is {self.first}, expected 1 or more items to re-rank")
        if self.vectors is None and self.by != "real":
            raise CodesError(f"re-ranking by {self.by} needs vectors of the items")

    @property
    def score(self) -> str:
        """The score in words."""
        return OF_CODES if self.vectors is None else SCORES[self.by]

    @property
    def takes_real_codes(self) -> bool:
        """Whether the score needs the real-valued codes of the queries.

        Examples:
            >>> Reranking(first=100).takes_real_codes
            True
        """
        return self.vectors is None or self.by == "real+views"

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
            table: a row for each item, with its id; for all but "real" a row for each view, with shape ids.
            first: how many items are ranked anew.
            by: "real", "views", "real+views" or "attention".
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
        """Re-ranking by an embedding file, as `cmah export --views` or `--embeddings` writes, or a matrix (.npy).

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
        if self.vectors is not None and self.vectors.names is None and len(self.vectors) != items:
            raise CodesError(
                f"{self.vectors.source}: has no ids and {len(self.vectors)} rows, expected {items}, one for each item "
                "of the index"
            )


def check_rerank_by(by: object) -> None:
    """Refuse what is no score to re-rank by.

    Raises:
        CodesError: if `by` is none of `RerankBy`.

    Examples:
        >>> check_rerank_by("distance")
        Traceback (most recent call last):
        cmah.errors.CodesError: by is 'distance', expected 'attention', 'real', 'real+views' or 'views'
    """
    if by not in SCORES:
        raise CodesError(f"by is {shown(by)}, expected 'attention', 'real', 'real+views' or 'views'")


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
    index: HammingIndex | None = None,
    shape_ids: np.ndarray | None = None,
    together: By | None = None,
    owners: IdsLike | None = None,
    real: Embeddings | None = None,
) -> RerankedHits:
    """Put hits in order of a score of real vectors and give the first of them.

    Memory is that of the vectors of one query's hits.

    Args:
        hits: the `reranking.first` nearest items of each query, as a search gave them.
        queries: real vectors of the queries, one for each row of `hits`; with `together`, of the rows of an owner.
            Where `reranking` has no vectors, their real-valued codes.
        reranking: the vectors of the items and the score.
        k: how many hits to give; None for all.
        index: what was searched, for the codes of the items where `reranking` has no vectors, and by "real+views". A
            hit's code is that of the item itself, also where hits are shapes.
        shape_ids: the shape that each item of the index shows, text [n], whose vectors it has; "" for an item whose
            vectors have its own id. None: all have their own.
        together: for the hits of `search_together`: "mean" takes the mean of the scores of an owner's queries,
            "least" the greatest, as it takes the least distance.
        owners: as they were given to `search_together`.
        real: by "real+views" the real-valued codes of the queries, in the same order; otherwise None.

    Raises:
        CodesError: if there are more or fewer queries than rows, an item has no vector, the vectors are of another
            width or space than the queries, or real-valued codes are missing, or given and not needed.

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
    if (reranking.by == "attention") != (reranking.weight is not None):
        expected = "one [d, d]" if reranking.weight is None else "none"
        raise CodesError(f"re-ranking by {reranking.by}: weight of the attention, expected {expected}")
    if (reranking.by == "real+views") != (real is not None):
        expected = "those of the queries" if real is None else "none"
        raise CodesError(f"re-ranking by {reranking.by}: real-valued codes (real), expected {expected}")
    if real is not None and len(real) != len(queries):
        raise CodesError(f"{len(real)} real-valued codes, expected {len(queries)}, one for each query")
    if reranking.vectors is not None:
        check_comparable(queries, reranking.vectors)
    groups = None if together is None else _queries_of_owners(owners, len(queries))
    count = len(queries) if groups is None else len(groups)
    if count != len(hits):
        raise CodesError(f"{count} queries have vectors, expected {len(hits)}, one for each of the hits")
    kept = hits.positions.shape[1] if k is None else min(as_int(k, "k"), hits.positions.shape[1])
    if reranking.vectors is None:
        scored = _scored_by_codes(hits, queries, index, groups, together)
    else:
        scored = _scored_by_vectors(hits, queries, reranking.vectors, reranking, groups, shape_ids, together)
    if real is not None:
        scored = summed_scores(_scored_by_codes(hits, real, index, groups, together), scored)
    order = np.argsort(-scored, axis=1, kind="stable")[:, :kept]  # the hits are in order of their distances
    ids, distances, positions, scores = (
        np.take_along_axis(column, order, axis=1)
        for column in (hits.ids, hits.distances, hits.positions, scored)
    )
    return RerankedHits(ids, distances, positions, scores)


def search_real(
    index: HammingIndex,
    queries: Embeddings,
    k: int = 10,
    *,
    first: int = 100,
    subset: IdsLike | None = None,
    group: IdsLike | Groups | None = None,
    threads: int | None = None,
) -> RerankedHits:
    """The nearest items of real-valued codes: found by their signs, ranked anew by the numbers (asymmetric search).

    Args:
        index: what is searched, with tables or without.
        queries: real-valued codes, one number for each bit of the index, as `cmah export --real` writes them; only
            their directions count.
        k: how many hits to give.
        first: how many of the nearest items, or groups, are ranked anew, `k` or more.
        subset: as in `HammingIndex.search`.
        group: as in `HammingIndex.search`; a group is there by its nearest item.
        threads: as in `HammingIndex.search`.

    Raises:
        CodesError: as in `HammingIndex.search`, or for a `first` below `k`.

    Examples:
        The query hardly knows its first bit.

        >>> from cmah import BinaryCodes, HammingIndex
        >>> index = HammingIndex(bits=3)
        >>> index.add(BinaryCodes.from_bits([[0, 0, 1], [0, 1, 0], [1, 1, 1]]), ids=["a", "b", "c"])
        >>> hits = search_real(index, Embeddings(np.array([[-0.1, 0.9, 0.8]])), k=2)
        >>> hits.ids.tolist(), hits.distances.tolist(), hits.scores.round(2).tolist()
        ([['c', 'b']], [[1, 1]], [[0.76, 0.1]])
    """
    reranking = Reranking(as_int(first, "first"))
    reranking.check(as_int(k, "k"), len(index))
    hits = index.search(codes_of_real(queries), reranking.first, subset=subset, group=group, threads=threads)
    return rerank(hits, queries, reranking, k, index=index)


def _queries_of_owners(owners: IdsLike | None, q: int) -> list[np.ndarray]:
    """The rows of the queries of each owner."""
    _, rows = owners_of_rows(owners, q)
    order = np.argsort(rows.numbers, kind="stable")
    return np.split(order, np.cumsum(rows.sizes)[:-1]) if len(order) else []


def _combined(each: np.ndarray, together: By | None) -> np.ndarray:
    """One score of each item, float64 [n], from those of several queries [g, n]."""
    scores = each.max(axis=0) if together == "least" else each.mean(axis=0)
    return np.asarray(np.round(scores, DIGITS))


def _scored_by_vectors(
    hits: Hits,
    queries: Embeddings,
    vectors: ItemVectors,
    reranking: Reranking,
    groups: list[np.ndarray] | None,
    shape_ids: np.ndarray | None,
    together: By | None,
) -> np.ndarray:
    """Scores of hits by the vectors of the items, float64 [q, n]."""
    numbers = _numbers_of_hits(hits, vectors, shape_ids)
    scores = np.empty(hits.positions.shape)
    rows = np.arange(len(queries))[:, None] if groups is None else groups
    for row, group in enumerate(rows):
        each = vectors.at(numbers[row]).scores(queries.embeddings[group], reranking.weight)
        scores[row] = _combined(each, together)
    return scores


def _scored_by_codes(
    hits: Hits,
    queries: Embeddings,
    index: HammingIndex | None,
    groups: list[np.ndarray] | None,
    together: By | None,
) -> np.ndarray:
    """Scores of hits by the codes of the items, float64 [q, n]."""
    if index is None:
        raise CodesError("re-ranking by the codes of the items needs the index that was searched")
    width = queries.embeddings.shape[1]
    if width != index.bits:
        raise CodesError(
            f"real-valued codes of {width} numbers, expected {index.bits}, one for each bit of the index"
        )
    if index.space and queries.space and index.space != queries.space:
        raise CodesError(f"real-valued codes of space {queries.space}, expected {index.space} as the index")
    packed = index.codes_at(hits.positions.ravel()).packed
    packed = packed.reshape(*hits.positions.shape, packed.shape[1])
    if groups is None:
        return sign_scores(queries.embeddings, packed)
    scores = np.empty(hits.positions.shape)
    for row, group in enumerate(groups):
        scores[row] = _combined(sign_scores(queries.embeddings[group], packed[row : row + 1]), together)
    return scores


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
