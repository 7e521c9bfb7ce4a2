"""The files that are encoded or searched for: pictures, meshes and clouds, named one by one or by their folder."""

import codecs
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cmah.data.file_kinds import PICTURE_SUFFIXES, FileKind, kind_or_fault
from cmah.errors import CmahError
from cmah.file_names import readable_name, refuse_url
from cmah.meshes import MESH_SUFFIXES
from cmah.preparing.shape_ids import shape_id_in, shape_id_of

Files = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@dataclass(frozen=True)
class QueryFile:
    """A file to encode.

    Attributes:
        path: the file.
        name: what it is called in results: `readable_name` of the path as given.
        shape_id: of a mesh, the id that `prepare` gives it where that is known, else its name.
        kind: what it is, or why that cannot be told.
        root: the folder that was given and in which it was found, outside which nothing is read that a mesh names; None
            for a file that was itself given: the folder in which it lies.

    Examples:
        >>> QueryFile(Path("toys/chair/a.obj"), "toys/chair/a.obj", "chair.a.obj", "mesh").shape_id
        'chair.a.obj'
    """

    path: Path
    name: str
    shape_id: str
    kind: FileKind | CmahError
    root: Path | None = None


def query_files(
    files: Files, prepared: Sequence[Mapping[str, str]] = ()
) -> tuple[list[QueryFile], list[tuple[str, str]], list[str]]:
    """The files that paths and folders name.

    A folder stands for all pictures and meshes in it and in the folders below, in order of their paths; those whose
    names begin with a dot are passed over, and so are linked folders, and masks (X_mask.png beside X.jpg).

    Args:
        files: a path of a file or folder, or any number of them.
        prepared: the folders of meshes that a dataset was prepared from, by which meshes have ids.

    Returns:
        (the files; (path, reason) of what is a URL or an empty folder; a line for each folder on what is in it).

    Raises:
        CmahError: if something given is no path, or an empty one.

    Examples:
        >>> Path("toys/chair").mkdir(parents=True, exist_ok=True)
        >>> for name in ("chair/a.obj", "b.jpg", "notes.txt"):
        ...     Path("toys", name).touch()
        >>> taken, refused, lines = query_files(["toys", "c.png", "http://x.org/d.jpg"])
        >>> [file.name for file in taken], taken[1].shape_id
        (['toys/b.jpg', 'toys/chair/a.obj', 'c.png'], 'chair.a.obj')
        >>> refused, lines
        ([('http://x.org/d.jpg', 'http://x.org/d.jpg: a URL, ...')], ['toys: 1 picture and 1 mesh'])
    """
    taken: list[QueryFile] = []
    refused: list[tuple[str, str]] = []
    lines: list[str] = []
    for given in _each(files):
        try:
            refuse_url(given)
            path = Path(given)
            if path.is_dir():
                inside, lost = _inside(path)
                lines.append(f"{readable_name(path)}: {_counted(inside)}{lost}")
                taken += [_query_file(path, prepared, relative) for relative in inside]
            else:
                taken.append(_query_file(path, prepared))
        except CmahError as error:
            refused.append((readable_name(given), str(error)))
        except OSError as error:  # such as a name that is too long
            name = readable_name(given)
            refused.append((name, f"{name}: cannot be read ({error.strerror})"))
    return taken, refused, lines


def _each(files: Files) -> Iterable[str | Path]:
    """One path or many as paths."""
    given = [files] if isinstance(files, str | os.PathLike) else files
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise CmahError(f"files are {type(files).__name__}, expected a path or several")
    for path in given:
        if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
            raise CmahError(f"a file is {type(path).__name__}, expected a path: text or pathlib.Path")
        if not os.fspath(path):  # which Path takes for the current folder
            raise CmahError("a file is an empty path, expected the path of a file or folder")
        yield path if isinstance(path, str) else Path(path)


def _query_file(given: Path, prepared: Sequence[Mapping[str, str]], relative: str = "") -> QueryFile:
    """A file that was given, or one within a folder that was."""
    path, root = (given / relative, given) if relative else (given, None)
    name = readable_name(path)
    kind = kind_or_fault(path)
    if kind != "mesh":
        return QueryFile(path, name, name, kind, root)
    shape_id = shape_id_in(prepared, path) or (shape_id_of(relative) if relative else name)
    return QueryFile(path, name, shape_id, kind, root)


def _inside(folder: Path) -> tuple[list[str], str]:
    """The pictures and meshes in a folder, as paths within it with "/", in order; and what is named so and is none."""
    found, lost = [], 0
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"]
        stems = {Path(name).stem for name in names}
        for name in names:
            path = Path(parent) / name
            if is_picture(path) and path.stem.removesuffix("_mask") in stems - {path.stem}:
                continue
            if name.startswith(".") or not (is_picture(path) or is_mesh(path)):
                continue
            if path.is_file():
                found.append(path.relative_to(folder).as_posix())
            else:
                lost += 1
    left_out = f"; {lost:,} passed over (no ordinary file, or a link to none)" if lost else ""
    if not found:
        raise CmahError(
            f"{folder}: no pictures or meshes in it (expected *{', *'.join((*PICTURE_SUFFIXES, *MESH_SUFFIXES))})"
            f"{left_out}"
        )
    return sorted(found), left_out


def _counted(names: Sequence[str]) -> str:
    """How many pictures and meshes there are, in words."""
    meshes = sum(is_mesh(Path(name)) for name in names)
    counts = ((len(names) - meshes, "picture", "pictures"), (meshes, "mesh", "meshes"))
    return " and ".join(f"{count:,} {one if count == 1 else many}" for count, one, many in counts if count)


def is_picture(path: Path) -> bool:
    """Whether a file in a folder is taken for a picture, by its suffix.

    Examples:
        >>> is_picture(Path("photo.JPG")), is_picture(Path("chair.obj"))
        (True, False)
    """
    return path.suffix.lower() in PICTURE_SUFFIXES


def is_mesh(path: Path) -> bool:
    """Whether a file in a folder is taken for a mesh, by its suffix.

    Examples:
        >>> is_mesh(Path("photo.jpg")), is_mesh(Path("chair.OBJ"))
        (False, True)
    """
    return path.suffix.lower() in MESH_SUFFIXES


def read_list(path: str | Path) -> list[str]:
    """The paths of a list of files, one a line; empty lines are passed over.

    Args:
        path: a text file, or "-" for standard input. Bytes that are no UTF-8 are kept as they are; a byte order mark
            is passed over.

    Raises:
        CmahError: if it cannot be read, or names no file.

    Examples:
        >>> _ = Path("list.txt").write_text("a.jpg\\n\\nb c.jpg\\n")
        >>> read_list("list.txt")
        ['a.jpg', 'b c.jpg']
    """
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else Path(path).read_bytes()
    except OSError as error:
        raise CmahError(f"{path}: cannot be read ({error.strerror})") from None
    lines = [
        os.fsdecode(line.removesuffix(b"\r")) for line in data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    ]
    paths = [line for line in lines if line.strip()]
    if not paths or "\0" in "".join(paths):
        what = "standard input" if str(path) == "-" else path
        raise CmahError(
            f"{what}: {'names no file' if not paths else 'no text'}, expected a path on each line"
        )
    return paths
