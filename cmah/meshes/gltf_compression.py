"""Compressed geometry in glTF files: Draco meshes and meshopt buffer views, each by an optional package.

Formats: KHR_draco_mesh_compression, EXT_meshopt_compression and KHR_meshopt_compression, in
https://github.com/KhronosGroup/glTF/tree/main/extensions/2.0.
"""

from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from cmah.errors import CmahError
from cmah.meshes.gltf_file import GltfFile

DRACO = "KHR_draco_mesh_compression"
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
FILTERS = {"NONE": (), "OCTAHEDRAL": (4, 8), "QUATERNION": (8,), "EXPONENTIAL": (), "COLOR": (4, 8)}
# meshopt spends at least 2 bits on the equal bytes of 256 rows; Draco little more on a vertex that it predicts
MOST_COMPRESSION = 2048


def optional_package(gltf: GltfFile, extension: str, module: str, package: str) -> ModuleType:
    """Import a package that only files with an extension need.

    Args:
        gltf: the file.
        extension: the extension's name.
        module: what is imported.
        package: what pip calls it.

    Raises:
        CmahError: if it is not installed, with the command that installs it.

    Examples:
        >>> from pathlib import Path
        >>> from cmah.meshes.mesh_resources import ConfinedResolver
        >>> gltf = GltfFile(Path("a.gltf"), b"{}", ConfinedResolver("."), print)
        >>> optional_package(gltf, "ACME_zip", "acmezip", "acme-zip")
        Traceback (most recent call last):
        cmah.errors.CmahError: a.gltf: ACME_zip needs the package acme-zip: pip install acme-zip
    """
    try:
        return import_module(module)
    except ImportError:
        gltf.fault(f"{extension} needs the package {package}: pip install {package}")


def buffer_view(gltf: GltfFile, index: Any, where: str) -> tuple[memoryview, int]:
    """The bytes of a buffer view, and its stride (0 if it has none).

    Args:
        gltf: the file.
        index: of the view.
        where: what names it, for messages.

    Raises:
        CmahError: if it is not there, or compressed in a way that cannot be undone.

    Examples:
        >>> from pathlib import Path
        >>> from cmah.meshes.mesh_resources import ConfinedResolver
        >>> text = b'''{"bufferViews": [{"buffer": 0, "byteOffset": 1, "byteLength": 2}],
        ...             "buffers": [{"byteLength": 3, "uri": "data:,abc"}]}'''
        >>> data, stride = buffer_view(GltfFile(Path("a.gltf"), text, ConfinedResolver("."), print), 0, "images[0]")
        >>> bytes(data), stride
        (b'bc', 0)
    """
    entry = gltf.entry("bufferViews", index, where)
    key = ("view", int(index))
    if key not in gltf.cache:
        here = f"bufferViews[{int(index)}]"
        gltf.cache[key] = _view_bytes(gltf, entry, here), gltf.count(entry, "byteStride", here, 0)
    view: tuple[memoryview, int] = gltf.cache[key]
    return view


def _view_bytes(gltf: GltfFile, entry: dict[str, Any], where: str) -> memoryview:
    """The bytes of a buffer view, compressed or not."""
    for name in MESHOPT:
        packed = gltf.extension(entry, name, where)
        # plain bytes may lie beside the compressed ones, for readers that do not know the extension
        if packed is not None and (name in gltf.required or not _has_bytes(gltf, entry)):
            return _unpacked_view(gltf, name, packed, gltf.count(entry, "byteLength", where), where)
    return gltf.slice(entry, where)


def _has_bytes(gltf: GltfFile, view: dict[str, Any]) -> bool:
    """Whether the buffer of a view can be had."""
    try:
        gltf.buffer(view.get("buffer"), "")
    except CmahError:
        return False
    return True


def _unpacked_view(
    gltf: GltfFile, extension: str, packed: dict[str, Any], size: int, where: str
) -> memoryview:
    """The `size` bytes of a buffer view that meshopt compressed."""
    mode, filter_name = packed.get("mode"), packed.get("filter", "NONE")
    count, stride = gltf.count(packed, "count", where), gltf.count(packed, "byteStride", where)
    if mode == "ATTRIBUTES":
        fits = stride % 4 == 0 and 0 < stride <= 256
        fits &= isinstance(filter_name, str) and filter_name in FILTERS
        fits = fits and (not FILTERS[filter_name] or stride in FILTERS[filter_name])
    elif mode in ("TRIANGLES", "INDICES"):
        fits = stride in (2, 4) and filter_name == "NONE" and (mode == "INDICES" or count % 3 == 0)
    else:
        fits = False
    if not fits:
        gltf.fault(
            f"{where}: {extension} does not know mode {mode} with filter {filter_name}, "
            f"{count} elements of {stride} bytes"
        )
    meshopt = optional_package(gltf, extension, "meshopt", "meshopt")
    source = gltf.slice(packed, f"{where}: {extension}")
    if count * stride != size:
        gltf.fault(f"{where}: {extension} says {count} elements of {stride} bytes, the view has {size} bytes")
    if count == 0:
        return memoryview(b"")
    if count * stride > MOST_COMPRESSION * len(source):
        gltf.fault(f"{where}: {extension} says {count} elements, {len(source)} bytes cannot hold them")
    gltf.allocate(count * stride)
    try:
        rows = meshopt.decode_gltf_buffer(bytes(source), count, stride, mode, filter_name)
    except MemoryError:
        raise
    except Exception as error:  # a binding: its kinds of errors are its own
        gltf.fault(f"{where}: its {extension} data is broken ({error})")
    return memoryview(np.ascontiguousarray(rows).tobytes())


def unpacked_mesh(
    gltf: GltfFile, packed: dict[str, Any], where: str
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The triangles of a primitive that Draco compressed.

    Args:
        gltf: the file.
        packed: what the extension says about the primitive.
        where: the primitive, for messages.

    Returns:
        int64 [f, 3], and for each attribute the values [v, components] in the type that Draco stores.

    Raises:
        CmahError: if it is broken, or the package DracoPy is missing.

    Examples:
        >>> from pathlib import Path
        >>> from cmah.meshes.mesh_resources import ConfinedResolver
        >>> gltf = GltfFile(Path("a.gltf"), b"{}", ConfinedResolver("."), print)
        >>> unpacked_mesh(gltf, {"bufferView": 0}, "meshes[0].primitives[0]")
        Traceback (most recent call last):
        cmah.errors.CmahError: a.gltf: meshes[0].primitives[0]: KHR_draco_mesh_compression ...
    """
    draco = optional_package(gltf, DRACO, "DracoPy", "DracoPy")
    data, _ = buffer_view(gltf, packed.get("bufferView"), f"{where}: {DRACO}")
    names = gltf.object(packed, "attributes", where)
    try:
        mesh = draco.decode(bytes(data))
    except MemoryError:
        raise
    except Exception as error:  # a binding: its kinds of errors are its own
        gltf.fault(f"{where}: its {DRACO} data is broken ({error})")
    faces = getattr(mesh, "faces", None)
    if faces is None:
        gltf.fault(f"{where}: its {DRACO} data is a point cloud, not a mesh")
    by_number = {attribute["unique_id"]: attribute["data"] for attribute in mesh.attributes}
    values: dict[str, np.ndarray] = {}
    for name in names:
        number = gltf.count(names, name, f"{where}: {DRACO}")
        if number not in by_number:
            gltf.fault(f"{where}: its {DRACO} data has no attribute {number} ({name})")
        array = np.asarray(by_number[number])
        values[name] = array.reshape(len(array), -1)
    gltf.allocate(sum(array.nbytes for array in values.values()))
    return np.asarray(faces, dtype=np.int64).reshape(-1, 3), values
