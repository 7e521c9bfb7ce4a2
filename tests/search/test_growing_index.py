"""An index that grows: what is added, removed and appended is what a plain list holds, in memory and in the file."""

import os
import random
import resource
import subprocess
import sys

import numpy as np
import pytest
from plain_index import read_plain
from slow_search import backend, clustered

from cmah.codes import BinaryCodes
from cmah.errors import CmahError, CodesError
from cmah.search import HammingIndex, MultiIndex, index_file, table_scan


class Items:
    """What an index must hold: a list of (id, code, shape)."""

    def __init__(self, ids):
        self.kind, self.items, self.ever = ids, [], 0

    def new_ids(self, count, random):
        """Ids to give to `add`, and those that the codes must then have."""
        if self.kind == "positions":
            first = max([-1, *(item[0] for item in self.items)]) + 1
            return None, list(range(first, first + count))
        numbers = [7 * (self.ever + i) - 50 for i in range(count)]
        self.ever += count
        random.shuffle(numbers)
        ids = numbers if self.kind == "numbers" else [f"größe {number}" for number in numbers]
        return ids, ids

    def add(self, index, codes, random):
        given, ids = self.new_ids(len(codes), random)
        shapes = [random.choice(("", "Stuhl", "lamp", f"own {len(self.items)}")) for _ in ids]
        with_shapes = random.random() < 0.5
        index.add(codes, given, shapes if with_shapes else None)
        shapes = shapes if with_shapes else [""] * len(ids)
        self.items += zip(ids, codes.packed.tolist(), shapes, strict=True)

    def remove(self, index, random):
        count = min(len(self.items), random.choice((0, 1, 2, 30, len(self.items))))
        gone = {item[0] for item in random.sample(self.items, count)}
        index.remove(np.array(sorted(gone), dtype=str if self.kind == "texts" else np.int64))
        self.items = [item for item in self.items if item[0] not in gone]

    def fresh(self, bits):
        """A flat index that is made of the items at once."""
        index = HammingIndex(bits, "f00")
        if self.items:
            ids, rows, shapes = zip(*self.items, strict=True)
            index.add(BinaryCodes.from_packed(np.array(rows, np.uint8), bits), list(ids), list(shapes))
        return index


def assert_equal(a, b):
    for name, value in vars(a).items():
        np.testing.assert_array_equal(value, getattr(b, name))


def assert_same(index, items, queries, threads=None):
    """Everything that an index answers, beside a fresh index of the items that it must hold."""
    fresh = items.fresh(index.bits)
    assert len(index) == len(items.items)
    assert index.ids.tolist() == [item[0] for item in items.items]
    assert index.codes.packed.tolist() == [item[1] for item in items.items]
    assert [(name, row.tolist()) for name, row in index] == [item[:2] for item in items.items]
    shapes = [item[2] for item in items.items]
    assert (index.shapes is None) == (not any(shapes))
    if index.shapes is not None:
        assert index.shapes.values.tolist() == shapes
        groups = (index.shapes.groups(), fresh.shapes.groups())
        for k in (1, 10, 5000):
            assert_equal(index.search(queries, k, group=groups[0]), fresh.search(queries, k, group=groups[1]))
    some = index.ids[::7]
    assert index.codes_of(some).packed.tolist() == [item[1] for item in items.items[::7]]
    for k in (1, 10, 5000):
        assert_equal(index.search(queries, k, threads=threads), fresh.search(queries, k))
    for radius in (0, 3, index.bits):
        near = index.search_radius(queries, radius, threads=threads)
        assert_equal(near, fresh.search_radius(queries, radius))


def grow(path, seed, steps=12):
    """A random sequence of changes, compared with the list of items again and again."""
    rng = random.Random(seed)
    bits, kind = rng.choice((24, 24, 4096)), rng.choice((HammingIndex, MultiIndex))
    items, index = Items(rng.choice(("positions", "numbers", "texts"))), kind(bits, "f00")
    index.dataset = rng.choice(("", "/data"))
    dataset = index.dataset
    queries = clustered(3, bits, seed + 1)
    index.save(path)
    for step in range(steps):
        what = rng.choice(("add", "add", "add", "remove", "append", "append", "open", "save"))
        if what == "add":
            count = rng.choice((0, 1, 5, 70) if bits == 4096 else (0, 1, 5, 600))
            items.add(index, clustered(count, bits, 1000 * seed + step), rng)
        elif what == "remove":
            items.remove(index, rng)
        elif what == "append":
            index.save(path, append=True)
            assert read_plain(path.read_bytes()).ids == [item[0] for item in items.items]
        elif what == "open":
            index.save(path, append=True)
            index = kind.open(path, mmap=rng.random() < 0.5, verify=rng.random() < 0.5)
            assert (index.space, index.dataset) == ("f00", dataset)
            assert type(index) is kind
        else:
            index.save(path)
        if rng.random() < 0.4:
            assert_same(index, items, queries)
    index.save(path, append=True)
    assert_same(index, items, queries)
    plain = read_plain(path.read_bytes())
    shapes = [item[2] for item in items.items]
    assert (plain.ids, plain.rows, plain.shapes) == (
        [i[0] for i in items.items],
        [i[1] for i in items.items],
        shapes,
    )
    for mmap in (True, False):
        assert_same(HammingIndex.open(path, mmap=mmap, verify=True), items, queries)


@pytest.mark.parametrize("seed", range(12))
def test_a_growing_index_is_a_list_of_items(tmp_path, seed):
    with backend("numpy"):
        grow(tmp_path / "index.cmah", seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 160))
def test_many_growing_indexes(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(table_scan, "SHARE", 1e9)  # by tables wherever there are some
    with backend("compiled"):
        grow(tmp_path / "index.cmah", seed, steps=25)


@pytest.mark.parametrize("ids", ["texts", "numbers"])
def test_positions_after_all_were_removed(tmp_path, ids):
    """New ids begin at 0 again, though their places in the file do not."""
    path = tmp_path / "index.cmah"
    index = HammingIndex(24)
    index.add(clustered(5, 24), [f"{i}" for i in range(5)] if ids == "texts" else None)
    index.save(path)
    index.remove(index.ids)
    index.add(clustered(3, 24, 1))
    if ids == "texts":
        before = path.read_bytes()
        with pytest.raises(CodesError, match="ids in the file are text, those that are added numbers"):
            index.save(path, append=True)
        assert path.read_bytes() == before
        index.save(path)
    else:
        index.save(path, append=True)
    assert HammingIndex.open(path).ids.tolist() == index.ids.tolist() == [0, 1, 2]


def saved_index(path, n=700, bits=24, kind=HammingIndex):
    index = kind(bits, "f00")
    index.add(clustered(n, bits), [f"item {i}" for i in range(n)], [f"shape {i // 2}" for i in range(n)])
    index.save(path)
    return index


def test_a_reader_still_sees_the_state_that_it_opened(tmp_path):
    path, queries = tmp_path / "index.cmah", clustered(4, 24, 1)
    index = saved_index(path)
    size = path.stat().st_size
    reader = HammingIndex.open(path)
    before = (
        reader.codes,
        reader.ids.tolist(),
        reader.shapes.values.tolist(),
        reader.search(queries, 20).to_list(),
    )
    for i in range(3):
        index.add(clustered(400, 24, i), [f"new {i} {j}" for j in range(400)])
        index.remove(["item 3", "item 4"] if not i else [f"new {i} 0"])
        index.save(path, append=True)
    assert path.stat().st_size > size
    after = (
        reader.codes,
        reader.ids.tolist(),
        reader.shapes.values.tolist(),
        reader.search(queries, 20).to_list(),
    )
    assert after == before
    assert len(HammingIndex.open(path)) == 700 + 3 * 400 - 4
    reader.add(clustered(1, 24), ["one"])
    with pytest.raises(CodesError, match="has changed since this index was opened; open it again"):
        reader.save(path, append=True)


def test_nothing_that_counts_is_written_to_but_a_commit(tmp_path):
    path = tmp_path / "index.cmah"
    index = saved_index(path)
    for i in range(4):
        before = path.read_bytes()
        index.add(clustered(50, 24, i), [f"new {i} {j}" for j in range(50)])
        index.save(path, append=True)
        after = path.read_bytes()
        changed = [place for place in range(len(before)) if before[place] != after[place]]
        assert set(changed) <= set(range(256, 288) if i % 2 == 0 else range(288, 320))
        assert changed


def test_the_size_of_what_is_appended(tmp_path):
    path = tmp_path / "index.cmah"
    index = HammingIndex(64)
    index.add(clustered(10_000, 64))
    index.save(path)
    before = path.stat().st_size
    index.add(clustered(1, 64))
    index.save(path, append=True)
    assert path.stat().st_size - before <= 320 + 512 * 8 + 64
    before = path.stat().st_size
    index.save(path, append=True)  # nothing to write
    assert path.stat().st_size == before


def test_an_index_opened_while_another_process_appends(tmp_path, monkeypatch):
    """The file grows, and what it has more counts, between being mapped and being looked at."""
    path = tmp_path / "index.cmah"
    index, real = saved_index(path), index_file.read_layout
    for mmap in (True, False):
        index.add(clustered(5, 24), [f"{mmap} {i}" for i in range(5)])
        calls = []

        def late(data, calls=calls):
            calls.append(len(data))
            if len(calls) == 1:
                monkeypatch.setattr(index_file, "read_layout", real)
                index.save(path, append=True)
                monkeypatch.setattr(index_file, "read_layout", late)
                data = memoryview(path.read_bytes()[:320] + bytes(data[320:]))  # as a mapping sees it
            return real(data)

        monkeypatch.setattr(index_file, "read_layout", late)
        assert len(HammingIndex.open(path, mmap=mmap)) == len(index)
        assert len(calls) == 2
        monkeypatch.setattr(index_file, "read_layout", real)


def test_what_is_not_appended_to(tmp_path):
    path, other = tmp_path / "index.cmah", tmp_path / "other.cmah"
    index = saved_index(path)
    before = path.read_bytes()
    new = HammingIndex(24)
    for each in (new, HammingIndex.open(path)):
        with pytest.raises(
            CodesError, match=r"other\.cmah: this index was not opened from it, nor saved to it"
        ):
            each.save(other, append=True)
    assert not other.exists()
    saved_index(path)  # the same bytes in another file
    index.add(clustered(1, 24), ["one"])
    with pytest.raises(CodesError, match="has changed since"):
        index.save(path, append=True)
    assert path.read_bytes() == before
    index = HammingIndex.open(path)
    index.add(clustered(1, 24), ["one"])
    path.write_bytes(b"")
    with pytest.raises(CodesError, match=r"index\.cmah: "):
        index.save(path, append=True)
    path.unlink()
    with pytest.raises(CodesError, match=r"cannot be appended to \(No such file"):
        index.save(path, append=True)
    assert list(tmp_path.iterdir()) == []


def test_codes_of_another_space_are_not_appended(tmp_path):
    path = tmp_path / "index.cmah"
    index = saved_index(path)
    index.add(clustered(1, 24), ["one"])
    index.space = "another"
    before = path.read_bytes()
    with pytest.raises(CodesError, match="codes of space another, expected f00"):
        index.save(path, append=True)
    assert path.read_bytes() == before


def test_a_link_is_appended_to_where_it_leads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved_index(tmp_path / "index.cmah")
    (tmp_path / "link.cmah").symlink_to("index.cmah")
    index = HammingIndex.open("link.cmah")
    index.add(clustered(1, 24), ["one"])
    index.save(tmp_path / "index.cmah", append=True)
    assert (tmp_path / "link.cmah").is_symlink()
    assert len(HammingIndex.open("link.cmah")) == 701


@pytest.mark.parametrize("room", [0, 100, 319, 1000, 5000, 9000])
def test_a_full_disk(tmp_path, room):
    """One line, the file as it was, and once there is room the same index is appended."""
    path = tmp_path / "index.cmah"
    index = saved_index(path)
    index.add(clustered(2000, 24, 1), [f"new {i}" for i in range(2000)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, hard))
    try:
        with pytest.raises(CmahError, match=r"index\.cmah: cannot be written \(File too large\)"):
            index.save(path, append=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(HammingIndex.open(path, verify=True)) == 700
    index.save(path, append=True)
    assert HammingIndex.open(path, verify=True).ids.tolist() == index.ids.tolist()


def test_a_multi_index_scans_what_its_tables_lack(monkeypatch):
    monkeypatch.setattr(table_scan, "SHARE", 1e9)
    codes, queries = clustered(1260, 24), clustered(5, 24, 1)
    with backend("compiled"):
        index, flat = MultiIndex(24), HammingIndex(24)
        for each in (index, flat):
            each.add(codes[:1000])
        tables = index.tables()
        for first, last in ((1000, 1001), (1001, 1200), (1200, 1260)):
            for each in (index, flat):
                each.add(codes[first:last])
            assert (index._tables is tables) == (last < 1260)  # built anew beyond a fifth
            for k in (1, 10, last - 1000, last - 999, last, last + 5):
                assert_equal(index.search(queries, k), flat.search(queries, k))
                half = np.arange(last) // 2
                assert_equal(index.search(queries, k, group=half), flat.search(queries, k, group=half))
            for radius in (0, 2, 5, 24):
                assert_equal(index.search_radius(queries, radius), flat.search_radius(queries, radius))
        assert index._tables.n == 1260


@pytest.mark.parametrize("beside", [0, 1, 100, 400])
def test_a_multi_index_of_a_file_keeps_its_tables(tmp_path, monkeypatch, beside):
    monkeypatch.setattr(table_scan, "SHARE", 1e9)
    path, queries = tmp_path / "index.cmah", clustered(5, 24, 1)
    with backend("compiled"):
        index = saved_index(path, kind=MultiIndex)
        index.add(clustered(beside, 24, 2), [f"new {i}" for i in range(beside)])
        index.save(path, append=True)
        opened = MultiIndex.open(path, verify=True)
        assert (opened._tables is None) == (beside == 400)
        assert read_plain(path.read_bytes()).tabled == 700
        for k in (1, 10, 700 + beside):
            assert_equal(opened.search(queries, k), index.search(queries, k))
        opened.remove(["item 5"])
        opened.save(path, append=True)
        again = MultiIndex.open(path, verify=True)
        assert again._tables is None  # of other codes than those that are left
        assert_equal(again.search(queries, 10), opened.search(queries, 10))


APPENDING_UNTIL_KILLED = """
import os, random, signal, time
import numpy as np
from cmah import BinaryCodes, HammingIndex
random.seed(0)
STEP = 7_000
def append(index):
    n = len(index)
    codes = BinaryCodes.from_packed(np.full((STEP, 8), n // STEP % 251, np.uint8), 64)
    index.add(codes, ids=[f"{n + i}" for i in range(STEP)], shape_ids=[f"shape {n // STEP}"] * STEP)
    index.save("i.cmah", append=True)
HammingIndex(64).save("i.cmah")
caught = grown = 0
for _ in range(20):
    child = os.fork()
    if child == 0:
        index, fsync = HammingIndex.open("i.cmah"), os.fsync
        os.fsync = lambda handle: (time.sleep(0.01), fsync(handle))  # a slow disk
        while True:
            append(index)
    time.sleep(random.uniform(0.01, 0.15))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    index = HammingIndex.open("i.cmah", verify=True)
    n = len(index)
    assert n % STEP == 0
    caught += os.stat("i.cmah").st_size > index._state.layout.commit.end
    if n:
        assert (index.codes.packed == np.arange(n)[:, None] // STEP % 251).all()
        assert index.ids.tolist() == [str(i) for i in range(n)]
        assert index.shapes.values[::STEP].tolist() == [f"shape {i}" for i in range(n // STEP)]
    append(index)
    assert len(HammingIndex.open("i.cmah", verify=True)) == n + STEP
    grown += n
    if n > 100_000:
        HammingIndex(64).save("i.cmah")
print(caught, grown)
"""


@pytest.mark.slow
def test_killed_while_appending(tmp_path):
    command = [sys.executable, "-c", APPENDING_UNTIL_KILLED]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    caught, grown = map(int, done.stdout.split())
    assert caught > 0  # at least one was in the middle of it
    assert grown > 0


HOLDING = """
import fcntl, sys
with open("index.cmah", "r+b") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_two_processes_do_not_append_at_once(tmp_path):
    path = tmp_path / "index.cmah"
    index = saved_index(path)
    index.add(clustered(1, 24), ["one"])
    before = path.read_bytes()
    command = [sys.executable, "-c", HOLDING]
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(CodesError, match=r"index\.cmah: another process is appending to it$"):
            index.save(path, append=True)
        assert path.read_bytes() == before
        assert len(HammingIndex.open(path)) == 700  # reading goes on
        other.communicate("")
    index.save(path, append=True)
    assert len(HammingIndex.open(path)) == 701


APPENDING_BESIDE_OTHERS = """
import sys
from cmah import BinaryCodes, HammingIndex
from cmah.errors import CodesError
import numpy as np
done = 0
for i in range(60):
    index = HammingIndex.open("index.cmah", verify=True)
    index.add(BinaryCodes.from_packed(np.full((20, 3), i, np.uint8), 24), [f"{sys.argv[1]} {i} {j}" for j in range(20)])
    try:
        index.save("index.cmah", append=True)
        done += 1
    except CodesError as error:
        assert "another process is appending to it" in str(error) or "has changed since" in str(error), error
print(done)
"""


@pytest.mark.slow
def test_processes_that_append_beside_each_other(tmp_path):
    """What was appended without an error is there, and every state that was opened was whole."""
    path = tmp_path / "index.cmah"
    saved_index(path)
    commands = [[sys.executable, "-c", APPENDING_BESIDE_OTHERS, name] for name in "ab"]
    running = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    answers = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0], answers
    done = sum(int(out) for out, _ in answers)
    assert done > 0
    assert len(HammingIndex.open(path, verify=True)) == 700 + 20 * done
    assert os.listdir(tmp_path) == ["index.cmah"]
