"""The flat scan, by NumPy and by the compiled kernels, split among threads and whole."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from slow_search import BACKENDS, LENGTHS, backend, clustered, distances, found

from cmah.errors import CodesError
from cmah.search import numpy_scan
from cmah.search import scan as scanning
from cmah.search.blocks import Planes


def planes_of(codes):
    planes = Planes(codes.bits)
    planes.append(codes.packed)
    return planes


def pairs(result):
    """(distance, position) lists of each query, of what a scan gives."""
    offsets, positions, dist = result
    assert (offsets.dtype, positions.dtype, dist.dtype) == (np.int64, np.int64, np.int32)
    assert offsets[0] == 0
    assert offsets[-1] == len(positions) == len(dist)
    both = list(zip(dist.tolist(), positions.tolist(), strict=True))
    return [both[a:b] for a, b in pairwise(offsets)]


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("bits", LENGTHS)
def test_every_length_around_the_borders_of_blocks(bits, name):
    block = Planes(bits).codes_in_block
    most = 2 * block + 1
    codes, queries = clustered(most, bits), clustered(2, bits, 1)
    rows = distances(queries, codes)
    with backend(name):
        for n in (0, 1, block - 1, block, block + 1, 2 * block - 1, 2 * block, most):
            planes = planes_of(codes[:n])
            for k in {1, 2, 10, max(n, 1), n + 5}:
                result = scanning.scan(planes, queries.packed, k, bits, threads=1)
                assert pairs(result) == [found(row[:n], k) for row in rows]
            for radius in (0, bits // 4, bits, bits + 9):
                result = scanning.scan(planes, queries.packed, None, radius, threads=1)
                assert pairs(result) == [found(row[:n], radius=radius) for row in rows]


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("bits", [1, 64, 320])
def test_every_k(bits, name):
    codes, queries = clustered(41, bits), clustered(3, bits, 1)
    rows, planes = distances(queries, codes), planes_of(codes)
    with backend(name):
        for k in range(1, 47):
            result = scanning.scan(planes, queries.packed, k, bits, threads=1)
            assert pairs(result) == [found(row, k) for row in rows]
            result = scanning.scan(planes, queries.packed, k, bits // 3, threads=1)
            assert pairs(result) == [found(row, k, bits // 3) for row in rows]


@pytest.mark.parametrize("name", BACKENDS)
def test_equal_codes_come_in_order_of_position(name):
    codes = clustered(1, 64)[np.zeros(1500, dtype=int)]
    queries = clustered(3, 64, 1)
    rows, planes = distances(queries, codes), planes_of(codes)
    with backend(name):
        for k in (1, 511, 512, 513, 1500):
            result = scanning.scan(planes, queries.packed, k, 64, threads=1)
            assert pairs(result) == [found(row, k) for row in rows]


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
            planes = planes_of(codes)
            for q in (0, 1, 7):
                queries = clustered(q, 64, 1)
                rows = distances(queries, codes)
                for threads in (1, 2, 5):
                    for k in (1, 30):
                        result = scanning.scan(planes, queries.packed, k, 64, threads)
                        assert pairs(result) == [found(row, k) for row in rows]
                    result = scanning.scan(planes, queries.packed, None, 9, threads)
                    assert pairs(result) == [found(row, radius=9) for row in rows]
                    result = scanning.scan(planes, queries.packed, 5, 9, threads)
                    assert pairs(result) == [found(row, 5, 9) for row in rows]


def test_work_is_shared_only_where_it_is_worth_it(monkeypatch):
    used = []

    def in_threads(tasks, threads):
        used.append((len(tasks), threads))
        return [task() for task in tasks]

    monkeypatch.setattr(scanning, "in_threads", in_threads)
    planes = planes_of(clustered(2048, 64))
    queries = clustered(64, 64, 1).packed
    with backend("numpy"):
        scanning.scan(planes, queries, 1, 64, threads=4)
        monkeypatch.setattr(scanning, "WORTH_A_THREAD", 1 << 10)
        scanning.scan(planes, queries[:1], 1, 64, threads=4)  # parts of the codes
        scanning.scan(planes, queries, 1, 64, threads=4)  # parts of the queries
        scanning.scan(planes, queries, 1, 64, threads=1)
    assert used == [(1, 1), (4, 4), (4, 4), (1, 1)]


@pytest.mark.parametrize("name", BACKENDS)
def test_more_is_found_than_the_first_entries_have_room_for(name):
    codes, queries = clustered(1200, 64), clustered(9, 64, 1)
    rows, planes = distances(queries, codes), planes_of(codes)
    with backend(name):
        for k, radius in ((1000, 64), (None, 64), (2000, 64)):
            result = scanning.scan(planes, queries.packed, k, radius, threads=1)
            assert pairs(result) == [found(row, k, radius) for row in rows]


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_impossible_numbers_of_threads(threads):
    with pytest.raises(CodesError, match="threads is"):
        scanning.thread_count(threads)


def test_as_many_threads_as_cores_by_default():
    assert scanning.thread_count(None) == len(os.sched_getaffinity(0))
    assert scanning.thread_count(np.int64(3)) == 3


def test_who_does_the_work(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.delenv("CMAH_NO_NUMBA", raising=False)
    assert scanning.compiled(1) is not None  # it is imported by now
    monkeypatch.setenv("CMAH_NO_NUMBA", "1")
    assert scanning.compiled(1 << 40) is None
    monkeypatch.delenv("CMAH_NO_NUMBA")
    monkeypatch.delitem(sys.modules, "numba")
    monkeypatch.setattr(scanning, "_work", 0)
    assert scanning.compiled(1) is None
    assert scanning.compiled(scanning.WORTH_COMPILED - 2) is None
    assert scanning.compiled(1) is not None  # small searches add up


def run_alone(code, folder, **environment):
    """What a fresh process prints that may use Numba."""
    kept = {name: value for name, value in os.environ.items() if name != "CMAH_NO_NUMBA"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_numba_numpy_does_it(tmp_path):
    code = """
import sys
sys.modules["numba"] = None  # importing it is an ImportError
import numpy as np
from cmah import BinaryCodes, HammingIndex
from cmah.search import scan
scan.WORTH_COMPILED = 0
assert scan.compiled(1 << 40) is None
index = HammingIndex(8)
index.add(BinaryCodes.from_packed(np.array([[7], [0], [1]], np.uint8), 8))
print(index.search(BinaryCodes.from_packed(np.array([[0]], np.uint8), 8), 2).ids.tolist())
"""
    assert run_alone(code, tmp_path) == "[[1, 2]]\n"


@pytest.mark.parametrize("word", ["u1", "u2", "u4", "u8"])
def test_counting_bits_without_bitwise_count(monkeypatch, word):
    bytes_ = np.random.default_rng(0).integers(0, 256, (3, 5, 8), dtype=np.uint8)
    words = bytes_.view(word)
    expected = np.unpackbits(bytes_, axis=2).reshape(*words.shape, -1).sum(axis=-1)
    np.testing.assert_array_equal(numpy_scan.differing_bits(words), expected)
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    counted = numpy_scan.differing_bits(words)
    np.testing.assert_array_equal(counted, expected)
    assert counted.dtype == np.uint8
    codes, queries = clustered(700, 72), clustered(2, 72, 1)
    with backend("numpy"):
        result = pairs(scanning.scan(planes_of(codes), queries.packed, 5, 72))
    assert result == [found(row, 5) for row in distances(queries, codes)]


def test_plain_scan_goes_over_the_codes_in_steps(monkeypatch):
    monkeypatch.setattr(numpy_scan, "AT_ONCE", 512)
    codes, queries = clustered(2600, 64), clustered(2, 64, 1)
    rows, planes = distances(queries, codes), planes_of(codes)
    with backend("numpy"):
        for k, radius in ((1, 64), (700, 64), (None, 9), (5, 9)):
            result = scanning.scan(planes, queries.packed, k, radius)
            assert pairs(result) == [found(row, k, radius) for row in rows]


@pytest.mark.parametrize("name", BACKENDS)
def test_calls_from_several_threads_at_once(monkeypatch, name):
    monkeypatch.setattr(scanning, "WORTH_A_THREAD", 1)
    codes = clustered(3000, 64)
    planes = planes_of(codes)
    queries = [clustered(4, 64, seed) for seed in range(1, 9)]
    with backend(name), ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(lambda each: scanning.scan(planes, each.packed, 20, 64, threads=2), queries * 3)
        )
    for each, result in zip(queries * 3, results, strict=True):
        assert pairs(result) == [found(row, 20) for row in distances(each, codes)]


IN_A_PROCESS_OF_ITS_OWN = """
import os, sys, threading
import numpy as np
from cmah import BinaryCodes, HammingIndex
from cmah.search import scan
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
assert scan.compiled(0) is not None

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


def test_threads_at_once_and_forks_after_use(tmp_path):
    """In a process of its own, where a crash or a lock that is never released shows.

    The workqueue layer of Numba aborts a process that uses it from two threads: it must not be used.
    """
    pytest.importorskip("numba")
    assert run_alone(IN_A_PROCESS_OF_ITS_OWN, tmp_path, NUMBA_THREADING_LAYER="workqueue") == "fine\n"


def test_a_small_search_in_a_fresh_process_does_not_wait_for_numba(tmp_path):
    code = """
import sys
import cmah
assert not {"numba", "numpy"} & set(sys.modules)
import numpy as np
codes = cmah.BinaryCodes.from_packed(np.random.default_rng(0).integers(0, 256, (10_000, 8), dtype=np.uint8), 64)
index = cmah.HammingIndex(64)
index.add(codes, ids=[str(i) for i in range(10_000)])
index.save("i.cmah")
index = cmah.HammingIndex.open("i.cmah")
assert (index.search(codes[:3], 5).ids[:, 0] == ["0", "1", "2"]).all()
index.search_radius(codes[:3], 2)
assert "numba" not in sys.modules
"""
    run_alone(code, tmp_path)
