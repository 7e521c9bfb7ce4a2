"""Index files that are damaged, cut off, foreign or that lie: an error or the same answers, never a crash."""

import os
import struct
import zlib

import numpy as np
import pytest
from slow_search import clustered

from cmah.errors import CodesError
from cmah.search import HammingIndex, index_file
from cmah.search.index_layout import ALIGNMENT, HEADER, SECTIONS

CHECKSUM = 136  # offset of the header's CRC-32


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


@pytest.mark.slow
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
        (
            12,
            "<I",
            64,
            "blocks of 512 codes in words of 1 bytes and tables of kind 0, expected 512 codes, 8 bytes",
        ),
        (16, "<Q", 1 << 60, "35 bytes of codes, expected"),
        (24, "<I", 9, "ids of kind 9"),
        (24, "<I", 0, "bytes of ids, expected none"),
        (24, "<I", 1, "bytes of ids, expected 56"),
        (28, "<I", 8, "words of 8 bytes"),
        (32, "<I", 256, "blocks of 256 codes"),
        (36, "<I", 7, "tables of kind 7, expected 512 codes, 1 bytes and kind 0 or 1"),
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
