"""OFF files: text or binary, with polygons, normals, and colours of vertices and faces in every form.

Format: http://www.geomview.org/docs/html/OFF.html; also ModelNet's header, glued to the counts.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cmah.errors import CmahError
from cmah.meshes.colours import colours_in_01
from cmah.meshes.mesh_text import TextLines, grouped, plain_text, quoted, runs
from cmah.meshes.part import Part
from cmah.meshes.polygons import triangulate

# C: colours, N: normals, ST: texture coordinates, 4: a fourth coordinate, n: the number of dimensions follows
HEADER = re.compile(rb"\s*((?:ST|C|N|4|n|st|c)*(?:OFF|off|Off))(?:\s+BINARY\b)?[ \t]*")
COUNTS = re.compile(rb"\s*\d+\s+\d+\s+\d+(?=\s)")
MOST_DIMENSIONS = 1000


@dataclass
class _Header:
    """What the first words of a file say.

    Attributes:
        coordinates: numbers of a position.
        homogeneous: whether the last of them divides the others.
        normals: whether each vertex has a normal.
        coloured: whether each vertex has a colour.
        textured: whether each vertex has texture coordinates.
    """

    coordinates: int
    homogeneous: bool
    normals: bool
    coloured: bool
    textured: bool

    @property
    def before_colours(self) -> int:
        """The numbers of a vertex before its colour."""
        return self.coordinates + self.normals * 3

    def positions(self, table: np.ndarray) -> np.ndarray:
        """The first three coordinates, float64 [v, 3]."""
        points = table[:, : self.coordinates - self.homogeneous]
        if self.homogeneous:
            with np.errstate(all="ignore"):
                points = points / table[:, self.coordinates - 1 : self.coordinates]
        if points.shape[1] < 3:
            points = np.pad(points, ((0, 0), (0, 3 - points.shape[1])))
        return points[:, :3].astype(np.float64)


@dataclass
class _Faces:
    """Polygons with what stands behind their corners.

    Attributes:
        sizes: int64 [p], their corners.
        corners: int64 [c], the vertices of all polygons one after the other.
        colours: float64 [p, 4], NaN where there is none.
    """

    sizes: np.ndarray
    corners: np.ndarray
    colours: np.ndarray


def read_off(path: Path, data: bytes, files: Any, remark: Callable[[str], None]) -> list[Part]:
    r"""Read an OFF file, as all formats are read for `read_parts`.

    The counts in its header are checked against what is there before anything is allocated.

    Args:
        path: the file, for messages.
        data: its content.
        files: not used: OFF names no other files.
        remark: called with a line for whatever is lost.

    Raises:
        CmahError: if it is not an OFF file, or its content is not what its header says.

    Examples:
        >>> text = b"OFF\n4 2 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n3 0 1 2 255 0 0\n3 0 2 3\n"
        >>> (part,) = read_off(Path("a.off"), text, None, print)
        >>> part.faces.tolist(), part.face_rgba.tolist()
        ([[0, 1, 2], [0, 2, 3]], [[1.0, 0.0, 0.0, 1.0], [nan, nan, nan, nan]])
    """
    binary = re.match(rb"[^\n]{0,40}OFF[ \t]+BINARY[^\n]*\n", data)
    if binary:
        header, table, faces = _binary(path, data, binary)
    else:
        header, table, faces = _text(path, data, remark)
    points = header.positions(table)
    if header.coordinates - header.homogeneous > 3:
        remark(f"dimensions beyond the third left out ({header.coordinates - header.homogeneous})")
    if len(faces.corners) and not 0 <= faces.corners.min() <= faces.corners.max() < len(points):
        raise CmahError(f"{path}: a face names a vertex that is not in the file ({len(points)} vertices)")
    triangles, owners = triangulate(points, faces.corners, faces.sizes, remark)
    given = table[:, header.before_colours : table.shape[1] - 2 * header.textured][:, :4]
    coloured = header.coloured and given.shape[1] >= 3
    if header.coloured and not coloured:
        remark("colours of vertices not read (expected 3 or 4 numbers)")
    vertex_rgba, face_rgba = colours_in_01([given if coloured else np.zeros((0, 4)), faces.colours])
    face_rgba[np.isnan(faces.colours[:, 0])] = np.nan
    # the colours of vertices are finer, unless they are white all over and so say nothing
    if coloured and not np.isnan(face_rgba[:, 0]).all():
        if (vertex_rgba == 1).all():
            coloured = False
        else:
            remark("colours of faces under those of vertices not shown")
            face_rgba[:] = np.nan
    normals = table[:, header.coordinates : header.coordinates + 3] if header.normals else None
    return [
        Part(
            points,
            faces.corners[triangles],
            normals=normals,
            vertex_rgba=vertex_rgba if coloured else None,
            face_rgba=None if np.isnan(face_rgba[:, 0]).all() else face_rgba[owners],
        )
    ]


def _header(word: bytes) -> tuple[_Header, bool]:
    """What the letters before OFF say, and whether the number of dimensions follows."""
    # in lower case n means normals: who writes noff does not write n-dimensional files
    letters = word.upper() if word.islower() else word
    prefix = letters[:-3]
    header = _Header(
        4 if b"4" in prefix else 3, b"4" in prefix, b"N" in prefix, b"C" in prefix, b"ST" in prefix
    )
    return header, b"n" in prefix


def _text(path: Path, data: bytes, remark: Callable[[str], None]) -> tuple[_Header, np.ndarray, _Faces]:
    """The header, the table of vertices and the faces of a file of text."""
    # comments and blank lines may occur anywhere, also before the header
    text = TextLines(plain_text(data)).without_comments().text
    match = HEADER.match(text)
    if match is None and not re.match(rb"\s*\d+\s+\d+\s", text):  # the word may be left out
        raise CmahError(f"{path}: not an OFF file (the first line should start with OFF)")
    header, dimensional = _header(match[1] if match else b"OFF")
    if match:  # blanks in its place, so that the lines keep their numbers
        text = re.sub(rb"[^\n]", b" ", match[0]) + text[match.end() :]
    lines = TextLines(text)
    full = np.flatnonzero(lines.counts)
    if dimensional:
        dimensions = lines.numbers(full[:1], dtype=np.int64)
        if dimensions is None or len(dimensions) != 1 or not 1 <= dimensions[0] <= MOST_DIMENSIONS:
            raise CmahError(f"{path}: expected the number of dimensions after nOFF")
        header.coordinates = int(dimensions[0]) + header.homogeneous
        full = full[1:]
    if len(full):
        start = int(lines.starts[full[0]])
        broken = COUNTS.match(text, start) if lines.counts[full[0]] not in {2, 3} else None
        if broken:  # lines may be broken anywhere
            text = b" ".join(broken[0].split()) + b"\n" + text[broken.end() :]
            lines = TextLines(b"\n" * lines.text.count(b"\n", 0, start) + text)
            full = np.flatnonzero(lines.counts)
    counts = _counts(path, lines.line(int(full[0])) if len(full) else b"")
    vertex_count, face_count = counts
    full = full[1:]
    rows, face_rows = full[:vertex_count], full[vertex_count : vertex_count + face_count]
    if len(face_rows) < face_count or lines.counts[rows].min() < header.before_colours:
        return header, *_without_lines(path, lines, full, header, counts)
    by_lines = replace(header)
    table = _vertices(path, lines, rows, by_lines, remark)
    try:
        faces = _faces(path, lines, face_rows, remark)
    except CmahError:
        with suppress(CmahError):
            return header, *_without_lines(path, lines, full, header, counts)
        raise
    if len(full) > vertex_count + face_count:
        remark("lines after the last face not read")
    return by_lines, table, faces


def _vertices(
    path: Path, lines: TextLines, rows: np.ndarray, header: _Header, remark: Callable[[str], None]
) -> np.ndarray:
    """The numbers in the lines of vertices, float64 [rows, n], NaN where a line is shorter than others.

    Notes in `header` if there are colours that it does not speak of.
    """
    values, widths = lines.numbers(rows), lines.counts[rows]
    if values is None:
        bad = lines.first_bad(rows)
        raise CmahError(f"{path}: line {bad + 1}: expected the numbers of a vertex, got {lines.quoted(bad)}")
    if (widths == widths[0]).all():
        table = values.reshape(len(rows), -1)
    else:  # such as an opacity in some lines only
        header.textured = False
        columns = min(int(widths.max()), header.before_colours + 4)
        table = np.full((len(rows), columns), np.nan)
        starts = np.cumsum(widths) - widths
        for width, places in grouped(widths):
            kept = min(width, columns)
            table[places, :kept] = values[starts[places][:, None] + np.arange(kept)]
    if not header.coloured and not header.textured and table.shape[1] > header.before_colours:
        given = table[:, header.before_colours :]
        # colours without the letter C; normals without N would be negative somewhere
        header.coloured = given.shape[1] in {3, 4} and bool((given >= 0).all() and (given <= 255).all())
        if not header.coloured:
            remark("numbers behind the positions of vertices not read")
    return table


def _counts(path: Path, line: bytes) -> tuple[int, int]:
    """The vertex and face counts of the line after the header; the edge count is optional."""
    try:
        counts = [int(word) for word in line.split()]
    except ValueError:
        counts = []
    if len(counts) not in {2, 3} or min(counts) < 0 or max(counts) >= 2**62:
        raise CmahError(
            f"{path}: expected the counts of vertices, faces and edges after OFF, got {quoted(line)}"
        )
    if counts[0] == 0 or counts[1] == 0:
        raise CmahError(f"{path}: no faces (the header says {counts[0]} vertices and {counts[1]} faces)")
    return counts[0], counts[1]


def _faces(path: Path, lines: TextLines, rows: np.ndarray, remark: Callable[[str], None]) -> _Faces:
    """The faces in some lines: a count, as many vertices, and what is left is a colour."""
    counts = lines.counts[rows]
    values = lines.numbers(rows)
    if values is None:
        raise _bad_face(path, lines, lines.first_bad(rows))
    starts = np.cumsum(counts) - counts
    sizes = values[starts]
    wrong = np.flatnonzero((sizes != np.floor(sizes)) | (sizes < 0) | (sizes >= counts))
    if len(wrong):
        raise _bad_face(path, lines, int(rows[wrong[0]]))
    sizes = sizes.astype(np.int64)
    corners = values[runs(starts + 1, sizes)]
    wrong = np.flatnonzero(corners != np.floor(corners))
    if len(wrong):
        owner = np.searchsorted(np.cumsum(sizes), wrong[0], side="right")
        raise _bad_face(path, lines, int(rows[owner]))
    colours = np.full((len(rows), 4), np.nan)
    for left, places in grouped(counts - 1 - sizes):
        if left >= 3:
            columns = min(left, 4)
            colours[places, :columns] = values[(starts + 1 + sizes)[places][:, None] + np.arange(columns)]
        elif left:
            remark(f"colours of faces by number in a colour map not read ({len(places)})")
    return _Faces(sizes, np.clip(corners, -1, 2**62).astype(np.int64), colours)


def _bad_face(path: Path, lines: TextLines, number: int) -> CmahError:
    """The error for a line that should be a face."""
    return CmahError(
        f"{path}: line {number + 1}: expected a face (a count and as many vertices), got {lines.quoted(number)}"
    )


def _without_lines(
    path: Path, lines: TextLines, rows: np.ndarray, header: _Header, counts: tuple[int, int]
) -> tuple[np.ndarray, _Faces]:
    """Vertices and faces without colours, however they are broken into lines."""
    vertex_count, face_count = counts
    width = header.before_colours + 4 * header.coloured + 2 * header.textured
    values = lines.numbers(rows)
    short = (
        f"{path}: the header promises {vertex_count} vertices and {face_count} faces, "
        f"but only {len(rows)} lines follow"
    )
    if values is None:
        bad = lines.first_bad(rows)
        raise CmahError(f"{path}: line {bad + 1}: expected numbers, got {lines.quoted(bad)}")
    if len(values) < vertex_count * width + face_count:
        raise CmahError(short)
    table = values[: vertex_count * width].reshape(vertex_count, width)
    numbers = values[vertex_count * width :].tolist()
    sizes, corners, place = [], [], 0
    for _ in range(face_count):
        size = numbers[place] if place < len(numbers) else -1
        if not (size == int(max(size, -1)) and 0 <= size < len(numbers) - place):
            raise CmahError(short)
        sizes.append(int(size))
        corners.append(np.arange(place + 1, place + 1 + int(size)))
        place += 1 + int(size)
    if place < len(numbers):
        raise CmahError(f"{path}: the vertices or faces are not one a line, and numbers are left over")
    index = values[vertex_count * width :][np.concatenate(corners)]
    if (index != np.floor(index)).any():
        raise CmahError(f"{path}: a face names a vertex by something else than a whole number")
    colours = np.full((face_count, 4), np.nan)
    return table, _Faces(np.array(sizes), np.clip(index, -1, 2**62).astype(np.int64), colours)


def _binary(path: Path, data: bytes, start: re.Match[bytes]) -> tuple[_Header, np.ndarray, _Faces]:
    """The header, the table of vertices and the faces of a binary file: numbers of 32 bits, highest byte first."""
    match = HEADER.match(data)
    if match is None:
        raise CmahError(f"{path}: not an OFF file (the first line should start with OFF)")
    header, dimensional = _header(match[1])
    place = start.end()
    whole = np.frombuffer(data, ">i4", (len(data) - place) // 4, place)
    real = whole.view(">f4")
    if dimensional and len(whole):
        header.coordinates = int(whole[0]) + header.homogeneous
        whole, real = whole[1:], real[1:]
    if len(whole) < 3 or not 1 <= header.coordinates <= MOST_DIMENSIONS:
        raise CmahError(f"{path}: expected the counts of vertices, faces and edges after OFF BINARY")
    vertex_count, face_count = _counts(path, b"%d %d" % (whole[0], whole[1]))
    width = header.before_colours + 4 * header.coloured + 2 * header.textured
    if 3 + vertex_count * width + 2 * face_count > len(whole):
        raise CmahError(
            f"{path}: the header promises {vertex_count} vertices and {face_count} faces, "
            f"but only {4 * len(whole) - 12} bytes follow"
        )
    table = real[3 : 3 + vertex_count * width].reshape(vertex_count, width).astype(np.float64)
    numbers = whole.tolist()
    starts: list[int] = []
    sizes: list[int] = []
    kinds: list[int] = []
    place = 3 + vertex_count * width
    for _ in range(face_count):
        size = numbers[place] if place < len(numbers) else -1
        after = place + 1 + size
        if size < 0 or after >= len(numbers) or not 0 <= numbers[after] <= min(4, len(numbers) - after - 1):
            raise CmahError(f"{path}: face {len(sizes) + 1} of {face_count} is cut off or has a wrong count")
        starts.append(place + 1)
        sizes.append(size)
        kinds.append(numbers[after])
        place = after + 1 + numbers[after]
    begins, lengths = np.array(starts), np.array(sizes)
    colours = np.full((face_count, 4), np.nan)
    for columns, places in grouped(np.array(kinds)):
        if columns >= 3:
            colours[places, :columns] = real[(begins + lengths + 1)[places][:, None] + np.arange(columns)]
    return header, table, _Faces(lengths, whole[runs(begins, lengths)].astype(np.int64), colours)
