"""Which splits are measured, by default and on demand; what is refused."""

import numpy as np
import pytest

from cmah.errors import CodesError
from cmah.evaluation.split_choice import as_splits, choose_splits, rows_of, splits_in_words

FULL = {"train": 38, "val": 4, "test": 4}


@pytest.mark.parametrize(
    ("query", "database", "chosen"),
    [
        (FULL, FULL, ("test",)),
        ({"train": 9, "val": 1}, FULL, ("val",)),
        ({"train": 9, "": 5}, FULL, ("test",)),  # queries that belong to every split: the items decide
        ({"": 5}, FULL, ("test",)),
        ({}, FULL, ("test",)),
        ({}, {"train": 3, "val": 1}, ("val",)),
        ({"train": 9, "": 5}, {}, ("",)),
        ({"": 5, "train": 2}, {"": 9}, ("",)),
        ({}, {"train": 3, "": 1}, ("",)),
        ({"photos": 3, "train": 2}, FULL, ("photos",)),
        ({}, {"photos": 3, "train": 2}, ("photos",)),
        ({"test": 2, "": 3}, {"": 4}, ("test",)),
        ({"Train": 5, "Held": 2}, {}, ("Held",)),
        ({}, {}, None),
    ],
)
def test_the_default(query, database, chosen):
    assert choose_splits(query, database) == chosen


@pytest.mark.parametrize(
    ("query", "database", "asked", "message"),
    [
        ({"train": 9}, {"train": 8}, (), "q: 9 train, nothing but what was trained on; --splits train .* --splits all"),
        ({"": 9}, {"train": 8}, (), "d: 8 train, nothing but what was trained on"),
        ({"a": 1, "b": 2}, {"a": 1}, (), "q: 1 a, 2 b: say which to measure, such as --splits a, or --splits all"),
        (FULL, {"x": 1, "": 3}, ("tset",), r"no row is of split 'tset' \(q: 38 train, 4 val, 4 test; d: 1 x, 3 wi"),
        ({"TRAIN": 9}, {"Training": 8}, (), "q: 9 TRAIN, nothing but what was trained on"),
        ({"test": 9}, {"Test": 8}, (), "q and d: splits 'Test', 'test' differ by case alone"),
        ({"test": 9}, {"Test": 8}, ("test",), "q and d: splits 'Test', 'test' differ by case alone"),
        (FULL, {}, ("a",), "d: names no splits"),
    ],
)  # fmt: skip
def test_what_cannot_be_chosen(query, database, asked, message):
    with pytest.raises(CodesError, match=message):
        choose_splits(query, database, asked, ("q", "d"))


def test_what_is_asked_for():
    assert choose_splits(FULL, FULL, ("all",)) == ("all",)
    assert choose_splits({}, {}, ("all",)) is None
    assert choose_splits({"test": 9}, {"Test": 8}, ("all",)) == ("all",)
    assert choose_splits({}, {}, ("test",)) is None  # files without splits are whole
    assert choose_splits(FULL, {"x": 1}, ("val", "x")) == ("val", "x")
    assert choose_splits({"train": 1}, {}, ("train",)) == ("train",)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["train", "test"], "do not mix"),
        (["Training", "test"], "do not mix"),
        (["all", "test"], "all stands for every split"),
        ([""], "^splits are '', expected names"),
        (3, "splits are 3, expected names"),
        (["test", 3], "expected names"),
        ([], None),
        ([" test", "test"], None),
    ],
)
def test_names(splits, message):
    if message is None:
        assert as_splits(splits) == tuple(dict.fromkeys(name.strip() for name in splits))
        return
    with pytest.raises(CodesError, match=message):
        as_splits(splits)


def test_rows_as_a_plain_loop():
    splits = np.array(["train", "", "test", "val", "x"])
    for chosen in (None, ("all",), ("",), ("test",), ("val", "x")):
        expected = [chosen in (None, ("all",)) or s == "" or s in chosen for s in splits.tolist()]
        assert rows_of(splits, chosen, 5).tolist() == expected
    assert rows_of(None, ("test",), 3).all()
    assert splits_in_words(("all",)) == "all splits"
