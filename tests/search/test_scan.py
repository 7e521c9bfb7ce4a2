"""The flat scan, by NumPy and by the compiled kernels, split among threads and whole."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from slow_search import BACKENDS, LENGTHS, backend, blocks_of, clustered, distances, found, pairs, run_alone

from cmah.search import scan as scanning
from cmah.search.blocks import CodeBlocks


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("bits", LENGTHS)
def test_every_length_around_the_borders_of_blocks(bits, name):
    block = CodeBlocks(bits).codes_in_block
    most = 2 * block + 1
    codes, queries = clustered(most, bits), clustered(2, bits, 1)
    rows = distances(queries, codes)
    with backend(name):
        for n in (0, 1, block - 1, block, block + 1, 2 * block - 1, 2 * block, most):
            blocks = blocks_of(codes[:n])
            for k in {1, 2, 10, max(n, 1), n + 5}:
                result = scanning.scan(blocks, queries.packed, k, bits, threads=1)
                assert pairs(result) == [found(row[:n], k) for row in rows]
            for radius in (0, bits // 4, bits, bits + 9):
                result = scanning.scan(blocks, queries.packed, None, radius, threads=1)
                assert pairs(result) == [found(row[:n], radius=radius) for row in rows]


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("bits", [1, 64, 320])
def test_every_k(bits, name):
    codes, queries = clustered(41, bits), clustered(3, bits, 1)
    rows, blocks = distances(queries, codes), blocks_of(codes)
    with backend(name):
        for k in range(1, 47):
            result = scanning.scan(blocks, queries.packed, k, bits, threads=1)
            assert pairs(result) == [found(row, k) for row in rows]
            result = scanning.scan(blocks, queries.packed, k, bits // 3, threads=1)
            assert pairs(result) == [found(row, k, bits // 3) for row in rows]


@pytest.mark.parametrize("name", BACKENDS)
def test_equal_codes_come_in_order_of_position(name):
    codes = clustered(1, 64)[np.zeros(1500, dtype=int)]
    queries = clustered(3, 64, 1)
    rows, blocks = distances(queries, codes), blocks_of(codes)
    with backend(name):
        for k in (1, 511, 512, 513, 1500):
            result = scanning.scan(blocks, queries.packed, k, 64, threads=1)
            assert pairs(result) == [found(row, k) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("tile", [1, 3, 256])
@pytest.mark.parametrize("few", [0, 2, 16])
def test_however_the_work_is_shared(monkeypatch, name, tile, few):
    """With `few` = 0 threads share out the queries, with 16 the codes; parts may be empty."""
    monkeypatch.setattr(scanning, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(scanning, "TILE", tile)
    monkeypatch.setattr(scanning, "FEW", few)
    with backend(name):
        for n in (1, 1700):
            codes = clustered(n, 64)
            blocks = blocks_of(codes)
            for q in (0, 1, 7):
                queries = clustered(q, 64, 1)
                rows = distances(queries, codes)
                for threads in (1, 2, 5):
                    for k in (1, 30):
                        result = scanning.scan(blocks, queries.packed, k, 64, threads)
                        assert pairs(result) == [found(row, k) for row in rows]
                    result = scanning.scan(blocks, queries.packed, None, 9, threads)
                    assert pairs(result) == [found(row, radius=9) for row in rows]
                    result = scanning.scan(blocks, queries.packed, 5, 9, threads)
                    assert pairs(result) == [found(row, 5, 9) for row in rows]


def test_work_is_shared_only_where_it_is_worth_it(monkeypatch):
    used = []

    def in_threads(tasks, threads):
        used.append((len(tasks), threads))
        return [task() for task in tasks]

    monkeypatch.setattr(scanning, "in_threads", in_threads)
    blocks = blocks_of(clustered(2048, 64))
    queries = clustered(4 * scanning.FEW, 64, 1).packed
    with backend("numpy"):
        scanning.scan(blocks, queries[:64], 1, 64, threads=4)
        monkeypatch.setattr(scanning, "WORTH_A_THREAD", 1 << 10)
        scanning.scan(blocks, queries[:1], 1, 64, threads=4)  # parts of the codes
        scanning.scan(blocks, queries, 1, 64, threads=4)  # parts of the queries
        scanning.scan(blocks, queries, 1, 64, threads=1)
    assert used == [(1, 1), (4, 4), (4, 4), (1, 1)]


@pytest.mark.parametrize("name", BACKENDS)
def test_more_is_found_than_the_first_entries_have_room_for(name):
    codes, queries = clustered(1200, 64), clustered(9, 64, 1)
    rows, blocks = distances(queries, codes), blocks_of(codes)
    with backend(name):
        for k, radius in ((1000, 64), (None, 64), (2000, 64)):
            result = scanning.scan(blocks, queries.packed, k, radius, threads=1)
            assert pairs(result) == [found(row, k, radius) for row in rows]


@pytest.mark.parametrize("name", BACKENDS)
def test_calls_from_several_threads_at_once(monkeypatch, name):
    monkeypatch.setattr(scanning, "WORTH_A_THREAD", 1)
    codes = clustered(3000, 64)
    blocks = blocks_of(codes)
    queries = [clustered(4, 64, seed) for seed in range(1, 9)]
    with backend(name), ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(lambda each: scanning.scan(blocks, each.packed, 20, 64, threads=2), queries * 3)
        )
    for each, result in zip(queries * 3, results, strict=True):
        assert pairs(result) == [found(row, 20) for row in distances(each, codes)]


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize(("bits", "q"), [(16, 9), (64, 70), (320, 5)])
def test_over_bit_planes(monkeypatch, bits, q, size):
    """However small the work, and whatever the size of the groups: the results of a plain sort."""
    pytest.importorskip("numba")
    from cmah.kernels import bitsliced
    from cmah.search import compiled_scan

    calls = []

    def shapes(blocks, queries, k):
        calls.append(k)
        return [bitsliced.shape_of(bits, size)]

    monkeypatch.setattr(compiled_scan, "_shapes", shapes)
    codes, queries = clustered(3000, bits), clustered(q, bits, 1)
    rows, blocks = distances(queries, codes), blocks_of(codes)
    with backend("compiled"):
        for k, radius in (
            (1, bits),
            (10, bits),
            (700, bits),
            (None, 0),
            (None, bits // 3),
            (4, 3),
            (None, bits),
        ):
            for threads in (1, 3):
                result = scanning.scan(blocks, queries.packed, k, radius, threads)
                assert pairs(result) == [found(row, k, radius) for row in rows]
    assert calls


@pytest.mark.parametrize(
    ("bits", "n", "q", "k", "sizes"),
    [
        (64, 1_000_000, 256, 10, [4, 3]),
        (64, 1_000_000, 40, 10, [3]),
        (64, 1_000_000, 256, 1000, [3]),
        (64, 1_000_000, 256, None, [4, 3]),
        (64, 1_000_000, 1, 10, []),  # the tables would be for one query
        (512, 1_000_000, 32, 10, []),
        (64, 10_000, 256, 10, []),  # done before anything is compiled
        (64, 1_000_000, 256, 100_000, []),
        (2048, 1_000_000, 256, 10, []),  # tables too large for the cache
    ],
)
def test_which_way_is_taken(bits, n, q, k, sizes):
    pytest.importorskip("numba")
    from cmah.search import compiled_scan

    codes = CodeBlocks(bits).codes_in_block
    one = np.zeros((1, bits // 64, codes), np.uint64)
    blocks = np.broadcast_to(one, (n // codes, *one.shape[1:]))  # no memory
    shapes = compiled_scan._shapes(blocks, np.zeros((q, bits // 64), np.uint64), k)
    assert [len(shape[1]) for shape in shapes] == sizes


def test_big_endian_machines_count_bits(monkeypatch):
    pytest.importorskip("numba")
    from cmah.search import compiled_scan

    blocks, queries = np.empty((2000, 1, 512), np.uint64), np.zeros((256, 1), np.uint64)
    assert compiled_scan.first_shape(blocks, queries, 10) is not None
    monkeypatch.setattr("sys.byteorder", "big")
    assert compiled_scan.first_shape(blocks, queries, 10) is None


IN_A_PROCESS_OF_ITS_OWN = """
import os, sys, threading
import numpy as np
from cmah import BinaryCodes, HammingIndex
from cmah.search import backend, scan
import numba
scan.WORTH_A_THREAD = 1
random = np.random.default_rng(0)
codes = BinaryCodes.from_packed(random.integers(0, 256, (3000, 8), dtype=np.uint8), 64)
index = HammingIndex(64)
index.add(codes)
index.save("i.cmah")
index = HammingIndex.open("i.cmah")
expected = np.unpackbits(codes.packed[:20, None] ^ codes.packed, axis=2).sum(axis=2)
order = np.argsort(expected, axis=1, kind="stable")[:, :10]
assert backend.compiled(0) is not None

def search():
    for q in (20, 1):
        for threads in (1, 2, 3):
            np.testing.assert_array_equal(index.search(codes[:q], 10, threads=threads).positions, order[:q])

def search_and_tell():
    search()
    done.append(1)

done = []
start = threading.Barrier(3)
threads = [threading.Thread(target=lambda: (start.wait(), search_and_tell())) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(done) == 3
child = os.fork()
if child == 0:
    search()
    grandchild = os.fork()
    search()
    if grandchild:
        assert os.waitpid(grandchild, 0)[1] == 0
    sys.exit(0)
search()
assert os.waitpid(child, 0)[1] == 0
print("fine")
"""


@pytest.mark.slow
def test_threads_at_once_and_forks_after_use(tmp_path):
    """In a process of its own, where a crash or a lock that is never released shows.

    The workqueue layer of Numba aborts a process that uses it from two threads: it must not be used.
    """
    pytest.importorskip("numba")
    assert run_alone(IN_A_PROCESS_OF_ITS_OWN, tmp_path, NUMBA_THREADING_LAYER="workqueue") == "fine\n"
