"""Whole numbers as arguments, one or several, and values in messages."""

import numpy as np
import pytest

from cmah.checks import as_int, as_ints, shown
from cmah.errors import CodesError, ConfigError


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3)])
def test_whole_numbers(value):
    assert type(as_int(value, "k")) is int
    assert as_int(value, "k") == 3
    assert as_int(10**30, "k") == 10**30


@pytest.mark.parametrize("value", [3.0, True, "3", None, [3], np.array([3]), np.float32(3), float("nan")])
def test_what_is_none(value):
    with pytest.raises(CodesError, match=r"k is .*, expected a whole number"):
        as_int(value, "k")
    with pytest.raises(ConfigError):
        as_int(value, "k", ConfigError)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x" * 100, f"'{'x' * 60}…'"),
        (10**400, "a number of more than 60 digits"),
        (np.float64(2.5), "2.5"),
        (np.array(7), "7"),
        ((16, np.float64(0.5)), "16, 0.5"),
        (list(range(10)), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"),
        ([], "an empty list"),
        ([{"a": 1}], "a list"),
        ({"a": 1}, "a table"),
        (np.zeros((2, 3)), "an array float64 [2, 3]"),
        (CodesError("x"), "an object of type CodesError"),
    ],
)
def test_messages_dump_no_objects(value, text):
    assert shown(value) == text


def test_one_or_several():
    for values in ([3, 5], (3, 5), np.array([3, 5]), iter([3, 5])):
        assert as_ints(values, "k") == (3, 5)
    for value in (3, np.int8(3), np.array(3)):
        assert as_ints(value, "k") == (3,)
    for value in ("35", b"35", 3.0, None, [3, "5"], [[3]], {3.5}):
        with pytest.raises(CodesError, match=r"k is .*, expected a whole number"):
            as_ints(value, "k")
