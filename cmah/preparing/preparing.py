"""From a folder of meshes to a dataset folder: views by ray casting, points by area, splits by shape.

Beside the dataset, OUT holds `skipped.csv` (path, reason) if any mesh was skipped, and `prepare.jsonl`, the log
that lets an interrupted run go on: its first line holds the parameters, each further one a finished mesh.
"""

import fcntl
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from cmah.data.dataset import Dataset, Image, Shape
from cmah.errors import CmahError
from cmah.files import write_skipped
from cmah.preparing.shape_ids import Source, find_meshes, split_of
from cmah.progress import progress
from cmah.threads import available_cores
from cmah.workers import run_isolated

LOG = "prepare.jsonl"
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
    split_fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    time_limit: float = 60.0,
    memory_limit: float = 4.0,
    overwrite: bool = False,
) -> Dataset:
    """Render views and sample points of every mesh in a folder, and write the dataset folder.

    Each mesh is read in a worker process with a time and a memory limit; one that cannot be used is listed in
    skipped.csv with the reason. A run that was interrupted goes on where it stopped when it is called again, and
    meshes added since are added. The result does not depend on `jobs` or interruptions. Meshes whose worker was
    lost (crash, time, memory) are tried again by the next call; others that were skipped only if they change.

    Args:
        meshes: folder <category>/**.{obj,off,ply,stl,glb,gltf}; folders train, val, test below (or above) the
            category set the split. Or one mesh file.
        out: the dataset folder to write.
        views: cameras at azimuth 360 / views x v degrees.
        image_size: side of the views, pixels.
        points: points a shape.
        up: which axis of the files points up, "y" or "z"; the dataset always has y up.
        jobs: worker processes; default: one a core.
        elevations: of the cameras, degrees, taken in turn.
        jitter: largest random deviation of azimuth and elevation, degrees, for each shape and view.
        seed: of points and jitter, together with the shape id.
        split_fractions: of train, val, test; by a hash of the shape id, where no folder says the split.
        time_limit: seconds a mesh.
        memory_limit: GiB a mesh, at least 0.5 (Embree alone reserves 0.13).
        overwrite: start anew where `out` holds a dataset made with other parameters.

    Returns:
        The dataset, as written.

    Raises:
        CmahError: if there are no meshes, none can be used, or `out` holds something else.
    """
    for package in ("trimesh", "embreex", "PIL"):
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    out = Path(out)
    sources = find_meshes(meshes)
    parameters = {
        "views": views,
        "image_size": image_size,
        "points": points,
        "up": up,
        "elevations": list(elevations),
        "jitter": jitter,
        "seed": seed,
    }
    _check(parameters, split_fractions)
    with _open_log(out, parameters, overwrite) as (log, done):
        shutil.rmtree(out / ".partial", ignore_errors=True)
        todo = [source for source in sources if not _finished(out, source, done.get(source.shape_id))]
        base = {"out": str(out.resolve()), **parameters}
        tasks = [{"path": str(s.path.resolve()), "shape_id": s.shape_id, **base} for s in todo]
        limits = {"time_limit": time_limit, "memory_limit": memory_limit}
        skipped = 0
        outcomes = run_isolated(TASK, tasks, jobs=jobs or available_cores(), **limits)
        with closing(outcomes):  # an error or Ctrl-C ends the workers at once
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


def _check(parameters: dict[str, Any], fractions: tuple[float, float, float]) -> None:
    for name in ("views", "image_size", "points"):
        if parameters[name] < 1:
            raise CmahError(f"{name} must be at least 1, got {parameters[name]}")
    if parameters["up"] not in {"y", "z"}:
        raise CmahError(f"up must be y or z, got {parameters['up']!r}")
    if not parameters["elevations"] or any(not -90 < value < 90 for value in parameters["elevations"]):
        raise CmahError(f"elevations must lie between -90 and 90 degrees, got {parameters['elevations']}")
    if len(fractions) != 3 or min(fractions) < 0 or not abs(sum(fractions) - 1) < 1e-6:
        raise CmahError(
            f"split fractions must be three numbers that sum to 1 (train, val, test), got {fractions}"
        )


@contextmanager
def _open_log(
    out: Path, parameters: dict[str, Any], overwrite: bool
) -> Iterator[tuple[IO[str], dict[str, dict[str, Any]]]]:
    """Open, lock and read the log of `out`, or start one; yields the file and its entries by shape id.

    Raises:
        CmahError: if `out` holds something else, other parameters, or another process is at work in it.
    """
    if out.exists() and not (out / LOG).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise CmahError(f"{out}: exists and was not made by prepare; choose a new folder")
    out.mkdir(parents=True, exist_ok=True)
    with open(out / LOG, "a+", encoding="utf-8") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CmahError(f"{out}: another prepare is at work in this folder") from None
        log.seek(0)
        text = log.read()
        lines = text.split("\n")[:-1]  # a line without its end was being written when the process was killed
        header = {"format": "cmah-prepare-log", "version": 1, "parameters": parameters}
        if lines and (before := _parameters(lines[0], out)) != parameters and not overwrite:
            changes = [f"{k} {before.get(k)} -> {v}" for k, v in parameters.items() if before.get(k) != v]
            raise CmahError(
                f"{out}: was prepared with other parameters ({', '.join(changes)}); "
                "choose another folder, or --overwrite to start anew"
            )
        if overwrite or not lines:
            for name in ("renders", "points"):
                shutil.rmtree(out / name, ignore_errors=True)
            for name in ("dataset.json", "shapes.csv", "images.csv", "skipped.csv"):
                (out / name).unlink(missing_ok=True)
            lines = []
            log.truncate(0)
            log.write(json.dumps(header) + "\n")
        else:
            log.truncate(sum(len(line.encode()) + 1 for line in lines))
        log.flush()
        yield log, dict(_entries(lines[1:]))


def _entries(lines: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is done, by shape id; a damaged line is as good as none: its mesh is done again."""
    for line in lines:
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            entry = json.loads(line)
            if "skipped" in entry:
                sound = isinstance(entry["skipped"], str) and isinstance(entry["lost"], bool)
            else:
                sound = all(
                    math.isfinite(angle)
                    for azimuth, elevation in entry["cameras"]
                    for angle in (azimuth, elevation)
                )
            if sound and isinstance(entry["size"], int) and isinstance(entry["modified"], int):
                yield str(entry["shape_id"]), entry


def _parameters(line: str, out: Path) -> dict[str, Any]:
    try:
        header = json.loads(line)
        if header["format"] == "cmah-prepare-log" and header["version"] == 1:
            return dict(header["parameters"])
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise CmahError(f"{out / LOG}: not a log of this version of prepare; choose a new folder")


def _finished(out: Path, source: Source, entry: dict[str, Any] | None) -> bool:
    """Whether the log says that this very file is done, and what was made of it is still there."""
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
    parameters: dict[str, Any],
    fractions: tuple[float, float, float],
) -> Dataset:
    """The tables over all meshes that were not skipped, by source path."""
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
    extra_keys = {"prepared": parameters}
    return Dataset(out, name, parameters["points"], "y", parameters["image_size"], shapes, images, extra_keys)
