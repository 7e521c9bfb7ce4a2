"""Ctrl-C arrives once, wherever it comes, and lets what is put away be put away."""

import logging
import os
import signal
import time

import pytest

from cmah.cli.stopping import Stopping


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


class Drops:
    """Python drops what is raised while this is deleted."""

    def __del__(self) -> None:
        press()
        time.sleep(0.01)


def test_a_stop_that_comes_where_python_drops_it_arrives_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work() -> None:
        with Stopping().watching():
            thing = Drops()
            del thing
            time.sleep(20)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert "ignored" not in capsys.readouterr().err


def test_a_stop_that_somebody_swallows_is_tried_again() -> None:
    swallowed = 0

    def work() -> None:
        nonlocal swallowed
        with Stopping().watching():
            press()
            try:
                time.sleep(20)
            except KeyboardInterrupt:
                swallowed += 1
            time.sleep(20)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert swallowed <= 1


def test_what_is_put_away_on_the_way_is_not_disturbed() -> None:
    done = []
    begin = time.monotonic()

    def work() -> None:
        with Stopping().watching():
            try:
                press()
                time.sleep(20)
            finally:
                press()  # right after the first one: the same wish
                time.sleep(0.7)  # longer than a stop waits to be tried again
                done.append(time.monotonic() - begin)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done
    assert done[0] >= 0.7
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_lock_is_given_back_first(monkeypatch: pytest.MonkeyPatch) -> None:
    held = []

    def _releaseLock() -> None:
        press()
        time.sleep(0.01)
        held.append("given back")

    def work() -> None:
        with Stopping().watching():
            _releaseLock()
            time.sleep(20)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert held == ["given back"]
    logging.getLogger("cmah").debug("still usable")


def test_an_alarm_of_somebody_else_stops_nothing() -> None:
    with Stopping().watching():
        os.kill(os.getpid(), signal.SIGALRM)
        time.sleep(0.05)
