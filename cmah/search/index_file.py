"""The index file: written whole, appended to, and read; see docs/index-format.md.

What is appended lies behind the old segments, which are never written to; then one entry of 32 bytes in the first
header makes it count. Whoever has the file open still sees what counted before, and a process that is killed leaves
that.
"""

import fcntl
import mmap as memory_map
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cmah.errors import CmahError, CodesError
from cmah.file_names import as_path
from cmah.files import atomic_path, require_replaceable
from cmah.reading import require_file
from cmah.search.blocks import CodeBlocks
from cmah.search.ids import POSITIONS, TEXTS, Ids
from cmah.search.index_layout import (
    HEADER,
    MAGIC,
    NO_TABLES,
    SECTIONS,
    Commit,
    Layout,
    Section,
    Segment,
    aligned,
    first_position,
    packed_header,
    read_layout,
)
from cmah.search.index_sections import (
    bytes_of_ids,
    bytes_of_removed,
    bytes_of_shapes,
    joined_ids,
    joined_shapes,
    read_ids,
    read_removed,
    read_shapes,
)
from cmah.search.item_shapes import ItemShapes

ALWAYS_VERIFIED = 16 << 20  # bytes of the codes, or of the tables, whose checksum costs nothing to speak of


@dataclass(frozen=True)
class FileState:
    """Which state of which file an index was read from or written to.

    Attributes:
        path: the file.
        inode: its device and number.
        layout: what its headers said.

    Examples:
        >>> from cmah.search.index_layout import Commit, Layout, Segment
        >>> layout = Layout(2, 64, Commit(320, 0, 1, 1), [Segment(0, 0, 0, {})])
        >>> FileState(Path("shapes.cmah"), (1, 2), layout).segments
        1
    """

    path: Path
    inode: tuple[int, int]
    layout: Layout

    @property
    def segments(self) -> int:
        """Parts of the file, of which all but the first were appended."""
        return len(self.layout.segments)

    @property
    def removed(self) -> int:
        """Codes that are still in the file though they were removed; saving it as a whole leaves them out."""
        return self.layout.removed

    @property
    def behind(self) -> int:
        """Bytes that an interrupted append left, which do not count."""
        return self.path.stat().st_size - self.layout.commit.end


@dataclass(frozen=True)
class IndexContent:
    """What an index file holds.

    Attributes:
        blocks: the codes, those that were removed included.
        ids: their ids.
        space: of the codes, "" if unknown.
        tables: uint8 [m], those of a multi-index; empty in a flat index.
        tabled: codes that the tables are of, from the first on.
        shapes: that the codes show; None where none is named.
        removed: positions of the codes that were removed, int64 [r] in ascending order.
        dataset: folder that the codes were exported from, "" if unknown.
        state: of the file.

    Examples:
        >>> content = read_index("demo/shapes.cmah")  # of `cmah demo`
        >>> len(content.blocks) == len(content.ids), content.removed.tolist()
        (True, [])
    """

    blocks: CodeBlocks
    ids: Ids
    space: str
    tables: np.ndarray
    tabled: int
    shapes: ItemShapes | None
    removed: np.ndarray
    dataset: str
    state: FileState


def write_index(
    path: str | Path,
    blocks: CodeBlocks,
    ids: Ids,
    space: str = "",
    *,
    tables: tuple[int, Iterable[np.ndarray]] = (NO_TABLES, ()),
    shapes: ItemShapes | None = None,
    dataset: str = "",
) -> FileState:
    """Write an index file, whole or not at all.

    Args:
        path: the file.
        blocks: the codes.
        ids: their ids.
        space: of the codes, "" if unknown.
        tables: NO_TABLES or TABLES, and the bytes of the tables in parts, uint8.
        shapes: that the codes show.
        dataset: folder that the codes were exported from, "" if unknown.

    Raises:
        CodesError: if `space` or `dataset` is no Unicode text.
        CmahError: if the file cannot be written.

    Examples:
        >>> import numpy as np
        >>> from cmah.search.blocks import CodeBlocks
        >>> from cmah.search.ids import Ids
        >>> blocks = CodeBlocks(bits=8)
        >>> blocks.append(np.array([[7], [9]], np.uint8))
        >>> _ = write_index("two.cmah", blocks, Ids.of(np.array(["a", "b"])))
        >>> read_index("two.cmah").ids.values.tolist()
        ['a', 'b']
    """
    parts: dict[str, Iterable[np.ndarray]] = {
        "codes": blocks.chunks(),
        "ids": bytes_of_ids(ids),
        "space": _text(space, "space"),
        "shapes": bytes_of_shapes(shapes),
        "tables": tables[1],
        "dataset": _text(dataset, "dataset"),
    }
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        segment = _write_segment(file, 0, len(blocks), ids.kind, tables[0], parts, blocks.bits)
        commit = Commit(file.seek(0, os.SEEK_END), len(blocks), 1, 1)
        _write_at(file, commit.place, commit.packed())
        found = os.fstat(file.fileno())
    layout = Layout(2, blocks.bits, commit, [segment])
    return FileState(as_path(path), (found.st_dev, found.st_ino), layout)


def append_index(
    state: FileState,
    codes: np.ndarray,
    ids: Ids | None,
    *,
    space: str = "",
    shapes: ItemShapes | None = None,
    dataset: str = "",
    removed: np.ndarray | None = None,
) -> FileState:
    """Append codes to an index file, and say which of it are removed; all of it counts at once, or none of it.

    Args:
        state: of the file; version 1 cannot be appended to.
        codes: packed codes that are added, uint8 [m, width].
        ids: those of the codes; None where they are positions.
        space: of these codes, "" if unknown.
        shapes: that these codes show.
        dataset: folder that they were exported from, "" if unknown.
        removed: positions of codes in the file, int64 in ascending order, none of which is removed already.

    Returns:
        The state afterwards; `state` where there is nothing to write.

    Raises:
        CodesError: if the file is gone or no longer in this state, is of version 1, or holds codes of another space or
            ids of another type.
        CmahError: if it cannot be written; then what counts in it is as it was.

    Examples:
        >>> blocks = CodeBlocks(bits=8)
        >>> blocks.append(np.array([[7], [9]], np.uint8))
        >>> state = write_index("growing.cmah", blocks, Ids(2))
        >>> state = append_index(state, np.array([[5]], np.uint8), None, removed=np.array([0]))
        >>> content = read_index("growing.cmah")
        >>> content.blocks.all_rows().ravel().tolist(), content.ids.values.tolist(), content.removed.tolist()
        ([7, 9, 5], [0, 1, 2], [0])
    """
    layout, bits = state.layout, state.layout.bits
    gone = np.empty(0, np.int64) if removed is None else removed
    if not len(codes) and not len(gone):
        return state
    with _locked(state.path) as file:
        _require_state(file, state)
        kind = ids.kind if ids is not None and len(codes) else POSITIONS
        _require_alike(file, state, kind if len(codes) else None, space)
        added = CodeBlocks(bits)
        if len(codes):
            # those of the last short block once more
            added.append(_last_rows(file, layout, layout.n - first_position(bits, layout.n)))
            added.append(codes)
        parts: dict[str, Iterable[np.ndarray]] = {
            "codes": added.chunks() if len(codes) else (),
            "ids": bytes_of_ids(ids) if ids is not None and len(codes) else (),
            "space": _text(space, "space"),
            "shapes": bytes_of_shapes(shapes),
            "removed": bytes_of_removed(gone),
            "dataset": _text(dataset, "dataset"),
        }
        old, n = layout.commit, layout.n + len(codes)
        try:
            file.truncate(old.end)  # what an interrupted process left there
            segment = _write_segment(file, old.end, n, kind, NO_TABLES, parts, bits)
            end = file.seek(0, os.SEEK_END)
            items = old.items + len(codes) - len(gone)
            commit = Commit(end, items, old.segments + 1, old.generation + 1)
            _synced(file)
            _write_at(file, commit.place, commit.packed())
            _synced(file)
        except OSError as error:
            raise CmahError(f"{state.path}: cannot be written ({error.strerror or error})") from None
    return FileState(
        state.path, state.inode, Layout(layout.version, bits, commit, [*layout.segments, segment])
    )


def is_index(path: str | Path) -> bool:
    """Whether a file begins as an index file does.

    Raises:
        CodesError: if it cannot be read.

    Examples:
        >>> from pathlib import Path
        >>> from cmah.search.blocks import CodeBlocks
        >>> from cmah.search.ids import Ids
        >>> _ = write_index("empty.cmah", CodeBlocks(bits=8), Ids())
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
        verify: check all checksums; those of headers, ids, spaces and short sections are always checked.

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
        try:
            data, state = _read(path, mmap)
        except CodesError:
            # once more: a process that appends may have made count what was not there yet when the file was mapped
            data, state = _read(path, mmap)
        return _content(data, state.layout, state, verify)
    except (CodesError, UnicodeDecodeError) as error:
        raise CodesError(f"{path}: {error}") from None
    except OSError as error:
        raise CodesError(f"{path}: cannot be read ({error.strerror})") from None


def _read(path: Path, mmap: bool) -> tuple[np.ndarray, FileState]:
    """The bytes of an index file, uint8, read-only, and its state."""
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        if mmap and status.st_size:
            data = np.frombuffer(memory_map.mmap(file.fileno(), 0, access=memory_map.ACCESS_READ), np.uint8)
        else:
            data = np.fromfile(file, dtype=np.uint8)
            data.flags.writeable = False
    return data, FileState(path, (status.st_dev, status.st_ino), read_layout(data.data))


def _content(data: np.ndarray, layout: Layout, state: FileState, verify: bool) -> IndexContent:
    codes, ids, shapes, counts, removed = [], [], [], [], np.empty(0, np.int64)
    spaces, datasets = [""], [""]
    tables, tabled, before = np.empty(0, np.uint8), 0, 0
    # of all segments together: else a file of many short ones would be read as a whole each time
    long = {
        name: sum(each.sections[name].size for each in layout.segments)
        for name in layout.segments[0].sections
    }
    for segment in layout.segments:
        part = {
            name: _bytes_of(data, name, section, verify or long[name] <= ALWAYS_VERIFIED)
            for name, section in segment.sections.items()
        }
        count = segment.n - before
        if count:
            codes.append(part["codes"])
        ids.append(read_ids(part["ids"], segment.ids, count, before))
        shapes.append(read_shapes(part.get("shapes", np.empty(0, np.uint8)), count))
        counts.append(count)
        gone = read_removed(part.get("removed", np.empty(0, np.uint8)), segment.n)
        if len(np.intersect1d(gone, removed)):
            raise CodesError("a code is removed twice")
        removed = np.union1d(removed, gone)
        spaces.append(part["space"].tobytes().decode())
        datasets.append(part["dataset"].tobytes().decode() if "dataset" in part else "")
        if len(part["tables"]):
            tables, tabled = part["tables"], segment.n
        before = segment.n
    if len(removed) != layout.removed:
        raise CodesError(f"{len(removed)} codes are removed, expected {layout.removed}")
    if len({space for space in spaces if space}) > 1:
        raise CodesError("its segments have codes of different spaces")
    blocks = CodeBlocks.from_bytes(layout.bits, layout.n, *codes)
    if (verify or long["codes"] <= ALWAYS_VERIFIED) and blocks.unused_bits_set():
        raise CodesError(f"a code has bits set beyond bit {layout.bits}")
    kinds = [segment.ids for segment, count in zip(layout.segments, counts, strict=True) if count]
    some = [part for part in ids if len(part)]
    return IndexContent(
        blocks,
        joined_ids(some, kinds) if some else ids[0],
        max(spaces),
        tables,
        tabled,
        joined_shapes(shapes, counts),
        removed,
        _one(datasets),
        state,
    )


def _bytes_of(data: np.ndarray, name: str, section: Section, check: bool) -> np.ndarray:
    """A section's bytes; the checksums of codes and tables are checked where asked for, those of the others always."""
    part = data[section.offset : section.offset + section.size]
    if (check or name not in ("codes", "tables")) and zlib.crc32(part.data) != section.checksum:
        raise CodesError(f"the section of {name} is damaged")
    return part


def _one(datasets: list[str]) -> str:
    """The folder that the codes of all segments come from; "" for several ones."""
    named = {dataset for dataset in datasets if dataset}
    return named.pop() if len(named) == 1 else ""


def _write_segment(
    file: BinaryIO,
    begin: int,
    n: int,
    ids: int,
    tables: int,
    parts: Mapping[str, Iterable[np.ndarray]],
    bits: int,
) -> Segment:
    """Write a segment at byte `begin`, with its header last."""
    file.seek(begin)
    file.write(bytes(HEADER))
    sections, offset = {}, begin + HEADER
    for name in SECTIONS:
        size = checksum = 0
        for piece in parts.get(name, ()):
            file.write(piece.data)
            size, checksum = size + len(piece), zlib.crc32(piece.data, checksum)
        file.write(bytes(aligned(size) - size))
        sections[name] = Section(offset, size, checksum)
        offset = sections[name].end
    segment = Segment(n, ids, tables, sections)
    _write_at(file, begin, packed_header(bits, segment, first=not begin))
    return segment


def _write_at(file: BinaryIO, place: int, data: bytes) -> None:
    file.seek(place)
    file.write(data)
    file.flush()


def _synced(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _last_rows(file: BinaryIO, layout: Layout, count: int) -> np.ndarray:
    """The last `count` codes, which are less than a block, uint8 [count, width]."""
    blocks = CodeBlocks(layout.bits)
    if not count:
        return np.empty((0, blocks.width), np.uint8)
    section = next(each for each in reversed(layout.segments) if each.sections["codes"].size).sections[
        "codes"
    ]
    size = count * blocks.width
    part = _bytes_at(file, section.offset + section.size - size, size)
    return CodeBlocks.from_bytes(layout.bits, count, part).all_rows()


def _bytes_at(file: BinaryIO, place: int, size: int) -> np.ndarray:
    """Some bytes of a file, uint8 [size]."""
    try:
        file.seek(place)
        return np.frombuffer(file.read(size), np.uint8)
    except OSError as error:
        raise CmahError(f"{file.name}: cannot be read ({error.strerror})") from None


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading and writing, which no other process appends to meanwhile."""
    try:
        file: Any = open(path, "r+b")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise CodesError(f"{path}: cannot be appended to ({error.strerror})") from None
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CodesError(f"{path}: another process is appending to it") from None
        except OSError as error:
            raise CodesError(f"{path}: cannot be locked ({error.strerror})") from None
        yield file
    except BaseException:
        with suppress(OSError):  # what could not be written cannot be written on closing either
            file.close()
        raise
    file.close()


def _require_state(file: BinaryIO, state: FileState) -> None:
    """Refuse a file that is not what the index was read from."""
    found = os.fstat(file.fileno())
    try:
        layout = read_layout(memoryview(memory_map.mmap(file.fileno(), 0, access=memory_map.ACCESS_READ)))
    except (CodesError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise CodesError(f"{state.path}: {error}") from None
    if (found.st_dev, found.st_ino) != state.inode or layout != state.layout:
        raise CodesError(f"{state.path}: has changed since this index was opened; open it again")
    if layout.version == 1:
        raise CodesError(
            f"{state.path}: version 1 of the format, to which nothing can be appended; write it anew once, by cmah "
            "index --compact or HammingIndex.save"
        )


def _require_alike(file: BinaryIO, state: FileState, kind: int | None, space: str) -> None:
    """Refuse to append what would make the file unreadable: ids of `kind` (None: no codes), codes of `space`."""
    before = 0
    for segment in state.layout.segments:
        if kind is not None and segment.n > before and (segment.ids == TEXTS) != (kind == TEXTS):
            there, added = ("text", "numbers") if segment.ids == TEXTS else ("numbers", "text")
            raise CodesError(
                f"{state.path}: ids in the file are {there}, those that are added {added}; save the index as a whole"
            )
        before = segment.n
    named = (segment.sections["space"] for segment in state.layout.segments)
    section = next((each for each in named if each.size), None)
    if space and section is not None:
        there = _bytes_at(file, section.offset, section.size).tobytes().decode(errors="replace")
        if there != space:
            raise CodesError(
                f"{state.path}: codes of space {space}, expected {there}; save the index as a whole"
            )


def _text(value: str, what: str) -> list[np.ndarray]:
    try:
        return [np.frombuffer(value.encode(), dtype=np.uint8)]
    except UnicodeEncodeError:
        raise CodesError(f"{what} {value!r} cannot be written as UTF-8") from None
