"""Settings: frozen dataclasses whose fields say by their types which values they take."""

import math
import typing
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from cmah.checks import shown
from cmah.errors import ConfigError


@dataclass(frozen=True)
class Range:
    """The numbers that a field takes, as `Annotated[float, Range(0, 1)]`.

    Attributes:
        low: the smallest one.
        high: the largest one.
        open: leave out `high` itself.

    Examples:
        >>> 1 in Range(0, 1), 1 in Range(0, 1, open=True)
        (True, False)
        >>> print(Range(0, 1, open=True))
        a number from 0 up to 1
    """

    low: float = 0.0
    high: float = math.inf
    open: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float):
            return False
        return self.low <= value < self.high if self.open else self.low <= value <= self.high

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"at least {self.low:g}"
        return f"a number from {self.low:g} {'up to' if self.open else 'to'} {self.high:g}"


Share = Annotated[float, Range(0, 1)]  # 0 and 1 included
ProperShare = Annotated[float, Range(0, 1, open=True)]  # less than 1
Count = Annotated[int, Range(1)]  # at least one


class Settings:
    """Base of dataclasses of settings; when one is made, each value is checked against its range or words.

    `Literal["a", "b"]` takes one of these words, `Annotated[int, Range(1)]` the numbers of the range.

    Attributes:
        table: what stands before a key in messages, such as "training".

    Raises:
        ConfigError: naming the first key whose value its field does not take, and what was expected.

    Examples:
        >>> @dataclass(frozen=True)
        ... class Loss(Settings):
        ...     table = "loss"
        ...     weight: Share = 1.0
        >>> Loss(weight=2.0)
        Traceback (most recent call last):
        cmah.errors.ConfigError: loss.weight = 2.0: expected a number from 0 to 1
    """

    table: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, (kind, expected) in _expected(type(self)).items():
            value = getattr(self, name)
            whole = kind is not int or (isinstance(value, int) and not isinstance(value, bool))
            if value not in expected or not whole:
                words = str(expected) if isinstance(expected, Range) else _alternatives(expected)
                words = words if whole else f"a whole number, {words}"
                key = f"{self.table}.{name}" if self.table else name
                raise ConfigError(f"{key} = {shown(value)}: expected {words}")


def _expected(settings: type[Settings]) -> dict[str, tuple[Any, Any]]:
    """The type, and the range or the words, that each checked field of a class takes, by its name."""
    expected: dict[str, tuple[Any, Range | tuple[str, ...]]] = {}
    for name, hint in typing.get_type_hints(settings, include_extras=True).items():
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is Literal:
            expected[name] = (str, arguments)
        elif origin is Annotated:
            range_ = next(extra for extra in arguments[1:] if isinstance(extra, Range))
            expected[name] = (arguments[0], range_)
    return expected


def _alternatives(words: tuple[str, ...]) -> str:
    """Words as "a, b or c", the empty one in quotes."""
    *first, last = [word or '""' for word in words]
    return f"{', '.join(first)} or {last}" if first else last
