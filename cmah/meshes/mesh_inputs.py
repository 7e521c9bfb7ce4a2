"""What models see of mesh files, points or views or both: what a worker does for `mesh_arrays.inputs_of_meshes`."""

from typing import Any

import numpy as np

from cmah.errors import CmahError
from cmah.meshes.mesh_arrays import write_array
from cmah.meshes.mesh_loading import z_up_to_y_up
from cmah.meshes.part import NoFaces
from cmah.meshes.ply import ply_points
from cmah.meshes.point_sampling import warm_up, write_points

# `warm_up` is called in each worker, by its name in this module
__all__ = ["warm_up", "write_inputs"]


def write_inputs(task: dict[str, Any]) -> dict[str, Any]:
    """What a worker process does for `inputs_of_meshes`.

    Args:
        task: `path` of the mesh; `out`, what the names of the .npy files begin with; `points`, `views`, `size` and `up`
            as there; optional: `seed` and `root` as in `write_points`.

    Returns:
        Nothing: an empty dictionary. Of a PLY file without faces the points are those that it has.

    Raises:
        CmahError: if the mesh is refused.

    Examples:
        >>> task = {"path": "demo/meshes/mug/mug_000.obj", "out": "mug", "points": 9, "views": 0, "size": 0, "up": "y"}
        >>> import numpy as np
        >>> write_inputs(task), np.load("mug.points.npy").shape
        ({}, (9, 6))
    """
    if task["points"]:
        points = f"{task['out']}.points.npy"
        try:
            write_points({**task, "out": points})
        except NoFaces as error:
            if task["views"]:
                raise CmahError(
                    f"{error}, and this model sees shapes by their views; expected a mesh"
                ) from None
            cloud = ply_points(task["path"])
            if not np.isfinite(cloud).all():
                row = int(np.flatnonzero(~np.isfinite(cloud).all(axis=1))[0])
                raise CmahError(f"{task['path']}: point {row} has a value that is not finite") from None
            write_array(points, z_up_to_y_up(cloud) if task["up"] == "z" else cloud)
    if task["views"]:
        from cmah.meshes.view_rendering import write_views  # here, since who samples points needs no renderer

        write_views({**task, "out": f"{task['out']}.views.npy"})
    return {}
