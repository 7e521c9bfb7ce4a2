"""Index files that are damaged, cut off, foreign or that lie: an error or the same answers, never a crash."""

import os
import struct
import zlib

import numpy as np
import pytest
from plain_index import (
    CHECKSUMS,
    COMMITS,
    HEADERS,
    SECTIONS,
    bytes_of_texts,
    commit,
    last_commit,
    segments_of,
    up,
    write_version_1,
)
from slow_search import clustered

from cmah.errors import CodesError
from cmah.search import HammingIndex, index_file


def write(path, kind, version, n=7, bits=40):
    """An index of n codes with ids of a kind; or one that was appended to, which is of version 2."""
    index = HammingIndex(bits, space="one")
    codes = clustered(n, bits)
    ids = {
        "positions": None,
        "numbers": [100 - 3 * i for i in range(n)],
        "texts": [f"größe {i}" for i in range(n)],
        "grown": [f"größe {i}" for i in range(n)],
    }[kind]
    if version == 1:
        write_version_1(path, codes.packed, bits, ids, "one")
    elif kind == "grown":
        index.dataset = "/data"
        index.add(codes[: n - 3], ids[: n - 3])
        index.save(path)
        index.add(codes[n - 3 :], ids[n - 3 :], ["chair", "", "lamp"])
        index.remove([ids[2], ids[0]])
        index.save(path, append=True)
    else:
        index.add(codes, ids)
        index.save(path)


KINDS = ("positions", "numbers", "texts")
FILES = [(kind, version) for version in (1, 2) for kind in KINDS] + [("grown", 2)]


@pytest.fixture(params=FILES, ids=lambda file: f"{file[0]} {file[1]}")
def saved(request, tmp_path):
    path = tmp_path / "index.cmah"
    write(path, *request.param)
    return path


def version_of(data):
    return struct.unpack_from("<I", data, 8)[0]


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
    shapes = None
    if index.shapes is not None:
        shapes = index.shapes.values.tolist()
        assert len(index.search(queries, 5, group=index.shapes.groups(), threads=1).ids) == 2
    return index.codes, index.space, index.ids.tolist(), hits.positions.tolist(), shapes, index.dataset


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
    good, unread = outcome(saved), segments_of(data)[2]
    for place in range(len(data)):
        for value in {data[place] ^ 1, data[place] ^ 0x80, 0, 0xFF} - {data[place]}:
            put(saved, data[:place] + bytes([value]) + data[place + 1 :])
            # only the filling between sections may change unnoticed, and then nothing else has
            assert outcome(saved) == (good if place in unread else None)


def test_thousands_of_changed_bytes(tmp_path):
    """Several at once, in files whose checksums are not looked at too."""
    path = tmp_path / "index.cmah"
    random = np.random.default_rng(0)
    for file in FILES:
        write(path, *file, n=70)
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        good = outcome(path)
        refused = 0
        for _ in range(250):
            damaged = data.copy()
            places = random.integers(0, len(data), random.integers(1, 6))
            damaged[places] = random.integers(0, 256, len(places))
            put(path, damaged.tobytes())
            result = outcome(path, mmap=bool(random.integers(2)))
            assert result is None or result == good
            refused += result is None
        assert refused > 180


def test_every_truncation_is_noticed(saved):
    data = saved.read_bytes()
    good = outcome(saved)
    for size in range(len(data)):
        put(saved, data[:size])
        assert outcome(saved) is None
    for more in (b"\0", bytes(64), data):
        put(saved, data + more)
        if version_of(data) == 1:
            with pytest.raises(CodesError, match="truncated or extended"):
                HammingIndex.open(saved)
        else:  # what an interrupted process left, which does not count
            assert outcome(saved) == outcome(saved, mmap=False, verify=True) == good


def test_what_an_interrupted_process_left_is_cut_off(tmp_path):
    path, other = tmp_path / "index.cmah", tmp_path / "other.cmah"
    for file in (path, other):
        write(file, "grown", 2)
    put(path, path.read_bytes() + b"CMAH-SEG" + bytes(5000))
    for file in (path, other):
        index = HammingIndex.open(file)
        index.add(clustered(1, 40, 3), ["new"])
        index.save(file, append=True)
    assert path.read_bytes() == other.read_bytes()


def with_header(data, place, layout, value, begin=0):
    """The file with another value in the header at byte `begin`, and the header's checksum put right again."""
    changed, end = bytearray(data), begin + CHECKSUMS[version_of(data)]
    struct.pack_into(layout, changed, begin + place, value)
    struct.pack_into("<I", changed, end, zlib.crc32(bytes(changed[begin:end])))
    return bytes(changed)


@pytest.mark.parametrize(
    ("place", "layout", "value", "message"),
    [
        (8, "<I", 3, "index version 3; this cmah reads versions 1 and 2$"),
        (
            8,
            "<I",
            0,
            "index version 0; this cmah reads versions 1 and 2; make it again from its codes with cmah index",
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
        (120, "<Q", 1 << 50, "truncated or extended|the section of removed begins at byte"),
        (56, "<I", 0, "the section of codes is damaged"),
        (80, "<I", 0, "the section of ids is damaged"),
        (104, "<I", 0, "the section of space is damaged"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_headers_that_lie(tmp_path, version, place, layout, value, message):
    path = tmp_path / "index.cmah"
    write(path, "texts", version)
    put(path, with_header(path.read_bytes(), place, layout, value))
    with pytest.raises(CodesError, match=message):
        HammingIndex.open(path)


def test_headers_that_lie_in_every_field(saved):
    """Whatever a header says, the answer is an error or an index that can be used."""
    data = saved.read_bytes()
    fields = [(place, "<I") for place in (8, 12, 24, 28, 32, 36)] + [(16, "<Q")]
    for number in range(len(SECTIONS[version_of(data)])):
        first = 40 + 24 * number
        fields += [(first, "<Q"), (first + 8, "<Q"), (first + 16, "<I"), (first + 20, "<I")]
    used, begin = 0, segments_of(data)[1][-1].begin
    for place, layout in fields:
        most = (1 << 8 * struct.calcsize(layout)) - 1
        value = struct.unpack_from(layout, data, begin + place)[0]
        lies = {0, 1, 2, 3, 7, 8, 63, 64, 255, 256, 512, 4096, most, most - 1, most // 2, most // 2 + 1}
        lies |= {value - 1, value + 1, value ^ 64, value * 2, value + 64, value // 2}
        for lie in sorted(lie for lie in lies if 0 <= lie <= most and lie != value):
            put(saved, with_header(data, place, layout, lie, begin))
            used += outcome(saved) is not None
            outcome(saved, mmap=False, verify=True)
    assert used < 200  # some lies are harmless, as another length of the same number of bytes


def with_commit(data, *fields):
    """The file with another last commit: its end, items, segments and generation."""
    place = COMMITS[fields[3] % 2]
    return data[:place] + commit(*fields) + data[place + 32 :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((1, 0, 0, 0), "truncated: [0-9]+ bytes, expected"),
        ((-1, 0, 0, 0), "truncated or extended|segments end at byte"),
        ((1 << 60, 0, 0, 0), "truncated: "),
        ((0, 1, 0, 0), "2 codes are removed, expected 1"),
        ((0, -1, 0, 0), "2 codes are removed, expected 3"),
        ((0, 100, 0, 0), "have 7 codes, expected byte [0-9]+ and at least 105 codes"),
        ((0, 0, 1, 0), "truncated: [0-9]+ bytes, the header alone has 320"),
        ((0, 0, -1, 0), "1 segments end at byte"),
        ((0, 0, -2, 0), "counts no segment"),
        ((0, 0, (1 << 32) - 3, 0), "truncated: "),
        ((0, 0, 0, 2), "the commits are damaged"),
    ],
)
def test_commits_that_lie(tmp_path, change, message):
    path = tmp_path / "index.cmah"
    write(path, "grown", 2)
    data = path.read_bytes()
    fields = last_commit(data)
    put(path, with_commit(data, *(a + b for a, b in zip(fields, change, strict=True))))
    with pytest.raises(CodesError, match=message):
        HammingIndex.open(path)


def test_commits_that_are_damaged(tmp_path):
    path = tmp_path / "index.cmah"
    write(path, "grown", 2)
    data = path.read_bytes()
    first, second = data[288:320], data[256:288]
    empty = bytes(32)
    for commits, message in (
        (empty + empty, "the commits are damaged"),
        (second + empty, "a commit is missing"),
        (second + second, "a commit is damaged"),
        (first + second, "a commit is damaged"),
        (second + first[:-1] + b"\1", "a commit is damaged"),
        (first + first, "a commit is damaged"),
    ):
        put(path, data[:256] + commits + data[320:])
        with pytest.raises(CodesError, match=message):
            HammingIndex.open(path)
    put(path, data[:256] + empty + first + data[320:])  # as it is before the second commit is written
    assert len(HammingIndex.open(path)) == 4


def test_segments_that_do_not_belong_together(tmp_path):
    path = tmp_path / "index.cmah"
    write(path, "grown", 2)
    data = path.read_bytes()
    begin = segments_of(data)[1][-1].begin
    for place, layout, value, message in (
        (0, "<Q", 0, "no segment at byte"),
        (8, "<I", 1, "is of version 1, expected 2"),
        (12, "<I", 39, "segment 2 has codes of 39 bits, expected 40"),
        (16, "<Q", 3, "35 bytes of codes, expected"),
        (24, "<I", 1, "bytes of ids, expected 24"),
    ):
        put(path, with_header(data, place, layout, value, begin))
        with pytest.raises(CodesError, match=message):
            HammingIndex.open(path)
    for sections, message in (
        ({"space": b"two"}, "its segments have codes of different spaces"),
        ({"removed": struct.pack("<QB", 0, 0)}, "the removed codes do not fit"),
    ):
        put(path, data)
        with_sections(path, **sections)
        with pytest.raises(CodesError, match=message):
            HammingIndex.open(path)
    put(path, with_header(data, 24, "<I", 1, begin))
    with_sections(path, ids=struct.pack("<3q", 1, 2, 3))
    with pytest.raises(CodesError, match="some ids are text and some numbers"):
        HammingIndex.open(path)


def with_sections(path, **contents):
    """Replace whole sections of the last segment of a file; sizes, places and checksums put right."""
    data = path.read_bytes()
    version = version_of(data)
    begin = segments_begin(data)
    parts, table, size_of_header = b"", b"", HEADERS[version]
    for number, name in enumerate(SECTIONS[version]):
        offset, size, _, _ = struct.unpack_from("<QQII", data, begin + 40 + 24 * number)
        part = contents.get(name, data[offset : offset + size])
        table += struct.pack("<QQII", begin + size_of_header + len(parts), len(part), zlib.crc32(part), 0)
        parts += part + bytes(up(len(part)) - len(part))
    header = data[begin : begin + 40] + table
    header += struct.pack("<I", zlib.crc32(header))
    header += data[begin + len(header) : begin + size_of_header]  # zeros and commits
    changed = data[:begin] + header + parts
    if version == 2:
        _, items, segments, generation = last_commit(data)
        changed = with_commit(changed, len(changed), items, segments, generation)
    put(path, changed)


def segments_begin(data):
    """Where the last segment begins, by the headers alone."""
    begin = 0
    for _ in range(1, last_commit(data)[2] if version_of(data) == 2 else 1):
        begin = up(sum(struct.unpack_from("<QQ", data, begin + 40 + 24 * 6)))
    return begin


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
@pytest.mark.parametrize("version", [1, 2])
def test_texts_that_cannot_be(tmp_path, version, section, message):
    path = tmp_path / "index.cmah"
    write(path, "texts", version, n=3)
    with_sections(path, ids=section)
    with pytest.raises(CodesError, match=message):
        HammingIndex.open(path)


def shapes(*numbers, names=("chair", "lamp")):
    return struct.pack(f"<Q{len(numbers)}I", len(names), *numbers) + bytes_of_texts(list(names))


ALONE = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (shapes(0, ALONE, 1)[:19], "bytes of shapes, expected at least 24"),
        (b"\0", "1 bytes of shapes, expected at least 24"),
        (shapes(0, ALONE, 2, ALONE), "the numbers of shapes do not fit"),
        (shapes(0, ALONE, 1, 0), "the numbers of shapes do not fit"),  # of a fourth code
        (shapes(0, ALONE, 1, ALONE, names="abcd"), "the numbers of shapes do not fit"),  # more than codes
        (shapes(0, ALONE, 1, ALONE)[:-1], "the shape ids do not fit into their section"),
        (shapes(0, ALONE, 1, ALONE, names=("chair", "")), "a shape id is empty"),
        (shapes(0, ALONE, 1, ALONE, names=("chair", "chair")), "duplicate id chair"),
        (struct.pack("<Q4I", (1 << 64) - 1, 0, ALONE, 1, ALONE), "the numbers of shapes do not fit"),
        (shapes(0, ALONE, 1, ALONE)[:-4] + b"\xff\xff\xff\xff", "can't decode"),
    ],
)
def test_shapes_that_cannot_be(tmp_path, section, message):
    path = tmp_path / "index.cmah"
    write(path, "grown", 2)
    with_sections(path, shapes=shapes(0, ALONE, 1, ALONE))
    assert HammingIndex.open(path).shapes.values.tolist() == ["", "", "chair", "", "lamp"]
    with_sections(path, shapes=section)
    with pytest.raises(CodesError, match=message):
        HammingIndex.open(path)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (b"\0" * 8, "8 bytes of removed codes, expected 0 or at least 9"),
        (struct.pack("<QB", 1, 5), "from position 1 on, expected less than 7 and a multiple of 8"),
        (struct.pack("<QB", 8, 1), "from position 8 on, expected less than 7"),
        (struct.pack("<QB", (1 << 64) - 8, 1), "expected less than 7"),
        (struct.pack("<QBB", 0, 5, 0), "expected less than 7"),
        (struct.pack("<QB", 0, 128), "do not fit into their section"),
        (struct.pack("<QB", 0, 1), "1 codes are removed, expected 2"),
        (b"", "0 codes are removed, expected 2"),
    ],
)
def test_removals_that_cannot_be(tmp_path, section, message):
    path = tmp_path / "index.cmah"
    write(path, "grown", 2)
    with_sections(path, removed=struct.pack("<QB", 0, 0b11))
    assert HammingIndex.open(path).ids.tolist() == [f"größe {i}" for i in range(2, 7)]
    with_sections(path, removed=section)
    with pytest.raises(CodesError, match=message):
        HammingIndex.open(path)


def test_a_code_that_is_removed_twice(tmp_path):
    path = tmp_path / "index.cmah"
    write(path, "grown", 2)
    index = HammingIndex.open(path)
    index.remove(["größe 5"])
    index.save(path, append=True)
    with_sections(path, removed=struct.pack("<QB", 0, 0b100))  # as the segment before says it
    with pytest.raises(CodesError, match="a code is removed twice"):
        HammingIndex.open(path)


def test_sections_that_lie(tmp_path):
    """Whatever they hold, checksums put right, the answer is an error or an index that can be used."""
    path = tmp_path / "index.cmah"
    random = np.random.default_rng(0)
    for file, section, least in (
        (("numbers", 1), "ids", 100),
        (("texts", 1), "ids", 5),
        (("numbers", 2), "ids", 100),
        (("grown", 2), "ids", 5),
        (("grown", 2), "shapes", 5),
        (("grown", 2), "removed", 0),
        (("grown", 2), "dataset", 10),
    ):
        write(path, *file)
        data = path.read_bytes()
        whole = getattr(segments_of(data)[1][-1], section)
        opened = 0
        for _ in range(120):
            part = bytearray(whole)
            for _ in range(random.integers(1, 4)):
                part[random.integers(len(part))] = random.integers(256)
            put(path, data)
            with_sections(path, **{section: bytes(part)})
            opened += outcome(path) is not None
        assert opened >= least, (file, section, opened)
    for file in (("texts", 1), ("grown", 2)):
        write(path, *file)
        data = path.read_bytes()
        for text in (b"\xff", b"\xed\xa0\x80", b"abc\xc3"):
            for section in ("space", "dataset")[: file[1]]:
                put(path, data)
                with_sections(path, **{section: text})
                assert outcome(path) is None


@pytest.mark.parametrize("file", [("positions", 1), ("positions", 2), ("grown", 2)])
def test_bits_beyond_the_last(tmp_path, file):
    path = tmp_path / "index.cmah"
    write(path, *file, bits=39)
    with_sections(path, codes=bytes(34) + b"\1")
    with pytest.raises(CodesError, match="a code has bits set beyond bit 39"):
        HammingIndex.open(path)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("mmap", [True, False])
def test_codes_too_many_to_be_always_verified(tmp_path, monkeypatch, mmap, version):
    monkeypatch.setattr(index_file, "ALWAYS_VERIFIED", 0)
    path = tmp_path / "index.cmah"
    write(path, "texts", version, n=300)
    header = HEADERS[version]
    data = bytearray(path.read_bytes())
    HammingIndex.open(path, mmap=mmap, verify=True)
    for place in (header, header + 700, header + 5 * 300 - 1):
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


def test_codes_of_many_segments_are_too_many_together(tmp_path, monkeypatch):
    """Else each append to a file of many short segments would read all of it."""
    path = tmp_path / "index.cmah"
    index = HammingIndex(40)
    index.add(clustered(100, 40))
    index.save(path)
    index.add(clustered(100, 40, 1))
    index.save(path, append=True)
    data = bytearray(path.read_bytes())
    data[HEADERS[2]] ^= 4
    put(path, data)
    monkeypatch.setattr(index_file, "ALWAYS_VERIFIED", 1500)  # 500 bytes, and these and 500 once more
    with pytest.raises(CodesError, match="the section of codes is damaged"):
        HammingIndex.open(path)
    monkeypatch.setattr(index_file, "ALWAYS_VERIFIED", 1499)
    HammingIndex.open(path)


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
