"""From folders of meshes to a dataset folder: views by ray casting, points by area, splits by shape.

Beside the dataset, OUT holds `skipped.csv` (path, reason) if any mesh was skipped, and the log `prepare.jsonl`, by
which an interrupted run goes on (cmah.preparing.prepare_log).
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from cmah.checks import as_int, check_up
from cmah.data.dataset import Dataset
from cmah.errors import CmahError
from cmah.file_names import as_path
from cmah.preparing.mesh_remarks import FILE
from cmah.preparing.preparation import Preparation
from cmah.preparing.prepare_log import LOG, earlier_parameters, open_log
from cmah.preparing.prepare_parameters import Parameters, check_number
from cmah.preparing.shape_ids import check_fractions, check_prefix, find_meshes
from cmah.threads import available_cores
from cmah.workers import writing


def prepare(
    meshes: str | Path,
    out: str | Path,
    *,
    views: int | None = None,
    image_size: int | None = None,
    points: int | None = None,
    up: str | None = None,
    jobs: int | None = None,
    elevations: tuple[float, ...] | None = None,
    jitter: float | None = None,
    seed: int | None = None,
    split_fractions: tuple[float, ...] | None = None,
    time_limit: float = 60.0,
    memory_limit: float = 4.0,
    overwrite: bool = False,
    prefix: str | None = None,
    prune: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """Render views and sample points of every mesh in a folder, and write the dataset folder, or add to it.

    Each mesh is read in a worker process with a time and a memory limit; one that cannot be used is listed in
    skipped.csv with the reason. A run that was interrupted goes on where it stopped when it is called again, and
    new meshes are added. The result does not depend on `jobs` or interruptions. Meshes whose worker was
    lost (crash, time, memory) are tried again by the next call; others that were skipped only if they change.

    What the dataset has stays, with its splits: the shapes of other folders, rows that were added to its tables by
    hand, and shapes whose meshes have been deleted or can no longer be used. A folder that has moved is recognised by
    its meshes.

    Args:
        meshes: folder <category>/**.{obj,off,ply,stl,glb,gltf}; folders train, val, test below (or above) the
            category set the split. Or one mesh file. A .ply file without faces is a cloud of points: its shape has
            points and no views.
        out: the dataset folder to write.
        views: number of cameras; camera v has azimuth 360 / views x v degrees. This and what follows is, where None,
            as `out` was prepared before, and for a new one as the command has it: 12 views of 224 pixels at an
            elevation of 20 degrees, 10,000 points, y up, no jitter, seed 0.
        image_size: side of the views, pixels.
        points: points of each shape.
        up: the axis that points up in the files, "y" or "z"; each folder may have its own; the dataset has y up.
        jobs: number of worker processes; None: one for each core.
        elevations: elevations of the cameras, degrees between -90 and 90, taken in turn.
        jitter: largest random deviation of azimuth and elevation, degrees, for each shape and view; 0: none.
        seed: seed of points and jitter, together with the shape id.
        split_fractions: parts of train, val and test, which sum to 1; the split of a shape follows from a hash of its
            id, where no folder names it. None: as `out` was prepared before, else (0.8, 0.1, 0.1).
        time_limit: seconds after which a mesh is skipped.
        memory_limit: GiB beyond which a mesh is skipped, at least 0.5 (Embree alone reserves 0.13).
        overwrite: start anew, with all folders, where `out` holds a dataset made with other parameters.
        prefix: the ids of the shapes of this folder begin with it and a dot; None: as before, or none.
        prune: remove the shapes of this folder whose meshes are gone or can no longer be used.
        report: called with a line for people on what stays, is removed or has moved.

    Returns:
        The dataset, as written.

    Raises:
        CmahError: if a parameter is out of range, there are no meshes, none can be used, `out` holds something else or
            cannot be written, or a mesh has the id of one of another folder.

    Examples:
        >>> from cmah.synthetic import make_shapes
        >>> _ = make_shapes("toys", per_category=2, categories=["chair", "mug"])
        >>> dataset = prepare("toys", "prepared", views=3, image_size=32, points=100, jobs=1)
        >>> len(dataset.shapes), len(dataset.images), dataset.load_points(dataset.shapes[0]).shape
        (4, 12, (100, 6))
        >>> dataset.images[1].path
        'renders/chair.chair_000.obj/01.jpg'
    """
    for package in ("mapbox_earcut", "embreex", "PIL"):
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    meshes, out = as_path(meshes), as_path(out)
    given = {
        "views": views,
        "image_size": image_size,
        "points": points,
        "elevations": elevations,
        "jitter": jitter,
        "seed": seed,
    }
    asked = {key: value for key, value in given.items() if value is not None}
    parameters = Parameters.of(asked, earlier_parameters(out) or {"up": up or "y"})
    if up is not None:
        check_up(up)
    if split_fractions is not None:
        check_fractions(split_fractions)
    check_prefix("" if prefix is None else prefix)
    if prune and meshes.is_file():
        raise CmahError(
            f"{meshes}: one file; expected a folder, whose meshes that are gone are to be removed by prune"
        )
    check_number(time_limit, "time_limit")
    check_number(memory_limit, "memory_limit")
    if jobs is not None and as_int(jobs, "jobs", CmahError) < 1:
        raise CmahError(f"jobs must be at least 1, got {jobs}")
    # with prune a folder may be given all of whose meshes are gone, if the dataset knows it
    found = find_meshes(meshes, out, empty=prune and (out / LOG).is_file(), report=report)
    with open_log(out, parameters, overwrite) as log, _work_folder(out):
        for name in ("skipped.csv", FILE, "shapes.csv", "images.csv", "dataset.json"):
            if os.path.lexists(out / name) and not (out / name).is_file():
                raise CmahError(
                    f"{out / name}: not a file, expected one or none, as this is written at the end"
                )
        preparation = Preparation(meshes, out, log, parameters, report, up=up, overwrite=overwrite)
        preparation.plan(found, prefix, prune=prune)
        limits = {"time_limit": time_limit, "memory_limit": memory_limit}
        preparation.make(jobs or available_cores(), **limits)
        return preparation.write(split_fractions)


@contextmanager
def _work_folder(out: Path) -> Iterator[None]:
    """The folder that holds what workers have not finished; that it can be made shows that `out` can be written."""
    partial = out / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    with writing(partial):
        partial.mkdir(exist_ok=True)
    try:
        yield
    finally:
        shutil.rmtree(partial, ignore_errors=True)
