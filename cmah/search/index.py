"""`HammingIndex`: codes with names, searched exactly."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

import numpy as np

from cmah.checks import as_int
from cmah.codes import BinaryCodes
from cmah.errors import CodesError
from cmah.search.blocks import Planes
from cmah.search.ids import Ids, IdsLike, as_ids
from cmah.search.scan import scan
from cmah.threads import thread_count


@dataclass(frozen=True)
class Hits:
    """The nearest items of each query, ordered by (distance, position).

    Attributes:
        ids: int64 or text [q, k], k = the number asked for or, if that is less, the number of items searched.
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
    """An exact index over binary codes: a flat scan of bits / 8 bytes an item.

    Searching is safe from several threads at once; changing the index is not.

    Args:
        bits: length of the codes, 1 to 4,096.
        space: the space of the codes; taken from the first codes that name one. Codes of another are refused.

    Raises:
        CodesError: for an impossible length.
    """

    kind = "flat"

    def __init__(self, bits: int, space: str | None = None) -> None:
        self._planes = Planes(bits)
        self._ids = Ids()
        self.space = space or ""

    def __len__(self) -> int:
        return len(self._planes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} x {self.bits} bits)"

    def __iter__(self) -> Iterator[tuple[int | str, np.ndarray]]:
        """Each id with its packed code, uint8 [ceil(bits / 8)], in order of position."""
        first = 0
        for part in self._planes.parts():
            names = self._ids.take(np.arange(first, first + len(part))).tolist()
            yield from zip(names, part, strict=True)
            first += len(part)

    @property
    def bits(self) -> int:
        """Length of the codes."""
        return self._planes.bits

    @property
    def ids(self) -> np.ndarray:
        """The ids in order of position, int64 or text [n]."""
        return self._ids.values

    @property
    def id_kind(self) -> str:
        """What the ids are: "positions", "numbers" or "text"."""
        return ("positions", "numbers", "text")[self._ids.kind]

    @property
    def codes(self) -> BinaryCodes:
        """The codes in order of position, with the ids of their own that they have."""
        return self._codes(self._planes.all_rows(), self._ids.values if self._ids.kind else None)

    def add(self, codes: BinaryCodes, ids: IdsLike | None = None) -> None:
        """Append codes.

        Args:
            codes: of this index's length and space.
            ids: their names, whole numbers or text (one kind per index), unique in the index; by default
                `codes.ids`, else the numbers that follow the greatest one here, from 0.

        Raises:
            CodesError: for codes that do not belong here, or ids that are doubled, of a wrong number or kind.
        """
        self._check(codes)
        given = codes.ids if ids is None else as_ids(ids)
        if given is not None:
            if given.shape != (len(codes),):
                raise CodesError(
                    f"ids have shape {list(given.shape)}, expected [{len(codes)}], one for each code"
                )
            if given.dtype.kind not in "iuU" and len(codes):
                raise CodesError(f"ids are {given.dtype}, expected whole numbers or text")
        names = self._ids.extended(given, len(codes))
        self._planes.append(codes.packed)
        self._ids = names
        self.space = self.space or codes.space

    def remove(self, ids: IdsLike) -> None:
        """Take items out; those behind them move up, all keep their ids. Costs a copy of the index.

        Raises:
            CodesError: for an id that is not here; then nothing is removed.
        """
        keep = np.ones(len(self), dtype=bool)
        keep[self._ids.positions_of(ids)] = False
        planes, first = Planes(self.bits), 0
        for part in self._planes.parts():
            planes.append(part[keep[first : first + len(part)]])
            first += len(part)
        self._ids, self._planes = self._ids.kept(keep), planes

    def codes_of(self, ids: IdsLike) -> BinaryCodes:
        """The codes of some items, in the order of `ids`.

        Raises:
            CodesError: for an id that is not here.
        """
        positions = self._ids.positions_of(ids)
        return self._codes(self._planes.rows(positions), self._ids.take(positions))

    def search(
        self, queries: BinaryCodes, k: int = 10, *, subset: IdsLike | None = None, threads: int | None = None
    ) -> Hits:
        """The `k` nearest items of each query, fewer if there are fewer.

        Args:
            queries: of this index's length and space.
            k: 1 or more.
            subset: search these items only: their ids, or bool [n] by position.
            threads: how many to use; by default one a core.

        Raises:
            CodesError: for queries of another length or space, an id that is not here, or a `k` or `threads` that
                is no whole number or below 1.
        """
        self._check(queries)
        if as_int(k, "k") < 1:
            raise CodesError(f"k is {k}, expected 1 or more")
        planes, places = self._searched(subset)
        k = int(min(k, len(planes)))
        _, positions, distances = self._scan(planes, queries.packed, k, self.bits, threads)
        positions = (positions if places is None else places[positions]).reshape(len(queries), k)
        return Hits(self._ids.take(positions), distances.reshape(len(queries), k), positions)

    def search_radius(
        self, queries: BinaryCodes, radius: int, *, subset: IdsLike | None = None, threads: int | None = None
    ) -> RadiusHits:
        """All items at most `radius` bits from each query; arguments as in `search`.

        Raises:
            CodesError: for queries of another length or space, an id that is not here, a radius that is no whole
                number or negative, or `threads` below 1.
        """
        self._check(queries)
        if as_int(radius, "radius") < 0:
            raise CodesError(f"radius is {radius}, expected 0 or more")
        planes, places = self._searched(subset)
        offsets, positions, distances = self._scan(planes, queries.packed, None, radius, threads)
        positions = positions if places is None else places[positions]
        return RadiusHits(offsets, self._ids.take(positions), distances, positions)

    @staticmethod
    def distances(a: BinaryCodes, b: BinaryCodes) -> np.ndarray:
        """The distance of every code of `a` from every code of `b`, int32 [len(a), len(b)], in bits.

        Raises:
            CodesError: for codes of different lengths or spaces.
        """
        _refuse_others(a)
        HammingIndex(a.bits, a.space)._check(b)
        from cmah.search.numpy_scan import differing_bits

        out = np.empty((len(a), len(b)), dtype=np.int32)
        for row, code in zip(out, a.packed, strict=True):
            row[:] = differing_bits(b.packed ^ code).sum(axis=1, dtype=np.int32)
        return out

    def save(self, path: str | Path) -> None:
        """Write the index file, whole or not at all; see docs/index-format.md."""
        from cmah.search.index_file import write_index

        write_index(path, self._planes, self._ids, self.space)

    @classmethod
    def open(cls, path: str | Path, *, mmap: bool = True, verify: bool = False) -> Self:
        """Open an index file.

        Args:
            path: the file.
            mmap: search the codes where they lie in the file, which takes no time to open; else read them. A
                file that is open must not be written to; `save` replaces it as a whole, which is no harm.
            verify: check the checksum of the codes too, which reads them all, and make the tables of a multi-index
                anew to compare them; header, sizes and ids are always checked.

        Raises:
            CodesError: if it is missing, of another version, truncated or damaged.
        """
        from cmah.search.index_file import read_index

        content = read_index(path, mmap=mmap, verify=verify)
        if len(content.tables):
            from cmah.search.multi_index import MultiIndex

            try:
                return cast(Self, MultiIndex.of(content, verify))
            except CodesError as error:
                raise CodesError(f"{path}: {error}") from None
        index = cls(content.planes.bits, content.space)
        index._planes, index._ids = content.planes, content.ids
        return index

    def _scan(
        self, planes: Planes, packed: np.ndarray, k: int | None, radius: int, threads: int | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if k == 0:
            thread_count(threads)  # refused even where there is nothing to search
            return np.zeros(len(packed) + 1, np.int64), np.empty(0, np.int64), np.empty(0, np.int32)
        return scan(planes, packed, k, radius, threads)

    def _searched(self, subset: IdsLike | None) -> tuple[Planes, np.ndarray | None]:
        """The codes to search and, of a subset, their positions in the index, ascending."""
        if subset is None:
            return self._planes, None
        chosen = np.asarray(subset)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise CodesError(f"subset has shape {list(chosen.shape)}, expected [{len(self)}] for a mask")
            places = np.flatnonzero(chosen)
        else:
            places = np.unique(self._ids.positions_of(subset))
        planes = Planes(self.bits)
        planes.append(self._planes.rows(places))
        return planes, places

    def _codes(self, packed: np.ndarray, ids: np.ndarray | None) -> BinaryCodes:
        return BinaryCodes(packed, self.bits, ids=ids, space=self.space)

    def _check(self, codes: BinaryCodes) -> None:
        _refuse_others(codes)
        if codes.bits != self.bits:
            hint = f"; truncate({self.bits}) gives such codes" if self.bits in codes.prefixes else ""
            raise CodesError(f"codes of {codes.bits} bits, expected {self.bits} for this index{hint}")
        if self.space and codes.space and codes.space != self.space:
            raise CodesError(
                f"codes of space {codes.space}, expected {self.space}: they come from another model than this index"
            )


def _refuse_others(codes: BinaryCodes) -> None:
    if not isinstance(codes, BinaryCodes):
        raise CodesError(f"{type(codes).__name__}, expected BinaryCodes; see BinaryCodes.from_signs")
