"""Codes in groups, such as the views of one shape: the nearest groups of each query, each by its nearest item."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cmah.errors import CodesError
from cmah.search.ids import IdsLike, as_ids

FIRST = 4  # times k items are looked at first, since their groups are often k
GROWTH = 4  # times as many are looked at for the queries whose items were of fewer groups
ENTRIES = 1 << 20  # items of all queries that are looked at together; bounds the memory

# packed queries uint8 [q, width] and a number of items m -> positions [q, m] and distances [q, m], nearest first
Search = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Groups:
    """Which items belong together, by a label for each. Make it once where many searches go by the same labels.

    Attributes:
        numbers: int64 [n], the group of each item, 0 to count - 1 in order of first appearance.

    Examples:
        >>> groups = Groups.of(["chair", "lamp", "chair", "", ""])
        >>> groups.numbers.tolist(), groups.count
        ([0, 1, 0, 2, 3], 4)
    """

    numbers: np.ndarray

    @classmethod
    def of(cls, labels: IdsLike, name: str = "labels") -> "Groups":
        """Number the groups of labels.

        Args:
            labels: whole numbers or text [n]; an item labelled "" stands for itself.
            name: what messages call them.

        Raises:
            CodesError: for labels of another type or shape.
        """
        array = as_ids(labels, name)
        if array.ndim != 1:
            raise CodesError(f"{name} have shape {list(array.shape)}, expected [n]")
        if len(array) and array.dtype.kind not in "iuU":
            raise CodesError(f"{name} are {array.dtype}, expected whole numbers or text")
        values, numbers = np.unique(array, return_inverse=True)
        if array.dtype.kind == "U":
            alone = np.flatnonzero(array == "")
            numbers[alone] = len(values) + np.arange(len(alone))
        return cls(_by_appearance(numbers))

    @classmethod
    def numbered(cls, numbers: np.ndarray) -> "Groups":
        """Groups of items with equal numbers, int64 [n] of 0 or more."""
        return cls(_by_appearance(numbers))

    def __len__(self) -> int:
        """The number of items."""
        return len(self.numbers)

    @property
    def count(self) -> int:
        """The number of groups."""
        return len(self.sizes)

    @cached_property
    def sizes(self) -> np.ndarray:
        """How many items each group has, int64 [count]."""
        return np.bincount(self.numbers)

    def at(self, positions: np.ndarray) -> "Groups":
        """The groups of some of the items only, numbered anew.

        Examples:
            >>> import numpy as np
            >>> Groups.of(["chair", "lamp", "chair", "bed"]).at(np.array([1, 2, 3])).numbers.tolist()
            [0, 1, 2]
        """
        return Groups(_by_appearance(self.numbers[positions]))

    def items_for(self, k: int) -> int:
        """So many items are of `k` groups at least, whichever they are; `k` is 1 to `count`.

        Examples:
            >>> Groups.of(["chair", "chair", "lamp", "lamp", "lamp", "bed"]).items_for(2)
            4
        """
        return int(self._largest_first[: k - 1].sum()) + 1

    @cached_property
    def _largest_first(self) -> np.ndarray:
        return np.sort(self.sizes)[::-1]


def groups_of_items(group: IdsLike | Groups, n: int) -> Groups:
    """The groups that were given for the `n` items of an index.

    Args:
        group: labels as `Groups.of` takes them, or its result.
        n: how many there have to be.

    Raises:
        CodesError: for labels of another number, type or shape.

    Examples:
        >>> groups_of_items([7, 7, 9], n=3).numbers.tolist()
        [0, 0, 1]
        >>> groups_of_items([7, 7, 9], n=4)
        Traceback (most recent call last):
        cmah.errors.CodesError: group has 3 labels, expected 4, one for each item of the index
    """
    groups = group if isinstance(group, Groups) else Groups.of(group, "labels of group")
    if len(groups) != n:
        raise CodesError(f"group has {len(groups)} labels, expected {n}, one for each item of the index")
    return groups


def nearest_groups(
    search: Search, packed: np.ndarray, groups: Groups, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest groups of each query, each by its nearest item.

    More and more of the nearest items are looked at, until they are of `k` groups. No group can be missed: the items
    are the nearest ones, in order, so a group that is not among theirs is farther than all of them. The memory for a
    batch is bounded by `ENTRIES`, that for one query by the number of items.

    Args:
        search: gives the nearest items.
        packed: queries, uint8 [q, width].
        groups: those of the items that are searched.
        k: 1 to the number of groups.

    Returns:
        positions int64 [q, k] and distances int32 [q, k], ordered by (distance, position).

    Examples:
        >>> from cmah import BinaryCodes, HammingIndex
        >>> index = HammingIndex(bits=4)
        >>> index.add(BinaryCodes.from_bits([[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 1]]))
        >>> def search(packed, m):
        ...     hits = index.search(BinaryCodes.from_packed(packed, 4), m)
        ...     return hits.positions, hits.distances
        >>> query = BinaryCodes.from_bits([[0, 0, 0, 0]]).packed
        >>> positions, distances = nearest_groups(search, query, Groups.of(["chair", "chair", "lamp"]), k=2)
        >>> positions.tolist(), distances.tolist()
        ([[0, 2]], [[0, 3]])
    """
    positions = np.empty((len(packed), k), dtype=np.int64)
    distances = np.empty((len(packed), k), dtype=np.int32)
    enough = groups.items_for(k)
    m, left = min(FIRST * k, enough), np.arange(len(packed))
    while len(left):
        step, others = max(ENTRIES // m, 1), []
        for begin in range(0, len(left), step):
            queries = left[begin : begin + step]
            near, far = search(packed[queries], m)
            rows = np.repeat(np.arange(len(queries)), m)
            chosen = first_of_groups(rows, groups.numbers[near].ravel(), k)
            done = np.bincount(rows[chosen], minlength=len(queries)) == k
            chosen = chosen[done[rows[chosen]]]
            positions[queries[done]] = near.ravel()[chosen].reshape(-1, k)
            distances[queries[done]] = far.ravel()[chosen].reshape(-1, k)
            others.append(queries[~done])
        m, left = min(GROWTH * m, enough), np.concatenate(others)
    return positions, distances


def first_of_groups(rows: np.ndarray, groups: np.ndarray, k: int) -> np.ndarray:
    """Which entries are the first of their group within their row, at most `k` of each row.

    Args:
        rows: int64 [m], ascending: the row of each entry; the entries of a row are in order, the best first.
        groups: int64 [m], the group of each entry.
        k: how many groups of each row.

    Returns:
        Indices of entries, int64, ascending.

    Examples:
        >>> import numpy as np
        >>> first_of_groups(np.array([0, 0, 0, 0, 1]), np.array([5, 5, 3, 4, 5]), k=2).tolist()
        [0, 2, 4]
    """
    keys = rows * (int(groups.max(initial=0)) + 1) + groups
    order = np.argsort(keys, kind="stable")
    new = np.ones(len(order), dtype=bool)
    new[1:] = keys[order[1:]] != keys[order[:-1]]
    first = np.sort(order[new])
    rank = np.arange(len(first)) - np.searchsorted(rows[first], rows[first])
    return first[rank < k]


def _by_appearance(numbers: np.ndarray) -> np.ndarray:
    """Numbers of groups, int64 [n], replaced by 0, 1, … in order of first appearance."""
    _, first, numbers = np.unique(numbers, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[numbers]
