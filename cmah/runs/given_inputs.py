"""Pictures and point clouds that are given from Python, one or many, checked and made the input of a model."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import PIL.Image
import torch

from cmah.data.encoding_batches import square_file
from cmah.data.framing import WHOLE, Framing, PictureFile
from cmah.data.images import Picture, picture_of_array
from cmah.data.object_masks import square_picture
from cmah.errors import CmahError, CodesError
from cmah.features.inference import BATCH
from cmah.file_names import refuse_url
from cmah.models.encoder_model import EncoderModel, draws_views
from cmah.runs.file_batches import cloud_tensors, image_tensor, stacked

T = TypeVar("T")
Pictures = Picture | Iterable[Picture]
_PICTURES = "path, picture of Pillow, or array uint8 [h, w, 3]"


def picture_batches(
    images: Pictures, model: EncoderModel, framing: Framing = WHOLE
) -> Iterator[torch.Tensor]:
    """Pictures as a model takes them, in batches uint8 [b, 3 or 4, s, s].

    Args:
        images: as `Encoder.encode_images` takes them.
        model: what they are made ready for.
        framing: what of a picture is cut off and painted over.

    Raises:
        CmahError: for what is no picture, or one that cannot be read.

    Examples:
        >>> from cmah.runs.run_folder import RunFolder
        >>> model = RunFolder("demo/run").load_recipe(torch.device("cpu")).model
        >>> [tuple(batch.shape) for batch in picture_batches([np.zeros((9, 8, 3), np.uint8)] * 40, model)]
        [(32, 3, 64, 64), (8, 3, 64, 64)]
    """
    squares = (
        image_tensor(_square(number, image, model, framing)) for number, image in enumerate(_pictures(images))
    )
    return (torch.cat(batch) for batch in _batched(squares))


def cloud_batches(
    clouds: np.ndarray | Iterable[np.ndarray], model: EncoderModel
) -> Iterator[dict[str, torch.Tensor]]:
    """Point clouds as a model takes them, in batches {"points": float32 [b, points, 3 or 6]}.

    For a model that draws views, they are there too; see `cloud_tensors`.

    Args:
        clouds: as `Encoder.encode_points` takes them.
        model: what they are made ready for.

    Raises:
        CmahError: for what is no cloud, or a model that sees shapes by their renders.

    Examples:
        >>> from cmah.runs.run_folder import RunFolder
        >>> model = RunFolder("demo/run").load_recipe(torch.device("cpu")).model
        >>> [tuple(batch["points"].shape) for batch in cloud_batches([np.eye(3)] * 40, model)]
        [(32, 512, 3), (8, 512, 3)]
    """
    if model.views and not draws_views(model):
        raise CodesError("points alone, and this run sees shapes by their views; expected files of meshes")
    shapes = (cloud_tensors(cloud, model) for cloud in _clouds(clouds))
    return (stacked(batch) for batch in _batched(shapes))


def _square(number: int, image: Any, model: EncoderModel, framing: Framing) -> np.ndarray:
    """A picture as the model takes it, uint8 [s, s, 3 or 4]."""
    size, masks = model.image_size, model.masks
    try:
        if isinstance(image, np.ndarray) and masks and image.ndim == 3 and image.shape[2] == 4:
            return square_picture(np.asarray(picture_of_array(image)), size, masks=True)
        if isinstance(image, str | Path):
            refuse_url(image)
        picture = PictureFile(Path(image) if isinstance(image, str) else image)
        return square_file(picture, size, framing, masks=masks)
    except CmahError as error:
        named = str(error) if isinstance(image, str | Path) else f"image {number}: {error}"
        raise type(error)(named) from None


def _pictures(images: Any) -> Iterator[Any]:
    """One picture or many as pictures, each of a type that is one."""
    one = isinstance(images, str | Path | PIL.Image.Image) or (
        isinstance(images, np.ndarray) and images.ndim <= 3
    )
    if isinstance(images, bytes) or not (one or isinstance(images, Iterable)):
        raise CodesError(f"images are {type(images).__name__}, expected pictures: {_PICTURES}")
    for number, image in enumerate([images] if one else images):
        if not isinstance(image, str | Path | PIL.Image.Image | np.ndarray):
            raise CodesError(f"image {number} is {type(image).__name__}, expected one of {_PICTURES}")
        yield image


def _clouds(clouds: Any) -> Iterator[np.ndarray]:
    """One cloud or many as arrays of finite numbers [n, 3 or more]."""
    if isinstance(clouds, str | bytes | Path) or not isinstance(clouds, Iterable):
        raise CodesError(
            f"clouds are {type(clouds).__name__}, expected arrays [n, 3 or more]; files: encode_files"
        )
    one = isinstance(clouds, np.ndarray) and clouds.ndim == 2
    for number, cloud in enumerate([clouds] if one else clouds):
        if not isinstance(cloud, np.ndarray) or cloud.dtype.kind not in "fiu":
            what = f"{cloud.dtype}" if isinstance(cloud, np.ndarray) else type(cloud).__name__
            raise CodesError(f"cloud {number} is {what}, expected an array of numbers [n, 3 or more]")
        if cloud.ndim != 2 or cloud.shape[1] < 3 or not len(cloud):
            raise CodesError(f"cloud {number} has shape {list(cloud.shape)}, expected [n, 3 or more]")
        if not np.isfinite(cloud).all():
            raise CodesError(f"cloud {number} has values that are not finite")
        yield cloud


def _batched(tensors: Iterable[T]) -> Iterator[list[T]]:
    """The tensors in lists of `BATCH`, the last of which may be shorter."""
    rest = iter(tensors)
    while batch := list(islice(rest, BATCH)):
        yield batch
