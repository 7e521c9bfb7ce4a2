"""PLY files: polygons and strips of triangles with colours, textures and materials, and point clouds.

Which properties mean what is not in the format; the names are those of the programs that write it: Stanford's, MeshLab,
Blender, CloudCompare, VTK, Open3D.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cmah.errors import CmahError
from cmah.meshes.colours import colours_in_01
from cmah.meshes.mesh_resources import open_texture
from cmah.meshes.mesh_text import grouped, runs
from cmah.meshes.part import NoFaces, Part
from cmah.meshes.ply_elements import PlyContent, read_elements
from cmah.meshes.ply_header import Element
from cmah.meshes.polygons import triangulate

COLOURS = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
OPACITIES = ("alpha", "a", "diffuse_alpha", "opacity")
TEXTURE_PAIRS = (
    ("s", "t"),
    ("u", "v"),
    ("texture_u", "texture_v"),
    ("texture_s", "texture_t"),
    ("tex_u", "tex_v"),
    ("texcoord_u", "texcoord_v"),
    ("tu", "tv"),
    ("tx", "ty"),
)
CORNER_LISTS = ("vertex_indices", "vertex_index", "vertex_indexes", "vertices", "indices")
CORNER_UV = ("texcoord", "texcoords", "texture_coordinates")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".tga")


@dataclass
class _Faces:
    """Polygons.

    Attributes:
        sizes: int64 [p], their corners.
        corners: int64 [c], the vertices of all polygons one after the other.
        uv: float32 [c, 2], texture coordinates of the corners (NaN where there are none), or None.
        textures: int64 [p], the number of the texture of each polygon.
        rgba: float32 [p, 4], NaN where there is none, or None.
    """

    sizes: np.ndarray
    corners: np.ndarray
    uv: np.ndarray | None
    textures: np.ndarray
    rgba: np.ndarray | None


def read_ply(path: Path, data: bytes, files: Any, remark: Callable[[str], None]) -> list[Part]:
    r"""Read a PLY file, as all formats are read for `read_parts`.

    Args:
        path: the file, for messages.
        data: its content.
        files: gives the textures that it names in comments.
        remark: called with a line for whatever is lost.

    Raises:
        CmahError: if it cannot be read, or has no faces; `ply_points` reads point clouds.

    Examples:
        >>> header = "ply\nformat ascii 1.0\nelement vertex 3\n" + "".join(f"property float {c}\n" for c in "xyz")
        >>> header += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
        >>> text = header + "0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
        >>> read_ply(Path("a.ply"), text.encode(), None, print)[0].faces.tolist()
        [[0, 1, 2]]
    """
    content = read_elements(path, data)
    vertex = content.elements.get("vertex")
    points = _columns(vertex, ("x", "y", "z"))
    if vertex is None or points is None:
        raise CmahError(f"{path}: no vertices (expected an element vertex with the properties x, y and z)")
    faces = _faces(path, content, remark)
    if faces is None:
        raise NoFaces(f"{path}: no faces (it is a cloud of {vertex.count} points)")
    if content.left_over:
        remark("data after the last element not read")
    if len(faces.corners) and not 0 <= faces.corners.min() <= faces.corners.max() < len(points):
        raise CmahError(
            f"{path}: a face names a vertex that is not in the file (expected 0 to {len(points) - 1})"
        )
    triangles, owners = triangulate(points, faces.corners, faces.sizes, remark)
    pictures = _pictures(content, files, remark)
    uv = _vertex_uv(vertex)
    if faces.uv is None and uv is not None:
        faces.uv = uv[faces.corners]
    textured = _textured(faces, triangles, owners, pictures, remark)
    edges = content.elements.get("edge")
    if edges is not None and edges.count:
        remark(f"lines not shown ({edges.count})")
    normals, rgba = _columns(vertex, ("nx", "ny", "nz")), _rgba(vertex)
    if rgba is not None and (textured >= 0).any():
        remark("colours of vertices under a texture not shown")
    parts = []
    for number, chosen in grouped(textured):
        corners = faces.corners[triangles[chosen]]
        if number < 0:
            part = Part(points, corners, normals=normals, vertex_rgba=rgba)
            if faces.rgba is not None and (rgba is None or (rgba == 1).all()):
                # those of vertices are finer, unless they are white all over and so say nothing
                part.vertex_rgba, part.face_rgba = None, faces.rgba[owners[chosen]]
            elif faces.rgba is not None:
                remark("colours of faces under those of vertices not shown")
        else:
            part = Part(points[corners].reshape(-1, 3), np.arange(corners.size).reshape(-1, 3))
            part.normals = None if normals is None else normals[corners].reshape(-1, 3)
            part.uv = faces.uv[triangles[chosen]].reshape(-1, 2) if faces.uv is not None else None
            part.texture, part.texture_instead = pictures[number], True
        parts.append(part)
    return parts


def _textured(
    faces: _Faces,
    triangles: np.ndarray,
    owners: np.ndarray,
    pictures: list[Image.Image | None],
    remark: Callable[[str], None],
) -> np.ndarray:
    """The number of the texture of each triangle, int64 [t], -1 for none."""
    if not pictures or faces.uv is None:
        if any(picture is not None for picture in pictures):
            remark("texture without its coordinates")
        return np.full(len(owners), -1)
    missing = int((faces.textures >= len(pictures)).sum())
    if missing:
        remark(f"texture not found (by its number, {missing} faces)")
    textured = np.clip(faces.textures[owners], -1, len(pictures))
    textured[np.isnan(faces.uv[triangles]).any(axis=(1, 2))] = -1
    textured[np.array([picture is None for picture in [*pictures, None]])[textured]] = -1
    return textured


def ply_points(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the vertices of a PLY file as a point cloud, whether it has faces or not.

    Returns:
        float64 [n, 3], xyz as in the file, and float32 [n, 3], rgb in 0..1, or None if its vertices have no colours.

    Raises:
        CmahError: if it cannot be read, or has no points.

    Examples:
        >>> header = "ply\\nformat ascii 1.0\\nelement vertex 1\\n" + "".join(f"property float {c}\\n" for c in "xyz")
        >>> header += "".join(f"property uchar {c}\\n" for c in ("red", "green", "blue")) + "end_header\\n"
        >>> _ = Path("cloud.ply").write_text(header + "1 2 3 255 0 51\\n")
        >>> [array.tolist() for array in ply_points("cloud.ply")]
        [[[1.0, 2.0, 3.0]], [[1.0, 0.0, 0.20000000298023224]]]
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CmahError(f"{path}: {error.strerror or error}") from None
    vertex = read_elements(path, data).elements.get("vertex")
    points = _columns(vertex, ("x", "y", "z"))
    if vertex is not None and vertex.count == 0:
        raise CmahError(f"{path}: no points (its element vertex is empty)")
    if vertex is None or points is None:
        raise CmahError(f"{path}: no points (expected an element vertex with the properties x, y and z)")
    rgba = _rgba(vertex)
    return points, None if rgba is None else rgba[:, :3]


def _columns(element: Element | None, names: tuple[str, ...]) -> np.ndarray | None:
    """Properties of an element, float64 [count, names]; None if it lacks one."""
    if element is None or any(name not in element.columns for name in names):
        return None
    return np.stack([element.columns[name] for name in names], axis=1).astype(np.float64)


def _rgba(element: Element) -> np.ndarray | None:
    """The colours of an element, float32 [count, 4] in 0..1, or None."""
    for names in COLOURS:
        given = _columns(element, names)
        if given is None:
            continue
        opacity = next((name for name in OPACITIES if name in element.columns), None)
        if opacity:
            given = np.column_stack([given, element.columns[opacity]])
        types = {prop.name: prop.dtype for prop in element.properties}
        if any(types[name].kind not in "iu" or types[name].itemsize > 2 for name in names):
            return colours_in_01([given])[0]
        # char for uchar is a common mistake: what is negative is meant to be large
        given = np.where(given < 0, given + 256, given)
        # numbers of one or two bytes have the scale of their type, but for one byte in a wider type
        scale = 65535 if types[names[0]].itemsize == 2 and given[:, :3].max(initial=0) > 255 else 255
        rgba = colours_in_01([given])[0]  # for the opacity, whose scale is another matter
        rgba[:, :3] = (given[:, :3] / scale).clip(0, 1)
        return rgba
    return None


def _vertex_uv(vertex: Element) -> np.ndarray | None:
    """The texture coordinates of the vertices, float32 [v, 2], or None."""
    for names in TEXTURE_PAIRS:
        uv = _columns(vertex, names)
        if uv is not None:
            return uv.astype(np.float32)
    return None


def _faces(path: Path, content: PlyContent, remark: Callable[[str], None]) -> _Faces | None:
    """The polygons of the elements face and tristrips, or None if there are none."""
    face = content.elements.get("face")
    strips = _strips(path, content.elements.get("tristrips"))
    if face is None or face.count == 0:
        if strips is None:
            return None
        return _Faces(np.full(len(strips), 3), strips.ravel(), None, np.zeros(len(strips), np.int64), None)
    name = next((name for name in CORNER_LISTS if name in face.lists), None)
    if name is None and len(face.lists) == 1 and not set(CORNER_UV) & face.lists.keys():
        name = next(iter(face.lists))
    if name is None:
        raise CmahError(f"{path}: faces without vertices (expected a list vertex_indices or vertex_index)")
    sizes, values = face.lists[name]
    with np.errstate(invalid="ignore"):
        corners = values.astype(np.int64)
    if values.dtype.kind == "f" and (corners != values).any():
        raise CmahError(f"{path}: a face names a vertex by something else than a whole number")
    rgba = _rgba(face)
    if rgba is None:
        rgba = _material_rgba(face, content.elements.get("material"), remark)
    number = face.columns.get("texnumber")
    textures = (
        np.zeros(face.count, np.int64) if number is None else np.nan_to_num(number, nan=-1).astype(np.int64)
    )
    uv = None
    given_uv = next((face.lists[name] for name in CORNER_UV if name in face.lists), None)
    if given_uv is not None:
        uv = np.full((len(corners), 2), np.nan, np.float32)
        lengths, pairs = given_uv
        given = lengths == 2 * sizes  # faces without texture coordinates have an empty list
        ends, firsts = np.cumsum(sizes) - sizes, np.cumsum(lengths) - lengths
        places = runs(ends[given], sizes[given])
        uv[places] = pairs[runs(firsts[given], lengths[given])].reshape(-1, 2)
    if strips is not None:
        remark(f"strips of triangles beside faces left out ({len(strips)} triangles)")
    return _Faces(sizes, corners, uv, textures, rgba)


def _material_rgba(
    face: Element, material: Element | None, remark: Callable[[str], None]
) -> np.ndarray | None:
    """The colours of faces that name materials by number, float32 [p, 4], NaN for none; None if no face does."""
    index = face.columns.get("material_index")
    if index is None or material is None:
        return None
    colours = _rgba(material)
    if colours is None:
        remark("materials without colours")
        return None
    number = np.nan_to_num(index, nan=-1).astype(np.int64)
    fits = (number >= 0) & (number < len(colours))
    if not fits.all():
        remark(f"material not found ({int((~fits).sum())} faces)")
    rgba = np.full((face.count, 4), np.nan, np.float32)
    rgba[fits] = colours[number[fits]]
    return rgba


def _strips(path: Path, element: Element | None) -> np.ndarray | None:
    """The triangles int64 [t, 3] of strips, in which every vertex makes one with the two before, and -1 begins anew."""
    if element is None or element.count == 0:
        return None
    name = next((name for name in CORNER_LISTS if name in element.lists), None)
    if name is None:
        raise CmahError(f"{path}: strips without vertices (expected a list vertex_indices)")
    lengths, values = element.lists[name]
    chain = np.insert(values.astype(np.int64), np.cumsum(lengths)[:-1], -1)
    triangles = (
        np.stack([chain[:-2], chain[1:-1], chain[2:]], axis=1)
        if len(chain) > 2
        else np.zeros((0, 3), np.int64)
    )
    # every second triangle of a strip runs the other way round
    breaks = np.maximum.accumulate(np.where(chain < 0, np.arange(len(chain)), -1))[: len(triangles)]
    odd = (np.arange(len(triangles)) - breaks) % 2 == 0
    triangles[odd] = triangles[odd][:, [1, 0, 2]]
    a, b, c = triangles.T
    return triangles[(triangles >= 0).all(axis=1) & (a != b) & (b != c) & (a != c)]


def _pictures(content: PlyContent, files: Any, remark: Callable[[str], None]) -> list[Image.Image | None]:
    """The textures that comments name, in their order; None for those that cannot be had."""
    names = []
    for comment in content.comments:
        key, _, name = comment.partition(" ")
        key, name = key.rstrip(":"), name.strip()
        if key.lower() == "texturefile" or (key.lower() == "texture" and name.lower().endswith(PICTURES)):
            names.append(name)
    opened: dict[str, Image.Image | None] = {}
    for name in filter(None, dict.fromkeys(names)):
        opened[name] = None
        try:
            opened[name] = open_texture(files.get(name), name)
        except FileNotFoundError:
            remark(f"texture not found ({name})")
        except OSError:
            remark(f"texture not readable ({name})")
    return [opened.get(name) for name in names]
