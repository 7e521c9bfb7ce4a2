"""OFF files: ASCII, with ModelNet's glued header, polygons, and colours of vertices (COFF) or faces.

Format: http://www.geomview.org/docs/html/OFF.html. The binary variant and 4-D or n-D vertices are refused.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmah.errors import CmahError

HEADER = re.compile(rb"\s*(ST)?(C)?(N)?(4|n)?OFF(\s+BINARY)?[ \t]*", re.IGNORECASE)


@dataclass
class OffMesh:
    r"""The content of an OFF file, with polygons cut into fans of triangles.

    Attributes:
        vertices: float64 [v, 3].
        faces: int64 [f, 3].
        vertex_rgba: float32 [v, 4] in 0..1, or None.
        face_rgba: float32 [f, 4] in 0..1, NaN where a face has no colour, or None if no face has one.

    Examples:
        A triangle with a colour and one without:

        >>> _ = Path("two.off").write_text("OFF\n3 2 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2 255 0 0\n3 2 1 0\n")
        >>> read_off("two.off").face_rgba.tolist()
        [[1.0, 0.0, 0.0, 1.0], [nan, nan, nan, nan]]
    """

    vertices: np.ndarray
    faces: np.ndarray
    vertex_rgba: np.ndarray | None
    face_rgba: np.ndarray | None


def read_off(path: str | Path) -> OffMesh:
    r"""Read an OFF file; the counts in its header are checked against its lines before anything is allocated.

    Raises:
        CmahError: if it is not an ASCII OFF file, or its content is not what its header says.

    Examples:
        >>> _ = Path("square.off").write_text("OFF\n4 1 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n4 0 1 2 3\n")
        >>> read_off("square.off").faces.tolist()
        [[0, 1, 2], [0, 2, 3]]
    """
    data = Path(path).read_bytes()
    # comments and blank lines may occur anywhere, also before the header
    lines = [line for raw in data.splitlines() if (line := raw.split(b"#", 1)[0].strip())]
    header = HEADER.match(lines[0]) if lines else None
    if header is None:
        raise CmahError(f"{path}: not an OFF file (the first line should start with OFF)")
    _, coloured, normals, dimension, binary = header.groups()
    if dimension or binary:
        raise CmahError(f"{path}: binary, 4-D and n-D OFF files are not read; expected ASCII OFF or COFF")
    # ModelNet has files with header and counts on one line without a space: OFF8 6 0
    rest = lines[0][header.end() :]
    lines = [rest, *lines[1:]] if rest else lines[1:]
    vertex_count, face_count = _counts(lines[0] if lines else b"", path)
    if vertex_count + face_count > len(lines) - 1:
        raise CmahError(
            f"{path}: the header promises {vertex_count} vertices and {face_count} faces, "
            f"but only {len(lines) - 1} lines follow"
        )
    table = _table(lines[1 : vertex_count + 1], path)
    vertices, first_colour = table[:, :3], 6 if normals else 3
    vertex_rgba = _rgba(table[:, first_colour:]) if coloured and table.shape[1] >= first_colour + 3 else None
    faces, face_rgba = _faces(lines[vertex_count + 1 : vertex_count + 1 + face_count], path)
    return OffMesh(vertices, faces, vertex_rgba, face_rgba)


def _counts(line: bytes, path: str | Path) -> tuple[int, int]:
    """The vertex and face counts of the line after the header; the edge count is optional."""
    try:
        counts = [int(word) for word in line.split()]
    except ValueError:
        counts = []
    if len(counts) not in {2, 3} or min(counts) < 0:
        raise CmahError(
            f"{path}: expected the counts of vertices, faces and edges after OFF, got {line[:40]!r}"
        )
    if counts[0] == 0 or counts[1] == 0:
        raise CmahError(f"{path}: no faces (the header says {counts[0]} vertices and {counts[1]} faces)")
    return counts[0], counts[1]


def _table(lines: list[bytes], path: str | Path) -> np.ndarray:
    """Lines of equally many numbers as float64 [len(lines), columns]."""
    try:
        table = np.array(b" ".join(lines).split(), dtype=np.float64)
        columns = table.size // len(lines)
        if columns < 3:
            raise ValueError("fewer than three coordinates")
        return table.reshape(len(lines), columns)
    except ValueError as error:
        raise CmahError(f"{path}: the vertices are not lines of equally many numbers ({error})") from None


def _faces(lines: list[bytes], path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Triangles int64 [f, 3], and their colours float32 [f, 4] (NaN where there is none) or None."""
    # faces of one size and one number of colour values form a table that NumPy converts at once
    tables: dict[tuple[int, int], list[list[bytes]]] = {}
    for line in lines:
        words = line.split()
        try:
            corners = int(words[0])
        except ValueError:
            corners = -1
        if corners < 0 or len(words) < corners + 1:
            raise CmahError(f"{path}: expected a face (a count and as many vertices), got {line[:40]!r}")
        tables.setdefault((corners, len(words)), []).append(words)
    faces, colours = [np.zeros((0, 3), np.int64)], [np.zeros((0, 4), np.float32)]
    for (corners, columns), rows in tables.items():
        if corners < 3:
            continue
        try:
            polygons = np.array([row[1 : corners + 1] for row in rows]).astype(np.int64)
            colour = np.full((len(rows), 4), np.nan, np.float32)
            if columns - corners - 1 in {3, 4}:
                colour = _rgba(np.array([row[corners + 1 :] for row in rows]).astype(np.float64))
        except ValueError as error:
            raise CmahError(f"{path}: a face is not made of whole numbers ({error})") from None
        for corner in range(1, corners - 1):
            faces.append(polygons[:, [0, corner, corner + 1]])
            colours.append(colour)
    face_rgba = np.concatenate(colours)
    return np.concatenate(faces), None if np.isnan(face_rgba).all() else face_rgba


def _rgba(values: np.ndarray) -> np.ndarray:
    """Colours of 3 or more columns as float32 [n, 4] in 0..1; any value above 1 means that the scale is 0..255."""
    rgba = np.ones((len(values), 4), np.float32)
    rgba[:, : min(values.shape[1], 4)] = values[:, :4]
    if np.nanmax(values, initial=0) > 1:
        rgba[:, : min(values.shape[1], 4)] /= 255
    return rgba.clip(0, 1)
