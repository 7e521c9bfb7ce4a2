"""Which of a dataset's folders of meshes is given to prepare, with which prefix, and whether its ids are free."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cmah.data.dataset import Shape
from cmah.data.mesh_sources import printable, source_of
from cmah.errors import CmahError
from cmah.preparing.prepare_log import PrepareLog
from cmah.preparing.shape_ids import Source, with_prefix

UNKNOWN = ""  # the folder of shapes that an earlier version prepared without recording it


@dataclass(frozen=True)
class Claim:
    """A folder of meshes as a dataset knows it.

    Attributes:
        path: its absolute path, as recorded.
        prefix: what the ids of its shapes begin with; "" = nothing.
        was: folders whose place it takes, as it has their meshes; "" for those of before folders were recorded.

    Examples:
        >>> Claim("/meshes", "", was=["/old/meshes"]).was
        ['/old/meshes']
    """

    path: str
    prefix: str
    was: Sequence[str] = ()


def owner_of(shape: Shape, log: PrepareLog) -> str | None:
    """The folder that a shape of a dataset was prepared from; None if prepare did not make it.

    Examples:
        >>> log = PrepareLog(Path("prepare.jsonl"))
        >>> owner_of(Shape("by-hand", "chair", "train", "points/by-hand.npy"), log) is None
        True
    """
    entry = log.entries.get(shape.shape_id)
    if entry is not None:
        return str(entry.get("folder", UNKNOWN))
    source = shape.extra.get("source", "")
    inside = [path for path in log.folders if source.startswith(source_of(path, "").rstrip("/") + "/")]
    return max(inside, key=len, default=None)


def claim_folder(
    meshes: Path, prefix: str | None, found: Sequence[Source], log: PrepareLog, shapes: Iterable[Shape]
) -> Claim:
    """Find out which folder of the dataset is given, or that it is a new one.

    It is one that was prepared before if the path says so, or if that one is no longer there and has an unchanged
    mesh (by id and size) in common with it: then it has moved. Shapes of before folders were recorded are of the given
    folder if it has any of them with the same id, size and time of modification.

    Args:
        meshes: the folder, or one mesh file in it.
        prefix: of its ids, as asked for; None = as before, or none.
        found: the meshes given, with ids without a prefix.
        log: of the dataset folder.
        shapes: the shapes that the dataset has.

    Raises:
        CmahError: if another prefix is asked for than the folder had before.

    Examples:
        >>> log = PrepareLog(Path("prepare.jsonl"), ['{"folder": "/scans", "prefix": "scan"}'])
        >>> claim_folder(Path("/scans"), None, [], log, [])
        Claim(path='/scans', prefix='scan', was=[])
    """
    folder = str((meshes.parent if meshes.is_file() else meshes).resolve())
    path = next((known for known in log.folders if _same(known, folder)), folder)
    own = log.folders.get(path)
    moved = {
        known: shared
        for known, prefix_then in log.folders.items()
        if known != path and not os.path.isdir(known)
        if (shared := _unchanged(found, prefix_then, known, log, times=False))
    }
    if own is None and moved:  # what is given has moved as a whole: it keeps its prefix
        own = log.folders[max(moved, key=lambda known: moved[known])]
    if own is not None and prefix not in (None, own):
        before = f"with the prefix {own!r}" if own else "without a prefix"
        raise CmahError(f"{folder}: was prepared {before}, which its ids keep; got --prefix {prefix!r}")
    own = own or prefix or ""
    was = [known for known in moved if log.folders[known] == own]
    there = {shape.shape_id for shape in shapes}
    if not own and _unchanged(found, "", UNKNOWN, log, times=True, among=there):
        was.append(UNKNOWN)
    return Claim(path, own, was)


def _same(known: str, folder: str) -> bool:
    """Whether two paths lead to one folder, also where the file system does not tell capitals from small letters."""
    try:
        return known == folder or os.path.samefile(known, folder)
    except OSError:
        return False


def _unchanged(
    found: Sequence[Source],
    prefix: str,
    folder: str,
    log: PrepareLog,
    *,
    times: bool,
    among: set[str] | None = None,
) -> int:
    """How many of the meshes are as the log has them of a folder."""
    count = 0
    for source in found:
        shape_id = with_prefix(prefix, source.shape_id)
        entry = log.entries.get(shape_id)
        if (
            entry is not None
            and (among is None or shape_id in among)
            and entry.get("folder", UNKNOWN) == folder
        ):
            count += entry["size"] == source.size and (not times or entry["modified"] == source.modified)
    return count


def check_ids(
    claim: Claim, given: Sequence[Source], log: PrepareLog, shapes: Mapping[str, Shape], *, one_case: bool
) -> None:
    """Refuse meshes that the dataset has from another folder: the same file, or another of the same id.

    Args:
        claim: the folder of the meshes.
        given: its meshes, with their ids.
        log: of the dataset folder.
        shapes: the shapes of the dataset, by id.
        one_case: whether the dataset's file system does not tell capitals from small letters, so that ids that
            differ in nothing else would be one file.

    Raises:
        CmahError: naming the first pair of files, and how many more there are.

    Examples:
        >>> log = PrepareLog(Path("prepare.jsonl"), ['{"folder": "/scans", "prefix": ""}'])
        >>> there = Shape("seat.obj", "", "train", "points/seat.obj.npy", {"source": "/scans/seat.obj"})
        >>> mesh = Source(Path("/meshes/seat.obj"), "seat.obj", "seat.obj", "", "", size=9, modified=1)
        >>> check_ids(Claim("/meshes", ""), [mesh], log, {"seat.obj": there}, one_case=False)
        Traceback (most recent call last):
        cmah.errors.CmahError: /meshes/seat.obj and /scans/seat.obj have the same shape id 'seat.obj'; --prefix NAME ...
    """
    own = {claim.path, *claim.was}
    others = {shape.shape_id: shape for shape in shapes.values() if owner_of(shape, log) not in own}
    _check_files(given, others)
    files = {_key(shape_id, one_case): _file_of(shape) for shape_id, shape in others.items()}
    for shape_id, entry in log.entries.items():  # made, but stopped before it came into the tables
        folder, path = entry.get("folder", UNKNOWN), entry.get("path", "")
        waiting = shape_id not in shapes and folder not in own and path and "skipped" not in entry
        if waiting and os.path.exists(file := os.path.join(folder, path)):
            files[_key(shape_id, one_case)] = printable(file)
    clashes = []
    for source in given:
        key = _key(source.shape_id, one_case)
        if key in files:
            clashes.append((source, files[key]))
        elif one_case:
            files[key] = source_of(claim.path, source.relative)
    if clashes:
        source, other = clashes[0]
        more = f" (and {len(clashes) - 1} more)" if len(clashes) > 1 else ""
        way = (
            "rename one of them"
            if claim.path in log.folders
            else "--prefix NAME gives the ids of this folder NAME. in front"
        )
        raise CmahError(
            f"{source_of(claim.path, source.relative)} and {other} have the same shape id "
            f"{source.shape_id!r}{more}; {way}"
        )


def _check_files(given: Sequence[Source], others: Mapping[str, Shape]) -> None:
    """Refuse files that another folder has reached, such as those of A/chair where A was prepared."""
    places = {}
    for shape in others.values():
        source = shape.extra.get("source", "")
        if source.startswith("/") and (place := _place(source)):
            places[place] = shape
    twice = (
        [(source, places[place]) for source in given if (place := _place(source.path)) in places]
        if places
        else []
    )
    if twice:
        mesh, there = twice[0]
        more = f" (and {len(twice) - 1} more)" if len(twice) > 1 else ""
        raise CmahError(
            f"{mesh.path}: this file is in the dataset already, as the shape {there.shape_id!r} of "
            f"{there.extra['source']}{more}; a mesh can be in a dataset once"
        )


def _place(path: str | Path) -> tuple[int, int] | None:
    """What tells a file from every other one, by whatever path it is reached."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _key(shape_id: str, one_case: bool) -> str:
    return shape_id.casefold() if one_case else shape_id


def _file_of(shape: Shape) -> str:
    """How an error names the mesh of a shape that the dataset has."""
    source = shape.extra.get("source", "")
    if source.startswith("/"):
        return source
    return f"{source} (of a folder that was not recorded)" if source else "a shape that prepare did not make"
