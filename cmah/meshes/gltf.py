"""Reading glTF 2.0 and GLB files: the whole of the core format, and the extensions that people's files use.

Formats: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html and
https://github.com/KhronosGroup/glTF/tree/main/extensions/2.0. A file is read as a viewer shows it at rest, or refused
with the name of what it needs; whatever is accepted but lost is remarked.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cmah.meshes.gltf_extensions import check_extensions
from cmah.meshes.gltf_file import GltfFile, NamedFiles
from cmah.meshes.gltf_materials import Material, read_material
from cmah.meshes.gltf_primitives import Primitive, read_primitive
from cmah.meshes.gltf_scene import Placement, placements, posed
from cmah.meshes.part import Part

# a small file can show a mesh very often: what all of it may come to
MAX_TRIANGLES = 50_000_000
MAX_PARTS = 300_000


def read_gltf(path: Path, data: bytes, files: NamedFiles, remark: Callable[[str], None]) -> list[Part]:
    """Read a glTF or GLB file into its parts, in the space of its scene.

    Args:
        path: the file, for messages.
        data: its content.
        files: gives the buffers and pictures that it names.
        remark: called with a short text for whatever is accepted but lost.

    Raises:
        CmahError: if it cannot be read whole: what is broken, or which extension it needs.
        MemoryError: if it needs more memory than the process may take.

    Examples:
        >>> from cmah.meshes.mesh_resources import ConfinedResolver
        >>> from cmah.synthetic.solids import Model
        >>> from cmah.synthetic.writing import write_glb
        >>> model = Model()
        >>> model.box(centre=(0, 0, 0), size=(1, 1, 1), colour=(1, 0, 0))
        >>> write_glb(model, Path("box.glb"))
        >>> (part,) = read_gltf(Path("box.glb"), Path("box.glb").read_bytes(), ConfinedResolver("."), print)
        >>> part.vertices.shape, part.faces.shape, part.face_rgba[0].tolist()
        ((8, 3), (12, 3), [1.0, 0.0, 0.0, 1.0])
    """
    gltf = GltfFile(path, data, files, remark)
    check_extensions(gltf)
    with np.errstate(all="ignore"):  # coordinates beyond what numbers hold are refused when they are used
        parts = list(_parts(gltf))
    if not parts:
        gltf.fault(f"no faces{' (' + '; '.join(sorted(gltf.remarks)) + ')' if gltf.remarks else ''}")
    return parts


def _parts(gltf: GltfFile) -> Iterator[Part]:
    """The primitives of all meshes of the scene."""
    triangles = parts = 0
    meshes: dict[Any, list[tuple[Primitive, Material]]] = {}
    for placed in placements(gltf):
        mesh = gltf.entry("meshes", placed.mesh, placed.where)
        weights = None if placed.weights is None else tuple(placed.weights)
        key = int(placed.mesh), weights, placed.skin is None
        if key not in meshes:
            meshes[key] = list(_read_mesh(gltf, mesh, placed))
        for primitive, material in meshes[key]:
            triangles += len(primitive.faces) * len(placed.transforms)
            parts += 1
            if triangles > MAX_TRIANGLES or parts > MAX_PARTS:
                gltf.fault(f"more than {MAX_TRIANGLES // 10**6} million triangles, or {MAX_PARTS} primitives")
            if len(placed.transforms):
                yield _placed(gltf, primitive, material, placed)


def _read_mesh(
    gltf: GltfFile, mesh: dict[str, Any], placed: Placement
) -> Iterator[tuple[Primitive, Material]]:
    """The primitives of a mesh that have triangles, with their materials."""
    name = f"meshes[{int(placed.mesh)}]"
    morph = gltf.numbers(mesh, "weights", None, name, []) if placed.weights is None else placed.weights
    for number, entry in enumerate(gltf.array(mesh, "primitives", name)):
        where = f"{name}.primitives[{number}]"
        if not isinstance(entry, dict):
            gltf.fault(f"{where} is not an object")
        material = read_material(gltf, entry.get("material"), where)
        texture = material.texture
        uv_set = None if texture is None or texture.image is None else texture.uv_set
        primitive = read_primitive(
            gltf, entry, where, uv_set=uv_set, morph=morph, skinned=placed.skin is not None
        )
        if primitive is None:
            continue
        if uv_set is not None and uv_set not in primitive.uv:
            gltf.remark(f"texture without its coordinates (TEXCOORD_{uv_set})")
        yield primitive, material


def _placed(gltf: GltfFile, primitive: Primitive, material: Material, placed: Placement) -> Part:
    """A primitive in the scene, as often as it is shown, with its colours."""
    count, times = len(primitive.positions), len(placed.transforms)
    gltf.spend(count * times)
    if placed.skin is not None and primitive.joints:  # joints alone say where its vertices are
        positions, normals = posed(gltf, primitive, placed.skin, placed.where)
        part = Part(positions, primitive.faces, normals)
    else:
        part = _transformed(primitive, placed.transforms)
    colours, uv = primitive.colours, None
    if material.texture is not None:
        uv = primitive.uv.get(material.texture.uv_set)
    material.colour(part, _repeated(colours, times), _repeated(uv, times))
    return part


def _repeated(values: np.ndarray | None, times: int) -> np.ndarray | None:
    """The values of all vertices, `times` over."""
    return values if values is None or times == 1 else np.tile(values, (times, 1))


def _transformed(primitive: Primitive, transforms: np.ndarray) -> Part:
    """The triangles of a primitive under each of some transforms, one after the other."""
    part = Part(primitive.positions, primitive.faces, primitive.normals)
    if len(transforms) == 1 and np.array_equal(transforms[0], np.eye(4)):
        return part
    linear, moved = transforms[:, :3, :3], transforms[:, :3, 3]
    vertices = primitive.positions @ linear.transpose(0, 2, 1) + moved[:, None]
    normals = primitive.normals
    if normals is not None:
        # normals transform by the cofactor matrix, which exists also where the transform is singular
        cofactors = np.cross(linear[:, [1, 2, 0]], linear[:, [2, 0, 1]])
        normals = (normals @ cofactors.transpose(0, 2, 1)).reshape(-1, 3)
    offsets = np.arange(len(transforms)) * len(primitive.positions)
    faces = (primitive.faces + offsets[:, None, None]).reshape(-1, 3)
    return replace(part, vertices=vertices.reshape(-1, 3), faces=faces, normals=normals)
