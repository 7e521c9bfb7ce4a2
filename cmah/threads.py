"""How many cores there are, and running tasks on a pool of threads."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from cmah.checks import as_int
from cmah.errors import CodesError
from cmah.progress import progress

T = TypeVar("T")
MAX_THREADS = 1024  # more than any machine has cores


def available_cores() -> int:
    """The number of cores that this process may use, which can be fewer than the machine has.

    Examples:
        >>> from unittest.mock import patch
        >>> with patch("os.sched_getaffinity", return_value={0, 1}, create=True):  # as under taskset -c 0,1
        ...     available_cores()
        2
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count(threads: int | None) -> int:
    """The number of threads to use: `threads`, or one per available core for None.

    Raises:
        CodesError: if `threads` is not a whole number, is below 1 or above `MAX_THREADS`.

    Examples:
        >>> thread_count(4)
        4
        >>> thread_count(0)
        Traceback (most recent call last):
        cmah.errors.CodesError: threads is 0, expected 1 or more
    """
    if threads is None:
        return available_cores()
    if as_int(threads, "threads") < 1:
        raise CodesError(f"threads is {threads}, expected 1 or more")
    if threads > MAX_THREADS:
        raise CodesError(f"threads is {threads}, expected at most {MAX_THREADS}")
    return int(threads)


def in_threads(tasks: Sequence[Callable[[], T]], threads: int, label: str = "") -> list[T]:
    """Run tasks on `threads` threads and return their results in order.

    Only tasks that release the interpreter's lock, as compiled kernels do, gain from it.

    Args:
        tasks: functions without arguments.
        threads: at least 1.
        label: of the progress bar; none without it.

    Examples:
        >>> in_threads([lambda: sum(range(5)), lambda: 3 * 3], threads=2)
        [10, 9]
    """
    if threads == 1 or len(tasks) < 2:
        results: Iterator[T] = (task() for task in tasks)
    else:
        results = _pool(threads, os.getpid()).map(lambda task: task(), tasks)
    return list(progress(results, label, len(tasks)) if label else results)


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """The thread pool of a process; a forked child inherits no threads and makes its own pool."""
    return ThreadPoolExecutor(threads, thread_name_prefix="cmah")
