"""Textures of glTF: the picture in any of its forms, which coordinates it takes, how they are turned, how it wraps."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from cmah.errors import CmahError
from cmah.meshes.gltf_compression import buffer_view, optional_package
from cmah.meshes.gltf_extensions import TEXTURE_SOURCES
from cmah.meshes.gltf_file import GltfFile
from cmah.meshes.mesh_resources import TEXTURE_PIXELS, TEXTURE_SIDE, open_texture

KTX2 = b"\xabKTX 20\xbb\r\n\x1a\n"
WRAPS = {10497: "repeat", 33071: "clamp", 33648: "mirror"}


@dataclass
class Texture:
    """A texture as a material takes it.

    Attributes:
        image: the picture, which is decoded later, or None if it cannot be had.
        uv_set: the number n of the coordinates that it takes, TEXCOORD_n.
        matrix: float64 [2, 3], what the coordinates (u, v, 1) are multiplied with; v points down in glTF.
        wrap: what it does outside 0..1 along u and v: "repeat", "clamp" or "mirror".

    Examples:
        >>> turn = Texture(Image.new("RGB", (1, 1)), 0, np.array([[0, 1, 0], [-1, 0, 0.5]]), ("clamp", "clamp"))
        >>> turn.moved(np.array([[1.0, 0.25]])).tolist()  # in a frame whose v points up, so 1 - v
        [[0.25, 1.5]]
    """

    image: Image.Image | None
    uv_set: int
    matrix: np.ndarray
    wrap: tuple[str, str]

    def moved(self, uv: np.ndarray) -> np.ndarray:
        """Coordinates of the file, float64 [v, 2], as `Part.uv` has them: transformed, v upwards."""
        moved = uv @ self.matrix[:, :2].T + self.matrix[:, 2]
        moved[:, 1] = 1 - moved[:, 1]
        return moved


def read_texture(gltf: GltfFile, holder: dict[str, Any], key: str, where: str) -> Texture | None:
    """The texture under `key` of a material, or None if it has none.

    Args:
        gltf: the file.
        holder: the material, or the part of it that names the texture.
        key: "baseColorTexture", for example.
        where: the material, for messages.

    Raises:
        CmahError: if it refers to what is not in the file.

    Examples:
        >>> from pathlib import Path
        >>> from cmah.meshes.mesh_resources import ConfinedResolver
        >>> text = b'{"textures": [{"source": 0}], "images": [{"uri": "gone.png"}]}'
        >>> gltf = GltfFile(Path("a.gltf"), text, ConfinedResolver("."), print)
        >>> texture = read_texture(gltf, {"baseColorTexture": {"index": 0}}, "baseColorTexture", "materials[0]")
        texture not found (gone.png)
        >>> texture.image, texture.uv_set, texture.wrap
        (None, 0, ('repeat', 'repeat'))
    """
    info = gltf.object(holder, key, where)
    if not info:
        return None
    here = f"{where}: {key}"
    uv_set, matrix = gltf.count(info, "texCoord", here, 0), np.eye(3)[:2]
    change = gltf.extension(info, "KHR_texture_transform", here)
    if change is not None:
        uv_set = gltf.count(change, "texCoord", here, uv_set)
        matrix = _uv_matrix(gltf, change, here)
    entry = gltf.entry("textures", info.get("index"), here)
    return Texture(_picture(gltf, entry, int(info["index"])), uv_set, matrix, _wrap(gltf, entry, here))


def _uv_matrix(gltf: GltfFile, change: dict[str, Any], where: str) -> np.ndarray:
    """The matrix [2, 3] of KHR_texture_transform: translation x rotation x scale.

    The rotation is against the clock as seen on the picture, where v points down: so do the sample models and viewers.
    The listing in the extension's text turns the other way (https://github.com/KhronosGroup/glTF/issues/1563).
    """
    offset = gltf.numbers(change, "offset", 2, where, [0.0, 0.0])
    scale = gltf.numbers(change, "scale", 2, where, [1.0, 1.0])
    angle = gltf.number(change.get("rotation", 0), f"{where}: rotation")
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c * scale[0], s * scale[1], offset[0]], [-s * scale[0], c * scale[1], offset[1]]])


def _wrap(gltf: GltfFile, texture: dict[str, Any], where: str) -> tuple[str, str]:
    """What a texture does outside 0..1, by its sampler."""
    if "sampler" not in texture:
        return "repeat", "repeat"
    sampler = gltf.entry("samplers", texture["sampler"], where)
    modes = [gltf.count(sampler, key, where, 10497) for key in ("wrapS", "wrapT")]
    for mode in modes:
        if mode not in WRAPS:
            gltf.remark(f"wrapping of a texture unknown ({mode})")
    return WRAPS.get(modes[0], "repeat"), WRAPS.get(modes[1], "repeat")


def _picture(gltf: GltfFile, texture: dict[str, Any], number: int) -> Image.Image | None:
    """The picture of a texture: the first of its sources that can be opened."""
    where = f"textures[{number}]"
    sources = [texture["source"]] if "source" in texture else []
    for name in TEXTURE_SOURCES:
        extension = gltf.extension(texture, name, where)
        if extension is not None and "source" in extension:
            sources.append(extension["source"])
    if not sources:
        gltf.remark("texture without a picture")
    lost = []
    for source in sources:
        entry = gltf.entry("images", source, where)
        key = ("image", int(source))
        if key not in gltf.cache:
            gltf.cache[key] = _opened(gltf, entry, int(source))
        picture = gltf.cache[key]
        if isinstance(picture, Image.Image):
            return picture
        lost.append(picture)
    for reason in lost:
        gltf.remark(reason)
    return None


def _opened(gltf: GltfFile, entry: dict[str, Any], number: int) -> Image.Image | str:
    """A picture, or the remark that it is lost."""
    where, uri = f"images[{number}]", entry.get("uri")
    data_uri = isinstance(uri, str) and uri[:5].lower() == "data:"
    name = uri if isinstance(uri, str) and not data_uri else where
    try:
        if isinstance(uri, str):
            data = gltf.resource(uri, where)
        else:
            data = bytes(buffer_view(gltf, entry.get("bufferView"), where)[0])
    except CmahError:  # a picture that is lost costs its texture only
        return f"texture {'broken' if data_uri else 'not found'} ({name[:80]})"
    try:
        picture = _transcoded(gltf, data) if data.startswith(KTX2) else open_texture(data, name)
    except OSError:
        picture = None
    return picture or f"texture not readable ({name[:80]})"


def _transcoded(gltf: GltfFile, data: bytes) -> Image.Image | str | None:
    """A KTX 2 picture (Basis Universal), of the largest of its levels that a texture here may have.

    None if it is broken or too large, and a remark if the package that decodes it is missing.
    """
    try:
        basisu = optional_package(gltf, "KHR_texture_basisu", "opengl_basisu", "opengl-basisu")
    except CmahError:
        return "texture not decoded (KHR_texture_basisu: pip install opengl-basisu)"
    try:
        picture = basisu.open(data)
        width, height, level = int(picture.width), int(picture.height), 0
        while max(width, height) > TEXTURE_SIDE and level + 1 < picture.levels:
            width, height, level = max(1, width // 2), max(1, height // 2), level + 1
        if width * height > TEXTURE_PIXELS:
            return None
        pixels = np.asarray(picture.transcode("rgba8", level).data, dtype=np.uint8)
        return Image.fromarray(pixels.reshape(height, width, 4))
    except MemoryError:
        raise
    except Exception:  # a binding: its kinds of errors are its own
        return None
