"""The index file: its bytes, its size, its golden files, and that it is written whole or not at all.

The golden files of version 2 were written by

    PYTHONPATH=tests:tests/search:tests/helpers python -c "import test_index_file as t; t.write_golden(t.GOLDEN)"

and those of version 1 by a cmah that wrote no other; they are only read.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from plain_index import read_plain, write_version_1
from slow_search import clustered

from cmah.codes import BinaryCodes
from cmah.errors import CmahError, CodesError
from cmah.search import HammingIndex, MultiIndex
from cmah.search.index_file import refuse_to_replace

GOLDEN = Path(__file__).parents[1] / "golden"

# name: bits, number of codes, ids, space
GOLDEN_INDEXES = {
    "empty_64": (64, 0, None, ""),
    "positions_1": (1, 9, None, ""),
    "positions_64": (64, 515, None, "räume"),
    "numbers_24": (24, 3, [5, -1, 1 << 60], "f00"),
    "numbers_1000": (1000, 2, [-(2**63), 2**63 - 1], ""),
    "texts_72": (72, 5, ["a", "", "Stühle/β.obj", "item 3", "日本"], "f00"),
}


def golden_codes(bits, n):
    """Codes by a formula, so that they are the same with every version of everything."""
    row, column = np.ogrid[:n, : (bits + 7) // 8]
    packed = ((37 * row + 101 * column + 11 * row * column + (row >> 3)) % 256).astype(np.uint8)
    packed[:, -1] &= np.uint8(256 - (1 << (-bits % 8)))
    return BinaryCodes.from_packed(packed, bits)


def golden_index(name):
    bits, n, ids, space = GOLDEN_INDEXES[name]
    index = HammingIndex(bits, space)
    index.add(golden_codes(bits, n), ids)
    return index


def shapes_and_dataset(path):
    index = golden_index("texts_72")
    index.dataset = "/data/räume"
    index.add(golden_codes(72, 7)[5:], ["f", "g"], ["Stuhl", ""])
    index.add(golden_codes(72, 9)[7:], ["h", "i"], ["", "Tisch β"])
    index.save(path)


def grown(path):
    """Positions, then numbers; a short block that is filled up later; shapes in the third segment; removals."""
    codes = golden_codes(64, 1100)
    index = HammingIndex(64, "f00")
    index.add(codes[:500])
    index.save(path)
    for first, last in ((500, 510), (510, 1024), (1024, 1100)):
        named = first == 510
        shapes = ["" if i % 3 else f"shape {i % 2}" for i in range(first, last)] if named else None
        index.add(codes[first:last], np.arange(first, last) * 10 if named else None, shapes)
        index.remove(index.ids[[3, 40, -1]])
        index.save(path, append=True)
    index.remove(index.ids[:2])
    index.save(path, append=True)


def grown_texts(path):
    index = HammingIndex(1000)
    for first, last in ((0, 3), (3, 3), (3, 9)):
        index.add(golden_codes(1000, 9)[first:last], [f"größe {i}" for i in range(first, last)])
        if last == 3 == first:
            index.remove(["größe 1"])
        index.save(path, append=first > 0)


def multi(path, beside=0):
    index = MultiIndex(24, "f00")
    index.add(golden_codes(24, 40))
    index.save(path)
    if beside:
        index.add(golden_codes(24, 40 + beside)[40:])
        index.save(path, append=True)


GOLDEN_FILES = {
    "shapes_72": shapes_and_dataset,
    "grown_64": grown,
    "grown_1000": grown_texts,
    "multi_24": multi,
    "multi_beside_24": lambda path: multi(path, 3),
    **{name: lambda path, name=name: golden_index(name).save(path) for name in GOLDEN_INDEXES},
}


def write_golden(folder):
    for name, write in GOLDEN_FILES.items():
        write(folder / f"index_v2_{name}.cmah")


def contents(index):
    """All that an index holds, as `read_plain` gives it."""
    shapes = [""] * len(index) if index.shapes is None else index.shapes.values.tolist()
    return index.bits, index.codes.packed.tolist(), index.ids.tolist(), shapes


def plain_contents(path):
    plain = read_plain(path.read_bytes())
    return plain.bits, plain.rows, plain.ids, plain.shapes


@pytest.mark.parametrize("name", GOLDEN_INDEXES)
def test_golden_files_of_version_1(tmp_path, name):
    bits, n, ids, space = GOLDEN_INDEXES[name]
    golden, codes = GOLDEN / f"index_v1_{name}.cmah", golden_codes(bits, n)
    write_version_1(tmp_path / "plain.cmah", codes.packed, bits, ids, space)
    assert (tmp_path / "plain.cmah").read_bytes() == golden.read_bytes()
    for mmap in (True, False):
        index = HammingIndex.open(golden, mmap=mmap, verify=True)
        assert (index.bits, len(index), index.space) == (bits, n, space)
        np.testing.assert_array_equal(index.codes.packed, codes.packed)
        assert index.ids.tolist() == (list(range(n)) if ids is None else ids)
        index.save(tmp_path / "again.cmah")
        assert (tmp_path / "again.cmah").read_bytes() == (GOLDEN / f"index_v2_{name}.cmah").read_bytes()


@pytest.mark.parametrize("name", GOLDEN_FILES)
def test_golden_files_of_version_2(tmp_path, name):
    golden = GOLDEN / f"index_v2_{name}.cmah"
    GOLDEN_FILES[name](tmp_path / "index.cmah")
    assert (tmp_path / "index.cmah").read_bytes() == golden.read_bytes()
    for mmap in (True, False):
        index = HammingIndex.open(golden, mmap=mmap, verify=True)
        assert contents(index) == plain_contents(golden)
        assert type(index) is (MultiIndex if "multi" in name else HammingIndex)
        index.save(tmp_path / "again.cmah")  # as a whole: one segment
        again = HammingIndex.open(tmp_path / "again.cmah", verify=True)
        assert contents(again) == contents(index)
        assert (again.space, again.dataset) == (index.space, index.dataset)
        if "grown" not in name and "beside" not in name:
            assert (tmp_path / "again.cmah").read_bytes() == golden.read_bytes()


def test_what_the_golden_files_hold():
    plain = read_plain((GOLDEN / "index_v2_grown_64.cmah").read_bytes())
    assert (len(plain.rows), len(plain.spaces)) == (1100 - 3 * 3 - 2, 5)
    assert plain.ids[:3] == [2, 6, 7]
    assert set(plain.shapes) == {"", "shape 0", "shape 1"}
    plain = read_plain((GOLDEN / "index_v2_grown_1000.cmah").read_bytes())
    assert plain.ids == [f"größe {i}" for i in (0, 2, 3, 4, 5, 6, 7, 8)]
    plain = read_plain((GOLDEN / "index_v2_shapes_72.cmah").read_bytes())
    assert (plain.datasets, plain.spaces) == (["/data/räume"], ["f00"])
    assert plain.shapes == ["", "", "", "", "", "Stuhl", "", "", "Tisch β"]
    plain = read_plain((GOLDEN / "index_v2_multi_beside_24.cmah").read_bytes())
    assert (plain.tabled, len(plain.rows)) == (40, 43)


def test_version_1_is_not_appended_to(tmp_path):
    path = tmp_path / "index.cmah"
    write_version_1(path, clustered(3, 24).packed, 24)
    before = path.read_bytes()
    index = HammingIndex.open(path)
    index.save(path, append=True)  # nothing to write
    index.add(clustered(2, 24))
    with pytest.raises(
        CodesError, match=r"index\.cmah: version 1 of the format, to which nothing can be appended"
    ):
        index.save(path, append=True)
    assert path.read_bytes() == before
    index.save(path)
    index.add(clustered(2, 24))
    index.save(path, append=True)
    assert len(read_plain(path.read_bytes()).rows) == 7


@pytest.mark.parametrize("bits", [1, 9, 64, 72, 96, 1000])
@pytest.mark.parametrize("kind", ["positions", "numbers", "texts"])
def test_a_reader_by_the_document(tmp_path, bits, kind):
    n = 600
    ids = {"positions": None, "numbers": np.arange(n) - 7, "texts": [f"größe {i}" for i in range(n)]}[kind]
    index = HammingIndex(bits, "räume")
    index.dataset = "/data"
    codes, path = clustered(n, bits), tmp_path / "index.cmah"
    for first, last in ((0, 400), (400, 401), (401, 600)):
        part = None if ids is None else ids[first:last]
        index.add(codes[first:last], part, [f"shape {i % 7}" if i % 5 else "" for i in range(first, last)])
        index.save(path, append=first > 0)
        assert plain_contents(path) == contents(index)
        index.remove(index.ids[[0, 5]])
    index.save(path, append=True)
    plain = read_plain(path.read_bytes())
    assert (plain.spaces, plain.datasets) == (["räume"] * 4, ["/data"] * 4)
    assert (plain.version, len(plain.rows)) == (2, 594)
    for mmap in (True, False):
        again = HammingIndex.open(path, mmap=mmap, verify=True)
        assert plain_contents(path) == contents(index) == contents(again)


@pytest.mark.parametrize("ids", [None, [5, -1, 1 << 60], ["a", "", "Stühle/β.obj"]])
@pytest.mark.parametrize("bits", [1, 9, 64, 72])
@pytest.mark.parametrize("mmap", [True, False])
def test_there_and_back(tmp_path, ids, bits, mmap):
    index = HammingIndex(bits, space="räume")
    index.add(clustered(3, bits), ids=ids)
    path = tmp_path / "index.cmah"
    index.save(path)
    again = HammingIndex.open(path, mmap=mmap, verify=True)
    assert (again.bits, again.space, len(again)) == (bits, "räume", 3)
    assert again.ids.tolist() == index.ids.tolist()
    assert again.ids.dtype.kind == index.ids.dtype.kind
    assert again.codes == index.codes
    before = path.read_bytes()
    again.add(clustered(1, bits), ids=None if ids is None else ["new"] if isinstance(ids[0], str) else [99])
    again.remove(again.ids[:1])
    assert len(again) == 3
    assert path.read_bytes() == before
    again.save(path)  # over the file that it is mapped from
    assert HammingIndex.open(path).codes == again.codes
    assert again.search(clustered(1, bits), 3).distances.shape == (1, 3)
    assert [file.name for file in tmp_path.iterdir()] == ["index.cmah"]


@pytest.mark.parametrize("bits", [16, 24, 32, 48, 63, 64, 72, 128, 256, 512, 1000, 1024])
def test_size(tmp_path, bits):
    """Bits / 8 bytes an object, its ids, and at most 4 KiB."""
    n, width = 1000, (bits + 7) // 8
    names = [f"größe {i}" for i in range(n)]
    rooms = [
        (None, 0),
        (np.arange(n) * 3, 8 * n),
        (names, 8 * (n + 1) + sum(len(name.encode()) for name in names)),
    ]
    for ids, room in rooms:
        index = HammingIndex(
            bits, space="a hash of sixty-four characters, as the spaces of trained models are it"
        )
        index.add(clustered(n, bits), ids)
        index.save(tmp_path / "index.cmah")
        size = (tmp_path / "index.cmah").stat().st_size
        assert n * width + room <= size <= n * width + room + 4096


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(CodesError, match="cannot be written as UTF-8"):
        HammingIndex(8, space="\udc80").save(tmp_path / "index.cmah")
    (tmp_path / "folder.cmah").mkdir()
    with pytest.raises(CmahError, match=r"folder\.cmah: cannot be written"):
        HammingIndex(8).save(tmp_path / "folder.cmah")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.cmah"]


SAVING_UNTIL_KILLED = """
import os, random, signal, sys, time
import numpy as np
from cmah import BinaryCodes, HammingIndex
random.seed(0)
indexes = []
for n in (30_000, 50_000):
    index = HammingIndex(64)
    index.add(BinaryCodes.from_packed(np.full((n, 8), n % 251, np.uint8), 64), ids=[f"{n} {i}" for i in range(n)])
    indexes.append(index)
indexes[0].save("i.cmah")
caught = 0
for _ in range(15):
    child = os.fork()
    if child == 0:
        while True:
            for index in reversed(indexes):
                index.save("i.cmah")
    time.sleep(random.uniform(0.001, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    caught += any(name.endswith(".tmp.cmah") for name in os.listdir())
    index = HammingIndex.open("i.cmah", verify=True)
    n = len(index)
    assert n in (30_000, 50_000)
    assert (index.codes.packed == n % 251).all() and index.ids[-1] == f"{n} {n - 1}"
print(caught)
"""


@pytest.mark.slow
def test_killed_while_saving(tmp_path):
    command = [sys.executable, "-c", SAVING_UNTIL_KILLED]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0  # at least one was in the middle of it


OPENING_FOUR_GIGABYTES = """
import os, resource, struct, zlib
import numpy as np
from cmah import BinaryCodes, HammingIndex
n = (4 << 30) // 8 + 5
one = HammingIndex(64)
one.add(BinaryCodes.from_packed(np.zeros((1, 8), np.uint8), 64))
one.save("i.cmah")
header = bytearray(open("i.cmah", "rb").read(320))
end = 320 + -(-8 * n // 64) * 64
struct.pack_into("<Q", header, 16, n)
struct.pack_into("<Q", header, 48, 8 * n)
for number in range(1, 7):
    struct.pack_into("<Q", header, 40 + 24 * number, end)
struct.pack_into("<I", header, 208, zlib.crc32(bytes(header[:208])))
struct.pack_into("<QQ", header, 288, end, n)
struct.pack_into("<I", header, 312, zlib.crc32(bytes(header[288:312])))
with open("i.cmah", "r+b") as file:
    file.write(header)
    file.truncate(end)
    file.seek(end - 64)
    file.write(bytes(range(64)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
index = HammingIndex.open("i.cmah")
assert len(index) == n
assert index.codes_of([0, n - 1, n // 2]).packed.any(axis=1).tolist() == [False, True, False]
index.add(index.codes_at(np.array([0])))
index.save("i.cmah", append=True)
assert len(HammingIndex.open("i.cmah")) == n + 1
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def test_opening_does_not_read_the_codes(tmp_path):
    """A file with a hole of 4 GiB in it, to which codes are then appended."""
    command = [sys.executable, "-c", OPENING_FOUR_GIGABYTES]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 32  # MiB of memory


def test_only_index_files_are_replaced(tmp_path):
    path, foreign = tmp_path / "index.cmah", tmp_path / "foreign"
    refuse_to_replace(path)
    HammingIndex(8).save(path)
    refuse_to_replace(path, [foreign])
    with pytest.raises(CmahError, match="is read here"):
        refuse_to_replace(path, [path])
    foreign.write_bytes(b"something and CMAH-IDX")
    with pytest.raises(CodesError, match="exists and is not an index"):
        refuse_to_replace(foreign)
