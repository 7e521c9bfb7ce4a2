"""A worker process of `cmah.workers`: it reads tasks line by line, answers each, and ends with its parent.

It is started as `python -m cmah.worker_process TARGET TIME_LIMIT MEMORY_LIMIT ENDING`.
"""

import errno
import json
import os
import select
import signal
import sys
import threading
import time
from importlib import import_module
from typing import Any

from cmah.errors import CmahError, JobError

# errors of the machine, not of the input: going on would skip every input for no fault of its own
FATAL_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
PR_SET_PDEATHSIG = 1  # of Linux's prctl


def _end_with_parent(ending: str) -> None:
    """Make this process end when its parent does, by whatever cause, also in the middle of a task.

    The parent's end of standard input closes with it, which a thread waits for. Native code that keeps Python's lock
    would hold the thread up; Linux can end the process at once.
    """

    def watch() -> None:
        poll = select.poll()
        poll.register(0, select.POLLHUP)
        while not any(event & ~select.POLLIN for _, event in poll.poll()):
            time.sleep(0.2)  # some systems wake it also for a task that is to be read
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    if ending == "process" and sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _serve(target: str, time_limit: float, memory_limit: float, ending: str) -> None:
    """The worker's end: read tasks from standard input, write answers to what was standard output."""
    _end_with_parent(ending)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what native code prints must not get between the answers
    module_name, _, name = target.partition(":")
    with _OneCore():
        module = import_module(module_name)
        getattr(module, "warm_up", lambda: None)()
    function = getattr(module, name)
    start = _limit_memory(memory_limit)

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    answer({"ready": True})
    for line in sys.stdin.buffer:
        # the parent keeps the time; this only ends a worker whose parent was killed while it hung
        signal.alarm(int(time_limit) + 30)
        try:
            answer({"value": function(json.loads(line))})
        except MemoryError:
            answer({"memory": True})
        except JobError as error:
            answer({"fatal": str(error)})
        except CmahError as error:
            answer({"refused": str(error)})
        except Exception as error:  # a foreign file can raise nearly anything; one must not end the rest
            message = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            fatal = isinstance(error, OSError) and error.errno in FATAL_ERRORS
            answer({"fatal" if fatal else "refused": message})
        signal.alarm(0)
        if _address_space() - start > memory_limit * 2**30 / 4:
            return  # memory that earlier tasks leak must not count against later ones


class _OneCore:
    """Bind the process to one core while it imports, so that native thread pools (Embree's) start one thread."""

    def __enter__(self) -> None:
        if hasattr(os, "sched_setaffinity"):
            self.cores = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {min(self.cores)})

    def __exit__(self, *_: object) -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, self.cores)


def _address_space() -> int:
    """Bytes of address space in use; 0 on systems without /proc."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _limit_memory(gib: float) -> int:
    """Allow `gib` GiB more address space than is in use, and return what is in use (bytes); no limit outside Linux."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    start = _address_space()
    if start:
        limit = start + int(gib * 2**30)
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return start


if __name__ == "__main__":
    _serve(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
