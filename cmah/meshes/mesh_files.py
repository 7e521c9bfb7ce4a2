"""Reading foreign mesh files: one reader a format, confined to a folder, with remarks on what is lost.

The files may be hostile: call this in a worker process (cmah.workers).
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from trimesh.resolvers import Resolver
from trimesh.visual import TextureVisuals

from cmah.errors import CmahError
from cmah.meshes import MESH_SUFFIXES
from cmah.meshes.mesh_resources import TEXTURE_PIXELS, ConfinedResolver
from cmah.meshes.obj import read_obj
from cmah.meshes.off import read_off
from cmah.meshes.part import LEAST_OPACITY, Part
from cmah.meshes.ply import read_ply
from cmah.meshes.stl import read_stl

# longer remarks are cut, and more of them from one file are not kept
REMARK_LENGTH = 120
MOST_REMARKS = 40


def read_parts(
    path: str | Path, *, root: str | Path | None = None, remarks: list[str] | None = None
) -> list[Part]:
    """Read a mesh file into its parts, with the transforms of its scene applied.

    Args:
        path: an .obj, .off, .ply, .stl, .glb or .gltf file.
        root: the folder outside which no file that the mesh names is read; by default the one in which it lies.
        remarks: takes a line for each thing that the file has and that is lost, such as
            "texture not found (wood.png)"; what stands in brackets differs from file to file.

    Raises:
        CmahError: if it cannot be read, with the reason.
        MemoryError: if it needs more memory than the process may take.

    Examples:
        >>> from cmah.synthetic.solids import Model
        >>> from cmah.synthetic.writing import write_glb
        >>> model = Model()
        >>> model.box(centre=(0, 0, 0), size=(1, 1, 1), colour=(1, 0, 0))
        >>> model.box(centre=(2, 0, 0), size=(1, 1, 1), colour=(0, 0, 1))
        >>> write_glb(model, Path("boxes.glb"))
        >>> [(len(part.faces), part.face_rgba[0].tolist()) for part in read_parts("boxes.glb")]
        [(12, [1.0, 0.0, 0.0, 1.0]), (12, [0.0, 0.0, 1.0, 1.0])]
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in MESH_SUFFIXES:
        raise CmahError(f"{path}: not a mesh file that can be read (expected {', '.join(MESH_SUFFIXES)})")
    if not path.is_file():
        raise CmahError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise CmahError(f"{path}: the file is empty")
    reader = {".obj": read_obj, ".off": read_off, ".ply": read_ply, ".stl": read_stl}.get(suffix, _read_gltf)
    noted: list[str] = [] if remarks is None else remarks
    try:
        return reader(path, path.read_bytes(), ConfinedResolver(path.parent, root), _short_remarks(noted))
    except CmahError as error:
        message = str(error)
        raise CmahError(message if message.startswith(f"{path}: ") else f"{path}: {message}") from None
    except MemoryError:
        raise
    except IndexError:
        raise CmahError(f"{path}: a face or object refers to something that is not in the file") from None
    except Exception as error:  # foreign data: the decoders below raise nearly anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CmahError(f"{path}: not readable as {suffix[1:].upper()} ({reason})") from None


def _short_remarks(remarks: list[str]) -> Callable[[str], None]:
    """A function that adds lines to a list, each once, without what cannot be printed, and not without end."""

    def remark(text: str) -> None:
        line = " ".join("".join(letter if letter.isprintable() else "?" for letter in text[:1000]).split())
        if len(line) > REMARK_LENGTH:
            line = line[: REMARK_LENGTH - 2] + "…" + (")" if line.endswith(")") else "")
        if line not in remarks and len(remarks) < MOST_REMARKS:
            remarks.append(line)

    return remark


def _read_gltf(path: Path, data: bytes, files: ConfinedResolver, remark: Callable[[str], None]) -> list[Part]:
    """Read a glTF file through trimesh."""
    Image.MAX_IMAGE_PIXELS = TEXTURE_PIXELS
    kind = path.suffix[1:].lower()
    scene = trimesh.load_scene(
        io.BytesIO(data), file_type=kind, resolver=_TrimeshResolver(files), process=False
    )
    return list(_parts(scene))


class _TrimeshResolver(Resolver):
    """Gives trimesh the files that a glTF file names."""

    def __init__(self, files: ConfinedResolver) -> None:
        self.files = files

    def get(self, key: str) -> bytes:
        return self.files.get(key)

    def keys(self) -> list[str]:
        return []

    def namespaced(self, namespace: str) -> "_TrimeshResolver":
        return self

    def write(self, name: str, data: Any) -> None:
        raise PermissionError(name)


def _parts(scene: trimesh.Scene) -> Iterator[Part]:
    """The triangle meshes of a scene, once for each node that contains them."""
    converted: dict[Any, Part] = {}
    for node in scene.graph.nodes_geometry:
        matrix, name = scene.graph[node]
        mesh = scene.geometry.get(name)
        if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0:
            continue
        if name not in converted:
            converted[name] = _part(mesh)
        part = converted[name]
        if np.array_equal(matrix, np.eye(4)):
            yield part
            continue
        linear = matrix[:3, :3]
        normals = part.normals
        if normals is not None:
            # normals transform by the cofactor matrix, which exists also where the transform is singular
            normals = normals @ np.cross(linear[[1, 2, 0]], linear[[2, 0, 1]]).T
        yield replace(part, vertices=part.vertices @ linear.T + matrix[:3, 3], normals=normals)


def _part(mesh: trimesh.Trimesh) -> Part:
    """One trimesh object as plain arrays."""
    part = Part(np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64))
    # trimesh computes normals on request: only those of the file are used, which lie in its cache
    if "vertex_normals" in mesh._cache:
        part.normals = np.asarray(mesh._cache["vertex_normals"], dtype=np.float64)
    visual: Any = mesh.visual
    if isinstance(visual, TextureVisuals):
        _take_material(part, visual)
    elif visual.kind == "vertex":
        part.vertex_rgba = _vertex_rgba(visual.vertex_colors, len(part.vertices))
    elif visual.kind == "face" and len(visual.face_colors) == len(part.faces):
        part.face_rgba = np.asarray(visual.face_colors, dtype=np.float32) / 255
    return part


def _take_material(part: Part, visual: TextureVisuals) -> None:
    """Fill in texture, uv and colours from a material."""
    material: Any = visual.material
    image, factor = material.baseColorTexture, material.baseColorFactor
    mode = material.alphaMode or "OPAQUE"
    part.texture_alpha = {"BLEND": "blend", "MASK": "mask"}.get(mode, "ignore")
    if factor is not None:
        factor = np.asarray(trimesh.visual.color.to_float(factor), dtype=np.float32)
        # glTF factors are linear light; multiplying encoded values is right as the curve is a power
        factor = np.append(_encode_srgb(factor[:3]), factor[3] if mode == "BLEND" else 1)
    uv = visual.uv
    if image is not None and uv is not None and np.shape(uv) == (len(part.vertices), 2):
        part.uv, part.texture = np.asarray(uv, dtype=np.float32), image
    colours = visual.vertex_attributes.get("color")
    if colours is not None:
        part.vertex_rgba = _vertex_rgba(colours, len(part.vertices))
    if factor is not None:
        if 0 < factor[3] < 1:
            factor[3] = max(factor[3], LEAST_OPACITY)
        elif factor[3] <= 0:
            factor[3] = 1
        part.face_rgba = np.broadcast_to(factor.astype(np.float32), (len(part.faces), 4))


def _vertex_rgba(colours: Any, count: int) -> np.ndarray | None:
    """Colours of vertices as float32 [count, 4] in 0..1 (sRGB), or None if they do not fit the vertices."""
    values = np.asarray(colours)
    if values.ndim != 2 or len(values) != count or values.shape[1] not in {3, 4}:
        return None
    rgba = np.ones((count, 4), np.float32)
    scale = float(np.iinfo(values.dtype).max) if values.dtype.kind in "iu" else 1.0
    rgba[:, : values.shape[1]] = values / scale
    rgba = np.nan_to_num(rgba, nan=1.0).clip(0, 1)
    rgba[:, :3] = _encode_srgb(rgba[:, :3])
    return rgba


def _encode_srgb(linear: np.ndarray) -> np.ndarray:
    """Convert linear light to display values, by the power 1/2.2."""
    return np.clip(linear, 0, 1) ** (1 / 2.2)
