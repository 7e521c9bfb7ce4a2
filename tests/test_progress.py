"""Progress without a terminal: when lines come, what they estimate, and that short jobs write none."""

import io
import sys

import pytest

from cmah.progress import Lines, duration, progress


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def run(seconds_each, total, *, known=True):
    """(seconds since the start, line) of each line of a job of `total` items that take so long each."""
    clock, lines = Clock(), []
    items = range(total) if known else iter(range(total))
    for _ in Lines(items, "features", clock=clock, write=lambda line: lines.append((clock.now - 1000, line))):
        clock.now += seconds_each
    return lines


def test_lines_come_at_widening_intervals():
    lines = run(1, 1000)
    assert [round(when) for when, _ in lines] == [
        *(10, 40, 70, 100, 130, 160, 190, 220, 250, 280, 310),
        *(370, 430, 490, 550, 610, 670, 730, 790, 850, 910, 970),
    ]
    assert lines[0][1] == "features: 10 of 1,000, about 16 min left"
    assert lines[-1][1] == "features: 970 of 1,000, about 30 s left"
    late = [when for when, _ in run(60, 200)]
    assert late[-1] - late[-2] == 300


@pytest.mark.parametrize(("seconds", "total"), [(1, 9), (0.001, 5000), (100, 1)])
def test_a_short_job_writes_nothing(seconds, total):
    assert run(seconds, total) == []


def test_what_was_done_before_is_no_part_of_the_speed():
    clock, lines = Clock(), []
    bar = Lines([], "features", 10_000, clock=clock, write=lines.append)
    bar.skip(9000)
    for _ in range(2):
        clock.now += 20
        bar.set_postfix_str("2 skipped")
        bar.update(100)
    assert lines == ["features: 9,100 of 10,000, about 3 min left (2 skipped)"]


def test_the_estimate_follows_the_speed():
    clock, lines = Clock(), []
    with Lines([], "x", 1000, clock=clock, write=lines.append) as bar:
        for done, seconds in ((500, 10), (10, 30)):
            clock.now += seconds
            bar.update(done)
    assert lines == ["x: 500 of 1,000, about 10 s left", "x: 510 of 1,000, about 24 min left"]


def test_an_unknown_number_of_items_is_counted():
    assert run(12, 2, known=False) == [(12, "features: 1 so far")]


def test_durations():
    assert [duration(s) for s in (0, 12, 26, 54, 61, 5399, 5401)] == [
        *("5 s", "10 s", "30 s", "50 s", "1 min", "90 min", "2 h"),
    ]


def test_a_terminal_gets_a_bar_that_takes_the_same_calls(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress([], "features", 10, unit="image") as bar:
        bar.skip(4)
        bar.update(2)
        bar.set_postfix_str("fine")
        assert (bar.n, bar.initial) == (6, 4)
    assert "features" in sys.stderr.getvalue()
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    assert list(progress([1, 2], "none")) == [1, 2]
