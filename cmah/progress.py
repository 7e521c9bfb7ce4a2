"""Progress bars on standard error, silent when it is not a terminal, and messages above them."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], label: str, total: int | None = None, unit: str = "") -> "tqdm[T]":
    """Wrap `items` in a progress bar.

    Args:
        items: what is iterated over.
        label: text before the bar.
        total: number of items; None: `len(items)`, if it has one.
        unit: what an item is called; "it" if empty.

    Returns:
        An iterable of the same items; its `set_postfix_str` shows a text after the bar.

    Examples:
        >>> [name.upper() for name in progress(["chair", "sofa"], "prepare", unit=" meshes")]
        ['CHAIR', 'SOFA']
    """
    return tqdm(
        items, desc=label, total=total, unit=unit or "it", disable=None, leave=False, dynamic_ncols=True
    )


def say(line: str) -> None:
    """Print a line on standard error, above any bar that is shown there.

    Examples:
        >>> from contextlib import redirect_stderr
        >>> with redirect_stderr(sys.stdout):
        ...     say("epoch 1: loss 2.31")
        epoch 1: loss 2.31
    """
    tqdm.write(line, file=sys.stderr)
