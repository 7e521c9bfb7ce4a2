"""How far a long job is, on standard error: bars on a terminal, else lines with an estimate; and messages above them.

The lines come at widening intervals, so that a log of hours stays short and a job of seconds writes none.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, Generic, Self, TypeVar, cast

T = TypeVar("T")

# seconds after the start from which on lines come, and how many seconds lie between two of them
INTERVALS = ((10.0, 30.0), (300.0, 60.0), (3600.0, 300.0))


class Lines(Generic[T]):
    """What `progress` gives where standard error is no terminal: as much of a bar of tqdm as is used here.

    Attributes:
        n: how many items are done.

    Examples:
        A clock that goes on by 6 s whenever it is read, which is once an item:

        >>> from itertools import count
        >>> seconds = count(0, 6)
        >>> for _ in Lines(range(2000), "image features", clock=lambda: next(seconds), write=print):
        ...     if next(seconds) > 50:
        ...         break
        image features: 1 of 2,000, about 7 h left
        image features: 4 of 2,000, about 7 h left
    """

    def __init__(
        self,
        items: Iterable[T],
        label: str,
        total: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], Any] | None = None,
    ) -> None:
        """Start the clock.

        Args:
            items: what is iterated over.
            label: text before the numbers.
            total: number of items; None: `len(items)`, if it has one.
            clock: gives seconds.
            write: takes each line; None: `say`.
        """
        self.items, self.label, self.clock, self.write = items, label, clock, write or say
        self.total = len(items) if total is None and isinstance(items, Sized) else total
        self.n = 0
        self._postfix = ""
        self._start = clock()
        self._due = INTERVALS[0][0]
        self._since = (0.0, 0)  # seconds and items done at the last line, from which the speed is taken

    def __iter__(self) -> Iterator[T]:
        for item in self.items:
            yield item
            self.update()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, count: int = 1) -> None:
        """Count so many more items as done, and write a line if one is due.

        Args:
            count: at least 0.
        """
        self.n += count
        seconds = self.clock() - self._start
        if seconds < self._due or self.n == self.total:
            return
        interval = next(every for after, every in reversed(INTERVALS) if seconds >= after)
        self._due = seconds + interval
        self.write(f"{self.label}: {self._place(seconds)}{self._postfix}")
        self._since = seconds, self.n

    def skip(self, count: int) -> None:
        """Count items that were done before, which say nothing about the speed.

        Args:
            count: at least 0.
        """
        self.n += count
        self._since = self._since[0], self._since[1] + count

    def set_postfix_str(self, text: str) -> None:
        """Show a text after the numbers of the lines to come."""
        self._postfix = f" ({text})" if text else ""

    def clear(self) -> None:
        """Do nothing: there is no bar to hide while something else is printed."""

    def close(self) -> None:
        """Do nothing: there is no bar to clear."""

    def _place(self, seconds: float) -> str:
        """How many items of how many are done, and how long the others take."""
        if not self.total:
            return f"{self.n:,} so far"
        before, done = self._since
        text = f"{self.n:,} of {self.total:,}"
        if self.n <= done:
            return text
        return f"{text}, about {duration((seconds - before) / (self.n - done) * (self.total - self.n))} left"


def duration(seconds: float) -> str:
    """A number of seconds in words, rounded as an estimate should be.

    Examples:
        >>> [duration(seconds) for seconds in (3, 44, 95, 3000, 8000, 200_000)]
        ['5 s', '40 s', '2 min', '50 min', '2 h', '56 h']
    """
    if seconds < 55:
        return f"{5 * max(1, round(seconds / 5)) if seconds < 25 else 10 * round(seconds / 10)} s"
    if seconds < 90 * 60:
        return f"{max(1, round(seconds / 60))} min"
    return f"{round(seconds / 3600)} h"


def progress(items: Iterable[T], label: str, total: int | None = None, unit: str = "") -> Lines[T]:
    """Wrap `items` in a progress bar, or in lines with an estimate where standard error is no terminal.

    Args:
        items: what is iterated over.
        label: text before the bar.
        total: number of items; None: `len(items)`, if it has one.
        unit: what an item is called on a bar; "it" if empty.

    Returns:
        `Lines`, an iterable of the same items, or a bar of tqdm that is used alike: `set_postfix_str` shows a text
        after the numbers; where items are not iterated over, `update(n)` counts n more, `skip(n)` counts n that were
        done before, and `close()` ends it.

    Examples:
        >>> [name.upper() for name in progress(["chair", "sofa"], "prepare", unit=" meshes")]
        ['CHAIR', 'SOFA']
    """
    if not _on_terminal():
        return Lines(items, label, total)
    from tqdm import tqdm  # here, since a command that shows no bar should not wait for it

    class Bar(tqdm):  # type: ignore[misc]
        def skip(self, count: int) -> None:
            """Count items that were done before, which say nothing about the speed."""
            self.initial += count
            self.n += count
            self.last_print_n += count
            self.refresh()

    bar = Bar(items, desc=label, total=total, unit=unit or "it", leave=False, dynamic_ncols=True)
    return cast("Lines[T]", bar)


def say(line: str) -> None:
    """Print a line on standard error, above any bar that is shown there.

    Examples:
        >>> from contextlib import redirect_stderr
        >>> with redirect_stderr(sys.stdout):
        ...     say("epoch 1: loss 2.31")
        epoch 1: loss 2.31
    """
    if _on_terminal():
        from tqdm import tqdm

        tqdm.write(line, file=sys.stderr)
    elif sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)


def _on_terminal() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()
