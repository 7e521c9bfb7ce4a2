"""`HammingIndex`: codes with ids, searched exactly by a scan of all of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from cmah.checks import as_int
from cmah.codes import BinaryCodes
from cmah.errors import CodesError
from cmah.file_names import as_path
from cmah.memory import SHARE, SMALL, lately_available_bytes, require_room
from cmah.search import numpy_scan
from cmah.search.blocks import CodeBlocks
from cmah.search.grouping import Groups, groups_of_items, nearest_groups
from cmah.search.hits import Hits, RadiusHits, TogetherHits
from cmah.search.ids import POSITIONS, Ids, IdsLike, as_ids
from cmah.search.index_file import FileState, IndexContent, append_index, read_index, write_index
from cmah.search.item_shapes import ALONE, ItemShapes
from cmah.search.numpy_scan import ScanResult, differing_bits
from cmah.search.scan import largest_tile, scan, stacked
from cmah.search.together import By, check_by, owners_of_rows, scan_together
from cmah.threads import available_cores, thread_count

# Bytes for a hit while it is searched for (its entry, twice while room is made, and its sorted copy), and afterwards
# (its position and distance, twice while they are joined)
ENTRY, HIT = 72, 24
# Queries from which the hits of all are guessed, and by how much the guess may be wrong
SAMPLE, MARGIN = 16, 2
MANY = 16  # times as many hits as the densest query of a sample the others are taken to have at most, in the mean


class HammingIndex:
    """An exact index over binary codes: a flat scan of bits / 8 bytes per item.

    Results are ordered by (distance, position). Searching is safe from several threads at once; changing the index is
    not.

    Args:
        bits: length of the codes, 1 to 4,096.
        space: the space of the codes; taken from the first codes that name one. Codes of another are refused.

    Attributes:
        space: of the codes, "" if unknown.
        dataset: folder that the codes were exported from, "" if unknown; kept in the index file.

    Raises:
        CodesError: for an impossible length.

    Examples:
        >>> from cmah import BinaryCodes, HammingIndex
        >>> codes = BinaryCodes.from_signs([[-1, -1, -1, -1], [-1, 1, 1, 1]])
        >>> index = HammingIndex(bits=4)
        >>> index.add(codes, ids=["zero", "three"])
        >>> index.search(codes[:1], k=2).to_list()[0][1]
        {'id': 'three', 'distance': 3, 'position': 1}
    """

    kind = "flat"
    # MultiIndex, which is made of this class and so cannot be imported here
    _class_with_tables: ClassVar["type[HammingIndex] | None"] = None

    def __init__(self, bits: int, space: str | None = None) -> None:
        self._blocks = CodeBlocks(bits)
        self._ids = Ids()
        self._shapes: ItemShapes | None = None
        self.space = space or ""
        self.dataset = ""
        self._state: FileState | None = None  # of the file that it was read from or written to
        self._stored = 0  # items, from the first on, that are in that file
        self._gone = np.empty(0, np.int64)  # positions in that file that it says are removed
        self._places: np.ndarray | None = (
            None  # the positions of these in the file; None where they are the same
        )

    def __len__(self) -> int:
        return len(self._blocks)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} x {self.bits} bits)"

    def __iter__(self) -> Iterator[tuple[int | str, np.ndarray]]:
        """Each id with its packed code, uint8 [ceil(bits / 8)], in order of position."""
        first = 0
        for part in self._blocks.parts():
            names = self._ids.take(np.arange(first, first + len(part))).tolist()
            yield from zip(names, part, strict=True)
            first += len(part)

    @property
    def bits(self) -> int:
        """Length of the codes."""
        return self._blocks.bits

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
        """The codes in order of position, with their ids unless those are the positions."""
        return self._as_codes(self._blocks.all_rows(), self._ids.values if self._ids.kind else None)

    @property
    def file(self) -> FileState | None:
        """The state of the file that it was read from or written to; None where there is none."""
        return self._state

    @property
    def shapes(self) -> ItemShapes | None:
        """The shape that each item shows, as `group` of `search` takes it; None where no item shows one.

        Examples:
            >>> from cmah import BinaryCodes, HammingIndex
            >>> index = HammingIndex(bits=2)
            >>> codes = BinaryCodes.from_bits([[0, 0], [0, 1], [1, 1]])
            >>> index.add(codes, ids=["a", "b", "c"], shape_ids=["chair", "chair", "lamp"])
            >>> index.search(codes[:1], k=2, group=index.shapes).ids.tolist()
            [['a', 'c']]
        """
        return self._shapes

    def add(self, codes: BinaryCodes, ids: IdsLike | None = None, shape_ids: IdsLike | None = None) -> None:
        """Append codes.

        Args:
            codes: of this index's length and space.
            ids: their ids, whole numbers or text (one type per index), unique in the index; by default `codes.ids`,
                else the numbers that follow the greatest one of the index, from 0.
            shape_ids: the shape that each shows, text, "" for none; by default `codes.shape_ids`, if any is another
                than the code's own id.

        Raises:
            CodesError: for codes of another length or space, duplicate ids, or ids of the wrong number or type.

        Examples:
            >>> from cmah import BinaryCodes, HammingIndex
            >>> index = HammingIndex(bits=1)
            >>> index.add(BinaryCodes.from_bits([[0], [1]]), ids=[7, 3])
            >>> index.add(BinaryCodes.from_bits([[1]]))
            >>> index.ids.tolist()
            [7, 3, 8]
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
        named = {name for name in (self.dataset, codes.dataset) if name}
        dataset = named.pop() if len(named) == 1 else ""  # hits of several datasets cannot be told apart
        shown = _shapes_of(codes, given) if shape_ids is None else as_ids(shape_ids, "shape ids")
        shapes = self._shapes
        if shown is not None or shapes is not None:
            before = ItemShapes.of([]).extended(None, len(self)) if shapes is None else shapes
            after = before.extended(shown, len(codes))
            shapes = after if len(after.names) else None
        self._blocks.append(codes.packed)
        self._ids, self._shapes, self.dataset = names, shapes, dataset
        self.space = self.space or codes.space

    def remove(self, ids: IdsLike) -> None:
        """Remove items; later positions shift down, ids stay. Costs a copy of the index.

        Raises:
            CodesError: for an id that is not in the index; then nothing is removed.

        Examples:
            >>> from cmah import BinaryCodes, HammingIndex
            >>> index = HammingIndex(bits=1)
            >>> index.add(BinaryCodes.from_bits([[0], [1], [1]]))
            >>> index.remove([1])
            >>> index.ids.tolist()
            [0, 2]
        """
        keep = np.ones(len(self), dtype=bool)
        keep[self._ids.positions_of(ids)] = False
        self._keep(keep)

    def _keep(self, keep: np.ndarray) -> None:
        """Go on with the items where bool [n] is set."""
        blocks, first = CodeBlocks(self.bits), 0
        for part in self._blocks.parts():
            blocks.append(part[keep[first : first + len(part)]])
            first += len(part)
        places = np.arange(self._stored) if self._places is None else self._places
        self._places = places[keep[: self._stored]]
        self._stored = len(self._places)
        shapes = None if self._shapes is None else self._shapes.kept(keep)
        self._shapes = shapes if shapes is not None and (shapes.numbers != ALONE).any() else None
        self._ids, self._blocks = self._ids.kept(keep), blocks

    def codes_of(self, ids: IdsLike) -> BinaryCodes:
        """The codes of some items, in the order of `ids`.

        Raises:
            CodesError: for an id that is not in the index.

        Examples:
            >>> from cmah import BinaryCodes, HammingIndex
            >>> index = HammingIndex(bits=2)
            >>> index.add(BinaryCodes.from_bits([[0, 1], [1, 1]]), ids=["a", "b"])
            >>> index.codes_of(["b"]).unpacked().tolist()
            [[1, 1]]
        """
        positions = self._ids.positions_of(ids)
        return self._as_codes(self._blocks.rows(positions), self._ids.take(positions))

    def codes_at(self, positions: np.ndarray) -> BinaryCodes:
        """The codes at places in the index, int64 [m] as hits name them, without their ids.

        Raises:
            CodesError: for a place that is not in the index.

        Examples:
            >>> from cmah import BinaryCodes, HammingIndex
            >>> index = HammingIndex(bits=2)
            >>> index.add(BinaryCodes.from_bits([[0, 1], [1, 1]]))
            >>> index.codes_at(np.array([1, 0])).unpacked().tolist()
            [[1, 1], [0, 1]]
        """
        if len(positions) and not 0 <= positions.min() <= positions.max() < len(self):
            raise CodesError(
                f"positions {positions.min()} to {positions.max()}, expected 0 to {len(self) - 1}"
            )
        return self._as_codes(self._blocks.rows(positions), None)

    def search(
        self,
        queries: BinaryCodes,
        k: int = 10,
        *,
        subset: IdsLike | None = None,
        group: IdsLike | Groups | ItemShapes | None = None,
        threads: int | None = None,
    ) -> Hits:
        """The `k` nearest items of each query, fewer if there are fewer; or those of the `k` nearest groups.

        Args:
            queries: of this index's length and space.
            k: 1 or more.
            subset: search these items only: their ids, or bool [n] by position.
            group: what each item belongs to, whole numbers or text [n] in order of position, such as the shape that
                a code is a view of; "" for an item that stands for itself. Each group is there once, by its nearest
                item. `Groups.of` numbers the labels once for many searches; `shapes` has those that the index knows.
            threads: how many to use; by default one per core.

        Returns:
            Arrays over all queries; `hits[i]` has the hits of query i.

        Raises:
            CodesError: for queries of another length or space, an id that is not in the index, labels of another
                number than there are items, a `k` or `threads` that is no whole number or below 1, or more hits than
                there is memory for, with the numbers.

        Examples:
            >>> from cmah import BinaryCodes, HammingIndex
            >>> index = HammingIndex(bits=2)
            >>> index.add(BinaryCodes.from_bits([[0, 0], [0, 1], [1, 1]]), ids=["a", "b", "c"])
            >>> query = BinaryCodes.from_bits([[1, 1]])
            >>> index.search(query, k=2).ids.tolist(), index.search(query, subset=["a"]).ids.tolist()
            ([['c', 'b']], [['a']])
            >>> index.search(query, group=["chair", "lamp", "lamp"]).ids.tolist()
            [['c', 'a']]
        """
        self._check(queries)
        blocks, places, groups, k = self._scope(k, subset, group)
        self._require_room(len(queries), k)

        def nearest(packed: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
            _, positions, distances = self._scan(blocks, packed, m, self.bits, threads)
            return positions.reshape(len(packed), m), distances.reshape(len(packed), m)

        if groups is None or not k or not len(queries):
            positions, distances = nearest(queries.packed, k)
        else:
            positions, distances = nearest_groups(nearest, queries.packed, groups, k)
        positions = positions if places is None else places[positions]
        return Hits(self._ids.take(positions), distances, positions)

    def search_together(
        self,
        queries: BinaryCodes,
        k: int = 10,
        *,
        by: By = "mean",
        owners: IdsLike | None = None,
        subset: IdsLike | None = None,
        group: IdsLike | Groups | ItemShapes | None = None,
        threads: int | None = None,
    ) -> TogetherHits:
        """The `k` nearest items of several queries taken as one, such as the photos of one object.

        All codes are compared with all queries, by NumPy, also in an index with tables.

        Args:
            queries: of this index's length and space.
            k: 1 or more.
            by: what counts as the distance of an item: the "mean" of those from all queries of an owner, or the
                "least" of them.
            owners: whose each query is, whole numbers or text [q]; "" for a query that stands for itself. By default
                all are of one owner, 0.
            subset: as in `search`.
            group: as in `search`; a group is ranked by its nearest item, under that distance.
            threads: how many to use, which share out the owners; by default one per core.

        Returns:
            Hits with a row for each owner, in order of first appearance.

        Raises:
            CodesError: as in `search`, for owners of another number than there are queries, or another `by`.

        Examples:
            >>> from cmah import BinaryCodes, HammingIndex
            >>> index = HammingIndex(bits=4)
            >>> index.add(BinaryCodes.from_bits([[0, 0, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1]]), ids=["a", "b", "c"])
            >>> photos = BinaryCodes.from_bits([[0, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
            >>> index.search_together(photos, k=2).to_list()
            [[{'id': 'b', 'distance': 1.333..., 'position': 1}, {'id': 'c', 'distance': 1.666..., 'position': 2}]]
            >>> index.search_together(photos, k=1, by="least", owners=["mug", "mug", "sofa"]).ids.tolist()
            [['a'], ['c']]
        """
        self._check(queries)
        check_by(by)
        names, rows = owners_of_rows(owners, len(queries))
        blocks, places, groups, k = self._scope(k, subset, group)
        self._require_room(len(names), k)
        positions, distances = scan_together(blocks, queries.packed, rows, k, by, groups, threads)
        positions = positions if places is None else places[positions]
        return TogetherHits(self._ids.take(positions), distances, positions, names)

    def search_radius(
        self, queries: BinaryCodes, radius: int, *, subset: IdsLike | None = None, threads: int | None = None
    ) -> RadiusHits:
        """All items at most `radius` bits from each query.

        Args:
            queries: of this index's length and space.
            radius: the greatest Hamming distance in bits, 0 or more.
            subset: as in `search`.
            threads: as in `search`.

        Returns:
            The hits of all queries one after the other; `near[i]` has those of query i.

        Raises:
            CodesError: for queries of another length or space, an id that is not in the index, a radius that is no
                whole number or negative, `threads` below 1, or more hits than there is memory for, with the numbers.

        Examples:
            >>> from cmah import BinaryCodes, HammingIndex
            >>> index = HammingIndex(bits=2)
            >>> index.add(BinaryCodes.from_bits([[0, 0], [0, 1], [1, 1]]), ids=["a", "b", "c"])
            >>> near = index.search_radius(BinaryCodes.from_bits([[1, 1]]), radius=1)
            >>> near.ids.tolist(), near.distances.tolist()
            (['c', 'b'], [0, 1])
        """
        self._check(queries)
        if as_int(radius, "radius") < 0:
            raise CodesError(f"radius is {radius}, expected 0 or more")
        blocks, places = self._searched(subset)
        offsets, positions, distances = self._within(blocks, queries.packed, radius, threads)
        positions = positions if places is None else places[positions]
        return RadiusHits(offsets, self._ids.take(positions), distances, positions)

    @staticmethod
    def distances(a: BinaryCodes, b: BinaryCodes) -> np.ndarray:
        """The distance of every code of `a` from every code of `b`: the whole matrix, for looking into small sets.

        Returns:
            int32 [len(a), len(b)], in bits.

        Raises:
            CodesError: for codes of different lengths or spaces.

        Examples:
            >>> from cmah import BinaryCodes, HammingIndex
            >>> codes = BinaryCodes.from_bits([[0, 0, 0], [0, 1, 1]])
            >>> HammingIndex.distances(codes, codes).tolist()
            [[0, 2], [2, 0]]
        """
        _refuse_others(a)
        HammingIndex(a.bits, a.space)._check(b)
        require_room(
            4 * len(a) * len(b), f"{len(a):,} x {len(b):,} distances", "compare fewer codes at a time"
        )
        out = np.empty((len(a), len(b)), dtype=np.int32)
        for row, code in zip(out, a.packed, strict=True):
            row[:] = differing_bits(b.packed ^ code).sum(axis=1, dtype=np.int32)
        return out

    def save(self, path: str | Path, *, append: bool = False) -> None:
        """Write the index file, whole or not at all; see docs/index-format.md.

        Args:
            path: the file.
            append: leave what is in the file and write behind it what has been added and removed since; this index
                must have been opened from it or saved to it. Takes time in proportion to what is written. Codes that
                were removed stay in the file, and are left out when it is read, until it is saved as a whole.

        Raises:
            CodesError: with `append`, if the index is not that of the file, the file has changed since or another
                process is appending to it, it is of version 1 of the format, or has ids of the other type, all of
                which were removed.
            CmahError: if the file cannot be written; then it is as it was.

        Examples:
            >>> from cmah import BinaryCodes, HammingIndex
            >>> index = HammingIndex(bits=64)
            >>> index.save("growing.cmah")
            >>> index.add(BinaryCodes.from_bits([[0] * 64]))
            >>> index.save("growing.cmah", append=True)
            >>> HammingIndex.open("growing.cmah")
            HammingIndex(1 x 64 bits)
        """
        if append:
            self._append(path)
        else:
            self._saved(self._write(path))

    def _write(self, path: str | Path) -> FileState:
        return write_index(
            path, self._blocks, self._ids, self.space, shapes=self._shapes, dataset=self.dataset
        )

    def _append(self, path: str | Path) -> None:
        state = self._state
        if state is None or as_path(path).resolve() != state.path.resolve():
            raise CodesError(
                f"{path}: this index was not opened from it, nor saved to it; open it and add to that, or save without "
                "append"
            )
        removed = np.empty(0, np.int64)
        if self._places is not None:
            gone = np.ones(state.layout.n, dtype=bool)
            gone[self._gone] = gone[self._places] = False
            removed = np.flatnonzero(gone)
        new = np.arange(self._stored, len(self))
        # where items were removed, positions in the file are no longer those in the index
        named = self._ids.kind != POSITIONS or self._places is not None
        ids = Ids.of(self._ids.take(new)) if named else None
        shapes = (
            None
            if self._shapes is None
            else ItemShapes(self._shapes.names, self._shapes.numbers[self._stored :])
        )
        rows = self._blocks.rows(new)
        after = append_index(
            state, rows, ids, space=self.space, shapes=shapes, dataset=self.dataset, removed=removed
        )
        if self._places is not None:
            self._places = np.concatenate([self._places, state.layout.n + np.arange(len(new))])
            self._gone = np.union1d(self._gone, removed)
        self._state, self._stored = after, len(self)

    def _saved(self, state: FileState) -> None:
        self._state, self._stored, self._places = state, len(self), None
        self._gone = np.empty(0, np.int64)

    @classmethod
    def open(cls, path: str | Path, *, mmap: bool = True, verify: bool = False) -> "HammingIndex":
        """Open an index file: a `MultiIndex` if it has tables, else an index of this class.

        Args:
            path: the file.
            mmap: search the codes where they lie in the file, which takes no time to open; else read them. A
                file that is open must not be written to, but by `save`: that replaces it as a whole or writes
                behind what is there, which is no harm. Where codes in it were removed, the others are copied.
            verify: check the checksum of the codes too, which reads them all, and rebuild the tables of a
                multi-index to compare them; header, sizes and ids are always checked.

        Raises:
            CodesError: if it is missing, of another version, truncated or damaged.

        Examples:
            >>> index = HammingIndex.open("demo/shapes.cmah")  # of `cmah demo`
            >>> index.search(index.codes[:2], k=1).distances.tolist()
            [[0], [0]]
        """
        content = read_index(path, mmap=mmap, verify=verify)
        kind = (cls._class_with_tables or cls) if len(content.tables) else cls
        index = kind(content.blocks.bits, content.space)
        try:
            index._take_over(content, verify)
        except CodesError as error:
            raise CodesError(f"{path}: {error}") from None
        return index

    def _take_over(self, content: IndexContent, verify: bool) -> None:
        """Become the index that a file holds; `verify` as in `open`."""
        self._blocks, self._ids, self._shapes = content.blocks, content.ids, content.shapes
        self.dataset = content.dataset
        self._saved(content.state)
        if len(content.removed):
            keep = np.ones(len(content.blocks), dtype=bool)
            keep[content.removed] = False
            self._keep(keep)
            self._gone = content.removed

    def _scan(
        self, blocks: CodeBlocks, packed: np.ndarray, k: int | None, radius: int, threads: int | None
    ) -> ScanResult:
        """As `cmah.search.scan.scan`, but `k` may be 0: where there is nothing to search."""
        if k == 0:
            thread_count(threads)  # refused even where there is nothing to search
            return np.zeros(len(packed) + 1, np.int64), np.empty(0, np.int64), np.empty(0, np.int32)
        return scan(blocks, packed, k, radius, threads)

    def _within(self, blocks: CodeBlocks, packed: np.ndarray, radius: int, threads: int | None) -> ScanResult:
        """All codes at most `radius` from each query; those of some queries after the other where all may not fit."""
        q, most = len(packed), len(blocks) * (ENTRY + HIT + self._ids.bytes_each)
        room = None if q * most <= SMALL else lately_available_bytes()
        if room is None or q * most <= SHARE * room:
            return scan(blocks, packed, None, radius, threads)
        safe = max(1, int(SHARE / 2 * room) // most)
        step, parts, hits = self._step_within(blocks, packed, radius, threads, safe), [], 0
        for first in range(0, q, step):
            part = packed[first : first + step]
            if most > SHARE / 2 * room:  # one query may have too many: they are counted first
                parts_of_index = [words for words, _ in blocks.segments()]
                query = blocks.as_words(part)[0]
                coming = numpy_scan.count_within(parts_of_index, len(blocks), query, radius)
                self._require_hits(hits, coming, first, q, radius)
            parts.append(scan(blocks, part, None, radius, threads))
            hits += len(parts[-1][1])
            self._require_hits(hits, 0, min(first + step, q), q, radius)
        return stacked(parts)

    def _step_within(
        self, blocks: CodeBlocks, packed: np.ndarray, radius: int, threads: int | None, safe: int
    ) -> int:
        """How many queries are searched at a time: `safe`, whatever they have, or more by what a sample of them has."""
        if safe < SAMPLE:
            return safe
        sample = packed[:: -(-len(packed) // SAMPLE)]  # from all over, since queries are often in some order
        densest = int(np.diff(scan(blocks, sample, None, radius, threads)[0]).max())
        densest = max(densest, len(blocks) // MANY**3)
        return max(safe, safe * len(blocks) // (MANY * densest + 1))

    def _require_hits(self, hits: int, coming: int, done: int, q: int, radius: int) -> None:
        """Refuse a search within a radius that has so many hits, and so many to come, after `done` of q queries.

        After some queries, what all would have at their rate counts as well, with a margin: to stop only when the
        memory is full would take as long as the search.
        """
        each = HIT // 2 + self._ids.bytes_each
        hint = "ask for a smaller radius, or search with fewer queries at a time"
        had = min(done + bool(coming), q)
        require_room(
            hits * each + coming * (ENTRY + each),
            f"radius is {radius}: {hits + coming:,} hits of {had:,} {'query' if had == 1 else 'queries'}",
            hint,
        )
        if SAMPLE <= done < q:
            expected = hits * q // done
            what = f"radius is {radius}: about {expected:,} hits of {q:,} queries, at the rate of the first {done:,},"
            require_room(expected * each // MARGIN, what, hint)

    def _require_room(self, q: int, k: int) -> None:
        """Refuse a search whose k hits for each of q queries do not fit."""
        each = HIT + self._ids.bytes_each
        if q * k * (each + ENTRY) <= SMALL:  # without asking for the cores, which a small search would notice
            return
        require_room(
            q * k * each + min(q, largest_tile(k) * available_cores()) * k * ENTRY,
            f"k is {k:,}: the hits of {q:,} queries",
            "ask for fewer (-k), or search with fewer queries at a time",
        )

    def _scope(
        self, k: int, subset: IdsLike | None, group: IdsLike | Groups | ItemShapes | None
    ) -> tuple[CodeBlocks, np.ndarray | None, Groups | None, int]:
        """The codes to search, their positions as `_searched` gives them, their groups, and how many hits there are."""
        k = as_int(k, "k")
        if k < 1:
            raise CodesError(f"k is {k}, expected 1 or more")
        blocks, places = self._searched(subset)
        if isinstance(group, ItemShapes):
            group = group.groups()
        if group is None:
            return blocks, places, None, min(k, len(blocks))
        groups = groups_of_items(group, len(self))
        groups = groups if places is None else groups.at(places)
        return blocks, places, groups, min(k, groups.count)

    def _searched(self, subset: IdsLike | None) -> tuple[CodeBlocks, np.ndarray | None]:
        """The codes to search and, of a subset, their positions in the index, ascending."""
        if subset is None:
            return self._blocks, None
        chosen = np.asarray(subset)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise CodesError(f"subset has shape {list(chosen.shape)}, expected [{len(self)}] for a mask")
            places = np.flatnonzero(chosen)
        else:
            places = np.unique(self._ids.positions_of(subset))
        blocks = CodeBlocks(self.bits)
        blocks.append(self._blocks.rows(places))
        return blocks, places

    def _as_codes(self, packed: np.ndarray, ids: np.ndarray | None) -> BinaryCodes:
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


def _shapes_of(codes: BinaryCodes, ids: np.ndarray | None) -> np.ndarray | None:
    """The shapes that codes name, if any is another than the code's own id."""
    shapes = codes.shape_ids
    if shapes is None or not (shapes != "").any():
        return None
    if ids is not None and ids.dtype.kind == "U" and np.array_equal(shapes, ids):
        return None
    return shapes


def _refuse_others(codes: BinaryCodes) -> None:
    if not isinstance(codes, BinaryCodes):
        raise CodesError(f"{type(codes).__name__}, expected BinaryCodes; see BinaryCodes.from_signs")
