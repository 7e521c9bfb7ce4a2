"""A folder of float32 matrices that were computed once: shards.

A shard is `NAME.npy`, float32 [rows, dim], and `NAME.json`: how many items it was computed of, which of them were
skipped and why, and the CRC-32 of the matrix. The record is written last: a shard without it is not finished, and one
that does not fit its record is computed again.
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cmah.errors import CmahError
from cmah.files import atomic_path, read_json, write_json

FORMAT, VERSION = "cmah-embeddings", 1
LeftOut = list[tuple[int, str]]  # position and reason of each item that was skipped


class Shards:
    """The shards in one folder.

    Attributes:
        folder: made when the first shard is written.
        dim: width of a row.

    Examples:
        Of three items the second is broken.

        >>> shards = Shards(Path("cache"), dim=2)
        >>> path, left_out = shards.get("first", 3, lambda: (np.eye(2, dtype=np.float32), [(1, "broken")]))
        >>> np.load(path).tolist(), left_out
        ([[1.0, 0.0], [0.0, 1.0]], [(1, 'broken')])
        >>> shards.get("first", 3, lambda: print("computed again"))[1]  # it is there, so nothing is computed
        [(1, 'broken')]
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder, self.dim = folder, dim

    def get(
        self, name: str, count: int, compute: Callable[[], tuple[np.ndarray, LeftOut]]
    ) -> tuple[Path, LeftOut]:
        """The file of a shard, computed unless it is there.

        Args:
            name: without suffix.
            count: items that it is computed of.
            compute: gives float32 [count - skipped, dim] and what was skipped, in order.

        Returns:
            (file, what was skipped).

        Raises:
            CmahError: if the folder cannot be written; then nothing is computed.
        """
        path = self.folder / f"{name}.npy"
        record = path.with_suffix(".json")
        skipped = self._read(path, record, count)
        if skipped is not None:
            return path, skipped
        with _explained():
            try:
                self.folder.mkdir(parents=True, exist_ok=True)  # fails before the work, not after it
            except OSError as error:
                raise CmahError(f"{self.folder}: cannot be used as a folder ({error.strerror})") from None
        rows, skipped = compute()
        header = {"format": FORMAT, "version": VERSION, "count": count, "skipped": skipped}
        with _explained():
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.save(file, rows, allow_pickle=False)
            write_json(record, {**header, "crc32": _checksum(path)})
        return path, skipped

    def _read(self, path: Path, record: Path, count: int) -> LeftOut | None:
        """What a shard on disk skipped; None if it is not there, not whole, or not of this kind."""
        if not path.is_file() or not record.is_file():
            return None
        try:
            stored: Any = read_json(record)
            skipped = [(int(position), str(reason)) for position, reason in stored["skipped"]]
            same = (stored["format"], stored["version"], stored["count"]) == (FORMAT, VERSION, count)
            if not same or stored["crc32"] != _checksum(path):
                return None
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
        except (CmahError, OSError, ValueError, KeyError, TypeError, OverflowError):
            return None
        positions = [position for position, _ in skipped]
        if positions != sorted(set(positions) & set(range(count))):
            return None
        return (
            skipped if rows.dtype == np.float32 and rows.shape == (count - len(skipped), self.dim) else None
        )


@contextmanager
def _explained() -> Iterator[None]:
    """Say of an error in writing what to do about it."""
    try:
        yield
    except CmahError as error:
        raise CmahError(
            f"{error}; the environment variable CMAH_CACHE chooses another cache folder"
        ) from None


def _checksum(path: Path) -> int:
    """CRC-32 of a file."""
    value = 0
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            value = zlib.crc32(chunk, value)
    return value
