"""The sections of an index file: there and back, and beside the bytes of docs/index-format.md."""

import numpy as np
import pytest
from plain_index import bytes_of_texts, removed_in, shapes_in, texts_in

from cmah.errors import CodesError
from cmah.search.ids import NUMBERS, POSITIONS, TEXTS, Ids
from cmah.search.index_sections import (
    bytes_of_ids,
    bytes_of_removed,
    bytes_of_shapes,
    joined_ids,
    joined_shapes,
    read_ids,
    read_removed,
    read_shapes,
)
from cmah.search.item_shapes import ItemShapes


def joined(parts):
    return np.concatenate([np.empty(0, np.uint8), *parts])


@pytest.mark.parametrize(
    "positions", [[0], [7], [8], [9, 10, 17], [0, 1000], [63, 64, 65], list(range(5, 300, 3)), [1 << 40]]
)
def test_removed_codes_there_and_back(positions):
    section = joined(bytes_of_removed(np.array(positions)))
    assert removed_in(section.tobytes()) == set(positions)
    assert read_removed(section, positions[-1] + 1).tolist() == positions
    assert len(section) <= 8 + (positions[-1] - positions[0]) // 8 + 2
    with pytest.raises(CodesError, match="removed codes"):
        read_removed(section, positions[-1])


def test_none_removed():
    assert bytes_of_removed(np.empty(0, np.int64)) == []
    assert read_removed(np.empty(0, np.uint8), 5).tolist() == []


@pytest.mark.parametrize("labels", [["a"], ["", "b", "b"], ["größe", "a", "", "größe"], ["x"] * 7])
def test_shapes_there_and_back(labels):
    section = joined(bytes_of_shapes(ItemShapes.of(labels)))
    assert shapes_in(section.tobytes(), len(labels)) == labels
    assert read_shapes(section, len(labels)).values.tolist() == labels


def test_shapes_from_a_position_on_name_no_others():
    shapes = ItemShapes.of(["gone", "a", "", "b"]).kept(np.array([False, True, True, True]))
    section = joined(bytes_of_shapes(shapes, first=1)).tobytes()
    assert shapes_in(section, 2) == ["", "b"]
    assert b"gone" not in section
    assert bytes_of_shapes(shapes, first=3) == bytes_of_shapes(None) == []
    assert joined(bytes_of_shapes(ItemShapes.of(["", ""]))).size == 0


def test_joined_shapes():
    parts = [ItemShapes.of(["a", "b"]), None, ItemShapes.of(["", "b", "c"]), None]
    together = joined_shapes(parts, [2, 3, 3, 0])
    assert together.values.tolist() == ["a", "b", "", "", "", "", "b", "c"]
    assert joined_shapes([None, None], [2, 1]) is None
    with pytest.raises(CodesError, match="duplicate"):
        joined_shapes([None, ItemShapes(Ids(2, TEXTS, *two_equal()), np.array([0, 1], np.uint32))], [1, 2])


def two_equal():
    return np.array([0, 1, 2], np.uint64), np.frombuffer(b"aa", np.uint8)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([None, 2, None, 1], [0, 1, 2]),
        ([None, 2, [9, -4], None, 1], [0, 1, 9, -4, 4]),
        ([[5], None, 3], [5, 1, 2, 3]),
        ([["a", "größe"], [""], ["b"]], ["a", "größe", "", "b"]),
        ([[3], [1 << 60]], [3, 1 << 60]),
    ],
)
def test_joined_ids(parts, expected):
    """None and a number stand for so many positions."""
    ids, kinds, n = [], [], 0
    given = iter(parts)
    for part in given:
        made = Ids(next(given)) if part is None else Ids.of(np.array(part))
        section = joined(bytes_of_ids(made))
        if made.kind == TEXTS:
            assert section.tobytes() == bytes_of_texts(part)
            assert texts_in(section.tobytes(), len(part)) == part
        ids.append(read_ids(section, made.kind, len(made), n))
        kinds.append(made.kind)
        n += len(made)
    together = joined_ids(ids, kinds)
    assert together.values.tolist() == expected
    assert together.kind == (POSITIONS if set(kinds) == {POSITIONS} else max(kinds))
    more = together.extended(None if together.kind != TEXTS else np.array(["more"]), 1)
    assert len(more) == n + 1


def test_text_beside_numbers():
    ids = [Ids.of(np.array(["a"])), Ids.of(np.array([1]))]
    for order in (1, -1):
        with pytest.raises(CodesError, match="some ids are text and some numbers"):
            joined_ids(ids[::order], [TEXTS, NUMBERS][::order])
