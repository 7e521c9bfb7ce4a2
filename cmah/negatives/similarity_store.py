"""Similarities of all pairs of shapes within each category, on disk: ShapeNet-55 has 10⁸ such pairs."""

import json
import os
import tempfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from cmah.cache import tell_not_kept
from cmah.errors import CmahError
from cmah.files import atomic_path, locked, write_json
from cmah.negatives.similarities import Views, tiles
from cmah.progress import progress
from cmah.reading import MappedArrays

FORMAT, VERSION = "cmah-similarities", 1
OPEN_FILES = 64


class SimilarityStore:
    """Similarities within each category on disk, and one number for pairs of different categories.

    A folder with `similarities.json` and one file per category, from `block_00000.npy` on: float16, one entry for each
    pair i < j, row after row; its CRC-32 lies beside it in `block_00000.crc`. float16 keeps a similarity to 2⁻¹¹ of its
    value. Files are memory-mapped when read.

    Attributes:
        folder: where the files lie.
        sizes: number of shapes of each category.
        block: int64, number of the category of each position; -1 where it has none.
        place: int64, place of each position within its category.

    Examples:
        Two chairs seen at right angles, and a lamp:

        >>> views = np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]]])
        >>> blocks = [np.array([0, 1]), np.array([2])]
        >>> store = SimilarityStore.build("similarities", "i2i", blocks, lambda positions: views[positions])
        >>> store.batch(np.array([0, 1, 2]), alpha=0.25).tolist()
        [[1.0, 0.5, 0.25], [0.5, 1.0, 0.25], [0.25, 0.25, 1.0]]
    """

    def __init__(self, folder: Path, blocks: Sequence[np.ndarray]) -> None:
        """Refer to a folder that `build` has filled."""
        self.folder = folder
        self.sizes = [len(block) for block in blocks]
        count = 1 + max((int(block.max()) for block in blocks if len(block)), default=-1)
        self.block, self.place = np.full(count, -1), np.zeros(count, np.int64)
        for number, block in enumerate(blocks):
            self.block[block], self.place[block] = number, np.arange(len(block))
        self._open = MappedArrays(OPEN_FILES)
        self._own: tempfile.TemporaryDirectory[str] | None = None  # which goes when the store goes

    @classmethod
    def build(
        cls,
        folder: str | Path,
        measure: str,
        blocks: Sequence[np.ndarray],
        views: Views,
        landmarks: Sequence[np.ndarray | None] | None = None,
    ) -> "SimilarityStore":
        """Compute the categories that are missing; a build that was killed resumes at the category it was in.

        The folder must serve this input only (name it by a hash of the input): files in it are not computed again. A
        second process that builds the same folder waits for the first. Memory is bounded however large a category is.
        Where the folder cannot be written, a temporary one takes its place, and a line on standard error says so.

        Args:
            folder: created if it does not exist.
            measure: one of `similarities.MEASURES`.
            blocks: int64 positions of the shapes of each category, in order; a category of one shape needs no file.
            views: from int64 positions [k] to float32 [k, R, F], as `similarities.i2i` takes them.
            landmarks: for "i2l2" and "i2l2_all_pairs", [L, F] of each category of two shapes or more.

        Raises:
            CmahError: if the temporary folder cannot be written either, or an embedding is not finite.
        """
        try:
            return cls._built(Path(folder), measure, blocks, views, landmarks)
        except CmahError as error:
            if not isinstance(error.__cause__ or error.__context__, OSError):
                raise
            tell_not_kept(str(error))
        own = tempfile.TemporaryDirectory(prefix="cmah-", ignore_cleanup_errors=True)
        store = cls._built(Path(own.name), measure, blocks, views, landmarks)
        store._own = own
        return store

    @classmethod
    def _built(
        cls,
        folder: Path,
        measure: str,
        blocks: Sequence[np.ndarray],
        views: Views,
        landmarks: Sequence[np.ndarray | None] | None,
    ) -> "SimilarityStore":
        """As `build`, in this folder or not at all."""
        store = cls(folder, blocks)
        header = {"format": FORMAT, "version": VERSION, "measure": measure, "sizes": store.sizes}
        todo = [number for number, size in enumerate(store.sizes) if size > 1]
        with locked(folder, wait=True):
            if not _same(folder / "similarities.json", header):
                for old in folder.glob("block_*.npy"):
                    with suppress(OSError):  # a folder of this name makes the writing fail
                        old.unlink()
                write_json(folder / "similarities.json", header)
            for left_over in folder.glob(
                ".*.tmp.npy"
            ):  # of a killed build: the lock says that nobody else writes
                left_over.unlink()
            todo = [number for number in todo if not store._is_whole(number)]
            pairs = sum(_pairs(store.sizes[number]) for number in todo)
            with progress(range(pairs), f"similarities {measure}") as bar:
                for number in todo:
                    of_category = None if landmarks is None else landmarks[number]
                    with atomic_path(store._path(number)) as path:
                        crc = _write_block(path, measure, blocks[number], views, of_category, bar.update)
                        with atomic_path(store._path(number).with_suffix(".crc")) as record:
                            record.write_text(f"{crc:08x}\n")
        return store

    def batch(self, index: np.ndarray, alpha: float) -> np.ndarray:
        """The similarities of some shapes; only what they need is read.

        Args:
            index: int64 [b] positions.
            alpha: similarity of shapes of different categories.

        Returns:
            float32 [b, b], symmetric, the diagonal 1.
        """
        out = np.full((len(index), len(index)), alpha, np.float32)
        blocks = self.block[index]
        for number in np.unique(blocks[blocks >= 0]):
            chosen = np.flatnonzero(blocks == number)
            if len(chosen) > 1 and self.sizes[number] > 1:
                place = self.place[index[chosen]]
                low, high = np.minimum.outer(place, place), np.maximum.outer(place, place)
                # row `low` of the upper triangle begins after the `low` rows before it, which shrink by one each
                entry = low * self.sizes[number] - low * (low + 1) // 2 + high - low - 1
                values = self._values(int(number))[np.where(low == high, 0, entry)]
                out[np.ix_(chosen, chosen)] = values
        out[index[:, None] == index] = 1
        return out

    def _path(self, number: int) -> Path:
        return self.folder / f"block_{number:05d}.npy"

    def _is_whole(self, number: int) -> bool:
        """Whether a block's file exists, has the right length, and matches its checksum."""
        files = (self._path(number), self._path(number).with_suffix(".crc"))
        with suppress(CmahError, OSError, ValueError):
            if not all(map(os.path.isfile, files)):  # a pipe would keep its reader waiting
                return False
            expected = int(self._path(number).with_suffix(".crc").read_text()[:9], 16)
            if zlib.crc32(self._values(number).data) == expected:
                return True
        self._open.forget(self._path(number))  # the file is to be replaced
        return False

    def _values(self, number: int) -> np.ndarray:
        """A block, mapped."""
        path = self._path(number)
        try:
            values = self._open(path)
        except (OSError, ValueError, EOFError) as error:
            raise CmahError(f"{path}: not readable ({error}); remove {self.folder} and start again") from None
        if values.dtype != np.float16 or values.shape != (_pairs(self.sizes[number]),):
            raise CmahError(
                f"{path}: {values.dtype} {list(values.shape)}, expected float16 [{_pairs(self.sizes[number])}]; remove "
                f"{self.folder} and start again"
            )
        return values


def _pairs(size: int) -> int:
    """The number of pairs among `size` shapes."""
    return size * (size - 1) // 2


def _same(path: Path, header: dict[str, object]) -> bool:
    """Whether a folder was written for the same measure and blocks."""
    if not os.path.isfile(path):
        return False
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")) == header)
    except (OSError, ValueError, RecursionError):
        return False


def _write_block(
    path: Path,
    measure: str,
    positions: np.ndarray,
    views: Views,
    landmarks: np.ndarray | None,
    update: Callable[[int], Any],
) -> int:
    """Write the .npy file of one category from front to back, one band of rows after another.

    Returns:
        The CRC-32 of its data, header excluded.
    """
    count = len(positions)
    band, crc = np.empty((0, 0), "<f2"), 0
    with open(path, "wb") as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": (_pairs(count),)}
        np.lib.format.write_array_header_1_0(file, header)
        for rows, columns, tile in tiles(measure, count, lambda chosen: views(positions[chosen]), landmarks):
            if columns.start == rows.start:
                band = np.empty((len(tile), count - rows.start), "<f2")
            band[:, columns.start - rows.start : columns.stop - rows.start] = tile
            if columns.stop == count:
                for number, row in enumerate(band):
                    data = row[number + 1 :].tobytes()
                    crc = zlib.crc32(data, crc)
                    file.write(data)
                update(sum(count - 1 - row for row in range(rows.start, rows.stop)))
    return crc
