"""What a worker process does with one mesh: its views and points go into the dataset folder; of a cloud, its points."""

import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cmah.data.images import encoded
from cmah.errors import CmahError
from cmah.meshes import rendering
from cmah.meshes.cloud_files import drawn_points
from cmah.meshes.point_sampling import mesh_or_cloud, sample_points
from cmah.meshes.rendering import render_seen, ring_of_cameras
from cmah.preparing.shape_ids import stable_hash
from cmah.workers import writing

JPEG_QUALITY = 92
warm_up = rendering.warm_up  # a worker process calls it


def prepare_shape(task: dict[str, Any]) -> dict[str, Any]:
    """Render the views and sample the points of a mesh into a dataset folder.

    A point cloud (a PLY file without faces) has no views. Its points are drawn where it has more than are wanted; where
    it has fewer, all are taken.

    Args:
        task: `path` of the mesh; `out`, the dataset folder; `shape_id`; `views`, `image_size`, `points`, `up`,
            `elevations`, `jitter` and `seed` as in `prepare`; optional: `root`, the folder outside which no file that
            the mesh names is read, by default that of the mesh.

    Returns:
        `cameras`, a list of [azimuth, elevation] in degrees, empty for a cloud; `coloured`, whether the mesh has
        colours; and `remarks` on what of it was lost, if anything was.

    Raises:
        CmahError: if the mesh is refused, or invisible from every camera.
        JobError: if its views and points cannot be written.

    Examples:
        >>> task = {"path": "demo/meshes/chair/chair_000.obj", "out": "made", "shape_id": "seat"}
        >>> task |= {"views": 2, "image_size": 32, "points": 9, "up": "y"}
        >>> task |= {"elevations": [20.0], "jitter": 0.0, "seed": 0}
        >>> prepare_shape(task)
        {'cameras': [[0.0, 20.0], [180.0, 20.0]], 'coloured': True}
        >>> sorted(path.name for path in Path("made/renders/seat").iterdir())
        ['00.jpg', '00_mask.png', '01.jpg', '01_mask.png']
    """
    out, shape_id = Path(task["out"]), task["shape_id"]
    mesh = mesh_or_cloud(task)
    # separate generators, so that jitter does not change the points
    seed = [task["seed"], stable_hash(shape_id)]
    if isinstance(mesh, np.ndarray):
        _write_cloud(out, shape_id, drawn_points(mesh, task["points"], [*seed, 0]))
        return {"cameras": [], "coloured": mesh.shape[1] == 6}
    points = sample_points(mesh, task["points"], [*seed, 0])
    cameras = ring_of_cameras(
        task["views"], tuple(task["elevations"]), task["jitter"], np.random.default_rng([*seed, 1])
    )
    images, masks, cameras = render_seen(mesh, cameras, task["image_size"])
    if not masks.any():
        raise CmahError(f"{task['path']}: nothing to be seen from any view")
    empty = int((~masks.any(axis=(1, 2))).sum())
    if empty:
        raise CmahError(
            f"{task['path']}: nothing to be seen from {empty} of {len(masks)} views (too thin, or transparent)"
        )
    # the views are renamed into place together, so that a half-written folder is never taken for a finished one
    folder = out / "renders" / shape_id
    temporary = out / ".partial" / f"{shape_id}.{os.getpid()}"
    with writing(folder):
        temporary.mkdir(parents=True, exist_ok=True)
        for view, (image, mask) in enumerate(zip(images, masks, strict=True)):
            jpeg = encoded(Image.fromarray(image), "JPEG", quality=JPEG_QUALITY, subsampling=0)
            (temporary / f"{view:02d}.jpg").write_bytes(jpeg)
            (temporary / f"{view:02d}_mask.png").write_bytes(encoded(Image.fromarray(mask), "PNG"))
    _write_cloud(out, shape_id, points)
    with writing(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(exist_ok=True)
        os.rename(temporary, folder)
    angles = [[camera.azimuth, camera.elevation] for camera in cameras]
    return {"cameras": angles, "coloured": bool(mesh.coloured), **mesh.told}


def _write_cloud(out: Path, shape_id: str, points: np.ndarray) -> None:
    """Write the points of a shape, whole or not at all."""
    cloud, temporary = out / "points" / f"{shape_id}.npy", out / ".partial" / f"{shape_id}.{os.getpid()}.npy"
    array = io.BytesIO()
    np.save(array, points.astype(np.float16))
    with writing(cloud):
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(array.getbuffer())
        cloud.parent.mkdir(exist_ok=True)
        os.replace(temporary, cloud)
