"""The header of a PLY file: which elements it has, and which properties they have.

Format: https://paulbourke.net/dataformats/ply/ (Greg Turk, 1994).
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cmah.errors import CmahError

TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
         "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
         "float32": "f4", "float64": "f8", "int64": "i8", "uint64": "u8", "long": "i8", "ulong": "u8"}  # fmt: skip
FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
HEADER_END = re.compile(rb"(?:^|\r\n|\n|\r)[ \t]*end_header[ \t]*(?:\r\n|\n|\r|$)")
MOST_PROPERTIES = 1000


@dataclass
class Property:
    """A property of an element.

    Attributes:
        name: its name, in lower case.
        dtype: the type of its values.
        count_dtype: for a list, the type of its length; else None.

    Examples:
        >>> Property("x", np.dtype("<f4"))
        Property(name='x', dtype=dtype('float32'), count_dtype=None)
    """

    name: str
    dtype: np.dtype
    count_dtype: np.dtype | None = None


@dataclass
class Element:
    """An element of a PLY file, such as vertex or face, with the values of its properties.

    Attributes:
        name: its name, in lower case.
        count: how many there are.
        properties: what each has, in the order of the file.
        columns: one array [count] for each property that is not a list.
        lists: for each list its lengths, int64 [count], and its values, one row after the other.

    Examples:
        >>> Element("vertex", 8).columns
        {}
    """

    name: str
    count: int
    properties: list[Property] = field(default_factory=list)
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    lists: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


def read_header(path: Path, data: bytes) -> tuple[str, list[Element], list[str], int]:
    r"""Read the header of a PLY file.

    Returns:
        The byte order, "<" or ">", or "" for text; the elements, without values; the text of comments and obj_info
        lines; where the header ends.

    Raises:
        CmahError: if it is no header of a PLY file.

    Examples:
        >>> text = b"ply\nformat ascii 1.0\ncomment by hand\nelement vertex 8\nproperty float x\nend_header\n"
        >>> order, (vertex,), comments, end = read_header(Path("a.ply"), text)
        >>> vertex.name, vertex.count, vertex.properties[0].name, comments, end == len(text)
        ('vertex', 8, 'x', ['by hand'], True)
    """
    end = HEADER_END.search(data)
    if not data[:4].strip().startswith(b"ply") or end is None:
        raise CmahError(f"{path}: not a PLY file (expected ply in the first line, and a line end_header)")
    order: str | None = None
    elements: list[Element] = []
    comments: list[str] = []
    text = data[: end.start()].decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    for line in text.split("\n")[1:]:
        words = line.split()
        if not words:
            continue
        key = words[0].lower()
        if key in {"comment", "obj_info"}:
            comments.append(line.strip()[len(key) :].strip())
        elif key == "format" and len(words) > 1 and words[1].lower() in FORMATS:
            order = FORMATS[words[1].lower()]
        elif key == "element" and len(words) == 3 and words[2].isdecimal() and len(words[2]) < 19:
            elements.append(Element(words[1].lower(), int(words[2])))
        elif key == "property" and elements:
            elements[-1].properties.append(_property(path, words, line, order or "<"))
        else:
            raise CmahError(f"{path}: the header has a line that no PLY file has: {line.strip()[:60]!r}")
    if order is None:
        raise CmahError(f"{path}: no format (expected {', '.join(FORMATS)})")
    names = [element.name for element in elements]
    if len(set(names)) < len(names) or any(len(element.properties) > MOST_PROPERTIES for element in elements):
        raise CmahError(f"{path}: an element occurs twice, or has more than {MOST_PROPERTIES} properties")
    return order, elements, comments, end.end()


def _property(path: Path, words: list[str], line: str, order: str) -> Property:
    """A property from the words of its line."""
    types = [TYPES.get(word.lower()) for word in words[1:-1]]
    if len(words) == 3 and types[0]:
        return Property(words[2].lower(), np.dtype(order + types[0]))
    if len(words) == 5 and words[1].lower() == "list" and types[1] and types[2]:
        return Property(words[4].lower(), np.dtype(order + types[2]), np.dtype(order + types[1]))
    raise CmahError(
        f"{path}: expected property TYPE NAME or property list TYPE TYPE NAME, got {line.strip()[:60]!r}"
    )
