"""Where the meshes of a prepared dataset lie: the folders that it was made from, and the path of each file in them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

PREPARE_LOG = "prepare.jsonl"  # in a dataset folder that `cmah prepare` made, or has begun to make


def mesh_folders(prepared: object) -> list[dict[str, str]]:
    """The folders that the key `prepared` of dataset.json names; what is not of this form names none.

    Args:
        prepared: the value of the key.

    Returns:
        For each folder its absolute `path` and the `prefix` that the ids of its shapes have ("" = none), in order.

    Examples:
        >>> mesh_folders({"views": 12, "folders": [{"path": "/meshes", "prefix": ""}, {"path": 3}]})
        [{'path': '/meshes', 'prefix': ''}]
        >>> mesh_folders({"views": 12})  # of a version of cmah that recorded no folders
        []
    """
    folders = prepared.get("folders") if isinstance(prepared, Mapping) else None
    return [
        {"path": folder["path"], "prefix": folder["prefix"]}
        for folder in (folders if isinstance(folders, list) else [])
        if isinstance(folder, Mapping)
        and all(isinstance(folder.get(key), str) for key in ("path", "prefix"))
        and folder["path"].startswith("/")
    ]


def split_source(source: str, folders: Sequence[Mapping[str, str]]) -> tuple[Mapping[str, str] | None, str]:
    """The folder of meshes that a file lies in, the innermost if there are several, and its path within it.

    Args:
        source: as in the column `source` of shapes.csv: an absolute path, or, in datasets of earlier versions, the
            path within the one folder of meshes.
        folders: see `mesh_folders`.

    Returns:
        The folder, None if the file is in none of them; and the path within it, else `source` as it is.

    Examples:
        >>> folders = [{"path": "/meshes", "prefix": ""}, {"path": "/meshes/old", "prefix": "old"}]
        >>> split_source("/meshes/chair/seat.obj", folders)
        ({'path': '/meshes', 'prefix': ''}, 'chair/seat.obj')
        >>> split_source("/meshes/old/seat.obj", folders)
        ({'path': '/meshes/old', 'prefix': 'old'}, 'seat.obj')
        >>> split_source("chair/seat.obj", folders)
        (None, 'chair/seat.obj')
    """
    best: Mapping[str, str] | None = None
    for folder in folders:
        inside = source.startswith(folder["path"].rstrip("/") + "/")
        if inside and (best is None or len(folder["path"]) > len(best["path"])):
            best = folder
    return best, source if best is None else source[len(best["path"].rstrip("/")) + 1 :]


def source_of(folder: str, relative: str) -> str:
    """The cell `source` of a mesh: its absolute path, with characters that a table cannot show replaced.

    Args:
        folder: absolute path of the folder of meshes.
        relative: path of the file within it.

    Examples:
        >>> source_of("/meshes", "chair/seat.obj")
        '/meshes/chair/seat.obj'
    """
    return printable(str(PurePosixPath(folder, relative)))


def printable(name: str) -> str:
    r"""The name for a table: bytes that are not UTF-8 and control characters are replaced, one for one.

    Examples:
        >>> printable("a\nb.obj") == "a\ufffdb.obj"
        True
    """
    return "".join(char if char.isprintable() else "\ufffd" for char in name)


def real_path(path: str | Path) -> Path:
    """The absolute path of a mesh file as prepare records it: links on the way to it are followed.

    A file that is itself a link keeps its own name and place, by which its id is made.

    Examples:
        >>> Path("meshes").mkdir()
        >>> Path("linked").symlink_to("meshes")
        >>> real_path("linked/seat.obj") == Path("meshes").resolve() / "seat.obj"
        True
    """
    path = Path(path)
    return path.parent.resolve() / path.name


def why_unfinished(folder: str | Path) -> str:
    """What to do about a folder where prepare ended before it wrote the dataset; "" if it did not.

    Args:
        folder: a folder.

    Examples:
        >>> Path("stopped").mkdir()
        >>> Path("stopped/prepare.jsonl").touch()
        >>> why_unfinished("stopped")
        'stopped: prepare was stopped here; the same cmah prepare goes on and makes the dataset'
        >>> why_unfinished("demo/dataset")
        ''
    """
    log, header = (os.path.join(folder, name) for name in (PREPARE_LOG, "dataset.json"))
    if not os.path.isfile(log) or os.path.lexists(header):
        return ""
    if os.path.isfile(os.path.join(folder, "skipped.csv")):
        return (
            f"{folder}: prepare was stopped here, or no mesh could be used (see skipped.csv); call it again"
        )
    return f"{folder}: prepare was stopped here; the same cmah prepare goes on and makes the dataset"
