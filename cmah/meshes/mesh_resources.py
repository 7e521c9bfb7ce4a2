"""The files that a mesh file names: looked for where people keep them, confined to a folder; textures within limits."""

import contextlib
import io
import math
import re
import stat
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import numpy as np
from PIL import Image

from cmah.meshes.mesh_text import folded_name
from cmah.pixels import depth_of_values, eight_bits

RESOURCE_BYTES = 1 << 28
TEXTURE_PIXELS = 1 << 26
# a larger texture shows no more detail in a view of a few hundred pixels, and only aliases
TEXTURE_SIDE = 1024
# what textures come in; some of the other formats that Pillow reads run programs (EPS)
TEXTURE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "TGA", "DDS", "PSD", "PCX", "SGI",
                   "JPEG2000", "AVIF")  # fmt: skip
# beside a mesh, or beside its folder (as in downloads with `source` and `textures`), where sites and tools put pictures
PICTURE_FOLDERS = ("textures", "texture", "images", "image", "maps", "tex", "materials")
# of a path that leads nowhere here, so many of its last parts are tried
LAST_PARTS = 6
LONGEST_NAME = 4096


class ConfinedResolver:
    """Gives the files that a mesh file names, if they lie within a folder.

    A name is looked for relative to the mesh. If there is nothing (it is a path on another machine, or the files were
    moved), its last parts are tried, `wood.png` of `C:\\work\\wood.png`, also in folders for pictures beside the mesh
    and one above. Symbolic links that lead outside and anything but regular files are refused. Names in the wrong case
    (written on Windows), with other codes for accents (macOS) and percent-encoded ones (glTF) are looked up as well.

    Args:
        folder: where the mesh file lies.
        root: no file outside it is given; by default `folder`.

    Examples:
        >>> resolver = ConfinedResolver("demo/meshes/chair")
        >>> resolver.get("CHAIR_000.mtl")[:6]
        b'newmtl'
        >>> resolver.get("../sofa/sofa_000.mtl")
        Traceback (most recent call last):
        FileNotFoundError: ../sofa/sofa_000.mtl
        >>> ConfinedResolver("demo/meshes/chair", root="demo/meshes").get("../sofa/sofa_000.mtl")[:6]
        b'newmtl'
    """

    def __init__(self, folder: str | Path, root: str | Path | None = None) -> None:
        self.folder = Path(folder).resolve()
        self.root = self.folder if root is None else Path(root).resolve()
        if not self.folder.is_relative_to(self.root):
            self.root = self.folder
        # names of what is there and is not read, since it lies, or leads, outside the root
        self.outside: dict[str, None] = {}
        self._names: dict[Path, dict[str, str]] = {}

    def get(self, key: str) -> bytes:
        """The content of the file named `key`.

        Raises:
            FileNotFoundError: if it is missing, refused, or larger than 256 MiB.
        """
        name = unquoted(key).replace("\\", "/")
        # a comment behind the name, or what a URL asks for
        plain = re.split(r"\s#|\?", name, maxsplit=1)[0].strip()
        # names too long, folders that may not be read, links to themselves
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            for candidate in dict.fromkeys((name, unquote(name), unquoted(plain), unquote(plain))):
                if path := self._search(candidate):
                    return path.read_bytes()
            there = self.folder / unquoted(plain)
            if there.is_file() and not there.resolve().is_relative_to(self.root):
                self.outside[unquoted(plain)] = None
        raise FileNotFoundError(key)

    def _search(self, name: str) -> Path | None:
        """The path of a file, in order of how likely it is the one that is meant; None if there is none."""
        if not name or "\0" in name or len(name) > LONGEST_NAME:
            return None
        parts = [part for part in PurePosixPath(name).parts if part.strip("/")]
        # an absolute path, a URL or a drive of Windows names no file here, but its last parts may
        away = name.startswith("/") or re.match(r"[A-Za-z][\w+.-]*:", name)
        if not away:
            path = self._file(self.folder, parts)
        elif PurePosixPath(name).is_relative_to(self.root):
            path = self._file(self.root, list(PurePosixPath(name).relative_to(self.root).parts))
        else:
            path = None
        if path:
            return path
        last_up = max((place for place, part in enumerate(parts) if part == ".."), default=-1)
        below = parts[last_up + 1 :][-LAST_PARTS:]
        places = [(self.folder, below[start:]) for start in range(len(below))]
        for beside in (self.folder, self.folder.parent):
            places += [(beside, [folder, *below[-1:]]) for folder in PICTURE_FOLDERS]
        return next((path for place in places if (path := self._file(*place))), None)

    def _file(self, folder: Path, parts: list[str]) -> Path | None:
        """The regular file at `parts` from a folder, with links resolved; None if there is none within the root."""
        path = folder
        for part in parts:
            if part == "..":
                path = path.parent
            else:
                if not path.is_relative_to(self.root) or not path.is_dir():
                    return None
                alike = self._alike(path, part)
                if alike is None:
                    return None
                path = (path / alike).resolve()
            if not path.is_relative_to(self.root):
                return None
        status = path.stat()
        return path if stat.S_ISREG(status.st_mode) and status.st_size <= RESOURCE_BYTES else None

    def _alike(self, folder: Path, name: str) -> str | None:
        """The name of an entry of a folder, else of one that only looks equal; None if there is none."""
        if (folder / name).exists():
            return name
        if folder not in self._names:
            children = sorted(folder.iterdir(), reverse=True)
            self._names[folder] = {folded_name(child.name): child.name for child in children}
        return self._names[folder].get(folded_name(name))


def unquoted(name: str) -> str:
    """A name without blanks around it, and without quotation marks around that.

    Examples:
        >>> unquoted(' "my wood.png" '), unquoted("'oak'"), unquoted('6" plank')
        ('my wood.png', 'oak', '6" plank')
    """
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'":
        return name[1:-1].strip()
    return name


def open_texture(data: bytes, name: str) -> Image.Image:
    """A picture that is not decoded yet; `name` is kept in its `info["file_path"]`, for remarks.

    Raises:
        OSError: if it is no picture in a known format, or has too many pixels (more than 64 million).

    Examples:
        >>> Image.new("L", (3, 2)).save("grey.png")
        >>> open_texture(Path("grey.png").read_bytes(), "grey.png").info["file_path"]
        'grey.png'
    """
    Image.init()
    Image.MAX_IMAGE_PIXELS = TEXTURE_PIXELS
    formats = [kind for kind in TEXTURE_FORMATS if kind in Image.OPEN]
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # decoders of foreign bytes raise nearly anything, also SyntaxError
        raise OSError(str(error)) from None
    if image.width * image.height > TEXTURE_PIXELS:
        raise OSError("too many pixels")
    image.info["file_path"] = name
    return image


def texture_texels(image: Image.Image, alpha: str, cutoff: float = 0.5) -> np.ndarray | None:
    """Decode a texture, at most 1,024 pixels a side.

    Grey of 16 bits keeps its high byte. Numbers of 32 bits and floating point are on the scale 0..1, 0..255 or
    0..65535, the smallest that holds them, where their file states none.

    Args:
        image: not yet decoded.
        alpha: as `Part.texture_alpha`.
        cutoff: as `Part.alpha_cutoff`.

    Returns:
        uint8 [h, w, 4] RGBA, or None if it is too large (more than 64 million pixels) or broken.

    Examples:
        >>> texture_texels(Image.new("RGB", (2048, 1024)), "blend").shape
        (512, 1024, 4)
        >>> texture_texels(Image.new("RGBA", (1, 1), (90, 60, 30, 100)), "mask").tolist()  # a hole
        [[[90, 60, 30, 0]]]
        >>> texture_texels(Image.fromarray(np.full((1, 1), 16384, np.uint16)), "ignore").tolist()
        [[[64, 64, 64, 255]]]
    """
    width, height = image.size
    if width * height > TEXTURE_PIXELS or width * height == 0:
        return None
    try:
        shrink = math.ceil(max(width, height) / TEXTURE_SIDE)
        image.draft("RGB", (width // shrink, height // shrink))  # JPEG decodes faster at 1/2, 1/4 or 1/8
        shrink = math.ceil(max(image.size) / TEXTURE_SIDE)
        rgba = _rgba8(image)
        # what is all transparent or not transparent at all is made smaller without its opacity, by which Pillow weighs
        opacity = rgba.getchannel("A").getextrema()
        if alpha == "ignore" or opacity in {(0, 0), (255, 255)}:
            smaller = rgba.convert("RGB").reduce(shrink) if shrink > 1 else rgba.convert("RGB")
            smaller.putalpha(255 if alpha == "ignore" or opacity == (255, 255) else 0)
        else:
            smaller = rgba.reduce(shrink) if shrink > 1 else rgba
        texels = np.array(smaller)
    except MemoryError:
        raise
    except Exception:  # decoders of foreign bytes raise nearly anything, also SyntaxError and struct.error
        return None
    if alpha == "mask":
        texels[..., 3] = np.where(texels[..., 3] < cutoff * 255, 0, 255)
    return texels


def _rgba8(image: Image.Image) -> Image.Image:
    """A picture of any mode as RGBA with 8 bits a channel."""
    if image.mode not in {"I", "F"}:
        return eight_bits(image).convert("RGBA")
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0, neginf=0)
    grey = values.clip(0) / _full_scale(values, image) * 255
    return Image.fromarray(grey.clip(0, 255).round().astype(np.uint8)).convert("RGBA")


def _full_scale(values: np.ndarray, image: Image.Image) -> float:
    """What stands for white among whole numbers of 32 bits and floating-point numbers."""
    highest = float(values.max())
    if image.mode == "I":
        return (1 << depth_of_values(image, int(highest))) - 1
    if highest <= 4:  # a little above 1 is light that is too bright
        return 1.0
    return 255.0 if highest <= 255 else 65535.0 if highest <= 65535 else float(np.iinfo(np.int32).max)
