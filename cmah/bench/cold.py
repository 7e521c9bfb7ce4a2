"""What a fresh process costs: time to its first answer, and memory."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cmah
from cmah.bench.workload import RANDOM, make_workload
from cmah.errors import CmahError
from cmah.search.index import HammingIndex

BITS = 64
BATCH = 256  # queries, enough for the compiled kernels to be used
REPEATS = 5  # starts with a warm cache

# Searches, says so, and then prints its memory; getrusage would include its parent's, from before exec.
_PROCESS = """
import sys
from cmah import BinaryCodes, HammingIndex
index = HammingIndex.open(sys.argv[1])
index.search(BinaryCodes.load(sys.argv[2]), k=10, threads=int(sys.argv[3]))
print("answered", flush=True)
try:
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print(status["VmRSS"].split()[0], status["VmHWM"].split()[0])
except OSError:
    pass
"""


def measure_cold(threads: int, n: int = 1_000_000, seed: int = 0, repeats: int = REPEATS) -> dict[str, Any]:
    """Start Python, open an index of n 64-bit codes and search it, with an empty and a warm Numba cache.

    Args:
        threads: number of threads that search.
        n: number of codes in the index.
        seed: random seed of the codes.
        repeats: number of starts with a warm cache, of which the median counts.

    Returns:
        For "first_ever_batch" (256 queries, nothing compiled yet), "batch" (the same, with the cache of the
        former) and "one_query": "seconds" from the start of the process to the answer, and "resident_mib" and
        "peak_mib" after it (None where the system does not report them); also n, bits, threads and the index's
        "index_mib".

    Raises:
        CmahError: if a process fails.

    Examples:
        >>> cold = measure_cold(threads=1, n=1000, repeats=1)
        >>> cold["n"], cold["bits"], list(cold["one_query"])
        (1000, 64, ['seconds', 'resident_mib', 'peak_mib'])
    """
    workload = make_workload(RANDOM, BITS, n, BATCH, seed)
    index = HammingIndex(BITS)
    index.add(workload.codes)
    out: dict[str, Any] = {"n": n, "bits": BITS, "threads": threads}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, one, batch = folder / "index.cmah", folder / "one.npz", folder / "batch.npz"
        index.save(path)
        out["index_mib"] = path.stat().st_size / (1 << 20)
        workload.queries[:1].save(one)
        workload.queries.save(batch)
        cache = folder / "numba"
        for label, queries, times in (
            ("first_ever_batch", batch, 1),
            ("batch", batch, repeats),
            ("one_query", one, repeats),
        ):
            runs = [_start(path, queries, threads, cache) for _ in range(times)]
            out[label] = {key: _median([run[key] for run in runs]) for key in runs[0]}
    return out


def describe(cold: dict[str, Any]) -> str:
    """The measurements of `measure_cold` as text.

    Examples:
        >>> run = {"seconds": 0.12, "resident_mib": 48.2, "peak_mib": 50.0}
        >>> runs = {"one_query": run, "batch": run, "first_ever_batch": run}
        >>> print(describe({"n": 1_000_000, "bits": 64, "threads": 2, "index_mib": 7.63, **runs}))
        From the start of Python to the answer, 1,000,000 codes of 64 bits, 2 threads:
          one query: 0.12 s, 48 MiB resident
        ...
        The index itself is 7.6 MiB, mapped.
    """
    size = f"{cold['n']:,} codes of {cold['bits']} bits, {cold['threads']} threads"
    lines = [f"From the start of Python to the answer, {size}:"]
    for key, words in (
        ("one_query", "one query"),
        ("batch", f"{BATCH} queries, compiled before"),
        ("first_ever_batch", f"{BATCH} queries, the first ever (compiles)"),
    ):
        run = cold[key]
        memory = "" if run["resident_mib"] is None else f", {run['resident_mib']:.0f} MiB resident"
        lines.append(f"  {words}: {run['seconds']:.2f} s{memory}")
    return "\n".join([*lines, f"The index itself is {cold['index_mib']:.1f} MiB, mapped."])


def _median(values: list[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return statistics.median(numbers) if numbers else None


def _start(index: Path, queries: Path, threads: int, cache: Path) -> dict[str, float | None]:
    """Start one process: seconds to its answer, and its memory."""
    home = str(Path(cmah.__file__).parents[1])
    path = os.pathsep.join(part for part in (home, os.environ.get("PYTHONPATH", "")) if part)
    environment = os.environ | {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-c", _PROCESS, str(index), str(queries), str(threads)]
    begin = time.perf_counter()
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        answered = process.stdout.readline()
        seconds = time.perf_counter() - begin
        memory, fault = process.stdout.read().split(), process.stderr.read()
    if answered.strip() != "answered":
        raise CmahError(f"a fresh process could not search: {fault.strip().rpartition(chr(10))[2]}")
    resident, peak = (int(value) / 1024 for value in memory) if memory else (None, None)
    return {"seconds": seconds, "resident_mib": resident, "peak_mib": peak}
