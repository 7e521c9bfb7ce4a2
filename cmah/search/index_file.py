"""The index file: a fixed header, then the sections codes, ids and space, each with a checksum.

Version 0, provisional: see docs/index-format.md. Numbers are little-endian.
"""

import itertools
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmah.codes import MAX_BITS, BinaryCodes
from cmah.errors import CodesError
from cmah.files import atomic_path, require_file

MAGIC = b"CMAH-IDX"
VERSION = 0
HEADER = 128
ALIGNMENT = 64
POSITIONS, NUMBERS, TEXTS = 0, 1, 2  # kinds of ids
_FIELDS = struct.Struct("<8sIIQII")  # magic, version, bits, n, kind of ids, 0
_SECTION = struct.Struct("<QQII")  # offset, size, CRC-32, 0
_CHECKSUM = struct.Struct("<I")  # CRC-32 of what precedes it in the header
_SECTIONS = 3


@dataclass(frozen=True)
class IndexContent:
    """What an index file holds.

    Attributes:
        packed: uint8 [n, ceil(bits / 8)].
        bits: length of a code.
        ids: int64 or text [n], or None for positions.
        space: of the codes, "" if unknown.
    """

    packed: np.ndarray
    bits: int
    ids: np.ndarray | None
    space: str


def write_index(path: str | Path, content: IndexContent) -> None:
    """Write an index file, whole or not at all.

    Raises:
        CodesError: for an id that is not Unicode text.
    """
    kind, ids = POSITIONS, b""
    if content.ids is not None and content.ids.dtype.kind == "U":
        try:
            texts = [text.encode() for text in content.ids.tolist()]
        except UnicodeEncodeError as error:
            raise CodesError(f"{path}: id {error.object!r} cannot be written as UTF-8") from None
        ends = np.cumsum([0, *map(len, texts)], dtype="<u8")
        kind, ids = TEXTS, ends.tobytes() + b"".join(texts)
    elif content.ids is not None:
        kind, ids = NUMBERS, content.ids.astype("<i8").tobytes()
    sections = [content.packed.tobytes(), ids, content.space.encode()]
    header = _FIELDS.pack(MAGIC, VERSION, content.bits, len(content.packed), kind, 0)
    offset = HEADER
    for section in sections:
        header += _SECTION.pack(offset, len(section), zlib.crc32(section), 0)
        offset = _aligned(offset + len(section))
    header += _CHECKSUM.pack(zlib.crc32(header))
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(header.ljust(HEADER, b"\0"))
        for section in sections:
            file.write(section.ljust(_aligned(len(section)), b"\0"))


def is_index(path: str | Path) -> bool:
    """Whether a file begins as an index does."""
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_index(path: str | Path) -> IndexContent:
    """Read an index file; its sizes are checked against the file before anything is allocated.

    Raises:
        CodesError: if it is missing, foreign, of another version, truncated or damaged.
    """
    path = Path(path)
    require_file(path, "expected an index, as cmah index writes it", CodesError)
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            header = file.read(HEADER)
            bits, n, kind, sections = _read_header(header, size)
            parts = []
            for name, (offset, length, checksum) in zip(("codes", "ids", "space"), sections, strict=True):
                file.seek(offset)
                part = file.read(length)
                if len(part) != length or zlib.crc32(part) != checksum:
                    raise CodesError(f"the section of {name} is damaged")
                parts.append(part)
        packed = np.frombuffer(parts[0], dtype=np.uint8).reshape(n, (bits + 7) // 8)
        BinaryCodes(packed, bits)  # checks the unused bits
        return IndexContent(packed, bits, _read_ids(parts[1], kind, n), parts[2].decode())
    except (CodesError, UnicodeDecodeError) as error:
        raise CodesError(f"{path}: {error}") from None
    except OSError as error:
        raise CodesError(f"{path}: cannot be read ({error.strerror})") from None


def _read_header(header: bytes, size: int) -> tuple[int, int, int, list[tuple[int, int, int]]]:
    """Bits, n, kind of ids, and (offset, size, CRC-32) of each section."""
    if not header.startswith(MAGIC):
        raise CodesError("not an index file of cmah")
    if len(header) < HEADER:
        raise CodesError(f"truncated: {len(header)} bytes, the header alone has {HEADER}")
    _, version, bits, n, kind, _ = _FIELDS.unpack_from(header)
    if version != VERSION:
        raise CodesError(f"index version {version}; this cmah reads version {VERSION}")
    end = _FIELDS.size + _SECTIONS * _SECTION.size
    if _CHECKSUM.unpack_from(header, end)[0] != zlib.crc32(header[:end]) or any(
        header[end + _CHECKSUM.size :]
    ):
        raise CodesError("the header is damaged")
    if not 1 <= bits <= MAX_BITS or kind > TEXTS:
        raise CodesError(f"the header names {bits} bits and ids of kind {kind}, which cannot be")
    sections = []
    expected = HEADER
    for number in range(_SECTIONS):
        offset, length, checksum, _ = _SECTION.unpack_from(header, _FIELDS.size + number * _SECTION.size)
        if offset != expected:
            raise CodesError(f"section {number} begins at byte {offset}, expected {expected}")
        sections.append((offset, length, checksum))
        expected = _aligned(offset + length)
    if expected != size:
        raise CodesError(f"truncated or extended: {size} bytes, expected {expected}")
    if sections[0][1] != n * ((bits + 7) // 8):
        raise CodesError(f"{sections[0][1]} bytes of codes, expected {n * ((bits + 7) // 8)}")
    return bits, n, kind, sections


def _read_ids(part: bytes, kind: int, n: int) -> np.ndarray | None:
    if kind == POSITIONS:
        if part:
            raise CodesError(f"{len(part)} bytes of ids, expected none")
        return None
    if kind == NUMBERS:
        if len(part) != 8 * n:
            raise CodesError(f"{len(part)} bytes of ids, expected {8 * n}")
        return np.frombuffer(part, dtype="<i8").astype(np.int64)
    begin = 8 * (n + 1)
    ends = np.frombuffer(part[:begin], dtype="<u8") if len(part) >= begin else np.empty(0, dtype="<u8")
    steps_back = ends.size and (ends[1:] < ends[:-1]).any()
    if not ends.size or ends[0] != 0 or ends[-1] != len(part) - begin or steps_back:
        raise CodesError("the ids do not fit into their section")
    stops = ends.tolist()
    texts = [part[begin + a : begin + b].decode() for a, b in itertools.pairwise(stops)]
    return np.array(texts, dtype=str)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
