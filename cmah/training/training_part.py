"""Which shapes and images of a dataset a training sees."""

from collections.abc import Callable
from dataclasses import replace

from cmah.config.schema import DataConfig
from cmah.data.dataset import Dataset, without_points
from cmah.errors import DatasetError


def training_part(
    dataset: Dataset,
    config: DataConfig,
    report: Callable[[str], None] = lambda line: None,
    *,
    points: bool = True,
) -> Dataset:
    """The shapes of a split that have points, and their images of the same split.

    A shape that states another split is not trained on, whatever its images state, and an image of another split is
    not either, whatever its shape states (see `Dataset.select`).

    Args:
        dataset: the whole of it.
        config: the split, the kinds of images and their framing.
        report: called with a line on what is left out, and on what is done to images.
        points: whether the model sees points; if not, shapes without points stay.

    Raises:
        DatasetError: if nothing belongs to the split, or no shape of it has points.

    Examples:
        >>> from pathlib import Path
        >>> from cmah.data.dataset import Image, Shape
        >>> shapes = [Shape("car", "car", "", "car.npy"), Shape("van", "car", "test", "van.npy")]
        >>> photos = [("1", "car", "train"), ("2", "car", "test"), ("3", "van", "train")]
        >>> images = [Image(name, shape, "car", split, f"{name}.jpg", "photo") for name, shape, split in photos]
        >>> dataset = Dataset(Path(), "cars", 2048, "y", 224, shapes, images)
        >>> part = training_part(dataset, DataConfig(kinds=("photo",)), print)
        1 of 2 images of split train show shapes of another split and are left out (first: '3', of shape 'van')
        >>> [shape.shape_id for shape in part.shapes], [image.image_id for image in part.images]
        (['car'], ['1'])
    """
    part = dataset.select(config.split)
    splits = {shape.shape_id: shape.split for shape in dataset.shapes}
    inside = {shape.shape_id for shape in part.shapes}
    wanted = [image for image in part.images if image.kind in config.kinds and image.shape_id]
    foreign = [image for image in wanted if image.shape_id in splits and image.shape_id not in inside]
    if foreign:
        first = f"first: {foreign[0].image_id!r}, of shape {foreign[0].shape_id!r}"
        report(
            f"{len(foreign)} of {len(wanted)} images of split {config.split} show shapes of another split and are left "
            f"out ({first})"
        )
    remark = without_points(part.shapes) if points else ""
    shapes = [shape for shape in part.shapes if shape.points or not points]
    if remark and not shapes:
        raise DatasetError([f"{dataset.root}: split {config.split!r}: {remark}, expected some to train on"])
    if remark:
        report(f"{remark}; they are left out")
    left = {shape.shape_id for shape in shapes}
    images = [image for image in part.images if not image.shape_id or image.shape_id in left]
    framed = config.framing.remark([i for i in images if i.kind in config.kinds and i.shape_id])
    if framed:
        report(framed)
    return replace(part, shapes=shapes, images=images)
