"""Point clouds given as mesh files that have no faces: checked, turned upright, in the unit sphere."""

from pathlib import Path

import numpy as np

from cmah.errors import CmahError
from cmah.meshes.mesh_loading import in_unit_sphere, z_up_to_y_up
from cmah.meshes.ply import ply_points


def load_cloud(path: str | Path, up_axis: str = "y") -> np.ndarray:
    """Read a PLY file as a point cloud, check it, turn it upright and normalise it to the unit sphere, as `load_mesh`.

    Args:
        path: the file.
        up_axis: "y" or "z", the axis that points up in the file.

    Returns:
        All points, in the order of the file: float32 [n, 6] (xyz, rgb in 0..1) if they have colours, else float32
        [n, 3]. The centre of their bounding box lies at the origin, the farthest point at distance 1.

    Raises:
        CmahError: if the file cannot be read, has no points, no extent or coordinates that are not finite.

    Examples:
        >>> header = "ply\\nformat ascii 1.0\\nelement vertex 2\\n" + "".join(f"property double {c}\\n" for c in "xyz")
        >>> _ = Path("pole.ply").write_text(header + "end_header\\n5 100 5\\n5 108 5\\n")
        >>> load_cloud("pole.ply").tolist()
        [[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]]
    """
    xyz, rgb = ply_points(path)
    finite = np.isfinite(xyz).all(axis=1)
    if not finite.all():
        raise CmahError(f"{path}: point {int(finite.argmin())} has a value that is not finite")
    xyz = in_unit_sphere(xyz, path, "points")
    if up_axis == "z":
        xyz = z_up_to_y_up(xyz)
    return xyz.astype(np.float32) if rgb is None else np.concatenate([xyz, rgb], axis=1, dtype=np.float32)


def drawn_points(points: np.ndarray, n: int, seed: int | list[int]) -> np.ndarray:
    """Draw points of a cloud without replacement, in random order; of a cloud that has no more, all as they are.

    Args:
        points: [m, 3] or [m, 6].
        n: how many are wanted.
        seed: seed of numpy's default generator; the same seed gives the same points.

    Examples:
        >>> cloud = np.arange(30).reshape(10, 3)
        >>> drawn_points(cloud, 4, seed=0).shape, drawn_points(cloud, 99, seed=0) is cloud
        ((4, 3), True)
    """
    if len(points) <= n:
        return points
    return points[np.random.default_rng(seed).choice(len(points), n, replace=False)]
