"""Settings check their fields by type: words, ranges, and what the message says."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from cmah.errors import ConfigError
from cmah.settings import Count, ProperShare, Range, Settings, Share


@dataclass(frozen=True)
class Example(Settings):
    table = "example"

    word: Literal["", "one", "two"] = ""
    count: Count = 1
    share: Share = 0.5
    part: ProperShare = 0.5
    angle: Annotated[float, Range(-90, 90)] = 0.0
    free: float = 0.0


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"word": "two"},
        {"count": 1},
        {"count": 10**9},
        {"share": 0},
        {"share": 1.0},
        {"part": 0.999},
        {"angle": -90},
        {"free": 1e300},
    ],
)
def test_what_a_field_takes(values):
    for name, value in values.items():
        assert getattr(Example(**values), name) == value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"word": "three"}, "example.word = 'three': expected \"\", one or two"),
        ({"count": 0}, "example.count = 0: expected at least 1"),
        ({"count": 2.5}, "example.count = 2.5: expected a whole number, at least 1"),
        ({"count": True}, "example.count = True: expected a whole number, at least 1"),
        ({"share": 1.5}, "example.share = 1.5: expected a number from 0 to 1"),
        ({"share": math.nan}, "example.share = nan: expected a number from 0 to 1"),
        ({"part": 1}, "example.part = 1: expected a number from 0 up to 1"),
        ({"angle": "steep"}, "example.angle = 'steep': expected a number from -90 to 90"),
        ({"count": 0, "share": 2.0}, "example.count = 0: expected at least 1"),  # the first field
    ],
)
def test_what_it_refuses(values, message):
    with pytest.raises(ConfigError) as caught:
        Example(**values)
    assert str(caught.value) == message


def test_a_class_without_a_table_names_the_key_alone():
    @dataclass(frozen=True)
    class Bare(Settings):
        share: Share = 2.0

    with pytest.raises(ConfigError, match=r"^share = 2\.0: "):
        Bare()
