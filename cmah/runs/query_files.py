"""A file of one object as a model takes it: a picture, a mesh, or a point cloud."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from cmah.data.encoding_batches import square_file
from cmah.data.framing import WHOLE, Framing, PictureFile
from cmah.data.images import PICTURE_SUFFIXES
from cmah.data.point_clouds import load_points_file, model_input
from cmah.errors import CmahError
from cmah.meshes import MESH_SUFFIXES
from cmah.models.encoder_model import EncoderModel


def query_of_file(
    path: Path, model: EncoderModel, framing: Framing = WHOLE, up: str = "y"
) -> tuple[Literal["image", "shape"], Any]:
    """Read a file by its suffix.

    Args:
        path: a picture, a mesh, or points (.npy).
        model: what it is made ready for.
        framing: what of a picture is cut off and painted over.
        up: "y" or "z", the up axis of meshes and point clouds.

    Returns:
        "image" and a tensor uint8 [1, 3 or 4, s, s], or "shape" and named tensors as `EncoderModel.encode_shapes` takes
        them, a batch of one.

    Raises:
        CmahError: for a file that is not one of these, cannot be read, or does not show what the model sees.

    Examples:
        >>> from cmah.runs.run_folder import RunFolder
        >>> model = RunFolder("demo/run").load_recipe(torch.device("cpu")).model
        >>> kind, shape = query_of_file(Path("demo/meshes/chair/chair_000.obj"), model)
        >>> kind, tuple(shape["points"].shape)
        ('shape', (1, 512, 3))
    """
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        picture = square_file(PictureFile(path), model.image_size, framing, masks=model.masks)
        return "image", image_tensor(picture)
    if suffix not in (".npy", *MESH_SUFFIXES):
        raise CmahError(f"{path}: expected a picture, a mesh ({', '.join(MESH_SUFFIXES)}) or points (.npy)")
    if suffix == ".npy" and model.views:
        raise CmahError(f"{path}: points alone, and this run sees shapes by their views; expected a mesh")
    shape: dict[str, Tensor] = {}
    if suffix == ".npy":
        shape["points"] = cloud_tensor(load_points_file(path, up), model)
    elif model.points:
        from cmah.meshes.point_sampling import points_of_mesh

        shape["points"] = cloud_tensor(points_of_mesh(path, 4 * model.points, up), model)
    if model.views:
        from cmah.meshes.view_rendering import views_of_mesh

        views = views_of_mesh(path, model.views, model.image_size, up)
        shape["views"] = torch.from_numpy(views.transpose(0, 3, 1, 2).copy())[None]
        shape["view_mask"] = torch.ones(1, model.views, dtype=torch.bool)
    return "shape", shape


def image_tensor(image: np.ndarray) -> Tensor:
    """An image, uint8 [s, s, c], which may be read-only, as uint8 [1, c, s, s].

    Examples:
        >>> tuple(image_tensor(np.zeros((8, 8, 3), np.uint8)).shape)
        (1, 3, 8, 8)
    """
    return torch.from_numpy(image.transpose(2, 0, 1).copy())[None]


def cloud_tensor(points: np.ndarray, model: EncoderModel) -> Tensor:
    """A cloud float [n, 3 or more], y up, in any position and size, as the model takes it: float32 [1, points, 3 or 6].

    Examples:
        >>> from cmah.runs.run_folder import RunFolder
        >>> model = RunFolder("demo/run").load_recipe(torch.device("cpu")).model
        >>> tuple(cloud_tensor(np.eye(3, dtype=np.float32), model).shape)
        (1, 512, 3)
    """
    return torch.from_numpy(model_input(points, model.points, model.colours))[None]
