"""How an index keeps its codes: in blocks of word planes, the same bytes in memory and in the index file."""

from collections.abc import Iterator

import numpy as np

from cmah.checks import as_int
from cmah.codes.binary_codes import MAX_BITS
from cmah.errors import CodesError

# A block has about BLOCK_BYTES: it and a batch of queries fit into a core's cache. Its number of codes is bounded.
BLOCK_BYTES, MOST_CODES, FEWEST_CODES = 16 << 10, 512, 64
ALIGNMENT = 64  # bytes; a vector load that straddles two cache lines costs twice
_AT_ONCE = 1 << 16  # codes that are rearranged at a time


class CodeBlocks:
    """Codes of one length in blocks of word planes.

    A code's bytes are taken as words of 8, 4, 2 or 1 bytes, the widest that its number of bytes is a multiple of.
    Each `codes_in_block` codes make a block: first word 0 of all of them (a word plane), then word 1, and so on. The
    last codes, too few for a block, make a shorter one. So n codes take exactly n × ceil(bits / 8) bytes.

    Args:
        bits: length of a code, 1 to 4,096.

    Attributes:
        width: bytes per code.
        word: type of a word, unsigned.
        words: words per code.
        codes_in_block: codes per full block.

    Raises:
        CodesError: for an impossible length.

    Examples:
        >>> import numpy as np
        >>> blocks = CodeBlocks(bits=24)
        >>> blocks.append(np.array([[1, 2, 3], [4, 5, 6]], np.uint8))
        >>> blocks.last_block[0, :, :2].tolist()  # word 0 of both codes, then word 1, word 2
        [[1, 4], [2, 5], [3, 6]]
        >>> blocks.rows(np.array([1])).tolist()
        [[4, 5, 6]]

    Blocks that were read from a file stay where they are; codes that are appended go into memory of their own, which
    grows by halves. So appending takes time in proportion to what is appended.
    """

    def __init__(self, bits: int) -> None:
        bits = as_int(bits, "bits")
        if not 1 <= bits <= MAX_BITS:
            raise CodesError(f"bits is {bits}, expected 1 to {MAX_BITS}")
        self.bits = bits
        self.width = (bits + 7) // 8
        self.word = np.dtype(f"u{np.gcd(self.width, 8)}")
        self.words = self.width // self.word.itemsize
        codes = 1 << (BLOCK_BYTES // self.width).bit_length() - 1
        self.codes_in_block = min(max(codes, FEWEST_CODES), MOST_CODES)
        self._given: list[np.ndarray] = []  # bytes of the first full blocks, which are never written to
        self._data = _aligned(0)  # the full blocks after those, followed by room for more
        self._given_blocks = self._full = 0
        self._tail = np.empty((0, self.width), dtype=np.uint8)  # the last codes, as rows
        # views of both for the next search, until codes are added: to make them takes as long as a small search
        self._full_parts: list[tuple[np.ndarray, int]] | None = None
        self._last_block: np.ndarray | None = None

    @classmethod
    def from_bytes(cls, bits: int, n: int, *parts: np.ndarray) -> "CodeBlocks":
        """Blocks over bytes as `chunks` gives them, read in place; the last block is copied.

        Args:
            bits: length of a code, 1 to 4,096.
            n: number of codes.
            parts: uint8 arrays of blocks, one array after the other; the last may end in a shorter block, and what the
                others have behind their full blocks is left out.
        """
        blocks = cls(bits)
        size = blocks.codes_in_block * blocks.width
        given = [part[: len(part) // size * size] for part in parts]
        blocks._given = [part for part in given if len(part)]
        blocks._full = blocks._given_blocks = n // blocks.codes_in_block
        rest = n % blocks.codes_in_block
        if rest:
            words = np.ascontiguousarray(parts[-1][len(given[-1]) :]).view(blocks.word)
            blocks._tail = blocks._rows_of(words.reshape(1, blocks.words, rest))
        return blocks

    def first(self, n: int) -> "CodeBlocks":
        """The first n codes, in the same memory but for a last short block.

        Examples:
            >>> import numpy as np
            >>> blocks = CodeBlocks(bits=8)
            >>> blocks.append(np.arange(3, dtype=np.uint8)[:, None])
            >>> blocks.first(2).all_rows().tolist()
            [[0], [1]]
        """
        blocks = CodeBlocks(self.bits)
        full = n // self.codes_in_block
        for part, _ in self.segments(0, full):
            blocks._given.append(part.reshape(-1).view(np.uint8))
        blocks._full = blocks._given_blocks = full
        blocks._tail = self.rows(np.arange(full * self.codes_in_block, n))
        return blocks

    def __len__(self) -> int:
        return self._full * self.codes_in_block + len(self._tail)

    @property
    def full_parts(self) -> list[tuple[np.ndarray, int]]:
        """The full blocks, read-only, in parts that each lie together in memory; none where there are no full blocks.

        Each is words [blocks, words, codes in a block], and the number of its first block.
        """
        if self._full_parts is not None:
            return self._full_parts
        used = (self._full - self._given_blocks) * self.codes_in_block * self.width
        parts: list[tuple[np.ndarray, int]] = []
        first = 0
        for data in (*self._given, self._data[:used]):
            if len(data):
                view = data.view(self.word).reshape(-1, self.words, self.codes_in_block)
                view.flags.writeable = False
                parts.append((view, first))
                first += len(view)
        self._full_parts = parts
        return parts

    def segments(self, first: int = 0, last: int | None = None) -> list[tuple[np.ndarray, int]]:
        """The full blocks from number `first` up to `last` (the end by default, then with the last block behind them).

        Returns:
            Of each part words [blocks, words, codes in a block], read-only, and the position of its first code.

        Examples:
            >>> import numpy as np
            >>> blocks = CodeBlocks(bits=8)
            >>> blocks.append(np.zeros((1300, 1), np.uint8))
            >>> [(words.shape, position) for words, position in blocks.segments()]
            [((2, 1, 512), 0), ((1, 1, 512), 1024)]
            >>> [(words.shape, position) for words, position in blocks.segments(1, 2)]
            [((1, 1, 512), 512)]
        """
        codes, end = self.codes_in_block, self._full if last is None else last
        segments = []
        for part, begin in self.full_parts:
            chosen = part[max(first - begin, 0) : max(end - begin, 0)]
            if len(chosen):
                segments.append((chosen, max(first, begin) * codes))
        if last is None:
            segments.append((self.last_block, self._full * codes))
        return segments

    @property
    def last_block(self) -> np.ndarray:
        """The codes after the full blocks, filled up to a block with zeros; words [1 or 0, words, codes], read-only."""
        if self._last_block is not None:
            return self._last_block
        block = _aligned(self.codes_in_block * self.width if len(self._tail) else 0).view(self.word)
        block = block.reshape(-1, self.words, self.codes_in_block)
        block[...] = 0
        block[:, :, : len(self._tail)] = self.as_words(self._tail).T
        block.flags.writeable = False
        self._last_block = block
        return block

    def as_words(self, packed: np.ndarray) -> np.ndarray:
        """Packed codes, uint8 [n, width], as aligned words [n, words]."""
        words = np.ascontiguousarray(packed).view(self.word).reshape(len(packed), self.words)
        return words if words.flags.aligned else words.copy()

    def append(self, packed: np.ndarray) -> None:
        """Append packed codes, uint8 [n, width]."""
        self._full_parts = self._last_block = None
        rows = np.concatenate([self._tail, packed]) if len(self._tail) else packed
        codes = self.codes_in_block
        more = len(rows) // codes
        own = self._full - self._given_blocks
        self._reserve((own + more) * codes * self.width)
        step = max(_AT_ONCE // codes, 1)
        for first in range(0, more, step):
            count = min(step, more - first)
            words = self.as_words(rows[first * codes : (first + count) * codes]).reshape(
                count, codes, self.words
            )
            begin = (own + first) * codes * self.width
            part = self._data[begin : begin + count * codes * self.width].view(self.word)
            part.reshape(count, self.words, codes)[...] = words.transpose(0, 2, 1)
        self._full += more
        self._tail = rows[more * codes :].copy()

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """The packed codes at positions int64 [m], uint8 [m, width]."""
        block, place = np.divmod(positions, self.codes_in_block)
        packed = np.empty((len(positions), self.width), dtype=np.uint8)
        for part, first in self.full_parts:
            inside = (block >= first) & (block < first + len(part))
            words = np.ascontiguousarray(part[block[inside] - first, :, place[inside]])
            packed[inside] = words.view(np.uint8).reshape(-1, self.width)
        inside = block >= self._full
        packed[inside] = self._tail[place[inside]]
        return packed

    def all_rows(self) -> np.ndarray:
        """All codes packed, uint8 [n, width]."""
        return np.concatenate([np.empty((0, self.width), dtype=np.uint8), *self.parts()])

    def parts(self) -> Iterator[np.ndarray]:
        """All codes packed, uint8 [m, width], about 65,536 at a time; read-only where they are not copies."""
        step = max(_AT_ONCE // self.codes_in_block, 1)
        for part, _ in self.full_parts:
            for first in range(0, len(part), step):
                yield self._rows_of(part[first : first + step])
        if len(self._tail):
            tail = self._tail.view()
            tail.flags.writeable = False
            yield tail

    def chunks(self, first: int = 0) -> Iterator[np.ndarray]:
        """The bytes of the index file from full block number `first` on, in order."""
        step = max(_AT_ONCE // self.codes_in_block, 1)
        for part, _ in self.segments(first, self._full):
            for begin in range(0, len(part), step):
                yield part[begin : begin + step].reshape(-1).view(np.uint8)
        yield np.ascontiguousarray(self.as_words(self._tail).T).view(np.uint8).ravel()

    def unused_bits_set(self) -> bool:
        """Whether a code has bits set beyond its last one, which no sound file has."""
        mask = np.uint8((1 << (8 * self.width - self.bits)) - 1)
        return bool(mask) and any((rows[:, -1] & mask).any() for rows in self.parts())

    def _rows_of(self, blocks: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(blocks.transpose(0, 2, 1)).view(np.uint8).reshape(-1, self.width)

    def _reserve(self, size: int) -> None:
        """Make room for `size` bytes of full blocks that are its own."""
        if len(self._data) >= size:
            return
        used = (self._full - self._given_blocks) * self.codes_in_block * self.width
        larger = _aligned(max(size, used + used // 2))
        larger[:used] = self._data[:used]
        self._data = larger


def _aligned(size: int) -> np.ndarray:
    """Uninitialised bytes whose address is a multiple of ALIGNMENT."""
    room = np.empty(size + ALIGNMENT, dtype=np.uint8)
    begin = -room.ctypes.data % ALIGNMENT
    return room[begin : begin + size]
