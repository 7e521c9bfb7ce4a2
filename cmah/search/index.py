"""`HammingIndex`: codes with names, searched exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from cmah.codes import MAX_BITS, BinaryCodes
from cmah.errors import CodesError
from cmah.search.index_file import IndexContent, read_index, write_index


@dataclass(frozen=True)
class Hits:
    """The nearest items of each query, ordered by (distance, position).

    Attributes:
        ids: int64 or text [q, k], k = the number asked for or, if that is less, the size of the index.
        distances: int32 [q, k], in bits.
        positions: int64 [q, k], the place of the item in the index, from 0 in order of adding.
    """

    ids: np.ndarray
    distances: np.ndarray
    positions: np.ndarray


@dataclass(frozen=True)
class RadiusHits:
    """All items within a radius: query i has the entries offsets[i] to offsets[i + 1], ordered as in `Hits`.

    Attributes:
        offsets: int64 [q + 1].
        ids: int64 or text [m].
        distances: int32 [m], in bits.
        positions: int64 [m].
    """

    offsets: np.ndarray
    ids: np.ndarray
    distances: np.ndarray
    positions: np.ndarray


class HammingIndex:
    """An exact index over binary codes.

    Args:
        bits: length of the codes, 1 to 4,096.
        space: the space of the codes; taken from the first codes that name one. Codes of another are refused.

    Raises:
        CodesError: for an impossible length.
    """

    def __init__(self, bits: int, space: str | None = None) -> None:
        if not 1 <= bits <= MAX_BITS:
            raise CodesError(f"bits is {bits}, expected 1 to {MAX_BITS}")
        self.bits = bits
        self.space = space or ""
        self._packed = np.empty((0, (bits + 7) // 8), dtype=np.uint8)
        self._ids: np.ndarray | None = None  # None: the positions

    def __len__(self) -> int:
        return len(self._packed)

    def __repr__(self) -> str:
        return f"HammingIndex({len(self)} x {self.bits} bits)"

    @property
    def ids(self) -> np.ndarray:
        """The ids in order of position, int64 or text [n]."""
        return np.arange(len(self), dtype=np.int64) if self._ids is None else self._ids

    @property
    def codes(self) -> BinaryCodes:
        """The codes in order of position, with ids where they were given."""
        return BinaryCodes(self._packed, self.bits, ids=self._ids, space=self.space)

    def add(self, codes: BinaryCodes, ids: np.ndarray | Sequence[int] | Sequence[str] | None = None) -> None:
        """Append codes.

        Args:
            codes: of this index's length and space.
            ids: their names, whole numbers or text (one kind per index), unique in the index; by default
                `codes.ids`, else their positions.

        Raises:
            CodesError: for codes that do not belong here, or ids that are doubled, of a wrong number or kind.
        """
        self._check(codes)
        given = codes.ids if ids is None else np.asarray(ids)
        if given is not None:
            if given.shape != (len(codes),):
                raise CodesError(
                    f"ids have shape {list(given.shape)}, expected [{len(codes)}], one for each code"
                )
            if given.dtype.kind not in "iuU" and len(codes):
                raise CodesError(f"ids are {given.dtype}, expected whole numbers or text")
        merged = self._ids
        if len(self) == 0:
            merged = given if given is None or given.dtype.kind == "U" else given.astype(np.int64)
        elif len(codes) and not (given is None and self._ids is None):
            new = np.arange(len(self), len(self) + len(codes)) if given is None else given
            if (new.dtype.kind == "U") != (self.ids.dtype.kind == "U"):
                raise CodesError("some ids are text and some numbers; expected one kind in an index")
            merged = np.concatenate([self.ids, new if new.dtype.kind == "U" else new.astype(np.int64)])
        if merged is not None:
            values, counts = np.unique(merged, return_counts=True)
            if (counts > 1).any():
                raise CodesError(f"id {values[counts > 1][0]!s} is there twice; ids must be unique")
        self.space = self.space or codes.space
        self._packed = np.concatenate([self._packed, codes.packed])
        self._ids = merged

    def search(self, queries: BinaryCodes, k: int = 10) -> Hits:
        """The `k` nearest items of each query, fewer if the index holds fewer.

        Raises:
            CodesError: for queries of another length or space, or k below 1.
        """
        from cmah.kernels import hamming

        self._check(queries)
        if k < 1:
            raise CodesError(f"k is {k}, expected 1 or more")
        positions, distances = hamming.top_k(*self._words(queries), min(k, len(self)), self.bits)
        return Hits(self.ids[positions], distances, positions)

    def search_radius(self, queries: BinaryCodes, radius: int) -> RadiusHits:
        """All items at most `radius` bits from each query.

        Raises:
            CodesError: for queries of another length or space, or a negative radius.
        """
        from cmah.kernels import hamming

        self._check(queries)
        if radius < 0:
            raise CodesError(f"radius is {radius}, expected 0 or more")
        offsets, positions, distances = hamming.within(*self._words(queries), min(radius, self.bits))
        return RadiusHits(offsets, self.ids[positions], distances, positions)

    def save(self, path: str | Path) -> None:
        """Write the index file, whole or not at all; see docs/index-format.md."""
        write_index(path, IndexContent(self._packed, self.bits, self._ids, self.space))

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Read an index file.

        Raises:
            CodesError: if it is missing, of another version, truncated or damaged.
        """
        content = read_index(path)
        index = cls(content.bits, content.space)
        index._packed, index._ids = content.packed, content.ids
        return index

    def _words(self, queries: BinaryCodes) -> tuple[np.ndarray, np.ndarray]:
        from cmah.kernels import hamming

        return hamming.to_words(queries.packed), hamming.to_words(self._packed)

    def _check(self, codes: BinaryCodes) -> None:
        if not isinstance(codes, BinaryCodes):
            raise CodesError(f"{type(codes).__name__}, expected BinaryCodes; see BinaryCodes.from_signs")
        if codes.bits != self.bits:
            hint = f"; truncate({self.bits}) gives such codes" if self.bits in codes.prefixes else ""
            raise CodesError(f"codes of {codes.bits} bits, expected {self.bits} for this index{hint}")
        if self.space and codes.space and codes.space != self.space:
            raise CodesError(
                f"codes of space {codes.space}, expected {self.space}: they come from another model than this index"
            )
