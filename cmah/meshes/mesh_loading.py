"""Triangle meshes with colour: loading, checking, normalising, sampling."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from cmah.errors import CmahError
from cmah.meshes.mesh import Mesh, surface_colours
from cmah.meshes.mesh_files import Part, read_parts
from cmah.meshes.mesh_resources import texture_texels
from cmah.workers import run_isolated

# what a surface shows that has no colour of its own
DEFAULT_GREY = 0.7
# opacity below which a point is in a hole; glass is never less opaque than 0.35
HOLE = 0.3
# cosine (60 degrees): normals that deviate more from their face are leftovers of a conversion, and are not used
SMOOTH = 0.5
# beyond this, positions differ by less than float64 can hold: the shape is lost already
MAX_CENTRE_TO_SIZE = 1e9


def load_mesh(path: str | Path, up_axis: str = "y") -> Mesh:
    """Read a mesh file, check it, turn it upright and normalise it to the unit sphere.

    The centre of the bounding box goes to the origin and the farthest vertex to distance 1; points and views
    share this frame. Only vertices that a face uses count. Foreign files can crash or bloat the code that reads
    them: call this in a worker process (see `points_of_mesh` and cmah.workers).

    Args:
        path: an .obj, .off, .ply, .stl, .glb or .gltf file.
        up_axis: "y", or "z" for files (such as ModelNet's) whose z axis points up: they are rotated by -90
            degrees about x, so (x, y, z) becomes (x, z, -y).

    Raises:
        CmahError: if it is unreadable, has no faces, no extent, no area, or coordinates that are not usable.
    """
    parts = read_parts(path)
    if not any(len(part.faces) for part in parts):
        raise CmahError(f"{path}: no faces")
    for part in parts:
        if part.vertices.ndim != 2 or part.vertices.shape[1] != 3 or part.faces.shape[1] != 3:
            raise CmahError(
                f"{path}: vertices that are not three coordinates, or faces that are not triangles"
            )
        if part.faces.min() < 0 or part.faces.max() >= len(part.vertices):
            raise CmahError(f"{path}: a face names a vertex that is not in the file")
    parts = [_used_vertices(part) for part in parts]
    vertices = _normalised(np.concatenate([part.vertices for part in parts]), path)
    if up_axis == "z":
        vertices = _z_up_to_y_up(vertices)
    counts = [len(part.vertices) for part in parts]
    offsets = np.cumsum([0, *counts[:-1]])
    faces = np.concatenate([part.faces + offset for part, offset in zip(parts, offsets, strict=True)])
    corners = vertices[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    doubled = np.linalg.norm(across, axis=1)
    if doubled.sum() < 1e-12:
        raise CmahError(f"{path}: no area (all faces are degenerate)")
    texels, textures, face_texture = _pack_textures(parts)
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
        normals = _z_up_to_y_up(normals)
    face_normals = (across / np.maximum(doubled, 1e-300)[:, None]).astype(np.float32)
    return Mesh(
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
    )


def _used_vertices(part: Part) -> Part:
    """The part without the vertices that no face uses: they would shift the bounding box."""
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


def _normalised(vertices: np.ndarray, path: str | Path) -> np.ndarray:
    """Float64 [v, 3] in the unit sphere about the centre of the bounding box."""
    if not np.isfinite(vertices).all():
        raise CmahError(f"{path}: coordinates that are not finite numbers")
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    size, middle = float((high / 2 - low / 2).max()), high / 2 + low / 2
    if size == 0:
        raise CmahError(f"{path}: no extent (all vertices lie in one point)")
    if size < 1e-100 or size > 1e100 or np.abs(middle).max() / size > MAX_CENTRE_TO_SIZE:
        raise CmahError(
            f"{path}: coordinates too large or too small to be normalised (up to {np.abs(high).max():g})"
        )
    centred = (vertices - middle) / size
    return centred / np.sqrt(np.einsum("ij,ij->i", centred, centred).max())


def _z_up_to_y_up(vectors: np.ndarray) -> np.ndarray:
    """Rotate by -90 degrees about x."""
    return np.stack([vectors[:, 0], vectors[:, 2], -vectors[:, 1]], axis=1)


def _smooth(normals: np.ndarray | None, faces: np.ndarray, face_normals: np.ndarray) -> np.ndarray:
    """Bool [f]: the normals at all corners of a face agree with the face itself, on either side of it."""
    if normals is None:
        return np.zeros(len(faces), bool)
    corners = normals[faces]
    with np.errstate(invalid="ignore", divide="ignore"):
        corners /= np.linalg.norm(corners, axis=2, keepdims=True)
    return (np.abs(np.einsum("fcd,fd->fc", corners, face_normals)) > SMOOTH).all(axis=1)


def _joined(values: list[np.ndarray | None], counts: list[int], width: int, fill: float) -> np.ndarray | None:
    """Per-vertex values of all parts as float32 [v, width], `fill` for parts without; None if none has any."""
    if all(value is None for value in values):
        return None
    blocks = [
        np.full((count, width), fill, np.float32) if value is None else value.astype(np.float32)
        for value, count in zip(values, counts, strict=True)
    ]
    return np.concatenate(blocks)


def _face_rgba(part: Part) -> np.ndarray:
    """Float32 [f, 4]: the file's colour, or white where texture or vertices give it, or grey."""
    plain = 1.0 if part.texture is not None or part.vertex_rgba is not None else DEFAULT_GREY
    default = np.array([plain, plain, plain, 1], np.float32)
    if part.face_rgba is None:
        return np.broadcast_to(default, (len(part.faces), 4))
    rgba = np.where(np.isnan(part.face_rgba), default, part.face_rgba)
    if part.texture is not None and part.texture_instead:
        rgba[:, :3] = 1
    return rgba


def _pack_textures(parts: list[Part]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decode each different texture once: texels, their table, and the texture of each face."""
    blocks, face_texture = [np.zeros((0, 4), np.uint8)], []
    table: list[tuple[int, int, int]] = []
    numbers: dict[tuple[object, str], int] = {}
    offset = 0
    for part in parts:
        number = -1
        if part.texture is not None and part.uv is not None:
            # OBJ opens a file once for each material that names it
            key = (part.texture.info.get("file_path", id(part.texture)), part.texture_alpha)
            if key not in numbers:
                texels = texture_texels(part.texture, part.texture_alpha)
                numbers[key] = -1 if texels is None else len(table)
                if texels is not None:
                    table.append((offset, texels.shape[0], texels.shape[1]))
                    blocks.append(texels.reshape(-1, 4))
                    offset += len(blocks[-1])
            number = numbers[key]
        if number < 0:
            part.texture = None  # only the texture is lost: the face keeps its material colour
        face_texture.append(np.full(len(part.faces), number, np.int32))
    packed = np.array(table, np.int64).reshape(-1, 3)
    return np.concatenate(blocks), packed, np.concatenate(face_texture)


def sample_points(mesh: Mesh, n: int, seed: int | list[int]) -> np.ndarray:
    """Draw points uniformly by area.

    Args:
        mesh: the mesh.
        n: how many.
        seed: of numpy's default generator; the same seed gives the same points.

    Returns:
        float32 [n, 6] (xyz, rgb in 0..1) if the mesh has colour, else float32 [n, 3].
    """
    generator = np.random.default_rng(seed)
    cumulative = np.cumsum(mesh.face_areas)
    points, colours = np.zeros((n, 3), np.float32), np.zeros((n, 4), np.float32)
    pending = np.arange(n)
    # holes cut by a texture's alpha (leaves, grids) are not surface: points in them are drawn again
    for _ in range(8):
        faces = np.searchsorted(cumulative, generator.random(len(pending)) * cumulative[-1], side="right")
        faces = np.minimum(faces, len(mesh.faces) - 1)
        root, part = np.sqrt(generator.random(len(pending))), generator.random(len(pending))
        weights = np.stack([1 - root, root * (1 - part), root * part], axis=1).astype(np.float32)
        points[pending] = np.einsum("nc,ncd->nd", weights, mesh.vertices[mesh.faces[faces]])
        if not mesh.coloured:
            return points
        colours[pending] = surface_colours(mesh, faces, weights)
        pending = pending[colours[pending, 3] < HOLE]
        if len(pending) == 0:
            break
    return np.concatenate([points, colours[:, :3].clip(0, 1)], axis=1)


def points_of_mesh(
    path: str | Path,
    n: int,
    up_axis: str = "y",
    *,
    time_limit: float = 60.0,
    memory_limit: float = 4.0,
) -> np.ndarray:
    """Load a mesh and sample its points in a process of its own, as `prepare` does: safe for foreign files.

    Args:
        path: the mesh file.
        n: how many points.
        up_axis: as for `load_mesh`.
        time_limit: seconds.
        memory_limit: GiB.

    Returns:
        float32 [n, 6] (xyz in the unit sphere, rgb in 0..1) if the mesh has colour, else float32 [n, 3].

    Raises:
        CmahError: if the mesh cannot be used, or its reader crashed or went beyond a limit.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "points.npy"
        mesh_path = str(Path(path).absolute())
        task = {"path": mesh_path, "out": str(out), "points": n, "up": up_axis}
        (outcome,) = run_isolated(
            "cmah.preparing.shape_task:write_points", [task], time_limit=time_limit, memory_limit=memory_limit
        )
        if outcome.value is None:
            raise CmahError(f"{path}: {outcome.reason.removeprefix(mesh_path + ': ')}")
        points: np.ndarray = np.load(out, allow_pickle=False)
        return points
