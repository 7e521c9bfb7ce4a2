"""How a command ends that is stopped by Ctrl-C or SIGTERM: one line with the command that goes on, and status 130."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

# keys of click's shared dictionary: the command line, a function that says whether --resume goes on from here, and one
# that says whether a command of `GOES_ON` has kept anything
ARGUMENTS, CAN_RESUME, HAS_KEPT = "cmah.arguments", "cmah.can_resume", "cmah.has_kept"
STATUS = 130  # what shells expect after Ctrl-C
AGAIN = 0.2  # seconds after which a stop that was lost is tried again
TWICE = 1.0  # seconds within which a second signal is the same wish: some tools send it to a process and to its group
# commands that keep what they have done, and go on from there when they are given again
GOES_ON = ("demo", "prepare", "train", "export", "search", "landmarks")


# functions of Python in which an exception is dropped, or leaves a lock or a process behind
FRAGILE = {"__del__", "_acquireLock", "_releaseLock", "_launch", "_python_exit"}


class Stopping:
    """Turns SIGINT and SIGTERM into one KeyboardInterrupt, and remembers that it came.

    Python drops an exception that is raised in a `__del__` or while a process is forked, and one that is raised between
    taking a lock and giving it back may leave it taken. So it is raised elsewhere, and again until it has arrived.

    Args:
        line: what is said before the process is ended at once, by a second signal that comes much later.

    Attributes:
        since: when the first signal came, in seconds of the monotonic clock; None before.
    """

    def __init__(self, line: Callable[[], str] | None = None) -> None:
        self.line = line
        self.since: float | None = None
        self._process = os.getpid()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Handle the signals while the block runs; in another thread than the main one, leave them as they are."""
        before = {}
        with suppress(ValueError):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
                if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                    before[number] = signal.signal(number, self._stop)
        try:
            yield
        finally:
            if before:
                signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker that has just been forked: the main process ends it
            return
        now = time.monotonic()
        if self.since is None:
            if number == signal.SIGALRM:  # somebody else's
                return
            self.since = now
        elif number != signal.SIGALRM and now - self.since > TWICE:  # ending takes too long for the user
            if self.line is not None:
                os.write(2, f"{self.line()}\n".encode(errors="backslashreplace"))
            signal.signal(number, signal.SIG_DFL)
            os.kill(self._process, number)
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
        if not _is_arriving() and not _is_fragile(frame):
            raise KeyboardInterrupt


def _is_arriving() -> bool:
    """Whether a KeyboardInterrupt is on its way: some cleaning up is done for it."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _is_fragile(frame: FrameType | None) -> bool:
    """Whether an exception would be dropped here, or leave something behind."""
    while frame is not None and frame.f_code.co_name not in FRAGILE:
        frame = frame.f_back
    return frame is not None


def stopped(arguments: list[str], *, resume: bool = False, kept: bool = True) -> str:
    """The line that a stopped command ends with.

    Args:
        arguments: of the command line, without `cmah`.
        resume: whether the command that goes on has --resume.
        kept: whether a command that goes on has kept anything so far.

    Examples:
        >>> stopped(["train", "my shapes", "--out", "run"], resume=True)
        "stopped; cmah train 'my shapes' --out run --resume goes on from here"
        >>> stopped(["eval", "--query", "image.npz"])
        'stopped; cmah eval --query image.npz starts anew'
    """
    name = next((argument for argument in arguments if not argument.startswith("-")), "")
    if resume and "--resume" not in arguments:
        arguments = [*arguments, "--resume"]
    command = shlex.join(["cmah", *arguments])
    return f"stopped; {command} {'goes on from here' if kept and name in GOES_ON else 'starts anew'}"
