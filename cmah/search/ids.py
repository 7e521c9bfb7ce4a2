"""The ids of an index's codes: positions, whole numbers or text."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from cmah.codes.vector_table import MOST
from cmah.errors import CodesError

POSITIONS, NUMBERS, TEXTS = 0, 1, 2  # types of ids

IdsLike = np.ndarray | Sequence[int] | Sequence[str]


class Ids:
    """Unique ids in order of position; an object is never changed, changes make a new one.

    Ids that are added go behind the others in the same memory, which grows by halves: adding n ids one by one takes
    time in proportion to n (numbers: to n log n).

    Numbers are kept as int64; text as UTF-8 with the place where each ends, so that the ids of an index file are
    used as they lie there. POSITIONS, 0 to n - 1, take no memory.

    Args:
        n: how many.
        kind: POSITIONS, NUMBERS or TEXTS.
        numbers: int64 [n] for NUMBERS; for TEXTS uint64 [n + 1], where each begins and the last ends.
        text: uint8, the UTF-8 of all TEXTS.

    Examples:
        >>> import numpy as np
        >>> ids = Ids.of(np.array(["chair", "lamp", "sofa"]))
        >>> ids.take(np.array([2, 0])).tolist(), ids.positions_of(["lamp"]).tolist()
        (['sofa', 'chair'], [1])
        >>> ids.kept(np.array([True, False, True])).values.tolist()
        ['chair', 'sofa']
    """

    def __init__(
        self,
        n: int = 0,
        kind: int = POSITIONS,
        numbers: np.ndarray | None = None,
        text: np.ndarray | None = None,
    ) -> None:
        self.n = n
        self.kind = kind
        self.numbers = np.zeros(1 if kind == TEXTS else 0, dtype=np.uint64) if numbers is None else numbers
        self.text = np.empty(0, dtype=np.uint8) if text is None else text
        self._places: dict[str, int] | None = None  # TEXTS: position of each, made when first asked for
        self._runs: SortedRuns | None = None  # NUMBERS: the same numbers in order, made when first asked for
        self._rooms = (GrowingArray(self.numbers), GrowingArray(self.text))

    @classmethod
    def of(cls, values: np.ndarray) -> "Ids":
        """Ids of whole numbers or unicode values [n].

        Raises:
            CodesError: for a duplicate, a number beyond int64, or text that is not Unicode.
        """
        if values.dtype.kind != "U":
            if values.dtype.kind == "u" and (values > MOST).any():
                raise CodesError(f"id {values[values > MOST][0]} is too large, expected at most {MOST}")
            ordered = np.sort(values)
            _refuse_duplicates(ordered[1:][ordered[1:] == ordered[:-1]])
            return cls(len(values), NUMBERS, values.astype(np.int64))
        listed = values.tolist()
        if len(set(listed)) < len(listed):
            unique, counts = np.unique(values, return_counts=True)
            _refuse_duplicates(unique[counts > 1])
        try:
            encoded = [value.encode() for value in listed]
        except UnicodeEncodeError as error:
            raise CodesError(f"id {error.object!r} cannot be written as UTF-8") from None
        ends = np.cumsum([0, *map(len, encoded)], dtype=np.uint64)
        return cls(len(listed), TEXTS, ends, np.frombuffer(b"".join(encoded), dtype=np.uint8))

    def __len__(self) -> int:
        return self.n

    @property
    def values(self) -> np.ndarray:
        """All ids, int64 or unicode [n]."""
        return self.take(np.arange(self.n))

    @cached_property
    def bytes_each(self) -> int:
        """About how many bytes `take` needs for an id, with what it needs on the way; the longest one counts."""
        if self.kind != TEXTS:
            return 16
        longest = int((self.numbers[1:] - self.numbers[:-1]).max(initial=0))
        return 200 + 5 * longest  # two numbers, a string and its place in a list; then 4 bytes a character

    def take(self, positions: np.ndarray) -> np.ndarray:
        """The ids at positions int64 [...], int64 or unicode of the same shape."""
        if self.kind == POSITIONS:
            return positions.astype(np.int64)
        if self.kind == NUMBERS:
            return np.asarray(self.numbers[positions], dtype=np.int64)
        begins, ends = self.numbers[positions].ravel().tolist(), self.numbers[positions + 1].ravel().tolist()
        texts = [self.text[a:b].tobytes().decode() for a, b in zip(begins, ends, strict=True)]
        return np.array(texts, dtype=str).reshape(positions.shape)

    def extended(self, given: np.ndarray | None, count: int) -> "Ids":
        """These ids, followed by those of `count` more codes.

        Args:
            given: whole numbers or text [count]; None for the numbers that follow the greatest.
            count: how many.

        Raises:
            CodesError: for a duplicate, an id of the other type, or a number beyond int64.

        Examples:
            >>> import numpy as np
            >>> Ids.of(np.array([7, 3])).extended(None, count=2).values.tolist()
            [7, 3, 8, 9]
        """
        if count == 0:
            return self
        if given is None:
            if self.kind == POSITIONS or not self.n:
                return Ids(self.n + count)
            if self.kind == NUMBERS:
                last = self._sorted().greatest
                if last > MOST - count:
                    raise CodesError(
                        f"no {count} numbers follow id {last}; give ids for the codes that are added"
                    )
                given = last + 1 + np.arange(count)
        text = given is None or given.dtype.kind == "U"
        if (self.n and text != (self.kind == TEXTS)) or given is None:
            raise CodesError("some ids are text and some numbers; expected one type per index")
        new = Ids.of(given)
        if not self.n:
            return new
        if self.kind == POSITIONS:
            return Ids(self.n, NUMBERS, np.arange(self.n)).extended(given, count)
        added = new.numbers if self.kind == NUMBERS else new.numbers[1:] + self.numbers[-1]
        if self.kind == NUMBERS:
            runs = self._sorted()
            _refuse_duplicates(added[runs.holds(added)])
        else:
            places = self._lookup()
            values = new.values
            _refuse_duplicates(values[[value in places for value in values.tolist()]])
        numbers, room = self._rooms[0].extended(len(self.numbers), added)
        utf8, text_room = self._rooms[1].extended(len(self.text), new.text)
        extended = Ids(self.n + count, self.kind, numbers, utf8)
        extended._rooms = (room, text_room)
        if self.kind == NUMBERS:
            extended._runs, self._runs = runs.extended(added), None
        else:
            extended._places, self._places = places, None
            places.update(zip(values.tolist(), range(self.n, self.n + count), strict=True))
        return extended

    def kept(self, keep: np.ndarray) -> "Ids":
        """The ids at the positions where bool [n] is set; ids stay, so that positions become numbers."""
        return Ids.of(self.values[keep])

    def positions_of(self, ids: IdsLike) -> np.ndarray:
        """The position of each id, int64.

        Raises:
            CodesError: for an id that is not in the index.
        """
        wanted = as_ids(ids)
        if wanted.ndim != 1 or (len(wanted) and wanted.dtype.kind not in "iuU"):
            raise CodesError(
                f"ids are {wanted.dtype} {list(wanted.shape)}, expected whole numbers or text [m]"
            )
        if self.kind == TEXTS:
            positions = self.places_of(wanted.astype(str))
        elif wanted.dtype.kind == "U":
            positions = np.full(len(wanted), -1)
        else:
            numbers = wanted.astype(np.int64)
            positions = self._positions_of_numbers(numbers)
            if wanted.dtype.kind == "u":
                positions[numbers < 0] = -1  # beyond int64
        if (positions < 0).any():
            raise CodesError(f"id {wanted[positions < 0][0]!s} is not in this index")
        return positions

    def places_of(self, texts: np.ndarray) -> np.ndarray:
        """The position of each of some TEXTS, int64 [m]; -1 for one that is not here."""
        places = self._lookup()
        return np.array([places.get(text, -1) for text in texts.tolist()], dtype=np.int64)

    def _positions_of_numbers(self, wanted: np.ndarray) -> np.ndarray:
        if self.kind == POSITIONS:
            return np.where((wanted >= 0) & (wanted < self.n), wanted, -1)
        order = np.argsort(self.numbers, kind="stable")
        place = np.minimum(np.searchsorted(self.numbers, wanted, sorter=order), self.n - 1)
        return (
            np.where(self.numbers[order[place]] == wanted, order[place], -1)
            if self.n
            else np.full(len(wanted), -1)
        )

    def _sorted(self) -> "SortedRuns":
        if self._runs is None:
            self._runs = SortedRuns([np.sort(self.numbers)])
        return self._runs

    def _lookup(self) -> dict[str, int]:
        if self._places is None:
            self._places = dict(zip(self.values.tolist(), range(self.n), strict=True))
        return self._places


class GrowingArray:
    """Memory with room behind an array, for values that are added to it; what was given out stays as it is.

    Args:
        values: how it begins; they are never written to.

    Examples:
        >>> import numpy as np
        >>> longer, room = GrowingArray(np.array([7, 3])).extended(2, np.array([5]))
        >>> once, room = room.extended(3, np.array([1]))
        >>> other, _ = room.extended(3, np.array([2]))
        >>> longer.tolist(), once.tolist(), other.tolist()
        ([7, 3, 5], [7, 3, 5, 1], [7, 3, 5, 2])
    """

    def __init__(self, values: np.ndarray, used: int | None = None) -> None:
        self._data, self._used = values, len(values) if used is None else used

    def extended(self, used: int, more: np.ndarray) -> tuple[np.ndarray, "GrowingArray"]:
        """The first `used` values followed by `more`, and the memory they lie in: this where it has free room."""
        end = used + len(more)
        # what lies behind may be in use already, be too little, or be a file
        if used != self._used or end > len(self._data) or not self._data.flags.writeable:
            data = np.empty(end + end // 2, self._data.dtype)
            data[:used] = self._data[:used]
            room = GrowingArray(data, used)
        else:
            room = self
        room._data[used:end] = more
        room._used = end
        return room._data[:end], room


class SortedRuns:
    """A growing set of whole numbers, as a few sorted arrays, each more than twice as long as the next.

    Args:
        runs: sorted arrays, int64.

    Examples:
        >>> import numpy as np
        >>> runs = SortedRuns([np.array([3, 7, 9])]).extended(np.array([5]))
        >>> runs.holds(np.array([7, 5, 4])).tolist()
        [True, True, False]
    """

    def __init__(self, runs: list[np.ndarray]) -> None:
        self.runs = runs

    @property
    def greatest(self) -> int:
        """The greatest number; -1 where there is none above it."""
        return max([-1, *(int(run[-1]) for run in self.runs if len(run))])

    def holds(self, numbers: np.ndarray) -> np.ndarray:
        """Which of `numbers` int64 [m] are in the set, bool [m]."""
        held = np.zeros(len(numbers), dtype=bool)
        for run in self.runs:
            if len(run):
                held |= run[np.minimum(np.searchsorted(run, numbers), len(run) - 1)] == numbers
        return held

    def extended(self, numbers: np.ndarray) -> "SortedRuns":
        """The set with `numbers` int64 [m], none of which is in it."""
        runs, last = self.runs.copy(), np.sort(numbers)
        while runs and len(runs[-1]) <= 2 * len(last):
            # sorting two sorted arrays that follow each other is merging them
            last = np.sort(np.concatenate([runs.pop(), last]), kind="stable")
        return SortedRuns([*runs, last])


def as_ids(ids: IdsLike, name: str = "ids") -> np.ndarray:
    """Ids, or labels of another name, as an array, which may still be of a type that they cannot have.

    Raises:
        CodesError: for a list of text and numbers, of which NumPy would make text.

    Examples:
        >>> as_ids(["chair", "lamp"]).tolist()
        ['chair', 'lamp']
        >>> as_ids(["chair", 7])
        Traceback (most recent call last):
            ...
        cmah.errors.CodesError: ids are text and int, expected whole numbers or text
    """
    array = np.asarray(ids)
    if array.dtype.kind == "U" and not isinstance(ids, np.ndarray):
        for value in ids:
            if isinstance(value, str) and value.endswith("\0"):
                raise CodesError(f"{name}: {value!r} ends in a NUL, which NumPy would drop")
            if not isinstance(value, str):
                raise CodesError(
                    f"{name} are text and {type(value).__name__}, expected whole numbers or text"
                )
    return array


def _refuse_duplicates(duplicates: np.ndarray) -> None:
    if len(duplicates):
        raise CodesError(f"duplicate id {duplicates[0]!s}; the ids of an index must be unique")
