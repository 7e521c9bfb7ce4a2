"""MTL files, the material libraries of OBJ: colour, opacity, and the names of the textures that give them.

Format: https://paulbourke.net/dataformats/mtl/, with what exporters write beside it.
"""

import re
from dataclasses import dataclass, field

import numpy as np

from cmah.meshes.colours import full_scale
from cmah.meshes.mesh_text import joined_lines, plain_text

# the options of a texture and how many values each may have
OPTIONS = {"-blendu": 1, "-blendv": 1, "-cc": 1, "-clamp": 1, "-imfchan": 1, "-type": 1, "-texres": 1, "-bm": 1,
           "-boost": 1, "-colorspace": 1, "-mm": 2, "-o": 3, "-s": 3, "-t": 3}  # fmt: skip
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
# what of a material is not seen in a plain view of its surface: highlights, reflection, relief, and physical values
UNSEEN = ("ka", "ks", "ns", "ni", "tf", "illum", "sharpness", "bump", "disp", "refl", "norm", "pr", "pm", "ps",
          "pc", "pcr", "aniso", "anisor", "km", "map_ks", "map_ns", "map_bump", "map_disp", "map_refl", "map_kn",
          "map_norm", "map_pr", "map_pm", "map_ps", "map_pc", "map_pcr", "map_ni", "map_aat", "map_rma", "map_orm",
          "map_ao", "map_ka")  # fmt: skip
BRIGHT = 4
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
    lights: dict[str, np.ndarray] = {}
    textures_of: dict[str, dict[str, TextureName]] = {}
    material, textures = Material(""), dict[str, TextureName]()
    for line in joined_lines(plain_text(data)).decode("utf-8", "replace").split("\n"):
        key, _, rest = line.strip().partition(" ")
        key, rest = key.lower(), rest.strip()
        if len(rest) > LONGEST_LINE:
            material.unread.append(key)
            continue
        if key == "newmtl":
            name = " ".join(rest.split())
            material = materials[name] = Material(name)
            textures = textures_of[name] = {}
        elif key == "kd":
            material.colour = _colour(rest, material)
        elif key in {"d", "tr"}:
            _take_opacity(key, rest, material)
        elif key == "ke":
            lights[material.name] = np.array([float(word) for word in rest.split() if NUMBER.fullmatch(word)])
        elif key in {"map_kd", "map_d", "map_ka", "map_ke"} and rest:
            textures[key] = TextureName.parsed(rest)
        elif key and rest and not key.startswith("#") and key not in UNSEEN:
            material.unread.append(key)
    for name, material in materials.items():
        textures = textures_of[name]
        material.colour_map, material.opacity_map = textures.get("map_kd"), textures.get("map_d")
        _take_light(material, lights.get(name, np.zeros(0)), textures.get("map_ke"))
        if material.colour_map is None:  # exporters of plain materials may write the ambient texture alone
            material.colour_map = textures.get("map_ka")
    _rescale(list(materials.values()))
    return materials


def _rescale(materials: list[Material]) -> None:
    """Bring the colours of a library into 0..1; some are written as 0..255."""
    colours = np.array([material.colour for material in materials if material.colour is not None])
    # materials that are a little brighter than white are more likely than a library of almost black ones
    scale = full_scale(colours) if colours.max(initial=0) > BRIGHT else 1.0
    for material in materials:
        if material.colour is not None:
            material.colour = (material.colour / scale).clip(0, 1) + 0.0  # without signs of zero


def _colour(text: str, material: Material) -> np.ndarray | None:
    """The colour in a line Kd: one or three numbers, or CIE XYZ."""
    words = text.partition("#")[0].split()
    if "." not in text:  # a decimal comma
        words = [word.replace(",", ".") for word in words]
    xyz = bool(words) and words[0].lower() == "xyz"
    numbers = [float(word) for word in words[xyz:] if NUMBER.fullmatch(word)]
    if len(numbers) not in {1, 3, 4} or len(numbers) < len(words) - xyz:
        material.unread.append("Kd " + (words[0] if words else ""))
        return material.colour
    colour = np.array(numbers * 3 if len(numbers) == 1 else numbers[:3])
    return XYZ_TO_RGB.dot(colour).clip(0, 1) ** (1 / 2.2) if xyz else colour


def _take_light(material: Material, light: np.ndarray, texture: TextureName | None) -> None:
    """Take the light that a material emits for its colour where it has no other: that of screens, flames, stars."""
    if not (light > 0).any() and texture is None:
        return
    black = material.colour is not None and not material.colour.any()
    if black and material.colour_map is None:
        if len(light) in {1, 3} and light.any():
            material.colour = np.broadcast_to(light.clip(0, 1), 3).copy()
        material.colour_map = texture
    else:
        material.unread.append("Ke" if texture is None else "map_ke")


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
