"""Where everything lies in an index file: segments, each a header and sections; see docs/index-format.md.

Version 2 is a chain of segments, of which the last commit says how many count. Version 1 is one segment, with a shorter
header and fewer sections. Numbers are little-endian.
"""

import struct
import zlib
from dataclasses import dataclass

from cmah.codes.binary_codes import MAX_BITS
from cmah.errors import CodesError
from cmah.search.blocks import CodeBlocks
from cmah.search.ids import TEXTS

MAGIC, SEGMENT_MAGIC = b"CMAH-IDX", b"CMAH-SEG"
VERSION = 2
HEADER = 320
SECTIONS = ("codes", "ids", "space", "shapes", "removed", "tables", "dataset")
HEADER_1, SECTIONS_1 = 256, ("codes", "ids", "space", "tables")  # of version 1
ALIGNMENT = 64
NO_TABLES, TABLES = 0, 1  # kinds of tables: none in a flat index; those of a multi-index
COMMITS = (256, 288)  # where the two commits stand in the first header
# magic, version, bits, n, kind of ids, bytes per word, codes per block, kind of tables
_FIELDS = struct.Struct("<8sIIQIIII")
_SECTION = struct.Struct("<QQII")  # offset, size, CRC-32, 0
_CHECKSUM = struct.Struct("<I")  # CRC-32 of what precedes it
_COMMIT = struct.Struct("<QQII")  # end, items, segments, generation; their CRC-32 and 4 zero bytes follow
_COMMIT_SIZE = 32


@dataclass(frozen=True)
class Section:
    """Bytes of a file.

    Attributes:
        offset: where they begin.
        size: how many.
        checksum: their CRC-32.

    Examples:
        >>> Section(offset=320, size=0, checksum=0).end
        320
    """

    offset: int
    size: int
    checksum: int

    @property
    def end(self) -> int:
        """Where the next section begins."""
        return self.offset + aligned(self.size)


@dataclass(frozen=True)
class Segment:
    """One segment of an index file.

    Attributes:
        n: codes in this segment and those before it, of which some may be removed.
        ids: kind of the ids of the codes that it adds, as in `cmah.search.ids`.
        tables: kind of its tables, which are of all n codes.
        sections: by name.

    Examples:
        >>> Segment(n=0, ids=0, tables=NO_TABLES, sections={}).n
        0
    """

    n: int
    ids: int
    tables: int
    sections: dict[str, Section]


@dataclass(frozen=True)
class Commit:
    """What of an index file counts.

    Attributes:
        end: bytes.
        items: codes that are not removed.
        segments: how many.
        generation: how many commits there have been, this one included; 0 in version 1, which has none.

    Examples:
        >>> Commit(end=320, items=0, segments=1, generation=1).place
        288
    """

    end: int
    items: int
    segments: int
    generation: int

    @property
    def place(self) -> int:
        """Where in the file it stands: never where the commit before it does."""
        return COMMITS[self.generation % 2]

    def packed(self) -> bytes:
        """Its 32 bytes."""
        fields = _COMMIT.pack(self.end, self.items, self.segments, self.generation)
        return (fields + _CHECKSUM.pack(zlib.crc32(fields))).ljust(_COMMIT_SIZE, b"\0")


@dataclass(frozen=True)
class Layout:
    """What the headers of an index file say.

    Attributes:
        version: of the format.
        bits: length of the codes.
        commit: the last one.
        segments: those that it counts, in order.

    Examples:
        >>> Layout(version=2, bits=64, commit=Commit(320, 0, 1, 1), segments=[Segment(0, 0, 0, {})]).n
        0
    """

    version: int
    bits: int
    commit: Commit
    segments: list[Segment]

    @property
    def n(self) -> int:
        """All codes, those that were removed included."""
        return self.segments[-1].n

    @property
    def removed(self) -> int:
        """Codes that were removed."""
        return self.n - self.commit.items


def packed_header(bits: int, segment: Segment, *, first: bool) -> bytes:
    """The 320 bytes before a segment, without commits.

    Args:
        bits: length of the codes.
        segment: what they describe.
        first: whether the file begins with it.

    Examples:
        >>> empty = Segment(0, 0, NO_TABLES, {name: Section(HEADER, 0, 0) for name in SECTIONS})
        >>> header = packed_header(64, empty, first=True)
        >>> header[:8], len(header)
        (b'CMAH-IDX', 320)
    """
    layout = CodeBlocks(bits)
    magic = MAGIC if first else SEGMENT_MAGIC
    word, block = layout.word.itemsize, layout.codes_in_block
    header = _FIELDS.pack(magic, VERSION, bits, segment.n, segment.ids, word, block, segment.tables)
    for name in SECTIONS:
        section = segment.sections[name]
        header += _SECTION.pack(section.offset, section.size, section.checksum, 0)
    return (header + _CHECKSUM.pack(zlib.crc32(header))).ljust(HEADER, b"\0")


def read_layout(data: memoryview) -> Layout:
    """What the headers of an index file say, checked against the file's size before anything is used.

    Args:
        data: the file.

    Raises:
        CodesError: if it is foreign, of another version, truncated or damaged.

    Examples:
        >>> empty = Segment(0, 0, NO_TABLES, {name: Section(HEADER, 0, 0) for name in SECTIONS})
        >>> header, commit = packed_header(64, empty, first=True), Commit(HEADER, 0, 1, 1)
        >>> read_layout(memoryview(header[: commit.place] + commit.packed())).commit == commit
        True
    """
    size = len(data)
    if bytes(data[: len(MAGIC)]) != MAGIC:
        raise CodesError("not an index file of cmah")
    _require_header(size, 0, _FIELDS.size)
    version = _FIELDS.unpack_from(data)[1]
    if version not in (1, VERSION):
        older = "; make it again from its codes with cmah index" if version < VERSION else ""
        raise CodesError(f"index version {version}; this cmah reads versions 1 and {VERSION}{older}")
    _require_header(size, 0, HEADER_1 if version == 1 else HEADER)
    if version == 1:
        bits, segment, end = _read_segment(data, 0, 0, 1)
        if end != size:
            raise CodesError(f"truncated or extended: {size} bytes, expected {end}")
        return Layout(1, bits, Commit(end, segment.n, 1, 0), [segment])
    commit = _last_commit(data)
    if commit.end > size:
        raise CodesError(f"truncated: {size} bytes, expected {commit.end}")
    segments: list[Segment] = []
    begin = bits = 0
    for number in range(commit.segments):
        before = segments[-1].n if segments else 0
        of_segment, segment, begin = _read_segment(data[: commit.end], begin, before, VERSION)
        if number and of_segment != bits:
            raise CodesError(f"segment {number + 1} has codes of {of_segment} bits, expected {bits}")
        bits = of_segment
        segments.append(segment)
    if begin != commit.end or commit.items > segments[-1].n:
        raise CodesError(
            f"{len(segments)} segments end at byte {begin} and have {segments[-1].n} codes, expected byte {commit.end} "
            f"and at least {commit.items} codes"
        )
    return Layout(VERSION, bits, commit, segments)


def first_position(bits: int, before: int) -> int:
    """The position of the first code that a segment behind `before` codes holds: it repeats a last short block.

    Examples:
        >>> first_position(64, before=1000)
        512
    """
    block = CodeBlocks(bits).codes_in_block
    return before // block * block


def aligned(size: int) -> int:
    """A size, with the gap behind it.

    Examples:
        >>> aligned(0), aligned(1), aligned(64)
        (0, 64, 64)
    """
    return -(-size // ALIGNMENT) * ALIGNMENT


def _last_commit(data: memoryview) -> Commit:
    commits = []
    for place in COMMITS:
        entry = bytes(data[place : place + _COMMIT_SIZE])
        if not any(entry):  # there has been one commit only
            continue
        commit = Commit(*_COMMIT.unpack_from(entry))
        if commit.packed() != entry or commit.place != place:
            raise CodesError("a commit is damaged")
        commits.append(commit)
    commits.sort(key=lambda commit: commit.generation)
    if not commits or commits[-1].generation - commits[0].generation != len(commits) - 1:
        raise CodesError("the commits are damaged")
    if commits[-1].generation > 1 and len(commits) == 1:
        raise CodesError("a commit is missing")
    if not commits[-1].segments:
        raise CodesError("the last commit counts no segment")
    return commits[-1]


def _read_segment(data: memoryview, begin: int, before: int, version: int) -> tuple[int, Segment, int]:
    """Bits and content of the segment at byte `begin`, behind `before` codes, and where the next one begins."""
    size, names = (HEADER_1, SECTIONS_1) if version == 1 else (HEADER, SECTIONS)
    _require_header(len(data), begin, size)
    header = bytes(data[begin : begin + size])
    magic, of_segment, bits, n, ids, word, block, tables = _FIELDS.unpack_from(header)
    if begin and magic != SEGMENT_MAGIC:
        raise CodesError(f"no segment at byte {begin}")
    end = _FIELDS.size + len(names) * _SECTION.size
    rest = header[end + 4 :] if begin or version == 1 else header[end + 4 : COMMITS[0]]
    if _CHECKSUM.unpack_from(header, end)[0] != zlib.crc32(header[:end]) or any(rest):
        raise CodesError("the header is damaged" if not begin else f"the header at byte {begin} is damaged")
    if of_segment != version:
        raise CodesError(f"the segment at byte {begin} is of version {of_segment}, expected {version}")
    if not 1 <= bits <= MAX_BITS or ids > TEXTS:
        raise CodesError(
            f"the header names {bits} bits and ids of kind {ids}, expected 1 to {MAX_BITS} bits and kind 0 to {TEXTS}"
        )
    layout = CodeBlocks(bits)
    if (word, block) != (layout.word.itemsize, layout.codes_in_block) or tables > TABLES:
        raise CodesError(
            f"the header names blocks of {block} codes in words of {word} bytes and tables of kind {tables}, expected "
            f"{layout.codes_in_block} codes, {layout.word.itemsize} bytes and kind {NO_TABLES} or {TABLES}"
        )
    sections, expected = {}, begin + size
    for number, name in enumerate(names):
        offset, length, checksum, _ = _SECTION.unpack_from(header, _FIELDS.size + number * _SECTION.size)
        if offset != expected:
            raise CodesError(f"the section of {name} begins at byte {offset}, expected {expected}")
        section = sections[name] = Section(offset, length, checksum)
        expected = section.end
    if expected > len(data):
        raise CodesError(f"truncated or extended: {len(data)} bytes, expected {expected}")
    held = n - first_position(bits, before) if n > before else 0
    if n < before or sections["codes"].size != held * layout.width:
        raise CodesError(f"{sections['codes'].size} bytes of codes, expected {held * layout.width}")
    if bool(tables) != bool(sections["tables"].size):
        some = "none" if tables == NO_TABLES else "some"
        raise CodesError(f"{sections['tables'].size} bytes of tables of kind {tables}, expected {some}")
    return bits, Segment(n, ids, tables, sections), expected


def _require_header(size: int, begin: int, header: int) -> None:
    if size < begin + header:
        raise CodesError(f"truncated: {size} bytes, the header alone has {header}")
