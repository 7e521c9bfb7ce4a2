"""Run a function on many inputs in worker processes that may crash, hang or run out of memory.

Workers are fresh Python processes (not forks: threads of numba, torch or Embree do not survive a fork) that live for
many inputs, so that imports are paid for once.

Inputs and results travel as lines of JSON, and that is why this is written by hand: a worker reads hostile files, and
may be taken over by one. The process pools of the standard library and of pebble exchange pickles, by which a worker
could run code in its parent; JSON gives it nothing but values.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cmah.errors import CmahError, JobError

START_LIMIT = 120.0


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file or folder that is written in the block where the system refuses it, as an error of the run.

    Raises:
        JobError: instead of an OSError.

    Examples:
        >>> import errno
        >>> with writing("renders/seat"):
        ...     raise OSError(errno.ENOSPC, "No space left on device")
        Traceback (most recent call last):
        cmah.errors.JobError: renders/seat: cannot be written (No space left on device)
    """
    try:
        yield
    except OSError as error:
        raise JobError(f"{os.fspath(path)}: cannot be written ({error.strerror or error})") from error


@dataclass(frozen=True)
class Outcome:
    """The result of one task.

    Attributes:
        index: position of the task.
        value: what the function returned, None if it failed.
        reason: why it failed, empty if it did not.
        lost: whether the worker was lost (crash, time or memory limit), rather than the input refused.

    Examples:
        >>> Outcome(0, {"faces": 12})
        Outcome(index=0, value={'faces': 12}, reason='', lost=False)
    """

    index: int
    value: dict[str, Any] | None
    reason: str = ""
    lost: bool = False


def run_isolated(
    target: str,
    tasks: Iterable[dict[str, Any]],
    *,
    jobs: int = 1,
    time_limit: float = 60.0,
    memory_limit: float = 4.0,
) -> Generator[Outcome, None, None]:
    """Call a function on every task in worker processes; outcomes come in the order of completion.

    A task that kills its worker is tried once more if the worker had served others before, so that its outcome
    depends on the task alone.

    Args:
        target: "module:function"; the function takes and returns a dictionary that JSON can hold, and raises
            CmahError to refuse a task, JobError to end the run. If the module has a function `warm_up`, each worker
            calls it once.
        tasks: the argument of each call.
        jobs: number of worker processes.
        time_limit: seconds of wall-clock time for each task.
        memory_limit: GiB of address space that a worker may take beyond what it needs to start.

    Raises:
        CmahError: if the workers cannot start, or cannot write their results (disk full).

    Examples:
        >>> from unittest.mock import patch
        >>> with open("boxes.py", "w") as file:
        ...     _ = file.write("def area(box): return {'area': box['w'] * box['h']}")
        >>> with patch("sys.path", [*sys.path, "."]):
        ...     outcomes = list(run_isolated("boxes:area", [{"w": 2, "h": 3}, {"w": 2}]))
        >>> [outcome.value or outcome.reason for outcome in outcomes]
        [{'area': 6}, "KeyError: 'h'"]
    """
    waiting = deque((index, task, True) for index, task in enumerate(tasks))
    workers: list[_Worker] = []
    selector = selectors.DefaultSelector()
    try:
        while waiting or any(worker.task for worker in workers):
            for worker in [worker for worker in workers if worker.finished]:
                workers.remove(worker)
            busy = sum(worker.task is not None for worker in workers)
            while len(workers) < min(jobs, busy + len(waiting)):
                workers.append(_Worker(target, time_limit, memory_limit, selector))
            for worker in workers:
                if worker.ready and worker.task is None and waiting:
                    worker.give(waiting.popleft())
            deadline = min(worker.deadline for worker in workers)
            events = selector.select(max(0.0, min(deadline - time.monotonic(), 3600.0)))
            late = [worker for worker in workers if worker.deadline <= time.monotonic()]
            for worker in {key.data for key, _ in events}.union(late):
                outcome = worker.advance(waiting)
                if outcome is not None:
                    yield outcome
    finally:
        for worker in workers:
            worker.stop()
        selector.close()


class _Worker:
    """The parent's end of one worker process."""

    def __init__(
        self, target: str, time_limit: float, memory_limit: float, selector: selectors.BaseSelector
    ) -> None:
        self.time_limit, self.memory_limit, self.selector = time_limit, memory_limit, selector
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
        threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115, closed by stop()
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "cmah.worker_process",
                target,
                str(time_limit),
                str(memory_limit),
                self._ending(),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            env={**os.environ, **threads, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C reaches the parent alone, which then stops the workers
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.input, self.output = self.process.stdin, self.process.stdout
        selector.register(self.output, selectors.EVENT_READ, self)
        self.received = b""
        self.ready = self.finished = False
        self.served = 0
        self.task: tuple[int, dict[str, Any], bool] | None = None
        self.deadline = time.monotonic() + START_LIMIT

    def __hash__(self) -> int:
        return id(self)

    @staticmethod
    def _ending() -> str:
        """Whether the worker may ask the system to end it: Linux does so when the thread ends that started it."""
        return "process" if threading.current_thread() is threading.main_thread() else "thread"

    def give(self, task: tuple[int, dict[str, Any], bool]) -> None:
        """Send a task; if the worker has died meanwhile, `advance` notices."""
        self.task, self.deadline = task, time.monotonic() + self.time_limit
        with contextlib.suppress(BrokenPipeError):
            self.input.write(json.dumps(task[1]).encode() + b"\n")
            self.input.flush()

    def advance(self, waiting: deque[tuple[int, dict[str, Any], bool]]) -> Outcome | None:
        """Handle an answer of the worker, or that it is late or dead; a task to try again goes to `waiting`."""
        late = self.deadline <= time.monotonic()
        data = b"" if late else os.read(self.output.fileno(), 1 << 16)
        self.received += data
        if data and not self.received.endswith(b"\n"):
            return None
        if not data:
            return self._lost(late, waiting)
        answer, self.received = json.loads(self.received), b""
        self.deadline = float("inf")
        if "ready" in answer:
            self.ready = True
            return None
        if "fatal" in answer:
            raise CmahError(answer["fatal"])
        assert self.task is not None
        (index, *_), fresh = self.task, self.served == 0
        self.served += 1
        if "memory" in answer:
            if not fresh and self._again(waiting):
                return None
            self.task = None
            self.stop()
            return Outcome(index, None, f"needed more than {self.memory_limit:g} GiB of memory", lost=True)
        self.task = None
        return Outcome(index, answer.get("value"), answer.get("refused", ""))

    def _lost(self, late: bool, waiting: deque[tuple[int, dict[str, Any], bool]]) -> Outcome | None:
        """The worker is late or has died."""
        status = None if late else self.process.wait()
        task = self.task
        if not self.ready:
            message = self._last_line()
            self.stop()
            raise CmahError(f"a worker process could not start: {message or f'exit status {status}'}")
        again = not late and self.served > 0 and self._again(waiting)
        self.stop()
        if task is None or again:
            return None
        self.task = None
        if late:
            return Outcome(task[0], None, f"took longer than {self.time_limit:g} s", lost=True)
        return Outcome(task[0], None, _cause_of_death(status or 0), lost=True)

    def _again(self, waiting: deque[tuple[int, dict[str, Any], bool]]) -> bool:
        """Put the task back, for a fresh worker, unless that has been done before."""
        if self.task is None or not self.task[2]:
            return False
        waiting.appendleft((*self.task[:2], False))
        self.task = None
        self.stop()
        return True

    def _last_line(self) -> str:
        """The last line of its standard error."""
        self.stderr.seek(0)
        lines = self.stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def stop(self) -> None:
        """Kill the process and close its pipes."""
        if self.finished:
            return
        self.finished, self.deadline = True, float("inf")
        self.selector.unregister(self.output)
        self.process.kill()
        self.process.wait()
        for pipe in (self.input, self.output, self.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _cause_of_death(status: int) -> str:
    if status >= 0:
        return f"the worker process ended with exit status {status}"
    name = signal.strsignal(-status) or "unknown"
    hint = ", perhaps for want of memory" if -status in {signal.SIGKILL, signal.SIGABRT} else ""
    return f"the worker process died of signal {-status} ({name.lower()}{hint})"
