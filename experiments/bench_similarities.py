"""Building the store of similarities for a data set of ShapeNet's size, beside one dense matrix in NumPy.

    python experiments/bench_similarities.py [--threads 1] [--out FOLDER]
    python experiments/bench_similarities.py --smoke                                    (seconds, 300 shapes)

Embeddings are random around a direction for each category, shape and view, float16 in a memory-mapped file (1.6 GB
in full size), shapes in random order. Sizes of the categories fall geometrically from 8,436 of 52,472, as ShapeNet-55's
largest, down to 56 of 52,472, its smallest. First both are compared on the pairs of one category of at most 2,000
shapes, where they must be equal to float16's rounding; the ratio of times is of the same task. Then each measure is
built in full by a separate process. All files are removed at the end.

Expected in full size, 115,808,259 pairs: i2i 51 s and i2l2 25 s, 232 MB on disk each, at most 324 MB resident, 37 MB
of it before the build (312 MB with half the shapes), 0.3 ms for a batch of 64; 1.5 times as fast as the dense matrix,
a quarter of its size. Tolerance: not measured.

Hardware: one thread of an AMD EPYC with AVX-512.

Time: that of the two builds, and of writing 1.6 GB of embeddings.
"""

import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import click

LARGEST, SMALLEST, OF = 8436, 56, 52472
ROUNDING = 2.0**-11
BATCH = 64


def category_sizes(shapes: int, categories: int) -> list[int]:
    """The stated rule; the second category takes what rounding leaves over."""
    largest, smallest = max(1, shapes * LARGEST // OF), max(1, shapes * SMALLEST // OF)

    def sizes(ratio: float) -> list[int]:
        return [max(smallest, round(largest * ratio**k)) for k in range(categories)]

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(sizes(middle)) < shapes else (low, middle)
    result = sizes(low)
    result[min(1, categories - 1)] += shapes - sum(result)
    return result


def make_embeddings(path: Path, sizes: list[int], views: int, width: int) -> tuple[Any, list[Any], list[Any]]:
    """The mapped file, the positions of each category, and its landmarks' seed."""
    import numpy as np

    rng = np.random.default_rng(0)
    shapes = sum(sizes)
    order = rng.permutation(shapes)
    blocks = [np.sort(part) for part in np.split(order, np.cumsum(sizes)[:-1])]
    data = np.memmap(path, np.float16, "w+", shape=(shapes, views, width))
    for block in blocks:
        centre = rng.standard_normal(width, dtype=np.float32)
        for first in range(0, len(block), 256):
            chosen = block[first : first + 256]
            rows = centre + 0.6 * rng.standard_normal((len(chosen), 1, width), dtype=np.float32)
            rows = rows + 0.3 * rng.standard_normal((len(chosen), views, width), dtype=np.float32)
            rows /= np.linalg.norm(rows, axis=2, keepdims=True)
            data[chosen] = rows
    data.flush()
    return data, blocks, list(range(len(sizes)))


def landmarks_of(seed: int, count: int, width: int) -> Any:
    """Random directions."""
    import numpy as np

    return np.random.default_rng([1, seed]).standard_normal((count, width)).astype(np.float32)


def dense(measure: str, views: Any, landmarks: Any) -> Any:
    """The whole float32 matrix at once, as one writes it down."""
    import numpy as np

    views = views / np.linalg.norm(views, axis=2, keepdims=True)
    if measure == "i2i":
        rows = views.reshape(len(views), -1)
        return (rows @ rows.T / views.shape[1] + 1) / 2
    d = views @ (landmarks / np.linalg.norm(landmarks, axis=1, keepdims=True)).T
    total = np.zeros((len(views), len(views)), np.float32)
    for r in range(d.shape[1]):
        square = np.einsum("il,il->i", d[:, r], d[:, r])
        total += np.sqrt(np.maximum(square[:, None] + square - 2 * d[:, r] @ d[:, r].T, 0))
    return 1 / (1 + total / d.shape[1])


def memory(name: str) -> int:
    """A figure of this process in bytes, from Linux's /proc/self/status; 0 on other systems."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


def build(task: dict[str, Any]) -> dict[str, Any]:
    """Build a store in this process: seconds, bytes, memory."""
    import numpy as np

    from cmah.negatives.similarity_store import SimilarityStore

    shape = task["shape"]
    marks = [landmarks_of(seed, task["landmarks"], shape[2]) for seed in range(len(task["blocks"]))]

    def views(positions: Any) -> Any:
        # mapped anew each time, as a table of embeddings releases the pages that it read before
        return np.memmap(task["data"], np.float16, "r", shape=shape)[positions].astype(np.float32)

    before, peak, done = memory("RssAnon"), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], memory("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        start, cpu = time.perf_counter(), time.process_time()
        given = marks if task["measure"] == "i2l2" else None
        store = SimilarityStore.build(task["folder"], task["measure"], task["blocks"], views, given)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    finally:
        done.set()
        watcher.join()
    times, rng = [], np.random.default_rng(2)
    for _ in range(200):
        index = rng.integers(shape[0], size=BATCH)
        start = time.perf_counter()
        store.batch(index, 0.25)
        times.append(time.perf_counter() - start)
    return {
        "seconds": seconds,
        "cpu": cpu,
        "bytes": sum(path.stat().st_size for path in Path(task["folder"]).iterdir()),
        "peak": memory("VmHWM"),
        "resident": peak[0],
        "before": before,
        "batch": float(np.median(times)),
    }


def compare(data: Any, block: Any, measure: str, landmarks: Any, folder: Path) -> str:
    """Equal first, then times on one category."""
    import numpy as np

    from cmah.negatives.similarity_store import SimilarityStore

    start = time.perf_counter()
    whole = dense(measure, data[block].astype(np.float32), landmarks)
    peer = time.perf_counter() - start
    start = time.perf_counter()
    store = SimilarityStore.build(
        folder,
        measure,
        [block],
        lambda p: data[p].astype(np.float32),
        [landmarks] if measure == "i2l2" else None,
    )
    ours = time.perf_counter() - start
    np.fill_diagonal(whole, 1)
    error = float((np.abs(store.batch(block, 0.25) - whole) / whole).max())
    if error > 1.1 * ROUNDING:
        raise SystemExit(f"{measure}: differs from the dense matrix by {error:.2g}, more than float16 rounds")
    size = whole.nbytes / sum(path.stat().st_size for path in folder.glob("*.npy"))
    return (
        f"{measure:5} {len(block):6,} shapes: equal to {error:.1e}; dense {peer:.2f} s, store {ours:.2f} s "
        f"({peer / ours:.1f} times as fast), {size:.1f} times as small"
    )


@click.command(help=__doc__)
@click.option("--shapes", default=52_000, type=click.IntRange(min=10))
@click.option("--categories", default=55, type=click.IntRange(min=1))
@click.option("--views", default=30, type=click.IntRange(min=1))
@click.option("--width", default=512, type=click.IntRange(min=1))
@click.option("--landmarks", default=128, type=click.IntRange(min=1))
@click.option("--threads", default=1, type=click.IntRange(min=1), help="Of the matrix products.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the files, removed at the end.")
@click.option("--smoke", is_flag=True, help="300 shapes of 30 categories.")
def main(
    shapes: int,
    categories: int,
    views: int,
    width: int,
    landmarks: int,
    threads: int,
    out: Path | None,
    smoke: bool,
) -> None:
    """Make embeddings, compare, build, print."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)  # read when NumPy is imported, here and by the processes started
    if smoke:
        shapes, categories, views, width, landmarks = 300, 30, 4, 32, 8
    folder = Path(tempfile.mkdtemp(prefix="similarities-", dir=out))
    try:
        sizes = category_sizes(shapes, categories)
        data, blocks, seeds = make_embeddings(folder / "views.f16", sizes, views, width)
        pairs = sum(size * (size - 1) // 2 for size in sizes)
        click.echo(
            f"{shapes:,} shapes of {categories} categories (largest {sizes[0]:,}, smallest {sizes[-1]:,}), {views} "
            f"views of {width}, {landmarks} landmarks: {pairs:,} pairs; {threads} thread{'s' * (threads > 1)}"
        )
        for measure in ("i2i", "i2l2"):
            chosen = blocks[0][:2000]
            marks = landmarks_of(seeds[0], landmarks, width)
            click.echo(compare(data, chosen, measure, marks, folder / f"peer-{measure}"))
        task = {"data": folder / "views.f16", "shape": data.shape, "blocks": blocks, "landmarks": landmarks}
        del data
        for measure in ("i2i", "i2l2"):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                seen = pool.submit(build, {**task, "measure": measure, "folder": folder / measure}).result()
            click.echo(
                f"{measure:5} all: {seen['seconds']:.1f} s ({seen['cpu']:.1f} s of CPU), "
                f"{seen['bytes'] / 1e6:.1f} MB on disk; peak memory {seen['peak'] / 1e6:.0f} MB resident, "
                f"{seen['resident'] / 1e6:.0f} MB its own ({seen['before'] / 1e6:.0f} MB before); "
                f"a batch of {BATCH} {seen['batch'] * 1e6:.0f} µs"
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
