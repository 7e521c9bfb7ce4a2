"""Index files read as docs/index-format.md has them, and those of version 1 written, without the code of cmah."""

import struct
import zlib
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np

HEADERS = {1: 256, 2: 320}
CHECKSUMS = {1: 136, 2: 208}  # offset of the header's CRC-32
SECTIONS = {
    1: ("codes", "ids", "space", "tables"),
    2: ("codes", "ids", "space", "shapes", "removed", "tables", "dataset"),
}
COMMITS = (256, 288)


def up(size: int) -> int:
    return -(-size // 64) * 64


def block_of(width: int) -> tuple[int, int]:
    """Bytes in a word and codes in a block, of codes of so many bytes."""
    word = next(size for size in (8, 4, 2, 1) if width % size == 0)
    return word, max(64, min(512, 2 ** int(np.log2(16384 // width))))


def bytes_of_codes(packed: np.ndarray) -> bytes:
    """The section of codes, one word at a time."""
    n, width = packed.shape
    word, block = block_of(width)
    data = b""
    for first in range(0, n, block):
        for w in range(width // word):
            for code in packed[first : first + block]:
                data += code[w * word : (w + 1) * word].tobytes()
    return data


def bytes_of_texts(texts: list[str]) -> bytes:
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)]).tolist()
    return struct.pack(f"<{len(ends)}Q", *ends) + b"".join(encoded)


def write_version_1(
    path: Path,
    packed: np.ndarray,
    bits: int,
    ids: list[int] | list[str] | None = None,
    space: str = "",
    tables: bytes = b"",
) -> None:
    """Write an index file of version 1, as cmah did before there was version 2."""
    n, width = packed.shape
    kind, names = 0, b""
    if ids is not None and n:
        text = isinstance(ids[0], str)
        kind, names = (2, bytes_of_texts(ids)) if text else (1, struct.pack(f"<{n}q", *ids))
    header = struct.pack("<8sIIQIIII", b"CMAH-IDX", 1, bits, n, kind, *block_of(width), bool(tables))
    data = b""
    for part in (bytes_of_codes(packed), names, space.encode(), tables):
        header += struct.pack("<QQII", HEADERS[1] + len(data), len(part), zlib.crc32(part), 0)
        data += part + bytes(up(len(part)) - len(part))
    header += struct.pack("<I", zlib.crc32(header))
    path.write_bytes(header.ljust(HEADERS[1], b"\0") + data)


def commit(end: int, items: int, segments: int, generation: int) -> bytes:
    fields = struct.pack("<QQII", end, items, segments, generation)
    return fields + struct.pack("<II", zlib.crc32(fields), 0)


def last_commit(data: bytes) -> tuple[int, int, int, int]:
    """End, items, segments and generation of what counts."""
    found = []
    for place in COMMITS:
        entry = data[place : place + 32]
        if any(entry):
            fields = struct.unpack_from("<QQII", entry)
            assert entry == commit(*fields)
            assert place == COMMITS[fields[3] % 2]
            found.append(fields)
    return max(found, key=lambda fields: fields[3])


def segments_of(data: bytes) -> tuple[int, list[SimpleNamespace], set[int]]:
    """The version, the segments with the bytes of their sections, and where the bytes are that nobody reads."""
    version = struct.unpack_from("<I", data, 8)[0]
    end, items, count, _ = (len(data), None, 1, 0) if version == 1 else last_commit(data)
    begin, segments, unread = 0, [], set(range(end, len(data)))
    for number in range(count):
        magic, of, bits, n, kind, word, block, tables = struct.unpack_from("<8sIIQIIII", data, begin)
        assert magic == (b"CMAH-SEG" if number else b"CMAH-IDX")
        assert (of, (word, block)) == (version, block_of((bits + 7) // 8))
        header = data[begin : begin + HEADERS[version]]
        place = CHECKSUMS[version]
        assert zlib.crc32(header[:place]) == struct.unpack_from("<I", header, place)[0]
        assert not any(header[place + 4 : COMMITS[0] if not number else None])
        segment = SimpleNamespace(begin=begin, bits=bits, n=n, kind=kind, tables_kind=tables, places={})
        expected = begin + HEADERS[version]
        for i, name in enumerate(SECTIONS[version]):
            offset, size, checksum, zero = struct.unpack_from("<QQII", header, 40 + 24 * i)
            assert (offset, zero) == (expected, 0)
            part = data[offset : offset + size]
            assert zlib.crc32(part) == checksum
            setattr(segment, name, part)
            segment.places[name] = (offset, size)
            expected = up(offset + size)
            assert not any(data[offset + size : expected])
            unread |= set(range(offset + size, expected))
        assert bool(segment.tables) == bool(tables)
        segments.append(segment)
        begin = expected
    assert begin == end
    segments[-1].items = items
    return version, segments, unread


def texts_in(part: bytes, n: int) -> list[str]:
    begins = struct.unpack_from(f"<{n + 1}Q", part)
    text = part[8 * (n + 1) :]
    assert begins[-1] == len(text)
    return [text[a:b].decode() for a, b in pairwise(begins)]


def shapes_in(part: bytes, n: int) -> list[str]:
    if not part:
        return [""] * n
    m = struct.unpack_from("<Q", part)[0]
    even = n + n % 2
    numbers = struct.unpack_from(f"<{even}I", part, 8)
    names = texts_in(part[8 + 4 * even :], m)
    return ["" if number == 0xFFFFFFFF else names[number] for number in numbers[:n]]


def removed_in(part: bytes) -> set[int]:
    if not part:
        return set()
    first = struct.unpack_from("<Q", part)[0]
    assert first % 8 == 0
    bitmap = part[8:]
    return {first + i for i in range(8 * len(bitmap)) if bitmap[i // 8] >> i % 8 & 1}


def read_plain(data: bytes) -> SimpleNamespace:
    """What an index file holds: bits, rows of bytes, ids, shapes ("" for none), space and dataset of each segment."""
    version, segments, _ = segments_of(data)
    bits = segments[0].bits
    width = (bits + 7) // 8
    word, block = block_of(width)
    rows: list[bytes] = []
    ids: list[int | str] = []
    shapes: list[str] = []
    gone: set[int] = set()
    for segment in segments:
        before, n = len(rows), segment.n
        count = n - before
        if count:
            begin = before // block * block  # a last short block is there once more
            held = [bytearray(width) for _ in range(n - begin)]
            place = 0
            for first in range(0, n - begin, block):
                for w in range(width // word):
                    for i in range(first, min(first + block, n - begin)):
                        held[i][w * word : (w + 1) * word] = segment.codes[place : place + word]
                        place += word
            assert place == len(segment.codes)
            assert [bytes(row) for row in held[: before - begin]] == rows[begin:]
            rows += [bytes(row) for row in held[before - begin :]]
        else:
            assert segment.codes == b""
        if segment.kind == 0:
            assert segment.ids == b""
            ids += range(before, n)
        elif segment.kind == 1:
            ids += struct.unpack(f"<{count}q", segment.ids)
        else:
            ids += texts_in(segment.ids, count)
        shapes += shapes_in(segment.shapes, count) if version == 2 else [""] * count
        removed = removed_in(segment.removed) if version == 2 else set()
        assert not removed & gone
        assert all(position < n for position in removed)
        gone |= removed
    live = [i for i in range(len(rows)) if i not in gone]
    assert segments[-1].items in (None, len(live))
    return SimpleNamespace(
        version=version,
        bits=bits,
        rows=[list(rows[i]) for i in live],
        ids=[ids[i] for i in live],
        shapes=[shapes[i] for i in live],
        spaces=[segment.space.decode() for segment in segments],
        datasets=[segment.dataset.decode() if version == 2 else "" for segment in segments],
        tabled=max((segment.n for segment in segments if segment.tables), default=0),
    )
