"""Worker processes that crash, hang, bloat, or cannot start."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cmah.errors import CmahError
from cmah.workers import Outcome, run_isolated

TARGET = """
import ctypes, os, signal, sys, time
from cmah.errors import CmahError, JobError

calls = 0
hoard = []

def warm_up():
    print("noise on standard output", flush=True)

def work(task):
    global calls
    calls += 1
    do = task["do"]
    print("more noise", flush=True)
    if do == "crash":
        ctypes.string_at(0)
    if do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "exit":
        os._exit(3)
    if do == "hang":
        time.sleep(1000)
    if do == "spin":
        while True:
            pass
    if do == "bloat":
        return {"size": len(bytearray(3 << 30))}
    if do == "native bloat":
        libc = ctypes.CDLL(None)
        libc.malloc.restype = ctypes.c_void_p
        libc.malloc.argtypes = [ctypes.c_size_t]
        if not libc.malloc(3 << 30):
            os.abort()
    if do == "leave behind":
        hoard.append(bytearray(300 << 20))
    if do == "refuse":
        raise CmahError("a.obj: no faces")
    if do == "break":
        raise ZeroDivisionError("oh\\nno")
    if do == "recurse":
        work(task)
    if do == "cannot write":
        raise JobError("out/renders: cannot be written (No space left on device)")
    if do == "full":
        raise OSError(28, "No space left on device")
    return {"number": task["number"], "calls": calls, "pid": os.getpid()}
"""


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "worker_target.py").write_text(TARGET)
    monkeypatch.syspath_prepend(tmp_path)
    return "worker_target:work"


def run(target: str, *todo: str, **options: float) -> list[Outcome]:
    tasks = [{"do": do, "number": number} for number, do in enumerate(todo)]
    settings: dict[str, float] = {"time_limit": 5, "memory_limit": 1, **options}
    jobs = int(settings.pop("jobs", 1))
    outcomes = run_isolated(target, tasks, jobs=jobs, **settings)
    return sorted(outcomes, key=lambda outcome: outcome.index)


def test_workers_are_kept_and_every_task_is_done(target: str) -> None:
    outcomes = run(target, *["fine"] * 40, jobs=2)
    values = [outcome.value or {} for outcome in outcomes]
    assert [value["number"] for value in values] == list(range(40))
    assert len({value["pid"] for value in values}) <= 2
    assert os.getpid() not in {value["pid"] for value in values}


@pytest.mark.slow
def test_whatever_happens_to_one_costs_that_one_only(target: str) -> None:
    todo = [
        "fine",
        "crash",
        "fine",
        "kill",
        "exit",
        "bloat",
        "native bloat",
        "refuse",
        "break",
        "recurse",
        "fine",
    ]
    outcomes = run(target, *todo)
    reasons = {do: outcome.reason for do, outcome in zip(todo, outcomes, strict=True)}
    assert [do for do, outcome in zip(todo, outcomes, strict=True) if outcome.value] == ["fine"] * 3
    assert reasons["crash"] == "the worker process died of signal 11 (segmentation fault)"
    assert reasons["kill"] == "the worker process died of signal 9 (killed, perhaps for want of memory)"
    assert reasons["exit"] == "the worker process ended with exit status 3"
    assert reasons["bloat"] == "needed more than 1 GiB of memory"
    assert "signal 6 (aborted, perhaps for want of memory)" in reasons["native bloat"]
    assert reasons["refuse"] == "a.obj: no faces"
    assert reasons["break"] == "ZeroDivisionError: oh no"
    assert "RecursionError" in reasons["recurse"]
    lost = [do for do, outcome in zip(todo, outcomes, strict=True) if outcome.lost]
    assert lost == ["crash", "kill", "exit", "bloat", "native bloat"]


@pytest.mark.slow
def test_time_limit(target: str) -> None:
    start = time.monotonic()
    outcomes = run(target, "hang", "spin", "fine", time_limit=1.5)
    assert [outcome.reason for outcome in outcomes] == ["took longer than 1.5 s"] * 2 + [""]
    assert time.monotonic() - start < 20


@pytest.mark.slow
def test_what_earlier_tasks_leave_behind_does_not_count(target: str) -> None:
    outcomes = run(target, *["leave behind"] * 6)
    assert all(outcome.value for outcome in outcomes)


def test_a_full_disk_ends_the_run(target: str) -> None:
    with pytest.raises(CmahError, match="No space left"):
        run(target, "fine", "full", "fine")


def test_a_fault_of_the_machine_ends_the_run_and_is_told_as_it_is(target: str) -> None:
    with pytest.raises(CmahError) as caught:
        run(target, "fine", "cannot write", "fine")
    assert str(caught.value) == "out/renders: cannot be written (No space left on device)"


PARENT = """
import sys, threading
from cmah.workers import run_isolated

def main():
    tasks = [{"do": do, "number": 0} for do in sys.argv[2:]]
    for _ in run_isolated(sys.argv[1], tasks, jobs=2, time_limit=100):
        pass

main() if {main} else threading.Thread(target=main).start()
"""


@pytest.mark.slow
@pytest.mark.parametrize("main", [True, False])  # outside the main thread Linux is not asked to end them
def test_no_worker_outlives_a_killed_parent(target: str, tmp_path: Path, main: bool) -> None:
    """They end while they wait for a task, sleep, or compute."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", PARENT.replace("{main}", str(main)), target, "fine", "hang", "spin"]
    parent = subprocess.Popen(command, env=environment)
    tasks = Path(f"/proc/{parent.pid}/task")
    deadline = time.monotonic() + 60
    workers: list[str] = []
    while time.monotonic() < deadline and len(workers) < 2:
        time.sleep(0.05)
        workers = [pid for file in tasks.glob("*/children") for pid in file.read_text().split()]
    time.sleep(1.5)  # they are at work, or still importing: both must end
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and any(alive(pid) for pid in workers):
        time.sleep(0.02)
    assert len(workers) == 2
    assert not [pid for pid in workers if alive(pid)]


def alive(pid: str) -> bool:
    """Whether a process runs; one that has ended may wait to be asked for its status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_workers_that_cannot_start(target: str) -> None:
    with pytest.raises(CmahError, match=r"could not start: AttributeError: .*no_such"):
        run(target.replace(":work", ":no_such"), "fine")
    with pytest.raises(CmahError, match="could not start: ModuleNotFoundError"):
        run("no_such_module:work", "fine")


def test_workers_end_with_the_generator(target: str) -> None:
    outcomes = run_isolated(target, [{"do": "fine", "number": 0}, {"do": "hang", "number": 1}])
    value = next(outcomes).value
    assert value is not None
    outcomes.close()
    with pytest.raises(ProcessLookupError):
        os.kill(value["pid"], 0)
