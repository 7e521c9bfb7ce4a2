"""Times are taken in turn, and slow engines get fewer queries."""

import numpy as np
import pytest

from cmah.bench import timing
from cmah.bench.timing import Timing, affordable, in_turn


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("cmah.bench.timing.TURN", 1e-4)
    monkeypatch.setattr("cmah.bench.ceilings.TURN", 1e-4)


def test_turns_alternate_and_calls_are_numbered():
    seen = []
    calls = {name: lambda i, name=name: seen.append((name, i)) for name in "ab"}
    times = in_turn(calls, 3)
    names = [name for name, _ in seen]
    turns = [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
    assert turns == list("ab" * 4)  # the first of each warms up
    for name in "ab":
        numbers = [i for other, i in seen if other == name]
        assert numbers[:2] == [0, 0]
        assert numbers[2:] == list(range(len(times[name])))
        assert len(times[name]) % 3 == 0
        assert min(times[name]) > 0


def test_slow_peers_get_fewer_queries(monkeypatch):
    def search(packed, k):
        return packed[:, :k], packed[:, :k]

    packed = np.zeros((50, 8), np.uint8)
    monkeypatch.setattr(timing, "SECONDS", 1e9)
    count, answer = affordable(search, packed, 3)
    assert (count, answer[0].shape) == (50, (50, 3))
    monkeypatch.setattr(timing, "SECONDS", 0)
    count, answer = affordable(search, packed, 3)
    assert (count, answer[0].shape) == (1, (1, 3))


def test_timing_is_of_a_query():
    assert Timing.of([4.0, 8.0, 6.0, 10.0, 2.0], 2, "way") == Timing(3.0, 2.0, 4.0, 2, 5, "way")
