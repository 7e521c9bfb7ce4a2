"""Points of a mesh's surface, drawn in this process or, as foreign files need, in one that may die."""

from pathlib import Path
from typing import Any

import numpy as np

from cmah.meshes.cloud_files import drawn_points, load_cloud
from cmah.meshes.mesh import Mesh, surface_colours
from cmah.meshes.mesh_arrays import array_of_mesh, write_array
from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.part import NoFaces

# opacity below which a point lies in a hole; glass is never less opaque than 0.35 (mesh_files.LEAST_OPACITY)
HOLE = 0.3
TASK = "cmah.meshes.point_sampling:write_points"


def sample_points(mesh: Mesh, n: int, seed: int | list[int]) -> np.ndarray:
    r"""Draw points of the surface, uniformly by area.

    A face is drawn with a probability proportional to its area, and in it the point with the barycentric weights
    1 - √r, √r (1 - s), √r s for uniform r and s (Osada et al. 2002, "Shape distributions", equation 1).

    Args:
        mesh: the mesh.
        n: number of points.
        seed: seed of numpy's default generator; the same seed gives the same points.

    Returns:
        float32 [n, 6] (xyz, rgb in 0..1) if the mesh has colour, else float32 [n, 3].

    Examples:
        The points of a triangle without a colour, in the plane y = 0:

        >>> _ = Path("flat.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 0 1\n3 0 1 2\n")
        >>> points = sample_points(load_mesh("flat.off"), 100, seed=0)
        >>> points.shape, float(np.abs(points[:, 1]).max())
        ((100, 3), 0.0)
    """
    generator = np.random.default_rng(seed)
    cumulative = np.cumsum(mesh.face_areas)
    points, colours = np.zeros((n, 3), np.float32), np.zeros((n, 4), np.float32)
    pending = np.arange(n)
    # holes cut by a texture's alpha (leaves, grids) are not surface: points in them are drawn again
    for _ in range(8):
        faces = np.searchsorted(cumulative, generator.random(len(pending)) * cumulative[-1], side="right")
        faces = np.minimum(faces, len(mesh.faces) - 1)
        root, part = np.sqrt(generator.random(len(pending))), generator.random(len(pending))
        weights = np.stack([1 - root, root * (1 - part), root * part], axis=1).astype(np.float32)
        points[pending] = np.einsum("nc,ncd->nd", weights, mesh.vertices[mesh.faces[faces]])
        if not mesh.coloured:
            return points
        colours[pending] = surface_colours(mesh, faces, weights)
        pending = pending[colours[pending, 3] < HOLE]
        if len(pending) == 0:
            break
    return np.concatenate([points, colours[:, :3].clip(0, 1)], axis=1)


def points_of_mesh(
    path: str | Path,
    n: int,
    up_axis: str = "y",
    *,
    time_limit: float = 60.0,
    memory_limit: float = 4.0,
) -> np.ndarray:
    """Load a mesh and sample its points in a process of its own, which a foreign file may crash or bloat.

    Args:
        path: the mesh file.
        n: number of points.
        up_axis: "y" or "z", the axis that points up in the file; see `load_mesh`.
        time_limit: seconds after which the process is stopped.
        memory_limit: GiB that the process may take.

    Returns:
        float32 [n, 6] (xyz in the unit sphere, rgb in 0..1) if the mesh has colour, else float32 [n, 3].

    Raises:
        CmahError: if the mesh cannot be used, or its reader crashed or went beyond a limit.

    Examples:
        >>> points_of_mesh("demo/meshes/chair/chair_000.obj", 500).shape
        (500, 6)
    """
    settings = {"points": n, "up": up_axis}
    return array_of_mesh(TASK, path, settings, time_limit=time_limit, memory_limit=memory_limit)


def warm_up() -> None:
    """Let BLAS take its memory before the worker's memory is limited.

    Examples:
        >>> warm_up()  # leaves nothing to be seen; the tasks come after it
        >>> write_points({"path": "demo/meshes/mug/mug_000.obj", "out": "mug.npy", "points": 9, "up": "y"})
        {}
    """
    np.ones((400, 400)) @ np.ones((400, 400))


def write_points(task: dict[str, Any]) -> dict[str, Any]:
    """What a worker process does for `points_of_mesh`.

    Args:
        task: `path` of the mesh; `out`, the .npy file to write (float32); `points`, how many; `up`, "y" or "z";
            optional: `seed` as in `sample_points`, by default 0, and `root` as in `load_mesh`.

    Returns:
        `remarks` on what of the mesh was lost, if anything was. Of a PLY file without faces as many of its points are
        drawn by the seed; without a `seed`, all of them are written.

    Raises:
        CmahError: if the mesh is refused.

    Examples:
        >>> write_points({"path": "demo/meshes/mug/mug_000.obj", "out": "mug.npy", "points": 50, "up": "y"})
        {}
        >>> np.load("mug.npy").shape
        (50, 6)
    """
    mesh = mesh_or_cloud(task)
    if isinstance(mesh, Mesh):
        points, told = sample_points(mesh, task["points"], task.get("seed", 0)), mesh.told
    else:
        points, told = drawn_points(mesh, task["points"], task["seed"]) if "seed" in task else mesh, {}
    write_array(task["out"], points)
    return told


def mesh_or_cloud(task: dict[str, Any]) -> Mesh | np.ndarray:
    """The mesh of a task, or all points of a PLY file without faces, as `load_cloud` reads them.

    Args:
        task: `path` and `up`; optional: `root` as in `load_mesh`.

    Raises:
        CmahError: if it is refused.

    Examples:
        >>> type(mesh_or_cloud({"path": "demo/meshes/mug/mug_000.obj", "up": "y"})).__name__
        'Mesh'
    """
    try:
        return load_mesh(task["path"], task["up"], root=task.get("root"))
    except NoFaces:
        pass
    # after the handler, which holds on to all that was read
    return load_cloud(task["path"], task["up"])
