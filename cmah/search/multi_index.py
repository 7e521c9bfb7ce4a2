"""`MultiIndex`: exact search that compares few of the codes, for codes that lie in clusters."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Self

import numpy as np

from cmah.codes import BinaryCodes
from cmah.errors import CodesError
from cmah.search.blocks import Planes
from cmah.search.hash_tables import Tables, part_lengths
from cmah.search.ids import IdsLike
from cmah.search.index import HammingIndex
from cmah.search.index_file import IndexContent, write_index
from cmah.search.scan import FEW, Found, compiled, scan
from cmah.threads import in_threads, thread_count

MOST_ITEMS = (1 << 32) - 1  # positions have 32 bits
BATCH = 256  # queries a task: their results stay in the cache
PATIENCE = 16  # queries of a task that show whether the others are worth searching by tables

# What things cost in nanoseconds, measured on an AMD EPYC with AVX-512. Only their proportions matter, and they
# decide only about time: the results are the same.
PROBE = 50.0  # to look up a bucket, which waits for memory
CODE = 1.2  # to compare a code of a bucket, for each of its words
READ = 0.03  # the flat scan: to read a byte of the codes from memory, once for all queries
COMPARE = 0.009  # the flat scan: to compare a byte with a query's
SHARE = 0.5  # of what the flat scan of a query costs, that its search by tables may cost, else it is given up

KIND_OF_TABLES = 1  # in the header of an index file
_building = Lock()


class MultiIndex(HammingIndex):
    """An index with tables (multi-index hashing): the same answers as `HammingIndex`, sooner where codes cluster.

    The tables are made by the first search or by `save`, and dropped when the index changes. Of codes that are
    spread evenly, or of a radius so wide, that tables are of no use, the search is the flat scan. So is that of a
    subset, and all searching without Numba. How much memory the tables take: docs/index-format.md.

    Args:
        bits: length of the codes, 1 to 4,096.
        space: the space of the codes, as in `HammingIndex`.

    Raises:
        CodesError: for an impossible length.
    """

    kind = "multi"

    def __init__(self, bits: int, space: str | None = None) -> None:
        super().__init__(bits, space)
        self._tables: Tables | None = None

    def add(self, codes: BinaryCodes, ids: IdsLike | None = None) -> None:
        """Append codes, as `HammingIndex.add`; the tables are made anew when they are next needed."""
        super().add(codes, ids)
        self._tables = None

    def remove(self, ids: IdsLike) -> None:
        """Take items out, as `HammingIndex.remove`; the tables are made anew when they are next needed."""
        super().remove(ids)
        self._tables = None

    def save(self, path: str | Path) -> None:
        """Write the index file with its tables, whole or not at all; see docs/index-format.md.

        Raises:
            CodesError: for more than 2^32 - 1 items, of which no tables can be made.
        """
        if len(self) > MOST_ITEMS:
            raise CodesError(f"{len(self)} items, expected at most {MOST_ITEMS} in an index with tables")
        write_index(path, self._planes, self._ids, self.space, (KIND_OF_TABLES, [self.tables().data]))

    def tables(self) -> Tables:
        """The tables, made now if there are none."""
        with _building:
            if self._tables is None:
                self._tables = Tables.build(self._planes, part_lengths(self.bits, len(self)))
            return self._tables

    @classmethod
    def of(cls, content: IndexContent, verify: bool = False) -> Self:
        """The index that a file holds; `verify` makes its tables anew and compares them.

        Raises:
            CodesError: if the tables cannot be those of the codes.
        """
        index = cls(content.planes.bits, content.space)
        index._planes, index._ids = content.planes, content.ids
        index._tables = Tables(content.planes, content.tables)
        if verify and not index._tables.belong_to(content.planes):
            raise CodesError("the tables are not those of the codes")
        return index

    def _scan(
        self, planes: Planes, packed: np.ndarray, k: int | None, radius: int, threads: int | None
    ) -> Found:
        work = len(packed) * len(planes) * planes.width
        if planes is not self._planes or not 0 < len(self) <= MOST_ITEMS or k == 0 or compiled(work) is None:
            return super()._scan(planes, packed, k, radius, threads)
        return search_tables(self.tables(), planes, packed, k, radius, threads)


def search_tables(
    tables: Tables, planes: Planes, packed: np.ndarray, k: int | None, radius: int, threads: int | None
) -> Found:
    """As `cmah.search.scan.scan`, by tables where that is quicker; needs Numba.

    Raises:
        CodesError: if `threads` is less than 1, or the tables name a position that is none.
    """
    threads, q = thread_count(threads), len(packed)
    together = min(threads, max(q, 1))  # queries that are searched at a time
    flat = len(planes) * planes.width * (READ + q * COMPARE) / threads  # what scanning for all of them takes
    task = partial(_search, tables, planes, k, min(radius, planes.bits), SHARE * flat * together / max(q, 1))

    size = min(BATCH, max(FEW, -(-q // threads)))
    found = in_threads([partial(task, packed[a : a + size]) for a in range(0, q, size)], threads)
    counts = np.concatenate([np.empty(0, dtype=np.int64), *(np.diff(part[0]) for part in found)])
    positions, distances, finished = found[0][1:] if len(found) == 1 else _joined(found)
    if positions.max(initial=-1) >= len(planes):
        raise CodesError("the tables of the index are damaged; make it again with cmah index")
    if not finished.all():
        scanned = scan(planes, packed[~finished], k, radius, threads)
        counts[~finished] = np.diff(scanned[0])
        by_tables = np.repeat(finished, counts)
        positions, distances = (
            _mixed(by_tables, positions, scanned[1]),
            _mixed(by_tables, distances, scanned[2]),
        )
    return np.concatenate([[0], np.cumsum(counts)]), positions, distances


def _search(
    tables: Tables, planes: Planes, k: int | None, radius: int, budget: float, packed: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Offsets, positions, distances and whether finished, as the kernel gives them, of some queries."""
    from cmah.kernels import multi_index

    packed = np.ascontiguousarray(packed).view()
    packed.flags.writeable = False  # as are the tables, and so are the words
    queries = planes.as_words(packed)
    return multi_index.search(
        queries,
        packed,
        tables.parts,
        tables.codes,
        tables.order,
        tables.starts,
        tables.bases,
        tables.ways,
        tables.masks,
        k or 0,
        radius,
        budget,
        PROBE,
        CODE * planes.words,
        PATIENCE,
    )


def _joined(found: Sequence[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """Positions, distances and whether finished, of all tasks."""
    nothing = [np.empty(0, dtype=dtype) for dtype in (np.int64, np.int32, bool)]
    return tuple(
        np.concatenate([empty, *(part[i] for part in found)]) for i, empty in enumerate(nothing, start=1)
    )


def _mixed(choice: np.ndarray, yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    """The values of `yes` in turn where bool [n] is set, those of `no` elsewhere."""
    out = np.empty(len(choice), dtype=yes.dtype)
    out[choice], out[~choice] = yes, no
    return out
