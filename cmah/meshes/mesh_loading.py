"""From a mesh file to a `Mesh`: checked, turned upright, normalised to the unit sphere, its textures packed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from cmah.errors import CmahError
from cmah.meshes.mesh import WRAPS, Mesh, surface_colours
from cmah.meshes.mesh_files import read_parts
from cmah.meshes.mesh_resources import texture_texels
from cmah.meshes.part import DEFAULT_GREY, Part

# least cosine (of 60 degrees) between a normal and its face: others are leftovers of a conversion, and are not used
SMOOTH = 0.5
# beyond this, the differences of positions are smaller than float64 can hold: the shape is lost already
MAX_CENTRE_TO_SIZE = 1e9
# a mesh whose most opaque point is no more opaque than this would leave its views empty
VANISHING = 1 / 32
# so many places are looked at before a mesh is said to be all transparent
LOOKS = 50_000


def load_mesh(path: str | Path, up_axis: str = "y", *, root: str | Path | None = None) -> Mesh:
    """Read a mesh file, check it, turn it upright and normalise it to the unit sphere.

    The centre of the bounding box goes to the origin and the farthest vertex to distance 1; points and views
    share this frame. Only vertices that belong to a face count. Foreign files can crash or bloat the code that reads
    them: call this in a worker process (see cmah.meshes.point_sampling and cmah.workers).

    Args:
        path: an .obj, .off, .ply, .stl, .glb or .gltf file.
        up_axis: "y", or "z" for files (such as ModelNet's) whose z axis points up: they are rotated by -90
            degrees about x, so (x, y, z) becomes (x, z, -y).
        root: the folder outside which no file that the mesh names is read; by default the one in which it lies.

    Raises:
        CmahError: if the file cannot be read, or has no faces, no extent, no area or unusable coordinates.

    Examples:
        A tower whose z axis points up stands upright afterwards:

        >>> from cmah.synthetic.solids import Model
        >>> from cmah.synthetic.writing import write_off
        >>> tower = Model()
        >>> tower.box(centre=(5, 5, 3), size=(2, 3, 6), colour=(1, 0, 0))
        >>> write_off(tower, Path("tower.off"))
        >>> mesh = load_mesh("tower.off", up_axis="z")
        >>> (3.5 * np.ptp(mesh.vertices, axis=0)).round(3).tolist()  # its corners lay 3.5 from its centre
        [2.0, 6.0, 3.0]
    """
    remarks: list[str] = []
    parts = read_parts(path, root=root, remarks=remarks)
    if not any(len(part.faces) for part in parts):
        others = [
            remark for remark in remarks if "not shown" in remark or "not read" in remark
        ]  # such as lines, free-form surfaces, or statements in capitals
        raise CmahError(f"{path}: no faces" + (f" ({'; '.join(others)})" if others else ""))
    for part in parts:
        if part.vertices.ndim != 2 or part.vertices.shape[1] != 3 or part.faces.shape[1] != 3:
            raise CmahError(
                f"{path}: vertices that are not three coordinates, or faces that are not triangles"
            )
        if part.faces.min() < 0 or part.faces.max() >= len(part.vertices):
            raise CmahError(f"{path}: a face names a vertex that is not in the file")
    parts = [_used_vertices(part) for part in parts]
    vertices = in_unit_sphere(np.concatenate([part.vertices for part in parts]), path)
    if up_axis == "z":
        vertices = z_up_to_y_up(vertices)
    counts = [len(part.vertices) for part in parts]
    offsets = np.cumsum([0, *counts[:-1]])
    faces = np.concatenate([part.faces + offset for part, offset in zip(parts, offsets, strict=True)])
    corners = vertices[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    doubled = np.linalg.norm(across, axis=1)
    if doubled.sum() < 1e-12:
        raise CmahError(f"{path}: no area (all faces are degenerate)")
    texels, textures, wraps, face_texture = _pack_textures(parts, remarks)
    coloured = any(
        p.texture is not None or p.vertex_rgba is not None or p.face_rgba is not None for p in parts
    )
    face_rgba = np.concatenate([_face_rgba(part) for part in parts])
    vertex_rgba = _joined([part.vertex_rgba for part in parts], counts, 4, 1.0)
    alphas = [values[:, 3].min(initial=1) for values in (face_rgba, texels / np.float32(255))]
    if vertex_rgba is not None:
        alphas.append(vertex_rgba[:, 3].min())
    normals = _joined([part.normals for part in parts], counts, 3, np.nan)
    if normals is not None and up_axis == "z":
        normals = z_up_to_y_up(normals)
    face_normals = (across / np.maximum(doubled, 1e-300)[:, None]).astype(np.float32)
    mesh = Mesh(
        vertices.astype(np.float32),
        faces.astype(np.int32),
        normals,
        _smooth(normals, faces, face_normals),
        face_normals,
        doubled / 2,
        face_rgba,
        vertex_rgba,
        _joined([part.uv for part in parts], counts, 2, 0.0),
        face_texture,
        texels,
        textures,
        coloured,
        opaque=bool(min(alphas) > 0.99),
        wraps=wraps,
    )
    if not mesh.opaque:
        _show_what_vanishes(mesh, remarks)
    mesh.remarks = tuple(dict.fromkeys(remarks))
    return mesh


def _show_what_vanishes(mesh: Mesh, remarks: list[str]) -> None:
    """Take a mesh as opaque that cannot be seen anywhere: files have an opacity of 0 where none was meant."""
    everywhere = np.arange(len(mesh.faces))
    middle = np.full((len(everywhere), 3), 1 / 3, np.float32)
    if surface_colours(mesh, everywhere, middle)[:, 3].max() > VANISHING:
        return
    generator = np.random.default_rng(0)
    faces = generator.choice(len(everywhere), LOOKS, p=mesh.face_areas / mesh.face_areas.sum())
    weights = generator.dirichlet([1, 1, 1], LOOKS).astype(np.float32)
    if surface_colours(mesh, faces, weights)[:, 3].max() > VANISHING:
        return
    remarks.append("all transparent, taken as opaque")
    mesh.face_rgba[:, 3] = 1
    mesh.texels[:, 3] = 255
    if mesh.vertex_rgba is not None:
        mesh.vertex_rgba[:, 3] = 1
    mesh.opaque = True


def _used_vertices(part: Part) -> Part:
    """The part without vertices that belong to no face: they would shift the bounding box."""
    used = np.zeros(len(part.vertices), bool)
    used[part.faces] = True
    if used.all():
        return part
    number = np.cumsum(used) - 1

    def kept(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[used]

    return replace(
        part,
        vertices=part.vertices[used],
        faces=number[part.faces],
        normals=kept(part.normals),
        uv=kept(part.uv),
        vertex_rgba=kept(part.vertex_rgba),
    )


def in_unit_sphere(vertices: np.ndarray, path: str | Path, called: str = "vertices") -> np.ndarray:
    """Move the centre of the bounding box to the origin and the farthest vertex to distance 1.

    Args:
        vertices: float64 [v, 3].
        path: of the file, for messages.
        called: what they are called in messages.

    Returns:
        float64 [v, 3].

    Raises:
        CmahError: if they are not finite, all the same, or too large or small for their differences to be told.

    Examples:
        >>> in_unit_sphere(np.array([[3.0, 0, 0], [7, 0, 0]]), "a.obj").tolist()
        [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    """
    if not np.isfinite(vertices).all():
        raise CmahError(f"{path}: coordinates that are not finite numbers")
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    size, middle = float((high / 2 - low / 2).max()), high / 2 + low / 2
    if size == 0:
        raise CmahError(f"{path}: no extent (all {called} lie in one place)")
    if size < 1e-100 or size > 1e100 or np.abs(middle).max() / size > MAX_CENTRE_TO_SIZE:
        raise CmahError(
            f"{path}: coordinates too large or too small to be normalised (up to {np.abs(high).max():g})"
        )
    centred = (vertices - middle) / size
    return centred / np.sqrt(np.einsum("ij,ij->i", centred, centred).max())


def z_up_to_y_up(vectors: np.ndarray) -> np.ndarray:
    """Rotate by -90 degrees about x; columns after the third, such as colours, stay.

    Examples:
        >>> z_up_to_y_up(np.array([[1, 2, 3, 0.5]])).tolist()
        [[1.0, 3.0, -2.0, 0.5]]
    """
    turned = np.stack([vectors[:, 0], vectors[:, 2], -vectors[:, 1]], axis=1)
    return np.concatenate([turned, vectors[:, 3:]], axis=1)


def _smooth(normals: np.ndarray | None, faces: np.ndarray, face_normals: np.ndarray) -> np.ndarray:
    """Bool [f]: whether the normals at all corners of a face agree with its direction, up to the sign."""
    if normals is None:
        return np.zeros(len(faces), bool)
    corners = normals[faces]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        corners /= np.linalg.norm(corners, axis=2, keepdims=True)
    return (np.abs(np.einsum("fcd,fd->fc", corners, face_normals)) > SMOOTH).all(axis=1)


def _joined(values: list[np.ndarray | None], counts: list[int], width: int, fill: float) -> np.ndarray | None:
    """Per-vertex values of all parts as float32 [v, width], `fill` in parts without any; None if no part has any."""
    if all(value is None for value in values):
        return None
    with np.errstate(over="ignore"):  # normals and texture coordinates of any size do no harm
        blocks = [
            np.full((count, width), fill, np.float32) if value is None else value.astype(np.float32)
            for value, count in zip(values, counts, strict=True)
        ]
    return np.concatenate(blocks)


def _face_rgba(part: Part) -> np.ndarray:
    """Float32 [f, 4]: the file's colour; without one, white where texture or vertices give the colour, else grey."""
    plain = 1.0 if part.texture is not None or part.vertex_rgba is not None else DEFAULT_GREY
    default = np.array([plain, plain, plain, 1], np.float32)
    if part.face_rgba is None:
        return np.broadcast_to(default, (len(part.faces), 4))
    rgba = np.where(np.isnan(part.face_rgba), default, part.face_rgba)
    if part.texture is not None and part.texture_instead:
        rgba[:, :3] = 1
    return rgba


def _pack_textures(
    parts: list[Part], remarks: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Decode each different texture once: the texels, the table of textures, their wraps, the texture of each face."""
    blocks, face_texture = [np.zeros((0, 4), np.uint8)], []
    decoded: dict[tuple[int, str, float], tuple[int, int, int] | None] = {}
    numbers: dict[tuple[tuple[int, str, float], tuple[str, str]], int] = {}
    offset = 0
    for part in parts:
        place = None
        if part.texture is not None and part.uv is not None:
            picture = (id(part.texture), part.texture_alpha, part.alpha_cutoff)
            if picture not in decoded:
                texels = texture_texels(part.texture, part.texture_alpha, part.alpha_cutoff)
                decoded[picture] = None if texels is None else (offset, texels.shape[0], texels.shape[1])
                if texels is None:
                    remarks.append(f"texture not readable ({_name(part.texture)})")
                else:
                    if part.texture_instead and not texels[..., 3].any():
                        remarks.append(f"texture all transparent, taken as opaque ({_name(part.texture)})")
                        texels[..., 3] = 255
                    blocks.append(texels.reshape(-1, 4))
                    offset += len(blocks[-1])
            place = decoded[picture]
            if place is not None:
                number = numbers.setdefault((picture, part.wrap), len(numbers))
        if place is None:
            part.texture = None  # only the texture is missing: the face keeps the colour of its material
            number = -1
        face_texture.append(np.full(len(part.faces), number, np.int32))
    table = np.array([decoded[picture] for picture, _ in numbers], np.int64).reshape(-1, 3)
    wraps = np.array([[WRAPS.index(way) for way in wrap] for _, wrap in numbers], np.int8).reshape(-1, 2)
    return np.concatenate(blocks), table, wraps, np.concatenate(face_texture)


def _name(texture: Image.Image) -> str:
    """The file of a texture, for remarks."""
    return str(texture.info.get("file_path", "in the mesh file"))
