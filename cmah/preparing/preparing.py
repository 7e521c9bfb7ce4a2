"""From a folder of meshes to a dataset folder: views by ray casting, points by area, splits by shape.

Beside the dataset, OUT holds `skipped.csv` (path, reason) if any mesh was skipped, and the log `prepare.jsonl`, by
which an interrupted run goes on (cmah.preparing.prepare_log).
"""

import json
import os
import shutil
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cmah.data.dataset import Dataset, Image, Shape
from cmah.errors import CmahError
from cmah.files import write_skipped
from cmah.preparing.prepare_log import Parameters, open_log
from cmah.preparing.shape_ids import Source, check_fractions, find_meshes, split_of
from cmah.progress import progress
from cmah.threads import available_cores
from cmah.workers import run_isolated

TASK = "cmah.preparing.shape_task:prepare_shape"


def prepare(
    meshes: str | Path,
    out: str | Path,
    *,
    views: int = 12,
    image_size: int = 224,
    points: int = 10_000,
    up: str = "y",
    jobs: int | None = None,
    elevations: tuple[float, ...] = (20.0,),
    jitter: float = 0.0,
    seed: int = 0,
    split_fractions: tuple[float, ...] = (0.8, 0.1, 0.1),
    time_limit: float = 60.0,
    memory_limit: float = 4.0,
    overwrite: bool = False,
) -> Dataset:
    """Render views and sample points of every mesh in a folder, and write the dataset folder.

    Each mesh is read in a worker process with a time and a memory limit; one that cannot be used is listed in
    skipped.csv with the reason. A run that was interrupted goes on where it stopped when it is called again, and
    new meshes are added. The result does not depend on `jobs` or interruptions. Meshes whose worker was
    lost (crash, time, memory) are tried again by the next call; others that were skipped only if they change.

    Args:
        meshes: folder <category>/**.{obj,off,ply,stl,glb,gltf}; folders train, val, test below (or above) the
            category set the split. Or one mesh file.
        out: the dataset folder to write.
        views: number of cameras; camera v has azimuth 360 / views x v degrees.
        image_size: side of the views, pixels.
        points: points of each shape.
        up: the axis that points up in the files, "y" or "z"; the dataset always has y up.
        jobs: number of worker processes; None: one for each core.
        elevations: elevations of the cameras, degrees between -90 and 90, taken in turn.
        jitter: largest random deviation of azimuth and elevation, degrees, for each shape and view; 0: none.
        seed: seed of points and jitter, together with the shape id.
        split_fractions: parts of train, val and test, which sum to 1; the split of a shape follows from a hash of its
            id, where no folder names it.
        time_limit: seconds after which a mesh is skipped.
        memory_limit: GiB beyond which a mesh is skipped, at least 0.5 (Embree alone reserves 0.13).
        overwrite: start anew where `out` holds a dataset made with other parameters.

    Returns:
        The dataset, as written.

    Raises:
        CmahError: if a parameter is out of range, there are no meshes, none can be used, or `out` holds something
            else.

    Examples:
        >>> from cmah.synthetic import make_shapes
        >>> _ = make_shapes("toys", per_category=2, categories=["chair", "mug"])
        >>> dataset = prepare("toys", "prepared", views=3, image_size=32, points=100, jobs=1)
        >>> len(dataset.shapes), len(dataset.images), dataset.load_points(dataset.shapes[0]).shape
        (4, 12, (100, 6))
        >>> dataset.images[1].path
        'renders/chair.chair_000.obj/01.jpg'
    """
    for package in ("trimesh", "embreex", "PIL"):
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    out = Path(out)
    sources = find_meshes(meshes)
    parameters = Parameters(views, image_size, points, up, tuple(elevations), jitter, seed)
    check_fractions(split_fractions)
    for name, value in (("jitter", jitter), ("time_limit", time_limit), ("memory_limit", memory_limit)):
        if not value < 1e6:  # nor is NaN
            raise CmahError(f"{name} must be a number below 1,000,000, got {value}")
    with open_log(out, parameters, overwrite) as (log, done):
        shutil.rmtree(out / ".partial", ignore_errors=True)
        todo = [source for source in sources if not _finished(out, source, done.get(source.shape_id))]
        shared = {"out": str(out.resolve()), **parameters.to_json()}
        tasks = [{"path": str(s.path.resolve()), "shape_id": s.shape_id, **shared} for s in todo]
        limits = {"time_limit": time_limit, "memory_limit": memory_limit}
        skipped = 0
        outcomes = run_isolated(TASK, tasks, jobs=jobs or available_cores(), **limits)
        with closing(outcomes):  # so that an error or Ctrl-C ends the workers at once
            bar = progress(outcomes, "prepare", len(todo), " meshes")
            for outcome in bar:
                source, task = todo[outcome.index], tasks[outcome.index]
                entry = {"shape_id": source.shape_id, "size": source.size, "modified": source.modified}
                if outcome.value is None:
                    entry |= {
                        "skipped": outcome.reason.removeprefix(f"{task['path']}: "),
                        "lost": outcome.lost,
                    }
                    skipped += 1
                    bar.set_postfix_str(f"{skipped} skipped")
                else:
                    entry |= outcome.value
                done[source.shape_id] = entry
                log.write(json.dumps(entry) + "\n")
                log.flush()
        shutil.rmtree(out / ".partial", ignore_errors=True)
        left_out = [
            (s.relative, done[s.shape_id]["skipped"]) for s in sources if "skipped" in done[s.shape_id]
        ]
        write_skipped(out, left_out)
        dataset = _dataset(Path(meshes), out, sources, done, parameters, split_fractions)
        dataset.write()
        return dataset


def _finished(out: Path, source: Source, entry: dict[str, Any] | None) -> bool:
    """Whether the log lists this file, unchanged, as done, and its views and points still exist."""
    if entry is None or entry["size"] != source.size or entry["modified"] != source.modified:
        return False
    if "skipped" in entry:
        return not entry["lost"]
    last = out / "renders" / source.shape_id / f"{len(entry['cameras']) - 1:02d}_mask.png"
    return (out / "points" / f"{source.shape_id}.npy").is_file() and last.is_file()


def _dataset(
    meshes: Path,
    out: Path,
    sources: list[Source],
    done: dict[str, dict[str, Any]],
    parameters: Parameters,
    fractions: tuple[float, ...],
) -> Dataset:
    """The tables of all meshes that were not skipped, in order of their source paths."""
    shapes, images = [], []
    for source in sources:
        entry = done[source.shape_id]
        if "skipped" in entry:
            continue
        shape_id, category = source.shape_id, source.category
        split = source.split or split_of(shape_id, fractions)
        extra = {"source": source.relative}
        shapes.append(Shape(shape_id, category, split, f"points/{shape_id}.npy", extra))
        for view, (azimuth, elevation) in enumerate(entry["cameras"]):
            path = f"renders/{shape_id}/{view:02d}"
            images.append(
                Image(
                    f"{shape_id}_{view:02d}",
                    shape_id,
                    category,
                    split,
                    f"{path}.jpg",
                    "render",
                    view,
                    azimuth,
                    elevation,
                    f"{path}_mask.png",
                )
            )
    if not shapes:
        raise CmahError(f"{meshes}: none of the {len(sources)} meshes can be used; see {out / 'skipped.csv'}")
    name = os.path.basename(os.path.abspath(meshes))
    extra_keys = {"prepared": parameters.to_json()}
    return Dataset(out, name, parameters.points, "y", parameters.image_size, shapes, images, extra_keys)
