"""What models see of mesh files, points or views or both: what a worker does for `mesh_arrays.inputs_of_meshes`."""

from typing import Any

from cmah.errors import CmahError
from cmah.meshes.part import NoFaces
from cmah.meshes.point_sampling import warm_up, write_points

# `warm_up` is called in each worker, by its name in this module
__all__ = ["warm_up", "write_inputs"]


def write_inputs(task: dict[str, Any]) -> dict[str, Any]:
    """What a worker process does for `inputs_of_meshes`.

    Args:
        task: `path` of the mesh; `out`, what the names of the .npy files begin with; `points`, `views`, `size` and `up`
            as there; optional: `seed` and `root` as in `write_points`.

    Returns:
        `remarks` on what of the mesh was lost, if anything was.

    Raises:
        CmahError: if the mesh is refused.

    Examples:
        >>> task = {"path": "demo/meshes/mug/mug_000.obj", "out": "mug", "points": 9, "views": 0, "size": 0, "up": "y"}
        >>> import numpy as np
        >>> write_inputs(task), np.load("mug.points.npy").shape
        ({}, (9, 6))
    """
    remarks: list[str] = []
    if task["points"]:
        remarks += write_points({**task, "out": f"{task['out']}.points.npy"}).get("remarks", [])
    if task["views"]:
        from cmah.meshes.view_rendering import write_views  # here, since who samples points needs no renderer

        try:
            remarks += write_views({**task, "out": f"{task['out']}.views.npy"}).get("remarks", [])
        except NoFaces as error:
            raise CmahError(f"{error}, and this model sees shapes by their views; expected a mesh") from None
    return {"remarks": list(dict.fromkeys(remarks))} if remarks else {}
