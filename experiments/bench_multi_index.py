"""Speed of `MultiIndex` beside `HammingIndex`, on codes that lie in clusters and on codes that do not.

Clustered codes: 1,000 around each centre with 6 % of the bits flipped, the queries drawn the same way. Every answer
is compared with the flat index's before it is timed; then both search the same batches on the same threads, in
turn, and the median of the rounds is printed. The multi-index gets new queries in each round (it reads memory at
random places, which would otherwise be in the cache from the round before).

    python experiments/bench_multi_index.py --n 1e6,1e7 [--bits 64] [--threads 2] [--data clustered|random]
    python experiments/bench_multi_index.py --n 1e6 --faiss        # FAISS's binary indexes, one query at a time
    python experiments/bench_multi_index.py --smoke

Prints a table of microseconds per query.

Expected, for 64 clustered bits and batches of 256: k = 10 is 8 times as fast as with the flat index at 1 M codes, 70
at 10 M, 110 at 50 M (± a third); within radius 0, 1, 2 and 3 of 10 M codes 650, 430, 230 and 100 times. On random
codes k = 10 takes 7 to 21 % longer than with the flat index.

Hardware: one core (2 threads) of an AMD EPYC with AVX-512, shared with other work.

Time: half a minute for 10 M codes; two minutes and 4 GB of memory for 50 M.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import click
import numpy as np

from cmah.codes import BinaryCodes
from cmah.search import HammingIndex, MultiIndex

ROUNDS = 5
PER_CENTRE = 1000
FLIPPED = 0.06
AT_ONCE = 1 << 17
K = 10

Search = Callable[[HammingIndex, BinaryCodes], object]


def make(n: int, queries: int, bits: int, data: str, seed: int) -> tuple[BinaryCodes, BinaryCodes]:
    """Codes and queries."""
    random = np.random.default_rng(seed)
    centres = random.integers(0, 2, (max(n // PER_CENTRE, 1), bits), dtype=np.uint8)

    def some(count: int) -> np.ndarray:
        if data == "random":
            return np.packbits(random.integers(0, 2, (count, bits), dtype=np.uint8), axis=1)
        flips = random.random((count, bits), dtype=np.float32) < FLIPPED
        return np.packbits(centres[random.integers(0, len(centres), count)] ^ flips, axis=1)

    items, asked = (
        np.concatenate([some(min(AT_ONCE, count - a)) for a in range(0, count, AT_ONCE)])
        for count in (n, queries)
    )
    return BinaryCodes.from_packed(items, bits), BinaryCodes.from_packed(asked, bits)


def seconds(call: Callable[[], object]) -> float:
    """The seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def require_equal(a: object, b: object) -> None:
    """Fail unless two results are the same in every field."""
    for name, value in vars(a).items():
        if not np.array_equal(value, getattr(b, name)):
            raise click.ClickException(f"the multi-index's {name} are not the flat index's")


def nearest(k: int, threads: int | None) -> Search:
    """The search for the k nearest codes."""
    return lambda index, queries: index.search(queries, k, threads=threads)


def within(radius: int, threads: int | None) -> Search:
    """The search for all codes within a radius."""
    return lambda index, queries: index.search_radius(queries, radius, threads=threads)


def compare(
    flat: HammingIndex, multi: HammingIndex, queries: BinaryCodes, batch: int, threads: int | None
) -> None:
    """Print the time of each search by both indexes."""
    searches: dict[str, Search] = {f"k = {k}": nearest(k, threads) for k in (K, 100)}
    searches |= {f"radius {radius}": within(radius, threads) for radius in range(4)}
    print(f"  {'':10} {'flat':>9} {'multi':>9}   ratio   one at a time: {'flat':>9} {'multi':>9}   ratio")
    for name, search in searches.items():
        require_equal(search(flat, queries[:batch]), search(multi, queries[:batch]))
        times: list[list[float]] = [[], [], [], []]
        for turn in range(ROUNDS):
            part = queries[turn * len(queries) // ROUNDS : (turn + 1) * len(queries) // ROUNDS]
            times[0].append(each(search, flat, part[:batch], batch))
            times[1].append(each(search, multi, part, batch))
            times[2].append(each(search, flat, part[:8], 1))
            times[3].append(each(search, multi, part[:64], 1))
        us = [1e6 * float(np.median(values)) for values in times]
        print(
            f"  {name:10} {us[0]:9.1f} {us[1]:9.2f} {us[0] / us[1]:6.1f}x"
            f"   {'':14} {us[2]:9.1f} {us[3]:9.1f} {us[2] / us[3]:6.1f}x",
            flush=True,
        )


def each(search: Search, index: HammingIndex, queries: BinaryCodes, batch: int) -> float:
    """Seconds per query."""
    batches = [queries[a : a + batch] for a in range(0, len(queries), batch)]
    return seconds(lambda: [search(index, part) for part in batches]) / len(queries)


def peers(codes: BinaryCodes, queries: BinaryCodes, truth: np.ndarray, threads: int) -> None:
    """Print time and recall of FAISS's binary indexes; recall counts distances, so that ties are no fault."""
    import faiss

    faiss.omp_set_num_threads(threads)
    bits, n = codes.bits, len(codes)
    quantizer = faiss.IndexBinaryFlat(bits)
    width = 16
    indexes: dict[str, Any] = {
        "Flat": faiss.IndexBinaryFlat(bits),
        "MultiHash": faiss.IndexBinaryMultiHash(bits, bits // width, width),
        "Hash": faiss.IndexBinaryHash(bits, 20),
        "IVF": faiss.IndexBinaryIVF(quantizer, bits, max(int(np.sqrt(n)), 1)),
        "HNSW": faiss.IndexBinaryHNSW(bits, 16),
    }
    settings = {
        "Flat": ("", [0]),
        "MultiHash": ("nflip", [0, 1, 2]),
        "Hash": ("nflip", [1, 2, 3]),
        "IVF": ("nprobe", [1, 4, 16]),
        "HNSW": ("efSearch", [16, 64, 256]),
    }
    for name, index in indexes.items():
        if name == "HNSW" and n > 200_000:
            print("  faiss HNSW left out: it would take minutes to build; run it with --n 2e5")
            continue
        built = seconds(partial(index.train, codes.packed[: 40 * int(np.sqrt(n))]))
        built += seconds(partial(index.add, codes.packed))
        attribute, values = settings[name]
        for value in values:
            if attribute:
                setattr(index.hnsw if name == "HNSW" else index, attribute, value)
            spent = seconds(partial(index.search, queries.packed[:64], K))
            if spent * len(queries) / 64 > 20:
                print(f"  faiss {name:10} {attribute:8} {value:4}: {1e6 * spent / 64:9.1f} us")
                continue
            spent = seconds(partial(index.search, queries.packed, K))
            distances = np.sort(index.search(queries.packed, K)[0], axis=1)
            recall = float(np.mean((distances <= truth[:, -1:]) & (distances >= 0)))
            print(
                f"  faiss {name:10} {attribute:8} {value:4}: {1e6 * spent / len(queries):9.1f} us, "
                f"recall {recall:.4f}, built in {built:.1f} s",
                flush=True,
            )


@click.command(help=__doc__)
@click.option("--n", "sizes", default="1e6", show_default=True, help="Numbers of codes, separated by commas.")
@click.option("--bits", default=64, show_default=True, help="Length of the codes in bits.")
@click.option("--queries", default=4096, show_default=True, help="Number of queries.")
@click.option("--batch", default=256, show_default=True, help="Number of queries per call.")
@click.option("--threads", type=int, help="Number of threads.  [default: one per core]")
@click.option(
    "--data",
    type=click.Choice(["clustered", "random"]),
    default="clustered",
    show_default=True,
    help="How the codes are distributed.",
)
@click.option("--seed", default=0, show_default=True, help="Random seed of codes and queries.")
@click.option("--faiss", "with_faiss", is_flag=True, help="Time FAISS's binary indexes too.")
@click.option("--smoke", is_flag=True, help="Do a small run that only shows that it works.")
def main(
    sizes: str,
    bits: int,
    queries: int,
    batch: int,
    threads: int | None,
    data: str,
    seed: int,
    with_faiss: bool,
    smoke: bool,
) -> None:
    """Measure and print."""
    import numba  # noqa: F401  # or small searches would be NumPy's

    from cmah.threads import thread_count

    if smoke:
        sizes, queries, batch = "20000", 320, 64
    for n in (int(float(size)) for size in sizes.split(",")):
        codes, asked = make(n, queries, bits, data, seed)
        flat, multi = HammingIndex(bits), MultiIndex(bits)
        added = seconds(partial(flat.add, codes))
        multi.add(codes)
        built = seconds(multi.tables)
        more, lengths = len(multi.tables().data) / n, multi.tables().lengths
        print(f"{n} {data} codes of {bits} bits, {thread_count(threads)} threads, batches of {batch}")
        print(
            f"  codes added in {added:.2f} s; {len(lengths)} tables of parts of {lengths} bits built in {built:.2f} s"
        )
        print(f"  bytes per item: {codes.packed.shape[1]} flat, and {more:.1f} for the tables")
        compare(flat, multi, asked, batch, threads)
        if with_faiss:
            part = asked[:1024]
            peers(codes, part, flat.search(part, K, threads=threads).distances, thread_count(threads))


if __name__ == "__main__":
    main()
