"""The hash tables of a multi-index: all codes by the value of a part of them; the same bytes in memory and file."""

import math
import struct

import numpy as np

from cmah.errors import CodesError
from cmah.search.blocks import CodeBlocks
from cmah.search.index_layout import ALIGNMENT

MOST_TABLES = 8  # that are built; each has a copy of all codes
SHORTEST, LONGEST = 8, 24  # bits of a part that is built
MOST_READ, LONGEST_READ = (
    15,
    26,
)  # tables, and bits of a part, that a file may have; a table has an entry per value
_HEADER = struct.Struct(f"<I{MOST_READ}I")  # number of tables, and how many bits the part of each has


def part_lengths(bits: int, n: int) -> tuple[int, ...]:
    """How to split a code's bits into parts, one per table.

    A part has about as many values as there are codes, so that a value has about one code. Long codes have bits that
    are in no part, which costs time (parts must be nearer to the query's to rule a code out) but saves memory.

    Args:
        bits: length of a code.
        n: how many codes.

    Returns:
        The lengths of the parts in bits.

    Examples:
        >>> part_lengths(64, 1_000_000)
        (21, 21, 22)
    """
    wanted = min(max(math.log2(max(n, 1)), SHORTEST), LONGEST)
    tables = min(max(round(bits / wanted), math.ceil(bits / LONGEST), 1), MOST_TABLES)
    covered = min(bits, tables * round(wanted)) if tables == MOST_TABLES else bits
    return tuple(covered * (t + 1) // tables - covered * t // tables for t in range(tables))


class HashTables:
    """All codes, once for each part, in order of the value of that part and then of position.

    Args:
        blocks: the codes that the tables list.
        data: uint8, as docs/index-format.md describes it; used in place.

    Attributes:
        n: how many codes they are of.
        lengths: bits of the parts, which follow each other from the first bit of a code on.
        parts: int64 [m, 2], the first bit and the length of each part.
        starts: uint32: for each table in turn, where the codes of each value of its part begin, and their end.
        bases: int64 [m + 1], where the starts of each table begin, and their end.
        order: uint32 [m, n], positions.
        codes: words [m, n, words].
        masks: words [m, words], the bits of each part.
        ways: int64 [m, longest + 2], in how many ways a value of the part can differ in 0, 1, … bits.

    Raises:
        CodesError: for data of the wrong size, or parts of invalid lengths.

    Examples:
        >>> import numpy as np
        >>> from cmah.search.blocks import CodeBlocks
        >>> blocks = CodeBlocks(bits=8)
        >>> blocks.append(np.array([[0x1F], [0x0A], [0x1A]], np.uint8))
        >>> tables = HashTables.build(blocks, (4, 4))
        >>> tables.order.tolist()  # by the first four bits: 0, 1, 1; by the last four: A, A, F
        [[1, 0, 2], [1, 2, 0]]
    """

    def __init__(self, blocks: CodeBlocks, data: np.ndarray) -> None:
        self.data = data
        self.lengths = lengths = _read_lengths(data, blocks.bits)
        m, n = len(lengths), len(blocks)
        self.n = n
        begin, parts = _HEADER.size, []
        for size in _sizes(lengths, n, blocks.width):
            parts.append(data[begin : begin + size])
            begin += -(-size // ALIGNMENT) * ALIGNMENT
        if len(data) != begin:
            raise CodesError(f"{len(data)} bytes of tables, expected {begin}")
        self.starts = parts[0].view("<u4")
        self.order = parts[1].view("<u4").reshape(m, n)
        self.codes = parts[2].view(blocks.word).reshape(m, n, blocks.words)
        self.parts = np.array([(sum(lengths[:t]), length) for t, length in enumerate(lengths)])
        self.bases = np.cumsum([0, *((1 << length) + 1 for length in lengths)])
        self.ways = np.array([[math.comb(length, a) for a in range(max(lengths) + 2)] for length in lengths])
        bits = np.zeros((m, 8 * blocks.width), dtype=bool)
        for t, (first, length) in enumerate(self.parts):
            bits[t, first : first + length] = True
        self.masks = blocks.as_words(np.packbits(bits, axis=1))

    @classmethod
    def build(cls, blocks: CodeBlocks, lengths: tuple[int, ...]) -> "HashTables":
        """Build the tables of codes, with parts of `lengths` bits."""
        sizes = _sizes(lengths, len(blocks), blocks.width)
        data = np.zeros(
            _HEADER.size + sum(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes), dtype=np.uint8
        )
        header = _HEADER.pack(len(lengths), *lengths, *[0] * (MOST_READ - len(lengths)))
        data[: _HEADER.size] = np.frombuffer(header, dtype=np.uint8)
        tables = cls(blocks, data)
        rows = blocks.all_rows()
        for t in range(len(lengths)):
            begin, end = tables.bases[t : t + 2]
            tables.starts[begin:end], tables.order[t] = tables._sorted(rows, t)
            np.take(blocks.as_words(rows), tables.order[t], axis=0, out=tables.codes[t])
        for array in (data, tables.starts, tables.order, tables.codes):
            # read-only, as those of a mapped file are: the same compiled kernel takes both
            array.flags.writeable = False
        return tables

    def belong_to(self, blocks: CodeBlocks) -> bool:
        """Whether the tables are what `build` makes of these codes; takes as long as building."""
        rows = blocks.all_rows()
        for t in range(len(self.lengths)):
            starts, order = self._sorted(rows, t)
            if not np.array_equal(self.starts[self.bases[t] : self.bases[t + 1]], starts):
                return False
            if not np.array_equal(self.order[t], order):
                return False
            if not np.array_equal(self.codes[t], blocks.as_words(rows)[order]):
                return False
        return True

    def _sorted(self, rows: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray]:
        """The starts and the order of table t, from packed codes, uint8 [n, width]."""
        # Sorting (value, position) as one number is stable and much faster than argsort.
        keys = _values(rows, *self.parts[t].tolist()) << np.uint64(32)
        keys |= np.arange(len(rows), dtype=np.uint64)
        keys.sort()
        order = keys.astype(np.uint32)  # the low half
        keys >>= np.uint64(32)
        counts = np.bincount(keys.view(np.int64), minlength=1 << self.lengths[t])
        return np.concatenate([[0], np.cumsum(counts)]), order


def _values(packed: np.ndarray, first: int, length: int) -> np.ndarray:
    """Some bits of packed codes, uint8 [n, width], as numbers, uint64 [n], the first bit the highest."""
    last = (first + length - 1) // 8
    numbers = np.zeros(len(packed), dtype=np.uint64)
    for byte in range(first // 8, last + 1):
        numbers <<= np.uint64(8)
        numbers |= packed[:, byte]
    numbers >>= np.uint64(8 * (last + 1) - first - length)
    numbers &= np.uint64((1 << length) - 1)
    return numbers


def _read_lengths(data: np.ndarray, bits: int) -> tuple[int, ...]:
    """The lengths of the parts, from the header of the tables."""
    if len(data) < _HEADER.size:
        raise CodesError(f"{len(data)} bytes of tables, their header alone has {_HEADER.size}")
    m, *lengths = _HEADER.unpack(data[: _HEADER.size].tobytes())
    parts = lengths[:m]
    sound = 1 <= m <= MOST_READ and all(1 <= length <= LONGEST_READ for length in parts)
    if not sound or sum(parts) > bits or any(lengths[m:]):
        raise CodesError(
            f"{m} tables of parts of {parts} bits, expected 1 to {MOST_READ} tables, parts of 1 to {LONGEST_READ} bits "
            f"and at most {bits} bits together"
        )
    return tuple(parts)


def _sizes(lengths: tuple[int, ...], n: int, width: int) -> tuple[int, int, int]:
    """Bytes of the starts, the order and the codes."""
    return 4 * sum((1 << length) + 1 for length in lengths), 4 * n * len(lengths), n * width * len(lengths)
