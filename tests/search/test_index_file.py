"""The index file: its bytes, its size, its golden files, and that it is written whole or not at all.

The golden files of version 1 were written by

    PYTHONPATH=tests:tests/search python -c "import test_index_file as t; t.write_golden(t.GOLDEN)"
"""

import struct
import subprocess
import sys
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from slow_search import clustered

from cmah.codes import BinaryCodes
from cmah.errors import CmahError, CodesError
from cmah.search import HammingIndex
from cmah.search.index_file import refuse_to_replace
from cmah.search.index_layout import HEADER

GOLDEN = Path(__file__).parents[1] / "golden"
CHECKSUM = 136  # offset of the header's CRC-32

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


def write_golden(folder):
    for name in GOLDEN_INDEXES:
        golden_index(name).save(folder / f"index_v1_{name}.cmah")


@pytest.mark.parametrize("name", GOLDEN_INDEXES)
def test_golden_files_of_version_1(tmp_path, name):
    bits, n, ids, space = GOLDEN_INDEXES[name]
    golden = GOLDEN / f"index_v1_{name}.cmah"
    golden_index(name).save(tmp_path / "index.cmah")
    assert (tmp_path / "index.cmah").read_bytes() == golden.read_bytes()
    for mmap in (True, False):
        index = HammingIndex.open(golden, mmap=mmap, verify=True)
        assert (index.bits, len(index), index.space) == (bits, n, space)
        np.testing.assert_array_equal(index.codes.packed, golden_codes(bits, n).packed)
        assert index.ids.tolist() == (list(range(n)) if ids is None else ids)
        index.save(tmp_path / "again.cmah")
        assert (tmp_path / "again.cmah").read_bytes() == golden.read_bytes()


def plain_reader(data):
    """A reader as docs/index-format.md has it, without the code of cmah: bits, rows of bytes, ids, space."""
    magic, version, bits, n, kind, word, block, tables = struct.unpack_from("<8sIIQIIII", data)
    assert (magic, version, tables) == (b"CMAH-IDX", 1, 0)
    assert zlib.crc32(data[:CHECKSUM]) == struct.unpack_from("<I", data, CHECKSUM)[0]
    assert not any(data[CHECKSUM + 4 : HEADER])
    parts, expected = [], HEADER
    for number in range(4):
        offset, size, checksum, zero = struct.unpack_from("<QQII", data, 40 + 24 * number)
        assert (offset, zero) == (expected, 0)
        parts.append(data[offset : offset + size])
        assert zlib.crc32(parts[-1]) == checksum
        expected = -(-(offset + size) // 64) * 64
        assert not any(data[offset + size : expected])
    assert len(data) == expected
    codes, names, space, rest = parts
    assert rest == b""
    width = (bits + 7) // 8
    rows = [bytearray(width) for _ in range(n)]
    place = 0
    for first in range(0, n, block):
        inside = min(block, n - first)
        for w in range(width // word):
            for i in range(first, first + inside):
                rows[i][w * word : (w + 1) * word] = codes[place : place + word]
                place += word
    assert place == len(codes)
    if kind == 0:
        ids = list(range(n))
    elif kind == 1:
        ids = list(struct.unpack(f"<{n}q", names))
    else:
        begins = struct.unpack_from(f"<{n + 1}Q", names)
        text = names[8 * (n + 1) :]
        ids = [text[a:b].decode() for a, b in pairwise(begins)]
    return bits, rows, ids, space.decode()


@pytest.mark.parametrize("bits", [1, 9, 64, 72, 96, 1000])
@pytest.mark.parametrize("kind", ["positions", "numbers", "texts"])
def test_a_reader_by_the_document(tmp_path, bits, kind):
    n = 600
    ids = {"positions": None, "numbers": np.arange(n) - 7, "texts": [f"größe {i}" for i in range(n)]}[kind]
    index = HammingIndex(bits, "räume")
    index.add(clustered(n, bits), ids)
    index.save(tmp_path / "index.cmah")
    found, rows, names, space = plain_reader((tmp_path / "index.cmah").read_bytes())
    assert (found, space, names) == (bits, "räume", index.ids.tolist())
    np.testing.assert_array_equal([list(row) for row in rows], clustered(n, bits).packed)


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
header = bytearray(open("i.cmah", "rb").read(256))
end = 256 + -(-8 * n // 64) * 64
struct.pack_into("<Q", header, 16, n)
struct.pack_into("<Q", header, 48, 8 * n)
for number in (1, 2, 3):
    struct.pack_into("<Q", header, 40 + 24 * number, end)
struct.pack_into("<I", header, 136, zlib.crc32(bytes(header[:136])))
with open("i.cmah", "r+b") as file:
    file.write(header)
    file.truncate(end)
    file.seek(end - 64)
    file.write(bytes(range(64)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
index = HammingIndex.open("i.cmah")
assert len(index) == n
assert index.codes_of([0, n - 1, n // 2]).packed.any(axis=1).tolist() == [False, True, False]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def test_opening_does_not_read_the_codes(tmp_path):
    """A file with a hole of 4 GiB in it."""
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
