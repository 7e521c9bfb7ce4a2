"""What a file is, a picture, a mesh or a cloud of points: by its first bytes, else by its suffix."""

from pathlib import Path
from typing import Literal

from cmah.errors import CmahError
from cmah.meshes import MESH_SUFFIXES
from cmah.reading import require_file

FileKind = Literal["picture", "mesh", "points"]
# By these a file is taken for a picture where its bytes tell nothing, so that a broken one is told to be one
PICTURE_SUFFIXES = (
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
_PICTURES = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
)
_POINTS = b"\x93NUMPY"
_MESHES = (b"glTF", b"ply\n", b"ply\r")


def kind_of_file(path: str | Path) -> FileKind:
    """Whether a file is a picture, a mesh or a cloud of points.

    Args:
        path: the file, of whatever name.

    Raises:
        CmahError: if it is missing, or neither its bytes nor its suffix tell.

    Examples:
        >>> import PIL.Image
        >>> PIL.Image.new("RGB", (2, 2)).save("photo.without_suffix", format="PNG")
        >>> kind_of_file("photo.without_suffix"), kind_of_file("demo/meshes/mug/mug_000.obj")
        ('picture', 'mesh')
    """
    path = Path(path)
    suffix = path.suffix.lower()
    picture = suffix in PICTURE_SUFFIXES
    require_file(path, "expected a picture" if picture else "expected a picture, a mesh or points")
    try:
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError as error:
        raise CmahError(f"{path}: cannot be read ({error.strerror})") from None
    if start.startswith(_PICTURES) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP"):
        return "picture"
    if start.startswith(_POINTS):
        return "points"
    if start.startswith(_MESHES) or suffix in MESH_SUFFIXES:
        return "mesh"
    # two letters begin many a text: BM for bitmaps and P1 to P6 for PPM count beside a suffix that is no other's
    if picture or start[:2] == b"BM" or _is_ppm(start):
        return "picture"
    if suffix == ".npy":
        return "points"
    raise CmahError(f"{path}: expected a picture, a mesh ({', '.join(MESH_SUFFIXES)}) or points (.npy, .ply)")


def kind_or_fault(path: str | Path) -> FileKind | CmahError:
    """What `kind_of_file` says of a file, or why it says nothing.

    Examples:
        >>> kind_or_fault("demo/meshes/mug/mug_000.obj"), str(kind_or_fault("none.jpg"))
        ('mesh', 'none.jpg: no such file (expected a picture)')
    """
    try:
        return kind_of_file(path)
    except CmahError as error:
        return error


def _is_ppm(start: bytes) -> bool:
    return start[:1] == b"P" and start[1:2] in b"123456" and start[2:3].isspace()
