"""MTL files, the material libraries of OBJ: colour, opacity, and the textures that give them.

Format: https://paulbourke.net/dataformats/mtl/, with what exporters write beside it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from cmah.meshes.colours import full_scale
from cmah.meshes.mesh_resources import open_texture, texture_texels
from cmah.meshes.mesh_text import joined_lines, plain_text

# the options of a texture and how many values each may have
OPTIONS = {"-blendu": 1, "-blendv": 1, "-cc": 1, "-clamp": 1, "-imfchan": 1, "-type": 1, "-texres": 1, "-bm": 1,
           "-boost": 1, "-colorspace": 1, "-mm": 2, "-o": 3, "-s": 3, "-t": 3}  # fmt: skip
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
# what of a material is not seen in a plain view of its surface: highlights, reflection, relief, and physical values
UNSEEN = ("ka", "ks", "ns", "ni", "ke", "tf", "illum", "sharpness", "bump", "disp", "refl", "norm", "pr", "pm", "ps",
          "pc", "pcr", "aniso", "anisor", "km", "map_ks", "map_ns", "map_bump", "map_disp", "map_refl", "map_kn",
          "map_norm", "map_pr", "map_pm", "map_ps", "map_pc", "map_pcr", "map_ni", "map_aat", "map_rma", "map_orm",
          "map_ao", "map_ka")  # fmt: skip
MOST_COMPOSED = 200
LONGEST_LINE = 4096
# CIE XYZ to linear sRGB, IEC 61966-2-1
XYZ_TO_RGB = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])


@dataclass
class TextureName:
    """A texture as a material names it.

    Attributes:
        name: its file, as written.
        scale: the factors of u and v (option -s).
        offset: what is added to u and v after that (option -o).
        clamp: whether it is shown once instead of repeated (option -clamp).
        base: added to its values times `gain` (option -mm).
        gain: see `base`.
        channel: the channel that a map of single values is read from (option -imfchan): r, g, b, m (opacity),
            l (luminance) or z, or "".

    Examples:
        >>> wood = TextureName.parsed("-s 2 3 1 -clamp on red wood.png")
        >>> wood.name, wood.scale, wood.clamp
        ('red wood.png', (2.0, 3.0), True)
    """

    name: str
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    clamp: bool = False
    base: float = 0.0
    gain: float = 1.0
    channel: str = ""

    @classmethod
    def parsed(cls, text: str) -> "TextureName":
        """Parse the options and the file name, in either order, of a line such as map_Kd.

        Examples:
            >>> TextureName.parsed("wood.png -o 0.5 0.25").offset
            (0.5, 0.25)
        """
        texture, rest = cls(""), text.strip()
        while rest:
            option = re.match(r"(-[A-Za-z]+)\s+", rest)
            if option is None or option[1].lower() not in OPTIONS:
                # a name may hold blanks; options after it are a common mistake
                after = re.search(r"\s(?=(?:" + "|".join(OPTIONS) + r")\s)", rest)
                name, rest = (rest[: after.start()], rest[after.end() :]) if after else (rest, "")
                texture.name = texture.name or name.strip().strip('"')
                continue
            rest = texture._take(option[1].lower(), rest[option.end() :])
        return texture

    def _take(self, option: str, rest: str) -> str:
        """Take the values of an option from the start of a text; what is left of it."""
        values: list[str] = []
        numeric = option in {"-mm", "-o", "-s", "-t"}
        while len(values) < OPTIONS[option] and (word := re.match(r"(\S+)(\s+|$)", rest)):
            if numeric and not NUMBER.fullmatch(word[1]):
                break
            values.append(word[1])
            rest = rest[word.end() :]
        figures = [float(value) for value in values] if numeric else []
        if option == "-s" and figures:
            self.scale = (figures[0], figures[1] if len(figures) > 1 else 1.0)
        elif option == "-o" and figures:
            self.offset = (figures[0], figures[1] if len(figures) > 1 else 0.0)
        elif option == "-mm" and len(figures) == 2:
            self.base, self.gain = figures
        elif option == "-clamp" and values:
            self.clamp = values[0].lower() in {"on", "1", "true"}
        elif option == "-imfchan" and values:
            self.channel = values[0].lower()
        return rest


@dataclass
class Material:
    r"""What an MTL file says of a material, as far as it is seen.

    Attributes:
        name: its name.
        colour: the diffuse colour as written, float64 [3], or None.
        opacity: 0..1, or None.
        colour_map: the texture that gives the colour, or None.
        opacity_map: the texture that gives the opacity, or None.
        unread: what is written there that would be seen, but is not read.

    Examples:
        >>> read_mtl(b"newmtl oak\nKd spectral oak.rfl\n")["oak"]
        Material(name='oak', colour=None, opacity=None, colour_map=None, opacity_map=None, unread=['Kd spectral'])
    """

    name: str
    colour: np.ndarray | None = None
    opacity: float | None = None
    colour_map: TextureName | None = None
    opacity_map: TextureName | None = None
    unread: list[str] = field(default_factory=list)


def read_mtl(data: bytes) -> dict[str, Material]:
    r"""Read the materials of an MTL file, by name.

    Lines that cannot be read are noted in `Material.unread`, or passed over if nothing of them would be seen.

    Examples:
        >>> oak = read_mtl(b"newmtl old oak\nKd 0.5 0.25 0\nTr 0.25\nmap_Kd oak.png\n")["old oak"]
        >>> oak.colour.tolist(), oak.opacity, oak.colour_map.name
        ([0.5, 0.25, 0.0], 0.75, 'oak.png')
    """
    materials: dict[str, Material] = {}
    ambient: dict[str, TextureName] = {}
    material = Material("")
    for line in joined_lines(plain_text(data)).decode("utf-8", "replace").split("\n"):
        key, _, rest = line.strip().partition(" ")
        key, rest = key.lower(), rest.strip()
        if len(rest) > LONGEST_LINE:
            material.unread.append(key)
            continue
        if key == "newmtl":
            name = " ".join(rest.split())
            material = materials[name] = Material(name)
        elif key == "kd":
            material.colour = _colour(rest, material)
        elif key in {"d", "tr"}:
            _take_opacity(key, rest, material)
        elif key in {"map_kd", "map_d", "map_ka"} and rest:
            texture = TextureName.parsed(rest)
            if key == "map_kd":
                material.colour_map = texture
            elif key == "map_d":
                material.opacity_map = texture
            else:
                ambient[material.name] = texture
        elif key and rest and not key.startswith("#") and key not in UNSEEN:
            material.unread.append(key)
    for name, texture in ambient.items():  # exporters of plain materials may write the ambient texture alone
        if name in materials and materials[name].colour_map is None:
            materials[name].colour_map = texture
    _rescale(list(materials.values()))
    return materials


def _rescale(materials: list[Material]) -> None:
    """Bring the colours of a library into 0..1; some are written as 0..255."""
    colours = [material.colour for material in materials if material.colour is not None]
    scale = full_scale(np.array(colours).ravel())
    for material in materials:
        if material.colour is not None:
            material.colour = (material.colour / scale).clip(0, 1) + 0.0  # without signs of zero


def _colour(text: str, material: Material) -> np.ndarray | None:
    """The colour in a line Kd: one or three numbers, or CIE XYZ."""
    words = text.partition("#")[0].split()
    xyz = bool(words) and words[0].lower() == "xyz"
    numbers = [float(word) for word in words[xyz:] if NUMBER.fullmatch(word)]
    if len(numbers) not in {1, 3, 4} or len(numbers) < len(words) - xyz:
        material.unread.append("Kd " + (words[0] if words else ""))
        return material.colour
    colour = np.array(numbers * 3 if len(numbers) == 1 else numbers[:3])
    return XYZ_TO_RGB.dot(colour).clip(0, 1) ** (1 / 2.2) if xyz else colour


def _take_opacity(key: str, text: str, material: Material) -> None:
    """Take the opacity of a line d, which says how opaque (also d -halo), or Tr, how transparent a material is."""
    words = text.partition("#")[0].split()
    if not words or not NUMBER.fullmatch(words[-1]):
        return
    value = min(max(float(words[-1]), 0.0), 1.0)
    if key == "d":
        material.opacity = value
    elif material.opacity is None:
        material.opacity = 1 - value


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
