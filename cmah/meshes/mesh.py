"""A triangle mesh ready for sampling and rendering, and the colour of any point of it."""

from dataclasses import dataclass, field

import numpy as np

WRAPS = ("repeat", "clamp", "mirror")
REPEAT, CLAMP, MIRROR = range(3)


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
        wraps: int8 [k, 2], what each texture does beyond 0..1 along u and v: the number of a word in WRAPS.
        remarks: what the file has and what is lost of it, such as "texture not found (wood.png)".

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
    wraps: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int8))
    remarks: tuple[str, ...] = ()

    @property
    def told(self) -> dict[str, list[str]]:
        """What a worker process adds to its answer: "remarks", if there are any.

        Examples:
            >>> from cmah.meshes.mesh_loading import load_mesh
            >>> load_mesh("demo/meshes/mug/mug_000.obj").told
            {}
        """
        return {"remarks": list(self.remarks)} if self.remarks else {}


def surface_colours(mesh: Mesh, faces: np.ndarray, weights: np.ndarray) -> np.ndarray:
    r"""The colour of surface points: face colour x interpolated vertex colour x texture (bilinear).

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
    """Bilinear samples float32 [n, 4] in 0..1 of the textures numbered `texture` at `uv`, wrapped as each says."""
    offset, height, width = mesh.textures[texture].T
    wraps = mesh.wraps[texture] if mesh.wraps.any() else None
    # texel i covers i to i + 1, so its centre lies at i + 0.5; rows count from the top, v from the bottom
    left, right, right_part = _neighbours(uv[:, 0], width, None if wraps is None else wraps[:, 0], False)
    top, bottom, lower_part = _neighbours(uv[:, 1], height, None if wraps is None else wraps[:, 1], True)
    upper, lower = offset + top * width, offset + bottom * width
    right_part, lower_part = right_part[:, None], lower_part[:, None]
    texels = mesh.texels
    above = texels[upper + left] * (1 - right_part) + texels[upper + right] * right_part
    below = texels[lower + left] * (1 - right_part) + texels[lower + right] * right_part
    return ((above * (1 - lower_part) + below * lower_part) / np.float32(255)).astype(np.float32)


def _neighbours(
    places: np.ndarray, size: np.ndarray, wraps: np.ndarray | None, upwards: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two texels [n] beside places along one axis, and the share of the second one.

    Args:
        places: float32 [n], u or v.
        size: int64 [n], texels along that axis.
        wraps: int8 [n], numbers of words in WRAPS, or None if all repeat.
        upwards: whether the axis runs against the order of the texels.
    """
    with np.errstate(invalid="ignore"):
        inside = np.nan_to_num(places - np.floor(places), nan=0.0, posinf=0.0, neginf=0.0)
        if wraps is not None:
            held = np.nan_to_num(places, nan=0.0, posinf=1.0, neginf=0.0)
            # there and back within every 2
            folded = 1 - np.abs(held - 2 * np.floor(held / 2) - 1)
            inside = np.where(wraps == REPEAT, inside, np.where(wraps == CLAMP, held.clip(0, 1), folded))
    if upwards:
        inside = 1 - inside
    at = inside * size.astype(np.float32) - np.float32(0.5)
    before = np.floor(at)
    share = at - before
    first = before.astype(np.int64)
    second = first + 1
    if wraps is None:
        first = first % size
        return first, (first + 1) % size, share
    wrapped = wraps == REPEAT
    return (
        np.where(wrapped, first % size, first.clip(0, size - 1)),
        np.where(wrapped, second % size, second.clip(0, size - 1)),
        share,
    )
