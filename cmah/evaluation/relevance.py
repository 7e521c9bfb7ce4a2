"""Which items are relevant to which query: from labels to classes, and which item is the query itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmah.codes import BinaryCodes, Embeddings
from cmah.codes.vector_table import array_of
from cmah.errors import CodesError

Labels = np.ndarray | Sequence[str] | Sequence[int]
Vectors = BinaryCodes | Embeddings


@dataclass(frozen=True)
class Relation:
    """Which items are relevant to each query: those of its class, which are neighbours in `order`.

    Attributes:
        order: int64 [n], positions of the database in order of class.
        begin: int64 [q]; the items order[begin] to order[end] are relevant.
        end: int64 [q].
        largest: items of the largest class of the database.

    Examples:
        >>> same = relation(["chair"], ["lamp", "chair", "chair"], 1, 3)
        >>> same.order[same.begin[0] : same.end[0]].tolist()
        [1, 2]
        >>> same.count(skip=np.array([2])).tolist()  # the query itself is item 2
        [1]
        >>> same.members(0, 1).tolist()
        [[False, True, True]]
    """

    order: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    largest: int

    def count(self, skip: np.ndarray) -> np.ndarray:
        """How many items are relevant to each query, int64 [q], without those at positions `skip` (-1: none)."""
        if not len(self.order):
            return np.zeros(len(self.begin), dtype=np.int64)
        skipped = self._places()[skip]
        inside = (skip >= 0) & (self.begin <= skipped) & (skipped < self.end)
        return np.asarray(self.end - self.begin - inside)

    def members(self, begin: int, end: int) -> np.ndarray:
        """Which items are relevant to the queries `begin` to `end`, bool [end - begin, n]."""
        place = self._places()
        return np.asarray((self.begin[begin:end, None] <= place) & (place < self.end[begin:end, None]))

    def _places(self) -> np.ndarray:
        """Where each item lies in `order`, int64 [n]."""
        place = np.empty(len(self.order), dtype=np.int64)
        place[self.order] = np.arange(len(self.order))
        return place


def relation(query_labels: Labels, database_labels: Labels, n_query: int, n_database: int) -> Relation:
    """Equal labels are relevant to each other; arguments and errors are those of `classes`.

    Examples:
        >>> same = relation(["chair", "sofa"], ["lamp", "chair", "chair"], 2, 3)
        >>> (same.end - same.begin).tolist(), same.largest
        ([2, 0], 2)
    """
    return relation_of_classes(classes(query_labels, database_labels, n_query, n_database), n_query)


def relation_of_classes(numbers: np.ndarray, n_query: int) -> Relation:
    """Equal numbers are relevant to each other.

    Args:
        numbers: int64 [q + n], of queries and database, as `classes` gives them.
        n_query: number of queries.

    Examples:
        >>> same = relation_of_classes(np.array([1, 0, 1, 1]), n_query=1)
        >>> same.count(skip=np.array([-1])).tolist()
        [2]
    """
    query, database = numbers[:n_query], numbers[n_query:]
    order = np.argsort(database, kind="stable")
    begin, end = (np.searchsorted(database[order], query, side) for side in ("left", "right"))
    sizes = np.unique(database[database >= 0], return_counts=True)[1]
    return Relation(order, begin, end, int(sizes.max(initial=0)))


def classes(
    query_labels: Labels, database_labels: Labels, n_query: int, n_database: int, what: str = "labels"
) -> np.ndarray:
    """Number the labels of queries and database, so that equal labels have equal numbers.

    Args:
        query_labels: text or whole numbers; "" is an unknown label, relevant to nothing.
        database_labels: text or whole numbers, as those of the queries.
        n_query: number of queries.
        n_database: size of the database.
        what: what messages call the labels.

    Returns:
        int64 [n_query + n_database]; -1 (query) and -2 (database) where unknown.

    Raises:
        CodesError: for a wrong number or type of labels.

    Examples:
        >>> classes(["chair", ""], ["lamp", "chair", ""], 2, 3).tolist()
        [1, -1, 2, 1, -2]
    """
    arrays = []
    for name, labels, n in (("query", query_labels, n_query), ("database", database_labels, n_database)):
        array = array_of(labels, f"{name} {what}")
        if not array.ndim:
            raise CodesError(
                f"{name} {what} are a {type(labels).__name__}, expected [{n}], text or whole numbers, one for each row"
            )
        if array.shape != (n,):
            raise CodesError(f"{name} {what} have shape {list(array.shape)}, expected [{n}]")
        if array.dtype.kind not in "Uiu" and n > 0:
            raise CodesError(f"{name} {what} are {array.dtype}, expected text or whole numbers")
        arrays.append(array)
    if len({array.dtype.kind == "U" for array in arrays if array.size}) > 1:
        raise CodesError(f"the {what} of one side are text, those of the other numbers")
    together = np.concatenate([array for array in arrays if array.size] or [np.empty(0, dtype=np.int64)])
    _, numbers = np.unique(together, return_inverse=True)
    numbers = numbers.astype(np.int64)
    if together.dtype.kind == "U":
        unknown = together == ""
        numbers[:n_query][unknown[:n_query]] = -1
        numbers[n_query:][unknown[n_query:]] = -2
    return numbers


def joint_classes(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Number rows so that those are equal that are so in both numberings; unknown in one is unknown.

    Args:
        a: int64 [n], as `classes` gives them: negative where unknown.
        b: the same of other labels.

    Returns:
        int64 [n].

    Examples:
        >>> joint_classes(np.array([0, 0, 1, -2]), np.array([0, 1, 1, 1])).tolist()
        [0, 1, 3, -2]
    """
    unknown = (a < 0) | (b < 0)
    return np.asarray(np.where(unknown, np.minimum(a, b), a * (b.max(initial=0) + 1) + b))


def width(vectors: Vectors) -> int:
    """Bits of a code, or components of an embedding.

    Examples:
        >>> width(BinaryCodes.from_bits([[0, 1, 1, 0]])), width(Embeddings(np.zeros((1, 512))))
        (4, 512)
    """
    return vectors.bits if isinstance(vectors, BinaryCodes) else vectors.embeddings.shape[1]


def require_comparable(query: Vectors, database: Vectors) -> None:
    """See that queries can be ranked against a database.

    Raises:
        CodesError: if they are neither, if one are codes and the other embeddings, or width or `space` differ.

    Examples:
        >>> require_comparable(BinaryCodes.from_bits([[0, 1, 1, 0]]), BinaryCodes.from_bits([[0, 1]]))
        Traceback (most recent call last):
            ...
        cmah.errors.CodesError: queries have width 4, the database has 2; expected the same
    """
    for role, vectors in (("the query is", query), ("the database is", database)):
        if not isinstance(vectors, BinaryCodes | Embeddings):
            raise CodesError(
                f"{role} a {type(vectors).__name__}, expected BinaryCodes or Embeddings: BinaryCodes.from_signs, "
                "from_bits or from_packed make them of arrays, read_codes of cmah.codes reads a file"
            )
    if isinstance(query, BinaryCodes) is not isinstance(database, BinaryCodes):
        sides = [
            "codes" if isinstance(vectors, BinaryCodes) else "embeddings" for vectors in (query, database)
        ]
        raise CodesError(
            f"the queries are {sides[0]}, the database holds {sides[1]}; expected both codes or both embeddings"
        )
    if width(query) != width(database):
        raise CodesError(
            f"queries have width {width(query)}, the database has {width(database)}; expected the same"
        )
    if query.space and database.space and query.space != database.space:
        raise CodesError(
            f"queries are of space {query.space}, the database of {database.space}: not comparable"
        )


def own_positions(query: Vectors, database: Vectors, exclude_self: bool | None) -> np.ndarray:
    """Where each query itself lies in the database, if it is to be left out.

    Args:
        query: the queries.
        database: the database.
        exclude_self: None = leave it out if both name the same modality and ids tell the rows apart, or if
            `query is database`.

    Returns:
        int64 [q], -1 where nothing is left out.

    Raises:
        CodesError: if `exclude_self` is True and nothing tells which item is the query.

    Examples:
        >>> query = BinaryCodes.from_bits([[0, 0], [0, 1]], ids=["b", "z"], modality="shape")
        >>> database = BinaryCodes.from_bits([[1, 1], [0, 0]], ids=["a", "b"], modality="shape")
        >>> own_positions(query, database, exclude_self=None).tolist()
        [1, -1]
    """
    nothing = np.full(len(query), -1, dtype=np.int64)
    same = query.modality != "" and query.modality == database.modality
    if exclude_self is False or (exclude_self is None and not same and query is not database):
        return nothing
    if query is database:
        return np.arange(len(query), dtype=np.int64)
    names, items = query.id_texts, database.id_texts
    if names is None or items is None:
        if not exclude_self:
            return nothing
        if len(query) != len(database):
            raise CodesError(
                f"exclude_self: without ids the database must be the queries in the same order; "
                f"there are {len(query)} queries and {len(database)} items"
            )
        return np.arange(len(query), dtype=np.int64)
    if np.unique(items).size != len(database):
        raise CodesError("exclude_self: the ids of the database are not unique")
    if len(database) == 0:
        return nothing
    order = np.argsort(items)
    place = np.minimum(np.searchsorted(items, names, sorter=order), len(database) - 1)
    return np.where(items[order[place]] == names, order[place], -1).astype(np.int64)
