"""What a search gives: arrays over all queries, and the hits of each query one by one."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, SupportsIndex

import numpy as np


class Hit(NamedTuple):
    """One item that a search returned.

    Attributes:
        id: the item's id, a whole number or text.
        distance: its Hamming distance from the query, in bits; a whole number, unless it is the mean over several
            queries.
        position: its place in the index, from 0 in order of adding.

    Examples:
        >>> hit = Hit("chair", 3, 7)
        >>> hit.id, hit.distance
        ('chair', 3)
    """

    id: int | str
    distance: float
    position: int


@dataclass(frozen=True, eq=False)
class QueryHits:
    """The hits of one query, ordered by (distance, position); iterating gives a `Hit` for each.

    Attributes:
        ids: int64 or text [m].
        distances: int32 [m], in bits; float64 if they are means over several queries.
        positions: int64 [m], places in the index.

    Examples:
        >>> import numpy as np
        >>> hits = QueryHits(np.array(["chair", "lamp"]), np.array([0, 3]), np.array([7, 2]))
        >>> for name, distance, position in hits:
        ...     print(name, distance, position)
        chair 0 7
        lamp 3 2
        >>> hits[0].id
        'chair'
    """

    ids: np.ndarray
    distances: np.ndarray
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rank: SupportsIndex) -> Hit:
        """The hit at a rank, 0 being the nearest; negative ranks count from the farthest.

        Raises:
            IndexError: if there are fewer hits.
        """
        place = _place(rank, len(self), "hit")
        return Hit(self.ids[place].item(), self.distances[place].item(), self.positions[place].item())

    def __iter__(self) -> Iterator[Hit]:
        columns = self.ids.tolist(), self.distances.tolist(), self.positions.tolist()
        return map(Hit, *columns)

    def to_list(self) -> list[dict[str, float | str]]:
        """The hits as plain dicts with the keys "id", "distance" and "position", ready for JSON.

        Examples:
            >>> import numpy as np
            >>> QueryHits(np.array(["chair"]), np.array([3]), np.array([7])).to_list()
            [{'id': 'chair', 'distance': 3, 'position': 7}]
        """
        return [hit._asdict() for hit in self]


class _HitsOfQueries(ABC):
    """What `Hits` and `RadiusHits` share: a sequence of `QueryHits`, one for each query."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of queries."""

    @abstractmethod
    def _of_query(self, number: int) -> QueryHits:
        """The hits of a query, 0 to len(self) - 1."""

    def __getitem__(self, query: SupportsIndex) -> QueryHits:
        """The hits of a query, in order of the queries; negative numbers count from the last.

        Raises:
            IndexError: if there are fewer queries.

        Examples:
            >>> import numpy as np
            >>> hits = Hits(np.array([["chair"], ["lamp"]]), np.array([[3], [0]]), np.array([[7], [2]]))
            >>> hits[1].ids.tolist(), hits[-2].ids.tolist()
            (['lamp'], ['chair'])
        """
        return self._of_query(_place(query, len(self), "query"))

    def __iter__(self) -> Iterator[QueryHits]:
        return map(self._of_query, range(len(self)))

    def to_list(self) -> list[list[dict[str, float | str]]]:
        """For each query a list of dicts with the keys "id", "distance" and "position", ready for JSON.

        Examples:
            >>> import numpy as np
            >>> hits = Hits(np.array([["chair"], ["lamp"]]), np.array([[3], [0]]), np.array([[7], [2]]))
            >>> hits.to_list()[1]
            [{'id': 'lamp', 'distance': 0, 'position': 2}]
        """
        return [hits.to_list() for hits in self]


@dataclass(frozen=True)
class Hits(_HitsOfQueries):
    """The nearest items of each query, ordered by (distance, position).

    `hits[i]` is the `QueryHits` of query i, `len(hits)` the number of queries, and iterating goes over the queries.

    Attributes:
        ids: int64 or text [q, k], k = the number asked for or, if that is less, the number of items (or of groups of
            items) searched.
        distances: int32 [q, k], in bits.
        positions: int64 [q, k], the place of the item in the index, from 0 in order of adding.

    Examples:
        >>> from cmah import BinaryCodes, HammingIndex
        >>> index = HammingIndex(bits=4)
        >>> index.add(BinaryCodes.from_bits([[0, 0, 0, 0], [0, 1, 1, 1]]), ids=["zero", "three"])
        >>> hits = index.search(BinaryCodes.from_bits([[0, 0, 0, 1]]), k=2)
        >>> hits[0].ids.tolist(), hits[0].distances.tolist()
        (['zero', 'three'], [1, 2])
        >>> hits.to_list()[0][0]
        {'id': 'zero', 'distance': 1, 'position': 0}
    """

    ids: np.ndarray
    distances: np.ndarray
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def _of_query(self, number: int) -> QueryHits:
        return QueryHits(self.ids[number], self.distances[number], self.positions[number])


@dataclass(frozen=True)
class TogetherHits(Hits):
    """The nearest items of several queries taken as one, as `Hits` with a row for each owner of queries.

    Attributes:
        ids: int64 or text [o, k], as in `Hits`.
        distances: [o, k], in bits: float64 for the mean distance from the owner's queries, int32 for the least.
        positions: int64 [o, k].
        owners: int64 or text [o], what was given as their owner, in order of first appearance.

    Examples:
        >>> from cmah import BinaryCodes, HammingIndex
        >>> index = HammingIndex(bits=4)
        >>> index.add(BinaryCodes.from_bits([[0, 0, 0, 0], [0, 1, 1, 1]]), ids=["zero", "three"])
        >>> photos = BinaryCodes.from_bits([[0, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
        >>> hits = index.search_together(photos, k=1, owners=["mug", "mug", "sofa"])
        >>> dict(zip(hits.owners.tolist(), hits.to_list()))["mug"]
        [{'id': 'zero', 'distance': 1.5, 'position': 0}]
    """

    owners: np.ndarray


@dataclass(frozen=True)
class RadiusHits(_HitsOfQueries):
    """All items within a radius of each query, ordered by (distance, position).

    `near[i]` is the `QueryHits` of query i, `len(near)` the number of queries, and iterating goes over the queries.
    The arrays hold the hits of all queries one after the other: those of query i are the entries offsets[i] to
    offsets[i + 1].

    Attributes:
        offsets: int64 [q + 1].
        ids: int64 or text [m].
        distances: int32 [m], in bits.
        positions: int64 [m], the place of the item in the index, from 0 in order of adding.

    Examples:
        >>> from cmah import BinaryCodes, HammingIndex
        >>> index = HammingIndex(bits=4)
        >>> index.add(BinaryCodes.from_bits([[0, 0, 0, 0], [0, 1, 1, 1]]))
        >>> near = index.search_radius(BinaryCodes.from_bits([[0, 0, 0, 1], [0, 1, 0, 1]]), radius=1)
        >>> [hits.ids.tolist() for hits in near]
        [[0], [1]]
        >>> near.offsets.tolist(), near.ids.tolist()
        ([0, 1, 2], [0, 1])
    """

    offsets: np.ndarray
    ids: np.ndarray
    distances: np.ndarray
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def _of_query(self, number: int) -> QueryHits:
        begin, end = self.offsets[number : number + 2].tolist()
        return QueryHits(self.ids[begin:end], self.distances[begin:end], self.positions[begin:end])


def _place(number: SupportsIndex, count: int, name: str) -> int:
    """A whole number, maybe negative, as a place from 0 to count - 1."""
    place = operator.index(number)
    if not -count <= place < count:
        raise IndexError(f"{name} {place} of {count}")
    return place % count
