"""Repairs of OBJ and MTL text before it is parsed."""

import re

RELATIVE_FACE = re.compile(rb"^\s*f\s[^\n]*-\d", re.MULTILINE)
NUMBER = re.compile(rb"-?\d+")


def as_utf8(data: bytes) -> bytes:
    """Convert text in Latin-1 (Western Windows, old exporters) to UTF-8; text in UTF-8 stays as it is.

    Examples:
        >>> as_utf8("café".encode("latin-1")).decode("utf-8")
        'café'
    """
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1").encode("utf-8")
    return data


def absolute_indices(data: bytes) -> bytes:
    r"""Replace relative indices of faces (-1 is the last vertex so far) by absolute ones.

    trimesh (5.2) counts them from the end of the file, which is wrong where vertices and faces alternate.
    Text without relative indices is returned as it is.

    Examples:
        >>> absolute_indices(b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\nv 0 0 1").split(b"\n")[3]
        b'f 1 2 3'
    """
    if not RELATIVE_FACE.search(data):
        return data
    counts = {b"v": 0, b"vt": 0, b"vn": 0}
    lines = []
    for text in data.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ").split(b"\n"):
        line, words = text, text.split()
        if words and words[0] in counts:
            counts[words[0]] += 1
        elif words and words[0] == b"f":
            totals = (counts[b"v"], counts[b"vt"], counts[b"vn"])
            line = b"f " + b" ".join(_absolute_corner(word, totals) for word in words[1:])
        lines.append(line)
    return b"\n".join(lines)


def _absolute_corner(corner: bytes, totals: tuple[int, int, int]) -> bytes:
    """One corner, v/vt/vn, with absolute indices; an index before the first vertex becomes one out of range."""
    parts = corner.split(b"/")
    for place, (part, total) in enumerate(zip(parts, totals, strict=False)):
        if NUMBER.fullmatch(part) and int(part) < 0:
            index = total + 1 + int(part)
            parts[place] = b"%d" % (index if index > 0 else 2**31 - 1)
    return b"/".join(parts)
