"""The shape that each item of an index shows, so that hits can be given once for each shape."""

import numpy as np

from cmah.errors import CodesError
from cmah.search.grouping import Groups
from cmah.search.ids import TEXTS, GrowingArray, Ids, IdsLike, as_ids

ALONE = 0xFFFFFFFF  # the number of an item that shows no shape of those named, and stands for itself


class ItemShapes:
    """Ids of shapes, one for each item in order of position; an object is never changed, changes make a new one.

    Each id is kept once, and its number for each item: 4 bytes an item.

    Args:
        names: the ids, texts, each once.
        numbers: uint32 [n], which of them each item has; ALONE for none.

    Examples:
        >>> import numpy as np
        >>> shapes = ItemShapes.of(["chair", "", "chair"]).extended(["lamp", "chair"], count=2)
        >>> shapes.values.tolist(), shapes.groups().numbers.tolist()
        (['chair', '', 'chair', 'lamp', 'chair'], [0, 1, 0, 2, 0])
        >>> shapes.kept(np.array([False, True, False, True, False])).values.tolist()
        ['', 'lamp']
    """

    def __init__(self, names: Ids, numbers: np.ndarray) -> None:
        self.names, self.numbers = names, numbers
        self._room = GrowingArray(numbers)
        self._groups: Groups | None = None

    @classmethod
    def of(cls, labels: IdsLike) -> "ItemShapes":
        """Those of text [n]; "" for an item that stands for itself.

        Raises:
            CodesError: for labels that are no text, or not [n].
        """
        return cls(Ids(0, TEXTS), np.empty(0, np.uint32)).extended(labels, len(labels))

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def values(self) -> np.ndarray:
        """The id of the shape of each item, text [n], "" where it shows none."""
        return self.take(np.arange(len(self)))

    def take(self, positions: np.ndarray) -> np.ndarray:
        """The ids of the shapes of items at positions int64 [...], text of the same shape."""
        numbers = self.numbers[positions]
        named = numbers != ALONE
        out = np.zeros(numbers.shape, dtype=object)
        out[...] = ""
        out[named] = self.names.take(numbers[named].astype(np.int64))
        return out.astype(str)

    def extended(self, labels: IdsLike | None, count: int) -> "ItemShapes":
        """These, followed by those of `count` more items; None for items that show none.

        Raises:
            CodesError: for labels that are no text, or not [count].
        """
        if labels is not None and count:
            given = as_ids(labels, "shape ids")
            if given.shape != (count,):
                raise CodesError(
                    f"shape ids have shape {list(given.shape)}, expected [{count}], one for each code"
                )
            if given.dtype.kind != "U":
                raise CodesError(f"shape ids are {given.dtype}, expected text")
            unique, inverse = np.unique(given, return_inverse=True)
            return self._with(unique, inverse)
        return self._with(np.array([""]), np.zeros(count, np.int64))

    def followed_by(self, other: "ItemShapes") -> "ItemShapes":
        """These, followed by others.

        Examples:
            >>> ItemShapes.of(["chair", ""]).followed_by(ItemShapes.of(["lamp", "chair"])).values.tolist()
            ['chair', '', 'lamp', 'chair']
        """
        alone = len(other.names)
        rows = np.where(other.numbers == ALONE, alone, other.numbers.astype(np.int64))
        return self._with(np.append(other.names.values, ""), rows)

    def _with(self, names: np.ndarray, rows: np.ndarray) -> "ItemShapes":
        """These, followed by items that show the shapes `names[rows]`, of which each is there once."""
        places = self.names.places_of(names)
        new = (places < 0) & (names != "")
        places[new] = len(self.names) + np.arange(int(new.sum()))
        longer = self.names.extended(names[new], int(new.sum()))
        places[names == ""] = ALONE
        numbers = places[rows].astype(np.uint32)
        data, room = self._room.extended(len(self), numbers)
        extended = ItemShapes(longer, data)
        extended._room = room
        return extended

    def kept(self, keep: np.ndarray) -> "ItemShapes":
        """Those of the items where bool [n] is set."""
        return ItemShapes(self.names, self.numbers[keep])

    def groups(self) -> Groups:
        """The items of each shape as groups for `HammingIndex.search`, made when first asked for."""
        if self._groups is None:
            numbers = self.numbers.astype(np.int64)
            alone = np.flatnonzero(self.numbers == ALONE)
            numbers[alone] = len(self.names) + np.arange(len(alone))
            self._groups = Groups.numbered(numbers)
        return self._groups
