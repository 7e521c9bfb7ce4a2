"""Arrays made of a mesh file in a process of its own, which a foreign file may crash or bloat."""

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from cmah.errors import CmahError
from cmah.workers import run_isolated, writing


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
