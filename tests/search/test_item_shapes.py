"""The shapes of an index's items, beside plain lists of them."""

import random

import numpy as np
import pytest

from cmah.errors import CodesError
from cmah.search.grouping import Groups
from cmah.search.item_shapes import ALONE, ItemShapes


def test_random_changes_beside_a_list():
    rng = random.Random(0)
    shapes, items = ItemShapes.of([]), []
    for _ in range(60):
        labels = [
            rng.choice(("", "chair", "Stühle/β", f"own {rng.randrange(30)}")) for _ in range(rng.randrange(9))
        ]
        what = rng.randrange(4)
        if what == 0:
            shapes, items = shapes.extended(None, 3), items + [""] * 3
        elif what == 1:
            shapes, items = shapes.followed_by(ItemShapes.of(labels)), items + labels
        elif what == 2:
            keep = np.array([rng.random() < 0.8 for _ in items], dtype=bool)
            shapes, items = shapes.kept(keep), [item for item, kept in zip(items, keep, strict=True) if kept]
        else:
            shapes, items = shapes.extended(labels, len(labels)), items + labels
        assert len(shapes) == len(items)
        assert shapes.values.tolist() == items
        assert shapes.groups().numbers.tolist() == Groups.of(items).numbers.tolist()
        assert len(set(shapes.names.values.tolist())) == len(shapes.names)
    assert len(items) > 20


def test_what_was_given_out_stays_as_it_is():
    """Two that go on from the same one share its memory as long as that is free."""
    first = ItemShapes.of(["chair", "lamp"]).extended(["chair"], 1)
    one = first.extended(["sofa"], 1)
    other = first.extended(["bed", ""], 2)
    assert first.values.tolist() == ["chair", "lamp", "chair"]
    assert one.values.tolist() == ["chair", "lamp", "chair", "sofa"]
    assert other.values.tolist() == ["chair", "lamp", "chair", "bed", ""]
    assert other.numbers[-1] == ALONE


def test_positions_of_any_shape():
    shapes = ItemShapes.of(["chair", "", "lamp"])
    assert shapes.take(np.array([[2, 0], [1, 1]])).tolist() == [["lamp", "chair"], ["", ""]]
    assert shapes.take(np.empty((0, 3), np.int64)).shape == (0, 3)
    assert ItemShapes.of([]).values.tolist() == []


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a"], r"shape ids have shape \[1\], expected \[2\], one for each code"),
        ([1, 2], "shape ids are int64, expected text"),
        (["a", 2], "shape ids are text and int"),
        (np.array([["a"], ["b"]]), r"shape ids have shape \[2, 1\]"),
        (["a", "\udc80"], "cannot be written as UTF-8"),
    ],
)
def test_labels_that_cannot_be(labels, message):
    shapes = ItemShapes.of(["chair"])
    with pytest.raises(CodesError, match=message):
        shapes.extended(labels, 2)
    assert shapes.values.tolist() == ["chair"]
    assert shapes.extended(["a", "b"], 2).values.tolist() == ["chair", "a", "b"]
