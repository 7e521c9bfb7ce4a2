"""The faces of an OBJ file: corners v, v/vt, v//vn and v/vt/vn, with indices from the start or counted back."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmah.errors import CmahError
from cmah.meshes.mesh_text import BLANK, TextLines, numbers

SLASH = 47
# numbers of a corner by its form: v, v/vt, v//vn, v/vt/vn
PLAIN, WITH_UV, WITH_NORMAL, WITH_BOTH = range(4)
NUMBERS = np.array([1, 2, 2, 3])


@dataclass
class ObjFaces:
    r"""Polygons as runs of corners.

    Attributes:
        starts: int64 [p + 1], the first corner of each polygon, and the end.
        corners: int64 [c], numbers of vertices, from 0.
        uv: int64 [c], numbers of texture coordinates, -1 where there are none.
        normals: int64 [c], numbers of normals, -1 where there are none.

    Examples:
        >>> lines, rows = TextLines(b"v 0 0 0\nvn 0 0 1\nf 1//1 1//1 1\n"), np.arange(3)
        >>> faces = read_faces(Path("a.obj"), lines, rows[2:], {"v": rows[:1], "vt": rows[:0], "vn": rows[1:2]}, print)
        >>> faces.starts.tolist(), faces.normals.tolist()
        ([0, 3], [0, 0, -1])
    """

    starts: np.ndarray
    corners: np.ndarray
    uv: np.ndarray
    normals: np.ndarray


def read_faces(
    path: Path,
    lines: TextLines,
    rows: np.ndarray,
    kinds: dict[str, np.ndarray],
    remark: Callable[[str], None],
) -> ObjFaces:
    r"""Read the faces of an OBJ file.

    Args:
        path: the file, for messages.
        lines: its text.
        rows: int64, the lines that are faces.
        kinds: the lines that are vertices ("v"), texture coordinates ("vt") and normals ("vn").
        remark: called with a line if texture coordinates or normals are named that are not there.

    Raises:
        CmahError: if a line is no face, or names a vertex that is not there.

    Examples:
        >>> lines = TextLines(b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 -1\n")
        >>> kinds = {word: lines.starting_with(word.encode()) for word in ("v", "vt", "vn")}
        >>> read_faces(Path("a.obj"), lines, np.array([3]), kinds, print).corners.tolist()
        [0, 1, 2]
    """
    sizes = lines.counts[rows] - 1
    starts = np.concatenate([[0], np.cumsum(sizes)])
    given = _indices(lines, rows, int(starts[-1]))
    if given is None:
        given = _indices_one_by_one(path, lines, rows)
    owners = np.repeat(np.arange(len(rows)), sizes) if (given < 0).any() else None
    for column, word in enumerate(("v", "vt", "vn")):
        index = given[:, column]
        if owners is not None:  # -1 is the last one before the face
            before = np.searchsorted(kinds[word], rows)[owners]
            index = np.where(index < 0, before + 1 + index, index)
            index[(index <= 0) & (given[:, column] < 0)] = -1
        given[:, column] = index
    wrong = np.flatnonzero((given[:, 0] <= 0) | (given[:, 0] > len(kinds["v"])))
    if len(wrong):
        row = int(rows[np.searchsorted(starts, wrong[0], side="right") - 1])
        raise CmahError(
            f"{path}: line {row + 1}: a face names a vertex that is not in the file "
            f"(expected 1 to {len(kinds['v'])}), got {lines.quoted(row)}"
        )
    for column, word, what in ((1, "vt", "texture coordinates"), (2, "vn", "normals")):
        missing = (given[:, column] < 0) | (given[:, column] > len(kinds[word]))
        if missing.any():
            remark(f"{what} not in the file ({int(missing.sum())})")
            given[missing, column] = 0
    return ObjFaces(starts, given[:, 0] - 1, given[:, 1] - 1, given[:, 2] - 1)


def _indices(lines: TextLines, rows: np.ndarray, count: int) -> np.ndarray | None:
    """The indices as written, int64 [count, 3], 0 for what is left out; None if a corner is written in another way."""
    text = lines.part(rows, b"fo", b"f")
    given = np.zeros((count, 3), np.int64)
    slashes = text.count(b"/")
    if slashes == 0:
        values = numbers(text, count, np.int64)
        if values is not None:
            given[:, 0] = values
        return None if values is None else given
    codes = np.frombuffer(text, np.uint8)
    dark = codes > BLANK
    begins = dark.copy()
    begins[1:] &= ~dark[:-1]
    words = np.flatnonzero(begins)
    places = np.flatnonzero(codes == SLASH)
    after = codes[places + 1]  # the text ends with a newline
    if (after <= BLANK).any() or (codes[words] == SLASH).any():
        return None
    owner = np.searchsorted(words, places, side="right") - 1
    in_word = np.bincount(owner, minlength=count)
    double = np.bincount(owner[after == SLASH], minlength=count)
    if in_word.max() > 2 or (double > (in_word == 2)).any():
        return None
    form = np.where(double > 0, WITH_NORMAL, np.array([PLAIN, WITH_UV, WITH_BOTH])[in_word])
    lengths = NUMBERS[form]
    values = numbers(text.replace(b"/", b" "), int(lengths.sum()), np.int64)
    if values is None:
        return None
    if (form == form[0]).all():
        values = values.reshape(count, -1)
        columns = ([0], [0, 1], [0, 2], [0, 1, 2])[int(form[0])]
        given[:, columns] = values
        return given
    starts = np.cumsum(lengths) - lengths
    given[:, 0] = values[starts]
    for column, forms, place in ((1, (WITH_UV, WITH_BOTH), 1), (2, (WITH_NORMAL,), 1), (2, (WITH_BOTH,), 2)):
        chosen = np.isin(form, forms)
        given[chosen, column] = values[starts[chosen] + place]
    return given


def _indices_one_by_one(path: Path, lines: TextLines, rows: np.ndarray) -> np.ndarray:
    """The same for corners in any form, such as 1/ and 1//."""
    given = []
    for row in rows.tolist():
        for word in lines.words_of(row)[1:]:
            try:
                parts = [int(part) if part else 0 for part in word.split(b"/")]
                if len(parts) > 3 or b"_" in word or max(map(abs, parts)) >= 2**62:
                    raise ValueError
            except ValueError:
                raise CmahError(
                    f"{path}: line {row + 1}: expected corners such as 1, 1/1, 1//1 or 1/1/1, "
                    f"got {lines.quoted(row)}"
                ) from None
            given.append(parts + [0] * (3 - len(parts)))
    return np.array(given, np.int64).reshape(-1, 3)
