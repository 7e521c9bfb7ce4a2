"""A folder of matrices that are computed once: shards.

A shard is `NAME.npy`, [rows, dim], and `NAME.json`: how many items it was computed of, which of them were skipped and
why, and the CRC-32 of the matrix. The record is written last: a shard without it is not finished, and one that does not
fit its record is computed again. While a shard is computed, what there is of it is kept in `NAME.part.npz`, so that a
job that is killed loses little.
"""

import os
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import DTypeLike

from cmah.data.encoding_batches import with_left_out
from cmah.errors import CmahError
from cmah.files import atomic_path, write_json
from cmah.progress import Lines
from cmah.reading import read_json

FORMAT, VERSION = "cmah-embeddings", 1
SHARD = 4096  # items of `in_shards`
SECONDS = 10.0  # of computing, of which a killed job loses at most so many
LeftOut = list[tuple[int, str]]  # position and reason of each item that was skipped
# rows, what was skipped since the rows before, and the position of the item behind the last of these
Piece = tuple[np.ndarray, LeftOut, int]


@dataclass(frozen=True)
class Shard:
    """Rows that were computed.

    Attributes:
        path: the file that holds them, or would, had it been possible to write it.
        rows: the rows, where they are in no file; else None.
        count: how many rows.
        left_out: position and reason of each item that has no row.

    Examples:
        >>> Shard(Path("none.npy"), np.eye(2), 2, []).load().tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    path: Path
    rows: np.ndarray | None
    count: int
    left_out: LeftOut

    def load(self) -> np.ndarray:
        """The rows [count, dim], in memory."""
        return np.load(self.path, allow_pickle=False) if self.rows is None else self.rows


class Shards:
    """The shards in one folder.

    Attributes:
        folder: made when the first shard is written.
        dim: width of a row; None for any.
        dtype: of the rows.

    Examples:
        Of three items the second is broken.

        >>> shards = Shards(Path("cache"), dim=2)
        >>> shard = shards.get("first", 3, lambda begin: iter([(np.eye(2, dtype=np.float32), [(1, "broken")], 3)]))
        >>> shard.load().tolist(), shard.left_out
        ([[1.0, 0.0], [0.0, 1.0]], [(1, 'broken')])
        >>> shards.get("first", 3, lambda begin: print("computed again")).left_out  # it is there
        [(1, 'broken')]
    """

    def __init__(
        self,
        folder: Path,
        dim: int | None,
        dtype: DTypeLike = np.float32,
        *,
        unwritable: Callable[[CmahError], None] | None = None,
    ) -> None:
        """Read and write nothing yet.

        Args:
            folder: see the class.
            dim: see the class.
            dtype: see the class.
            unwritable: called where the folder cannot be written; then the rows stay in memory. None raises the error.
        """
        self.folder, self.dim, self.dtype, self.unwritable = folder, dim, np.dtype(dtype), unwritable

    def get(self, name: str, count: int, compute: Callable[[int], Iterator[Piece]]) -> Shard:
        """A shard, computed unless it is there.

        Args:
            name: without suffix.
            count: items that it is computed of.
            compute: from the position of an item to the rows of that and all later ones, piece after piece.

        Raises:
            CmahError: if the folder cannot be written, and that is not borne.
        """
        path = self.folder / f"{name}.npy"
        if (found := self.find(name, count)) is not None:
            return found
        rows, left_out = self._computed(path.with_suffix(".part.npz"), count, compute)
        kept = self._write(path, rows, count, left_out)
        return Shard(path, None if kept else rows, len(rows), left_out)

    def find(self, name: str, count: int) -> Shard | None:
        """A shard that is there; None if it is not, or is not whole.

        Args:
            name: without suffix.
            count: items that it was computed of.

        Examples:
            >>> Shards(Path("none"), dim=2).find("first", 3) is None
            True
        """
        path = self.folder / f"{name}.npy"
        left_out = self._checked(path, count)
        return None if left_out is None else Shard(path, None, count - len(left_out), left_out)

    def put(self, name: str, rows: np.ndarray) -> None:
        """Write a shard of which nothing was left out.

        Args:
            name: without suffix.
            rows: [count, dim].

        Raises:
            CmahError: if the folder cannot be written, and that is not borne.

        Examples:
            >>> shards = Shards(Path("put"), dim=2)
            >>> shards.put("first", np.eye(2, dtype=np.float32))
            >>> shards.find("first", 2).count
            2
        """
        self._write(self.folder / f"{name}.npy", rows, len(rows), [])

    def _computed(
        self, part: Path, count: int, compute: Callable[[int], Iterator[Piece]]
    ) -> tuple[np.ndarray, LeftOut]:
        """The rows of a shard and what it left out; what a stopped job has left in `part` is not computed again."""
        rows, left_out, done = self._begun(part, count)
        parts, saved, save_from = [rows], done, time.monotonic() + SECONDS
        try:
            for rows, more, end in compute(done) if done < count else ():
                parts.append(rows)
                left_out, done = left_out + more, end
                if done < count and time.monotonic() > save_from:
                    parts = [_joined(parts)]
                    self._write_part(part, parts[0], left_out, done)
                    saved, save_from = done, time.monotonic() + SECONDS
        except BaseException:
            if saved < done < count:
                with suppress(CmahError):
                    self._write_part(part, _joined(parts), left_out, done)
            raise
        return _joined(parts), left_out

    def _begun(self, part: Path, count: int) -> Piece:
        """What a stopped job has left of a shard; nothing if its file is not whole, or not of this kind."""
        nothing: Piece = np.zeros((0, self.dim or 0), self.dtype), [], 0
        if not os.path.isfile(part):  # a pipe would keep its reader waiting
            return nothing
        try:
            with np.load(part, allow_pickle=False) as file:  # which checks the CRC-32 of each member
                rows, done = file["rows"], int(file["done"])
                left_out = list(zip(file["positions"].tolist(), file["reasons"].tolist(), strict=True))
        except (OSError, ValueError, EOFError, KeyError, TypeError, BadZipFile):
            return nothing
        return (rows, left_out, done) if 0 < done <= count and self._fits(rows, done, left_out) else nothing

    def _write_part(self, part: Path, rows: np.ndarray, left_out: LeftOut, done: int) -> None:
        """Keep what there is of a shard; an error is borne, or raised, as `unwritable` says."""
        buffer = BytesIO()
        positions = np.array([position for position, _ in left_out], np.int64)
        reasons = np.array([reason for _, reason in left_out], np.str_)
        np.savez(buffer, rows=rows, positions=positions, reasons=reasons, done=np.int64(done))
        self._try([(part, buffer)])

    def _write(self, path: Path, rows: np.ndarray, count: int, left_out: LeftOut) -> bool:
        """Write a shard and its record; whether that could be done."""
        buffer = BytesIO()
        np.save(buffer, rows, allow_pickle=False)
        header = {"format": FORMAT, "version": VERSION, "count": count, "skipped": left_out}
        record = {**header, "crc32": zlib.crc32(buffer.getbuffer())}
        if not self._try([(path, buffer), (path.with_suffix(".json"), record)]):
            return False
        with suppress(OSError):
            path.with_suffix(".part.npz").unlink(missing_ok=True)
        return True

    def _try(self, files: list[tuple[Path, Any]]) -> bool:
        """Write files of bytes or JSON; False where that cannot be done and is borne."""
        try:
            for path, content in files:
                if isinstance(content, BytesIO):
                    with atomic_path(path) as temporary:
                        temporary.write_bytes(content.getbuffer())
                else:
                    write_json(path, content)
        except CmahError as error:
            if self.unwritable is None:
                raise
            self.unwritable(error)
            return False
        return True

    def _checked(self, path: Path, count: int) -> LeftOut | None:
        """What a shard on disk left out; None if it is not there, not whole, or not of this kind."""
        record = path.with_suffix(".json")
        if not os.path.isfile(path) or not os.path.isfile(record):
            return None
        try:
            stored: Any = read_json(record)
            left_out = [(int(position), str(reason)) for position, reason in stored["skipped"]]
            same = (stored["format"], stored["version"], stored["count"]) == (FORMAT, VERSION, count)
            if not same or stored["crc32"] != _checksum(path):
                return None
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
        except (CmahError, OSError, ValueError, EOFError, KeyError, TypeError, OverflowError):
            return None
        return left_out if self._fits(rows, count, left_out) else None

    def _fits(self, rows: np.ndarray, count: int, left_out: LeftOut) -> bool:
        """Whether rows are as many, as wide and of the type that they should be."""
        positions = [position for position, _ in left_out]
        expected = (count - len(left_out), self.dim or rows.shape[-1])
        sound = positions == sorted(set(positions) & set(range(count)))
        return sound and rows.dtype == self.dtype and rows.shape == expected


def pieces(batches: Any, begin: int, end: int, encode: Callable[[Any], np.ndarray]) -> Iterator[Piece]:
    """The rows of items that come in batches.

    Args:
        batches: yields (inputs, positions counted from `begin`) in order; its `skipped` holds, at each moment, (name,
            reason) of the items that were left out so far.
        begin: position of the first item.
        end: position behind the last item.
        encode: from inputs to rows.

    Examples:
        >>> from cmah.data.encoding_batches import PointBatches
        >>> clouds = PointBatches([Path("none.npy")], points=8, batch_size=2)
        >>> [(len(rows), left_out, end) for rows, left_out, end in pieces(clouds, 4, 5, np.asarray)]
        [(0, [(4, 'none.npy: no such file (expected ...)')], 5)]
    """
    for inputs, _, left_out, stop in with_left_out(batches, end - begin):
        rows = np.zeros((0, 0), np.float32) if inputs is None else encode(inputs)
        yield rows, [(begin + position, reason) for position, reason in left_out], begin + stop


def in_shards(
    shards: Shards | None,
    name: str,
    count: int,
    width: int,
    compute: Callable[[int, int], Iterator[Piece]],
    bar: Lines[int] | None = None,
) -> tuple[np.ndarray, LeftOut]:
    """The rows of items and what was left out, kept while they are computed.

    Args:
        shards: where to keep them; None keeps nothing.
        name: of the shards.
        count: number of items.
        width: of a row.
        compute: the pieces from one position up to another.
        bar: of as many items, which is closed at the end.

    Examples:
        >>> compute = lambda begin, end: iter([(np.zeros((end - begin, 2), np.float32), [], end)])
        >>> in_shards(Shards(Path("parts"), 2), "image", 5000, 2, compute)[0].shape
        (5000, 2)
        >>> sorted(path.name for path in Path("parts").glob("*.npy"))
        ['image-000000000.npy', 'image-000004096.npy']
    """
    parts: list[np.ndarray] = [np.zeros((0, width), np.float32)]
    left_out: LeftOut = []
    for _, _, rows, more in each_shard(shards, name, count, width, compute, bar):
        parts.append(rows)
        left_out += more
    return _joined(parts), left_out


def each_shard(
    shards: Shards | None,
    name: str,
    count: int,
    width: int,
    compute: Callable[[int, int], Iterator[Piece]],
    bar: Lines[int] | None = None,
) -> Iterator[tuple[int, int, np.ndarray, LeftOut]]:
    """The rows of `in_shards`, a shard at a time; arguments as there.

    Yields:
        (position of the shard's first item, number of its items, rows, what was left out).

    Examples:
        >>> compute = lambda begin, end: iter([(np.zeros((end - begin, 2), np.float32), [], end)])
        >>> [(first, count) for first, count, _, _ in each_shard(None, "image", 5000, 2, compute)]
        [(0, 4096), (4096, 904)]
    """
    for first in range(0, count, SHARD):
        end = min(first + SHARD, count)

        def shifted(begin: int, first: int = first, end: int = end) -> Iterator[Piece]:
            if bar is not None:
                bar.skip(first + begin - bar.n)
            for rows, more, stop in compute(first + begin, end):
                if bar is not None:
                    bar.update(stop - bar.n)
                yield rows, [(position - first, reason) for position, reason in more], stop - first

        if shards is None:
            parts: list[np.ndarray] = [np.zeros((0, width), np.float32)]
            missing: LeftOut = []
            for rows, more, _ in shifted(0):
                parts.append(rows)
                missing += more
            whole = _joined(parts)
        else:
            shard = shards.get(f"{name}-{first:09d}", end - first, shifted)
            whole, missing = shard.load(), shard.left_out
        if bar is not None:
            bar.skip(end - bar.n)
        yield first, end - first, whole, [(first + position, reason) for position, reason in missing]
    if bar is not None:
        bar.close()


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """The rows of all parts; those without rows may be of another width."""
    return np.concatenate([rows for rows in parts if len(rows)] or parts[:1])


def _checksum(path: Path) -> int:
    """CRC-32 of a file."""
    value = 0
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            value = zlib.crc32(chunk, value)
    return value
