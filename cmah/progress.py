"""Progress bars on standard error, silent when it is not a terminal, and lines beside them."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], label: str, total: int | None = None, unit: str = "") -> "tqdm[T]":
    """Wrap `items` in a progress bar; use `.set_postfix_str` on the result to show a number beside it."""
    return tqdm(
        items, desc=label, total=total, unit=unit or "it", disable=None, leave=False, dynamic_ncols=True
    )


def say(line: str) -> None:
    """Print a line on standard error, above any bar that is shown there."""
    tqdm.write(line, file=sys.stderr)
