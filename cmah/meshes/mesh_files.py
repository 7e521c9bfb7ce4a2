"""Reading foreign mesh files through trimesh: confined resources, flattened scenes, materials as plain arrays.

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
from trimesh.visual import TextureVisuals

from cmah.errors import CmahError
from cmah.meshes import MESH_SUFFIXES
from cmah.meshes.gltf import read_gltf
from cmah.meshes.mesh_resources import TEXTURE_PIXELS, ConfinedResolver
from cmah.meshes.obj_text import absolute_indices, as_utf8
from cmah.meshes.off import read_off
from cmah.meshes.part import LEAST_OPACITY, Part


def read_parts(path: str | Path, *, remarks: list[str] | None = None) -> list[Part]:
    """Read a mesh file into its parts, with the transforms of its scene applied.

    Args:
        path: an .obj, .off, .ply, .stl, .glb or .gltf file.
        remarks: takes a short text for whatever is accepted but lost.

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
    if suffix == ".off":
        off = read_off(path)
        return [Part(off.vertices, off.faces, vertex_rgba=off.vertex_rgba, face_rgba=off.face_rgba)]
    Image.MAX_IMAGE_PIXELS = TEXTURE_PIXELS
    try:
        data = path.read_bytes()
        if suffix in {".glb", ".gltf"}:
            return read_gltf(path, data, ConfinedResolver(path.parent), _collector(remarks))
        if suffix == ".obj":
            data = absolute_indices(as_utf8(data))
        elif suffix == ".stl" and b"\0" not in data:  # in the text form
            data = as_utf8(data)
        scene = trimesh.load_scene(
            io.BytesIO(data), file_type=suffix[1:], resolver=ConfinedResolver(path.parent), process=False
        )
        return list(_parts(scene))
    except (CmahError, MemoryError):
        raise
    except IndexError:
        raise CmahError(f"{path}: a face or object refers to something that is not in the file") from None
    except ModuleNotFoundError:  # trimesh asks for a detector of encodings where text cannot be decoded
        raise CmahError(f"{path}: not readable as {suffix[1:].upper()} (its text is not UTF-8)") from None
    except Exception as error:  # foreign data: trimesh raises nearly anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CmahError(f"{path}: not readable as {suffix[1:].upper()} ({reason})") from None


def _collector(remarks: list[str] | None) -> Callable[[str], None]:
    """What puts remarks where they are wanted."""
    return (lambda text: None) if remarks is None else remarks.append


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
    """Fill in texture, uv and colours from a material of OBJ or PLY (SimpleMaterial)."""
    material: Any = visual.material
    image = getattr(material, "image", None)
    # exporters write any Kd, also black, beside a texture; and where there is no material trimesh makes a grey
    # picture, which comes from no file and so has no format
    part.texture_instead = True
    image = image if image is not None and image.format else None
    factor = _material_colour(material) if hasattr(material, "kwargs") else None
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


def _material_colour(material: Any) -> np.ndarray | None:
    """The diffuse colour and opacity of an MTL material, float32 [4], or None if it has neither."""
    values = material.kwargs
    if "kd" not in values and (material.image is None or not material.image.format):
        return None
    rgba = np.asarray(material.diffuse, dtype=np.float32) / 255
    for key, opacity in (("d", lambda value: value), ("tr", lambda value: 1 - value)):
        try:
            rgba[3] = opacity(float(values[key][-1]))
            break
        except (KeyError, ValueError, IndexError, TypeError):
            continue
    return rgba


def _vertex_rgba(colours: Any, count: int) -> np.ndarray | None:
    """Colours of vertices as float32 [count, 4] in 0..1 (sRGB), or None if they do not fit the vertices."""
    values = np.asarray(colours)
    if values.ndim != 2 or len(values) != count or values.shape[1] not in {3, 4}:
        return None
    rgba = np.ones((count, 4), np.float32)
    scale = float(np.iinfo(values.dtype).max) if values.dtype.kind in "iu" else 1.0
    rgba[:, : values.shape[1]] = values / scale
    return np.nan_to_num(rgba, nan=1.0).clip(0, 1)
