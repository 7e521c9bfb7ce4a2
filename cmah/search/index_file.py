"""The index file, version 1: a fixed header, then sections, each with a checksum; see docs/index-format.md.

Numbers are little-endian; so are the words of the codes, which are used in place.
"""

import mmap as memory_map
import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmah.codes.binary_codes import MAX_BITS
from cmah.errors import CodesError
from cmah.file_names import as_path
from cmah.files import atomic_path, require_replaceable
from cmah.reading import require_file
from cmah.search.blocks import CodeBlocks
from cmah.search.ids import NUMBERS, POSITIONS, TEXTS, Ids

MAGIC = b"CMAH-IDX"
VERSION = 1
HEADER = 256
ALIGNMENT = 64
SECTIONS = ("codes", "ids", "space", "tables")
NO_TABLES, TABLES = 0, 1  # kinds of tables: none in a flat index; those of a multi-index
ALWAYS_VERIFIED = 16 << 20  # bytes of codes whose checksum costs nothing to speak of
# magic, version, bits, n, kind of ids, bytes per word, codes per block, kind of tables
_FIELDS = struct.Struct("<8sIIQIIII")
_SECTION = struct.Struct("<QQII")  # offset, size, CRC-32, 0
_CHECKSUM = struct.Struct("<I")  # CRC-32 of what precedes it in the header
_END = _FIELDS.size + len(SECTIONS) * _SECTION.size


@dataclass(frozen=True)
class IndexContent:
    """What an index file holds.

    Attributes:
        blocks: the codes.
        ids: their ids.
        space: of the codes, "" if unknown.
        tables: uint8 [m], those of a multi-index; empty in a flat index.

    Examples:
        >>> import numpy as np
        >>> from cmah.search.blocks import CodeBlocks
        >>> from cmah.search.ids import Ids
        >>> blocks = CodeBlocks(bits=8)
        >>> blocks.append(np.array([[7], [9]], np.uint8))
        >>> content = IndexContent(blocks, Ids.of(np.array(["a", "b"])), "", np.empty(0, np.uint8))
        >>> content.ids.values.tolist(), content.blocks.all_rows().tolist()
        (['a', 'b'], [[7], [9]])
    """

    blocks: CodeBlocks
    ids: Ids
    space: str
    tables: np.ndarray


def write_index(
    path: str | Path,
    blocks: CodeBlocks,
    ids: Ids,
    space: str,
    tables: tuple[int, Iterable[np.ndarray]] = (NO_TABLES, ()),
) -> None:
    """Write an index file, whole or not at all.

    Args:
        path: the file.
        blocks: the codes.
        ids: their ids.
        space: of the codes, "" if unknown.
        tables: NO_TABLES or TABLES, and the bytes of the tables in parts, uint8.

    Raises:
        CodesError: if `space` is no Unicode text.
        CmahError: if the file cannot be written.

    Examples:
        >>> import numpy as np
        >>> from cmah.search.blocks import CodeBlocks
        >>> from cmah.search.ids import Ids
        >>> blocks = CodeBlocks(bits=8)
        >>> blocks.append(np.array([[7], [9]], np.uint8))
        >>> write_index("two.cmah", blocks, Ids.of(np.array(["a", "b"])), space="")
        >>> read_index("two.cmah").ids.values.tolist()
        ['a', 'b']
    """
    named = [array.view(np.uint8) for array in (ids.numbers, ids.text) if len(array)] if ids.kind else []
    try:
        space_bytes = np.frombuffer(space.encode(), dtype=np.uint8)
    except UnicodeEncodeError:
        raise CodesError(f"space {space!r} cannot be written as UTF-8") from None
    parts = (blocks.chunks(), named, [space_bytes], tables[1])
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(bytes(HEADER))
        sections, offset = b"", HEADER
        for part in parts:
            size = checksum = 0
            for piece in part:
                file.write(piece.data)
                size, checksum = size + len(piece), zlib.crc32(piece.data, checksum)
            file.write(bytes(_aligned(size) - size))
            sections += _SECTION.pack(offset, size, checksum, 0)
            offset += _aligned(size)
        word, block = blocks.word.itemsize, blocks.codes_in_block
        header = (
            _FIELDS.pack(MAGIC, VERSION, blocks.bits, len(blocks), ids.kind, word, block, tables[0])
            + sections
        )
        file.seek(0)
        file.write((header + _CHECKSUM.pack(zlib.crc32(header))).ljust(HEADER, b"\0"))


def is_index(path: str | Path) -> bool:
    """Whether a file begins as an index file does.

    Raises:
        CodesError: if it cannot be read.

    Examples:
        >>> from pathlib import Path
        >>> from cmah.search.blocks import CodeBlocks
        >>> from cmah.search.ids import Ids
        >>> write_index("empty.cmah", CodeBlocks(bits=8), Ids(), space="")
        >>> _ = Path("notes.txt").write_text("no index")
        >>> is_index("empty.cmah"), is_index("notes.txt")
        (True, False)
    """
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise CodesError(f"{path}: cannot be read ({error.strerror})") from None


def refuse_to_replace(path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse to write an index over a file of another format, or over a file that is read.

    Args:
        path: the file that is to be written.
        inputs: files that are read.

    Raises:
        CmahError: if it exists and is no index file, or is one of `inputs`.

    Examples:
        >>> from pathlib import Path
        >>> _ = Path("notes.txt").write_text("no index")
        >>> refuse_to_replace("notes.txt")
        Traceback (most recent call last):
            ...
        cmah.errors.CodesError: notes.txt: exists and is not an index; choose another name
    """
    if Path(path).is_file() and not is_index(path):
        raise CodesError(f"{path}: exists and is not an index; choose another name")
    require_replaceable(path, MAGIC, inputs)


def read_index(path: str | Path, *, mmap: bool = True, verify: bool = False) -> IndexContent:
    """Open an index file; its sizes are checked against the file before anything is mapped or allocated.

    Args:
        path: the file.
        mmap: leave the codes in the file and map it; else read it.
        verify: check all checksums; those of header, ids, space and short codes are always checked.

    Raises:
        CodesError: if it is missing, foreign, of another version, truncated or damaged.

    Examples:
        >>> content = read_index("demo/shapes.cmah")  # of `cmah demo`
        >>> content.blocks.bits, content.blocks.width, content.tables.size
        (64, 8, 0)
    """
    path = as_path(path, CodesError)
    require_file(path, "expected an index, as cmah index writes it", CodesError)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            bits, n, kind, sections = _read_header(file.read(HEADER), size)
            if mmap:
                data = np.frombuffer(
                    memory_map.mmap(file.fileno(), 0, access=memory_map.ACCESS_READ), np.uint8
                )
            else:
                file.seek(0)
                data = np.fromfile(file, dtype=np.uint8)
                data.flags.writeable = False
        parts = {}
        for name, (offset, length, checksum) in zip(SECTIONS, sections, strict=True):
            parts[name] = data[offset : offset + length]
            small = name in ("ids", "space") or length <= ALWAYS_VERIFIED
            if (verify or small) and zlib.crc32(parts[name].data) != checksum:
                raise CodesError(f"the section of {name} is damaged")
        blocks = CodeBlocks.from_bytes(bits, n, parts["codes"])
        if (verify or len(parts["codes"]) <= ALWAYS_VERIFIED) and blocks.unused_bits_set():
            raise CodesError(f"a code has bits set beyond bit {bits}")
        ids = _read_ids(parts["ids"], kind, n)
        return IndexContent(blocks, ids, parts["space"].tobytes().decode(), parts["tables"])
    except (CodesError, UnicodeDecodeError) as error:
        raise CodesError(f"{path}: {error}") from None
    except OSError as error:
        raise CodesError(f"{path}: cannot be read ({error.strerror})") from None


def _read_header(header: bytes, size: int) -> tuple[int, int, int, list[tuple[int, int, int]]]:
    """Bits, n, kind of ids, and (offset, size, CRC-32) of each section."""
    if not header.startswith(MAGIC):
        raise CodesError("not an index file of cmah")
    if len(header) < _FIELDS.size:
        raise CodesError(f"truncated: {len(header)} bytes, the header alone has {HEADER}")
    _, version, bits, n, kind, word, block, tables = _FIELDS.unpack_from(header)
    if version != VERSION:
        older = "; make it again from its codes with cmah index" if version < VERSION else ""
        raise CodesError(f"index version {version}; this cmah reads version {VERSION}{older}")
    if len(header) < HEADER:
        raise CodesError(f"truncated: {len(header)} bytes, the header alone has {HEADER}")
    if _CHECKSUM.unpack_from(header, _END)[0] != zlib.crc32(header[:_END]) or any(header[_END + 4 :]):
        raise CodesError("the header is damaged")
    if not 1 <= bits <= MAX_BITS or kind > TEXTS:
        raise CodesError(
            f"the header names {bits} bits and ids of kind {kind}, expected 1 to {MAX_BITS} bits and kind 0 to {TEXTS}"
        )
    layout = CodeBlocks(bits)
    if (word, block) != (layout.word.itemsize, layout.codes_in_block) or tables > TABLES:
        raise CodesError(
            f"the header names blocks of {block} codes in words of {word} bytes and tables of kind {tables}, expected "
            f"{layout.codes_in_block} codes, {layout.word.itemsize} bytes and kind {NO_TABLES} or {TABLES}"
        )
    sections = []
    expected = HEADER
    for number, name in enumerate(SECTIONS):
        offset, length, checksum, _ = _SECTION.unpack_from(header, _FIELDS.size + number * _SECTION.size)
        if offset != expected:
            raise CodesError(f"the section of {name} begins at byte {offset}, expected {expected}")
        sections.append((offset, length, checksum))
        expected = offset + _aligned(length)
    if expected != size:
        raise CodesError(f"truncated or extended: {size} bytes, expected {expected}")
    if sections[0][1] != n * layout.width:
        raise CodesError(f"{sections[0][1]} bytes of codes, expected {n * layout.width}")
    if bool(tables) != bool(sections[3][1]):
        some = "none" if tables == NO_TABLES else "some"
        raise CodesError(f"{sections[3][1]} bytes of tables of kind {tables}, expected {some}")
    return bits, n, kind, sections


def _read_ids(part: np.ndarray, kind: int, n: int) -> Ids:
    if kind == POSITIONS:
        if len(part):
            raise CodesError(f"{len(part)} bytes of ids, expected none")
        return Ids(n)
    if kind == NUMBERS:
        if len(part) != 8 * n:
            raise CodesError(f"{len(part)} bytes of ids, expected {8 * n}")
        return Ids(n, NUMBERS, part.view("<i8"))
    begin = 8 * (n + 1)
    ends = part[:begin].view("<u8") if len(part) >= begin else np.empty(0, dtype="<u8")
    text = part[begin:]
    steps_back = ends.size and (ends[1:] < ends[:-1]).any()
    if not ends.size or ends[0] != 0 or ends[-1] != len(text) or steps_back:
        raise CodesError("the ids do not fit into their section")
    text.tobytes().decode()
    inside = ends[ends < len(text)]
    if ((text[inside] & 0xC0) == 0x80).any():  # a text begins in the middle of a character
        raise CodesError("the ids are not UTF-8")
    return Ids(n, TEXTS, ends, text)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
