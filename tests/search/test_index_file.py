"""The index file: its size, its golden files, and every way in which it can be broken.

The golden files of version 1 were written by

    PYTHONPATH=tests:tests/search python -c "import test_index_file as t; t.write_golden(t.GOLDEN)"
"""

import os
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
from cmah.search import HammingIndex, index_file
from cmah.search.index_file import ALIGNMENT, HEADER, SECTIONS

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


def make(kind, n=7, bits=40):
    index = HammingIndex(bits, space="one")
    ids = {
        "positions": None,
        "numbers": [100 - 3 * i for i in range(n)],
        "texts": [f"größe {i}" for i in range(n)],
    }
    index.add(clustered(n, bits), ids=ids[kind])
    return index


KINDS = ("positions", "numbers", "texts")


@pytest.fixture(params=KINDS)
def saved(request, tmp_path):
    path = tmp_path / "index.cmah"
    make(request.param).save(path)
    return path


def use(index):
    """Everything that can be done with an index that was opened."""
    n = len(index)
    queries = clustered(2, index.bits, 1)
    hits = index.search(queries, 5, threads=1)
    assert hits.ids.shape == (2, min(n, 5))
    if hits.distances.size:
        assert 0 <= hits.distances.min() <= hits.distances.max() <= index.bits
    index.search_radius(queries, 3, threads=1)
    assert len(list(index)) == len(index.ids) == n
    return index.codes, index.space, index.ids.tolist(), hits.positions.tolist()


def outcome(path, **how):
    """What an index gives, or None where it is refused, in one line that names the file."""
    refusal = ""
    try:
        index = HammingIndex.open(path, **how)
    except CodesError as error:
        refusal = str(error)
    if not refusal:
        return use(index)
    assert refusal.startswith(f"{path}: ")
    assert "\n" not in refusal
    return None


def put(path, data):
    """Write over a file in place, which is many times faster than writing it anew."""
    with open(path, "r+b") as file:
        file.write(data)
        file.truncate()


def test_every_changed_byte_is_noticed(saved):
    data = saved.read_bytes()
    good = outcome(saved)
    for place in range(len(data)):
        for value in {data[place] ^ 1, data[place] ^ 0x80, 0, 0xFF} - {data[place]}:
            put(saved, data[:place] + bytes([value]) + data[place + 1 :])
            result = outcome(saved)
            # only the filling between sections may change unnoticed, and then nothing else has
            assert result is None or (place >= HEADER and result == good)


def test_thousands_of_changed_bytes(tmp_path):
    """Several at once, in files whose checksums are not looked at too."""
    path = tmp_path / "index.cmah"
    random = np.random.default_rng(0)
    for kind in KINDS:
        make(kind, n=70).save(path)
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        good = outcome(path)
        refused = 0
        for _ in range(400):
            damaged = data.copy()
            places = random.integers(0, len(data), random.integers(1, 6))
            damaged[places] = random.integers(0, 256, len(places))
            put(path, damaged.tobytes())
            result = outcome(path, mmap=bool(random.integers(2)))
            assert result is None or result == good
            refused += result is None
        assert refused > 300


def test_every_truncation_is_noticed(saved):
    data = saved.read_bytes()
    for size in range(len(data)):
        put(saved, data[:size])
        assert outcome(saved) is None
    for more in (b"\0", bytes(ALIGNMENT), data):
        put(saved, data + more)
        with pytest.raises(CodesError, match="truncated or extended"):
            HammingIndex.open(saved)


def with_header(data, place, layout, value):
    """The file with another value in its header, and the header's checksum put right again."""
    changed = bytearray(data)
    struct.pack_into(layout, changed, place, value)
    struct.pack_into("<I", changed, CHECKSUM, zlib.crc32(bytes(changed[:CHECKSUM])))
    return bytes(changed)


@pytest.mark.parametrize(
    ("place", "layout", "value", "message"),
    [
        (8, "<I", 2, "index version 2; this cmah reads version 1$"),
        (
            8,
            "<I",
            0,
            "index version 0; this cmah reads version 1; make it again from its codes with cmah index",
        ),
        (12, "<I", 0, "names 0 bits"),
        (12, "<I", 5000, "names 5000 bits"),
        (12, "<I", 24, "35 bytes of codes, expected 21"),
        (12, "<I", 64, "blocks of 512 codes in words of 1 bytes, which cannot be"),
        (16, "<Q", 1 << 60, "35 bytes of codes, expected"),
        (24, "<I", 9, "ids of kind 9"),
        (24, "<I", 0, "bytes of ids, expected none"),
        (24, "<I", 1, "bytes of ids, expected 56"),
        (28, "<I", 8, "words of 8 bytes"),
        (32, "<I", 256, "blocks of 256 codes"),
        (36, "<I", 7, "which cannot be"),
        (36, "<I", 1, "0 bytes of tables of kind 1"),
        (40, "<Q", 1 << 40, "the section of codes begins at byte"),
        (48, "<Q", 1 << 50, "the section of ids begins at byte"),
        (120, "<Q", 1 << 50, "truncated or extended"),
        (56, "<I", 0, "the section of codes is damaged"),
        (80, "<I", 0, "the section of ids is damaged"),
        (104, "<I", 0, "the section of space is damaged"),
    ],
)
def test_headers_that_lie(tmp_path, place, layout, value, message):
    path = tmp_path / "index.cmah"
    make("texts").save(path)
    put(path, with_header(path.read_bytes(), place, layout, value))
    with pytest.raises(CodesError, match=message):
        HammingIndex.open(path)


def test_headers_that_lie_in_every_field(saved):
    """Whatever a header says, the answer is an error or an index that can be used."""
    data = saved.read_bytes()
    fields = [(place, "<I") for place in (8, 12, 24, 28, 32, 36)] + [(16, "<Q")]
    for number in range(len(SECTIONS)):
        first = 40 + 24 * number
        fields += [(first, "<Q"), (first + 8, "<Q"), (first + 16, "<I"), (first + 20, "<I")]
    used = 0
    for place, layout in fields:
        most = (1 << 8 * struct.calcsize(layout)) - 1
        value = struct.unpack_from(layout, data, place)[0]
        lies = {0, 1, 2, 3, 7, 8, 63, 64, 255, 256, 512, 4096, most, most - 1, most // 2, most // 2 + 1}
        lies |= {value - 1, value + 1, value ^ 64, value * 2, value + 64, value // 2}
        for lie in sorted(lie for lie in lies if 0 <= lie <= most and lie != value):
            put(saved, with_header(data, place, layout, lie))
            used += outcome(saved) is not None
            outcome(saved, mmap=False, verify=True)
    assert used < 200  # some lies are harmless, as another length of the same number of bytes


def with_sections(path, **contents):
    """Replace whole sections of a file, sizes, places and checksums put right."""
    data = path.read_bytes()
    parts, table = b"", b""
    for number, name in enumerate(SECTIONS):
        offset, size, _, _ = struct.unpack_from("<QQII", data, 40 + 24 * number)
        part = contents.get(name, data[offset : offset + size])
        table += struct.pack("<QQII", HEADER + len(parts), len(part), zlib.crc32(part), 0)
        parts += part + bytes(-len(part) % ALIGNMENT)
    header = data[:40] + table
    put(path, (header + struct.pack("<I", zlib.crc32(header))).ljust(HEADER, b"\0") + parts)


def texts(*begins, text=b""):
    return struct.pack(f"<{len(begins)}Q", *begins) + text


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (texts(0, 1, 2, text=b"ab"), "do not fit into their section"),  # too few
        (texts(0, 1, 2, 3, text=b"ab"), "do not fit into their section"),  # beyond the end
        (texts(0, 1, 2, 2, text=b"abc"), "do not fit into their section"),  # not up to the end
        (texts(1, 1, 2, 3, text=b"abc"), "do not fit into their section"),  # not from the beginning
        (texts(0, 2, 1, 3, text=b"abc"), "do not fit into their section"),  # one over the other
        (texts(0, 2**64 - 1, 1, 3, text=b"abc"), "do not fit into their section"),
        (texts(0, 1 << 63, 1 << 63, 3, text=b"abc"), "do not fit into their section"),
        (texts(0, 1, 2, 3, text=b"a\xffc"), "can't decode"),
        (texts(0, 1, 2, 3, text=b"a\xed\xa0\x80"[:3]), "can't decode"),
        (texts(0, 1, 2, 3, text="aß".encode()), "the ids are not UTF-8"),  # cut inside a character
        (b"", "do not fit into their section"),
        (texts(0, 1, 2)[:20], "do not fit into their section"),
    ],
)
def test_texts_that_cannot_be(tmp_path, section, message):
    path = tmp_path / "index.cmah"
    make("texts", n=3).save(path)
    with_sections(path, ids=section)
    with pytest.raises(CodesError, match=message):
        HammingIndex.open(path)


def test_sections_that_lie(tmp_path):
    """Whatever ids and space hold, checksums put right, the answer is an error or an index that can be used."""
    path = tmp_path / "index.cmah"
    random = np.random.default_rng(0)
    opened = 0
    for kind in ("numbers", "texts"):
        make(kind).save(path)
        data = path.read_bytes()
        offset, size = struct.unpack_from("<QQ", data, 40 + 24)
        for _ in range(150):
            section = bytearray(data[offset : offset + size])
            for _ in range(random.integers(1, 4)):
                section[random.integers(size)] = random.integers(256)
            put(path, data)
            with_sections(path, ids=bytes(section))
            opened += outcome(path) is not None
    assert 150 < opened < 300
    for space in (b"\xff", b"\xed\xa0\x80", b"abc\xc3"):
        put(path, data)
        with_sections(path, space=space)
        assert outcome(path) is None


def test_bits_beyond_the_last(tmp_path):
    path = tmp_path / "index.cmah"
    make("positions", bits=39).save(path)
    section = bytearray(struct.calcsize("35s"))
    section[-1] = 1
    with_sections(path, codes=bytes(section))
    with pytest.raises(CodesError, match="a code has bits set beyond bit 39"):
        HammingIndex.open(path)


@pytest.mark.parametrize("mmap", [True, False])
def test_codes_too_many_to_be_always_verified(tmp_path, monkeypatch, mmap):
    monkeypatch.setattr(index_file, "ALWAYS_VERIFIED", 0)
    path = tmp_path / "index.cmah"
    make("texts", n=300).save(path)
    data = bytearray(path.read_bytes())
    HammingIndex.open(path, mmap=mmap, verify=True)
    for place in (HEADER, HEADER + 700, HEADER + 5 * 300 - 1):
        damaged = data.copy()
        damaged[place] ^= 4
        put(path, damaged)
        with pytest.raises(CodesError, match="the section of codes is damaged"):
            HammingIndex.open(path, mmap=mmap, verify=True)
        use(HammingIndex.open(path, mmap=mmap))
        damaged[-200] ^= 4  # ids are always checked
        put(path, damaged)
        with pytest.raises(CodesError, match="the section of ids is damaged"):
            HammingIndex.open(path, mmap=mmap)


def test_other_files(tmp_path):
    with pytest.raises(CodesError, match="no such file"):
        HammingIndex.open(tmp_path / "nothing.cmah")
    with pytest.raises(CodesError, match="not a file"):
        HammingIndex.open(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CodesError, match="not a file"):
        HammingIndex.open(tmp_path / "pipe")
    clustered(2, 8).save(tmp_path / "codes.npz")
    for content in (b"", b"CMAH", (tmp_path / "codes.npz").read_bytes()):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(CodesError, match="not an index file"):
            HammingIndex.open(tmp_path / "other")
        assert not index_file.is_index(tmp_path / "other")


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
