"""How an index file grows: its size, and the time and memory to build, append to, open and search it.

Each size is a process of its own, which appends random codes to the file in parts of a million (every append writes
what is added alone) and writes it anew as a whole; another opens the file and searches it, a third appends a little and
removes one code. Ids are positions.
Answers of the file that grew are compared with those of an index that was made at once, up to the size of --compare.

    python experiments/bench_growing_index.py --out OUT [--n 1e6,1e7,1e8] [--bits 64] [--threads 2]
    python experiments/bench_growing_index.py --smoke --out OUT

Prints a table, and writes it to OUT/growing.json. Memory is what the process has in use at most (its peak resident
set), less what it had before it opened the file; pages of the mapped file count while the system keeps them.

Expected: everything but opening grows in proportion to n, appending with what is appended; see docs/benchmarks.md.

Hardware and time: see there; 100 M codes of 64 bits take 0.8 GB of disk twice, and minutes.
"""

import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import markdown

from cmah.codes import BinaryCodes
from cmah.files import write_json
from cmah.search import HammingIndex

PART = 1_000_000
QUERIES = 256
K = 10
ROUNDS = 3
COLUMNS = {
    "bytes_each": "bytes a code",
    "append_us": "append, µs a code",
    "append_1000_ms": "append 1,000, ms",
    "remove_ms": "remove 1, ms",
    "compact_s": "compact, s",
    "open_ms": "open, ms",
    "open_mb": "open, MB",
    "first_ms": "first query, ms",
    "one_ms": "one query, ms",
    "batch_ms": "256 queries, ms a query",
    "search_mb": "searched, MB",
}


@click.command(help=__doc__)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for the index files and the table."
)
@click.option("--n", "sizes", default="1e6,1e7,1e8", show_default=True, help="Numbers of codes.")
@click.option("--bits", default=64, show_default=True, type=click.IntRange(1, 4096), help="Length of a code.")
@click.option(
    "--threads", default=2, show_default=True, type=click.IntRange(min=1), help="Threads of a search."
)
@click.option(
    "--compare",
    default=1e7,
    show_default=True,
    help="Up to so many codes, compare with an index made at once.",
)
@click.option("--smoke", is_flag=True, help="A few thousand codes, to see that it runs.")
def main(out: Path, sizes: str, bits: int, threads: int, compare: float, smoke: bool) -> None:
    """Measure every size."""
    numbers = [3000, 5000] if smoke else [int(float(size)) for size in sizes.split(",")]
    out.mkdir(parents=True, exist_ok=True)
    rows = {}
    for n in numbers:
        path = out / f"{n}.cmah"
        path.unlink(missing_ok=True)
        part = 1000 if smoke else PART
        row = in_a_process(grow, path, n, bits, part)
        row |= in_a_process(use, path, n, bits, threads, compare, part)
        rows[n] = row | in_a_process(change, path, n, bits)
        path.unlink()
        write_json(out / "growing.json", rows)
    head = ["codes", *COLUMNS.values()]
    click.echo(
        markdown(head, [[f"{n:,}", *(f"{row[key]:.3g}" for key in COLUMNS)] for n, row in rows.items()])
    )


def grow(path: Path, n: int, bits: int, part: int) -> dict[str, float]:
    """Build the file by appending, and write it anew as one segment."""
    HammingIndex(bits).save(path)
    spent = 0.0
    for first in range(0, n, part):
        codes = random_codes(min(part, n - first), bits, first)
        spent += seconds(partial(_appended, path, codes))
    index = HammingIndex.open(path)
    compacted = seconds(lambda: index.save(path))
    return {"append_us": 1e6 * spent / n, "compact_s": compacted, "bytes_each": path.stat().st_size / n}


def change(path: Path, n: int, bits: int) -> dict[str, float]:
    """Append a little and remove one code."""
    few = random_codes(1000, bits, n)
    appended = seconds(lambda: _appended(path, few))
    index = HammingIndex.open(path)
    index.remove([n // 2])
    return {
        "append_1000_ms": 1e3 * appended,
        "remove_ms": 1e3 * seconds(lambda: index.save(path, append=True)),
    }


def use(path: Path, n: int, bits: int, threads: int, compare: float, part: int) -> dict[str, float]:
    """Open the file and search it."""
    queries = random_codes(QUERIES, bits, -1)
    before = peak_mb()
    start = time.perf_counter()
    index = HammingIndex.open(path)
    opened = time.perf_counter() - start
    open_mb = peak_mb() - before
    first = seconds(lambda: index.search(queries[:1], K, threads=threads))
    index.search(queries, K, threads=threads)  # compiles
    one = min(seconds(lambda: index.search(queries[:1], K, threads=threads)) for _ in range(ROUNDS))
    batch = min(seconds(lambda: index.search(queries, K, threads=threads)) for _ in range(ROUNDS))
    search_mb = peak_mb() - before
    if len(index) != n:
        raise click.ClickException(f"{path}: {len(index)} codes, expected {n}")
    if n <= compare:
        whole = HammingIndex(bits)
        for begin in range(0, n, part):
            whole.add(random_codes(min(part, n - begin), bits, begin))
        hits = [each.search(queries, K, threads=threads) for each in (index, whole)]
        for name in ("positions", "distances", "ids"):
            if not np.array_equal(getattr(hits[0], name), getattr(hits[1], name)):
                raise click.ClickException(
                    f"{path}: its {name} are not those of an index that was made at once"
                )
    return {
        "open_ms": 1e3 * opened,
        "open_mb": open_mb,
        "first_ms": 1e3 * first,
        "one_ms": 1e3 * one,
        "batch_ms": 1e3 * batch / QUERIES,
        "search_mb": search_mb,
    }


def random_codes(count: int, bits: int, seed: int) -> BinaryCodes:
    """Codes that depend on the seed alone."""
    packed = np.random.default_rng(abs(seed) + 10**12 * (seed < 0)).integers(
        0, 256, (count, (bits + 7) // 8), dtype=np.uint8
    )
    packed[:, -1] &= np.uint8(256 - (1 << (-bits % 8)))
    return BinaryCodes.from_packed(packed, bits)


def peak_mb() -> float:
    """The most memory that this process has had in use, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def seconds(call: Callable[[], object]) -> float:
    """The seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_a_process(call: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """The result of a call in a new process, whose memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return json.loads(json.dumps(pool.apply(call, arguments)))


def _appended(path: Path, codes: BinaryCodes) -> None:
    index = HammingIndex.open(path)
    index.add(codes)
    index.save(path, append=True)


if __name__ == "__main__":
    main()
