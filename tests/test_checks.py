"""Whole numbers as arguments."""

import numpy as np
import pytest

from cmah.checks import as_int
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
