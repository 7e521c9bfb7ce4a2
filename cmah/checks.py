"""Checks of arguments that several packages make."""

import operator
from collections.abc import Iterable

from cmah.errors import CmahError, CodesError


def as_int(value: object, name: str, error: type[CmahError] = CodesError) -> int:
    """`value` as an int, however large.

    Args:
        value: an int, a NumPy integer or an array of one.
        name: what the message calls it.
        error: class of the error.

    Raises:
        CmahError: of class `error`, unless it is a single whole number; True and 2.0 are none.

    Examples:
        >>> as_int(7, "k")
        7
        >>> as_int(2.5, "k")
        Traceback (most recent call last):
        cmah.errors.CodesError: k is 2.5, expected a whole number
    """
    if isinstance(value, bool):
        raise error(f"{name} is {value!r}, expected a whole number")
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise error(f"{name} is {value!r}, expected a whole number") from None


def as_ints(values: object, name: str, error: type[CmahError] = CodesError) -> tuple[int, ...]:
    """One whole number, or several, as a tuple of ints.

    Args:
        values: a whole number as `as_int` takes it, or a sequence or array of such.
        name: what the message calls it.
        error: class of the error.

    Raises:
        CmahError: of class `error`, for anything else.

    Examples:
        >>> as_ints(10, "k"), as_ints([1, 10], "k")
        ((10,), (1, 10))
        >>> as_ints("10", "k")
        Traceback (most recent call last):
        cmah.errors.CodesError: k is '10', expected a whole number
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        return (as_int(values, name, error),)
    try:
        return tuple(as_int(value, name, error) for value in values)
    except TypeError:  # an array of no dimensions
        return (as_int(values, name, error),)
