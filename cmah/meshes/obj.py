"""OBJ files: polygons with colours, normals and texture coordinates, and the materials that they name.

Format: https://paulbourke.net/dataformats/obj/, with vertex colours behind the coordinates as MeshLab writes them, or
in comments as ZBrush does. Free-form curves and surfaces are left out. `obj_faces` reads the corners of faces.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cmah.errors import CmahError
from cmah.meshes.colours import colours_in_01
from cmah.meshes.mesh_resources import unquoted
from cmah.meshes.mesh_text import TextLines, folded_name, joined_lines, plain_text, uneven_rows
from cmah.meshes.mtl import Material, read_mtl
from cmah.meshes.mtl_textures import TextureShelf
from cmah.meshes.obj_faces import read_faces
from cmah.meshes.obj_parts import ObjTables, ObjTriangles, parts_of
from cmah.meshes.part import Part
from cmah.meshes.polygons import triangulate

# statements without a meaning for what is seen: groups, names, smoothing, render settings
PASSED = {
    "#",
    "o",
    "g",
    "s",
    "mg",
    "bevel",
    "c_interp",
    "d_interp",
    "lod",
    "shadow_obj",
    "trace_obj",
    "vp",
    "end",
}
FREE_FORM = {"curv", "curv2", "surf", "bsp", "bzp", "cdc", "cdp", "res"}
# these only belong to curves and surfaces
OF_FREE_FORM = {
    "cstype",
    "deg",
    "bmat",
    "step",
    "parm",
    "trim",
    "hole",
    "scrv",
    "sp",
    "con",
    "ctech",
    "stech",
}
MOST_LIBRARIES, LONGEST_LINE = 100, 4096
QUOTED = re.compile(r"""(?:"[^"]+"|'[^']+')""")
ZBRUSH = re.compile(rb"^#MRGB[ ]+((?:[0-9a-fA-F]{8})+)", re.MULTILINE)


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
        >>> from cmah.meshes.mesh_resources import ConfinedResolver
        >>> (part,) = read_obj(Path("a.obj"), text, ConfinedResolver("."), print)
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
    triangles, owners = triangulate(tables.points, faces.corners, sizes, remark)
    if len(triangles) == 0:
        return []
    distinct = list(dict.fromkeys(names))
    number_of = {name: number for number, name in enumerate(distinct)}
    numbers = np.array([-1, *(number_of[name] for name in names)])
    materials = numbers[np.searchsorted(np.array(name_lines, np.int64), face_lines)]
    cut = ObjTriangles(
        faces.corners[triangles],
        faces.uv[triangles],
        faces.normals[triangles],
        materials[owners],
        sizes[owners],
        np.arange(len(owners)) - np.searchsorted(owners, owners),
    )
    if names and not libraries and _had(files, f"{path.stem}.mtl"):  # exporters that forget to name it
        libraries = [f"{path.stem}.mtl"]
    known = _materials(path, libraries, files, remark) if libraries else {}
    return parts_of(tables, cut, _chosen(distinct, known, remark), TextureShelf(files, remark), remark)


def _tables(
    path: Path, lines: TextLines, kinds: dict[str, np.ndarray], zbrush: bytes, remark: Callable[[str], None]
) -> ObjTables:
    """The vertices with their colours, the texture coordinates and the normals."""
    values, counts = _numbers(path, lines, kinds["v"], b"v", 3)
    points = uneven_rows(values, counts, 3)
    rgba = None
    coloured = (counts == 6) | (counts == 7)
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
    return ObjTables(points, rgba, uv, uneven_rows(values, counts, 3))


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
        raise CmahError(f"{path}: line {bad + 1}: expected {many}, got {lines.quoted(bad)}")
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
    for key, what in (("l", "lines"), ("p", "points")):
        if key in lost:
            remark(f"{what} not shown ({lost.pop(key)})")
    free_form = sum(lost.pop(key, 0) for key in FREE_FORM)
    if free_form:
        remark(f"free-form curves and surfaces not shown ({free_form})")
    if lost:
        remark(f"statements not read ({', '.join(list(lost)[:3])})")
    return names, name_lines, libraries


def _materials(
    path: Path, libraries: list[str], files: Any, remark: Callable[[str], None]
) -> dict[str, Material]:
    """The materials of all libraries; of two with one name, the one that comes first."""
    names: list[str] = []
    for line in dict.fromkeys(libraries):
        # several names, or one with blanks; some write each in quotation marks
        text = line[:LONGEST_LINE]
        parts = QUOTED.findall(text) if text[:1] in {'"', "'"} else []
        parts = parts or re.findall(r"\S.*?\.mtl(?=\s|$)", text, re.IGNORECASE)
        parts = parts or line.split()[:MOST_LIBRARIES]
        one = len(parts) == 1 or (not all(_had(files, name) for name in parts) and _had(files, line))
        names += [line] if one and len(parts) > 1 else parts
        if len(names) > MOST_LIBRARIES:
            remark(f"material libraries not read (beyond {MOST_LIBRARIES})")
            break
    materials: dict[str, Material] = {}
    missing = []
    for name in list(dict.fromkeys(names))[:MOST_LIBRARIES]:
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
    folded = {folded_name(unquoted(name)): material for name, material in reversed(known.items())}
    chosen: dict[int, Material] = {}
    for number, name in enumerate(names):
        plain = name.partition(" #")[0]  # a comment behind it
        material = known.get(name) or known.get(plain) or folded.get(folded_name(unquoted(plain)))
        if material is not None:
            chosen[number] = material
        elif name:
            remark(f"material not found ({name})")
    if not names and len(known) == 1:  # a library of one material that nothing names: other viewers take it
        chosen[-1] = next(iter(known.values()))
    elif not names and known:
        remark(f"materials that no face names ({len(known)})")
    return chosen
