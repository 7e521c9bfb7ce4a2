"""Configuration: strict keys, types, order of precedence."""

from dataclasses import dataclass, field

import pytest

from cmah.config.parsing import build, merge, parse_assignments
from cmah.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    on: bool = True


@dataclass(frozen=True)
class Outer:
    name: str = "x"
    sizes: tuple[int, ...] = (1, 2)
    inner: Inner = field(default_factory=Inner)


def test_build_reads_strings_by_the_type_of_the_field():
    values = parse_assignments(["name=y", "sizes=16,32,64", "inner.rate=1e-4", "inner.on=no"])
    assert build(Outer, values) == Outer("y", (16, 32, 64), Inner(1e-4, False))
    assert build(Outer, {"sizes": 8}).sizes == (8,)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("inner.rat=1", "inner.rate"),
        ("inner.rate=fast", "expected a number"),
        ("sizes=1.5", "expected a whole number"),
        ("inner.on=maybe", "expected true or false"),
        ("inner=3", "expected a table"),
        ("inner.rate=-1", "expected a number from 0"),
        ("inner.rate=nan", "expected a number from 0"),
        ("inner.rate=inf", "expected a number from 0"),
        ("sizes=99999999999999", "expected at most"),
    ],
)
def test_faults_name_the_setting(assignment, message):
    with pytest.raises(ConfigError, match=message):
        build(Outer, parse_assignments([assignment]))


def test_assignment_without_equals():
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        parse_assignments(["training.lr"])


def test_merge_is_deep():
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}, "d": 4}) == {"a": {"b": 1, "c": 3}, "d": 4}


@pytest.mark.parametrize("settings", ["training.lr=1e-4", ["training.lr=1e-4", 3]])
def test_settings_that_are_no_list_of_texts(settings):
    with pytest.raises(ConfigError, match="expected a list such as"):
        parse_assignments(settings)
