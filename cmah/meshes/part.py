"""A piece of a mesh file with one material, as every reader of a format gives it."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from cmah.errors import CmahError

# the grey, in 0..1, of a surface without a colour
DEFAULT_GREY = 0.7
# least opacity of a material: window panes and glasses stay visible; 0 is taken for opaque, as exporters write it
LEAST_OPACITY = 0.35


class NoFaces(CmahError):
    """A file that has points and no faces: a point cloud.

    Examples:
        >>> raise NoFaces("scan.ply: no faces (it is a cloud of 9 points)")
        Traceback (most recent call last):
        cmah.meshes.part.NoFaces: scan.ply: no faces (it is a cloud of 9 points)
    """


@dataclass
class Part:
    """A piece of a mesh with one material.

    Attributes:
        vertices: float64 [v, 3].
        faces: int64 [f, 3].
        normals: float64 [v, 3] as given by the file, or None.
        uv: float32 [v, 2], origin at the lower left of the texture, or None.
        vertex_rgba: float32 [v, 4] in 0..1 (sRGB), or None.
        face_rgba: float32 [f, 4] in 0..1 (sRGB), NaN rows for faces without a colour, or None.
        texture: the texture image, or None.
        texture_instead: whether the texture replaces `face_rgba`, rather than being multiplied with it.
        texture_alpha: "blend", "ignore", or "mask" (alpha below `alpha_cutoff` is a hole).
        alpha_cutoff: for "mask", in 0..1.
        wrap: what the texture does outside 0..1 along u and v: "repeat", "clamp" or "mirror".

    Examples:
        >>> from pathlib import Path
        >>> from cmah.synthetic.solids import Model
        >>> from cmah.synthetic.writing import write_off
        >>> box = Model()
        >>> box.box(centre=(0, 0, 0), size=(1, 1, 1), colour=(1, 0, 0))
        >>> write_off(box, Path("box.off"))  # a format with colours of vertices and without textures
        >>> from cmah.meshes.mesh_files import read_parts
        >>> (part,) = read_parts("box.off")
        >>> part.vertices.shape, part.faces.shape, part.vertex_rgba[0].tolist(), part.texture
        ((8, 3), (12, 3), [1.0, 0.0, 0.0, 1.0], None)
    """

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray | None = None
    uv: np.ndarray | None = None
    vertex_rgba: np.ndarray | None = None
    face_rgba: np.ndarray | None = None
    texture: Image.Image | None = None
    texture_instead: bool = False
    texture_alpha: str = "blend"
    alpha_cutoff: float = 0.5
    wrap: tuple[str, str] = ("repeat", "repeat")
