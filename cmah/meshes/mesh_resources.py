"""The files that a mesh file names: confined to its folder, and textures decoded within limits."""

import math
import re
import stat
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import numpy as np
from PIL import Image
from trimesh.resolvers import Resolver

from cmah.meshes.obj_text import as_utf8

RESOURCE_BYTES = 1 << 28
TEXTURE_PIXELS = 1 << 26
# a larger texture shows no more detail in a view of a few hundred pixels, and only aliases
TEXTURE_SIDE = 1024


class ConfinedResolver(Resolver):
    """Gives trimesh the files that a mesh file names, if they lie in the folder of the mesh file or below it.

    Absolute paths, "..", URLs, symbolic links that lead outside and anything but regular files are refused.
    Names in the wrong case (written on Windows) and percent-encoded ones (glTF) are looked up as well.

    Examples:
        >>> resolver = ConfinedResolver("demo/meshes/chair")
        >>> resolver.get("CHAIR_000.mtl")[:6]
        b'newmtl'
        >>> resolver.get("../sofa/sofa_000.mtl")
        Traceback (most recent call last):
        FileNotFoundError: ../sofa/sofa_000.mtl
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()

    def get(self, key: str) -> bytes:
        """The content of the file named `key`.

        Raises:
            FileNotFoundError: if it is missing, refused, or larger than 256 MiB.
        """
        name = _plain_name(key)
        for candidate in dict.fromkeys((name, unquote(name))):
            path = self._find(candidate)
            if path is None:
                continue
            status = path.stat()
            if stat.S_ISREG(status.st_mode) and status.st_size <= RESOURCE_BYTES:
                data = path.read_bytes()
                return as_utf8(data) if path.suffix.lower() == ".mtl" else data
        raise FileNotFoundError(key)

    def _find(self, name: str) -> Path | None:
        """The path of the file with links resolved; None if it is missing or refused."""
        relative = PurePosixPath(name)
        if not name or "\0" in name or relative.is_absolute() or ".." in relative.parts:
            return None
        if re.match(r"[A-Za-z][\w+.-]*:", name):  # a URL, or a drive of Windows
            return None
        path = self.folder
        for part in relative.parts:
            if not path.is_dir():
                return None
            alike = [part] if (path / part).exists() else []
            alike += sorted(child.name for child in path.iterdir() if child.name.lower() == part.lower())
            if not alike:
                return None
            path = path / alike[0]
            if not path.resolve().is_relative_to(self.folder):
                return None
        return path.resolve()

    def keys(self) -> list[str]:
        """Return nothing: files are only given by name."""
        return []

    def namespaced(self, namespace: str) -> "ConfinedResolver":
        """Return the same resolver: a namespace must not lead out of the folder."""
        return self

    def write(self, name: str, data: Any) -> None:
        """Refuse: loading a mesh writes nothing.

        Raises:
            PermissionError: always.
        """
        raise PermissionError(name)


def _plain_name(key: str) -> str:
    """The file name in an entry of an MTL or glTF file: without options of map_Kd, with slashes for backslashes."""
    name = key.strip().strip('"').replace("\\", "/")
    # options of map_Kd come before the name: -s 1 1 1 -clamp on wood.jpg
    while option := re.match(r"-[A-Za-z]+\s+((on|off)\s+|(-?[\d.]+\s+)+|\S+\s+)", name):
        name = name[option.end() :]
    return name


def texture_texels(image: Image.Image, alpha: str, cutoff: float = 0.5) -> np.ndarray | None:
    """Decode a texture, at most 1,024 pixels a side.

    Args:
        image: as opened by trimesh, not yet decoded.
        alpha: as `Part.texture_alpha`.
        cutoff: as `Part.alpha_cutoff`.

    Returns:
        uint8 [h, w, 4] RGBA, or None if it is too large (more than 64 million pixels) or broken.

    Examples:
        >>> texture_texels(Image.new("RGB", (2048, 1024)), "blend").shape
        (512, 1024, 4)
        >>> texture_texels(Image.new("RGBA", (1, 1), (90, 60, 30, 100)), "mask").tolist()  # a hole
        [[[90, 60, 30, 0]]]
    """
    width, height = image.size
    if width * height > TEXTURE_PIXELS or width * height == 0:
        return None
    try:
        shrink = math.ceil(max(width, height) / TEXTURE_SIDE)
        image.draft("RGB", (width // shrink, height // shrink))  # JPEG decodes faster at 1/2, 1/4 or 1/8
        shrink = math.ceil(max(image.size) / TEXTURE_SIDE)
        if image.mode.startswith("I") or image.mode == "F":
            values = np.asarray(image, dtype=np.float32)
            image = Image.fromarray((values / max(float(values.max()), 1.0) * 255).astype(np.uint8))
        rgba = image.convert("RGBA")
        if shrink > 1:
            rgba = rgba.reduce(shrink)
        texels = np.array(rgba)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if alpha == "ignore":
        texels[..., 3] = 255
    elif alpha == "mask":
        texels[..., 3] = np.where(texels[..., 3] < cutoff * 255, 0, 255)
    return texels
