"""Views of a mesh file, rendered in a process of its own, which a foreign file may crash or bloat."""

from pathlib import Path
from typing import Any

import numpy as np

from cmah.meshes import rendering
from cmah.meshes.mesh_arrays import array_of_mesh, write_array
from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.rendering import render_seen, ring_of_cameras

warm_up = rendering.warm_up  # a worker process calls it
TASK = "cmah.meshes.view_rendering:write_views"


def views_of_mesh(
    path: str | Path,
    count: int,
    size: int,
    up_axis: str = "y",
    *,
    time_limit: float = 60.0,
    memory_limit: float = 4.0,
) -> np.ndarray:
    """Load a mesh and render views of it all round, at an elevation of 20 degrees, as `cmah prepare` does.

    Args:
        path: the mesh file.
        count: number of views.
        size: their side in pixels.
        up_axis: "y" or "z", the axis that points up in the file; see `load_mesh`.
        time_limit: seconds after which the process is stopped.
        memory_limit: GiB that the process may take.

    Returns:
        uint8 [count, size, size, 3], on white.

    Raises:
        CmahError: if the mesh cannot be used, or its reader crashed or went beyond a limit.

    Examples:
        >>> views_of_mesh("demo/meshes/chair/chair_000.obj", 4, 32).shape
        (4, 32, 32, 3)
    """
    settings = {"views": count, "size": size, "up": up_axis}
    return array_of_mesh(TASK, path, settings, time_limit=time_limit, memory_limit=memory_limit)


def write_views(task: dict[str, Any]) -> dict[str, Any]:
    """What a worker process does for `views_of_mesh`.

    Args:
        task: `path` of the mesh; `out`, the .npy file to write (uint8); `views`, how many; `size`, their side in
            pixels; `up`, "y" or "z"; optional: `root` as in `load_mesh`.

    Returns:
        `remarks` on what of the mesh was lost, if anything was.

    Raises:
        CmahError: if the mesh is refused.

    Examples:
        >>> task = {"path": "demo/meshes/mug/mug_000.obj", "out": "views.npy", "views": 2, "size": 16, "up": "y"}
        >>> write_views(task), np.load("views.npy").shape
        ({}, (2, 16, 16, 3))
    """
    mesh = load_mesh(task["path"], task["up"], root=task.get("root"))
    images, *_ = render_seen(mesh, ring_of_cameras(task["views"]), task["size"])
    write_array(task["out"], images)
    return mesh.told
