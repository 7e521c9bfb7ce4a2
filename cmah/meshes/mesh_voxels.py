"""The solid that a mesh shows from outside, as voxels; of mesh files by worker processes, which a file may crash."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

import cmah.compiling  # noqa: F401 (before the kernels)
from cmah.kernels import voxels
from cmah.meshes import rendering
from cmah.meshes.mesh import Mesh
from cmah.meshes.mesh_arrays import write_array
from cmah.meshes.mesh_loading import load_mesh
from cmah.workers import run_isolated

UP = 1e-3  # of a cell: what lies between two cells (a flat mesh does, being centred) is in the upper one, always
START = 2.0  # rays start this far from the origin, outside the cube
TASK = "cmah.meshes.mesh_voxels:write_grid"


def mesh_grid(mesh: Mesh, resolution: int = 128) -> np.ndarray:
    """Voxels of what a mesh looks like from the six directions along the axes, in the cube [-1, 1]^3.

    A ray goes through the centres of each line of cells, from both ends. The cell in which it first meets the mesh is
    full, and so is each from which no straight line along an axis leaves the cube without meeting a full one. So a
    closed surface becomes solid, and one with holes or inner walls, which has no inside, what it seems to be; parts
    thinner than a cell are kept where a ray meets them.

    Args:
        mesh: normalised to the unit sphere.
        resolution: cells along each axis.

    Returns:
        bool [resolution, resolution, resolution], by x, y, z.

    Examples:
        Half the side of a cube is 0.577. Rays through the centres of two cells of side 0.25 on either side of the
        middle meet it, in the third cell:

        >>> from cmah.synthetic.solids import Model
        >>> from cmah.synthetic.writing import write_off
        >>> cube = Model()
        >>> cube.box(centre=(0, 0, 0), size=(1, 1, 1), colour=(1, 0, 0))
        >>> write_off(cube, Path("cube.off"))
        >>> grid = mesh_grid(load_mesh("cube.off"), resolution=8)
        >>> int(grid.sum()) == 4**3 + 6 * 4**2
        True
    """
    scene = EmbreeScene(robust=True)  # not robust, rays slip through the edges between faces
    TriangleMesh(scene=scene, vertices=mesh.vertices, indices=mesh.faces)
    centres = ((np.arange(resolution) + 0.5) * (2 / resolution) - 1).astype(np.float32)
    across = np.stack(np.meshgrid(centres, centres, indexing="ij"), axis=-1).reshape(-1, 2)
    grid = np.zeros((resolution,) * 3, np.uint8)
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        for way in (1, -1):
            origins = np.zeros((len(across), 3), np.float32)
            directions = np.zeros_like(origins)
            origins[:, others], origins[:, axis], directions[:, axis] = across, -START * way, way
            result = scene.run(origins, directions, output=1)
            hit = np.flatnonzero(result["primID"] >= 0)
            origins[hit, axis] += way * result["tfar"][hit]
            cells = np.floor((origins[hit].astype(np.float64) + 1) * (resolution / 2) + UP).astype(np.int64)
            grid[tuple(cells.clip(0, resolution - 1).T)] = 1
    voxels.fill_hidden(grid)
    return grid.view(bool)


def grids_of_meshes(
    files: Mapping[str, Path],
    resolution: int = 128,
    *,
    roots: Mapping[str, Path] | None = None,
    jobs: int = 1,
    warn: Callable[[str], None] | None = None,
    time_limit: float = 60.0,
    memory_limit: float = 4.0,
) -> Iterator[tuple[str, np.ndarray]]:
    """Load meshes and make their voxels in worker processes, which a foreign file may crash or bloat.

    Args:
        files: mesh files by name.
        resolution: cells along each axis.
        roots: for meshes by name the folder outside which no file that they name is read; of others their own.
        jobs: number of processes.
        warn: called with a line of text for each mesh that cannot be used.
        time_limit: seconds after which a mesh is given up.
        memory_limit: GiB that a process may take.

    Yields:
        Names and grids, bool [resolution, resolution, resolution], in order of completion.

    Examples:
        >>> files = {"seat": Path("demo/meshes/chair/chair_000.obj"), "none": Path("no_such.obj")}
        >>> grids = dict(grids_of_meshes(files, 32, warn=print))
        no voxels of shape none: no_such.obj: no such file
        >>> grids["seat"].shape
        (32, 32, 32)
    """
    names = list(files)
    with tempfile.TemporaryDirectory() as folder:
        tasks = [
            {
                "path": str(files[name]),
                "out": str(Path(folder) / f"{i}.npy"),
                "resolution": resolution,
                **({"root": str(roots[name])} if roots and name in roots else {}),
            }
            for i, name in enumerate(names)
        ]
        for outcome in run_isolated(TASK, tasks, jobs=jobs, time_limit=time_limit, memory_limit=memory_limit):
            name, out = names[outcome.index], Path(folder) / f"{outcome.index}.npy"
            if outcome.value is not None:
                packed = np.load(out, allow_pickle=False)
                out.unlink()
                yield name, np.unpackbits(packed, count=resolution**3).reshape((resolution,) * 3).view(bool)
            elif warn:
                warn(f"no voxels of shape {name}: {outcome.reason}")


def warm_up() -> None:
    """Start Embree's threads while the process is bound to one core, compile the loops, and let BLAS take its memory.

    Examples:
        >>> warm_up()  # leaves nothing to be seen; the tasks come after it
        >>> write_grid({"path": "demo/meshes/mug/mug_000.obj", "out": "mug.npy", "resolution": 8})
        {}
    """
    rendering.warm_up()
    voxels.fill_hidden(np.zeros((1, 1, 1), np.uint8))


def write_grid(task: dict[str, Any]) -> dict[str, Any]:
    """What a worker process does for `grids_of_meshes`.

    Args:
        task: `path` of the mesh; `out`, the .npy file to write (the grid, 8 cells a byte); `resolution`; optional:
            `root` as in `load_mesh`.

    Returns:
        Nothing: an empty dictionary.

    Raises:
        CmahError: if the mesh is refused.

    Examples:
        >>> write_grid({"path": "demo/meshes/mug/mug_000.obj", "out": "mug.npy", "resolution": 16})
        {}
        >>> np.load("mug.npy").shape  # 16^3 bits
        (512,)
    """
    mesh = load_mesh(task["path"], root=task.get("root"))
    write_array(task["out"], np.packbits(mesh_grid(mesh, task["resolution"])))
    return {}
