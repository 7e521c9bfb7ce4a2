"""Accessors of glTF: typed elements in a buffer view, of every type, with stride, sparse or left out as zeros."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmah.meshes.gltf_compression import buffer_view
from cmah.meshes.gltf_file import GltfFile

COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
# rows and columns of each type
SHAPES = {
    "SCALAR": (1, 1),
    "VEC2": (2, 1),
    "VEC3": (3, 1),
    "VEC4": (4, 1),
    "MAT2": (2, 2),
    "MAT3": (3, 3),
    "MAT4": (4, 4),
}


@dataclass
class Accessor:
    """The elements of an accessor as they are stored.

    Attributes:
        values: [n, components] of the stored type, matrices column by column; often a view of the file's bytes.
        normalised: whether integers stand for 0..1, or -1..1 if they are signed.

    Examples:
        >>> Accessor(np.array([[0, 51, 255]], np.uint8), normalised=True).floats().round(3).tolist()
        [[0.0, 0.2, 1.0]]
    """

    values: np.ndarray
    normalised: bool

    def floats(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The values of some rows as float64 [n, components]."""
        stored = self.values[rows]
        values = stored.astype(np.float64)
        if self.normalised and stored.dtype.kind in "iu":
            values /= np.iinfo(stored.dtype).max
            np.maximum(values, -1, out=values)
        return values


def read_accessor(
    gltf: GltfFile, index: Any, where: str, types: Sequence[str], components: str = "iuf"
) -> Accessor:
    """The elements of an accessor; it is read once, however often it is named.

    Args:
        gltf: the file.
        index: of the accessor.
        where: what names it, for messages.
        types: which types it may have: SCALAR, VEC2, VEC3, VEC4, MAT2, MAT3, MAT4.
        components: which components: "i" for signed and "u" for unsigned integers, "f" for floats.

    Raises:
        CmahError: if it lies outside its buffer view, or is of another type.

    Examples:
        >>> from pathlib import Path
        >>> from cmah.meshes.mesh_resources import ConfinedResolver
        >>> text = b'''{"accessors": [{"bufferView": 0, "componentType": 5121, "type": "VEC2", "count": 2}],
        ...             "bufferViews": [{"buffer": 0, "byteLength": 6, "byteStride": 4}],
        ...             "buffers": [{"byteLength": 6, "uri": "data:,abcdef"}]}'''
        >>> gltf = GltfFile(Path("a.gltf"), text, ConfinedResolver("."), print)
        >>> read_accessor(gltf, 0, "here", ("VEC2",)).values.tolist()
        [[97, 98], [101, 102]]
    """
    entry = gltf.entry("accessors", index, where)
    key = ("accessor", int(index))
    here = f"accessors[{int(index)}]"
    component, kind = entry.get("componentType"), entry.get("type")
    if not isinstance(kind, str) or kind not in SHAPES:
        gltf.fault(f"{here}: its type should be one of {', '.join(SHAPES)}, got {str(kind)[:20]}")
    number = gltf.count(entry, "componentType", here)
    if number not in COMPONENTS:
        gltf.fault(f"{here}: its componentType should be one of 5120 to 5126, got {str(component)[:20]}")
    if kind not in types or np.dtype(COMPONENTS[number]).kind not in components:
        gltf.fault(f"{where} is {here}, a {kind} of type {number}; expected {' or '.join(types)}"
                   f"{_expected(components)}")  # fmt: skip
    if key not in gltf.cache:
        gltf.cache[key] = Accessor(
            _elements(gltf, entry, number, kind, here), entry.get("normalized") is True
        )
    accessor: Accessor = gltf.cache[key]
    return accessor


def _expected(components: str) -> str:
    """Words for the components that a user of an accessor takes."""
    return {"u": " of unsigned integers", "f": " of floats"}.get(components, "")


def _elements(gltf: GltfFile, entry: dict[str, Any], component: int, kind: str, where: str) -> np.ndarray:
    """The elements of an accessor [n, components], with its sparse ones put in."""
    dtype, count = np.dtype(COMPONENTS[component]), gltf.count(entry, "count", where)
    rows, columns = SHAPES[kind]
    sparse = gltf.object(entry, "sparse", where)
    if "bufferView" in entry:
        data, stride = buffer_view(gltf, entry["bufferView"], where)
        offset = gltf.count(entry, "byteOffset", where, 0)
        values = _strided(gltf, data, offset, stride, count, dtype, (rows, columns), where)
    else:
        gltf.allocate(count * rows * columns * dtype.itemsize)
        values = np.zeros((count, rows * columns), dtype)
    if not sparse:
        return values
    changed = gltf.count(sparse, "count", f"{where}.sparse")
    if changed > count:
        gltf.fault(f"{where}.sparse changes {changed} of {count} elements")
    places = _sparse_places(gltf, gltf.object(sparse, "indices", where), changed, f"{where}.sparse.indices")
    if places.size and int(places.max()) >= count:
        gltf.fault(f"{where}.sparse changes element {int(places.max())} of {count}")
    source, here = gltf.object(sparse, "values", where), f"{where}.sparse.values"
    data, _ = buffer_view(gltf, source.get("bufferView"), here)
    offset = gltf.count(source, "byteOffset", here, 0)
    gltf.allocate(values.size * dtype.itemsize)
    values = np.array(values)
    values[places] = _strided(gltf, data, offset, 0, changed, dtype, (rows, columns), here)
    return values


def _sparse_places(gltf: GltfFile, source: dict[str, Any], count: int, where: str) -> np.ndarray:
    """Which elements a sparse accessor changes, int64 [count]."""
    component = gltf.count(source, "componentType", where)
    if component not in (5121, 5123, 5125):
        gltf.fault(f"{where}: its componentType should be 5121, 5123 or 5125, got {component}")
    data, _ = buffer_view(gltf, source.get("bufferView"), where)
    offset = gltf.count(source, "byteOffset", where, 0)
    places = _strided(gltf, data, offset, 0, count, np.dtype(COMPONENTS[component]), (1, 1), where)
    return places[:, 0].astype(np.int64)


def _strided(
    gltf: GltfFile,
    data: memoryview,
    offset: int,
    stride: int,
    count: int,
    dtype: np.dtype[Any],
    shape: tuple[int, int],
    where: str,
) -> np.ndarray:
    """Elements in a buffer view as [count, components]: a view of its bytes, except for padded matrices."""
    rows, columns = shape
    # each column of a matrix begins at a multiple of 4 bytes; the last one need not be padded
    column = rows * dtype.itemsize
    step = column if columns == 1 else -(-column // 4) * 4
    element = step * (columns - 1) + column
    stride = stride or step * columns
    if stride < element:
        gltf.fault(f"{where}: elements of {element} bytes at a stride of {stride}")
    if count and offset + stride * (count - 1) + element > len(data):
        gltf.fault(
            f"{where} lies outside its buffer view: {count} elements of {element} bytes from byte {offset}, "
            f"the view has {len(data)}"
        )
    if not count:
        return np.zeros((0, rows * columns), dtype)
    values: np.ndarray = np.ndarray(
        (count, columns, rows), dtype, buffer=data, offset=offset, strides=(stride, step, dtype.itemsize)
    )
    return values.reshape(count, -1) if step == column else np.array(values).reshape(count, -1)
