"""Writing models of coloured solids as OBJ with MTL, GLB, PLY and COFF."""

import json
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from cmah.files import atomic_path
from cmah.synthetic.solids import Colour, Model, Solid

PATTERN_SIDE = 64


def write_obj(model: Model, path: Path) -> None:
    """Write an OBJ file with its MTL, and a PNG beside it for each pattern in use.

    Examples:
        >>> box = Model()
        >>> box.box(centre=(0, 0, 0), size=(1, 1, 1), colour=(0.6, 0.4, 0.2))
        >>> write_obj(box, Path("box.obj"))
        >>> Path("box.obj").read_text().splitlines()[:3]
        ['mtllib box.mtl', 'usemtl material0', 'v -0.50000 -0.50000 -0.50000']
        >>> Path("box.mtl").read_text().splitlines()
        ['newmtl material0', 'Kd 0.6000 0.4000 0.2000']
    """
    materials: dict[tuple[Colour, str], str] = {}
    lines, offset, uv_offset = [f"mtllib {path.stem}.mtl"], 1, 1
    for solid in model.solids:
        name = materials.setdefault((solid.colour, solid.pattern), f"material{len(materials)}")
        lines.append(f"usemtl {name}")
        lines += [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in solid.vertices.tolist()]
        if solid.pattern:
            corners, uv = _box_mapping(solid)
            lines += [f"vt {u:.4f} {v:.4f}" for u, v in uv.tolist()]
            numbers = (np.arange(corners.size).reshape(-1, 3) + uv_offset).tolist()
            uv_offset += corners.size
            for face, uvs in zip((corners + offset).tolist(), numbers, strict=True):
                lines.append("f " + " ".join(f"{v}/{t}" for v, t in zip(face, uvs, strict=True)))
        else:
            lines += [f"f {a} {b} {c}" for a, b, c in (solid.faces + offset).tolist()]
        offset += len(solid.vertices)
    _write(path, ("\n".join(lines) + "\n").encode())
    mtl = []
    for (colour, pattern), name in materials.items():
        mtl += [f"newmtl {name}", "Kd " + " ".join(f"{value:.4f}" for value in colour)]
        if pattern:
            texture = path.with_name(f"{path.stem}_{name}.png")
            with atomic_path(texture) as temporary:
                Image.fromarray(_pattern(pattern, colour)).save(temporary)
            mtl.append(f"map_Kd {texture.name}")
    _write(path.with_suffix(".mtl"), ("\n".join(mtl) + "\n").encode())


def _box_mapping(solid: Solid) -> tuple[np.ndarray, np.ndarray]:
    """The faces int64 [f, 3], and uv float64 [3 f, 2] of their corners, projected along the main axis of each face."""
    corners = solid.vertices[solid.faces]
    normal = np.abs(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    planes = np.array([[2, 1], [0, 2], [0, 1]])[normal.argmax(axis=1)]
    uv = np.take_along_axis(corners, planes[:, None, :].repeat(3, axis=1), axis=2)
    return solid.faces, uv.reshape(-1, 2)


def _pattern(name: str, colour: Colour) -> np.ndarray:
    """A tile uint8 [64, 64, 3] of wood grain, stripes or checks in shades of a colour."""
    y, x = np.mgrid[0:PATTERN_SIDE, 0:PATTERN_SIDE] / PATTERN_SIDE
    if name == "wood":
        wave = 6 * y + 0.25 * np.sin(2 * np.pi * x)
        shade = 0.82 + 0.18 * np.sin(2 * np.pi * wave) * np.cos(2 * np.pi * y)
    elif name == "stripes":
        shade = np.where((x * 4) % 1 < 0.5, 1.0, 0.55)
    else:
        shade = np.where(((x * 4) % 1 < 0.5) ^ ((y * 4) % 1 < 0.5), 1.0, 0.62)
    return (np.clip(shade[..., None] * np.array(colour), 0, 1) * 255).round().astype(np.uint8)


def write_glb(model: Model, path: Path) -> None:
    """Write a binary glTF 2.0 file with one primitive and one material for each solid.

    Examples:
        >>> box = Model()
        >>> box.box(centre=(0, 0, 0), size=(1, 1, 1), colour=(0.6, 0.4, 0.2))
        >>> write_glb(box, Path("box.glb"))
        >>> data = Path("box.glb").read_bytes()
        >>> data[:4], int.from_bytes(data[8:12], "little") == len(data)
        (b'glTF', True)
    """
    blob, views, accessors, primitives, materials = bytearray(), [], [], [], []
    for solid in model.solids:
        vertices, faces = solid.vertices.astype("<f4"), solid.faces.astype("<u4")
        bounds = {"min": vertices.min(axis=0).tolist(), "max": vertices.max(axis=0).tolist()}
        for array, kind, component, count, extra in (
            (vertices, "VEC3", 5126, len(vertices), bounds),
            (faces, "SCALAR", 5125, faces.size, {}),
        ):
            views.append({"buffer": 0, "byteOffset": len(blob), "byteLength": array.nbytes})
            view = len(views) - 1
            accessors.append(
                {"bufferView": view, "componentType": component, "count": count, "type": kind, **extra}
            )
            blob += array.tobytes()
        linear = [round(value**2.2, 5) for value in solid.colour]  # factors of glTF are linear light
        materials.append({"pbrMetallicRoughness": {"baseColorFactor": [*linear, 1.0]}})
        last = len(accessors) - 1
        primitives.append(
            {"attributes": {"POSITION": last - 1}, "indices": last, "material": len(materials) - 1}
        )
    tree = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": primitives}],
        "materials": materials,
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(blob)}],
    }
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(blob), b"BIN\0") + blob
    _write(path, struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)


def _joined(model: Model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All solids together: vertices float64 [v, 3], their colours uint8 [v, 3], faces int64 [f, 3]."""
    counts = [len(solid.vertices) for solid in model.solids]
    offsets = np.cumsum([0, *counts[:-1]]).tolist()
    colours = [np.tile(solid.colour, (count, 1)) for solid, count in zip(model.solids, counts, strict=True)]
    faces = [solid.faces + offset for solid, offset in zip(model.solids, offsets, strict=True)]
    vertices = np.concatenate([solid.vertices for solid in model.solids])
    return vertices, (np.concatenate(colours) * 255).round().astype(np.uint8), np.concatenate(faces)


def write_ply(model: Model, path: Path) -> None:
    """Write a binary little-endian PLY file with vertex colours.

    Examples:
        >>> box = Model()
        >>> box.box(centre=(0, 0, 0), size=(1, 1, 1), colour=(0.6, 0.4, 0.2))
        >>> write_ply(box, Path("box.ply"))
        >>> [line for line in Path("box.ply").read_bytes().splitlines() if line.startswith(b"element")]
        [b'element vertex 8', b'element face 12']
    """
    vertices, colours, faces = _joined(model)
    properties = "".join(f"property float {name}\n" for name in "xyz")
    properties += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\n{properties}"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    points = np.empty(len(vertices), [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    points["xyz"], points["rgb"] = vertices, colours
    triangles = np.empty(len(faces), [("count", "u1"), ("corners", "<i4", 3)])
    triangles["count"], triangles["corners"] = 3, faces
    _write(path, header.encode() + points.tobytes() + triangles.tobytes())


def write_off(model: Model, path: Path) -> None:
    """Write a COFF file: OFF with vertex colours.

    Examples:
        >>> box = Model()
        >>> box.box(centre=(0, 0, 0), size=(1, 1, 1), colour=(0.6, 0.4, 0.2))
        >>> write_off(box, Path("box.off"))
        >>> Path("box.off").read_text().splitlines()[:3]
        ['COFF', '8 12 0', '-0.50000 -0.50000 -0.50000 153 102 51 255']
    """
    vertices, colours, faces = _joined(model)
    lines = ["COFF", f"{len(vertices)} {len(faces)} 0"]
    for (x, y, z), (r, g, b) in zip(vertices.tolist(), colours.tolist(), strict=True):
        lines.append(f"{x:.5f} {y:.5f} {z:.5f} {r} {g} {b} 255")
    lines += [f"3 {a} {b} {c}" for a, b, c in faces.tolist()]
    _write(path, ("\n".join(lines) + "\n").encode())


def _write(path: Path, data: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
