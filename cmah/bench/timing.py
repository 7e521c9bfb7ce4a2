"""Taking times, interleaved, so that background load affects all engines equally."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from cmah.bench.peers import Answer, Search

ROUNDS = 7  # in each round every engine has one turn
TURN = 0.02  # seconds per turn; a faster engine is called repeatedly
CALLS = 64  # at most, in a turn
SECONDS = 1.0  # per call, at most; a slow engine is given fewer queries


@dataclass(frozen=True)
class Timing:
    """How long an engine takes.

    Attributes:
        seconds: per query, the median over calls.
        low: the lower quartile, likewise.
        high: the upper quartile, likewise.
        queries: queries per call.
        calls: number of calls that were timed.
        way: which of its ways of searching the engine used.

    Examples:
        >>> timing = Timing.of([1.0, 2.0, 3.0], queries=2)
        >>> timing.low, timing.seconds, timing.high, timing.calls
        (0.75, 1.0, 1.25, 3)
    """

    seconds: float
    low: float
    high: float
    queries: int
    calls: int
    way: str = ""

    @classmethod
    def of(cls, times: list[float], queries: int, way: str = "") -> "Timing":
        """From the seconds that each call took."""
        low, median, high = (float(value) / queries for value in np.quantile(times, [0.25, 0.5, 0.75]))
        return cls(median, low, high, queries, len(times), way)


def timed(call: Callable[[], object]) -> float:
    """The seconds that a call takes.

    Examples:
        >>> done = []
        >>> seconds = timed(lambda: done.append("searched"))
        >>> done, seconds >= 0
        (['searched'], True)
    """
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def in_turn(calls: dict[str, Callable[[int], object]], rounds: int) -> dict[str, list[float]]:
    """Call each in turn, repeatedly for TURN seconds.

    Args:
        calls: functions by name; each is given the number of the call.
        rounds: how many turns each has.

    Returns:
        The seconds that each call took, by name; the first two calls, which warm up, are left out.

    Examples:
        >>> def engine(number):
        ...     time.sleep(0.02)  # as long as a turn
        >>> {name: len(times) for name, times in in_turn({"ours": engine, "peer": engine}, rounds=3).items()}
        {'ours': 3, 'peer': 3}
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    per_turn = {}
    for name, call in calls.items():
        call(0)
        per_turn[name] = min(max(1, round(TURN / timed(partial(call, 0)))), CALLS)
    for _ in range(rounds):
        for name, call in calls.items():
            for _ in range(per_turn[name]):
                times[name].append(timed(partial(call, len(times[name]))))
    return times


def affordable(search: Search, packed: np.ndarray, k: int) -> tuple[int, Answer]:
    """How many queries an engine answers within SECONDS.

    Args:
        search: the search of the engine.
        packed: the queries, uint8 [q, width].
        k: neighbours per query.

    Returns:
        That number, from 1 to q; the answer to the first queries, as many as were tried.

    Examples:
        >>> def search(packed, k):
        ...     return np.zeros((len(packed), k)), np.zeros((len(packed), k))
        >>> count, (distances, ids) = affordable(search, np.zeros((8, 2), dtype=np.uint8), k=3)
        >>> count, distances.shape
        (8, (8, 3))
    """
    count = 1
    while True:
        begin = time.perf_counter()
        answer = search(packed[:count], k)
        seconds = time.perf_counter() - begin
        if count == len(packed) or seconds > SECONDS / 4:
            break
        count = min(4 * count, len(packed))
    seconds = min(seconds, timed(lambda: search(packed[:count], k)))  # the first may have warmed up
    return max(1, min(len(packed), int(count * SECONDS / seconds))), answer
