"""The meshes in a folder, and the shape id, category and split of each from its path."""

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cmah.checks import shown
from cmah.data.mesh_sources import printable, real_path, split_source
from cmah.errors import CmahError
from cmah.meshes import MESH_SUFFIXES

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Source:
    """A mesh file.

    Attributes:
        path: path of the file.
        relative: path within the folder of meshes, with "/"; characters that cannot be printed are replaced.
        shape_id: unique, and the same wherever the folder lies and whatever else it holds.
        category: name of the folder below the top in which the file lies; empty if it lies at the top.
        split: "train", "val" or "test" if it lies in a folder of such a name, else empty.
        size: size of the file in bytes.
        modified: modification time in nanoseconds.

    Examples:
        >>> source = find_meshes("demo/meshes")[0]
        >>> source.relative, source.shape_id, source.category, source.split
        ('airplane/airplane_000.obj', 'airplane.airplane_000.obj', 'airplane', '')
    """

    path: Path
    relative: str
    shape_id: str
    category: str
    split: str
    size: int
    modified: int


def find_meshes(
    meshes: str | Path,
    without: str | Path | None = None,
    *,
    empty: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> list[Source]:
    """The mesh files of a folder, in order of their relative paths.

    Layouts: <category>/**/x.obj; <category>/train/x.off (ModelNet); train/<category>/x.off; x.obj at the top.
    Files and folders whose name starts with a dot or is __MACOSX are passed over, and so are linked folders.

    Args:
        meshes: the folder, or a single mesh file.
        without: a folder within it that is passed over, such as the dataset folder that is made of the meshes.
        empty: give an empty list for a folder that is not there or has no meshes, instead of refusing it.
        report: called with a line on linked folders and on what is called a mesh and is no file, such as a link to
            none: they are passed over.

    Raises:
        CmahError: if there is no such file or folder, no mesh file in it, or a folder in it that cannot be read.

    Examples:
        >>> Path("toys/chair/test").mkdir(parents=True, exist_ok=True)
        >>> _ = Path("toys/chair/test/seat.off").write_text("OFF")
        >>> _ = Path("toys/readme.txt").write_text("no mesh")
        >>> [(source.relative, source.category, source.split) for source in find_meshes("toys")]
        [('chair/test/seat.off', 'chair', 'test')]
    """
    meshes = Path(meshes)
    if meshes.is_file():
        if meshes.suffix.lower() not in MESH_SUFFIXES:
            raise CmahError(f"{meshes}: not a mesh file (expected {', '.join(MESH_SUFFIXES)})")
        return [_source(meshes.parent, meshes.name)]
    if empty and not os.path.lexists(meshes):
        return []
    if not meshes.is_dir():
        raise CmahError(f"{meshes}: no such file or folder")
    sources = []
    linked: list[str] = []
    no_file: list[str] = []
    passed_over = os.path.realpath(without) if without is not None else ""
    for folder, subfolders, names in os.walk(meshes, onerror=_refuse_unreadable):
        subfolders[:] = [
            name
            for name in subfolders
            if not name.startswith(".")
            and name != "__MACOSX"
            and not (
                passed_over.endswith(name) and os.path.realpath(os.path.join(folder, name)) == passed_over
            )
        ]
        linked += [
            os.path.join(folder, name) for name in subfolders if os.path.islink(os.path.join(folder, name))
        ]
        for name in names:
            path = Path(folder) / name
            if name.startswith(".") or path.suffix.lower() not in MESH_SUFFIXES:
                continue
            if path.is_file():
                sources.append(_source(meshes, path.relative_to(meshes).as_posix()))
            else:
                no_file.append(str(path))
    for paths, one, many in (
        (linked, "linked folder", "linked folders"),
        (no_file, "mesh that is no file, or a link to none", "meshes that are no files, or links to none"),
    ):
        if paths:
            what = f"{len(paths):,} {one if len(paths) == 1 else many}"
            report(f"{printable(str(meshes))}: passed over {what} (first: {printable(min(paths))})")
    if not sources and not empty:
        raise CmahError(f"{meshes}: no meshes in it (expected files *{', *'.join(MESH_SUFFIXES)})")
    return sorted(sources, key=lambda source: source.relative)


def _refuse_unreadable(error: OSError) -> None:
    """A folder that is passed over unseen would look as if its meshes had been deleted."""
    raise CmahError(f"{error.filename}: cannot be read ({error.strerror})") from error


def _source(root: Path, relative: str) -> Source:
    status = (root / relative).stat()
    folders = list(PurePosixPath(relative).parts[:-1])
    split = ""
    for place in (1, 0):  # <category>/train before train/<category>
        if place < len(folders) and folders[place].lower() in SPLIT_FOLDERS:
            split = SPLIT_FOLDERS[folders.pop(place).lower()]
            break
    return Source(
        root / relative,
        printable(relative),
        shape_id_of(relative),
        printable(folders[0]).strip() if folders else "",
        split,
        status.st_size,
        status.st_mtime_ns,
    )


def shape_id_of(relative: str) -> str:
    """The shape id of the mesh at a relative path: the parts of the path, joined by dots.

    Ids serve as file names. Paths with other characters than letters, digits, "_" and "-" (for which this rule could
    give two files one id), and long ones, get 10 digits of the path's hash.

    Examples:
        >>> shape_id_of("chair/07/seat.obj"), shape_id_of("chair/no 7.obj")
        ('chair.07.seat.obj', 'chair.no_7-54ed8f40b0.obj')
    """
    stem, dot, suffix = relative.rpartition(".")
    parts = stem.split("/")
    plain = [re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in parts]
    name = ".".join(plain) + dot + suffix
    if plain == parts and len(name) <= 120:
        return name
    digest = hashlib.sha256(relative.encode("utf-8", "surrogateescape")).hexdigest()[:10]
    return f"{'.'.join(plain)[:100].strip('.')}-{digest}{dot}{suffix}"


def with_prefix(prefix: str, shape_id: str) -> str:
    """The shape id of a mesh whose folder was prepared with `--prefix`.

    Examples:
        >>> with_prefix("", "chair.seat.obj"), with_prefix("old", "chair.seat.obj")
        ('chair.seat.obj', 'old.chair.seat.obj')
    """
    return f"{prefix}.{shape_id}" if prefix else shape_id


def check_prefix(prefix: str) -> None:
    """Refuse what cannot stand before shape ids, which serve as file names.

    Raises:
        CmahError: unless it is empty, or up to 40 letters, digits, "_" and "-".

    Examples:
        >>> check_prefix("scan-2024")
        >>> check_prefix("my scans")
        Traceback (most recent call last):
        cmah.errors.CmahError: prefix 'my scans': expected up to 40 letters (a-z), digits, _ and -
    """
    if not isinstance(prefix, str) or not re.fullmatch(r"[A-Za-z0-9_-]{0,40}", prefix):
        raise CmahError(f"prefix {shown(prefix)}: expected up to 40 letters (a-z), digits, _ and -")


def shape_id_in(folders: Sequence[Mapping[str, str]], path: str | Path) -> str | None:
    """The shape id that prepare gives the mesh at `path`, if it lies in one of the folders of a dataset.

    Args:
        folders: `Dataset.mesh_folders`; of folders within one another the innermost counts.
        path: a file, which need not exist. Links on the way to it are followed, as prepare does.

    Returns:
        The id; None for a file that is in none of the folders, or that prepare passes over: no mesh by its suffix,
        hidden, or in a hidden folder.

    Examples:
        >>> folders = [{"path": "/meshes", "prefix": ""}, {"path": "/scans", "prefix": "scan"}]
        >>> shape_id_in(folders, "/meshes/chair/seat.obj"), shape_id_in(folders, "/scans/seat.obj")
        ('chair.seat.obj', 'scan.seat.obj')
        >>> shape_id_in(folders, "/photos/seat.jpg") is None
        True
    """
    home = mesh_home(folders, path)
    return None if home is None else with_prefix(home[0]["prefix"], shape_id_of(home[1]))


def mesh_home(folders: Sequence[Mapping[str, str]], path: str | Path) -> tuple[Mapping[str, str], str] | None:
    """The folder of a dataset's meshes in which a mesh lies, and its path within it; arguments as in `shape_id_in`.

    Returns:
        None where `shape_id_in` gives none.

    Examples:
        >>> mesh_home([{"path": "/meshes", "prefix": ""}], "/meshes/chair/seat.obj")
        ({'path': '/meshes', 'prefix': ''}, 'chair/seat.obj')
    """
    file = str(real_path(path))
    folder, within = split_source(printable(file), folders)
    if folder is None:  # a folder of meshes may have become a link to where it has been moved
        moved = [{**each, "path": printable(os.path.realpath(each["path"]))} for each in folders]
        folder, within = split_source(printable(file), moved)
    relative = file[len(file) - len(within) :]  # as it was before characters were replaced
    parts = relative.split("/")
    if (
        folder is None
        or Path(relative).suffix.lower() not in MESH_SUFFIXES
        or any(part.startswith(".") or part == "__MACOSX" for part in parts)
    ):
        return None
    return folder, relative


def stable_hash(text: str) -> int:
    """A 32-bit hash of `text` that is the same in every process and on every machine.

    Examples:
        >>> f"{stable_hash('chair'):08x}"  # how its SHA-256 begins
        '3d7eb3d3'
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def check_fractions(fractions: tuple[float, ...]) -> None:
    """Refuse what cannot be the parts of train, val and test.

    Raises:
        CmahError: unless they are three numbers from 0 that sum to 1.

    Examples:
        >>> check_fractions((0.8, 0.1, 0.1))
        >>> check_fractions((0.8, 0.1, 0.2))
        Traceback (most recent call last):
        cmah.errors.CmahError: split fractions must be three numbers that sum to 1 ..., got 0.8, 0.1, 0.2
    """
    numbers = isinstance(fractions, list | tuple) and all(isinstance(each, int | float) for each in fractions)
    if not numbers or len(fractions) != 3 or min(fractions) < 0 or not abs(sum(fractions) - 1) < 1e-6:
        raise CmahError(
            f"split fractions must be three numbers that sum to 1 (train, val, test), got {shown(fractions)}"
        )


def split_of(shape_id: str, fractions: tuple[float, ...]) -> str:
    """The split of a shape by a hash of its id: adding shapes moves none of the others.

    Args:
        shape_id: the shape.
        fractions: parts of train, val and test; see `check_fractions`.

    Examples:
        >>> split_of("chair.chair_000.obj", (0.8, 0.1, 0.1))
        'train'
    """
    position = stable_hash("split " + shape_id) / 2**32
    if position < fractions[0]:
        return "train"
    return "val" if position < fractions[0] + fractions[1] else "test"
