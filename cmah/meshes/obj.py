"""OBJ files: polygons with colours, normals and texture coordinates, and the materials that they name.

Format: https://paulbourke.net/dataformats/obj/, with vertex colours behind the coordinates as MeshLab writes them, or in
comments as ZBrush does. Free-form curves and surfaces are left out. `obj_faces` reads the corners of faces.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cmah.errors import CmahError
from cmah.meshes.colours import colours_in_01
from cmah.meshes.mesh_text import TextLines, joined_lines, plain_text, uneven_rows
from cmah.meshes.mtl import Material, TextureShelf, read_mtl
from cmah.meshes.obj_faces import ObjFaces, read_faces
from cmah.meshes.part import DEFAULT_GREY, LEAST_OPACITY, Part
from cmah.meshes.polygons import triangulate

# statements without a meaning for what is seen: groups, names, smoothing, render settings
PASSED = {"#", "o", "g", "s", "mg", "bevel", "c_interp", "d_interp", "lod", "shadow_obj", "trace_obj", "vp", "end"}
FREE_FORM = {"curv", "curv2", "surf", "bsp", "bzp", "cdc", "cdp", "res"}
# these only belong to curves and surfaces
OF_FREE_FORM = {"cstype", "deg", "bmat", "step", "parm", "trim", "hole", "scrv", "sp", "con", "ctech", "stech"}
ZBRUSH = re.compile(rb"^#MRGB[ ]+((?:[0-9a-fA-F]{8})+)", re.MULTILINE)


@dataclass
class _Tables:
    """The numbers of an OBJ file.

    Attributes:
        points: float64 [v, 3].
        rgba: float32 [v, 4] in 0..1, NaN for vertices without a colour, or None.
        uv: float32 [t, 2].
        normals: float64 [n, 3].
    """

    points: np.ndarray
    rgba: np.ndarray | None
    uv: np.ndarray
    normals: np.ndarray


@dataclass
class _Triangles:
    """Triangles with the material of each.

    Attributes:
        corners: int64 [t, 3], numbers of vertices.
        uv: int64 [t, 3], numbers of texture coordinates, -1 where there are none.
        normals: int64 [t, 3], likewise.
        materials: int64 [t], numbers of names; -1 before the first one.
    """

    corners: np.ndarray
    uv: np.ndarray
    normals: np.ndarray
    materials: np.ndarray

    def some(self, chosen: np.ndarray) -> "_Triangles":
        """The triangles chosen by bool [t]."""
        if chosen.all():
            return self
        return _Triangles(self.corners[chosen], self.uv[chosen], self.normals[chosen], self.materials[chosen])


def read_obj(path: Path, data: bytes, files: Any, remark: Callable[[str], None]) -> list[Part]:
    r"""Read an OBJ file with its materials, as all formats are read for `read_parts`.

    Args:
        path: the file, for messages.
        data: its content.
        files: gives the libraries and textures that it names.
        remark: called with a line for whatever is lost.

    Returns:
        A part for each material, the one that is named last first.

    Raises:
        CmahError: if a line of geometry cannot be read, or a face names a vertex that is not there.

    Examples:
        >>> text = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl red\nf 1 2 3\n"
        >>> (part,) = read_obj(Path("a.obj"), text, None, print)
        material not found (red)
        >>> part.faces.tolist()
        [[0, 1, 2]]
    """
    text = joined_lines(plain_text(data))
    zbrush = b"".join(ZBRUSH.findall(text)) if b"#MRGB" in text else b""
    lines = TextLines(text)
    kinds = {word: lines.starting_with(word.encode()) for word in ("v", "vt", "vn", "f", "fo")}
    if b"#" in text:
        geometry = np.zeros(len(lines.counts), bool)
        for numbers in kinds.values():
            geometry[numbers] = True
        lines = lines.without_comments(geometry)
    tables = _tables(path, lines, kinds, zbrush, remark)
    face_lines = np.sort(np.concatenate([kinds["f"], kinds["fo"]]))  # fo is how f was once written
    faces = read_faces(path, lines, face_lines, kinds, remark)
    names, name_lines, libraries = _statements(lines, kinds, remark)
    sizes = np.diff(faces.starts)
    triangles, owners = triangulate(tables.points[faces.corners], sizes, remark)
    if len(triangles) == 0:
        return []
    distinct = list(dict.fromkeys(names))
    number_of = {name: number for number, name in enumerate(distinct)}
    numbers = np.array([-1, *(number_of[name] for name in names)])
    materials = numbers[np.searchsorted(np.array(name_lines, np.int64), face_lines)]
    cut = _Triangles(faces.corners[triangles], faces.uv[triangles], faces.normals[triangles], materials[owners])
    known = _materials(path, libraries, files, remark) if libraries else {}
    return _parts(tables, cut, _chosen(distinct, known, remark), TextureShelf(files, remark), remark)


def _tables(
    path: Path, lines: TextLines, kinds: dict[str, np.ndarray], zbrush: bytes, remark: Callable[[str], None]
) -> _Tables:
    """The vertices with their colours, the texture coordinates and the normals."""
    values, counts = _numbers(path, lines, kinds["v"], b"v", 3)
    points = uneven_rows(values, counts, 3)
    rgba = None
    coloured = counts >= 6
    if coloured.any():
        starts = (np.cumsum(counts) - counts)[coloured]
        given = np.full((int(coloured.sum()), 4), np.nan)
        given[:, :3] = values[starts[:, None] + np.arange(3, 6)]
        opaque = counts[coloured] >= 7
        given[opaque, 3] = values[starts[opaque] + 6]
        rgba = np.full((len(points), 4), np.nan, np.float32)
        (rgba[coloured],) = colours_in_01([given])
    elif len(zbrush) >= 8 * len(points) > 0:  # MMRRGGBB for each vertex, MM being a mask
        argb = np.frombuffer(bytes.fromhex(zbrush[: 8 * len(points)].decode()), np.uint8).reshape(-1, 4)
        rgba = np.ones((len(points), 4), np.float32)
        rgba[:, :3] = argb[:, 1:] / np.float32(255)
    if ((counts == 5) | (counts > 7)).any():
        remark("numbers behind the coordinates of vertices not read")
    values, counts = _numbers(path, lines, kinds["vt"], b"vt", 1)
    uv = np.zeros((len(counts), 2), np.float32)
    if len(counts):
        starts = np.cumsum(counts) - counts
        uv[:, 0] = values[starts]
        uv[counts > 1, 1] = values[starts[counts > 1] + 1]
    values, counts = _numbers(path, lines, kinds["vn"], b"vn", 3)
    return _Tables(points, rgba, uv, uneven_rows(values, counts, 3))


def _numbers(
    path: Path, lines: TextLines, rows: np.ndarray, word: bytes, least: int
) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of lines one after the other, and how many each line has: at least `least`."""
    counts = lines.counts[rows] - 1
    short = np.flatnonzero(counts < least)
    values = lines.numbers(rows, word)
    if values is None or len(short):
        bad = int(rows[short[0]]) if len(short) else lines.first_bad(rows, 1)
        many = "a number" if least == 1 else "three numbers"
        raise CmahError(f"{path}: line {bad + 1}: expected {many}, got {lines.line(bad)[:60]!r}")
    return values, counts


def _statements(
    lines: TextLines, kinds: dict[str, np.ndarray], remark: Callable[[str], None]
) -> tuple[list[str], list[int], list[str]]:
    """What is not geometry: the materials named, the lines that name them, and the libraries."""
    other = lines.counts > 0
    for numbers in kinds.values():
        other[numbers] = False
    names, name_lines, libraries = [], [], []
    lost: dict[str, int] = {}
    for number in np.flatnonzero(other).tolist():
        word, _, rest = lines.line(number).partition(b" ")
        if word == b"usemtl":
            names.append(" ".join(rest.decode("utf-8", "replace").split()))
            name_lines.append(number)
        elif word == b"mtllib":
            libraries.append(rest.strip().decode("utf-8", "replace"))
        elif word[:1] != b"#":
            key = word.decode("utf-8", "replace")
            if key not in PASSED and key not in OF_FREE_FORM:
                lost[key] = lost.get(key, 0) + 1
    lines_and_points = lost.pop("l", 0) + lost.pop("p", 0)
    if lines_and_points:
        remark(f"lines and points left out ({lines_and_points})")
    free_form = sum(lost.pop(key, 0) for key in FREE_FORM)
    if free_form:
        remark(f"free-form curves and surfaces left out ({free_form})")
    if lost:
        remark(f"statements not read ({', '.join(list(lost)[:3])})")
    return names, name_lines, libraries


def _materials(
    path: Path, libraries: list[str], files: Any, remark: Callable[[str], None]
) -> dict[str, Material]:
    """The materials of all libraries; of two with one name, the one that comes first."""
    materials: dict[str, Material] = {}
    missing = []
    for line in dict.fromkeys(libraries):
        names = [line]
        if not _had(files, line):  # one name with blanks, or several names
            names = re.findall(r"\S.*?\.mtl(?=\s|$)", line, re.IGNORECASE) or line.split()
        for name in names:
            try:
                materials = {**read_mtl(files.get(name)), **materials}
            except FileNotFoundError:
                missing.append(name)
    if missing and not materials and _had(files, f"{path.stem}.mtl"):  # both files were given another name
        return read_mtl(files.get(f"{path.stem}.mtl"))
    for name in missing:
        remark(f"material library not found ({name})")
    return materials


def _had(files: Any, name: str) -> bool:
    """Whether a file can be had."""
    try:
        files.get(name)
    except FileNotFoundError:
        return False
    return True


def _chosen(
    names: list[str], known: dict[str, Material], remark: Callable[[str], None]
) -> dict[int, Material]:
    """The material behind each number; -1 for faces that name none."""
    folded = {name.casefold(): material for name, material in reversed(known.items())}
    chosen: dict[int, Material] = {}
    for number, name in enumerate(names):
        plain = name.partition(" #")[0]  # a comment behind it
        material = known.get(name) or known.get(plain) or folded.get(plain.casefold())
        if material is not None:
            chosen[number] = material
        elif name:
            remark(f"material not found ({name})")
    if not names and len(known) == 1:  # a library of one material that nothing names: other viewers take it
        chosen[-1] = next(iter(known.values()))
    return chosen


def _parts(
    tables: _Tables,
    triangles: _Triangles,
    materials: dict[int, Material],
    shelf: TextureShelf,
    remark: Callable[[str], None],
) -> list[Part]:
    """The triangles of each material, the one that is named last first."""
    numbers, firsts = np.unique(triangles.materials, return_index=True)
    parts = []
    for number in numbers[np.argsort(-firsts)].tolist():
        group = triangles.some(triangles.materials == number)
        material = materials.get(number)
        if material is None:
            parts.append(_part(tables, group, None, False))
            continue
        if material.unread:
            remark(f"statements of materials not read ({', '.join(list(dict.fromkeys(material.unread))[:3])})")
        texture, has_colours = shelf.texture(material)
        textured = (group.uv >= 0).all(axis=1)
        if texture is not None and not textured.all():
            remark(f"faces of a texture without texture coordinates ({texture.info['file_path']})")
        for with_texture in (True, False):
            chosen = textured if with_texture else ~textured
            if texture is None:
                chosen = np.full(len(textured), not with_texture)
            if chosen.any():
                part = _part(tables, group.some(chosen), material, with_texture)
                if with_texture:
                    _take_texture(part, material, texture)
                    # exporters write any Kd, also black, beside a texture of colours
                    part.texture_instead = has_colours
                _take_colour(part, material, remark)
                parts.append(part)
    return parts


def _part(tables: _Tables, triangles: _Triangles, material: Material | None, textured: bool) -> Part:
    """Triangles as a part, each different combination of position, texture coordinate and normal a vertex."""
    columns = [triangles.corners.ravel()]
    if textured:
        columns.append(triangles.uv.ravel())
    if (triangles.normals >= 0).any():
        columns.append(triangles.normals.ravel())
    vertices, faces = _distinct(columns, len(tables.points))
    part = Part(tables.points[vertices[0]], faces.reshape(-1, 3))
    if textured:
        part.uv = tables.uv[vertices[1]]
    if (triangles.normals >= 0).any():
        part.normals = tables.normals[vertices[-1]]
        part.normals[vertices[-1] < 0] = np.nan
    # a texture shows what vertex colours also say; colours that are all white say nothing
    if tables.rgba is not None and not textured:
        rgba = tables.rgba[vertices[0]]
        given = ~np.isnan(rgba[:, 0])
        if given.any() and not (material is not None and given.all() and (rgba == 1).all()):
            part.vertex_rgba = rgba
    return part


def _distinct(columns: list[np.ndarray], count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The different rows of columns int64 [n], each column apart, and the row of each entry.

    Args:
        columns: the first one counts vertices.
        count: how many vertices there are.
    """
    first, *others = columns
    # mostly each vertex has one texture coordinate and one normal: then nothing has to be sorted
    partners = []
    for column in others:
        partner = np.full(count, -2)
        partner[first] = column
        if not np.array_equal(partner[first], column):
            break
        partners.append(partner)
    else:
        used = np.zeros(count, bool)
        used[first] = True
        number = np.cumsum(used) - 1
        vertices = np.flatnonzero(used)
        return [vertices, *(partner[vertices] for partner in partners)], number[first]
    key = first
    for column in others:
        width = int(column.max()) + 2
        if int(key.max()) >= 2**62 // width:
            key = np.unique(key, return_inverse=True)[1]
        key = key * width + (column + 1)
    _, index, inverse = np.unique(key, return_index=True, return_inverse=True)
    return [column[index] for column in columns], inverse


def _take_texture(part: Part, material: Material, texture: Any) -> None:
    """Give a part its texture, with the options of the material."""
    names = material.colour_map or material.opacity_map
    part.texture = texture
    if names is not None and part.uv is not None:
        if names.scale != (1, 1) or names.offset != (0, 0):
            part.uv = part.uv * np.array(names.scale, np.float32) + np.array(names.offset, np.float32)
        if names.clamp:
            part.wrap = ("clamp", "clamp")


def _take_colour(part: Part, material: Material, remark: Callable[[str], None]) -> None:
    """Give a part the colour and the opacity of its material."""
    opacity = 1.0 if material.opacity is None else material.opacity
    if opacity <= 0:
        opacity = 1.0
        remark(f"opacity 0 taken as opaque ({material.name})")
    opacity = max(opacity, LEAST_OPACITY)
    colour = material.colour
    if part.vertex_rgba is not None:
        # vertices without a colour, beside others, have that of the material
        missing = np.isnan(part.vertex_rgba[:, 0])
        part.vertex_rgba[missing] = [*(np.full(3, DEFAULT_GREY) if colour is None else colour), 1]
        colour = np.ones(3)
    if colour is None:
        if part.texture is None and opacity == 1:
            return
        colour = np.full(3, 1.0 if part.texture is not None else DEFAULT_GREY)
    rgba = np.array([*colour, opacity], np.float32)
    part.face_rgba = np.broadcast_to(rgba, (len(part.faces), 4))
