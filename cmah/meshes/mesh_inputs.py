"""What models see of mesh files, points or views or both, made of any number of files in worker processes."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmah.errors import CmahError
from cmah.meshes.point_sampling import warm_up, write_points
from cmah.meshes.view_rendering import write_views
from cmah.workers import run_isolated

# `warm_up` is called in each worker, by its name in this module
__all__ = ["inputs_of_meshes", "warm_up", "write_inputs"]

TASK = "cmah.meshes.mesh_inputs:write_inputs"


def inputs_of_meshes(
    paths: Sequence[str | Path],
    *,
    points: int = 0,
    views: int = 0,
    size: int = 0,
    up_axis: str = "y",
    jobs: int = 1,
    time_limit: float = 60.0,
    memory_limit: float = 4.0,
) -> Iterator[tuple[int, dict[str, np.ndarray] | CmahError]]:
    """Load meshes, sample their points and render their views, in processes that foreign files may crash or bloat.

    Args:
        paths: the mesh files.
        points: number of points of each, as `points_of_mesh` samples them; 0 for none.
        views: number of views of each, as `views_of_mesh` renders them; 0 for none.
        size: side of the views in pixels.
        up_axis: "y" or "z", the axis that points up in the files.
        jobs: number of processes.
        time_limit: seconds for each mesh.
        memory_limit: GiB that a process may take.

    Yields:
        Positions in `paths`, in the order in which they are done, each with the arrays that were asked for, "points"
        float32 [points, 3 or 6] and "views" uint8 [views, size, size, 3], or why there are none.

    Examples:
        >>> paths = ["demo/meshes/mug/mug_000.obj", "demo/meshes/none.obj"]
        >>> results = dict(inputs_of_meshes(paths, points=500, views=2, size=32))
        >>> results[0]["points"].shape, results[0]["views"].shape
        ((500, 6), (2, 32, 32, 3))
        >>> print(results[1])
        demo/meshes/none.obj: ...
    """
    names = [str(Path(path).absolute()) for path in paths]
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
            }
            for i, name in enumerate(names)
        )
        outcomes = run_isolated(TASK, tasks, jobs=jobs, time_limit=time_limit, memory_limit=memory_limit)
        try:
            for outcome in outcomes:
                i = outcome.index
                if outcome.value is None:
                    yield i, CmahError(f"{paths[i]}: {outcome.reason.removeprefix(names[i] + ': ')}")
                    continue
                files = {name: Path(folder) / f"{i}.{name}.npy" for name in wanted}
                arrays = {name: np.load(file, allow_pickle=False) for name, file in files.items()}
                for file in files.values():
                    file.unlink()
                yield i, arrays
        finally:
            outcomes.close()  # which ends the workers, before their folder goes


def write_inputs(task: dict[str, Any]) -> dict[str, Any]:
    """What a worker process does for `inputs_of_meshes`.

    Args:
        task: `path` of the mesh; `out`, what the names of the .npy files begin with; `points`, `views`, `size` and `up`
            as there.

    Returns:
        Nothing: an empty dictionary.

    Raises:
        CmahError: if the mesh is refused.

    Examples:
        >>> task = {"path": "demo/meshes/mug/mug_000.obj", "out": "mug", "points": 9, "views": 0, "size": 0, "up": "y"}
        >>> write_inputs(task), np.load("mug.points.npy").shape
        ({}, (9, 6))
    """
    if task["points"]:
        write_points({**task, "out": f"{task['out']}.points.npy"})
    if task["views"]:
        write_views({**task, "out": f"{task['out']}.views.npy"})
    return {}
