"""STL files: text of one or several solids, binary, and the colours that two programs keep in its spare bytes.

Format: Stereolithography Interface Specification, 3D Systems, 1989; colours as VisCAM and SolidView, or Materialise
Magics, write them (https://en.wikipedia.org/wiki/STL_(file_format)#Binary).
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cmah.errors import CmahError
from cmah.meshes.mesh_text import TextLines, plain_text
from cmah.meshes.part import Part
from cmah.meshes.polygons import triangulate

HEADER_BYTES = 84
FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
STATEMENT = re.compile(rb"\b(facet|outer|vertex|endloop|endfacet|endsolid)\b")


def read_stl(path: Path, data: bytes, files: Any, remark: Callable[[str], None]) -> list[Part]:
    r"""Read an STL file, as all formats are read for `read_parts`.

    Args:
        path: the file, for messages.
        data: its content.
        files: not used: STL names no other files.
        remark: called with a line for whatever is lost.

    Raises:
        CmahError: if it is neither binary nor text of that format, or says more facets than it has.

    Examples:
        >>> facet = "facet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\n"
        >>> (part,) = read_stl(Path("a.stl"), f"solid a\n{facet}endsolid a\n".encode(), None, print)
        >>> part.vertices.tolist(), part.faces.tolist()
        ([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[0, 1, 2]])
    """
    count = int.from_bytes(data[80:84], "little") if len(data) >= HEADER_BYTES else 0
    binary = count > 0 and len(data) == HEADER_BYTES + count * FACET.itemsize
    text = b"" if binary else plain_text(data)
    if (
        not binary
        and re.search(rb"\b(facet|solid)\b", text[:1000], re.IGNORECASE)
        and (re.search(rb"\bvertex\b", text, re.IGNORECASE) or b"\0" not in data)
    ):
        return _text_parts(path, text, remark)
    if len(data) < HEADER_BYTES:
        raise CmahError(
            f"{path}: no faces (expected an STL file: text that begins with solid, or 84 bytes and facets)"
        )
    if count == 0:
        raise CmahError(f"{path}: no faces (the header says 0 facets)")
    there = (len(data) - HEADER_BYTES) // FACET.itemsize
    if there < count:
        raise CmahError(f"{path}: the header promises {count} facets, but only {there} follow")
    if len(data) > HEADER_BYTES + count * FACET.itemsize:
        remark("bytes after the last facet not read")
    facets = np.frombuffer(data, FACET, count, HEADER_BYTES)
    corners = facets["corners"].reshape(-1, 3).astype(np.float64)
    faces = np.arange(len(corners)).reshape(-1, 3)
    return [Part(corners, faces, face_rgba=_facet_colours(data[:80], facets["attribute"]))]


def _facet_colours(header: bytes, attributes: np.ndarray) -> np.ndarray | None:
    """Colours float32 [f, 4] of the facets, or None: 5 bits each of red, green and blue in the spare bytes."""
    channels = np.stack([attributes & 31, attributes >> 5 & 31, attributes >> 10 & 31], axis=1) / np.float32(
        31
    )
    rgba = np.ones((len(attributes), 4), np.float32)
    place = header.find(b"COLOR=")
    marked = attributes >> 15 == 1
    if place >= 0 and place + 10 <= len(header):
        if not attributes.any():  # which were left empty
            marked[:] = True
        # Magics: the colour of all is in the header, and facets without the mark have one of their own, red lowest
        rgba[:] = np.frombuffer(header[place + 6 : place + 10], np.uint8) / np.float32(255)
        rgba[~marked, :3] = channels[~marked]
        rgba[~marked, 3] = 1
        return rgba
    if not marked.any():
        return None
    # VisCAM and SolidView: facets with the mark have a colour, blue lowest
    rgba[:, :3] = channels[:, ::-1]
    rgba[~marked] = np.nan
    return rgba


def _text_parts(path: Path, text: bytes, remark: Callable[[str], None]) -> list[Part]:
    """The facets of all solids of a text."""
    lines = TextLines(text.lower())
    corner, values = _corners(lines)
    if values is None or (len(corner) == 0 and b"vertex" in lines.text):  # lines may be broken anywhere
        again = TextLines(STATEMENT.sub(rb"\n\1", lines.text))
        corner, values = _corners(again)
        if values is None:
            vertices = lines.starting_with(b"vertex")
            wrong = vertices[lines.counts[vertices] != 4]
            bad = int(wrong[0]) if len(wrong) else lines.first_bad(vertices, 1)
            raise CmahError(
                f"{path}: line {bad + 1}: expected vertex and three numbers, got {lines.line(bad)[:60]!r}"
            )
        lines = again
    if len(corner) == 0:
        raise CmahError(f"{path}: no faces (no line with a vertex)")
    ends = np.searchsorted(corner, lines.starting_with(b"endloop"))
    sizes = np.diff(np.concatenate([[0], ends]))
    if sizes.sum() < len(corner):
        raise CmahError(f"{path}: the last facet is cut off (expected endloop and endfacet)")
    if lines.text.count(b"facet") != 2 * lines.text.count(b"endfacet"):  # or a name has such a word
        begun, ended = (len(lines.starting_with(word)) for word in (b"facet", b"endfacet"))
        if begun > ended > 0:
            raise CmahError(f"{path}: the last facet is cut off ({begun} begin, {ended} end)")
    if b"endsolid" not in lines.text and len(lines.starting_with(b"solid")):
        remark("the end of the solid is missing")
    points = values.reshape(-1, 3)
    faces, _ = triangulate(points, np.arange(len(points)), sizes[sizes > 0], remark)
    return [Part(points, faces)]


def _corners(lines: TextLines) -> tuple[np.ndarray, np.ndarray | None]:
    """The lines that begin with vertex, and their numbers, or None if a line does not hold three."""
    corner = lines.starting_with(b"vertex")
    return corner, lines.numbers(corner, b"vertex") if (lines.counts[corner] == 4).all() else None
