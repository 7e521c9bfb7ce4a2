"""Text of mesh files cut into lines and words, and their numbers, by NumPy over whole files."""

import re
import unicodedata
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

CONTINUED = re.compile(rb"\\[ \t]*\n")
# what C libraries of Microsoft write for numbers that are none: 1.#QNAN, -1.#IND00, -nan(ind)
NOT_A_NUMBER = re.compile(rb"[-+]?(?:1\.#(?:QNAN|SNAN|IND|INF)\d*|nan\((?:snan|ind)\))", re.IGNORECASE)
# Fortran's exponent: 1.5D+00
D_EXPONENT = re.compile(rb"(?<=[\d.])[dD](?=[-+]?\d)")
BLANKS = bytes(32 if code < 32 and code != 10 else code for code in range(256))
BLANK, NEWLINE, HASH = 32, 10, 35
PADDING = 16


def as_utf8(data: bytes) -> bytes:
    """Convert text in UTF-16 or that of Western Windows (old exporters) to UTF-8, without a byte order mark.

    Examples:
        >>> as_utf8("café".encode("latin-1")).decode("utf-8")
        'café'
        >>> as_utf8("v 0 0 0".encode("utf-16"))
        b'v 0 0 0'
    """
    start = data[:64]
    if start[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        data = data.decode("utf-16", "replace").encode()
    elif len(start) > 3 and not any(start[1::2]):
        data = data.decode("utf-16-le", "replace").encode()
    elif len(start) > 3 and not any(start[0::2]):
        data = data.decode("utf-16-be", "replace").encode()
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.isascii():
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            try:
                return data.decode("cp1252").encode("utf-8")
            except UnicodeDecodeError:
                return data.decode("latin-1").encode("utf-8")
    return data


def folded_name(name: str) -> str:
    r"""A name without what differs between systems: case, and the Unicode form of accents.

    Examples:
        >>> folded_name("Ni\u00d1o.PNG") == folded_name("nin\u0303o.png")
        True
    """
    return unicodedata.normalize("NFC", name).casefold()


def plain_text(data: bytes) -> bytes:
    r"""Text in UTF-8 whose lines end with one newline each, and whose other control characters are blanks.

    Examples:
        >>> plain_text(b"\xef\xbb\xbfv\t0 0 0\r\nv 1 0 0\rend")
        b'v 0 0 0\nv 1 0 0\nend\n'
    """
    data = as_utf8(data)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    data = data.translate(BLANKS)
    if b".#" in data or b"nan(" in data:
        data = NOT_A_NUMBER.sub(b"nan", data)
    return data if data.endswith(b"\n") else data + b"\n"


def joined_lines(text: bytes) -> bytes:
    r"""Join each line that ends with a backslash to the next one; comments (#) are not continued.

    As many blank lines follow as were joined, so that the numbers of later lines stay the same.

    Examples:
        >>> joined_lines(b"f 1 2 \\\n3\n# C:\\\nv 0 0 0\n")
        b'f 1 2  3\n\n# C:\\\nv 0 0 0\n'
    """
    first, *rest = CONTINUED.split(text)
    if not rest:
        return text
    pieces, owed = [first], 0
    comment = _ends_with_comment(first)
    for piece in rest:
        line, newline, others = piece.partition(b"\n")
        if comment:
            pieces.append(b"\\\n" + piece)
            comment = _ends_with_comment(piece)
            continue
        owed += 1
        pieces += [b" ", line]
        if newline:
            pieces += [b"\n" * (owed + 1), others]
            owed = 0
            comment = _ends_with_comment(others)
    return b"".join(pieces) + b"\n" * owed


def _ends_with_comment(text: bytes) -> bool:
    """Whether the last line is a comment."""
    return text[text.rfind(b"\n") + 1 :].lstrip().startswith(b"#")


def numbers(text: bytes, count: int, dtype: Any = np.float64) -> np.ndarray | None:
    r"""All words of a text as numbers [count]; None if a word is not a number, or if there are not `count` of them.

    Exponents may be written with D (Fortran). Commas are decimal ones (exporters that follow the country's settings)
    if the text has no point, else they stand between the numbers.

    Examples:
        >>> numbers(b"1 -2.5\n1.e5", 3).tolist()
        [1.0, -2.5, 100000.0]
        >>> numbers(b"1,5 2", 2).tolist(), numbers(b"1.5, 2.0", 2).tolist(), numbers(b"1.5D-1", 1).tolist()
        ([1.5, 2.0], [1.5, 2.0], [0.15])
        >>> numbers(b"x 2", 2) is None
        True
    """
    if count == 0:
        return None if text.strip() else np.zeros(0, dtype)
    values = _parsed(text, dtype)
    if values is None and dtype is np.float64:
        respelt = D_EXPONENT.sub(b"e", text).replace(b",", b" " if b"." in text else b".")
        values = _parsed(respelt, dtype) if respelt != text else None
    return values if values is not None and len(values) == count else None


def _parsed(text: bytes, dtype: Any) -> np.ndarray | None:
    """All words of a text as numbers, or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # NumPy warns where it meets what is not a number
        try:
            values: np.ndarray = np.fromstring(text, dtype, sep=" ")
        except (DeprecationWarning, ValueError):
            return None
    return values


def quoted(line: bytes) -> str:
    """The beginning of a line as errors show it: in quotes, on one line.

    Examples:
        >>> print(quoted(b"f 0 1 2"))
        'f 0 1 2'
    """
    return repr(line[:60].decode("utf-8", "replace"))


class TextLines:
    r"""The lines of a text and the words in them.

    Attributes:
        text: the text; it ends with a newline.
        codes: uint8 [bytes + 16], the same as numbers, with blanks at the end.
        words: int64 [w], where the words begin.
        starts: int64 [lines + 1], where the lines begin, and the end of the text.
        first: int64 [lines + 1], the number of the first word of each line.

    Examples:
        >>> lines = TextLines(b"v 0 0 0 # origin\n\nf 1 2 3\n")
        >>> lines.counts.tolist(), lines.line(2)
        ([6, 0, 4], b'f 1 2 3')
        >>> lines = lines.without_comments()
        >>> lines.counts.tolist(), lines.numbers(np.array([0]), b"v").tolist()
        ([4, 0, 4], [0.0, 0.0, 0.0])
    """

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.codes = np.full(len(text) + PADDING, BLANK, np.uint8)
        self.codes[:-PADDING] = np.frombuffer(text, np.uint8)
        dark = self.codes[:-PADDING] > BLANK
        begins = dark.copy()
        begins[1:] &= ~dark[:-1]
        self.words = np.flatnonzero(begins)
        self.starts = np.concatenate([[0], np.flatnonzero(self.codes == NEWLINE) + 1])
        self.first = np.searchsorted(self.words, self.starts)

    @property
    def counts(self) -> np.ndarray:
        """The words in each line, int64 [lines]."""
        counts: np.ndarray = np.diff(self.first)
        return counts

    def line(self, number: int) -> bytes:
        """The text of line `number`, counted from 0, without blanks around it."""
        return self.text[self.starts[number] : self.starts[number + 1]].strip()

    def quoted(self, number: int) -> str:
        """The beginning of line `number`, counted from 0, as errors show it."""
        return quoted(self.line(number))

    def words_of(self, number: int) -> list[bytes]:
        """The words of line `number`, counted from 0."""
        return self.line(number).split()

    def starting_with(self, word: bytes) -> np.ndarray:
        """The numbers, int64, of the lines whose first word is `word`, of at most 15 letters."""
        lines = np.flatnonzero(self.first[1:] > self.first[:-1])
        places = self.words[self.first[lines]]
        for letter in word:
            same = self.codes[places] == letter
            lines, places = lines[same], places[same] + 1
        return lines[self.codes[places] <= BLANK]

    def without_comments(self, only: np.ndarray | None = None) -> "TextLines":
        """The same lines without what follows a #, in all lines or in those of bool [lines]."""
        hashes = np.flatnonzero(self.codes == HASH)
        lines = np.searchsorted(self.starts, hashes, side="right") - 1
        if only is not None:
            hashes, lines = hashes[only[lines]], lines[only[lines]]
        if len(hashes) == 0:
            return self
        lines, index = np.unique(lines, return_index=True)
        ends = self.starts[lines + 1] - 1
        text = bytearray(self.text)
        for start, end in zip(hashes[index].tolist(), ends.tolist(), strict=True):
            text[start:end] = b" " * (end - start)
        return TextLines(bytes(text))

    def part(self, lines: np.ndarray, *words: bytes) -> bytes:
        """The text of some lines, int64 numbers in rising order, with blanks wherever it has one of some words."""
        if len(lines) == 0:
            return b""
        breaks = np.flatnonzero(np.diff(lines) != 1) + 1
        begins = self.starts[lines[np.concatenate([[0], breaks])]].tolist()
        ends = self.starts[lines[np.concatenate([breaks - 1, [len(lines) - 1]])] + 1].tolist()
        text = b"".join(self.text[a:b] for a, b in zip(begins, ends, strict=True))
        for word in words:
            text = text.replace(word, b" " * len(word))
        return text

    def numbers(self, lines: np.ndarray, *words: bytes, dtype: Any = np.float64) -> np.ndarray | None:
        """The numbers in some lines, each of which begins with one of `words`, if any are given.

        Returns:
            All numbers one after the other; None if there is anything else.
        """
        count = int((self.first[lines + 1] - self.first[lines]).sum())
        return numbers(self.part(lines, *words), count - len(lines) * bool(words), dtype)

    def first_bad(self, lines: np.ndarray, skipped: int = 0) -> int:
        """The number of the first line, of those given, in which a word is not a number."""
        for number in lines.tolist():
            try:
                for word in self.words_of(number)[skipped:]:
                    float(word)
            except ValueError:
                return int(number)
        return int(lines[0])


def uneven_rows(values: np.ndarray, counts: np.ndarray, columns: int) -> np.ndarray:
    """The first `columns` values of each row [n, columns], of rows that are `counts` long and lie behind each other.

    Examples:
        >>> uneven_rows(np.array([1, 2, 3, 4, 5]), np.array([2, 3]), 2).tolist()
        [[1, 2], [3, 4]]
    """
    if (counts == columns).all():
        return values.reshape(-1, columns)
    starts = np.cumsum(counts) - counts
    return values[starts[:, None] + np.arange(columns)]


def runs(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The places start, start + 1, … of runs that begin at `starts` and are `counts` long, all one after the other.

    Examples:
        >>> runs(np.array([5, 20]), np.array([3, 2])).tolist()
        [5, 6, 7, 20, 21]
    """
    before = np.cumsum(counts) - counts
    places: np.ndarray = np.repeat(starts - before, counts) + np.arange(int(counts.sum()))
    return places


def grouped(keys: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each value of int [n] in rising order, with the places where it stands.

    Examples:
        >>> [(value, places.tolist()) for value, places in grouped(np.array([4, 3, 4]))]
        [(3, [1]), (4, [0, 2])]
    """
    if len(keys) == 0:
        return
    order = np.argsort(keys, kind="stable")
    values, firsts = np.unique(keys[order], return_index=True)
    yield from zip(values.tolist(), np.split(order, firsts[1:]), strict=True)
