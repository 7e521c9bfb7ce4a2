"""Arrays made of mesh files in processes of their own, which foreign files may crash or bloat.

Only those processes import what reads meshes.
"""

import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmah.errors import CmahError
from cmah.workers import run_isolated, writing

INPUTS = "cmah.meshes.mesh_inputs:write_inputs"


def array_of_mesh(
    target: str, path: str | Path, settings: dict[str, Any], *, time_limit: float, memory_limit: float
) -> np.ndarray:
    """Call a function on a mesh file in a worker process; the array that it writes.

    Args:
        target: "module:function", called with `settings`, `path`, the mesh, and `out`, the .npy file to write.
        path: the mesh file.
        settings: what else the function takes; JSON can hold it.
        time_limit: seconds after which the process is stopped.
        memory_limit: GiB that the process may take.

    Raises:
        CmahError: if the mesh cannot be used, or its reader crashed or went beyond a limit.

    Examples:
        >>> task = {"points": 500, "up": "y"}
        >>> mesh, target = "demo/meshes/mug/mug_000.obj", "cmah.meshes.point_sampling:write_points"
        >>> array_of_mesh(target, mesh, task, time_limit=60, memory_limit=4).shape
        (500, 6)
    """
    with tempfile.TemporaryDirectory() as folder:
        out, mesh = Path(folder) / "array.npy", str(Path(path).absolute())
        task = {**settings, "path": mesh, "out": str(out)}
        (outcome,) = run_isolated(target, [task], time_limit=time_limit, memory_limit=memory_limit)
        if outcome.value is None:
            raise CmahError(f"{path}: {outcome.reason.removeprefix(mesh + ': ')}")
        array: np.ndarray = np.load(out, allow_pickle=False)
        return array


def write_array(path: str | Path, array: np.ndarray) -> None:
    """Write a .npy file in a worker process; `np.save` would not say why or where a write failed.

    Raises:
        JobError: if it cannot be written, with the system's reason.

    Examples:
        >>> write_array("points.npy", np.zeros((5, 3), np.float16))
        >>> np.load("points.npy").shape
        (5, 3)
        >>> write_array("no_such_folder/points.npy", np.zeros((5, 3), np.float16))
        Traceback (most recent call last):
        cmah.errors.JobError: no_such_folder/points.npy: cannot be written (No such file or directory)
    """
    buffer = io.BytesIO()
    np.save(buffer, array)
    with writing(path):
        Path(path).write_bytes(buffer.getbuffer())


def inputs_of_meshes(
    paths: Sequence[str | Path],
    *,
    points: int = 0,
    views: int = 0,
    size: int = 0,
    up_axis: str = "y",
    settings: Sequence[dict[str, Any]] = (),
    jobs: int = 1,
    time_limit: float = 60.0,
    memory_limit: float = 4.0,
) -> Iterator[tuple[int, dict[str, np.ndarray] | CmahError, list[str]]]:
    """Load meshes, sample their points and render their views, in processes that foreign files may crash or bloat.

    Args:
        paths: the mesh files. One that is a link is read where it lies, as prepare does.
        points: number of points of each, as `points_of_mesh` samples them; 0 for none.
        views: number of views of each, as `views_of_mesh` renders them; 0 for none.
        size: side of the views in pixels.
        up_axis: "y" or "z", the axis that points up in the files.
        settings: for each mesh what is otherwise: `points`, and `seed` and `root` as in `point_sampling.write_points`.
        jobs: number of processes.
        time_limit: seconds for each mesh.
        memory_limit: GiB that a process may take.

    Yields:
        Positions in `paths`, in the order in which they are done, each with the arrays that were asked for, "points"
        float32 [points, 3 or 6] and "views" uint8 [views, size, size, 3], or why there are none; and remarks on what of
        the mesh was lost.

    Examples:
        >>> paths = ["demo/meshes/mug/mug_000.obj", "demo/meshes/none.obj"]
        >>> results = sorted(inputs_of_meshes(paths, points=500, views=2, size=32))
        >>> _, arrays, remarks = results[0]
        >>> arrays["points"].shape, arrays["views"].shape, remarks
        ((500, 6), (2, 32, 32, 3), [])
        >>> print(results[1][1])
        demo/meshes/none.obj: ...
    """
    names = [str(followed(Path(path))) for path in paths]
    wanted = [name for name, count in (("points", points), ("views", views)) if count]
    with tempfile.TemporaryDirectory() as folder:
        tasks = (
            {
                "path": name,
                "out": f"{folder}/{i}",
                "points": points,
                "views": views,
                "size": size,
                "up": up_axis,
                **(settings[i] if settings else {}),
            }
            for i, name in enumerate(names)
        )
        outcomes = run_isolated(INPUTS, tasks, jobs=jobs, time_limit=time_limit, memory_limit=memory_limit)
        try:
            for outcome in outcomes:
                i = outcome.index
                if outcome.value is None:
                    yield i, CmahError(f"{paths[i]}: {outcome.reason.removeprefix(names[i] + ': ')}"), []
                    continue
                files = {name: Path(folder) / f"{i}.{name}.npy" for name in wanted}
                arrays = {name: np.load(file, allow_pickle=False) for name, file in files.items()}
                for file in files.values():
                    file.unlink()
                yield i, arrays, outcome.value.get("remarks", [])
        finally:
            outcomes.close()  # which ends the workers, before their folder goes


def followed(path: Path) -> Path:
    """The file that a path leads to, beside which lies what it names; a link to another suffix is left as it is.

    So links into a store of files without suffixes, as caches of downloads have, are read as what they are called.

    Examples:
        >>> Path("0a1b2c").touch()
        >>> Path("seat.obj").symlink_to("0a1b2c")
        >>> followed(Path("seat.obj")).name
        'seat.obj'
    """
    real = path.resolve()
    return real if real.suffix.lower() == path.suffix.lower() else path.absolute()
