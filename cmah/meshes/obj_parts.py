"""The parts of an OBJ file: its triangles with their materials, textures and colours."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from PIL import Image

from cmah.meshes.mesh_text import grouped
from cmah.meshes.mtl import Material
from cmah.meshes.mtl_textures import TextureShelf
from cmah.meshes.part import DEFAULT_GREY, LEAST_OPACITY, Part


@dataclass
class ObjTables:
    """The numbers of an OBJ file.

    Attributes:
        points: float64 [v, 3].
        rgba: float32 [v, 4] in 0..1, NaN for vertices without a colour, or None.
        uv: float32 [t, 2].
        normals: float64 [n, 3].

    Examples:
        >>> ObjTables(np.eye(3), None, np.zeros((0, 2), np.float32), np.zeros((0, 3))).points.shape
        (3, 3)
    """

    points: np.ndarray
    rgba: np.ndarray | None
    uv: np.ndarray
    normals: np.ndarray


@dataclass
class ObjTriangles:
    """Triangles with the material of each.

    Attributes:
        corners: int64 [t, 3], numbers of vertices.
        uv: int64 [t, 3], numbers of texture coordinates, -1 where there are none.
        normals: int64 [t, 3], likewise.
        materials: int64 [t], numbers of names; -1 before the first one.
        sizes: int64 [t], the corners of the polygon that each was cut from.
        places: int64 [t], which triangle of it each is.

    Examples:
        >>> corners, no = np.array([[0, 1, 2], [0, 2, 3]]), np.full((2, 3), -1)
        >>> quad = ObjTriangles(corners, no, no, np.zeros(2, int), np.full(2, 4), np.arange(2))
        >>> quad.some(quad.places == 1).corners.tolist()
        [[0, 2, 3]]
    """

    corners: np.ndarray
    uv: np.ndarray
    normals: np.ndarray
    materials: np.ndarray
    sizes: np.ndarray
    places: np.ndarray

    def some(self, chosen: np.ndarray) -> "ObjTriangles":
        """The triangles chosen by bool [t], or by their numbers, int64.

        Examples:
            >>> corners, no = np.array([[0, 1, 2]]), np.full((1, 3), -1)
            >>> one = ObjTriangles(corners, no, no, np.zeros(1, int), np.full(1, 3), np.zeros(1, int))
            >>> one.some(np.array([0, 0])).corners.tolist()
            [[0, 1, 2], [0, 1, 2]]
        """
        return ObjTriangles(*(getattr(self, column.name)[chosen] for column in fields(self)))


def parts_of(
    tables: ObjTables,
    triangles: ObjTriangles,
    materials: dict[int, Material],
    shelf: TextureShelf,
    remark: Callable[[str], None],
) -> list[Part]:
    """The triangles of each material as parts.

    Args:
        tables: the numbers of the file.
        triangles: its triangles, at least one.
        materials: the material behind each number.
        shelf: gives the textures.
        remark: called with a line for whatever is lost.

    Returns:
        The parts, those of the material that is named last first; those with a texture apart from those without.

    Examples:
        >>> zero, no = np.zeros(1, np.int64), np.full((1, 3), -1)
        >>> tables = ObjTables(np.eye(3), None, np.zeros((0, 2), np.float32), np.zeros((0, 3)))
        >>> one = ObjTriangles(np.array([[0, 1, 2]]), no, no, zero, zero + 3, zero)
        >>> red = Material("red", colour=np.array([1.0, 0, 0]))
        >>> parts_of(tables, one, {0: red}, TextureShelf(None, print), print)[0].face_rgba.tolist()
        [[1.0, 0.0, 0.0, 1.0]]
    """
    groups = sorted(grouped(triangles.materials), key=lambda group: -int(group[1][0]))
    parts = []
    for number, places in groups:
        group = triangles.some(places) if len(groups) > 1 else triangles
        if (group.sizes == 4).all():
            # first triangles first: points are sampled in this order, and so stay what they were in earlier versions
            group = group.some(np.argsort(group.places, kind="stable"))
        material = materials.get(number)
        if material is None:
            parts.append(_part(tables, group, None, False))
            _take_colour(parts[-1], Material(""), remark)
            continue
        if material.unread:
            unread = ", ".join(list(dict.fromkeys(material.unread))[:3])
            remark(f"statements of materials not read ({unread})")
        texture, has_colours = shelf.texture(material)
        textured = np.all(group.uv >= 0, axis=1)
        if texture is not None and not textured.all():
            remark(f"texture without its coordinates ({texture.info['file_path']})")
        for with_texture in (True, False):
            chosen = textured if with_texture else ~textured
            if texture is None:
                chosen = np.full(len(textured), not with_texture)
            if chosen.any():
                part = _part(tables, group.some(chosen), material, with_texture)
                if with_texture and tables.rgba is not None:
                    remark("colours of vertices under a texture not shown")
                if with_texture:
                    _take_texture(part, material, texture)
                    # exporters write any Kd, also black, beside a texture of colours
                    part.texture_instead = has_colours
                _take_colour(part, material, remark)
                parts.append(part)
    return parts


def _part(tables: ObjTables, triangles: ObjTriangles, material: Material | None, textured: bool) -> Part:
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
    partners = []
    # mostly each vertex has one texture coordinate and one normal: then nothing has to be sorted
    for column in others if len(first) > count // 8 else ():
        partner = np.full(count, -2)
        partner[first] = column
        if not np.array_equal(partner[first], column):
            break
        partners.append(partner)
    if len(partners) == len(others) and len(first) > count // 8:
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


def _take_texture(part: Part, material: Material, texture: Image.Image | None) -> None:
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
    # in steps of 1/255, as in earlier versions
    rgba = np.array([*(np.round(255 * np.asarray(colour)) / 255), opacity], np.float32)
    part.face_rgba = np.broadcast_to(rgba, (len(part.faces), 4))
