"""What the sections of an index file hold, between bytes and objects; see docs/index-format.md."""

from collections.abc import Sequence

import numpy as np

from cmah.errors import CodesError
from cmah.search.ids import NUMBERS, POSITIONS, TEXTS, Ids
from cmah.search.item_shapes import ALONE, ItemShapes


def bytes_of_ids(ids: Ids) -> list[np.ndarray]:
    """The section of ids in parts, uint8.

    Examples:
        >>> [part.tolist() for part in bytes_of_ids(Ids.of(np.array([7])))], bytes_of_ids(Ids(3))
        ([[7, 0, 0, 0, 0, 0, 0, 0]], [])
    """
    arrays = (ids.numbers, ids.text) if ids.kind != POSITIONS else ()
    return [np.ascontiguousarray(array).view(np.uint8) for array in arrays if len(array)]


def read_ids(part: np.ndarray, kind: int, n: int, first: int = 0) -> Ids:
    """The ids of a section.

    Args:
        part: its bytes, uint8.
        kind: as in `cmah.search.ids`.
        n: how many codes have theirs in it.
        first: position of the first of these; ids that are positions begin with it.

    Raises:
        CodesError: for bytes that are no such ids.

    Examples:
        >>> read_ids(np.array([7, 3]).view(np.uint8), NUMBERS, n=2).values.tolist()
        [7, 3]
        >>> read_ids(np.empty(0, np.uint8), POSITIONS, n=2, first=512).values.tolist()
        [512, 513]
    """
    if kind == POSITIONS:
        if len(part):
            raise CodesError(f"{len(part)} bytes of ids, expected none")
        return Ids(n) if not first else Ids(n, NUMBERS, first + np.arange(n))
    if kind == NUMBERS:
        if len(part) != 8 * n:
            raise CodesError(f"{len(part)} bytes of ids, expected {8 * n}")
        return Ids(n, NUMBERS, part.view("<i8"))
    return _read_texts(part, n, "ids")


def joined_ids(parts: Sequence[Ids], kinds: Sequence[int]) -> Ids:
    """The ids of successive segments as one.

    Args:
        parts: of the segments, each from its own position on.
        kinds: of these as their headers say it.

    Raises:
        CodesError: for text beside numbers.

    Examples:
        >>> joined_ids([Ids(2), Ids.of(np.array([9]))], [POSITIONS, NUMBERS]).values.tolist()
        [0, 1, 9]
    """
    if len(parts) == 1:
        return parts[0]
    if all(kind == POSITIONS for kind in kinds):
        return Ids(sum(len(part) for part in parts))
    if any(kind == TEXTS for kind in kinds):
        if not all(kind == TEXTS for kind in kinds):
            raise CodesError("some ids are text and some numbers")
        shifts = np.cumsum([0, *(len(part.text) for part in parts)], dtype=np.uint64)
        ends = [part.numbers[1:] + shift for part, shift in zip(parts, shifts, strict=False)]
        numbers = np.concatenate([np.zeros(1, np.uint64), *ends])
        return Ids(len(numbers) - 1, TEXTS, numbers, np.concatenate([part.text for part in parts]))
    rows = [part.values for part in parts]  # positions among them become the numbers that they are
    numbers = np.concatenate(rows)
    return Ids(len(numbers), NUMBERS, numbers)


def bytes_of_shapes(shapes: ItemShapes | None, first: int = 0) -> list[np.ndarray]:
    """The section of shapes of the items from position `first` on; none where none of them shows a shape.

    Examples:
        >>> [len(part) for part in bytes_of_shapes(ItemShapes.of(["chair", "", "chair"]))]
        [8, 16, 16, 5]
        >>> bytes_of_shapes(ItemShapes.of(["chair", "", ""]), first=1)
        []
    """
    numbers = np.empty(0, np.uint32) if shapes is None else shapes.numbers[first:]
    used = np.unique(numbers[numbers != ALONE]).astype(np.int64)
    if shapes is None or not len(used):
        return []
    names = Ids.of(shapes.names.take(used))
    own = np.full(-(-len(numbers) // 2) * 2, ALONE, np.uint32)  # up to a multiple of 8 bytes
    named = numbers != ALONE
    own[: len(numbers)][named] = np.searchsorted(used, numbers[named])
    return [
        np.array([len(used)], "<u8").view(np.uint8),
        own.astype("<u4").view(np.uint8),
        *bytes_of_ids(names),
    ]


def read_shapes(part: np.ndarray, n: int) -> ItemShapes | None:
    """The shapes of a section for n codes; None for an empty one.

    Raises:
        CodesError: for bytes that are no such shapes.

    Examples:
        >>> section = np.concatenate(bytes_of_shapes(ItemShapes.of(["chair", "", "chair"])))
        >>> read_shapes(section, n=3).values.tolist()
        ['chair', '', 'chair']
    """
    if not len(part):
        return None
    size = 4 * (-(-n // 2) * 2)
    if len(part) < 8 + size:
        raise CodesError(f"{len(part)} bytes of shapes, expected at least {8 + size}")
    names = int(part[:8].view("<u8")[0])
    numbers = part[8 : 8 + size].view("<u4")
    wrong = (numbers[:n] >= names) & (numbers[:n] != ALONE)
    if wrong.any() or (numbers[n:] != ALONE).any() or names > n:
        raise CodesError("the numbers of shapes do not fit into their section")
    texts = _read_texts(part[8 + size :], names, "shape ids")
    if (texts.numbers[1:] == texts.numbers[:-1]).any():
        raise CodesError("a shape id is empty")
    return ItemShapes(texts, numbers[:n])


def joined_shapes(parts: Sequence[ItemShapes | None], counts: Sequence[int]) -> ItemShapes | None:
    """The shapes of successive segments, of so many items each, as one; None where none shows a shape.

    Examples:
        >>> joined_shapes([None, ItemShapes.of(["chair"])], [2, 1]).values.tolist()
        ['', '', 'chair']
    """
    if all(part is None for part in parts):
        return None
    if len(parts) == 1:
        return parts[0]
    joined = ItemShapes.of([])
    for part, count in zip(parts, counts, strict=True):
        joined = joined.extended(None, count) if part is None else joined.followed_by(part)
    return joined


def bytes_of_removed(positions: np.ndarray) -> list[np.ndarray]:
    """The section that says that the codes at these positions, int64 [m] in ascending order, are removed.

    Examples:
        >>> [part.tolist() for part in bytes_of_removed(np.array([9, 10, 17]))]
        [[8, 0, 0, 0, 0, 0, 0, 0], [6, 2]]
    """
    if not len(positions):
        return []
    first = int(positions[0]) // 8 * 8
    bits = np.zeros(int(positions[-1]) - first + 1, dtype=bool)
    bits[positions - first] = True
    return [np.array([first], "<u8").view(np.uint8), np.packbits(bits, bitorder="little")]


def read_removed(part: np.ndarray, n: int) -> np.ndarray:
    """The positions that a section says are removed, int64 in ascending order.

    Raises:
        CodesError: for positions that are not among the first n.

    Examples:
        >>> read_removed(np.array([8, 0, 0, 0, 0, 0, 0, 0, 6, 2], np.uint8), n=18).tolist()
        [9, 10, 17]
    """
    if not len(part):
        return np.empty(0, np.int64)
    if len(part) < 9:
        raise CodesError(f"{len(part)} bytes of removed codes, expected 0 or at least 9")
    first = int(part[:8].view("<u8")[0])
    if first % 8 or first + 8 * (len(part) - 9) >= n:
        raise CodesError(
            f"removed codes from position {first} on, expected less than {n} and a multiple of 8"
        )
    positions = first + np.flatnonzero(np.unpackbits(part[8:], bitorder="little"))
    if not len(positions) or positions[-1] >= n:
        raise CodesError("the removed codes do not fit into their section")
    return positions


def _read_texts(part: np.ndarray, n: int, what: str) -> Ids:
    begin = 8 * (n + 1)
    ends = part[:begin].view("<u8") if len(part) >= begin else np.empty(0, dtype="<u8")
    text = part[begin:]
    steps_back = ends.size and (ends[1:] < ends[:-1]).any()
    if not ends.size or ends[0] != 0 or ends[-1] != len(text) or steps_back:
        raise CodesError(f"the {what} do not fit into their section")
    text.tobytes().decode()
    inside = ends[ends < len(text)]
    if ((text[inside] & 0xC0) == 0x80).any():  # a text begins in the middle of a character
        raise CodesError(f"the {what} are not UTF-8")
    return Ids(n, TEXTS, ends, text)
