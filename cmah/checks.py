"""Checks of arguments that several packages make."""

import operator
from collections.abc import Iterable

from cmah.errors import CmahError, CodesError

LONGEST = 60  # characters of a text that a message repeats


def shown(value: object) -> str:
    """A value as a message names it: texts, numbers and lists of them as they are written, all else by what it is.

    Examples:
        >>> import numpy as np
        >>> shown("itq"), shown(np.float64(2.5)), shown((16, 32)), shown(None)
        ("'itq'", '2.5', '16, 32', 'None')
        >>> shown(np.eye(3)), shown({}), shown(Exception("no"))
        ('an array float64 [3, 3]', 'a table', 'an object of type Exception')
    """
    shape = getattr(value, "shape", None)
    if shape == () and hasattr(value, "item"):  # a number of NumPy or torch
        value = value.item()
    if isinstance(value, str):
        return repr(value if len(value) <= LONGEST else value[:LONGEST] + "…")
    if value is None or isinstance(value, int | float):
        large = isinstance(value, int) and abs(value) >= 10**LONGEST
        return f"a number of more than {LONGEST} digits" if large else str(value)
    if isinstance(value, list | tuple) and all(isinstance(each, str | int | float) for each in value):
        more = f" and {len(value) - 8} more" if len(value) > 8 else ""
        return (", ".join(map(shown, value[:8])) or f"an empty {type(value).__name__}") + more
    if isinstance(shape, tuple) and hasattr(value, "dtype"):
        return f"an array {value.dtype} {list(shape)}"
    known: dict[type, str] = {list: "a list", tuple: "a tuple", dict: "a table"}
    return known.get(type(value), f"an object of type {type(value).__name__}")


def check_up(up: object) -> None:
    """Refuse what is no up axis of meshes and point clouds.

    Raises:
        CmahError: unless it is "y" or "z".

    Examples:
        >>> check_up("z")
        >>> check_up("x")
        Traceback (most recent call last):
        cmah.errors.CmahError: up is 'x', expected 'y' or 'z'
    """
    if not (isinstance(up, str) and up in ("y", "z")):
        raise CmahError(f"up is {shown(up)}, expected 'y' or 'z'")


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
        raise error(f"{name} is {shown(value)}, expected a whole number")
    if isinstance(value, list | tuple):
        raise error(f"{name} is a {type(value).__name__}, expected a whole number")
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise error(f"{name} is {shown(value)}, expected a whole number") from None


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
