"""The files beside meshes that these may name, such as textures: what meshes look like changes with them."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cmah.meshes.mesh_resources import PICTURE_FOLDERS
from cmah.meshes.mesh_text import folded_name
from cmah.runs.query_files import QueryFile

# materials, buffers of glTF, and pictures; what else lies there, such as the output of a search, changes no mesh
SUFFIXES = (
    *(".mtl", ".bin", ".ktx2", ".basis"),
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm"),
    *(".pbm", ".pnm", ".tga", ".dds", ".psd", ".pcx", ".sgi", ".rgb", ".rgba", ".bw", ".jp2", ".j2k", ".avif"),
)  # fmt: skip


def beside_meshes(files: Sequence[QueryFile]) -> list[Path]:
    """The files by which meshes may be changed: beside them, one folder above, and in the folders for pictures there.

    What meshes name in yet other folders is not among them, as that would take reading the meshes.

    Args:
        files: meshes and others, which have nothing beside them.

    Returns:
        Paths in order, each once.

    Examples:
        >>> mesh = Path("demo/meshes/mug/mug_000.obj")
        >>> beside = beside_meshes([QueryFile(mesh, str(mesh), "mug", "mesh")])
        >>> beside[0].name
        'mug_000.mtl'
    """
    meshes = [file.path for file in files if file.kind == "mesh"]
    own = dict.fromkeys(Path(os.path.realpath(path)).parent for path in meshes)
    beside: dict[Path, None] = {}
    for folder in dict.fromkeys(place for each in own for place in (each, each.parent)):
        inside, folders = _entries(folder)
        beside |= dict.fromkeys(inside)
        for pictures in folders:
            beside |= dict.fromkeys(_entries(pictures)[0])
    return list(beside)


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files in a folder that meshes may name, and the folders for pictures in it; nothing if it cannot be read."""
    names: list[str] = []
    with suppress(OSError):
        names = sorted(os.listdir(folder))
    files = [folder / name for name in names if name.lower().endswith(SUFFIXES)]
    return files, [folder / name for name in names if folded_name(name) in PICTURE_FOLDERS]
