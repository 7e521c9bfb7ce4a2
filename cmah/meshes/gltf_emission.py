"""Light that materials of glTF emit, added to their colours: screens, lamps, and models whose light is baked in."""

from dataclasses import replace

import numpy as np
from PIL import Image

from cmah.meshes.gltf_file import GltfFile
from cmah.meshes.gltf_textures import Texture
from cmah.meshes.mesh_resources import texture_texels

# each takes memory, and a few bytes of JSON are enough to ask for one
MOST_COMPOSED = 50
LINEAR = (np.arange(256) / 255).astype(np.float32) ** np.float32(2.2)


def with_light(
    gltf: GltfFile,
    factor: np.ndarray | None,
    texture: Texture | None,
    light: np.ndarray,
    light_texture: Texture | None,
) -> tuple[np.ndarray | None, Texture | None]:
    """Add the light that a material emits to its colour; what would be brighter than white is cut.

    Args:
        gltf: the file.
        factor: float64 [4], the colour in linear light and the opacity; None for white.
        texture: what it is multiplied with, or None.
        light: float64 [3], the emitted light in 0..1.
        light_texture: what that is multiplied with, or None.

    Returns:
        The factor and the texture of both together; those of the colour alone, with a remark, if the two textures do
        not lie on the surface in the same way.

    Examples:
        >>> from pathlib import Path
        >>> from cmah.meshes.mesh_resources import ConfinedResolver
        >>> gltf = GltfFile(Path("a.gltf"), b"{}", ConfinedResolver("."), print)
        >>> with_light(gltf, np.array([0.5, 0, 0.75, 1]), None, np.array([0, 1, 1]), None)
        (array([0.5, 1. , 1. , 1. ]), None)
    """
    colour = np.ones(4) if factor is None else factor
    base = None if texture is None or texture.image is None else texture
    lamp = None if light_texture is None or light_texture.image is None else light_texture
    if light_texture is not None and lamp is None:  # its picture is lost, which has been said
        return factor, texture
    if lamp is None and base is None:
        return np.append((colour[:3] + light).clip(0, 1), colour[3]), texture
    frame = base or lamp
    assert frame is not None
    if base is not None and lamp is not None and not _alike(base, lamp):
        gltf.remark("emitted light not shown")
        return factor, texture
    key = ("light", id(base and base.image), id(lamp and lamp.image), colour[:3].tobytes(), light.tobytes())
    if key not in gltf.cache:
        gltf.cache["lights"] = gltf.cache.get("lights", 0) + 1
        if gltf.cache["lights"] > MOST_COMPOSED:
            gltf.remark("emitted light not shown")
            return factor, texture
        gltf.cache[key] = _composed(base, lamp, colour[:3], light)
    picture = gltf.cache[key]
    if picture is None:
        gltf.remark("emitted light not shown")
        return factor, texture
    return np.array([1, 1, 1, colour[3]]), replace(frame, image=picture)


def _alike(one: Texture, two: Texture) -> bool:
    """Whether two textures lie on a surface in the same way."""
    return (one.uv_set, one.wrap) == (two.uv_set, two.wrap) and np.array_equal(one.matrix, two.matrix)


def _composed(
    base: Texture | None, lamp: Texture | None, factor: np.ndarray, light: np.ndarray
) -> Image.Image | None:
    """The picture of colour plus light, with the opacity of the colour's; None if one of them is broken."""
    texels = []
    for texture in (base, lamp):
        if texture is None or texture.image is None:
            texels.append(np.full((1, 1, 4), 255, np.uint8))
            continue
        decoded = texture_texels(texture.image, "blend")
        if decoded is None:
            return None
        texels.append(decoded)
    width = max(values.shape[1] for values in texels)
    height = max(values.shape[0] for values in texels)
    below, above = (
        np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))
        if values.shape[:2] != (height, width)
        else values
        for values in texels
    )
    linear = LINEAR[below[..., :3]] * factor.astype(np.float32)
    linear += LINEAR[above[..., :3]] * light.astype(np.float32)
    made = np.empty((height, width, 4), np.uint8)
    made[..., :3] = (linear.clip(0, 1) ** np.float32(1 / 2.2) * 255).round()
    made[..., 3] = below[..., 3]
    picture = Image.fromarray(made)
    named = base or lamp
    assert named is not None
    assert named.image is not None
    picture.info["file_path"] = named.image.info.get("file_path", "in the mesh file")
    return picture
