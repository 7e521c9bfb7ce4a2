"""The textures of the materials of an OBJ file: each opened once, with the options and the opacity that it is given."""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from cmah.meshes.mesh_resources import open_texture, texture_texels
from cmah.meshes.mtl import Material, TextureName

MOST_COMPOSED = 200


class TextureShelf:
    """The textures of the materials of one mesh, each opened once.

    Examples:
        >>> from cmah.meshes.mesh_resources import ConfinedResolver
        >>> shelf = TextureShelf(ConfinedResolver("."), print)
        >>> shelf.texture(Material("oak", colour_map=TextureName("oak.png")))
        texture not found (oak.png)
        (None, False)
    """

    def __init__(self, files: Any, remark: Callable[[str], None]) -> None:
        self.files, self.remark = files, remark
        self._opened: dict[str, Image.Image | None] = {}
        self._made: dict[tuple[object, ...], Image.Image | None] = {}

    def texture(self, material: Material) -> tuple[Image.Image | None, bool]:
        """The texture of a material with its opacity, and whether it gives colours, or opacity alone.

        It is None if the material has none, or its files cannot be had.

        Examples:
            >>> from cmah.meshes.mesh_resources import ConfinedResolver
            >>> TextureShelf(ConfinedResolver("."), print).texture(Material("plain"))
            (None, False)
        """
        colour, opacity = material.colour_map, material.opacity_map
        image = self._open(colour)
        mask = self._open(opacity)
        if mask is None and (image is None or colour is None or (colour.base, colour.gain) == (0, 1)):
            return image, image is not None  # as it is: decoded later
        key = (
            (colour.name, colour.base, colour.gain) if colour and image else None,
            (opacity.name, opacity.base, opacity.gain, opacity.channel) if opacity and mask else None,
        )
        if key not in self._made:
            # each takes memory, and a line of text is enough to ask for one
            if len(self._made) >= MOST_COMPOSED:
                self.remark("options of textures not applied (too many different ones)")
                return image, image is not None
            self._made[key] = self._composed(material, image, mask)
        return self._made[key], image is not None

    def _open(self, texture: TextureName | None) -> Image.Image | None:
        """The picture that a texture names, not yet decoded."""
        if texture is None:
            return None
        if texture.name not in self._opened:
            self._opened[texture.name] = None
            try:
                self._opened[texture.name] = open_texture(self.files.get(texture.name), texture.name)
            except FileNotFoundError:
                self.remark(f"texture not found ({texture.name})")
            except OSError:
                self.remark(f"texture not readable ({texture.name})")
        return self._opened[texture.name]

    def _composed(
        self, material: Material, image: Image.Image | None, mask: Image.Image | None
    ) -> Image.Image | None:
        """A picture with changed values, or with its opacity from another picture."""
        texels = None if image is None else texture_texels(image, "blend")
        if texels is not None and material.colour_map:
            texels[..., :3] = _changed(texels[..., :3], material.colour_map)
        values = None if mask is None else texture_texels(mask, "blend")
        if mask is not None and values is None:
            self.remark(f"texture not readable ({mask.info['file_path']})")
        if values is not None and material.opacity_map:
            opacity = _changed(
                _one_channel(values, material.opacity_map.channel, image is mask), material.opacity_map
            )
            if texels is None:
                texels = np.full((*opacity.shape, 4), 255, np.uint8)
            height, width = texels.shape[:2]
            texels[..., 3] = np.asarray(
                Image.fromarray(opacity).resize((width, height), Image.Resampling.BILINEAR)
            )
        if texels is None:
            return image
        made = Image.fromarray(texels)
        made.info["file_path"] = (image or mask).info["file_path"]  # type: ignore[union-attr]
        return made


def _changed(values: np.ndarray, texture: TextureName) -> np.ndarray:
    """Values, uint8, times the gain of a texture plus its base (of full scale)."""
    if (texture.base, texture.gain) == (0, 1):
        return values
    return (values * texture.gain + 255 * texture.base).round().clip(0, 255).astype(np.uint8)


def _one_channel(texels: np.ndarray, channel: str, same: bool) -> np.ndarray:
    """What of a picture, uint8 [h, w, 4], is the opacity: its alpha if it says something, else how bright it is.

    Args:
        texels: the picture.
        channel: the channel that the material names, or "".
        same: whether the picture also gives the colour, so that its brightness cannot be meant.
    """
    if channel in {"r", "g", "b"}:
        return texels[..., "rgb".index(channel)]
    if channel == "m" or same or (not channel and np.ptp(texels[..., 3]) > 0):
        return texels[..., 3]
    return np.asarray(Image.fromarray(texels[..., :3]).convert("L"))
