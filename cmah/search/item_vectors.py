"""Real vectors of items, one or several for each, such as those of the views of a shape, and of queries."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CodesError
from cmah.search.grouping import Groups
from cmah.search.view_scores import attention_scores, best_view_scores


@dataclass(frozen=True, eq=False)
class ItemVectors:
    """Real vectors of items, one or several for each.

    Attributes:
        vectors: float32 [r, d], those of an item one after the other.
        offsets: int64 [s + 1]: item i has rows offsets[i] to offsets[i + 1].
        names: text [s], the id of each item; None if they are those of an index in order of position.
        space: names the model that they come from, "" where unknown.
        source: what messages call them, such as their file.

    Examples:
        The whole database is ranked by attention over its views.

        >>> rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], np.float32)
        >>> views = Embeddings(rows, ids=["a_0", "b_0", "a_1"], shape_ids=["a", "b", "a"])
        >>> items = ItemVectors.of_shapes(views)
        >>> items.names.tolist(), items.offsets.tolist()
        (['a', 'b'], [0, 2, 3])
        >>> items.scores([[1.0, 0.0]], weight=np.eye(2)).round(3).tolist()
        [[0.839, 0.0]]
    """

    vectors: np.ndarray
    offsets: np.ndarray
    names: np.ndarray | None = None
    space: str = ""
    source: str = "vectors"

    @classmethod
    def of_items(cls, table: Embeddings, source: str = "vectors") -> "ItemVectors":
        """One vector for each item, named by the ids.

        Args:
            table: a row for each item.
            source: what messages call it.

        Raises:
            CodesError: if an id stands there twice.

        Examples:
            >>> ItemVectors.of_items(Embeddings(np.eye(2), ids=["a", "b"])).scores([[0, 1]]).tolist()
            [[0.0, 1.0]]
        """
        if table.id_texts is not None:
            names, counts = np.unique(table.id_texts, return_counts=True)
            if (counts > 1).any():
                name = names[counts > 1][0]
                raise CodesError(
                    f"{source}: id {name} is there {counts.max()} times, expected one row for each item"
                )
        return cls(table.embeddings, np.arange(len(table) + 1), table.id_texts, table.space, source)

    @classmethod
    def of_shapes(cls, table: Embeddings, source: str = "vectors") -> "ItemVectors":
        """All vectors of each shape, named by the shape ids; rows without one are left out.

        Args:
            table: a row for each view, with shape ids.
            source: what messages call it.

        Raises:
            CodesError: if there are no shape ids.
        """
        if table.shape_ids is None or not (table.shape_ids != "").any():
            raise CodesError(
                f"{source}: has no shape ids, expected those of the views "
                "(cmah export --views writes them, or --embeddings --per-view)"
            )
        if table.modality == "image":
            raise CodesError(f"{source}: holds vectors of images, expected those of the views of shapes")
        if table.id_texts is not None and (table.id_texts == table.shape_ids).all():
            raise CodesError(
                f"{source}: has a row for each shape, expected one for each view (cmah export --views writes them, or "
                "--embeddings --per-view)"
            )
        table = table if (table.shape_ids != "").all() else table[table.shape_ids != ""]
        labels = table.shape_ids
        assert labels is not None
        groups = Groups.of(labels)
        order = np.argsort(groups.numbers, kind="stable")
        in_order = bool((np.diff(groups.numbers) >= 0).all())
        vectors = table.embeddings if in_order else table.embeddings[order]
        offsets = np.concatenate([[0], np.cumsum(groups.sizes)])
        return cls(vectors, offsets, labels[order[offsets[:-1]]], table.space, source)

    def __len__(self) -> int:
        """The number of items."""
        return len(self.offsets) - 1

    def numbers_of(self, names: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Which items are meant, int64 [n].

        Args:
            names: their ids, text or whole numbers [n].
            positions: their places in the index, int64 [n], which count where the vectors have no names.

        Raises:
            CodesError: for an item that has no vector.

        Examples:
            >>> items = ItemVectors.of_items(Embeddings(np.eye(2), ids=["a", "b"]), source="real.npz")
            >>> items.numbers_of(np.array(["b", "a"]), np.array([7, 4])).tolist()
            [1, 0]
            >>> items.numbers_of(np.array(["c"]), np.array([3]))
            Traceback (most recent call last):
            cmah.errors.CodesError: real.npz: has no vector for c, which is among the items to re-rank
        """
        if self.names is None:
            lacking = positions[positions >= len(self)]
            if len(lacking):
                raise CodesError(f"{self.source}: has {len(self)} rows, expected one for item {lacking[0]}")
            return positions
        texts = [str(name) for name in names.tolist()]
        numbers = [self._numbers.get(text, -1) for text in texts]
        if -1 in numbers:
            name = texts[numbers.index(-1)]
            raise CodesError(f"{self.source}: has no vector for {name}, which is among the items to re-rank")
        return np.array(numbers, dtype=np.int64)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        names = [] if self.names is None else self.names.tolist()
        return {name: number for number, name in enumerate(names)}

    def at(self, numbers: np.ndarray) -> "ItemVectors":
        """Some of the items, int64 [n] of 0 to s - 1, in that order and without names.

        Examples:
            >>> items = ItemVectors(np.eye(3, dtype=np.float32), np.array([0, 1, 3]))
            >>> items.at(np.array([1, 0])).offsets.tolist()
            [0, 2, 3]
        """
        counts = np.diff(self.offsets)[numbers]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        rows = np.repeat(self.offsets[numbers] - offsets[:-1], counts) + np.arange(offsets[-1])
        return ItemVectors(self.vectors[rows], offsets, None, self.space, self.source)

    def scores(self, queries: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> np.ndarray:
        """The score of each query with each item: by attention with a weight, else the greatest cosine.

        Args:
            queries: numbers [q, d].
            weight: W of `attention_scores`, [d, d].

        Returns:
            float64 [q, s].

        Raises:
            CodesError: for queries or a weight of another width.
        """
        if weight is None:
            return best_view_scores(queries, self.vectors, self.offsets)
        return attention_scores(queries, self.vectors, self.offsets, weight)


def require_vectors(vectors: Embeddings | None, queries: int) -> Embeddings:
    """The real vectors of queries, which must be there.

    Raises:
        CodesError: if they are not, or are not as many as there are queries.

    Examples:
        >>> require_vectors(None, queries=2)
        Traceback (most recent call last):
        cmah.errors.CodesError: re-ranking needs the real vectors of the queries
    """
    if vectors is None:
        raise CodesError("re-ranking needs the real vectors of the queries")
    if len(vectors) != queries:
        raise CodesError(f"{len(vectors)} vectors of queries, expected {queries}, one for each query")
    return vectors


def check_comparable(queries: Embeddings, vectors: ItemVectors) -> None:
    """Refuse vectors of queries and items that come of different models.

    Raises:
        CodesError: if they are of different widths or spaces.

    Examples:
        >>> items = ItemVectors.of_items(Embeddings(np.eye(3), space="run2"), source="real.npz")
        >>> check_comparable(Embeddings(np.eye(3), space="run1"), items)
        Traceback (most recent call last):
        cmah.errors.CodesError: real.npz: vectors of space run2, expected run1 as the queries
    """
    width, expected = vectors.vectors.shape[1], queries.embeddings.shape[1]
    if width != expected:
        raise CodesError(f"{vectors.source}: vectors of {width} numbers, expected {expected} as the queries")
    if vectors.space and queries.space and vectors.space != queries.space:
        raise CodesError(
            f"{vectors.source}: vectors of space {vectors.space}, expected {queries.space} as the queries"
        )


def vectors_of_queries(codes: BinaryCodes, table: Embeddings, source: str | Path) -> Embeddings:
    """The real vectors of queries, in the order of their codes.

    Args:
        codes: of the queries.
        table: with a row for each; rows are found by their ids, or where one of both has none taken in order.
        source: what messages call the table.

    Raises:
        CodesError: if a query has no row, or without ids there are more or fewer rows than queries.

    Examples:
        >>> codes = BinaryCodes.from_bits([[0], [1]], ids=["a", "b"])
        >>> table = Embeddings(np.array([[1.0], [2.0], [3.0]]), ids=["b", "c", "a"])
        >>> vectors_of_queries(codes, table, "queries.npz").embeddings.tolist()
        [[3.0], [1.0]]
    """
    names, own = codes.id_texts, table.id_texts
    if names is None or own is None:
        if len(table) != len(codes):
            raise CodesError(f"{source}: has {len(table)} rows, expected {len(codes)}, one for each query")
        return table
    rows = {name: row for row, name in enumerate(own.tolist())}
    if len(rows) < len(table):
        raise CodesError(
            f"{source}: has {len(table)} rows of {len(rows)} ids, expected one row for each query"
        )
    for name in names.tolist():
        if name not in rows:
            raise CodesError(f"{source}: has no row for query {name}")
    return table[[rows[name] for name in names.tolist()]]
