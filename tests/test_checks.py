"""Whole numbers as arguments, one or several."""

import numpy as np
import pytest

from cmah.checks import as_int, as_ints
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


def test_one_or_several():
    for values in ([3, 5], (3, 5), np.array([3, 5]), iter([3, 5])):
        assert as_ints(values, "k") == (3, 5)
    for value in (3, np.int8(3), np.array(3)):
        assert as_ints(value, "k") == (3,)
    for value in ("35", b"35", 3.0, None, [3, "5"], [[3]], {3.5}):
        with pytest.raises(CodesError, match=r"k is .*, expected a whole number"):
            as_ints(value, "k")
