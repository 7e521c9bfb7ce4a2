"""glTF files put together in code: arrays become accessors, and everything else is plain JSON."""

import json
import struct
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cmah.meshes.gltf import read_gltf
from cmah.meshes.mesh_resources import ConfinedResolver
from cmah.meshes.part import Part

COMPONENTS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], "<f4")
SQUARE_FACES = np.array([0, 1, 2, 0, 2, 3], "<u2")
# with the origin at the upper left, as glTF has it: the texture stands upright on the square
SQUARE_UV = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], "<f4")


class Gltf:
    """A glTF file in the making."""

    def __init__(self, **tree: Any) -> None:
        self.tree: dict[str, Any] = {"asset": {"version": "2.0"}, **tree}
        self.blob = bytearray()

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        """Append an object of a kind; its index."""
        self.tree.setdefault(kind, []).append(entry)
        return len(self.tree[kind]) - 1

    def view(self, data: bytes, **more: Any) -> int:
        """The index of a buffer view of some bytes."""
        self.blob += b"\0" * (-len(self.blob) % 4)
        entry = {"buffer": 0, "byteOffset": len(self.blob), "byteLength": len(data), **more}
        self.blob += data
        return self.add("bufferViews", entry)

    def accessor(self, values: np.ndarray, stride: int = 0, **more: Any) -> int:
        """The index of an accessor of an array [n] or [n, components], each element `stride` bytes after the last."""
        values = np.ascontiguousarray(values)
        columns = values.shape[1] if values.ndim > 1 else 1
        rows = np.frombuffer(values.tobytes(), np.uint8).reshape(len(values), columns * values.itemsize)
        if stride:
            padded = np.full((len(rows), stride), 0xAB, np.uint8)
            padded[:, : rows.shape[1]] = rows
            rows = padded
        view = self.view(rows.tobytes(), **({"byteStride": stride} if stride else {}))
        component = COMPONENTS[values.dtype.str[1:]]
        kind = {"bufferView": view, "componentType": component, "count": len(values), "type": TYPES[columns]}
        return self.add("accessors", {**kind, **more})

    def square(self, faces: bool = True, **more: Any) -> dict[str, Any]:
        """A primitive: a square of two triangles."""
        primitive: dict[str, Any] = {"attributes": {"POSITION": self.accessor(SQUARE)}, **more}
        if faces:
            primitive["indices"] = self.accessor(SQUARE_FACES)
        return primitive

    def show(self, *primitives: dict[str, Any], mesh: dict[str, Any] | None = None, **node: Any) -> int:
        """A node of the scene with a mesh of some primitives."""
        number = self.add("meshes", {"primitives": list(primitives), **(mesh or {})})
        return self.root({"mesh": number, **node})

    def root(self, node: dict[str, Any]) -> int:
        """A node of the scene."""
        index = self.add("nodes", node)
        self.tree.setdefault("scenes", [{"nodes": []}])[0]["nodes"].append(index)
        return index

    def image(self, pixels: Any, kind: str = "PNG", **more: Any) -> int:
        """The index of an image in the file."""
        data = BytesIO()
        Image.fromarray(np.array(pixels, np.uint8)).save(data, kind, **more)
        return self.add(
            "images", {"bufferView": self.view(data.getvalue()), "mimeType": f"image/{kind.lower()}"}
        )

    def textured(self, pixels: Any, uv: np.ndarray = SQUARE_UV, **material: Any) -> dict[str, Any]:
        """A square with a texture; `info`, `sampler` and `texture` in `material` say how it is used."""
        info, sampler = material.pop("info", {}), material.pop("sampler", None)
        texture: dict[str, Any] = {"source": self.image(pixels)}
        if sampler is not None:
            texture["sampler"] = self.add("samplers", sampler)
        rough = {
            "baseColorTexture": {"index": self.add("textures", texture), **info},
            **material.pop("rough", {}),
        }
        primitive = self.square(material=self.add("materials", {"pbrMetallicRoughness": rough, **material}))
        primitive["attributes"]["TEXCOORD_0"] = self.accessor(uv)
        return primitive

    def glb(self) -> bytes:
        """The file in its binary form."""
        blob = bytes(self.blob) + b"\0" * (-len(self.blob) % 4)
        if self.blob:
            self.tree.setdefault("buffers", [{}])[0]["byteLength"] = len(self.blob)
        return glb_of(json.dumps(self.tree).encode(), blob)

    def gltf(self, uri: str | None = None) -> bytes:
        """The file as JSON, its buffer in it or in a file named `uri`."""
        data = "data:application/octet-stream;base64," + b64encode(self.blob).decode()
        self.tree["buffers"] = [{"byteLength": len(self.blob), "uri": uri or data}]
        return json.dumps(self.tree).encode()


def glb_of(text: bytes, blob: bytes = b"") -> bytes:
    """A GLB file of a JSON chunk and a binary chunk."""
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    if blob:
        chunks += struct.pack("<I4s", len(blob), b"BIN\0") + blob
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def read(data: bytes, folder: Path = Path(".")) -> tuple[list[Part], list[str]]:
    """The parts of a file, and what is remarked."""
    remarks: list[str] = []
    return read_gltf(folder / "a.glb", data, ConfinedResolver(folder), remarks.append), remarks


def corners(parts: list[Part]) -> np.ndarray:
    """The corners of all triangles, float64 [f, 3, 3]."""
    return np.concatenate([part.vertices[part.faces] for part in parts])


def size(parts: list[Part]) -> list[float]:
    """The extent of all triangles along x, y and z."""
    return np.ptp(corners(parts).reshape(-1, 3), axis=0).round(4).tolist()
