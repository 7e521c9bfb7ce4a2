"""A triangle mesh ready for sampling and rendering, and the colour of any point of it."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Mesh:
    """Triangles in the unit sphere, y up, with everything that colours their points.

    Attributes:
        vertices: float32 [v, 3], centre of the bounding box at the origin, largest distance from it 1.
        faces: int32 [f, 3].
        normals: float32 [v, 3] as the file gives them (NaN where it does not), or None if nowhere.
        smooth: bool [f], whether `normals` agree with the face and are used: see SMOOTH in cmah.meshes.mesh_loading.
        face_normals: float32 [f, 3], unit length (zero for a face without area).
        face_areas: float64 [f].
        face_rgba: float32 [f, 4] in 0..1.
        vertex_rgba: float32 [v, 4] in 0..1, or None.
        uv: float32 [v, 2], or None.
        face_texture: int32 [f], the number of the texture, -1 for none.
        texels: uint8 [t, 4], all textures one after the other, row by row.
        textures: int64 [k, 3], for each texture its offset in `texels`, its height and its width.
        coloured: whether the file has any colours.
        opaque: whether no point lets light through.

    Examples:
        A box of 2 x 2 x 1, whose corners lie 1.5 from its centre:

        >>> from pathlib import Path
        >>> from cmah.meshes.mesh_loading import load_mesh
        >>> from cmah.synthetic.solids import Model
        >>> from cmah.synthetic.writing import write_off
        >>> box = Model()
        >>> box.box(centre=(7, 7, 7), size=(2, 2, 1), colour=(1, 0, 0))
        >>> write_off(box, Path("box.off"))
        >>> mesh = load_mesh("box.off")
        >>> mesh.vertices.shape, mesh.faces.shape, mesh.coloured, mesh.opaque
        ((8, 3), (12, 3), True, True)
        >>> (1.5 * mesh.vertices.max(axis=0)).round(3).tolist()
        [1.0, 1.0, 0.5]
    """

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray | None
    smooth: np.ndarray
    face_normals: np.ndarray
    face_areas: np.ndarray
    face_rgba: np.ndarray
    vertex_rgba: np.ndarray | None
    uv: np.ndarray | None
    face_texture: np.ndarray
    texels: np.ndarray
    textures: np.ndarray
    coloured: bool
    opaque: bool


def surface_colours(mesh: Mesh, faces: np.ndarray, weights: np.ndarray) -> np.ndarray:
    r"""The colour of surface points: face colour x interpolated vertex colour x texture (repeated, bilinear).

    Args:
        mesh: the mesh.
        faces: int [n], the face on which each point lies.
        weights: float32 [n, 3], barycentric weights of the corners of that face.

    Returns:
        float32 [n, 4], RGBA in 0..1.

    Examples:
        Half way between the red and the green corner of a triangle:

        >>> from pathlib import Path
        >>> from cmah.meshes.mesh_loading import load_mesh
        >>> corners = "0 0 0 255 0 0\n1 0 0 0 255 0\n0 1 0 0 0 255\n"
        >>> _ = Path("triangle.off").write_text(f"COFF\n3 1 0\n{corners}3 0 1 2\n")
        >>> weights = np.array([[0.5, 0.5, 0]], np.float32)
        >>> surface_colours(load_mesh("triangle.off"), np.array([0]), weights).tolist()
        [[0.5, 0.5, 0.0, 1.0]]
    """
    rgba = mesh.face_rgba[faces]
    if mesh.vertex_rgba is not None:
        rgba *= np.einsum("nc,ncd->nd", weights, mesh.vertex_rgba[mesh.faces[faces]])
    if mesh.uv is not None and len(mesh.textures):
        texture = mesh.face_texture[faces]
        textured = np.flatnonzero(texture >= 0)
        if len(textured):
            uv = np.einsum("nc,ncd->nd", weights[textured], mesh.uv[mesh.faces[faces[textured]]])
            rgba[textured] *= _texture_lookup(mesh, texture[textured], uv)
    return rgba


def _texture_lookup(mesh: Mesh, texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear samples float32 [n, 4] in 0..1 of the textures numbered `texture` at `uv`, repeated beyond 0..1."""
    offset, height, width = mesh.textures[texture].T
    with np.errstate(invalid="ignore"):
        uv = np.nan_to_num(uv - np.floor(uv), nan=0.0, posinf=0.0, neginf=0.0)
    # texel i covers i to i + 1, so its centre lies at i + 0.5; rows count from the top, v from the bottom
    x = uv[:, 0] * width.astype(np.float32) - np.float32(0.5)
    y = (1 - uv[:, 1]) * height.astype(np.float32) - np.float32(0.5)
    left, top = np.floor(x), np.floor(y)
    right_part, lower_part = (x - left)[:, None], (y - top)[:, None]
    left_column, upper_row = left.astype(np.int64) % width, top.astype(np.int64) % height
    right_column, lower_row = (left_column + 1) % width, (upper_row + 1) % height
    upper, lower = offset + upper_row * width, offset + lower_row * width
    texels = mesh.texels
    above = texels[upper + left_column] * (1 - right_part) + texels[upper + right_column] * right_part
    below = texels[lower + left_column] * (1 - right_part) + texels[lower + right_column] * right_part
    return ((above * (1 - lower_part) + below * lower_part) / np.float32(255)).astype(np.float32)
