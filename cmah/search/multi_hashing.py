"""`MultiIndex`: codes with ids, searched exactly by hash tables of parts of the codes."""

from pathlib import Path
from threading import Lock

import numpy as np

from cmah.codes import BinaryCodes
from cmah.errors import CodesError
from cmah.memory import SHARE, SMALL, lately_available_bytes
from cmah.search.backend import compiled
from cmah.search.blocks import CodeBlocks
from cmah.search.hash_tables import HashTables, part_lengths
from cmah.search.ids import IdsLike
from cmah.search.index import ENTRY, HIT, HammingIndex
from cmah.search.index_file import FileState, IndexContent, write_index
from cmah.search.index_layout import TABLES
from cmah.search.numpy_scan import ScanResult
from cmah.search.scan import merged, scan, stacked
from cmah.search.table_scan import most_found, search_tables

MOST_WITH_TABLES = (1 << 32) - 1  # items; the tables' positions have 32 bits
# Part of the codes that may be scanned beside the tables of the others, before these are built anew
MOST_BESIDE = 0.2
_building = Lock()


class MultiIndex(HammingIndex):
    """An index with hash tables (multi-index hashing): the same answers as `HammingIndex`, sooner for clustered codes.

    The tables are built by the first search or by `save`. Codes that are added later are scanned beside them, until
    these are a fifth of all; then, and after a removal, they are built anew. Where tables do not pay (codes that are
    spread evenly, a wide radius), the search is the flat scan. So is that of a subset, and all searching without Numba.
    How much memory the tables take: docs/index-format.md.

    After Norouzi, Punjani and Fleet, "Fast exact search in Hamming space with multi-index hashing" (2014).

    Args:
        bits: length of the codes, 1 to 4,096.
        space: the space of the codes, as in `HammingIndex`.

    Raises:
        CodesError: for an impossible length.

    Examples:
        >>> from cmah import BinaryCodes, MultiIndex
        >>> index = MultiIndex(bits=8)
        >>> index.add(BinaryCodes.from_bits([[0, 0, 0, 0, 1, 1, 1, 1]]), ids=["half"])
        >>> index.search(BinaryCodes.from_bits([[0, 0, 0, 0, 0, 1, 1, 1]]), k=1)[0].to_list()
        [{'id': 'half', 'distance': 1, 'position': 0}]
    """

    kind = "multi"

    def __init__(self, bits: int, space: str | None = None) -> None:
        super().__init__(bits, space)
        self._tables: HashTables | None = None  # of the first codes, or of all
        self._rest: tuple[CodeBlocks, CodeBlocks] | None = (
            None  # the codes in the tables, and those beside them
        )

    def add(self, codes: BinaryCodes, ids: IdsLike | None = None, shape_ids: IdsLike | None = None) -> None:
        """Append codes, as `HammingIndex.add`; while they are few beside those in the tables, they are scanned."""
        super().add(codes, ids, shape_ids)
        self._rest = None
        if self._tables is not None and len(self) - self._tables.n > MOST_BESIDE * len(self):
            self._tables = None

    def _keep(self, keep: np.ndarray) -> None:
        super()._keep(keep)
        self._tables = self._rest = None

    def _write(self, path: str | Path) -> FileState:
        if len(self) > MOST_WITH_TABLES:
            raise CodesError(
                f"{len(self)} items, expected at most {MOST_WITH_TABLES} in an index with tables"
            )
        tables = TABLES, [self.tables().data]
        return write_index(
            path,
            self._blocks,
            self._ids,
            self.space,
            tables=tables,
            shapes=self._shapes,
            dataset=self.dataset,
        )

    def tables(self) -> HashTables:
        """The tables of all codes, built now if there are none."""
        with _building:
            if self._tables is None or self._tables.n < len(self):
                self._tables, self._rest = (
                    HashTables.build(self._blocks, part_lengths(self.bits, len(self))),
                    None,
                )
            return self._tables

    def _take_over(self, content: IndexContent, verify: bool) -> None:
        super()._take_over(content, verify)
        if not len(content.tables):
            return
        tabled = content.blocks.first(content.tabled)
        tables = HashTables(tabled, content.tables)
        if verify and not tables.belong_to(tabled):
            raise CodesError("the tables are not those of the codes")
        beside = len(content.blocks) - content.tabled
        if not len(content.removed) and beside <= MOST_BESIDE * len(content.blocks):
            self._tables = tables

    def _scan(
        self, blocks: CodeBlocks, packed: np.ndarray, k: int | None, radius: int, threads: int | None
    ) -> ScanResult:
        if k == 0 or not self._has_tables_for(blocks, packed):
            return super()._scan(blocks, packed, k, radius, threads)
        tables, tabled, rest = self._tabled()
        found = search_tables(
            tables, tabled, packed, k if k is None else min(k, len(tabled)), radius, threads
        )
        if rest is None:
            return found
        beside = scan(rest, packed, k if k is None else min(k, len(rest)), radius, threads)
        return _with_rest(found, beside, len(tabled), k)

    def _within(self, blocks: CodeBlocks, packed: np.ndarray, radius: int, threads: int | None) -> ScanResult:
        """As `HammingIndex._within`, but tables find so few codes that more queries can be searched at a time."""
        if not self._has_tables_for(blocks, packed):
            return super()._within(blocks, packed, radius, threads)
        tables, tabled, rest = self._tabled()
        q, each = len(packed), ENTRY + HIT + self._ids.bytes_each
        step = q
        if q * most_found(tabled, q, threads) * each > SMALL:
            room = lately_available_bytes()
            while room and step and step * most_found(tabled, step, threads) * each > SHARE / 2 * room:
                step //= 2

        def flat(part: np.ndarray) -> ScanResult:
            return super(MultiIndex, self)._within(tabled, part, radius, threads)

        if not step:
            return super()._within(blocks, packed, radius, threads)
        parts, hits = [], 0
        for first in range(0, q, step):
            part = packed[first : first + step]
            parts.append(search_tables(tables, tabled, part, None, radius, threads, rest=flat))
            hits += len(parts[-1][1])
            if step < q:
                self._require_hits(hits, 0, min(first + step, q), q, radius)
        if rest is None:
            return stacked(parts)
        beside = super()._within(rest, packed, radius, threads)
        return _with_rest(stacked(parts), beside, len(tabled), None)

    def _has_tables_for(self, blocks: CodeBlocks, packed: np.ndarray) -> bool:
        """Whether tables are searched: they are of all codes, not of a subset, and need Numba."""
        whole = blocks is self._blocks and 0 < len(self) <= MOST_WITH_TABLES and len(packed) > 0
        return whole and compiled(len(packed) * len(blocks) * blocks.width) is not None

    def _tabled(self) -> tuple[HashTables, CodeBlocks, CodeBlocks | None]:
        """The tables, the codes that they are of, and those that were added since; None where none were."""
        tables = self._tables or self.tables()
        if tables.n == len(self):
            return tables, self._blocks, None
        with _building:
            if self._rest is None:
                rest = CodeBlocks(self.bits)
                rest.append(self._blocks.rows(np.arange(tables.n, len(self))))
                self._rest = self._blocks.first(tables.n), rest
            return tables, *self._rest


HammingIndex._class_with_tables = MultiIndex


def _with_rest(found: ScanResult, beside: ScanResult, first: int, k: int | None) -> ScanResult:
    """The hits among the first codes and those among the others, whose positions begin with `first`."""
    offsets, positions, distances = beside
    return merged([found, (offsets, positions + first, distances)], k)
